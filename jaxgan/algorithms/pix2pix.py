"""Translation of paired images: pix2pix (Isola et al., CVPR 2017,
https://arxiv.org/abs/1611.07004).

With pairs of a source x and a target y, one step is an update of the discriminator, then one of the
generator, from the same minibatch (section 3):

    discriminator  down its adversarial loss of (x, y) against (x, G(x))
    generator      down `gan` times its adversarial loss + `l1` times the mean of |y - G(x)|

What the paper leaves open, or is done in another way:

* Noise is dropout alone (section 3.1), as far as the generator has any; each update draws it anew.
  It is drawn when images are made, too, as in the paper.
* The authors' code halves the discriminator's loss, to slow it down; with Adam that does nothing,
  and it is not done.
* Where `gan` is 0 there is no adversarial game, the paper's ablation L1, and the discriminator
  stays as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from jaxgan import schedules
from jaxgan.algorithms import pairs, player
from jaxgan.algorithms.player import Game
from jaxgan.losses import Loss
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Batch, Float, Int, Key, Metrics, Params, Stats


@dataclass(frozen=True, eq=False)
class Pix2Pix:
    """What training does not change. See the config's keys of the same names."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: Callable[[Any], optax.GradientTransformation]  # of a step
    discriminator_optimizer: Callable[[Any], optax.GradientTransformation]
    loss: Loss
    batch_size: int
    image_shape: tuple[int, ...]  # of the data, whose images may be pairs
    ema_halflife: Scalar  # images
    ema_rampup: float
    source: str = ""
    source_channels: int = 0
    l1: Scalar = 100.0
    gan: Scalar = 1.0
    accumulate: int = 1
    dtype: Any = jnp.float32

    n_critic = minibatches = 1
    num_classes = 0
    opponent = None

    def init(self, key: Key[Array, ""]) -> Game:
        x, y = self.split(jnp.zeros((2, *self.image_shape)))
        return player.begin(self, key, x, jnp.concatenate([x, y], -1))

    def step(self, state: Game, batch: Batch) -> tuple[Game, Metrics]:
        """One training step. `batch`: image float32 1 b h w c in [-1, 1]."""
        return player.alternate(self, state, {"image": batch["image"][0]})

    @property
    def plays(self) -> bool:
        """Whether there is an adversarial game."""
        return schedules.is_on(self.gan)

    def discriminator_loss(
        self, params: Params, stats: Stats, state: Game, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics). `part`: image, key."""
        (x, y), old = self.split(part["image"]), state.generator
        fake, _ = self._generate(old.params, old.stats, x, part["key"], train=True)
        real_logits, after = self._judge(params, stats, x, y, part["key"])
        fake_logits, after = self._judge(params, after, x, fake, part["key"])
        loss, metrics = player.judged(self.loss, real_logits, fake_logits)
        return loss, (after, metrics)

    def generator_loss(
        self, params: Params, stats: Stats, state: Game, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics)."""
        x, y = self.split(part["image"])
        fake, after = self._generate(params, stats, x, part["key"], train=True)
        metrics = {"l1": jnp.mean(jnp.abs(y - fake))}
        loss = schedules.at(self.l1, state.step) * metrics["l1"]
        if self.plays:
            opponent = state.discriminator
            judge = lambda image: self._judge(  # noqa: E731
                opponent.params, opponent.stats, x, image, part["key"]
            )[0]
            metrics["g_loss"] = player.fooled(self.loss, judge, fake, y)
            loss += schedules.at(self.gan, state.step) * metrics["g_loss"]
        return loss, (after, metrics)

    # ----------------------------------------------------------------------------------------------
    # Their parts

    def split(
        self, images: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w s"], Float[Array, "b h w t"]]:
        """Sources and targets of the data's images."""
        return pairs.split(self.source, self.source_channels, images)

    def _generate(
        self, params: Params, stats: Stats, x: Array, key: Key[Array, ""], train: bool
    ) -> tuple[Float[Array, "b h w t"], Stats]:
        return player.apply(
            self.generator, params, stats, x, None, train=train, dtype=self.dtype, key=key
        )

    def _judge(
        self, params: Params, stats: Stats, x: Array, y: Array, key: Key[Array, ""]
    ) -> tuple[Float[Array, " n"], Stats]:
        pair = jnp.concatenate([x, y], -1)
        return player.apply(
            self.discriminator, params, stats, pair, None, train=True, dtype=self.dtype, key=key
        )

    # ----------------------------------------------------------------------------------------------
    # Images, by the average

    def translate(
        self, state: Game, key: Key[Array, ""], images: Float[Array, "b h w s"]
    ) -> Float[Array, "b h w t"]:
        """What becomes of sources."""
        ema = state.ema
        return self._generate(ema.params, ema.stats, images, key, train=False)[0]

    def show(
        self,
        state: Game,
        key: Key[Array, ""],
        images: Float[Array, "b h w c"],
        labels: Int[Array, " b"],
    ) -> tuple[Float[Array, "b h w t"], ...]:
        """The targets, the sources, and what becomes of these."""
        x, y = self.split(images)
        return y, x, self.translate(state, key, x)

    def health(self, state: Game) -> Metrics:
        return player.health(state)


make = Pix2Pix
