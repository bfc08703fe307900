"""Where else a run's numbers and pictures go: TensorBoard's event files, and Weights & Biases.

Both get what metrics.jsonl and samples/ get, and the settings as hyper-parameters.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.typing import UInt8

Settings = Mapping[str, Any]  # of a config, by their keys with dots


class TensorBoard:
    """Event files in the run's folder, where a run goes on from `step`."""

    def __init__(self, workdir: Path, step: int, settings: Settings):
        from tensorboardX import SummaryWriter  # here: only training needs it

        self._writer = SummaryWriter(str(workdir), purge_step=step + 1)
        self._settings: Settings | None = settings  # until they are written

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if self._settings is not None:  # they come with the names of what is measured
            self._write_settings(self._settings, values)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def _write_settings(self, settings: Settings, values: Mapping[str, float]) -> None:
        from tensorboardX.summary import hparams

        plain = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in settings.items()}
        measured = {name: 0.0 for name in values if "/" not in name}
        # Not add_hparams, which would write these numbers as measured ones.
        for summary in hparams(plain, measured):
            self._writer.file_writer.add_summary(summary)
        self._settings = None

    def picture(self, name: str, image: UInt8[np.ndarray, "h w c"], step: int) -> None:
        self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project there, of which each start of the run in `workdir` is a part; offline
    its files are in `workdir`/wandb, for `wandb sync`.

    Raises UserError where it cannot begin.
    """

    def __init__(self, workdir: Path, name: str, project: str, mode: str, settings: Settings):
        import wandb

        history = workdir / "history.jsonl"  # whose first line is this run's own
        begun = history.read_bytes().partition(b"\n")[0] if history.exists() else b""
        quiet = wandb.Settings(silent=True, console="off")
        try:
            self._run = wandb.init(
                project=project,
                name=name,
                id=hashlib.sha256(begun).hexdigest()[:16],
                resume="allow",
                mode=mode,  # type: ignore[arg-type]  # one of two texts
                dir=workdir,
                config=dict(settings),
                settings=quiet,
            )
        except (wandb.Error, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"wandb.project: {project} cannot be written to: {reason}; run `wandb login`, or "
                f"take --config.wandb.mode=offline"
            ) from error
        self._picture = wandb.Image

    @property
    def place(self) -> str:
        """Its address, or offline the folder to sync."""
        return self._run.url or "" if not self._run.offline else str(Path(self._run.dir).parent)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, name: str, image: UInt8[np.ndarray, "h w c"], step: int) -> None:
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        self._run.log({name: self._picture(pixels)}, step=step)

    def close(self) -> None:
        self._run.finish()


Board = TensorBoard | WeightsAndBiases


def check(project: str) -> None:
    """Raises UserError where Weights & Biases is asked for, and not installed."""
    spec = importlib.util.find_spec("wandb") if project else None
    if project and (spec is None or spec.origin is None):  # which a mere folder has not
        raise UserError(
            f'wandb.project: {project} takes the package wandb: pip install "jaxgan[wandb]"'
        )
