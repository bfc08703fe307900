"""The training loop: data -> step -> write -> sample -> checkpoint.

Whatever it does at a step is a function of the step alone, so that a run that was stopped and
resumed passes through the same states as one that was not: on CPU to the bit, elsewhere as far as
the device's own arithmetic repeats itself.
"""

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import jaxgan
from jaxgan import data, experiment, parallel, writer
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import CADENCE, flatten
from jaxgan.errors import UserError
from jaxgan.typing import PyTree, UInt8


def train(config: ConfigDict, workdir: Path, dry_run: bool = False) -> int:
    """Train what `config` describes in `workdir`, or go on with the run that is there.

    Returns the exit code: 0, or 128 + the number of the signal that stopped it. Raises UserError.
    """
    config, dataset = experiment.prepare(config)
    algorithm = experiment.build(config)
    mesh = parallel.make_mesh(config.parallel.data, config.batch_size)
    with jax.set_mesh(mesh):
        summary = _summary(config, algorithm, mesh)  # finds impossible networks before a file is
        if dry_run:
            print(json.dumps(config.to_dict(), indent=2))
            print(summary)
            flops = experiment.flops_per_step(algorithm, mesh)
            print(f"one step: {flops / 1e9:.2f} GFLOP on each device, compiled by XLA")
            return 0
        _claim(workdir, config)
        with contextlib.closing(
            Checkpoints(workdir / "checkpoints", config.keep_checkpoints)
        ) as checkpoints:
            state, first = _initial_state(config, algorithm, checkpoints, mesh)
            if first >= config.steps:
                more = f"For more, add --config.steps={2 * first}."
                writer.say(f"This run is finished: {first:,} steps. {more}")
                return _farewell(workdir)
            writer.write_json(workdir / "config.json", config.to_dict())
            writer.say(summary)
            if first:
                writer.say(f"going on from step {first:,} of {config.steps:,}")
            step, signal_number, seconds = _train(
                config, workdir, dataset, algorithm, mesh, checkpoints, state, first
            )
    if step < config.steps:
        writer.write_curves(workdir)
        writer.say(f"stopped after step {step:,}; the checkpoint is written.")
        writer.say("The same command again goes on from there.")
        return 128 + signal_number
    writer.say(f"{step:,} steps ({config.derived.kimg:,.0f} kimg) in {seconds / 60:.1f} min.")
    return _farewell(workdir)


def _train(
    config, workdir, dataset, algorithm, mesh, checkpoints, state, first
) -> tuple[int, int, float]:
    """Train from step `first` on; the step reached, the stop signal or 0, and the run's seconds."""
    feed = experiment.make_feed(config, dataset)
    resident = parallel.place(mesh, feed.resident)
    feed = feed._replace(resident={})  # lets go of the host's copy
    if config.data.cache == "auto" and feed.cache:
        writer.say(f"data.cache: {feed.cache}")
    draw_samples = _sample_drawer(config, algorithm, dataset)
    calls: dict[int, Callable] = {}  # the compiled program for each number of steps
    step, pending = first, None
    with (
        contextlib.closing(writer.Writer(workdir, first)) as output,
        contextlib.closing(writer.Progress(first, config.steps)) as progress,
        contextlib.closing(_inputs(config, feed, mesh, first)) as batches,
        _stop_signal() as stopped,
    ):
        clock = _Clock(config, first, output.seconds)
        while step < config.steps and not stopped():
            with clock.waiting():
                count, inputs = next(batches)
            if count not in calls:
                with clock.stopped():
                    calls[count] = _compile(
                        progress, count, algorithm, mesh, feed, state, resident, inputs
                    )
            state, metrics = calls[count](state, resident, inputs)
            step += count
            jax.block_until_ready(pending)  # one call runs, the next is in line, no more
            pending = metrics

            last = step == config.steps
            if step % config.log_every == 0 or last or step == first + count:
                values = clock.line(step, jax.device_get(metrics))
                _refuse_nonfinite(values, checkpoints)
                progress.metrics(values, clock.seconds_left(step))
                if step % config.log_every == 0 or last:  # the first call's are for the user only
                    output.metrics(values)
            if step % config.sample_every == 0 or last:
                jax.block_until_ready(state)
                with clock.stopped():
                    output.samples(step, draw_samples(state))
            if step % config.checkpoint_every == 0 or last:
                checkpoints.save(step, state)
            progress.update(step)
        checkpoints.save(step, state)
        checkpoints.wait()  # a second Ctrl-C ends it at once, not the first
        return step, stopped(), clock.seconds


def _inputs(config, feed: data.Feed, mesh, first: int) -> Generator[tuple[int, PyTree], None, None]:
    """(number of steps, their inputs on the devices), one call after another from step `first`."""

    def calls() -> Iterator[tuple[int, int]]:
        step = first
        while step < config.steps:
            count = min(config.steps_per_call - step % config.steps_per_call, config.steps - step)
            yield step, count
            step += count

    def make(step: int, count: int) -> PyTree:
        return parallel.place(mesh, feed.inputs(step, count), batch_axis=2)

    with contextlib.closing(data.ahead(make, calls())) as made:
        for (_, count), inputs in made:
            yield count, inputs


# --------------------------------------------------------------------------------------------------
# The run's folder and state


def _claim(workdir: Path, config: ConfigDict) -> None:
    """Make `workdir` the folder of this run, or see that it is."""
    path = workdir / "config.json"
    try:
        if path.exists():
            _compare(workdir, experiment.read_config(workdir), config)
        elif workdir.is_dir() and any(workdir.iterdir()):
            raise UserError(f"--workdir: {workdir} holds other files and no run; name another")
        workdir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            writer.write_json(path, config.to_dict())
        (workdir / "checkpoints").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir: {workdir} cannot be used: {error.strerror}") from error


def _compare(workdir: Path, there: ConfigDict, here: ConfigDict) -> None:
    old = dict(flatten(there))
    new = dict(flatten(ConfigDict(json.loads(json.dumps(here.to_dict())))))
    free = {*CADENCE, "derived.kimg", "derived.epochs"}
    differing = [key for key in {**old, **new} if key not in free and old.get(key) != new.get(key)]
    if differing:
        listed = ", ".join(f"{k} ({old.get(k)} there, {new.get(k)} here)" for k in differing)
        raise UserError(
            f"--workdir: {workdir} holds a run with other settings: {listed}; "
            f"name another --workdir, or go on with that run's settings"
        )


def _initial_state(config, algorithm, checkpoints: Checkpoints, mesh) -> tuple[PyTree, int]:
    """The newest checkpoint's state, or a fresh one; and its step."""
    sharding = parallel.replicated(mesh)
    init = jax.jit(algorithm.init, out_shardings=sharding)
    key = jax.random.key(config.seed)
    if not checkpoints.steps():
        return init(key), 0
    step = checkpoints.steps()[-1]
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(init, key),
    )
    return checkpoints.restore(step, like), step


def _sample_drawer(
    config: ConfigDict, algorithm: Any, dataset: Any
) -> Callable[[PyTree], UInt8[np.ndarray, "h w c"]]:
    """A function that draws the state's samples of fixed latents: images in a grid, one row a class
    if there are any; points in a scatter plot, over real ones."""
    key = jax.random.fold_in(jax.random.key(config.seed), 3)  # init has taken 0 to 2
    classes = config.derived.num_classes
    if len(config.derived.image_shape) == 1:
        labels = jnp.arange(2500, dtype=jnp.int32) % max(classes, 1)
        real = np.asarray(dataset.draw(jax.random.fold_in(key, 0), 2500)[0])
        sample = jax.jit(lambda state: algorithm.sample(state, key, labels))
        return lambda state: writer.scatter(np.asarray(sample(state)), real)
    rows, columns = min(classes, 20) or 8, 10 if classes else 8
    labels = jnp.repeat(jnp.arange(rows, dtype=jnp.int32), columns)
    sample = jax.jit(lambda state: data.to_uint8(algorithm.sample(state, key, labels)))
    return lambda state: writer.grid(np.asarray(sample(state)), columns)


# --------------------------------------------------------------------------------------------------
# What the user reads


def _summary(config: ConfigDict, algorithm: Any, mesh: jax.sharding.Mesh) -> str:
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    device = mesh.devices.flat[0]
    shape = " x ".join(map(str, config.derived.image_shape))
    classes = f", {config.derived.num_classes} classes" if config.conditional else ""
    size = config.derived.num_examples
    number = f"{size:,} images of" if size else "drawn without end,"
    made = "".join(f", {name} {value}" for name, value in config.derived.data.items())
    epochs = f", {config.derived.epochs:.1f} epochs" if size else ""
    return (
        f"jaxgan {jaxgan.__version__} on {mesh.size} x {device.device_kind} ({device.platform})\n"
        f"data: {config.data.name} {config.data.split}, {number} {shape}{classes}{made}\n"
        f"model: {config.model.name}, generator {count(state.generator.params):,} parameters, "
        f"discriminator {count(state.discriminator.params):,}\n"
        f"training: {config.steps:,} steps of {config.derived.images_per_step} images{epochs}"
    )


def _refuse_nonfinite(values: dict[str, int | float], checkpoints: Checkpoints) -> None:
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        steps = checkpoints.steps()
        last = f"the newest checkpoint is of step {steps[-1]:,}" if steps else "no checkpoint yet"
        raise UserError(
            f"step {values['step']:,}: {broken[0]} is {values[broken[0]]}; {last}; try a smaller "
            f"optimizer.*.learning_rate, optimizer.*.clip_norm=1 or penalties.r1=1"
        )


def _compile(progress: writer.Progress, count: int, *arguments: Any) -> Callable:
    start = time.perf_counter()
    call = experiment.compile_call(*arguments)
    progress.say(f"compiled {count} steps in {time.perf_counter() - start:.1f} s")
    return call


def _farewell(workdir: Path) -> int:
    pictures = [*sorted((workdir / "samples").glob("*.png"))[-1:], writer.write_curves(workdir)]
    writer.say(f"pictures: {', '.join(map(str, filter(None, pictures)))}")
    writer.say(f"next: python -m jaxgan sample --workdir {workdir} --num 64 --out samples.png")
    return 0


class _Clock:
    """Wall time of training, without compilation and drawing, over all starts of the run."""

    def __init__(self, config: ConfigDict, step: int, earlier: float):
        self.config, self.earlier = config, earlier
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

    def line(self, step: int, metrics: dict[str, Any]) -> dict[str, int | float]:
        """What metrics.jsonl says of `step`: the means over the last call's steps, and the speed
        since the last line."""
        now, size = time.perf_counter(), self.config.derived.images_per_step
        speed = (step - self.mark_step) * size / (now - self.mark)
        waited = self.waited / (now - self.mark)
        self.mark, self.mark_step, self.waited = now, step, 0.0
        return {
            "step": step,
            "kimg": step * size / 1000,
            "seconds": round(self.seconds, 3),
            **{name: float(value) for name, value in metrics.items()},
            "images_per_second": round(speed, 1),
            "data_wait": round(waited, 4),  # share of the time; an upper bound of the device's
        }

    def seconds_left(self, step: int) -> float:
        elapsed = time.perf_counter() - self.start
        return elapsed / (step - self.start_step) * (self.config.steps - step)


@contextlib.contextmanager
def _stop_signal() -> Iterator[Callable[[], int]]:
    """Yields a function that tells the number of the stop signal received, 0 if none.

    The first Ctrl-C or SIGTERM is only noted, for the loop to end cleanly; the second one ends the
    process as usual.
    """
    received = 0
    usual = {}
    if threading.current_thread() is threading.main_thread():  # only there are signals handled
        usual = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def handle(number, frame):
        nonlocal received
        received = number
        for each, handler in usual.items():
            signal.signal(each, handler)
        # Not print: the handler may run in the middle of one.
        os.write(2, b"\nstopping after the steps at hand; once more to stop at once\n")

    for number in usual:
        signal.signal(number, handle)
    try:
        yield lambda: received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
