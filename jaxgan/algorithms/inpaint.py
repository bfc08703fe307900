"""Completion of images: context encoders (Pathak et al., CVPR 2016,
https://arxiv.org/abs/1604.07379).

The generator sees an image with a hole, and where that is, and draws the whole; what it draws in
the hole is put there. One step is an update of the discriminator, then one of the generator:

    discriminator  down its adversarial loss of whole images against completed ones
    generator      down `reconstruction` times the distance in the hole + `adversarial` times its
                   adversarial loss (equation 3)

What the paper leaves open, or is done in another way:

* The distance is the mean absolute or squared difference over the missing pixels of an image, and
  the mean of that over images.
* The discriminator sees completed images whole, with the mask beside (Yu et al. 2019, SN-PatchGAN),
  not the hole alone; real images have the same masks beside them.
* Each update draws its masks anew. Both players see the same minibatch in a step, with other masks.
* Where `adversarial` is 0 there is no adversarial game, and the discriminator stays as it is.
* Pixels in the hole are 0, mid-grey, to the generator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import schedules
from jaxgan.algorithms import masks, player
from jaxgan.algorithms.player import Game
from jaxgan.losses import Loss
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Batch, Float, Int, Key, Metrics, Params, Stats

DISTANCES: dict[str, Callable[[Array], Array]] = {"l1": jnp.abs, "l2": jnp.square}


@dataclass(frozen=True, eq=False)
class Inpaint:
    """What training does not change. See the config's keys of the same names."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: Callable[[Any], optax.GradientTransformation]  # of a step
    discriminator_optimizer: Callable[[Any], optax.GradientTransformation]
    loss: Loss
    batch_size: int
    ema_halflife: Scalar  # images
    ema_rampup: float
    masks: tuple[str, ...] = ("box", "strokes", "half")
    distance: str = "l1"
    reconstruction: Scalar = 1.0
    adversarial: Scalar = 0.01
    accumulate: int = 1
    dtype: Any = jnp.float32

    n_critic = minibatches = 1
    num_classes = 0
    opponent = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.generator.image_shape

    def init(self, key: Key[Array, ""]) -> Game:
        seen = jnp.zeros((2, *self.image_shape[:2], self.image_shape[2] + 1))
        return player.begin(self, key, seen, seen)

    # ----------------------------------------------------------------------------------------------
    # The step

    def step(self, state: Game, batch: Batch) -> tuple[Game, Metrics]:
        """One training step. `batch`: image float32 1 b h w c in [-1, 1]."""
        return player.alternate(self, state, {"image": batch["image"][0]})

    @property
    def plays(self) -> bool:
        """Whether there is an adversarial game."""
        return schedules.is_on(self.adversarial)

    def discriminator_loss(
        self, params: Params, stats: Stats, state: Game, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics). `part`: image, key."""
        real, mask = part["image"], self.mask(part["key"], part["image"])
        old = state.generator
        fake, _ = self._filled(old.params, old.stats, real, mask, train=True)
        real_logits, after = self._judge(params, stats, real, mask)
        fake_logits, after = self._judge(params, after, fake, mask)
        loss, metrics = player.judged(self.loss, real_logits, fake_logits)
        return loss, (after, metrics)

    def generator_loss(
        self, params: Params, stats: Stats, state: Game, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics)."""
        real, mask = part["image"], self.mask(part["key"], part["image"])
        fake, after = self._filled(params, stats, real, mask, train=True)
        missing = jnp.maximum(jnp.sum(mask, (1, 2, 3)) * real.shape[-1], 1)
        of_images = jnp.sum(DISTANCES[self.distance](fake - real), (1, 2, 3))  # 0 outside the hole
        error = jnp.mean(of_images / missing)
        loss, metrics = schedules.at(self.reconstruction, state.step) * error, {}
        if self.plays:
            opponent = state.discriminator
            judge = lambda images: self._judge(opponent.params, opponent.stats, images, mask)[0]  # noqa: E731
            metrics["g_loss"] = player.fooled(self.loss, judge, fake, real)
            loss += schedules.at(self.adversarial, state.step) * metrics["g_loss"]
        return loss, (after, {"reconstruction": error, **metrics})

    # ----------------------------------------------------------------------------------------------
    # Their parts

    def mask(self, key: Key[Array, ""], images: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
        """Random holes in as many images, 1 where they are missing."""
        count, height, width, _ = images.shape
        return masks.draw(jax.random.fold_in(key, 0), self.masks, (count, height, width))

    def _filled(
        self,
        params: Params,
        stats: Stats,
        images: Float[Array, "b h w c"],
        mask: Float[Array, "b h w 1"],
        train: bool,
    ) -> tuple[Float[Array, "b h w c"], Stats]:
        """The images with their holes filled, and the stats afterwards."""
        seen = (1 - mask) * images
        given = jnp.concatenate([seen, mask], -1)
        drawn, after = player.apply(
            self.generator, params, stats, given, None, train=train, dtype=self.dtype
        )
        return seen + mask * drawn, after

    def _judge(
        self,
        params: Params,
        stats: Stats,
        images: Float[Array, "b h w c"],
        mask: Float[Array, "b h w 1"],
    ) -> tuple[Float[Array, " n"], Stats]:
        given = jnp.concatenate([images, mask], -1)
        return player.apply(
            self.discriminator, params, stats, given, None, train=True, dtype=self.dtype
        )

    # ----------------------------------------------------------------------------------------------
    # Images, by the average

    def fill(
        self, state: Game, images: Float[Array, "b h w c"], mask: Float[Array, "b h w 1"]
    ) -> Float[Array, "b h w c"]:
        """The images, with what is missing of them drawn."""
        return self._filled(state.ema.params, state.ema.stats, images, mask, train=False)[0]

    def complete(
        self, state: Game, key: Key[Array, ""], images: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 1"]]:
        """The images with random holes filled, and where these are."""
        mask = self.mask(key, images)
        return self.fill(state, images, mask), mask

    def show(
        self,
        state: Game,
        key: Key[Array, ""],
        images: Float[Array, "b h w c"],
        labels: Int[Array, " b"],
    ) -> tuple[Float[Array, "b h w c"], ...]:
        """The images, what is left of them beside random holes, and with these filled."""
        mask = self.mask(key, images)
        return images, (1 - mask) * images, self.fill(state, images, mask)

    def health(self, state: Game) -> Metrics:
        return player.health(state)


make = Inpaint
