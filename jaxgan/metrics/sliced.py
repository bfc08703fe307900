"""Sliced Wasserstein distance: the mean of Wasserstein distances along random directions.

Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing". Of pixels as they
are, without a network: it sees colours, contrast and layout, and hardly sharpness.
"""

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float, Key

DIRECTIONS = 256


def project(key: Key[Array, ""], images: Float[Array, "b ..."]) -> Float[Array, "b p"]:
    """The images along 256 random directions, the same for the same key."""
    rows = images.reshape(images.shape[0], -1)
    directions = jax.random.normal(key, (rows.shape[1], DIRECTIONS))
    directions /= jnp.linalg.norm(directions, axis=0, keepdims=True)
    return jnp.matmul(rows, directions, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def sliced_wasserstein(real: Float[Array, "n p"], fake: Float[Array, "n p"]) -> Float[Array, ""]:
    """The square root of the mean of W_2^2 over directions, of as many real as fake projections.

    Of a shift by the vector v in d dimensions it is about |v| / sqrt(d). The finite number of
    samples makes it positive even between samples of one distribution.
    """
    # In one dimension W_2 pairs the sorted samples.
    difference = jnp.sort(real, axis=0) - jnp.sort(fake, axis=0)
    return jnp.sqrt(jnp.mean(jnp.square(difference)))
