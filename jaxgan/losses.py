"""Adversarial losses: pure functions of logits, D(x) before any sigmoid.

A loss is a pair: what the discriminator minimises, given the logits of real and of fake images,
and what the generator minimises, given those of fake ones. With s the logistic sigmoid,
-log s(t) = softplus(-t) and -log(1 - s(t)) = softplus(t).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float

Logits = Float[Array, " b"]
Scalar = Float[Array, ""]


class Loss(NamedTuple):
    discriminator: Callable[[Logits, Logits], Scalar]  # real logits, fake logits
    generator: Callable[[Logits], Scalar]  # fake logits
    boundary: float = 0.0  # images with logits above it are taken for real ones


def minimax_discriminator(real: Logits, fake: Logits) -> Scalar:
    # Goodfellow et al. 2014, equation 1, negated: -E log s(D(x)) - E log(1 - s(D(G(z))))
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def minimax_generator(fake: Logits) -> Scalar:
    # Goodfellow et al. 2014, equation 1: E log(1 - s(D(G(z)))), which saturates where D is sure
    return -jnp.mean(jax.nn.softplus(fake))


def nonsaturating_generator(fake: Logits) -> Scalar:
    # Goodfellow et al. 2014, section 3: -E log s(D(G(z)))
    return jnp.mean(jax.nn.softplus(-fake))


def least_squares_discriminator(real: Logits, fake: Logits) -> Scalar:
    # Mao et al. 2017, equation 9 (a = 0, b = c = 1): 1/2 E (D(x) - 1)^2 + 1/2 E D(G(z))^2
    return 0.5 * jnp.mean(jnp.square(real - 1)) + 0.5 * jnp.mean(jnp.square(fake))


def least_squares_generator(fake: Logits) -> Scalar:
    # Mao et al. 2017, equation 9: 1/2 E (D(G(z)) - 1)^2
    return 0.5 * jnp.mean(jnp.square(fake - 1))


def hinge_discriminator(real: Logits, fake: Logits) -> Scalar:
    # Miyato et al. 2018, equation 16: E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))
    return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))


def hinge_generator(fake: Logits) -> Scalar:
    # Miyato et al. 2018, equation 17: -E D(G(z))
    return -jnp.mean(fake)


LOSSES = {
    "minimax": Loss(minimax_discriminator, minimax_generator),
    "nonsaturating": Loss(minimax_discriminator, nonsaturating_generator),
    "least_squares": Loss(least_squares_discriminator, least_squares_generator, boundary=0.5),
    "hinge": Loss(hinge_discriminator, hinge_generator),
}
