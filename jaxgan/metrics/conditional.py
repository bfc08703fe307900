"""How well a conditional generator obeys its labels, and how varied it is within a class."""

import functools

import jax
import jax.numpy as jnp

from jaxgan.metrics.neighbours import each, square_distances
from jaxgan.typing import Array, Float, Int


def accuracy(
    found: Int[Array, " b"], labels: Int[Array, " b"], num_classes: int
) -> Float[Array, " c"]:
    """The share of each class's images that a classifier found to be of it; nan where there are
    none.

    For images drawn with `labels` it is conditional accuracy. The classifier must not have seen the
    generator, and its own accuracy on real test images belongs beside the figure.
    """
    right = (found == labels).astype(jnp.float32)
    counts = jax.ops.segment_sum(jnp.ones_like(right), labels, num_classes)
    return jax.ops.segment_sum(right, labels, num_classes) / counts


@functools.partial(jax.jit, static_argnames="num_classes")
def mean_pairwise_distances(
    images: Float[Array, "n h w c"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, " classes"]:
    """Of each class the mean Euclidean distance over all pairs of different images, in the units of
    a pixel; nan of fewer than two."""
    flat = images.reshape(images.shape[0], -1)
    flat -= jnp.mean(flat, 0, keepdims=True)  # for what is cancelled below

    def to_others(some: Array, numbers: Array) -> Array:
        distances = jnp.sqrt(jnp.maximum(square_distances(some, flat), 0))
        others = numbers[:, None] != jnp.arange(len(flat))[None]
        same = (labels[numbers][:, None] == labels[None]) & others
        return jnp.sum(jnp.where(same, distances, 0), 1)

    sums = jax.ops.segment_sum(each(to_others, flat), labels, num_classes)
    counts = jnp.bincount(labels, length=num_classes).astype(jnp.float32)
    return sums / (counts * (counts - 1))
