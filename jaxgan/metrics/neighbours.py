"""Fidelity and diversity by nearest neighbours: precision and recall, density and coverage.

Kynkäänniemi et al., NeurIPS 2019 (https://arxiv.org/abs/1904.06991), equations 1 and 2; Naeem et
al., ICML 2020 (https://arxiv.org/abs/2002.09797), equations 4 and 5. Around each image lies a ball
that reaches to the k-th nearest other one of its set; what the two sets have of each other is told
by the balls that hold them:

    precision  the share of fake images in a ball of a real one: how many are realistic
    recall     the share of real images in a ball of a fake one: how much of the variety is reached
    density    how many real balls hold a fake image on average, over k (1: as real images; more
               where fake ones keep to the midst of them)
    coverage   the share of real balls that hold a fake image

All depend on the features, on k and on the numbers of images: compare only like with like. A ball
is open, as in Naeem et al.'s code, so what lies at the k-th neighbour's distance is outside. Also
here: how near samples come to the training images themselves.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import parallel
from jaxgan.typing import Array, Float, Int, PyTree

CHUNK = 256  # images at once, over all devices: 10 MB of distances to 10,000 others


class Held(NamedTuple):
    precision: Float[Array, ""]  # 0 to 1
    recall: Float[Array, ""]  # 0 to 1
    density: Float[Array, ""]  # 0 and up
    coverage: Float[Array, ""]  # 0 to 1


@functools.partial(jax.jit, static_argnames="k")
def held(real: Float[Array, "n d"], fake: Float[Array, "m d"], k: int = 5) -> Held:
    """Of the features of real and of fake images, in this order; they play different parts.

    Of two samples of one distribution, coverage is on average 1 - (n-1)...(n-k) / ((m+n-1)...
    (m+n-k)) (Naeem et al., lemma 2), 0.97 with m = n and k = 5, and density 1. Raises ValueError
    unless 1 <= k < n and k < m.
    """
    for name, images in (("real", real), ("fake", fake)):
        if not 1 <= k < len(images):
            message = f"k: {k} is not within 1 to {len(images) - 1}, of {len(images)} {name} images"
            raise ValueError(message)
    # Distances stay as they are, and the less is cancelled below, the closer all are to 0.
    center = jnp.mean(real, 0, keepdims=True)
    real, fake = real - center, fake - center
    radii = [each(functools.partial(_radius, k, points), points) for points in (real, fake)]

    def of_real(images: Array, numbers: Array) -> tuple[Array, Array]:
        """How many fake images each one's ball holds, and whether a fake ball holds it."""
        squares = square_distances(images, fake)
        own = radii[0][numbers][:, None]
        return jnp.sum(squares < own, 1), jnp.any(squares < radii[1][None], 1)

    def of_fake(images: Array, numbers: Array) -> Array:
        return jnp.any(square_distances(images, real) < radii[0][None], 1)

    counts, reached = each(of_real, real)
    return Held(
        precision=jnp.mean(each(of_fake, fake), dtype=jnp.float32),
        recall=jnp.mean(reached, dtype=jnp.float32),
        density=jnp.mean(counts, dtype=jnp.float32) * (len(real) / (k * len(fake))),
        coverage=jnp.mean(counts > 0, dtype=jnp.float32),
    )


class Nearest(NamedTuple):
    distances: Float[Array, "n ..."]
    numbers: Int[Array, "n ..."]


def nearest(images: Float[Array, "n d"], others: Float[Array, "m d"]) -> Nearest:
    """The distance from each image to the nearest of the others, and that one's number."""
    return Nearest(*(found[:, 0] for found in k_nearest(images, others, 1)))


@functools.partial(jax.jit, static_argnames="k")
def k_nearest(images: Float[Array, "n d"], others: Float[Array, "m d"], k: int) -> Nearest:
    """The distances from each image to the k nearest of the others, from the nearest on, and the
    numbers of these. Raises ValueError unless 1 <= k <= m."""
    if not 1 <= k <= len(others):
        raise ValueError(f"k: {k} is not within 1 to {len(others)}")
    center = jnp.mean(others, 0, keepdims=True)
    images, others = images - center, others - center

    def of(images: Array, numbers: Array) -> Nearest:
        squares, rows = square_distances(images, others), jnp.arange(len(images))
        found: list[Array] = []
        for _ in range(k):
            found.append(jnp.argmin(squares, 1).astype(jnp.int32))
            squares = squares.at[rows, found[-1]].set(jnp.inf)
        # The product tells which one, and the difference how far: where they are alike, it counts.
        far = [jnp.linalg.norm(images - others[each], axis=1) for each in found]
        return Nearest(jnp.stack(far, 1), jnp.stack(found, 1))

    return each(of, images)


def nearer(samples: Float[Array, " n"], held_out: Float[Array, " m"]) -> Float[Array, ""]:
    """How often a sample lies nearer to its nearest training image than a held-out image does to
    its own: 1/2 as it should be, 1 of copies, 0 of what lies far from all (Meehan et al., AISTATS
    2020, https://arxiv.org/abs/2004.05675, whose U statistic it is, over n m). Ties count half."""
    order = jnp.sort(held_out)
    beyond = len(held_out) - jnp.searchsorted(order, samples, side="right")
    equal = jnp.searchsorted(order, samples, side="right") - jnp.searchsorted(order, samples)
    return jnp.mean(beyond + equal / 2) / len(held_out)


def _radius(k: int, points: Array, images: Array, numbers: Array) -> Array:
    """The squared distance from each image, one of the points, to the k-th nearest other one."""
    squares = square_distances(images, points)
    rows = jnp.arange(len(images))
    squares = squares.at[rows, numbers].set(jnp.inf)  # it is no neighbour of itself
    for _ in range(k - 1):  # top_k would take ten times as long on a CPU
        squares = squares.at[rows, jnp.argmin(squares, 1)].set(jnp.inf)
    return jnp.min(squares, 1)


def each(function: Callable[[Array, Array], PyTree], images: Float[Array, "n d"]) -> PyTree:
    """`function(images, numbers)` of all images and their numbers, a chunk at a time, which the
    devices of the mesh in use share."""
    count, devices = len(images), parallel.devices_in_use()
    chunk = -(-min(CHUNK, count) // devices) * devices
    numbers = jnp.minimum(jnp.arange(-(-count // chunk) * chunk), count - 1).reshape(-1, chunk)

    def of_chunk(numbers: Array) -> PyTree:
        return function(parallel.constrain_batch(images[numbers]), numbers)

    chunks = jax.lax.map(of_chunk, numbers)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], chunks)


def square_distances(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    product = jnp.matmul(a, b.T, precision="highest")
    squares = jnp.sum(jnp.square(a), 1)[:, None] + jnp.sum(jnp.square(b), 1)[None]
    return squares - 2 * product
