"""Ways from one latent and class to another.

Normal latents of many dimensions lie close to a sphere, and the straight line between two leads
through its midst, where the generator has seen nothing: so they turn along the sphere (Shoemake,
SIGGRAPH 1985, https://doi.org/10.1145/325165.325242; for latents White 2016,
https://arxiv.org/abs/1609.04468). Uniform ones fill their cube, and go straight. Between classes
what belongs to them is mixed, in equal steps (see models/conditions.py).
"""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxgan.algorithms.latents import TRUNCATED
from jaxgan.models.layers import unit
from jaxgan.typing import Array, Float


def slerp(
    a: Float[Array, "b z"], b: Float[Array, "b z"], t: Float[Array, " t"]
) -> Float[Array, "b t z"]:
    """From a, where t is 0, to b, where it is 1: the direction turns with a constant speed along
    the great circle (Shoemake's equation 2), and the length grows evenly.

    Where the two are parallel, or opposite, so that no circle is the shortest, it is the line.
    """
    lengths = [jnp.linalg.norm(each, axis=1, keepdims=True) for each in (a, b)]
    u, v = unit(a), unit(b)
    # exact for small angles too, where the cosine is not
    apart = jnp.linalg.norm(u - v, axis=1), jnp.linalg.norm(u + v, axis=1)
    angle = 2 * jnp.arctan2(*apart)[:, None, None]
    sine, t = jnp.sin(angle), t[None, :, None]
    shares = jnp.sin((1 - t) * angle), jnp.sin(t * angle)
    turned = (shares[0] * u[:, None] + shares[1] * v[:, None]) / jnp.maximum(sine, 1e-12)
    length = (1 - t) * lengths[0][..., None] + t * lengths[1][..., None]
    return jnp.where(sine > 1e-4, length * turned, lerp(a, b, t[0, :, 0]))


def lerp(
    a: Float[Array, "b z"], b: Float[Array, "b z"], t: Float[Array, " t"]
) -> Float[Array, "b t z"]:
    """The straight line, at a constant speed."""
    t = t[None, :, None]
    return (1 - t) * a[:, None] + t * b[:, None]


def between(
    latent: str, a: Float[Array, "b z"], b: Float[Array, "b z"], t: Float[Array, " t"]
) -> Float[Array, "b t z"]:
    """By the distribution of the latents: normal, truncated (which the sphere leaves here and
    there, and is cut back to) or uniform."""
    way = (lerp if latent == "uniform" else slerp)(a, b, t)
    return jnp.clip(way, -TRUNCATED, TRUNCATED) if latent == "truncated" else way


def class_shares(
    stops: Sequence[int], num_classes: int, t: Float[Array, " t"]
) -> Float[Array, "t n"]:
    """The shares of classes on the way through `stops`, at equal distances from 0 to 1."""
    corners = jnp.eye(num_classes)[jnp.array(stops)]
    place = t * (len(stops) - 1)
    before = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, max(len(stops) - 2, 0))
    after = jnp.minimum(before + 1, len(stops) - 1)
    beyond = (place - before)[:, None]
    return (1 - beyond) * corners[before] + beyond * corners[after]


def there_and_back(frames: int) -> Float[Array, " t"]:
    """From 0 to 1 and back, slowly at both ends, so that the last frame leads to the first."""
    return (1 - jnp.cos(2 * jnp.pi * jnp.arange(frames) / frames)) / 2
