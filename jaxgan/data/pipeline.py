"""Which examples come when, and how pixels become floats.

The order of examples is a pure function of the seed and the position in the stream. So a resumed
run needs no state of an iterator, and any process can find its own part of any batch.
"""

import functools

import jax.numpy as jnp
import numpy as np

from jaxgan.typing import Array, Float, Int, Int16, UInt8


def indices(seed: int, start: int, count: int, size: int) -> Int[np.ndarray, " count"]:
    """Positions `start` to `start + count - 1` of an endless stream of examples, as int32.

    The stream is one epoch after another, each a fresh permutation of range(size); a batch may
    straddle epochs. `seed` and the epoch must lie in [0, 2**64), `size` in [1, 2**31).
    """
    end = start + count
    return np.concatenate(
        [
            _permutation(seed, epoch, size)[max(start - epoch * size, 0) : end - epoch * size]
            for epoch in range(start // size, end // size + 1)
        ]
    )


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> Int[np.ndarray, " size"]:
    # NEP 19 keeps a bit generator's raw stream the same in every numpy, Generator.permutation not.
    raw = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(size)
    return np.argsort(raw, kind="stable").astype(np.int32)


LOUDEST = 32767  # 16-bit sample


def kept_as(shape: tuple[int, ...]) -> type[np.uint8] | type[np.int16]:
    """The type of numbers of examples on disk and in memory: pixels, or samples of a sound."""
    return np.int16 if len(shape) == 1 else np.uint8


def to_float(
    images: UInt8[Array | np.ndarray, "..."] | Int16[Array | np.ndarray, "..."],
) -> Float[Array, "..."]:
    """Maps bytes 0..255, or 16-bit samples, to float32 in [-1, 1], linearly."""
    if images.dtype == jnp.int16:
        return jnp.asarray(images, jnp.float32) / LOUDEST
    # Not x / 127.5 - 1: XLA multiplies by the reciprocal, and 255 would become 1.0000001.
    return (2 * jnp.asarray(images, jnp.float32) - 255) / 255


def to_uint8(images: Float[Array | np.ndarray, "..."]) -> UInt8[Array, "..."]:
    """The inverse of to_float: clips to [-1, 1], and rounds to the nearest byte."""
    pixels = (jnp.asarray(images, jnp.float32) + 1) * 127.5
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)
