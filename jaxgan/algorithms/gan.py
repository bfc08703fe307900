"""Generative adversarial training (Goodfellow et al., NIPS 2014, algorithm 1), conditional or not.

One step is K updates of the discriminator, each on a fresh minibatch of real images and fresh
latents, then one of the generator on fresh latents through the updated discriminator, then one of
the generator's moving average. What the paper leaves open:

* Real and fake images pass the discriminator in two calls, so BatchNorm sees them apart.
* A player's stats (BatchNorm moments) change only in its own update: the discriminator's by the
  real, then the fake batch; the generator's by its batch. What the other's update would change in
  them is dropped.
* Fake images take the labels of the real minibatch beside them, and the generator's update those of
  the last one, so that labels have the data's frequencies everywhere.
* The metric `d_loss` is the adversarial loss alone; penalties stand beside it, unweighted.
* The health signals beside the losses are those of the discriminator's updates: the mean logits,
  how often it is right (`d_accuracy`), how varied its real and fake images are; and the norms of
  both players' gradients, whole and for each block of the network.
* Sampling uses the averages of params and of stats, without train mode.
* Randomness: `fold_in(key, step)`, then `fold_in` of the update's number. No key is stored back.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxgan import parallel
from jaxgan.algorithms import player
from jaxgan.algorithms.player import Average, Player
from jaxgan.losses import Loss
from jaxgan.metrics.diversity import diversity
from jaxgan.typing import Array, Batch, Float, Int, Key, Metrics, Params


class GANState(struct.PyTreeNode):
    """All that training changes. Trees of shapes and of shardings have this structure too."""

    step: Any  # int32 scalar
    key: Any  # a typed key, never split
    generator: Player
    discriminator: Player
    ema: Average


@dataclass(frozen=True, eq=False)
class GAN:
    """What training does not change. See the config's keys of the same names."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation
    loss: Loss
    penalties: tuple  # of (name, function, weight)
    n_critic: int
    batch_size: int
    z_dim: int
    num_classes: int
    ema_halflife: float  # images
    ema_rampup: float

    def init(self, key: Key[Array, ""]) -> GANState:
        g_key, d_key, state_key = (jax.random.fold_in(key, n) for n in range(3))
        z = jnp.zeros((2, self.z_dim))
        labels = jnp.zeros(2, jnp.int32) if self.num_classes else None
        generator = player.create(self.generator, self.generator_optimizer, g_key, z, labels)
        images = jnp.zeros((2, *self.generator.image_shape))
        discriminator = player.create(
            self.discriminator, self.discriminator_optimizer, d_key, images, labels
        )
        copy = lambda tree: jax.tree.map(jnp.copy, tree)  # noqa: E731
        return GANState(
            step=jnp.zeros((), jnp.int32),
            key=state_key,
            generator=generator,
            discriminator=discriminator,
            ema=Average(params=copy(generator.params), stats=copy(generator.stats)),
        )

    def step(self, state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        """One training step. `batch`: image float32 k b h w c in [-1, 1] (or points k b 2); label
        int32 k b."""
        key = jax.random.fold_in(state.key, state.step)

        def discriminator_update(discriminator, inputs):
            k, minibatch = inputs
            z = self.latents(jax.random.fold_in(key, k))
            return self.update_discriminator(discriminator, state.generator, minibatch, z)

        discriminator, d_metrics = jax.lax.scan(
            discriminator_update, state.discriminator, (jnp.arange(self.n_critic), batch)
        )
        z = self.latents(jax.random.fold_in(key, self.n_critic))
        labels = batch["label"][-1] if self.num_classes else None
        generator, g_metrics = self.update_generator(state.generator, discriminator, z, labels)

        per_step = self.n_critic * self.batch_size
        ema = player.average(
            state.ema,
            generator,
            images=state.step.astype(jnp.float32) * per_step,
            per_step=per_step,
            halflife=self.ema_halflife,
            rampup=self.ema_rampup,
        )
        state = GANState(
            step=state.step + 1,
            key=state.key,
            generator=generator,
            discriminator=discriminator,
            ema=ema,
        )
        return state, {**_mean_or_first_broken(d_metrics), **g_metrics}

    def update_discriminator(
        self, discriminator: Player, generator: Player, batch: Batch, z: Float[Array, "b z"]
    ) -> tuple[Player, Metrics]:
        real, labels = batch["image"], batch.get("label")
        fake, _ = player.apply(
            self.generator, generator.params, generator.stats, z, labels, train=True
        )

        def objective(params: Params):
            def critic(images, stats=discriminator.stats):
                return player.apply(self.discriminator, params, stats, images, labels, train=True)

            real_logits, stats = critic(real)
            fake_logits, stats = critic(fake, stats)
            loss = self.loss.discriminator(real_logits, fake_logits)
            metrics = {
                "d_loss": loss,
                "real_logit": jnp.mean(real_logits),
                "fake_logit": jnp.mean(fake_logits),
                "d_accuracy": self._accuracy(real_logits, fake_logits),
            }
            for name, penalty, weight in self.penalties:
                metrics[name] = penalty(lambda images: critic(images)[0], real)
                loss = loss + weight * metrics[name]
            return loss, (stats, metrics)

        gradients, (stats, metrics) = jax.grad(objective, has_aux=True)(discriminator.params)
        metrics |= {
            "real_diversity": diversity(real, labels),
            "fake_diversity": diversity(fake, labels),
            **_named("d_gradient_norm", player.gradient_norms(gradients)),
        }
        return player.update(discriminator, self.discriminator_optimizer, gradients, stats), metrics

    def update_generator(
        self,
        generator: Player,
        discriminator: Player,
        z: Float[Array, "b z"],
        labels: Int[Array, " b"] | None,
    ) -> tuple[Player, Metrics]:
        def objective(params: Params):
            fake, stats = player.apply(
                self.generator, params, generator.stats, z, labels, train=True
            )
            logits, _ = player.apply(
                self.discriminator,
                discriminator.params,
                discriminator.stats,
                fake,
                labels,
                train=True,
            )
            return self.loss.generator(logits), stats

        (loss, stats), gradients = jax.value_and_grad(objective, has_aux=True)(generator.params)
        generator = player.update(generator, self.generator_optimizer, gradients, stats)
        norms = _named("g_gradient_norm", player.gradient_norms(gradients))
        return generator, {"g_loss": loss, **norms}

    def _accuracy(self, real: Float[Array, " b"], fake: Float[Array, " b"]) -> Float[Array, ""]:
        """The share of the logits that lie on their side of the loss's boundary."""
        return (jnp.mean(real > self.loss.boundary) + jnp.mean(fake <= self.loss.boundary)) / 2

    def health(self, state: GANState) -> Metrics:
        """What the state alone tells: how far the average is from the generator's parameters, and
        the largest singular values where spectral normalisation keeps them."""
        return {
            "ema_distance": player.distance(state.ema, state.generator),
            **_named("d_", player.largest_singular_value(state.discriminator)),
            **_named("g_", player.largest_singular_value(state.generator)),
        }

    def sample(
        self,
        state: GANState,
        key: Key[Array, ""],
        labels: Int[Array, " b"],
        truncation: float | None = None,
    ) -> Float[Array, "b ..."]:
        """One image for each label, in [-1, 1]; without classes only their number counts.

        With `truncation` latents are drawn anew until they lie within it (Brock et al. 2019).
        """
        shape = (labels.shape[0], self.z_dim)
        if truncation is None:
            z = jax.random.normal(key, shape)
        else:
            z = jax.random.truncated_normal(key, -truncation, truncation, shape)
        inputs = z, labels if self.num_classes else None
        ema = state.ema
        return player.apply(self.generator, ema.params, ema.stats, *inputs, train=False)[0]

    def latents(self, key: Key[Array, ""]) -> Float[Array, "b z"]:
        return parallel.constrain_batch(jax.random.normal(key, (self.batch_size, self.z_dim)))


def _mean_or_first_broken(metrics: dict[str, Float[Array, " k"]]) -> Metrics:
    """The means over k updates; or where one has a number that is not finite, the first such
    update's own numbers, for what it breaks in the later ones would hide where it began."""
    broken = jnp.any(~jnp.isfinite(jnp.stack(list(metrics.values()))), axis=0)
    first = jnp.argmax(broken)
    return {
        name: jnp.where(jnp.any(broken), values[first], jnp.mean(values))
        for name, values in metrics.items()
    }


def _named(prefix: str, metrics: Metrics) -> Metrics:
    return {f"{prefix}{name}": value for name, value in metrics.items()}
