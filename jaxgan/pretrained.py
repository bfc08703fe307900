"""Trained generators to draw from, in three lines of Python:

    import jaxgan

    model = jaxgan.load("runs/cgan")
    images = model.sample(seed=0, n=64, labels=["Bag", "Dress"])

of a run's folder, of one that `python -m jaxgan export` wrote, or of a repository of the Hugging
Face Hub with such files (archive.py), of which nothing else is read and nothing run.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxgan import archive, experiment, parallel
from jaxgan.errors import UserError
from jaxgan.sampler import Sampler
from jaxgan.typing import Array, Float, Folder, Int, PyTree
from jaxgan.workdir import folder_at

# owner/name, as the Hub has it.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")


class Model:
    """A trained generator, by its averaged weights.

    `config` is the resolved config, `algorithm` and `state` what draws; it does so on one device,
    `mesh`.
    """

    def __init__(self, config: ConfigDict, algorithm: Any, state: PyTree):
        self.config, self.algorithm, self.state = config, algorithm, state
        self.mesh = parallel.mesh_of(jax.local_devices()[:1])
        self._samplers: dict[tuple[float | None, str], Sampler] = {}
        self._render = jax.jit(algorithm.render)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Empty for an unconditional model."""
        return tuple(self.config.derived.class_names)

    @property
    def step(self) -> int:
        """Generator updates of the training."""
        return int(self.state.step)

    def sample(
        self,
        seed: int,
        n: int,
        labels: Sequence[int | str] | None = None,
        truncation: float | None = None,
        statistics: str = "running",
    ) -> np.ndarray:
        """`n` images, uint8 n h w c (or float32: points n 2, sounds n l, sequences n l s), the same
        as `python -m jaxgan sample` draws with that seed.

        `labels`: classes to draw in turn, numbers or names, all by default. With `truncation`
        each latent lies within -truncation to truncation. `statistics` of BatchNorm: running,
        batch or standing. Raises UserError for values that cannot be.
        """
        if n < 1:
            raise UserError(f"n: {n} is not a number of images, 1 or more")
        if not 0 <= seed < 2**32:
            raise UserError(f"seed: {seed} is not within 0 to {2**32 - 1:,}")
        if truncation is not None and not truncation > 0:
            raise UserError(f"truncation: {truncation} is not above 0")
        if statistics not in ("running", "batch", "standing"):
            raise UserError(f"statistics: {statistics!r} is not running, batch or standing")
        how = truncation, statistics
        if how not in self._samplers:
            self._samplers[how] = Sampler(self.algorithm, self.mesh, *how)
        classes = np.array(classes_of(self.config, labels))
        with jax.set_mesh(self.mesh):
            drawn = self._samplers[how].draw(self.state, classes, n, seed)
            return np.concatenate([np.asarray(chunk) for chunk in drawn])[:n]

    def generate(
        self,
        z: Float[Array | np.ndarray, "b z"],
        labels: Int[Array | np.ndarray, " b"] | None = None,
    ) -> Float[np.ndarray, "b ..."]:
        """The images of latents, float32 in [-1, 1] (or points, sounds, the likeliest sequences);
        `labels`, numbers, where the model is conditional. Raises UserError for others' shapes."""
        width, count = self.config.z_dim, self.config.derived.num_classes
        z = np.asarray(z)
        if z.ndim != 2 or z.shape[1] != width:
            raise UserError(f"z: has the shape {z.shape}; latents are n x {width}")
        if bool(count) != (labels is not None):
            wanted = "needs one for each latent" if count else "is unconditional and takes none"
            raise UserError(f"labels: this model {wanted}")
        given = jnp.zeros(len(z), jnp.int32) if labels is None else jnp.asarray(labels, jnp.int32)
        exist = bool(((given >= 0) & (given < max(count, 1))).all())
        if given.shape != z.shape[:1] or not exist:
            raise UserError(f"labels: one for each latent, from 0 to {count - 1}")
        return np.asarray(self._render(self.state, jnp.asarray(z, jnp.float32), given))


def load(
    path: str | os.PathLike,
    step: int | str | None = None,
    member: int = 0,
    revision: str | None = None,
) -> Model:
    """The trained generator of a run's folder, an exported folder, or of a repository "owner/name"
    of the Hugging Face Hub.

    `step` and `member` of a run: which checkpoint (None: the newest, or "best"), and of several
    seeds which. `revision` of a repository: a branch, tag or commit. Raises UserError.
    """
    folder = folder_at(path)
    if not folder.exists() and REPOSITORY.fullmatch(str(path)):
        folder = _downloaded(str(path), revision)
    elif revision is not None:
        raise UserError(f"revision: is of a repository of the Hub, and {path} is a folder")
    try:
        return open_model(folder, step, member)
    except UserError as error:  # which speaks of the command line
        told = str(error).removeprefix("--workdir: ").removeprefix("--")
        raise UserError(told) from error


def open_model(folder: Folder, step: int | str | None = None, member: int = 0) -> Model:
    """The same of a folder, for the command line."""
    config, algorithm, state = read(folder, step, member)
    if not hasattr(algorithm, "sample"):
        raise UserError(
            f"--workdir: {folder} is a run of the algorithm {config.algorithm}, which starts "
            f"from images; see reconstruct"
        )
    return Model(config, algorithm, state)


def read(
    folder: Folder, step: int | str | None = None, member: int = 0
) -> tuple[ConfigDict, Any, PyTree]:
    """The resolved config, the algorithm and the trained state of a run's folder or an exported
    one, for the command line. Raises UserError."""
    if archive.holds(folder):
        for name, value in (("step", step), ("member", member or None)):
            if value is not None:
                raise UserError(f"--{name}: {folder} is an exported generator, of one step")
        return archive.read(folder)
    return experiment.load_run(folder, step, member)


def classes_of(
    config: ConfigDict, labels: Sequence[int | str] | None, flag: str = "labels"
) -> list[int]:
    """The numbers of classes to draw in turn, of numbers or names; [0] for an unconditional model.

    Raises UserError for classes that there are not.
    """
    names, count = list(config.derived.class_names), config.derived.num_classes
    if labels is None:
        return list(range(max(count, 1)))
    labels = [labels] if isinstance(labels, str) else labels
    if not count:
        raise UserError(f"{flag}: the model is unconditional")
    chosen = []
    for label in labels:
        number = names.index(label) if label in names else label
        if not str(number).isdecimal() or int(number) >= count:
            listed = ", ".join(f"{i} {name}" for i, name in enumerate(names))
            raise UserError(f"{flag}: there is no class {label!r}; there are: {listed}")
        chosen.append(int(number))
    if not chosen:
        raise UserError(f"{flag}: name one class or more")
    return chosen


def _downloaded(name: str, revision: str | None) -> Path:
    """A folder with the two files of a repository, and nothing else of it."""
    try:
        import huggingface_hub  # here: few models come from there
    except ImportError as error:
        raise UserError(
            f'{name}: there is no such folder, and to look on the Hub takes pip install -e ".[hub]"'
        ) from error
    try:
        folder = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=[archive.CONFIG, archive.WEIGHTS]
        )
    except Exception as error:  # of the network, of the repository, of its name
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name}: there is no such folder, and the Hub does not give it: {reason}"
        ) from error
    if not archive.holds(Path(folder)):
        raise UserError(f"{name}: the repository has no {archive.WEIGHTS} that export wrote")
    return Path(folder)
