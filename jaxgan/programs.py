"""What is compiled for a run: the steps, the drawing of pictures, its evaluation; and the cost."""

import contextlib
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgan import data, evaluation, parallel, seeds, writer
from jaxgan.assembly import build
from jaxgan.evaluation import Judge
from jaxgan.experiment import abstract_state, make_feed, members, way
from jaxgan.sampler import Sampler
from jaxgan.typing import Metrics, PyTree, UInt8

GIVEN = 30  # images that a picture shows what is made of


class Programs:
    """What is compiled for a run: all that takes long, before its first step."""

    def __init__(
        self,
        config: ConfigDict,
        algorithm: Any,
        dataset: Any,
        judge: Judge | None,
        mesh: Mesh,
        feed: data.Feed,
        resident: PyTree,
    ):
        self.config, self.algorithm, self.mesh = config, algorithm, mesh
        self.feed, self.resident = feed, resident
        self.calls: dict[int, Callable] = {}  # for each number of steps
        self.draw = make_drawing(config, algorithm, mesh, dataset)
        health = algorithm.health
        if len(members(config)) > 1:
            health = seeds.each(health, way(config, algorithm))
        self.health = jax.jit(health)
        self.evaluate: Callable = lambda state, stopped: [{}]
        if judge:
            self.evaluate = make_evaluation(config, algorithm, judge, mesh)

    def compile(self, state: PyTree, inputs: PyTree, counts: set[int]) -> None:
        """The programs for so many steps; `inputs` are those of any call."""
        setting = self.config, self.algorithm, self.mesh, self.feed
        for count in counts:
            shapes = jax.tree.map(
                lambda x, count=count: jax.ShapeDtypeStruct(
                    (count, *x.shape[1:]), x.dtype, sharding=x.sharding
                ),
                inputs,
            )
            self.calls[count] = compile_call(*setting, state, self.resident, shapes)


class Stop:
    """The stop signals that processes have received: the number of the largest, 0 for none.

    All know it at the same step, for each call carries what every process has received by then.
    """

    def __init__(self, here: Callable[[], int], mesh: Mesh):
        self.here, self.mesh = here, mesh
        self.known = 0  # of several processes

    def __call__(self) -> int:
        return self.here() if jax.process_count() == 1 else self.known

    def signal(self) -> jax.Array | None:
        """This process's, for the next call."""
        return parallel.signal(self.mesh, self.here())

    def hear(self, metrics: dict[str, np.ndarray]) -> None:
        """Takes all processes' out of a call's metrics."""
        self.known = max(self.known, int(metrics.pop("signal", [0])[0]))

    def ask(self) -> int:
        """What all have received by now; each must ask."""
        self.known = max(self.known, parallel.largest(self.here()))
        return self()


def initial_state(config: ConfigDict, algorithm: Any, mesh: Mesh) -> PyTree:
    """The first state of the run, or of its members, on the devices of the mesh."""
    # It runs once: on CPU LLVM would take seven times as long to make it quick.
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    there = members(config)
    at = jax.tree.map(lambda x: x.sharding, abstract_state(algorithm, mesh, len(there)))
    if len(there) == 1:
        init = jax.jit(algorithm.init, out_shardings=at, compiler_options=quick)
        return init(jax.random.key(config.seed))
    init = jax.jit(algorithm.init, compiler_options=quick)  # each as in its own run, to the bit
    states = [init(jax.random.key(member.seed)) for member in there]
    return jax.jit(seeds.stacked, out_shardings=at, compiler_options=quick)(states)


def calls(config: ConfigDict, step: int) -> Iterator[tuple[int, int]]:
    """(step, number of steps) of one call after another."""
    while step < config.steps:
        count = min(config.steps_per_call - step % config.steps_per_call, config.steps - step)
        yield step, count
        step += count


def inputs_of(
    config: ConfigDict, feed: data.Feed, mesh: Mesh, first: int
) -> Generator[tuple[int, PyTree], None, None]:
    """(number of steps, their inputs on the devices), one call after another from step `first`."""

    def make(step: int, count: int) -> PyTree:
        return parallel.place(mesh, feed.inputs(step, count), **axes(feed))

    with contextlib.closing(data.ahead(make, calls(config, first))) as made:
        for (_, count), inputs in made:
            yield count, inputs


def axes(feed: data.Feed) -> dict[str, int]:
    """Of a call's inputs, whose first axis are the steps."""
    return {"batch_axis": 2} if isinstance(feed.seed, int) else {"batch_axis": 3, "member_axis": 1}


def counts(config: ConfigDict, step: int) -> set[int]:
    """The numbers of steps that `calls` gives: of the first, of the last, and of all between."""
    first = [count for _, count in itertools.islice(calls(config, step), 1)]
    full, last = divmod(config.steps - step - sum(first), config.steps_per_call)
    return {*first, *([config.steps_per_call] if full else []), *([last] if last else [])}


def compile_call(
    config: ConfigDict,
    algorithm: Any,
    mesh: Mesh,
    feed: data.Feed,
    state: PyTree,
    resident: PyTree,
    inputs: PyTree,
) -> jax.stages.Compiled:
    """`call(state, resident, inputs, signal) -> (state, metrics)`: the steps that `inputs` is for.

    `resident` are the feed's arrays that stay on the devices, `inputs` what the steps take beside
    them. The state is donated; metrics are arrays with one element a step, and of several members
    with an axis of these. Where a step with a metric that is not finite is skipped, it changes
    nothing of the state (of that member) but its number. `signal`
    are numbers, one from each device, of which the largest is a metric; None among processes that
    are one.
    """
    there = members(config)

    def of_one(resident, values, state, inputs) -> tuple[PyTree, Metrics]:
        train = build(config, values, begun=True).step if values else algorithm.step
        if config.parallel.mode == "replica":
            train = parallel.on_replicas(train, mesh, config.parallel.synchronise)

        def step(state, inputs):
            batch = feed.minibatches(resident, inputs)
            if not algorithm.num_classes:
                batch = {"image": batch["image"]}
            updated, metrics = train(state, parallel.constrain_batch(batch, axis=1))
            if config.on_nonfinite == "skip":
                good = jnp.all(jnp.isfinite(jnp.stack(list(metrics.values()))))
                unchanged = state.replace(step=updated.step)
                updated = jax.tree.map(lambda *x: jnp.where(good, *x), updated, unchanged)
            return updated, metrics

        return jax.lax.scan(step, state, inputs)

    def of_all(resident, state, inputs) -> tuple[PyTree, Metrics]:
        # By `map` one member does all its steps before the next: its state stays in the cache.
        run = seeds.each(of_one, way(config, algorithm), shared=(0,))
        values = {key: jnp.array([m.values[key] for m in there]) for key in there[0].values}
        swapped = lambda tree: jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)  # noqa: E731
        state, metrics = run(resident, values, state, swapped(inputs))
        return state, swapped(metrics)

    def call(state, resident, inputs, signal) -> tuple[PyTree, Metrics]:
        if len(there) > 1:
            state, metrics = of_all(resident, state, inputs)
        else:
            state, metrics = of_one(resident, {}, state, inputs)
        if signal is not None:
            like = next(iter(metrics.values()))
            metrics["signal"] = jnp.full(like.shape, jnp.max(signal))
        return state, metrics

    out = parallel.state_shardings(mesh, state), parallel.replicated(mesh)
    compiled = jax.jit(call, donate_argnums=0, out_shardings=out)
    return compiled.lower(state, resident, inputs, parallel.signal(mesh, 0)).compile()


def first_nonfinite_leaf(state: PyTree) -> str | None:
    """The name of the first of the state's arrays with an element that is not finite."""
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(state)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    good = np.asarray(_all_finite(list(leaves.values())))
    return None if good.all() else list(leaves)[int(np.argmin(good))]


@jax.jit
def _all_finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])


def make_evaluation(
    config: ConfigDict, algorithm: Any, judge: Judge, mesh: Mesh
) -> Callable[[PyTree, Callable[[], int]], list[dict[str, float]] | None]:
    """`evaluate(state, stopped)`: the judge's figures of the samples of each member's state, by
    their names.

    None if `stopped()` before the end.
    """
    mesh, there = parallel.of_one(mesh), members(config)
    with jax.set_mesh(mesh):
        trial = evaluation.Trial(judge, mesh, config.evaluation.samples)
    sampler = Sampler(algorithm, mesh)

    def evaluate(state: PyTree, stopped: Callable[[], int]) -> list[dict[str, float]] | None:
        found = []
        try:
            with jax.set_mesh(mesh):
                for member, own in zip(there, seeds.parts(state, len(there)), strict=True):
                    found.append(trial.of_state(sampler, own, member.seed, stopped))
        except evaluation.Stopped:
            return None
        return [{name: evaluation.number(value) for name, value in each.items()} for each in found]

    return evaluate


def make_drawing(
    config: ConfigDict, algorithm: Any, mesh: Mesh, dataset: Any
) -> Callable[[PyTree], dict[str, UInt8[np.ndarray, "h w c"]]]:
    """A function that draws each member's samples of fixed latents, by the members' names; of a
    run that is one the name is empty."""
    mesh, there = parallel.of_one(mesh), members(config)
    with jax.set_mesh(mesh):
        draw = _drawing_of_one(config, algorithm, mesh, dataset)

    def of_each(state: PyTree) -> dict[str, UInt8[np.ndarray, "h w c"]]:
        with jax.set_mesh(mesh):
            return {
                member.name if len(there) > 1 else "": draw(
                    parallel.distribute(mesh, own), member.seed
                )
                for member, own in zip(there, seeds.parts(state, len(there)), strict=True)
            }

    return of_each


def _drawing_of_one(
    config: ConfigDict, algorithm: Any, mesh: Mesh, dataset: Any
) -> Callable[[PyTree, int], UInt8[np.ndarray, "h w c"]]:
    """(state, seed) -> images, or spectrograms of sounds, in a grid, one row a class if there are
    any; or points in a scatter plot, over real ones."""
    key_of = lambda seed: jax.random.fold_in(jax.random.key(seed), 3)  # noqa: E731 init took 0 to 2
    classes = config.derived.num_classes
    if not hasattr(algorithm, "sample"):
        return _drawing_of_given(config, algorithm, mesh, dataset, key_of)
    like, whole = abstract_state(algorithm, mesh), parallel.replicated(mesh)
    key = key_of(config.seed)
    sound = data.sound_of(config.derived.data.to_dict())
    if len(config.derived.image_shape) == 1 and not sound:
        labels = jnp.arange(2500, dtype=jnp.int32) % max(classes, 1)
        real = np.asarray(dataset.draw(jax.random.fold_in(key, 0), 2500)[0])
        sample = lambda state, key: algorithm.sample(state, key, labels)  # noqa: E731
        points = jax.jit(sample, out_shardings=whole).lower(like, key).compile()
        return lambda state, seed: writer.scatter(np.asarray(points(state, key_of(seed))), real)
    if len(config.derived.image_shape) == 2:
        labels = jnp.zeros(60, jnp.int32)
        sample = lambda state, key: algorithm.sample(state, key, labels)  # noqa: E731
        drawn = jax.jit(sample, out_shardings=whole).lower(like, key).compile()
        return lambda state, seed: writer.page(data.to_texts(drawn(state, key_of(seed))))
    rows, columns = min(classes, 20) or 8, 10 if classes else 8
    labels = jnp.repeat(jnp.arange(rows, dtype=jnp.int32), columns)
    view = functools.partial(data.spectrograms, sound=sound) if sound else lambda images: images
    sample = lambda state, key: data.to_uint8(view(algorithm.sample(state, key, labels)))  # noqa: E731
    images = jax.jit(sample, out_shardings=whole).lower(like, key).compile()
    return lambda state, seed: writer.grid(np.asarray(images(state, key_of(seed))), columns)


def _drawing_of_given(
    config: ConfigDict, algorithm: Any, mesh: Mesh, dataset: Any, key_of: Callable
) -> Callable[[PyTree, int], UInt8[np.ndarray, "h w c"]]:
    """(state, seed) -> what the algorithm shows of the data's first images."""
    count, columns = min(GIVEN, dataset.num_examples), 10
    images, labels = dataset.read(np.arange(count))
    given = data.to_float(jnp.asarray(images)), jnp.zeros(count, jnp.int32)
    if labels is not None:
        given = given[0], jnp.asarray(labels)
    shown = lambda state, key: algorithm.show(state, key, *given)  # noqa: E731
    like, whole = abstract_state(algorithm, mesh), parallel.replicated(mesh)
    program = jax.jit(shown, out_shardings=whole).lower(like, key_of(config.seed)).compile()
    return lambda state, seed: writer.rows(
        [np.asarray(data.to_uint8(each)) for each in program(state, key_of(seed))], columns
    )


def costs(config: ConfigDict, algorithm: Any, dataset: Any, mesh: Mesh) -> str:
    """Two lines: the memory that a call of several steps needs, by its compiled program, and the
    operations of one step."""
    feed, count = make_feed(config, algorithm, dataset), min(config.steps_per_call, config.steps)
    state = abstract_state(algorithm, mesh, len(members(config)))
    resident, inputs = given(feed, mesh, count)
    begin = time.perf_counter()
    call = compile_call(config, algorithm, mesh, feed, state, resident, inputs)
    line = f"{count} steps in one call, ready in {time.perf_counter() - begin:.1f} s"
    found = call.memory_analysis()
    if found:  # a platform may not tell
        results = found.output_size_in_bytes - found.alias_size_in_bytes
        parts = {
            "state": bytes_on_device(state),
            "images": bytes_on_device((resident, inputs)),
            "what a step computes": results + found.temp_size_in_bytes,
        }
        listed = ", ".join(f"{size / 2**20:,.1f} of {name}" for name, size in parts.items())
        line += f": it takes {sum(parts.values()) / 2**20:,.1f} MiB on each device ({listed})"
    with jax.set_mesh(parallel.of_one(mesh)):
        gflops = flops_per_step(algorithm, parallel.of_one(mesh)) / 1e9
    operations = "uncounted" if math.isnan(gflops) else f"{gflops:.2f} GFLOP on each device"
    return f"{line}\none step: {operations}, compiled by XLA"


def given(feed: data.Feed, mesh: Mesh, count: int) -> tuple[PyTree, PyTree]:
    """Shapes and places of a feed's arrays on the devices, and of what a call of `count` steps
    takes beside them."""
    whole, of_batch = parallel.replicated(mesh), axes(feed)

    def at(x: np.ndarray) -> jax.ShapeDtypeStruct:
        sharding = parallel.of_inputs(mesh, x.ndim, **of_batch)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    resident = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), feed.resident
    )
    return resident, jax.tree.map(at, feed.inputs(0, count))


def bytes_on_device(tree: PyTree) -> int:
    """Of the arrays' parts on one device, without padding."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
    )


def flops_per_step(algorithm: Any, mesh: Mesh) -> float:
    """Floating-point operations of one training step on each device, as XLA counts them.

    NaN where it cannot: it counts the body of a loop once, and many updates that are unrolled and
    sequences are such.
    """
    loops = getattr(algorithm, "recurrent", False)
    if loops or (algorithm.opponent and getattr(algorithm, "unrolled_steps", 1)):
        return math.nan
    algorithm = dataclasses.replace(algorithm, accumulate=1)  # another loop, of the same work

    def flops(function: Callable, *arguments: PyTree) -> float:
        analysis = jax.jit(function).lower(*arguments).compile().cost_analysis()
        return (analysis or {}).get("flops", math.nan)  # a platform may not tell

    def shape(*sizes: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
        """An array whose batch lies before `sizes`, split over the devices."""
        sharding = parallel.split(mesh, 0)
        return jax.ShapeDtypeStruct((algorithm.batch_size, *sizes), dtype, sharding=sharding)

    k = algorithm.n_critic
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    batch = {"image": shape(*algorithm.image_shape)}
    if algorithm.num_classes:
        batch["label"] = shape(dtype=jnp.int32)
    batches = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            (algorithm.minibatches, *x.shape), x.dtype, sharding=parallel.split(mesh, 1)
        ),
        batch,
    )
    step = flops(algorithm.step, state, batches)
    if k == 1:
        return step
    # The discriminator's updates are a loop, too.
    return step + (k - 1) * flops(algorithm.update_discriminator, state, batch, 0)
