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


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def split(mesh: Mesh, axis: int) -> NamedSharding:
    """Arrays whose `axis` is the batch."""
    return NamedSharding(mesh, P(*(None,) * axis, "data"))


def constrain_batch(tree: PyTree) -> PyTree:
    """Split the leading axis of the arrays over the mesh in use; nothing where none is."""
    if "data" not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, P("data")), tree)
