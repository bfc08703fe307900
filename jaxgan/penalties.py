"""Gradient penalties: pure functions of a critic closure, images -> logits.

Added to the discriminator's loss, each with the weight that the config gives it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float

Images = Float[Array, "b ..."]
Critic = Callable[[Images], Float[Array, " b"]]


def r1(critic: Critic, real: Images) -> Float[Array, ""]:
    # Mescheder et al. 2018, equation 9, the weight being gamma: 1/2 E ||grad_x D(x)||^2
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(real)
    return 0.5 * jnp.mean(jnp.sum(jnp.square(gradient), tuple(range(1, gradient.ndim))))


PENALTIES = {"r1": r1}
