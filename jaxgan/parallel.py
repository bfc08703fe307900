"""The mesh of devices, where arrays lie on it, and the two ways to train on many.

A mesh over all devices of all processes has the axes `data` and `fsdp`. A batch is split over both.
The state is whole on each device, but with fsdp > 1: then of each of its larger arrays (parameters,
the optimiser's, the average's) a device has one of fsdp parts, and the parameters are brought
together where a network is applied. The step is written for one device, and runs on many in the

* mode `spmd`: XLA partitions the one program (`jax.jit` over `NamedSharding`, `AxisType.Auto`).
  Whatever looks at a batch looks at all of it: BatchNorm, losses that compare images, the order of
  packs. One device and eight give the same training up to the order of additions.
* mode `replica`: each device runs the step on its own part of the batch (`jax.shard_map`), and
  gradients, metrics and the networks' running statistics are averaged: what `pmap` did with
  `pmean`, and the papers of its time. BatchNorm, losses that compare images, top-k, DRAGAN's noise
  and the metrics of diversity see a device's part alone, unless `synchronised`: then BatchNorm's
  moments are those of the whole batch. Devices take their rows of
  one draw of random numbers, so without such statistics both modes train alike.

Where the members of an experiment are spread over devices (see seeds.py), the mesh has a first axis
`seed`, along which the state's and the batches' members lie.
"""

import json
import math
import resource
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgan.errors import UserError
from jaxgan.typing import Array, Key, PyTree

AXES = ("data", "fsdp")
SEED = "seed"
SMALLEST = 2**12  # elements of an array that is worth sharing out


def make_mesh(
    num_devices: int, batch_size: int, fsdp: int = 1, group: int = 1, members: int = 1
) -> Mesh:
    """A mesh over the first `num_devices` devices (0: all of all processes).

    Several `members` are shared among as many of them as may be, and their batches among the rest;
    of all devices some may have to stay idle.

    Raises UserError if there are fewer, if `fsdp` does not divide them, or they not `batch_size`,
    or `group`, of images that stay together, not a device's share of it.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise UserError(f"parallel.data: {num_devices} devices asked for, {len(devices)} are here")
    if jax.process_count() > 1 and num_devices not in (0, len(devices)):
        raise UserError(
            f"parallel.data: of several processes all {len(devices)} devices take part; leave it 0"
        )
    if members > 1 and not num_devices:
        fits = [
            n for n in range(1, len(devices) + 1) if batch_size % (n // math.gcd(members, n)) == 0
        ]
        num_devices = max(fits, key=lambda n: (math.gcd(members, n), n))
    mesh = mesh_of(devices[: num_devices or None], fsdp)
    spread = math.gcd(members, mesh.size)
    check_batch(batch_size, mesh.size // spread, group)
    if spread == 1:
        return mesh
    shared = mesh.devices.reshape(spread, -1, fsdp)
    return Mesh(shared, (SEED, *AXES), axis_types=(AxisType.Auto,) * 3)


def check_batch(batch_size: int, devices: int, group: int = 1) -> None:
    """Raises UserError where `make_mesh` does so for the batch."""
    if batch_size % devices:
        raise UserError(
            f"batch_size: {batch_size} is not a multiple of the {devices} devices that share it; "
            f"choose one that is, or fewer devices with parallel.data"
        )
    if batch_size // devices % group:
        raise UserError(
            f"batch_size: a replica's {batch_size // devices} images are not a multiple of "
            f"accumulate x pack = {group}; choose another, or parallel.mode=spmd"
        )


def mesh_of(devices: list[Any], fsdp: int = 1) -> Mesh:
    """Raises UserError if `fsdp` does not divide their number."""
    if len(devices) % fsdp:
        raise UserError(f"parallel.fsdp: {fsdp} does not divide the {len(devices)} devices")
    return Mesh(np.array(devices).reshape(-1, fsdp), AXES, axis_types=(AxisType.Auto,) * 2)


def whole_mesh() -> Mesh:
    """A mesh over all devices of all processes."""
    return mesh_of(jax.devices())


def of_one(mesh: Mesh) -> Mesh:
    """The same devices for one member alone."""
    return mesh_of(list(mesh.devices.flat), mesh.shape["fsdp"]) if SEED in mesh.shape else mesh


def describe(mesh: Mesh) -> str:
    """What results may depend on in their last bits."""
    device, number = mesh.devices.flat[0], jax.process_count()
    processes = f" in {number} processes" if number > 1 else ""
    return f"{mesh.size} x {device.device_kind}{processes} with jax {jax.__version__}"


def peak_memory() -> int:
    """Bytes in use at once at most: on the fullest of this process's devices, or, where they do not
    tell, as CPUs, of the process."""
    known = [device.memory_stats() or {} for device in jax.local_devices()]
    of_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    of_process *= 1 if sys.platform == "darwin" else 1024  # the others count KiB
    return max(each.get("peak_bytes_in_use", 0) for each in known) or of_process


# --------------------------------------------------------------------------------------------------
# Where arrays lie


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def split(mesh: Mesh, axis: int) -> NamedSharding:
    """Arrays whose `axis` is the batch."""
    return NamedSharding(mesh, _batch(axis))


def of_inputs(
    mesh: Mesh, axes: int, batch_axis: int, member_axis: int | None = None
) -> NamedSharding:
    """Arrays of so many axes, of which one is the batch (if it is there), and one the members."""
    spec: list[Any] = [AXES if axis == batch_axis else None for axis in range(axes)]
    if member_axis is not None and SEED in mesh.shape:
        spec[member_axis] = SEED
    return NamedSharding(mesh, P(*spec))


def state_shardings(mesh: Mesh, state: PyTree) -> PyTree:
    """Where the arrays of a state, or of a part of one, lie."""
    if SEED in mesh.shape:
        return jax.tree.map(lambda x: NamedSharding(mesh, P(SEED)), state)
    fsdp = mesh.shape["fsdp"]
    return jax.tree.map(lambda x: NamedSharding(mesh, _part(x, fsdp)), state)


def _batch(axis: int) -> P:
    return P(*(None,) * axis, AXES)


def _part(x: Any, fsdp: int) -> P:
    """The longest axis of a large array that fsdp divides is shared out; of such ones the last."""
    key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    axes = [axis for axis, length in enumerate(x.shape) if length % fsdp == 0]
    if fsdp == 1 or key or math.prod(x.shape) < SMALLEST or not axes:
        return P()
    return P(*(None,) * max(axes, key=lambda axis: (x.shape[axis], axis)), "fsdp")


def place(
    mesh: Mesh, tree: PyTree, batch_axis: int | None = None, member_axis: int | None = None
) -> PyTree:
    """Numpy arrays on the devices: whole on each, or split over them along these axes.

    Where there are several processes, each has its own part of that axis. Arrays that do not have
    it are whole on each device.
    """

    def put(x: np.ndarray) -> jax.Array:
        sharding = replicated(mesh)
        if batch_axis is not None:
            sharding = of_inputs(mesh, x.ndim, batch_axis, member_axis)
        return jax.make_array_from_process_local_data(sharding, x)

    return jax.tree.map(put, tree)


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
    """Arrays that every process has, whole on each device of the mesh."""
    return _put(tree, jax.tree.map(lambda x: replicated(mesh), tree))


def distribute(mesh: Mesh, state: PyTree) -> PyTree:
    """A state, which every process has or which lies on the mesh, where `state_shardings` says."""
    return _put(state, state_shardings(mesh, state))


def _put(tree: PyTree, shardings: PyTree) -> PyTree:
    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        there = getattr(x, "sharding", None) == sharding
        if jax.process_count() == 1 or there:
            return x if there else jax.device_put(x, sharding)
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                put(jax.random.key_data(x), sharding), impl=jax.random.key_impl(x)
            )
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.jit(lambda x: x, out_shardings=sharding)(x)
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put, tree, shardings)


# --------------------------------------------------------------------------------------------------
# Within a step


def devices_in_use() -> int:
    """How many devices of the mesh in use share a batch; 1 where no mesh is."""
    shape = jax.sharding.get_abstract_mesh().shape
    return math.prod(shape.get(axis, 1) for axis in AXES)


def constrain_batch(tree: PyTree, axis: int = 0) -> PyTree:
    """Split that axis of arrays over the mesh in use; nothing where none is, or in a replica."""
    if devices_in_use() == 1 or replicas() > 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, _batch(axis))


def gathered(params: PyTree) -> PyTree:
    """Parameters whole on each device, where the mesh in use shares them out."""
    if _fsdp() == 1:
        return params
    return jax.lax.with_sharding_constraint(params, P())


def scattered(tree: PyTree) -> PyTree:
    """Gradients or parameters in the parts that the mesh in use shares out."""
    if _fsdp() == 1:
        return tree
    specs = jax.tree.map(lambda x: _part(x, _fsdp()), tree)
    return jax.lax.with_sharding_constraint(tree, specs)


def _fsdp() -> int:
    return jax.sharding.get_abstract_mesh().shape.get("fsdp", 1)


# --------------------------------------------------------------------------------------------------
# Within a replica

_synchronised: ContextVar[bool] = ContextVar("_synchronised", default=False)


def on_replicas(step: Callable, mesh: Mesh, synchronised: bool) -> Callable:
    """`step(state, batch) -> (state, metrics)` of batches k b ..., run on each device's part."""

    def of_part(state: PyTree, batch: PyTree) -> tuple[PyTree, PyTree]:
        token = _synchronised.set(synchronised)
        try:
            return step(state, batch)
        finally:
            _synchronised.reset(token)

    batches = _batch(1)
    # Without check_vma a gradient is of the part alone until it is averaged, as it was in pmap.
    return jax.shard_map(
        of_part, mesh=mesh, in_specs=(P(), batches), out_specs=P(), check_vma=False
    )


def replicas() -> int:
    """How many replicas there are where this is traced; 1 outside of any."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[axis] for axis in mesh.manual_axes if axis != SEED)


def mean_over_replicas(tree: PyTree) -> PyTree:
    """The means of floating-point arrays over the replicas; the same where there are none."""
    if replicas() == 1:
        return tree
    is_float = lambda x: jnp.issubdtype(x.dtype, jnp.floating)  # noqa: E731
    return jax.tree.map(lambda x: jax.lax.pmean(x, AXES) if is_float(x) else x, tree)


def statistics_axes() -> Any:
    """The mesh's axes over which BatchNorm averages its moments by itself; none but in replicas."""
    return AXES if replicas() > 1 and _synchronised.get() else None


def draw(
    function: Callable[[Key[Array, ""], tuple[int, ...]], Array],
    key: Key[Array, ""],
    shape: tuple[int, ...],
    axis: int = 0,
) -> Array:
    """`function(key, shape)`, random numbers for a batch along `axis`: in a replica its own rows of
    those for the whole batch."""
    number = replicas()
    if number == 1:
        return function(key, shape)
    axis %= len(shape)
    whole = function(key, (*shape[:axis], number * shape[axis], *shape[axis + 1 :]))
    first = jax.lax.axis_index(AXES) * shape[axis]
    return jax.lax.dynamic_slice_in_dim(whole, first, shape[axis], axis)


# --------------------------------------------------------------------------------------------------
# Between processes


def signal(mesh: Mesh, number: int) -> Array | None:
    """This process's number beside those of the others; None where there are none."""
    if jax.process_count() == 1:
        return None
    return place(mesh, np.full(jax.local_device_count(), number, np.int32), batch_axis=0)


def is_first() -> bool:
    """Whether this is the process that writes what one alone should."""
    return jax.process_index() == 0


def everywhere(flag: bool) -> bool:
    """Whether it is so in every process; each must ask."""
    return not largest(int(not flag))


def largest(number: int) -> int:
    """The largest of the processes' numbers; each must ask."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.array(number))))


def of_first(make: Callable[[], Any]) -> Any:
    """What `make` gives in the first process, of JSON's types; each must ask."""
    if jax.process_count() == 1:
        return make()
    from jax.experimental import multihost_utils

    text = json.dumps(make()).encode() if is_first() else b""
    size = largest(len(text))
    padded = np.frombuffer(text.ljust(size), np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())
