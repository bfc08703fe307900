"""A network that draws any picture in one style: Johnson, Alahi and Fei-Fei, ECCV 2016
(https://arxiv.org/abs/1603.08155).

It is trained on pictures x to minimise, of its own y = G(x), what optimisation of a picture's
pixels minimises (stylize.py): then one pass of it does what takes that hundreds of iterations.

    generator      down `content` |content of y - content of x|^2 + `style` |style of y - S|^2
                   + `variation` of y + `patches` times its adversarial loss
    discriminator  down its adversarial loss of pieces of the style's picture against y

S are the style's Gram matrices. What the paper leaves open, or is done in another way:

* Layers and means are those of stylize.py, so that losses can be compared with its; the paper takes
  others of VGG16.
* The adversarial game is no part of the paper. With `patches` 0, as is usual, there is none, and
  the discriminator stays as it is. Otherwise it is updated first, by as many pieces as there are
  pictures, of their size and from random places.
* The style's picture is read once, at the start; the state keeps it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import parallel, schedules, stylize
from jaxgan.algorithms import player
from jaxgan.algorithms.player import Game
from jaxgan.errors import UserError
from jaxgan.losses import Loss
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Batch, Float, Int, Key, Metrics, Params, Stats


class StyleState(Game):
    """All that training changes, and the style."""

    picture: Any  # float32 1 s s 3 in [-1, 1]
    grams: Any  # its Gram matrices


@dataclass(frozen=True, eq=False)
class Style:
    """What training does not change. See the config's keys of the same names."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: Callable[[Any], optax.GradientTransformation]  # of a step
    discriminator_optimizer: Callable[[Any], optax.GradientTransformation]
    loss: Loss
    batch_size: int
    image_shape: tuple[int, ...]  # of the data, in colour
    ema_halflife: Scalar  # images
    ema_rampup: float
    picture: Callable[[], tuple[Array, tuple[Array, ...]]]  # reads it, and its Gram matrices
    features: Callable[[], Params]  # reads VGG16's weights
    content: Scalar = 1.0
    style: Scalar = 1e3
    variation: Scalar = 1e-3
    patches: Scalar = 0.0
    accumulate: int = 1
    dtype: Any = jnp.float32

    n_critic = minibatches = 1
    num_classes = 0
    opponent = None
    restores = False

    def init(self, key: Key[Array, ""]) -> StyleState:
        images = jnp.zeros((2, *self.image_shape))
        begun = player.begin(self, key, images, images)
        picture, grams = jax.tree.map(jnp.asarray, self.picture())
        if self.plays and picture.shape[1] < max(self.image_shape[:2]):
            raise UserError(
                f"style.size: the pieces of {picture.shape[1]} pixels would be smaller than the "
                f"images, which have {max(self.image_shape[:2])}"
            )
        return StyleState(
            step=begun.step,
            key=begun.key,
            generator=begun.generator,
            discriminator=begun.discriminator,
            ema=begun.ema,
            picture=picture,
            grams=grams,
        )

    # ----------------------------------------------------------------------------------------------
    # The step

    @property
    def plays(self) -> bool:
        """Whether there is an adversarial game."""
        return schedules.is_on(self.patches)

    def step(self, state: StyleState, batch: Batch) -> tuple[Game, Metrics]:
        """One training step. `batch`: image float32 1 b h w 3 in [-1, 1]."""
        return player.alternate(self, state, {"image": batch["image"][0]})

    def discriminator_loss(
        self, params: Params, stats: Stats, state: StyleState, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics). `part`: image, key."""
        old = state.generator
        fake, _ = self._draw(old.params, old.stats, part["image"], part["key"], train=True)
        real_logits, after = self._judge(params, stats, self.pieces(state, part), part["key"])
        fake_logits, after = self._judge(params, after, fake, part["key"])
        loss, metrics = player.judged(self.loss, real_logits, fake_logits)
        return loss, (after, metrics)

    def generator_loss(
        self, params: Params, stats: Stats, state: StyleState, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics)."""
        images, features = part["image"], self.features()
        drawn, after = self._draw(params, stats, images, part["key"], train=True)
        target = stylize.Target(stylize.content_of(features, images), state.grams)
        found = stylize.losses(features, target, drawn)
        weights = [schedules.at(w, state.step) for w in (self.content, self.style, self.variation)]
        loss = stylize.weighted(found, weights)
        metrics = found._asdict()
        if self.plays:
            opponent = state.discriminator
            judge = lambda x: self._judge(opponent.params, opponent.stats, x, part["key"])[0]  # noqa: E731
            real = self.pieces(state, part)
            metrics["g_loss"] = player.fooled(self.loss, judge, drawn, real)
            loss += schedules.at(self.patches, state.step) * metrics["g_loss"]
        return loss, (after, metrics)

    # ----------------------------------------------------------------------------------------------
    # Their parts

    def pieces(self, state: StyleState, part: Batch) -> Float[Array, "b h w 3"]:
        """Of the style's picture, as many as there are images, and of their size."""
        picture, (count, *size) = state.picture[0], part["image"].shape
        room = jnp.array(
            [[large - small + 1 for large, small in zip(picture.shape, size, strict=True)]]
        )
        key = jax.random.fold_in(part["key"], 0)
        places = parallel.draw(jax.random.uniform, key, (count, 3)) * room

        def piece(place: Array) -> Array:
            return jax.lax.dynamic_slice(picture, place.astype(jnp.int32), size)

        return jax.vmap(piece)(places)

    def _draw(
        self, params: Params, stats: Stats, images: Array, key: Key[Array, ""], train: bool
    ) -> tuple[Float[Array, "b h w 3"], Stats]:
        return player.apply(
            self.generator, params, stats, images, None, train=train, dtype=self.dtype, key=key
        )

    def _judge(
        self, params: Params, stats: Stats, images: Array, key: Key[Array, ""]
    ) -> tuple[Float[Array, " n"], Stats]:
        return player.apply(
            self.discriminator, params, stats, images, None, train=True, dtype=self.dtype, key=key
        )

    # ----------------------------------------------------------------------------------------------
    # Images, by the average

    def translate(
        self, state: StyleState, key: Key[Array, ""], images: Float[Array, "b h w 3"]
    ) -> Float[Array, "b h w 3"]:
        """Pictures of any size in the style."""
        ema = state.ema
        return self._draw(ema.params, ema.stats, images, key, train=False)[0]

    def split(
        self, images: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w 3"]]:
        """Sources and targets of the data's images: they are both."""
        return images, images

    def show(
        self,
        state: StyleState,
        key: Key[Array, ""],
        images: Float[Array, "b h w 3"],
        labels: Int[Array, " b"],
    ) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w 3"]]:
        """The pictures, and what becomes of them."""
        return images, self.translate(state, key, images)

    def health(self, state: StyleState) -> Metrics:
        return player.health(state)


make = Style
