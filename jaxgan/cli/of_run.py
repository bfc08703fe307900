"""What verbs about a run have in common: their arguments, and what is read by them."""

import argparse
import contextlib
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from jaxgan.errors import UserError
from jaxgan.workdir import folder_at


def add_workdir(parser: argparse.ArgumentParser, exported: bool = False) -> None:
    more = ", or one that export wrote as safetensors" if exported else ""
    parser.add_argument("--workdir", required=True, help=f"the run's folder{more}")


def add_step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--step", type=_step, help="which checkpoint: its step, or best (default: the newest)"
    )


def add_member(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--member",
        type=int,
        default=0,
        metavar="N",
        help="of a run of several seeds: which of them, from 0 on (default 0)",
    )


def add_statistics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--statistics",
        choices=("running", "batch", "standing"),
        default="running",
        help="what BatchNorm normalises by: running averages from training (default); those of "
        "each batch of 64 images as it is drawn; standing ones, the mean of 16 batches drawn "
        "beforehand with all classes. Without BatchNorm all are the same",
    )


def add_seed(parser: argparse.ArgumentParser, of: str) -> None:
    parser.add_argument("--seed", type=int, default=0, help=f"{of} (default 0)")


def add_labels(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--labels", metavar="N,N,...", help=f"{what}; names of classes, or their numbers from 0"
    )


def add_latents(parser: argparse.ArgumentParser, which: str) -> None:
    parser.add_argument(
        "--latents", type=Path, metavar="FILE.npz", help=f"latents, by `invert`, {which}"
    )


def settle(arguments: argparse.Namespace, idle: str, **defaults: Any) -> None:
    """Gives options that were left out their defaults. Raises UserError for one that was given,
    where there is something that makes it `idle`."""
    for name, default in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
        elif idle:
            raise UserError(f"--{name}: does nothing {idle}; leave it out")


def _step(text: str) -> int | str:
    if text != "best" and not text.lstrip("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a step nor best")
    return text if text == "best" else int(text)


# --------------------------------------------------------------------------------------------------
# What is wrong is told before the work


def check_png(out: Path) -> None:
    """Raises UserError for what is no picture's name."""
    if out.suffix != ".png" or out.is_dir():
        raise UserError(f"--out: {out} is not a .png file")
    check_folder_of(out)


def check_folder_of(out: Path) -> None:
    """Raises UserError where a file would lie in no folder."""
    if not out.parent.is_dir():
        raise UserError(f"--out: there is no folder {out.parent}")


def check_seed(arguments: argparse.Namespace, name: str = "seed") -> None:
    """Raises UserError for what is no seed."""
    seed = getattr(arguments, name)
    if not 0 <= seed < 2**32:
        raise UserError(f"--{name}: {seed} is not within 0 to {2**32 - 1:,}")


def check_out(arguments: argparse.Namespace) -> None:
    """Raises UserError for what is no picture, or no seed."""
    check_png(arguments.out)
    check_seed(arguments)


def check_count(
    arguments: argparse.Namespace, name: str, of: str, least: int = 1, most: int = 10**6
) -> None:
    """Raises UserError for fewer than `least`, and for more than `most`."""
    value = getattr(arguments, name)
    if value < least:
        raise UserError(f"--{name}: {value} is not a number of {of}, {least} or more")
    if value > most:
        raise UserError(f"--{name}: {value:,} is more than the {most:,} {of} that there may be")


def check_beside(arguments: argparse.Namespace, array: str) -> None:
    """Raises UserError where the .npz beside --out would take the place of what is read, or of a
    file without that array, which is none of the verb's."""
    beside = arguments.out.with_suffix(".npz")
    for name in ("latents", "directions"):
        read = getattr(arguments, name, None)
        if read and read.resolve() == beside.resolve():
            raise UserError(f"--out: {read}, which --{name} reads, would be written over")
    if not beside.exists():
        return
    names = []
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(beside) as file:
        names = file.namelist()
    if f"{array}.npy" not in names:
        raise UserError(
            f"--out: {beside}, which is written too, is there and holds no {array}; name another "
            f"--out"
        )


def check_distance(arguments: argparse.Namespace, name: str, least: float) -> None:
    """Raises UserError for what is no distance between latents, from `least` on."""
    value = getattr(arguments, name)
    if not least <= value <= 1e6:
        raise UserError(f"--{name}: {value:g} is not within {least:g} to 1,000,000")


# --------------------------------------------------------------------------------------------------
# What is read


def classes_of(arguments: argparse.Namespace, config: Any) -> list[int]:
    """The classes of --labels, in their order, by default all; [0] for an unconditional model."""
    from jaxgan import pretrained

    named = arguments.labels
    texts = None if named is None else [text.strip() for text in named.split(",")]
    return pretrained.classes_of(config, texts, "--labels")


def given(arguments: argparse.Namespace, count: int, able: str):
    """The run's algorithm and state, and as many real images with their labels.

    Raises UserError for an algorithm that is not `able`, and for points.
    """
    from jaxgan import experiment

    workdir = folder_at(arguments.workdir)
    config, algorithm, state = experiment.load_run(workdir, arguments.step, arguments.member)
    if not hasattr(algorithm, able):
        missing = {
            "show": "starts from no images; vae, vaegan, inpaint, pix2pix, cyclegan and style do",
            "encode": "encodes no images; vae and vaegan do",
        }
        run = f"{workdir} is a run of the algorithm {config.algorithm}"
        raise UserError(f"--workdir: {run}, which {missing[able]}")
    if len(config.derived.image_shape) == 1:
        raise UserError(f"--workdir: {workdir} is a run on points or sounds, not images")
    return algorithm, state, *real_images(arguments, config, count)


def data_of(arguments: argparse.Namespace, config: Any) -> dict[str, Any]:
    """The run's section `data`, with the places that --config.data.path and .dir tell anew.

    Raises UserError for other images than those that the run was trained on.
    """
    section = config.data.to_dict()
    if not arguments.overrides:
        return section
    from jaxgan import data

    for key, separator, value in (each.partition("=") for each in arguments.overrides):
        if not separator:
            raise UserError(f"--config.{key}: a value is missing; write --config.{key}=FOLDER")
        section[key.removeprefix("data.")] = value
    of_set = (section[key] for key in ("name", "split", "image_size", "dir", "path"))
    found = data.open_set(*of_set).details
    if any(found.get(key) != value for key, value in config.derived.data.to_dict().items()):
        given = arguments.overrides[0]
        raise UserError(
            f"--config.{given}: these are not the images that the run was trained on, or another "
            f"version of Pillow made them"
        )
    return section


def real_images(arguments: argparse.Namespace, config: Any, count: int):
    """As many images of the run's data set and --split, float32 n h w c, with labels, int32 n."""
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data, references

    section = data_of(arguments, config)
    try:
        examples = references.open_examples(section, arguments.split).given()
    except UserError as error:
        if not arguments.split:
            raise
        raise UserError(str(error).replace("data.split", "--split")) from error
    count = min(count, examples.count)
    numbers = data.indices(arguments.seed, 0, count, examples.total)
    images, labels = examples.read(numbers)
    labels = np.zeros(count, np.int32) if labels is None else labels
    return data.to_float(jnp.asarray(images)), jnp.asarray(labels, jnp.int32)


class Drawing(NamedTuple):
    """A run that draws images from latents."""

    config: Any
    algorithm: Any
    state: Any
    render: Any  # (z, labels) -> images in [-1, 1]

    @property
    def classes(self) -> int:
        return self.config.derived.num_classes

    @property
    def origin(self) -> str:
        """Tells generators apart that were trained otherwise: by all that makes another run, but
        for places; not by keys that a run of an earlier version lacks."""
        from jaxgan.archive import PLACES
        from jaxgan.config import identity
        from jaxgan.evaluation import digest

        return digest(identity(self.config, PLACES))

    @property
    def at(self) -> str:
        return f"step {int(self.state.step):,}"


def drawing(arguments: argparse.Namespace, seed: int = 0) -> Drawing:
    """The run of --workdir, with the --statistics that are asked for. Raises UserError for one that
    draws no images from latents."""
    import jax

    from jaxgan import parallel, pretrained
    from jaxgan.sampler import Sampler

    if arguments.statistics == "batch":
        raise UserError("--statistics: with those of batches an image has no latent of its own")
    workdir = folder_at(arguments.workdir)
    config, algorithm, state = pretrained.read(workdir, arguments.step, arguments.member)
    if not hasattr(algorithm, "render") or len(config.derived.image_shape) != 3:
        raise UserError(
            f"--workdir: {workdir} is a run of the algorithm {config.algorithm} on "
            f"{config.data.name}, which draws no images from latents; gan, unrolled, vae and "
            f"vaegan on images do"
        )
    mesh = parallel.mesh_of(jax.local_devices()[:1])
    sampler = Sampler(algorithm, mesh, statistics=arguments.statistics)
    render = sampler.generator(state, seed)
    (prepared,) = render.args
    return Drawing(config, algorithm, prepared, render)


def some_latents(arguments: argparse.Namespace, run: Drawing, count: int):
    """Those of --latents, all, with their labels; or as many of `sample --seed --labels`."""
    import numpy as np

    from jaxgan.exploration.files import read_latents
    from jaxgan.sampler import latents_of

    if arguments.latents:
        return read_latents(arguments.latents, run.algorithm.z_dim, run.classes, run.origin)
    labels = np.resize(np.array(classes_of(arguments, run.config), np.int32), count)
    return np.asarray(latents_of(run.algorithm, count, arguments.seed)), labels
