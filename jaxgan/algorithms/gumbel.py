"""Adversarial training on discrete symbols by the Gumbel-softmax distribution: Kusner and
Hernández-Lobato 2016 (https://arxiv.org/abs/1611.04051).

It is the GAN of gan.py, of sequences that the generator chooses symbol by symbol (models/lstm.py).
Choosing has no gradient; a softmax of the logits and Gumbel noise, over a temperature, has, and as
the temperature falls it becomes the choice itself. The temperature is a schedule of the step.

Samples are sequences of symbols, drawn by the averaged weights.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from jaxgan import schedules
from jaxgan.algorithms import latents, player
from jaxgan.algorithms.gan import GAN, GANState
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Batch, Float, Int, Key, Metrics


@dataclass(frozen=True, eq=False)
class Gumbel(GAN):
    """What training does not change."""

    temperature: Scalar = 1.0

    recurrent = True

    def step(self, state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        """One training step, as GAN.step; `batch`: image float32 k b l s, one-hot."""
        temperature: Any = schedules.at(self.temperature, state.step)
        now = dataclasses.replace(self, generator=self.generator.clone(temperature=temperature))
        state, metrics = GAN.step(now, state, batch)
        return state, {**metrics, "temperature": temperature}

    def sample(
        self,
        state: GANState,
        key: Key[Array, ""],
        labels: Int[Array, " b"],
        truncation: float | None = None,
        train: bool = False,
    ) -> Float[Array, "b l s"]:
        """As many sequences as there are labels, one-hot."""
        z = latents.draw(key, self.latent, (labels.shape[0], self.z_dim), truncation)
        ema = state.ema
        given = self.generator, ema.params, ema.stats, z, None
        return player.apply(*given, train=False, dtype=self.dtype, key=key)[0]


make = Gumbel
