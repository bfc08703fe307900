"""Random pairs of different images, and functions of more of them than fit in memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data import to_float
from jaxgan.metrics.kernel import Estimate
from jaxgan.typing import Array, Float, Int, Key, UInt8


def random_pairs(
    key: Key[Array, ""],
    pairs: int,
    count: int,
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
) -> tuple[Int[Array, " pairs"], Int[Array, " pairs"]]:
    """The numbers of the first and of the other image of each pair, of `count` images.

    With labels both are of one class: the first is any image whose class has another, the other any
    of these. Pairs may come twice. Raises ValueError where no class has two images, and for another
    number of labels than of images.
    """
    labels = np.zeros(count, int) if labels is None else np.asarray(labels)
    if len(labels) != count:
        raise ValueError(f"{len(labels)} labels for {count} images")
    order = np.argsort(labels, kind="stable")  # so that a class is a stretch
    _, starts, of, sizes = np.unique(
        labels[order], return_index=True, return_inverse=True, return_counts=True
    )
    able = np.flatnonzero(sizes[of] > 1)
    if not able.size:
        raise ValueError(f"{count} images, of which no class has two, have no pairs")
    first_key, other_key = jax.random.split(key)
    first = jnp.asarray(able)[jax.random.randint(first_key, (pairs,), 0, able.size)]
    start, size = jnp.asarray(starts[of])[first], jnp.asarray(sizes[of])[first]
    step = jax.random.randint(other_key, (pairs,), 1, size)
    other = start + (first - start + step) % size
    return jnp.asarray(order)[first], jnp.asarray(order)[other]


def mean_over_pairs(
    compare: Callable[[Array, Array], Float[Array, " b"]],
    images: UInt8[np.ndarray, "n h w c"],
    key: Key[Array, ""],
    labels: Int[np.ndarray, " n"] | None = None,
    pairs: int = 1000,
    chunk: int = 16,  # of 224 pixels a layer of VGG16 takes 0.4 GB
) -> Estimate:
    """The mean of `compare`, of images in [-1, 1], over random pairs; see random_pairs.

    The error takes pairs for independent: where they are many for the images, which then come
    often, it is a little small.
    """
    first, other = (np.asarray(each) for each in random_pairs(key, pairs, len(images), labels))
    found = in_chunks(
        lambda at: compare(to_float(images[first[at]]), to_float(images[other[at]])), chunk, pairs
    )
    return Estimate(jnp.mean(found), jnp.std(found, ddof=1) / pairs**0.5)


def in_chunks(
    function: Callable[..., Float[Array, " chunk"]], chunk: int, count: int
) -> Float[np.ndarray, " count"]:
    """`function` of the numbers 0 to count - 1, `chunk` at a time, one after the other.

    It sees chunks of one size, so that it compiles once: the last is filled up with numbers from
    the start, whose values are left out.
    """
    chunk = min(chunk, count)
    numbers = np.resize(np.arange(count), (-(-count // chunk), chunk))
    return np.concatenate([np.asarray(function(each)) for each in numbers])[:count]
