"""How a config's step grows from 1 to 256 chips, by plan: compiled for each size, run on none.

    python -m benchmarks.scaling --config configs/dcgan.py --out plans

Two ways: so many images for each chip, and so many in all. `plans` gets the figures of each size,
which are not made again, and scaling.png: the three parts of a step's roofline, beside the time
that XLA expects of computing, and the memory of a chip. Takes `pip install -e ".[plan]"`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

SHAPES = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 64: "8x8", 256: "16x16"}
PARTS = ("compute", "hbm", "interconnect")


def planned(path: Path, config: str, chips: int, batch: int, more: list[str]) -> dict:
    if not path.exists():
        topology = f"v5e:{SHAPES[chips]}"
        command = [sys.executable, "-m", "jaxgan", "plan", "--config", config]
        command += ["--topology", topology, "--batch_size", str(batch), "--out", str(path), *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(path.read_text())["plans"][0]


def told(chips: int, plan: dict) -> str:
    line = plan["roofline"]
    parts = "  ".join(f"{part} {1e6 * line[part]:8.1f}" for part in PARTS)
    return (
        f"{chips:4d} chips, batch {plan['batch_size']:7,}: {parts} us, XLA expects "
        f"{1e6 * plan['expected']['seconds']:8.1f} us, bound by {line['bound']}, "
        f"{plan['memory']['peak'] / 2**20:7.1f} MiB, compiled in {plan['compile_seconds']} s"
    )


def draw(panels: dict[str, dict[int, dict]], title: str, path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(10, 7), layout="constrained")
    rows = figure.subplots(2, 2, sharex=True, sharey="row")
    for (name, found), above, below in zip(panels.items(), rows[0], rows[1], strict=True):
        chips = list(found)
        for part, marker in zip(PARTS, "os^", strict=True):
            times = [1e6 * plan["roofline"][part] for plan in found.values()]
            above.plot(chips, times, marker=marker, label=f"{part}, at best")
        expected = [1e6 * plan["expected"]["seconds"] for plan in found.values()]
        above.plot(chips, expected, "k--", label="computing, as XLA expects")
        memory = [plan["memory"]["peak"] / 2**20 for plan in found.values()]
        below.plot(chips, memory, marker="o")
        above.set(title=name, yscale="log")
        below.set(xlabel="chips of v5e", xscale="log", yscale="log")
        below.set_xticks(chips, [str(n) for n in chips])
        below.xaxis.set_minor_locator(NullLocator())
        for axes in (above, below):
            axes.grid(alpha=0.3, which="both")
    rows[0][0].set_ylabel("microseconds a step")
    rows[1][0].set_ylabel("MiB of a chip's memory")
    rows[0][0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/dcgan.py")
    parser.add_argument("--each", type=int, default=32, help="images for each chip")
    parser.add_argument("--all", type=int, default=4096, help="images in all")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    arguments, more = parser.parse_known_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    panels: dict[str, dict[int, dict]] = {}
    ways = {
        f"{arguments.each:,} images for each chip": ("each", lambda n: arguments.each * n),
        f"{arguments.all:,} images in all": ("all", lambda n: arguments.all),
    }
    for name, (prefix, batch) in ways.items():
        panels[name] = {}
        for chips in SHAPES:
            path = arguments.out / f"{prefix}_{chips}.json"
            plan = planned(path, arguments.config, chips, batch(chips), more)
            panels[name][chips] = plan
            print(told(chips, plan), flush=True)
    title = f"{arguments.config} {' '.join(more)}: compiled, not run"
    draw(panels, title, arguments.out / "scaling.png")


if __name__ == "__main__":
    main()
