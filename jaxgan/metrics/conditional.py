"""How well a conditional generator obeys its labels, and how varied it is within a class."""

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float, Int


def accuracy(
    logits: Float[Array, "b c"], labels: Int[Array, " b"], num_classes: int
) -> Float[Array, " c"]:
    """The share of each class's images that a classifier assigns to it; nan where there are none.

    For images drawn with `labels` it is conditional accuracy. The classifier must not have seen the
    generator, and its own accuracy on real test images belongs beside the figure.
    """
    right = (jnp.argmax(logits, -1) == labels).astype(jnp.float32)
    counts = jax.ops.segment_sum(jnp.ones_like(right), labels, num_classes)
    return jax.ops.segment_sum(right, labels, num_classes) / counts


def mean_pairwise_distance(images: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """The mean Euclidean distance over all pairs of different images, in the units of a pixel."""
    flat = images.reshape(images.shape[0], -1)
    squares = jnp.sum(jnp.square(flat), -1)
    product = jnp.matmul(flat, flat.T, precision="highest")
    distances = jnp.sqrt(jnp.maximum(squares[:, None] + squares[None, :] - 2 * product, 0))
    distances = jnp.where(jnp.eye(len(flat), dtype=bool), 0, distances)
    return jnp.sum(distances) / (len(flat) * (len(flat) - 1))
