"""Unrolled GANs (Metz et al., ICLR 2017, https://arxiv.org/abs/1611.02163).

The generator's loss looks through the discriminator as it would be after K more of its updates
(equation 8), and its gradient is that of the whole, the updates of the discriminator's optimiser
included (equation 9); K = 0 is the plain GAN. What the paper leaves open:

* All K updates and the generator's loss see the one minibatch of the generator's update, as in the
  authors' code, which evaluates one graph on one batch.
* The discriminator's own update, before it, is a plain one (equation 11): what was unrolled is
  thrown away.

Adam's square root has no slope at 0: with `optimizer.discriminator.name = "adam"` give it
`arguments.eps_root`, which the config check demands, and float32, on accelerators too: gradients of
rounded numbers cancel to 0, and the generator's first ones were 4e3 to 1e14 times too large.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import parallel
from jaxgan.algorithms import player
from jaxgan.algorithms.gan import GAN, GANState
from jaxgan.algorithms.player import Player
from jaxgan.typing import Batch, Metrics

# So many updates make no loop, which on CPU copies what the gradient needs of each: 15 % of a step.
WITHOUT_LOOP = 10


def look_ahead(gan: Any, state: GANState, part: Batch) -> Player:
    """The state's discriminator after `gan.unrolled_steps` updates against the state's generator, a
    differentiable function of it."""
    if not gan.unrolled_steps:
        return state.discriminator
    optimizer = gan.discriminator_optimizer(state.step)
    loss = jax.grad(gan.discriminator_loss, has_aux=True)
    generator, labels = state.generator, part.get("label")
    of_generator = generator.params, generator.stats, part["z"], labels, part["key"]
    part = {**part, "fake": gan.generate(*of_generator)[0]}  # once, with its gradient, for all K
    first = state.step * gan.n_critic + (0 if gan.simultaneous else gan.n_critic)

    def update(discriminator: Player, number: Any) -> tuple[Player, None]:
        params, stats = parallel.gathered(discriminator.params), discriminator.stats
        gradients, (stats, _) = loss(params, stats, state, part, number)
        gradients = parallel.scattered(gradients)
        gradients, stats = parallel.mean_over_replicas((gradients, stats))
        return player.update(discriminator, optimizer, gradients, stats), None

    count = gan.unrolled_steps
    numbers = first + jnp.arange(count)
    return jax.lax.scan(update, state.discriminator, numbers, unroll=count <= WITHOUT_LOOP)[0]


@dataclass(frozen=True, eq=False)
class UnrolledGAN(GAN):
    """A GAN whose generator looks `unrolled_steps` updates ahead."""

    opponent: Callable[[GAN, GANState, Batch], Player] | None = look_ahead
    unrolled_steps: int = 0

    def update_generator(self, state: GANState, minibatch: Batch) -> tuple[Player, Metrics]:
        """As a GAN's; where it looks ahead, in whole float32 on accelerators, too."""
        if not self.unrolled_steps:
            return super().update_generator(state, minibatch)
        with jax.default_matmul_precision("highest"):
            return super().update_generator(state, minibatch)


make = UnrolledGAN
