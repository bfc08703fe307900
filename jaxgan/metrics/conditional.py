"""How well a conditional generator obeys its labels, and how varied it is within a class."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

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


class Agreement(NamedTuple):
    agreement: float
    agreement_renamed: float


def agreement(
    found: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], num_classes: int
) -> Agreement:
    """The share of translated images that a classifier found to be of the class of what they were
    made of; and the largest one by any one-to-one renaming of the classes, for a translation that
    nobody told which class is to become which may keep them apart all the same.

    By chance they are 1 / num_classes and a little more.
    """
    pairs = np.zeros((num_classes, num_classes))
    np.add.at(pairs, (labels, found), 1)
    renamed = optax.assignment.hungarian_algorithm(jnp.asarray(-pairs))
    rows, columns = (np.asarray(each) for each in renamed)
    return Agreement(np.trace(pairs) / len(labels), pairs[rows, columns].sum() / len(labels))


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
