"""A config's training call, compiled for devices that are not here, and its figures.

Figures are of one device and one step but for `images_per_second`; sizes are bytes, times seconds.
They are the compiler's and a roofline's: nothing runs.
"""

import math
import re
import time
from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgan import parallel, programs
from jaxgan.assembly import build
from jaxgan.config import resolve, swept, validate
from jaxgan.data import Feed
from jaxgan.data.feed import choose_cache, free_memory
from jaxgan.data.known import Absent, known
from jaxgan.errors import UserError
from jaxgan.experiment import abstract_state, group_of
from jaxgan.planning import flops, hlo, roofline
from jaxgan.planning.chips import Topology, options
from jaxgan.planning.traffic import contents, traffic
from jaxgan.typing import PyTree

Figures = dict[str, Any]  # of JSON's types


class Call(NamedTuple):
    """What the training call is compiled from."""

    algorithm: Any
    mesh: Mesh
    feed: Feed
    state: PyTree  # these three of shapes
    resident: PyTree
    inputs: PyTree


def devices_of(topology: Topology) -> list[Any]:
    """The devices, which need not be here. Raises UserError where there is no such topology."""
    if topology.chip is None:
        devices = jax.devices("cpu")
        if len(devices) < topology.devices:
            raise UserError(
                f"--topology: {topology.name} takes {topology.devices} fake devices, and XLA_FLAGS "
                f"gives {len(devices)}"
            )
        return devices[: topology.devices]
    try:
        return topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **options(topology)
        ).devices
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0].partition(": ")[2]
        raise UserError(f"--topology: {topology.name} cannot be: {reason}") from error


def described(config: ConfigDict, classes: int) -> tuple[ConfigDict, Any]:
    """The resolved config and its data set, which need not be here. Raises UserError."""
    validate(config)
    if config.seeds > 1 or swept(config):
        raise UserError("seeds: a plan is of one run; leave seeds at 1 and sweep empty")
    given = config.data
    dataset = known(given.name, given.split, given.image_size, given.dir, given.path, classes)
    if config.conditional and not dataset.class_names:
        raise UserError(
            f"--classes: how many classes {given.name} has is not known without it; say it, as in "
            f"--classes 10"
        )
    details = dataset.details if isinstance(dataset, Absent) else {}
    sizes = dataset.num_examples, dataset.shape
    return resolve(config, *sizes, dataset.class_names, details), dataset


def grain(config: ConfigDict, topology: Topology) -> int:
    """What a batch must be a multiple of."""
    return topology.devices * config.accumulate * config.pack


def plan(config: ConfigDict, topology: Topology, classes: int = 0) -> Figures:
    """The figures of the config's training call on a topology. Raises UserError."""
    config, dataset = described(config, classes)
    devices = devices_of(topology)
    if config.parallel.data not in (0, topology.devices):
        raise UserError(
            f"parallel.data: {config.parallel.data}, but all {topology.devices} devices of "
            f"{topology.name} take part; leave it 0, or name another --topology"
        )
    parallel.check_batch(config.batch_size, topology.devices, group_of(config))
    call = _call(config, dataset, topology, devices)
    found: Figures = {
        "topology": topology.name,
        "devices": topology.devices,
        "device_kind": call.mesh.devices.flat[0].device_kind,
        "batch_size": config.batch_size,
        "images_per_step": config.derived.images_per_step,
        "steps_per_call": len(call.inputs["step"]),
        "precision": config.precision,
        "image_shape": list(config.derived.image_shape),
        "data_on_device": bool(call.resident),
        "ran": False,
    }
    begin = time.perf_counter()
    try:
        with jax.set_mesh(call.mesh):
            compiled = programs.compile_call(
                config,
                call.algorithm,
                call.mesh,
                call.feed,
                call.state,
                call.resident,
                call.inputs,
            )
    except jax.errors.JaxRuntimeError as error:
        found |= {
            "fits": False,
            **_out_of_memory(error, waiting=2 * programs.bytes_on_device(call.inputs)),
        }
    else:
        found |= _read(call, topology, compiled)
    return found | {"compile_seconds": round(time.perf_counter() - begin, 2)}


def _call(config: ConfigDict, dataset: Any, topology: Topology, devices: list[Any]) -> Call:
    """The call's parts. What it takes lies where the loop puts it."""
    algorithm = build(config, begun=True)
    cache = config.data.cache
    if isinstance(dataset, Absent):
        images = dataset.num_examples * math.prod(dataset.shape)
        device, host = free_memory()
        # Of this machine nothing follows for the one that will train, which has memory enough.
        free = (topology.chip.usable, 2**62) if topology.chip else (device, host)
        cache = choose_cache(images, cache, *free) if images else "none"
    feed = dataset.feed(
        cache=cache,
        flip=config.data.flip,
        seed=config.seed,
        minibatches=algorithm.minibatches,
        batch_size=config.batch_size,
        process=(0, 1),
    )
    mesh = parallel.mesh_of(devices, config.parallel.fsdp)
    shapes = programs.given(feed, mesh, min(config.steps_per_call, config.steps))
    return Call(algorithm, mesh, feed, abstract_state(algorithm, mesh), *shapes)


def _read(call: Call, topology: Topology, compiled: Any) -> Figures:
    """The figures of the compiled call; without what it moves and sends where its text cannot be
    read, the reason in its place: libtpu may write what this jaxlib does not know."""
    memory, counted = _memory(call, compiled), _flops(call, "tpu" if topology.chip else "cpu")
    per_device = counted.flops / topology.devices
    found: Figures = {
        "fits": topology.chip is None or memory["peak"] <= topology.chip.usable,
        "flops": per_device,
        "memory": memory,
    }
    if topology.chip:
        found |= {"hbm": topology.chip.hbm, "usable": topology.chip.usable}
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError as error:
        return found | {"unread": str(error).splitlines()[0]}
    steps, program = len(call.inputs["step"]), hlo.parse(text)
    moved, inside = traffic(program), contents(program)
    collectives = {each: number / steps for each, number in moved.collectives.items()}
    kinds: Counter[tuple[str, int]] = Counter()
    sizes: Counter[tuple[str, int]] = Counter()
    for each, number in collectives.items():
        kinds[each.kind, each.devices] += number  # type: ignore[assignment]
        sizes[each.kind, each.devices] += number * each.bytes  # type: ignore[assignment]
    found |= {
        "hbm_bytes": moved.hbm / steps,
        "collectives": [
            {"kind": kind, "devices": n, "number": number, "bytes": sizes[kind, n]}
            for (kind, n), number in sorted(kinds.items())
        ],
        "uncounted_loops": moved.unknown + counted.unknown,
        "products": inside.products,
        "kernels": list(inside.kernels),
        "callbacks": list(inside.callbacks),
        "float64": inside.float64,
    }
    if topology.chip is None:
        return found
    line = roofline.estimate(topology.chip, per_device, moved.hbm / steps, collectives)
    images = call.algorithm.n_critic * call.algorithm.batch_size
    expected = moved.cycles / steps / topology.chip.clock
    return found | {
        "roofline": {
            **line._asdict(),
            "step": line.step,
            "bound": line.bound,
            "images_per_second": images / line.step,
            "mfu": per_device / line.step / topology.chip.flops,
        },
        "expected": {
            "cycles": moved.cycles / steps,
            "seconds": expected,
            "mfu": per_device / expected / topology.chip.flops if expected else 0.0,
        },
        "chip": topology.chip.source,
    }


def _memory(call: Call, compiled: Any) -> dict[str, int]:
    """What the call needs of a device's memory; `peak` is all of it together.

    While a call runs, the inputs of two more wait, see programs.inputs_of.
    """
    told = compiled.memory_analysis()
    found = {
        "state": programs.bytes_on_device(call.state),
        "images": programs.bytes_on_device((call.resident, call.inputs)),
        "arguments": told.argument_size_in_bytes,
        "outputs": told.output_size_in_bytes,
        "donated": told.alias_size_in_bytes,
        "temporaries": told.temp_size_in_bytes,
        "program": told.generated_code_size_in_bytes,
        "waiting": 2 * programs.bytes_on_device(call.inputs),
    }
    parts = ("arguments", "outputs", "temporaries", "program", "waiting")
    return {**found, "peak": sum(found[part] for part in parts) - found["donated"]}


def _flops(call: Call, platform: str) -> flops.Count:
    """Of one step of the whole batch, on all devices together."""
    algorithm = call.algorithm
    shape = algorithm.minibatches, algorithm.batch_size
    image = algorithm.image_shape
    batch = {"image": jax.ShapeDtypeStruct((*shape, *image), jnp.float32)}
    if algorithm.num_classes:
        batch["label"] = jax.ShapeDtypeStruct(shape, jnp.int32)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    return flops.count(jax.make_jaxpr(algorithm.step)(state, batch), platform)


_TOO_LARGE = (
    re.compile(r"([\d.]+)([KMGT])\)? exceeds available HBM \(([\d.]+)([KMGT])\)"),
    re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm"),
)


def _out_of_memory(error: Exception, waiting: int) -> Figures:
    """The bytes that a compiler wanted, with those that wait, and had. Raises UserError where it
    refuses for another reason."""
    for pattern in _TOO_LARGE:
        if "RESOURCE_EXHAUSTED" in str(error) and (match := pattern.search(str(error))):
            unit = {letter: 2 ** (10 * i) for i, letter in enumerate("KMGT", start=1)}
            needed, available = (int(float(match[i]) * unit[match[i + 1]]) for i in (1, 3))
            return {"needed": needed + waiting, "usable": available}
    reason = str(error).splitlines()[0]
    raise UserError(f"--topology: its compiler refuses the program: {reason}") from error
