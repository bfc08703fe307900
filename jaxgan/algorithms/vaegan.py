"""Autoencoding beyond pixels (Larsen et al., ICML 2016, https://arxiv.org/abs/1512.09300).

A variational autoencoder whose reconstructions are compared with the images in a layer of a
discriminator that learns beside it, and whose samples are judged by that. With x~ the images' own
reconstructions, x_p those of latents from the prior, and D_l(x) the layer's output, one step is an
update of each network from the same minibatch and the old networks (algorithm 1):

    encoder        down KL(q(z | x), p(z)) + L, L = |D_l(x) - D_l(x~)|^2 / 2
    generator      down gamma L + its adversarial loss of x~ and x_p
    discriminator  down its adversarial loss of x against x~ and x_p

What the paper leaves open, or is done in another way:

* The adversarial loss is any of LOSSES; against x~ and x_p it is the mean of both, so that real and
  generated images weigh the same (the paper's sums have two generated images to a real one), and
  for the generator it is that which does not saturate where `loss` says so.
* L is summed over the layer's output: minus the log density of a normal variable with deviation 1,
  but for a constant, so the encoder's two terms are nats.
* A network's stats change in its own update. The discriminator's passes are x, x~, x_p in turn.
* All networks see the minibatch's labels, if there are any. The encoder has the generator's
  optimiser, and both have an average; encoding and sampling are by the averages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import parallel, schedules
from jaxgan.algorithms import latents, player
from jaxgan.algorithms.player import Player
from jaxgan.algorithms.vae import Posterior, VAEState, advanced
from jaxgan.errors import lookup
from jaxgan.losses import Loss, accuracy
from jaxgan.metrics.diversity import diversity
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Batch, Float, Int, Key, Labels, Metrics, Params, Stats


class VAEGANState(VAEState):
    """All that training changes."""

    discriminator: Player


@dataclass(frozen=True, eq=False)
class VAEGAN:
    """What training does not change. See the config's keys of the same names."""

    generator: nn.Module
    encoder: nn.Module
    discriminator: nn.Module
    generator_optimizer: Callable[[Any], optax.GradientTransformation]  # of a step
    discriminator_optimizer: Callable[[Any], optax.GradientTransformation]
    loss: Loss
    layer: str
    batch_size: int
    z_dim: int
    num_classes: int
    ema_halflife: Scalar  # images
    ema_rampup: float
    gamma: Scalar = 0.001
    accumulate: int = 1
    dtype: Any = jnp.float32

    latent = "normal"
    n_critic = minibatches = 1
    opponent = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.generator.image_shape

    def init(self, key: Key[Array, ""]) -> VAEGANState:
        keys = [jax.random.fold_in(key, n) for n in range(4)]
        labels = jnp.zeros(2, jnp.int32) if self.num_classes else None
        at_start = jnp.zeros((), jnp.int32)
        z, images = jnp.zeros((2, self.z_dim)), jnp.zeros((2, *self.image_shape))
        optimizer = self.generator_optimizer(at_start)
        generator = player.create(self.generator, optimizer, keys[0], z, labels)
        encoder = player.create(self.encoder, optimizer, keys[1], images, labels)
        of_discriminator = self.discriminator_optimizer(at_start), keys[3], images, labels
        discriminator = player.create(self.discriminator, *of_discriminator)
        lookup(dict.fromkeys(discriminator.params), self.layer, "vae.layer")
        return VAEGANState(
            step=at_start,
            key=keys[2],
            encoder=encoder,
            generator=generator,
            discriminator=discriminator,
            ema=player.copied(generator),
            encoder_ema=player.copied(encoder),
        )

    # ----------------------------------------------------------------------------------------------
    # The step

    def step(self, state: VAEGANState, batch: Batch) -> tuple[VAEGANState, Metrics]:
        """One training step. `batch`: image float32 1 b h w c in [-1, 1]; label int32 1 b."""
        minibatch = jax.tree.map(lambda x: x[0], batch)
        key = jax.random.fold_in(state.key, state.step)
        new: dict[str, Player] = {}
        metrics: Metrics = {}
        for role, objective in (
            ("discriminator", self.discriminator_loss),
            ("encoder", self.encoder_loss),
            ("generator", self.generator_loss),
        ):
            new[role], found = player.updated(self, state, role, minibatch, key, objective)
            metrics |= found

        return advanced(self, state, new), metrics

    def encoder_loss(
        self, params: Params, stats: Stats, state: VAEGANState, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics). `part`: image, label, key."""
        posterior, after = self._infer(params, stats, part, train=True)
        old = state.generator
        fake, _ = self._generate(old.params, old.stats, posterior.at(self._noise(part, 0)), part)
        error = self._error(state.discriminator, part["image"], fake, part)
        divergence = jnp.mean(jnp.sum(posterior.divergence(), -1))
        return divergence + error, (after, {"reconstruction": error, "kl": divergence})

    def generator_loss(
        self, params: Params, stats: Stats, state: VAEGANState, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics)."""
        (again, drawn), after = self._images(params, stats, state, part)
        judge = lambda images, stream: self._judge(state.discriminator, images, part, stream)  # noqa: E731
        real_logits, real_features, _ = judge(part["image"], 0)
        logits, features, _ = judge(again, 1)
        of_again = self.loss.generator(logits, real_logits)
        of_drawn = self.loss.generator(judge(drawn, 2)[0], real_logits)
        loss = (jnp.mean(of_again) + jnp.mean(of_drawn)) / 2
        error = _half_square(real_features - features)
        weight = schedules.at(self.gamma, state.step)
        return weight * error + loss, (after, {"g_loss": loss})

    def discriminator_loss(
        self, params: Params, stats: Stats, state: VAEGANState, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of its parameters, beside (stats afterwards, metrics)."""
        old, real = state.generator, part["image"]
        (again, drawn), _ = self._images(old.params, old.stats, state, part)
        here = state.discriminator.replace(params=params, stats=stats)
        real_logits, _, after = self._judge(here, real, part, 0)
        again_logits, _, after = self._judge(here.replace(stats=after), again, part, 1)
        logits, _, after = self._judge(here.replace(stats=after), drawn, part, 2)
        losses = [self.loss.discriminator(real_logits, each) for each in (again_logits, logits)]
        loss = (jnp.mean(losses[0]) + jnp.mean(losses[1])) / 2
        metrics = {
            "d_loss": loss,
            "real_logit": jnp.mean(real_logits),
            "fake_logit": jnp.mean(logits),
            "d_accuracy": accuracy(self.loss, real_logits, logits),
            "real_diversity": diversity(real, part.get("label")),
            "fake_diversity": diversity(drawn, part.get("label")),
        }
        return loss, (after, metrics)

    # ----------------------------------------------------------------------------------------------
    # Their parts

    def _noise(self, part: Batch, stream: int) -> Float[Array, "b 1 z"]:
        """Of the posterior's latents, 0, or the prior's, 1."""
        shape = len(part["image"]), 1, self.z_dim
        key = jax.random.fold_in(part["key"], stream)
        return parallel.constrain_batch(parallel.draw(jax.random.normal, key, shape))

    def _infer(
        self, params: Params, stats: Stats, part: Batch, train: bool
    ) -> tuple[Posterior, Stats]:
        inputs = part["image"], part.get("label")
        output, stats = player.apply(
            self.encoder, params, stats, *inputs, train=train, dtype=self.dtype, key=part["key"]
        )
        return Posterior(*output), stats

    def _generate(
        self, params: Params, stats: Stats, z: Float[Array, "b 1 z"], part: Batch
    ) -> tuple[Float[Array, "b ..."], Stats]:
        inputs = z[:, 0], part.get("label")
        return player.apply(
            self.generator, params, stats, *inputs, train=True, dtype=self.dtype, key=part["key"]
        )

    def _images(
        self, params: Params, stats: Stats, state: VAEGANState, part: Batch
    ) -> tuple[tuple[Array, Array], Stats]:
        """The reconstructions, and images of latents from the prior; the generator's stats after
        both."""
        posterior, _ = self._infer(state.encoder.params, state.encoder.stats, part, train=True)
        again, after = self._generate(params, stats, posterior.at(self._noise(part, 0)), part)
        drawn, after = self._generate(params, after, self._noise(part, 1), part)
        return (again, drawn), after

    def _judge(
        self, discriminator: Player, images: Float[Array, "b ..."], part: Batch, stream: int
    ) -> tuple[Float[Array, " b"], Float[Array, "b ..."], Stats]:
        """Logits, the layer's output and the stats afterwards."""
        key = jax.random.fold_in(part["key"], 2 + stream)
        given = discriminator.params, discriminator.stats, images, part.get("label")
        return player.apply_with_features(
            self.layer, self.discriminator, *given, dtype=self.dtype, key=key
        )

    def _error(
        self, discriminator: Player, real: Float[Array, "b ..."], fake: Array, part: Batch
    ) -> Float[Array, ""]:
        features = [
            self._judge(discriminator, x, part, stream)[1] for stream, x in enumerate((real, fake))
        ]
        return _half_square(features[0] - features[1])

    # ----------------------------------------------------------------------------------------------
    # Samples and latents, by the averages

    def sample(
        self,
        state: VAEGANState,
        key: Key[Array, ""],
        labels: Int[Array, " b"],
        truncation: float | None = None,
        train: bool = False,
    ) -> Float[Array, "b ..."]:
        """One image for each label, as in GAN.sample."""
        z = latents.draw(key, self.latent, (labels.shape[0], self.z_dim), truncation)
        return self.render(state, z, labels, train)

    def render(
        self,
        state: VAEGANState,
        z: Float[Array, "b z"],
        labels: Labels,
        train: bool = False,
    ) -> Float[Array, "b ..."]:
        """The images of latents."""
        return latents.render(self, state, z, labels, train)

    def encode(
        self, state: VAEGANState, images: Float[Array, "b ..."], labels: Int[Array, " b"]
    ) -> Posterior:
        """What the latents of images may be."""
        ema, given = state.encoder_ema, labels if self.num_classes else None
        output, _ = player.apply(
            self.encoder, ema.params, ema.stats, images, given, train=False, dtype=self.dtype
        )
        return Posterior(*output)

    def observed(self, key: Key[Array, ""], images: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """What is seen of the images: all."""
        return images

    def show(
        self,
        state: VAEGANState,
        key: Key[Array, ""],
        images: Float[Array, "b ..."],
        labels: Int[Array, " b"],
    ) -> tuple[Float[Array, "b ..."], Float[Array, "b ..."]]:
        """The images, and those of their latents' means."""
        return images, self.render(state, self.encode(state, images, labels).mean, labels)

    def with_standing_statistics(
        self, state: VAEGANState, key: Key[Array, ""], passes: int = 16
    ) -> VAEGANState:
        """The state whose generator's average has standing statistics."""
        return latents.with_standing_statistics(self, state, key, passes)

    def health(self, state: VAEGANState) -> Metrics:
        return player.health(state)


make = VAEGAN


def _half_square(x: Float[Array, "b ..."]) -> Float[Array, ""]:
    """The mean over images of half the sum of squares."""
    return jnp.mean(jnp.sum(jnp.square(x), range(1, x.ndim))) / 2
