"""What checkpoints cost: training with one every 100 steps beside training with none, in one run.

    python benchmarks/checkpoints.py
    python benchmarks/checkpoints.py --config configs/cgan.py --rounds 9

Rounds of 100 steps with and without a checkpoint alternate. One that has it begins with it and ends
when it is on the disk, so what is written beside the training counts too.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax

from jaxgan import config, experiment, parallel
from jaxgan.checkpoint import Checkpoints
from jaxgan.programs import compile_call, first_nonfinite_leaf, initial_state

EVERY = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/default.py")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    settings, dataset = experiment.prepare(config.load(options.config))
    algorithm, count = experiment.build(settings), settings.steps_per_call
    mesh = experiment.make_mesh(settings)
    feed = experiment.make_feed(settings, algorithm, dataset)
    with jax.set_mesh(mesh), tempfile.TemporaryDirectory() as folder:
        resident = parallel.place(mesh, feed.resident)
        state = initial_state(settings, algorithm, mesh)
        inputs = parallel.place(mesh, feed.inputs(0, count), batch_axis=2)
        call = compile_call(settings, algorithm, mesh, feed, state, resident, inputs)
        checkpoints = Checkpoints(Path(folder) / "last", settings.keep_checkpoints)
        done = 0

        def train(save: bool) -> float:
            """Milliseconds a step."""
            nonlocal state, done
            begin = time.perf_counter()
            if save:
                assert first_nonfinite_leaf(state) is None
                checkpoints.save(done, state)
            for _ in range(EVERY // count):
                state, metrics = call(state, resident, inputs, None)
                jax.block_until_ready(metrics)
            checkpoints.wait()
            done += EVERY
            return (time.perf_counter() - begin) * 1000 / EVERY

        train(True)  # compiles what saving needs
        times = [(train(False), train(True)) for _ in range(options.rounds)]
        checkpoints.close()
    without, saving = map(statistics.median, zip(*times, strict=True))
    ratios = sorted(b / a for a, b in times)
    print(
        f"{options.config}: {without:.1f} ms a step; with a checkpoint every {EVERY}, {saving:.1f}"
    )
    middle = statistics.median(ratios)
    print(f"ratio {middle:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}, {options.rounds} rounds)")


if __name__ == "__main__":
    main()
