"""Time of one training step: jaxgan beside plain Flax and PyTorch, six GANs, in one run.

    python -m benchmarks.steps [--torch PYTHON] [--cases dcgan,cgan] [--sides jaxgan,eager]
        [--rounds 9] [--out FILE.json]
    python -m benchmarks.steps [--torch PYTHON] --grow FOLDER

All sides (sides.py) have the same networks, first weights, batches, latents, optimiser and moving
average. Before anything is timed their losses of three steps and the weights after them are
compared, and those that differ by more than rounding end the run.

    jaxgan         its step in a compiled loop of several, as in training
    flax           the same modules on Flax's own lowerings (those of nn.Conv and nn.ConvTranspose),
                   one jit, called for each step
    eager, channels_last, compile
                   PyTorch: torch_gan.py

Each side runs in a process of its own and all take turns of about a second, so that what else the
machine does falls on all; a ratio is the median of those of the rounds. PyTorch's step computes its
losses alone, jaxgan's also its health metrics. Batches wait in memory; schedules are constants.
FLOPs are those that XLA counts in the plain program; the peak is that of a product of two matrices
of 2048 x 2048 in float32, measured in jaxgan's turns.

Other work on the machine misleads: with one core taken PyTorch's steps took several times as long,
jaxgan's twice. So the load is printed first.

--grow measures how the time grows with the batch, the width and the size of the images (dcgan, in
three rounds), and draws FOLDER/steps.png.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.sides import CASES, PYTORCH, ROOT

SIDES = ("jaxgan", "flax", *PYTORCH)
TURN, SLOW = 1.0, 2.0  # seconds: of a turn; of a step that has a turn for itself
# Adam makes steps of equal size of gradients that are near zero, whose rounding thereby grows:
# 1e-3 and 0.08 are seen at most, and with 128 pixels 0.014 and 0.14.
LOSSES_WITHIN, WEIGHTS_WITHIN = 3e-2, 0.2

GROWN_SIDES, GROWN_ROUNDS = ("jaxgan", "flax", "channels_last"), 3
GROWN = {
    "batch size": {n: {"batch_size": n} for n in (16, 32, 64, 128, 256)},
    "width": {n: {"width": n} for n in (16, 32, 64, 128)},
    "pixels along a side, width 32": {
        n: {"image_shape": (n, n, 3), "width": 32} for n in (32, 64, 128)
    },
}


class Side:
    """A process that computes one side of a comparison."""

    def __init__(self, python: str, name: str, arguments: list[str], module="benchmarks.sides"):
        self.name, command = name, [python, "-m", module, *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, line: str) -> dict:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name}: the process ended early")
        return json.loads(answer)

    def warmed_up(self, seconds: float) -> int:
        """How many steps a turn has, after a warm-up; `seconds`: what a step took when compared."""
        steps = 1
        if seconds < SLOW:
            self.ask("run 3")  # compiles
            steps = max(1, round(TURN * 3 / self.ask("run 3")["seconds"]))
        self.ask(f"run {steps}")  # compiled for so many
        return steps

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def differences(folder: Path, answers: dict[str, dict], side: str) -> tuple[float, float]:
    """The largest of the losses from jaxgan's; that of the weights as a share of their movement.

    Ends the run where the side computes something else.
    """
    losses = np.array(answers[side]["losses"]) - np.array(answers["jaxgan"]["losses"])
    before, ours, theirs = (np.load(folder / f"{name}.npz") for name in ("weights", "jaxgan", side))
    names = [key for key in before if "/params/" in key]
    apart = sum(float(np.square(theirs[key] - ours[key]).sum()) for key in names)
    moved = sum(float(np.square(ours[key] - before[key]).sum()) for key in names)
    loss, weights = float(np.abs(losses).max()), (apart / moved) ** 0.5
    if not (loss <= LOSSES_WITHIN and weights <= WEIGHTS_WITHIN):  # nor NaN
        raise SystemExit(
            f"{side} does not compute jaxgan's step: losses differ by up to {loss:.1e} (at most "
            f"{LOSSES_WITHIN} is rounding), weights by {weights:.1e} of their movement "
            f"({WEIGHTS_WITHIN})"
        )
    return loss, weights


def measure(name: str, changes: dict, pythons: dict[str, str], rounds: int) -> dict:
    """Milliseconds a step of every side in each round, and what was compared before."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sides: dict[str, Side] = {}
        answers: dict[str, dict] = {}
        apart, steps = {}, {}
        try:
            for side, python in pythons.items():
                arguments = [side, name, json.dumps(changes), str(folder)]
                sides[side] = Side(python, f"{name}, {side}", arguments)
                answers[side] = sides[side].ask("compare")
                apart[side] = differences(folder, answers, side)
            for side, process in sides.items():
                steps[side] = process.warmed_up(answers[side]["seconds"])
            times: dict[str, list[float]] = {side: [] for side in sides}
            peaks = []
            for number in range(rounds):
                peaks.append(sides["jaxgan"].ask("peak")["peak"])
                for side in list(sides)[:: 1 if number % 2 else -1]:  # none is always the first
                    seconds = sides[side].ask(f"run {steps[side]}")["seconds"]
                    times[side].append(1000 * seconds / steps[side])
        finally:
            for process in sides.values():
                process.close()
    gflop = answers.get("flax", {}).get("gflop", 0.0)
    return {"ms": times, "peak": peaks, "gflop": gflop, "apart": apart}


def middle(values: list[float], form: str = ".1f") -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} to {high:{form}})"


def told(name: str, found: dict) -> str:
    """The case's lines."""
    times, lines = found["ms"], [name]
    for side, each in times.items():
        loss, weights = found["apart"][side]
        lines.append(
            f"  {side:14s} {middle(each):28s} ms a step; losses within {loss:.1e}, "
            f"weights within {weights:.1e} of their movement"
        )
    pytorch = {side: statistics.median(times[side]) for side in PYTORCH if side in times}
    best = [min(pytorch, key=pytorch.__getitem__)] if pytorch else []
    for other in [*best, *(["flax"] if "flax" in times else [])]:
        ratios = [a / b for a, b in zip(times["jaxgan"], times[other], strict=True)]
        lines.append(f"  jaxgan / {other}: {middle(ratios, '.2f')}")
    if found["gflop"]:
        gflop, peaks = found["gflop"], found["peak"]
        shares = [
            100 * gflop / ms * 1000 / peak for ms, peak in zip(times["jaxgan"], peaks, strict=True)
        ]
        lines.append(
            f"  {gflop:.2f} GFLOP a step: {statistics.median(shares):.0f} % of the peak, "
            f"{middle(peaks)} GFLOP/s"
        )
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------
# Growth


def grow(folder: Path, pythons: dict[str, str]) -> None:
    """Prints the times of all sizes, and draws them."""
    found: dict[str, dict] = {}  # by the changes: the panels have some cases in common
    panels: dict[str, dict[int, dict[str, float]]] = {}
    for variable, cases in GROWN.items():
        panels[variable] = {}
        for value, changes in cases.items():
            changes = CASES["dcgan"] | changes
            key = json.dumps(changes, sort_keys=True)
            if key not in found:
                found[key] = measure("dcgan", changes, pythons, GROWN_ROUNDS)
            times = found[key]["ms"]
            panels[variable][value] = {s: statistics.median(each) for s, each in times.items()}
            told_times = ", ".join(f"{side} {middle(each)}" for side, each in times.items())
            print(f"{variable} {value}: {told_times} ms a step", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    draw(panels, folder / "steps.png")


def draw(panels: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(11, 4), layout="constrained")
    names = {"flax": "plain Flax", "channels_last": "PyTorch, channels last"}
    all_axes = figure.subplots(1, len(panels), sharey=True)
    for axes, (variable, times) in zip(all_axes, panels.items(), strict=True):
        for side, marker in zip(GROWN_SIDES, "o^s", strict=True):
            line = [each[side] for each in times.values()]
            axes.plot(list(times), line, marker=marker, label=names.get(side, side))
        axes.set(xscale="log", yscale="log", xlabel=variable)
        axes.set_xticks(list(times), [str(value) for value in times])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
    all_axes[0].set_ylabel("ms a step")
    all_axes[0].legend(loc="upper left")
    figure.suptitle("dcgan; 32 x 32 x 3 pixels, width 64, batches of 64 where nothing else is said")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--sides", default=",".join(SIDES), help="jaxgan, the first, is needed")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    parser.add_argument("--grow", type=Path, metavar="FOLDER", help="measure growth, draw it there")
    arguments = parser.parse_args()
    sides = GROWN_SIDES if arguments.grow else arguments.sides.split(",")
    pythons = {s: arguments.torch if s in PYTORCH else sys.executable for s in sides}
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    if arguments.grow:
        return grow(arguments.grow, pythons)
    results = {}
    for name in arguments.cases.split(","):
        results[name] = measure(name, CASES[name], pythons, arguments.rounds)
        print(told(name, results[name]), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
