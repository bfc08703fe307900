"""The mesh of devices, and where arrays lie on it.

One axis, `data`: batches are split over it, the state is replicated. A step is written for one
device; XLA partitions it (`jax.jit` over `NamedSharding`, `AxisType.Auto`), so BatchNorm sees the
global batch and one device and eight give the same training up to the order of additions.
"""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgan.errors import UserError
from jaxgan.typing import PyTree


def make_mesh(num_devices: int, batch_size: int) -> Mesh:
    """A mesh over the first `num_devices` local devices (0: all of them).

    Raises UserError if there are fewer, or if they do not divide `batch_size`.
    """
    if jax.process_count() > 1:
        raise UserError("parallel: training over several processes is not there yet; start one")
    devices = jax.local_devices()
    if num_devices > len(devices):
        raise UserError(f"parallel.data: {num_devices} devices asked for, {len(devices)} are here")
    devices = devices[: num_devices or None]
    if batch_size % len(devices):
        raise UserError(
            f"batch_size: {batch_size} is not a multiple of the {len(devices)} devices that share "
            f"it; choose one that is, or fewer devices with parallel.data"
        )
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def whole_mesh() -> Mesh:
    """A mesh over all devices of all processes."""
    return Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))


def describe(mesh: Mesh) -> str:
    """What results may depend on in their last bits."""
    device = mesh.devices.flat[0]
    return f"{mesh.size} x {device.device_kind} with jax {jax.__version__}"


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def split(mesh: Mesh, axis: int) -> NamedSharding:
    """Arrays whose `axis` is the batch."""
    return NamedSharding(mesh, P(*(None,) * axis, "data"))


def place(mesh: Mesh, tree: PyTree, batch_axis: int | None = None) -> PyTree:
    """Numpy arrays on the devices: whole on each, or split over them along `batch_axis`.

    Where there are several processes, each has its own part of that axis. Arrays that do not have
    it are whole on each device.
    """

    def put(x: np.ndarray) -> jax.Array:
        if batch_axis is None or x.ndim <= batch_axis:
            sharding = replicated(mesh)
        else:
            sharding = split(mesh, batch_axis)
        return jax.make_array_from_process_local_data(sharding, x)

    return jax.tree.map(put, tree)


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
    """Arrays that every process has, whole on each device of the mesh."""
    everywhere = replicated(mesh)

    def put(x: jax.Array | np.ndarray) -> jax.Array:
        if jax.process_count() == 1 or getattr(x, "sharding", None) == everywhere:
            return jax.device_put(x, everywhere)
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                put(jax.random.key_data(x)), impl=jax.random.key_impl(x)
            )
        return jax.make_array_from_process_local_data(everywhere, np.asarray(x))

    return jax.tree.map(put, tree)


def everywhere(flag: bool) -> bool:
    """Whether it is so in every process; each must ask."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.array(flag))))


def devices_in_use() -> int:
    """How many devices of the mesh in use share a batch; 1 where no mesh is."""
    return dict(jax.sharding.get_abstract_mesh().shape).get("data", 1)


def constrain_batch(tree: PyTree, axis: int = 0) -> PyTree:
    """Split that axis of the arrays over the mesh in use; nothing where none is."""
    if devices_in_use() == 1:
        return tree
    spec = P(*(None,) * axis, "data")
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, spec), tree)
