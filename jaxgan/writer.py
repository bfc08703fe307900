"""What a run leaves in its folder, and what the user sees of it meanwhile.

metrics.jsonl (one object a line), samples/STEP.png, curves.png; and what boards.py writes.
"""

import contextlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import tqdm
from PIL import Image, ImageDraw

from jaxgan.boards import Board
from jaxgan.errors import UserError
from jaxgan.typing import Float, Folder, UInt8


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to that takes the name `path` when the block ends well: all or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name, too, outlasts a power cut
        finally:
            os.close(folder)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write to that takes the name `path` when the block ends well: all or nothing.

    Raises UserError where there is something of that name, but for an empty folder.
    """
    path = path.absolute()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        if path.exists():
            path.rmdir()
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Folder, value: object) -> None:
    """`path` may be one of etils.epath, where a file is whole or not there."""
    if not isinstance(path, Path):
        path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
        return
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_png(path: Path, image: UInt8[np.ndarray, "h w c"]) -> None:
    """One image, grey (c = 1) or RGB (c = 3)."""
    with whole_file(path) as partial:
        save_png(partial, image)


def save_png(path: Path, image: UInt8[np.ndarray, "h w c"]) -> None:
    """The same where the caller sees to what is half-written, as in `whole_folder`."""
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path, format="png")


def grid(images: UInt8[np.ndarray, "n h w c"], columns: int) -> UInt8[np.ndarray, "gh gw c"]:
    """The images in rows of `columns`, two dark pixels apart; the last row may end early."""
    n, h, w, c = images.shape
    rows = -(-n // columns)
    canvas = np.zeros((rows * (h + 2) + 2, columns * (w + 2) + 2, c), np.uint8)
    for i, image in enumerate(images):
        top, left = 2 + (i // columns) * (h + 2), 2 + (i % columns) * (w + 2)
        canvas[top : top + h, left : left + w] = image
    return canvas


def rows(
    pictures: Sequence[UInt8[np.ndarray, "n h w c"]], columns: int
) -> UInt8[np.ndarray, "gh gw c"]:
    """Several series of images in one grid, where the n-th of each stand below one another; grey
    ones become colours beside such."""
    channels = max(each.shape[-1] for each in pictures)
    pictures = [np.broadcast_to(each, (*each.shape[:-1], channels)) for each in pictures]
    count, *shape = pictures[0].shape
    columns = min(columns, count)
    blank = np.zeros((-count % columns, *shape), np.uint8)
    lines = [np.concatenate([each, blank]).reshape(-1, columns, *shape) for each in pictures]
    return grid(np.stack(lines, 1).reshape(-1, *shape), columns)


def page(lines: Sequence[str], columns: int = 3) -> UInt8[np.ndarray, "h w 1"]:
    """Short lines of text, black on white, in columns."""
    wide, high = 8 * max(map(len, lines), default=1) + 20, 18
    rows = -(-len(lines) // columns)
    sheet = Image.new("L", (columns * wide, rows * high + 4), 255)
    draw = ImageDraw.Draw(sheet)
    for n, line in enumerate(lines):
        draw.text((10 + n // rows * wide, 2 + n % rows * high), line, fill=0, font_size=14)
    return np.asarray(sheet)[..., None]


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
    """Metrics and samples of a run that goes on from `step`; later lines are taken out.

    `lines` are those of metrics.jsonl. What is written goes to the boards, too, which are closed
    with this.
    """

    def __init__(self, workdir: Path, step: int, boards: Sequence[Board] = ()):
        self.workdir, self.boards = workdir, boards
        (workdir / "samples").mkdir(exist_ok=True)
        for folder in (workdir, workdir / "samples"):  # what a killed process has left
            for partial in folder.glob(".*.partial"):
                partial.unlink(missing_ok=True)
        self.lines = [line for line in read_metrics(workdir) if line["step"] <= step]
        with whole_file(workdir / "metrics.jsonl") as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        self._file: IO[bytes] = open(workdir / "metrics.jsonl", "ab", buffering=0)  # noqa: SIM115

    def metrics(self, values: dict[str, Any]) -> None:
        """One line. `values` begins with step; None is a value that is no finite number."""
        self.lines.append(values)
        text = (json.dumps(values, allow_nan=False) + "\n").encode()
        try:
            while text:  # a nearly full disk takes a part
                text = text[self._file.write(text) :]
        except OSError as error:
            path = self.workdir / "metrics.jsonl"
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
        finite = {k: v for k, v in values.items() if k not in ("step", "seeds") and v is not None}
        for board in self.boards:
            board.scalars(finite, values["step"])

    def sync(self) -> None:
        """Returns when the lines are on the disk, so that no checkpoint gets there before them."""
        os.fsync(self._file.fileno())

    def samples(self, step: int, images: Mapping[str, UInt8[np.ndarray, "h w c"]]) -> None:
        """Of each member, by its name; of a run that is one the name is empty."""
        for name, image in images.items():
            ending = f"_{name.replace(' ', '_')}" if name else ""
            write_png(self.workdir / "samples" / f"{step:08d}{ending}.png", image)
            for board in self.boards:
                board.picture(f"samples{ending}", image, step)

    def close(self) -> None:
        self._file.close()
        for board in self.boards:
            with contextlib.suppress(OSError):  # a full disk, of which the run has told
                board.close()


def read_metrics(workdir: Folder) -> list[dict]:
    """The lines of metrics.jsonl; a torn one, left by a killed run, is passed over."""
    path = workdir / "metrics.jsonl"
    lines: dict[int, dict] = {}  # of a step the first
    for text in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            numbers = isinstance(line, dict) and all(
                _is_number(value) or (name == "seeds" and _are_of_seeds(value))
                for name, value in line.items()
            )
            if numbers and type(line.get("step")) is int:
                lines.setdefault(line["step"], line)
    return list(lines.values())


def _is_number(value: Any) -> bool:
    return value is None or type(value) is float or (type(value) is int and abs(value) < 2**63)


def _are_of_seeds(value: Any) -> bool:
    lists = isinstance(value, dict) and all(type(each) is list for each in value.values())
    return lists and all(_is_number(number) for each in value.values() for number in each)


def figure(entry: Any) -> str:
    """A figure of evaluation.json with its standard error; of another version it may lack both."""
    if not isinstance(entry, Mapping):
        return "-"
    value, error = entry.get("value"), entry.get("standard_error")
    if not isinstance(value, int | float):
        return "none"
    return f"{value:.4g}" + (f" ± {error:.1g}" if isinstance(error, int | float) else "")


CURVES = (  # where at least one of a picture's is there
    ("d_loss", "g_loss"),
    ("real_logit", "fake_logit"),
    ("d_accuracy", "real_diversity", "fake_diversity"),
    ("loss", "reconstruction"),
    ("kl",),
    ("d_gradient_norm", "e_gradient_norm", "g_gradient_norm"),
)
LOSSES = ("d_loss", "g_loss", "loss", "reconstruction", "kl")


def write_curves(workdir: Path, groups: Sequence[str] = ("",)) -> Path | None:
    """curves.png: the losses and the health signals of metrics.jsonl against the step.

    Of several members it has a line for each of their `groups`, the mean, and a band of a standard
    deviation on either side.
    """
    from matplotlib.figure import Figure  # here: only training needs it

    lines = read_metrics(workdir)
    if not lines:
        return None
    told = {name for line in lines for name in line}
    curves = [shown for names in CURVES if (shown := [name for name in names if name in told])]
    if not curves:
        return None
    rows = -(-len(curves) // 2)
    height = 3.75 * rows
    figure = Figure(figsize=(10, height))
    # Fixed margins: a layout that measures all text takes as long as the drawing.
    figure.subplots_adjust(0.09, 0.55 / height, 0.99, 1 - 0.2 / height, 0.25, 0.2)
    for n, names in enumerate(curves):
        axes = figure.add_subplot(rows, 2, n + 1)
        for name in names:
            _curve(axes, lines, name, groups)
        axes.set_xlabel("step")
        axes.legend()
        axes.grid(alpha=0.3)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.locator_params(axis="x", nbins=6)
        if "g_gradient_norm" in names:
            axes.set_yscale("log")
    path = workdir / "curves.png"
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
    return path


def _curve(axes: Any, lines: list[dict], name: str, groups: Sequence[str]) -> None:
    steps = [line["step"] for line in lines]
    known = lambda value: math.nan if value is None else value  # noqa: E731
    if len(groups) == 1:
        axes.plot(steps, [known(line.get(name)) for line in lines], label=name)
        return
    absent = [None] * len(groups)
    values = np.array([[*map(known, line["seeds"].get(name, absent))] for line in lines])
    for group in dict.fromkeys(groups):
        own = np.ma.masked_invalid(values[:, [each == group for each in groups]])
        mean, spread = own.mean(1), own.std(1)
        (line,) = axes.plot(steps, mean, label=f"{name} {group}".strip())
        axes.fill_between(steps, mean - spread, mean + spread, color=line.get_color(), alpha=0.2)


def say(text: str) -> None:
    """Print a line; training goes on where the reader, `head` say, has seen enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


class Progress:
    """A bar with images/s, losses and time left on a terminal, plain lines elsewhere."""

    def __init__(self, step: int, steps: int, quiet: bool = False):
        self._bar = tqdm.tqdm(
            initial=step,
            total=steps,
            unit="step",
            dynamic_ncols=True,
            disable=quiet or not sys.stderr.isatty(),
        )

    def update(self, step: int) -> None:
        self._bar.update(step - self._bar.n)

    def metrics(self, values: Mapping[str, Any], seconds_left: float) -> None:
        there = [name for name in LOSSES if values.get(name) is not None]
        losses = {name: f"{values[name]:.3f}" for name in there}
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


class Clock:
    """Wall time of training, without compilation and drawing, over all starts of the run.

    `step`: where this start begins; `earlier`: seconds before it; `members`: which take as many
    images each.
    """

    def __init__(self, step: int, images_per_step: int, earlier: float, members: int = 1):
        self.images_per_step, self.earlier, self.members = images_per_step, earlier, members
        self.start_step = self.mark_step = step
        self.start = self.mark = time.perf_counter()
        self.waited = 0.0  # for data, since the last line

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.start += time.perf_counter() - begin
        self.mark += time.perf_counter() - begin

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begin

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.start

    def line(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """What metrics.jsonl says of `step`: these metrics, and the speed since the last line."""
        now = time.perf_counter()
        images = (step - self.mark_step) * self.images_per_step * self.members
        waited = self.waited / (now - self.mark)
        line = {
            "step": step,
            "kimg": step * self.images_per_step / 1000,
            "seconds": round(self.seconds, 3),
            **metrics,
            "images_per_second": round(images / (now - self.mark), 1),
            "data_wait": round(waited, 4),  # share of the time; an upper bound of the device's
        }
        self.mark, self.mark_step, self.waited = now, step, 0.0
        return line

    def seconds_left(self, step: int, steps: int) -> float:
        elapsed = time.perf_counter() - self.start
        return elapsed / (step - self.start_step) * (steps - step)
