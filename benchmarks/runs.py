"""Whole runs of configs/cgan.py: jaxgan's train.py beside a PyTorch script that does the same.

    python benchmarks/runs.py --torch PYTHON [--steps 1500]

Three measurements, each from the lines that processes print and the time at which they do:

* The whole run, from the start of the process to its end: train.py with an empty compilation cache
  and once more in a new folder with what the first has left there; and PyTorch's script in its
  variants (torch_gan.py), "compile" twice as well. That script trains the same networks from the
  same images, draws the same grids of 100 images from the averaged weights and saves as often, and
  prints its losses as often, but computes no health metrics and writes no TensorBoard files.
* The loop's overhead: the time of the second run from its first line, which ends the first call of
  25 steps, to its last step, with all lines, grids and checkpoints between, over that of as many
  bare compiled calls. Those run in processes of their own before and after; their mean counts.
* The start: from the command to the first line of losses, after 25 steps, with the default config
  and the cache filled. Median of three; PyTorch's is of its fastest start above.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs/cgan.py"
CALL = 25  # steps, as in the config
LOG, GRID, CHECKPOINT = 100, 500, 1000  # the same
VARIANTS = ("eager", "channels_last", "compile", "compile")
STARTS = 3


# --------------------------------------------------------------------------------------------------
# PyTorch's script and the bare calls, in processes of their own


def torch_run(folder: Path, variant: str, steps: int) -> None:
    import torch
    from PIL import Image

    from benchmarks.torch_gan import Training

    case = json.loads((folder / "case.json").read_text())
    arrays = np.load(folder / "images.npz")
    training = Training(case, dict(np.load(folder / "weights.npz")), variant)
    images = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2)
    images = images.clone(memory_format=training.format)
    labels = torch.from_numpy(arrays["labels"]).long()
    batch, z_dim, classes = case["batch_size"], case["z_dim"], case["num_classes"]
    fixed = torch.randn(10 * classes, z_dim), torch.arange(classes).repeat_interleave(10)

    def grid() -> Image.Image:
        pixels = ((training.sample(*fixed) + 1) * 127.5).round().to(torch.uint8)[:, 0]
        rows = pixels.unflatten(0, (classes, 10)).permute(0, 2, 1, 3)
        return Image.fromarray(rows.flatten(2).flatten(0, 1).numpy())

    for step in range(1, steps + 1):
        chosen = torch.randint(len(images), (batch,))
        real = images[chosen].float().div_(127.5).sub_(1), labels[chosen]
        losses = training.step(real, real, torch.randn(batch, z_dim), torch.randn(batch, z_dim))
        if step == CALL or step % LOG == 0:
            d_loss, g_loss = (each.item() for each in losses)
            print(f"step {step}  d_loss {d_loss:.3f}  g_loss {g_loss:.3f}", flush=True)
        if step % GRID == 0 or step == steps:
            grid().save(folder / f"{step}.png")
        if step % CHECKPOINT == 0 or step == steps:
            parts = [*training.players, *training.optimizers]
            state = [*(part.state_dict() for part in parts), training.average]
            torch.save(state, folder / f"{step}.pt")


def bare_calls(steps: int) -> None:
    """Prints the seconds of as many compiled calls as follow a run's first, one after another."""
    import jax

    from jaxgan import config as configs
    from jaxgan import experiment, parallel
    from jaxgan.programs import compile_call, initial_state

    config, dataset = experiment.prepare(configs.load(CONFIG, [f"steps={steps}"]))
    algorithm = experiment.build(config)
    mesh = experiment.make_mesh(config)
    with jax.set_mesh(mesh):
        feed = experiment.make_feed(config, algorithm, dataset)
        resident = parallel.place(mesh, feed.resident)
        first, *others = (
            parallel.place(mesh, feed.inputs(step, CALL), batch_axis=2)
            for step in range(0, steps, CALL)
        )
        state = initial_state(config, algorithm, mesh)
        call = compile_call(config, algorithm, mesh, feed, state, resident, first)
        state = jax.block_until_ready(call(state, resident, first, None)[0])
        begin = time.perf_counter()
        for inputs in others:
            state, _ = call(state, resident, inputs, None)
        jax.block_until_ready(state)
        print(time.perf_counter() - begin)


# --------------------------------------------------------------------------------------------------
# The parent


def timed(command: list, folder: Path, until: str = "") -> tuple[float, list[tuple[float, str]]]:
    """Seconds to the process's end and to each of its lines; with `until` it is asked to end after
    the first line that begins so."""
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }
    begin, lines = time.perf_counter(), []
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if until else None,  # it tells of the stop
        text=True,
    )
    assert process.stdout
    for line in process.stdout:
        lines.append((time.perf_counter() - begin, line))
        if until and line.startswith(until):
            process.send_signal(signal.SIGINT)
            until = ""
    expected = (0, 128 + signal.SIGINT)
    if process.wait() not in expected:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {process.returncode}")
    return time.perf_counter() - begin, lines


def at(lines: list[tuple[float, str]], pattern: str) -> float:
    """When the first line came that begins so."""
    return next(seconds for seconds, line in lines if re.match(pattern, line))


def write_inputs(folder: Path) -> None:
    """What PyTorch's script reads: the images, the case and jaxgan's first weights."""
    import jax

    from benchmarks import sides
    from jaxgan import data
    from jaxgan.assembly import build

    config = sides.resolved("cgan", {})
    (folder / "case.json").write_text(json.dumps(sides.case_of(config)))
    state = jax.jit(build(config).init)(jax.random.key(1))
    np.savez(folder / "weights.npz", **sides.weights_of(state))
    dataset = data.load(config.data.name, config.data.split)
    np.savez(folder / "images.npz", images=dataset.images, labels=dataset.labels)


def report(
    ours: list[tuple[float, list]],
    theirs: list[tuple[float, list]],
    bare: list[float],
    starts: list[float],
    steps: int,
) -> None:
    print(f"whole run of {steps:,} steps, s: jaxgan {ours[0][0]:.1f}, again {ours[1][0]:.1f}")
    names = [*VARIANTS[:3], "compile again"]
    print("  PyTorch:", ", ".join(f"{n} {t[0]:.1f}" for n, t in zip(names, theirs, strict=True)))
    for (seconds, _), others, what in ((ours[0], theirs[:3], "first"), (ours[1], theirs, "again")):
        print(f"  jaxgan, {what} / the best: {seconds / min(each[0] for each in others):.2f}")
    lines = ours[1][1]
    loop = at(lines, r"[\d,]+ steps \(") - at(lines, "step ")
    means = statistics.mean(bare)
    print(
        f"loop: {loop:.2f} s, bare calls {' and '.join(f'{b:.2f}' for b in bare)} s of "
        f"{steps - CALL:,} steps: {100 * (loop / means - 1):+.1f} %"
    )
    start, best = statistics.median(starts), min(at(each, "step ") for _, each in theirs)
    listed = ", ".join(f"{each:.1f}" for each in starts)
    print(f"start to the first losses, s: jaxgan {start:.1f} ({listed}), PyTorch {best:.1f}")
    print(f"  jaxgan / PyTorch: {start / best:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", required=True, help="a Python that has torch")
    parser.add_argument("--steps", type=int, default=1500, help=f"a multiple of {CALL}")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    steps = arguments.steps
    if steps % CALL or steps == CALL:
        parser.error(f"--steps: a multiple of {CALL}, and more than that")
    if arguments.child:
        variant, *folder = arguments.child
        return torch_run(Path(folder[0]), variant, steps) if folder else bare_calls(steps)
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_inputs(folder)

        def ours(name: str, *options: str, until: str = ""):
            command = [sys.executable, "train.py", "--config", CONFIG, "--workdir", folder / name]
            return timed([*command, *options], folder, until)

        def child(python: str, *rest):
            own = ["--torch", "", "--steps", steps, "--child", *rest]
            return timed([python, __file__, *own], folder)

        def bare() -> float:
            return float(child(sys.executable, "bare")[1][-1][1])

        runs = [ours("first", f"--config.steps={steps}")]
        theirs = [child(arguments.torch, variant, folder) for variant in VARIANTS]
        calls = [bare()]
        runs.append(ours("second", f"--config.steps={steps}"))
        calls.append(bare())
        starts = [ours(f"start{n}", until="step ")[1] for n in range(STARTS + 1)]
        # The first may still compile: its number of steps is another.
        report(runs, theirs, calls, [at(each, "step ") for each in starts[1:]], steps)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
