"""What a run leaves in its folder, and what the user sees of it meanwhile.

metrics.jsonl (one object a line), TensorBoard event files, samples/STEP.png, curves.png.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import tqdm
from PIL import Image

from jaxgan.errors import UserError
from jaxgan.typing import Float, UInt8


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to that takes the name `path` when the block ends well: all or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n")


def write_png(path: Path, image: UInt8[np.ndarray, "h w c"]) -> None:
    """One image, grey (c = 1) or RGB (c = 3)."""
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    with whole_file(path) as partial:
        Image.fromarray(pixels).save(partial, format="png")


def grid(images: UInt8[np.ndarray, "n h w c"], columns: int) -> UInt8[np.ndarray, "gh gw c"]:
    """The images in rows of `columns`, two dark pixels apart; the last row may end early."""
    n, h, w, c = images.shape
    rows = -(-n // columns)
    canvas = np.zeros((rows * (h + 2) + 2, columns * (w + 2) + 2, c), np.uint8)
    for i, image in enumerate(images):
        top, left = 2 + (i // columns) * (h + 2), 2 + (i % columns) * (w + 2)
        canvas[top : top + h, left : left + w] = image
    return canvas


def scatter(
    fake: Float[np.ndarray, "n 2"], real: Float[np.ndarray, "m 2"] | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """Points in the plane, the real ones in grey beneath; the axes are those of the real ones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # here: few runs are of points

    figure = Figure(figsize=(5, 5), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    for points, colour, name in ((real, "0.6", "real"), (fake, "C0", "fake")):
        if points is not None:
            x, y = points.T
            axes.scatter(x, y, s=4, c=colour, label=name, linewidths=0)
    if real is not None:
        low, high = real.min(), real.max()
        margin = 0.15 * (high - low)
        axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
        axes.legend(loc="upper right")
    axes.set_aspect("equal")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


class Writer:
    """Metrics and samples of a run that goes on from `step`; later lines are taken out."""

    def __init__(self, workdir: Path, step: int):
        self.workdir = workdir
        (workdir / "samples").mkdir(exist_ok=True)
        kept = [line for line in read_metrics(workdir) if line["step"] <= step]
        with whole_file(workdir / "metrics.jsonl") as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.seconds = kept[-1]["seconds"] if kept else 0.0  # of training, before this start
        self._file: IO[str] = open(workdir / "metrics.jsonl", "a")  # noqa: SIM115
        from tensorboardX import SummaryWriter  # here: only training needs it

        self._board = SummaryWriter(str(workdir), purge_step=step + 1)

    def metrics(self, values: dict[str, int | float]) -> None:
        """One line. `values` begins with step."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        for name, value in values.items():
            if name != "step":
                self._board.add_scalar(name, value, values["step"])

    def samples(self, step: int, image: UInt8[np.ndarray, "h w c"]) -> Path:
        path = self.workdir / "samples" / f"{step:08d}.png"
        write_png(path, image)
        self._board.add_image("samples", image, step, dataformats="HWC")
        return path

    def close(self) -> None:
        self._file.close()
        self._board.close()


def read_metrics(workdir: Path) -> list[dict]:
    """The lines of metrics.jsonl; a torn last line, left by a killed run, is passed over."""
    path = workdir / "metrics.jsonl"
    lines = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return lines


def write_curves(workdir: Path) -> Path | None:
    """curves.png: the losses and the mean logits of metrics.jsonl against the step."""
    from matplotlib.figure import Figure  # here: only training needs it

    lines = read_metrics(workdir)
    if not lines:
        return None
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, names in zip(
        figure.subplots(1, 2), (("d_loss", "g_loss"), ("real_logit", "fake_logit")), strict=True
    ):
        for name in names:
            axes.plot([line["step"] for line in lines], [line[name] for line in lines], label=name)
        axes.set_xlabel("step")
        axes.legend()
        axes.grid(alpha=0.3)
    path = workdir / "curves.png"
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
    return path


def say(text: str) -> None:
    """Print a line; training goes on where the reader, `head` say, has seen enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


class Progress:
    """A bar with images/s, losses and time left on a terminal, plain lines elsewhere."""

    def __init__(self, step: int, steps: int):
        self._bar = tqdm.tqdm(
            initial=step,
            total=steps,
            unit="step",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def update(self, step: int) -> None:
        self._bar.update(step - self._bar.n)

    def metrics(self, values: dict[str, int | float], seconds_left: float) -> None:
        losses = {name: f"{values[name]:.3f}" for name in ("d_loss", "g_loss")}
        speed = f"{values['images_per_second']:,.0f} images/s"
        if self._bar.disable:
            text = "  ".join(f"{name} {value}" for name, value in losses.items())
            left = f"{seconds_left / 60:.1f} min left"
            self.say(f"step {values['step']:>7,}  {text}  {speed}  {left}")
        else:
            self._bar.set_postfix_str(", ".join([*(f"{k} {v}" for k, v in losses.items()), speed]))

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._bar.disable:
            say(text)
        else:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
