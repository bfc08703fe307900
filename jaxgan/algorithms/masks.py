"""Holes in images, for training and trials of completion: MASKS by name.

box      a rectangle with sides of 1/4 to 1/2 of the image's, anywhere (Pathak et al. 2016, section
         3.3, have several smaller ones)
strokes  one to four strokes of a brush, each of up to six bent segments (after Yu et al. 2019,
         supplement, algorithm 1)
half     the left, right, upper or lower half
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxgan import parallel
from jaxgan.typing import Array, Float, Key

STROKES, SEGMENTS = 4, 6
LENGTHS = 0.06, 0.25  # of a segment, in the image's sides
WIDTHS = 0.05, 0.13  # of a brush
TURN = 0.8  # the largest from one segment to the next, in radians; every other one turns back

Pixels = tuple[Float[Array, "h 1"], Float[Array, "1 w"]]  # centres of rows and columns, in [0, 1]


def _box(key: Key[Array, ""], pixels: Pixels) -> Float[Array, "h w"]:
    sides, place = jax.random.split(key)
    size = jax.random.uniform(sides, (2,), float, 0.25, 0.5)
    first = jax.random.uniform(place, (2,)) * (1 - size)
    rows, columns = ((x >= a) & (x < a + s) for x, a, s in zip(pixels, first, size, strict=True))
    return (rows & columns).astype(float)


def _half(key: Key[Array, ""], pixels: Pixels) -> Float[Array, "h w"]:
    of_rows, upper = jax.random.bernoulli(key, 0.5, (2,))
    rows, columns = pixels
    below = jnp.where(of_rows, rows + 0 * columns, columns + 0 * rows) < 0.5
    return (below == upper).astype(float)


def _strokes(key: Key[Array, ""], pixels: Pixels) -> Float[Array, "h w"]:
    keys = jax.random.split(key, 7)
    number = jax.random.randint(keys[0], (), 1, STROKES + 1)
    segments = jax.random.randint(keys[1], (STROKES,), 1, SEGMENTS + 1)
    start = jax.random.uniform(keys[2], (STROKES, 1, 2))
    shape = STROKES, SEGMENTS
    angle = jax.random.uniform(keys[3], (STROKES, 1), float, 0, 2 * jnp.pi)
    turn = jax.random.uniform(keys[4], shape, float, 0, TURN)
    angle = angle + jnp.where(jnp.arange(SEGMENTS) % 2 == 0, 0.0, jnp.pi)[None] + turn
    length = jax.random.uniform(keys[5], shape, float, *LENGTHS)
    way = length[..., None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)], -1)
    ends = jnp.clip(start + jnp.cumsum(way, 1), 0, 1)
    begins = jnp.concatenate([start, ends[:, :-1]], 1)
    width = jax.random.uniform(keys[6], (STROKES, 1, 1, 1), float, *WIDTHS)
    there = (jnp.arange(STROKES) < number)[:, None] & (
        jnp.arange(SEGMENTS)[None] < segments[:, None]
    )
    near = _distance(pixels, begins, ends) <= width / 2
    return jnp.any(near & there[..., None, None], (0, 1)).astype(float)


def _distance(
    pixels: Pixels, a: Float[Array, "s n 2"], b: Float[Array, "s n 2"]
) -> Float[Array, "s n h w"]:
    """Of each pixel from the segments between a and b."""
    rows, columns = pixels
    at = jnp.stack([rows + 0 * columns, columns + 0 * rows], -1)[None, None]
    a, b = a[:, :, None, None], b[:, :, None, None]
    along = jnp.sum((at - a) * (b - a), -1) / jnp.maximum(jnp.sum((b - a) ** 2, -1), 1e-12)
    nearest = a + jnp.clip(along, 0, 1)[..., None] * (b - a)
    return jnp.sqrt(jnp.sum((at - nearest) ** 2, -1))


MASKS: dict[str, Callable[[Key[Array, ""], Pixels], Float[Array, "h w"]]] = {
    "box": _box,
    "strokes": _strokes,
    "half": _half,
}


def draw(
    key: Key[Array, ""], kinds: Sequence[str], shape: tuple[int, int, int]
) -> Float[Array, "b h w 1"]:
    """Masks for b images of h w pixels, each of one of the kinds; 1 where the image is missing."""
    height, width = shape[1:]
    pixels = (jnp.arange(height)[:, None] + 0.5) / height, (jnp.arange(width)[None] + 0.5) / width

    def one(key: Key[Array, ""]) -> Float[Array, "h w"]:
        choice = jax.random.randint(jax.random.fold_in(key, 0), (), 0, len(kinds))
        of_each = [MASKS[kind](jax.random.fold_in(key, 1), pixels) for kind in kinds]
        return jnp.stack(of_each)[choice]

    several = lambda key, count: jax.vmap(one)(jax.random.split(key, count))  # noqa: E731
    return parallel.draw(several, key, (shape[0],))[..., None]
