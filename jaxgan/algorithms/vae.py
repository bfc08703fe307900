"""Variational autoencoders (Kingma and Welling, ICLR 2014, https://arxiv.org/abs/1312.6114).

The generator is the decoder. A step is one update of it and of the encoder together, up the
gradient of a bound on log p(x), through latents z = mean + deviation * noise (equation 10):

    elbo  E log p(x | z) - beta KL(q(z | x), p(z)), the divergence in closed form (appendix B), the
          expectation by the mean over `samples` latents; where beta is not 1 it is that of beta-VAE
          (Higgins et al. 2017) and no bound, or a weaker one
    iwae  the log of the mean over `samples` latents of p(x, z) / q(z | x) (Burda et al. 2016,
          https://arxiv.org/abs/1509.00519, equation 8)

What the papers leave open:

* Both networks see the minibatch's labels, if there are any (Sohn et al. 2015).
* Each update draws its images black or white anew, where the likelihood wants them so.
* Encoder and generator have an optimiser each, of the same settings, and an average each.
* The metrics are nats an image: `loss` is the bound's negative, `reconstruction` that of the first
  term, `kl` the divergence.
* A sample is the mean of p(x | z), not a draw from it. Encoding and sampling are by the averages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxgan import parallel, schedules
from jaxgan.algorithms import latents, player
from jaxgan.algorithms.player import Average, Player
from jaxgan.likelihoods import Likelihood
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Batch, Float, Int, Key, Labels, Metrics, Params, Stats

CHUNK = 100  # of an image's latents that a long bound decodes at once


class VAEState(struct.PyTreeNode):
    """All that training changes."""

    step: Any  # int32 scalar
    key: Any  # a typed key, never split
    encoder: Player
    generator: Player
    ema: Average  # of the generator
    encoder_ema: Average


class Posterior(struct.PyTreeNode):
    """q(z | x): normal, its dimensions independent."""

    mean: Float[Array, "b z"]
    log_variance: Float[Array, "b z"]

    def at(self, noise: Float[Array, "b s z"]) -> Float[Array, "b s z"]:
        """The latents that standard normal numbers stand for."""
        return self.mean[:, None] + jnp.exp(self.log_variance / 2)[:, None] * noise

    def divergence(self) -> Float[Array, "b z"]:
        """KL(q, p) of each dimension, in nats."""
        return (self.mean**2 + jnp.exp(self.log_variance) - 1 - self.log_variance) / 2

    def log_ratio(self, noise: Float[Array, "b s z"]) -> Float[Array, "b s"]:
        """log p(z) - log q(z | x) of those latents."""
        log_variance = self.log_variance[:, None]
        return jnp.sum((noise**2 + log_variance - self.at(noise) ** 2) / 2, -1)


def advanced(algorithm: Any, state: Any, new: Mapping[str, Player]) -> Any:
    """The state after a step that gave these networks, with both averages."""
    return state.replace(
        step=state.step + 1,
        ema=player.next_average(algorithm, state.step, state.ema, new["generator"]),
        encoder_ema=player.next_average(algorithm, state.step, state.encoder_ema, new["encoder"]),
        **new,
    )


@dataclass(frozen=True, eq=False)
class VAE:
    """What training does not change. See the config's keys of the same names."""

    generator: nn.Module
    encoder: nn.Module
    generator_optimizer: Callable[[Any], optax.GradientTransformation]  # of a step
    likelihood: Likelihood
    batch_size: int
    z_dim: int
    num_classes: int
    ema_halflife: Scalar  # images
    ema_rampup: float
    bound: str = "elbo"
    samples: int = 1
    beta: Scalar = 1.0
    accumulate: int = 1
    dtype: Any = jnp.float32

    latent = "normal"
    n_critic = minibatches = 1
    opponent = None

    # ----------------------------------------------------------------------------------------------
    # State

    @property
    def image_shape(self) -> tuple[int, ...]:
        *sides, outputs = self.generator.image_shape
        return *sides, outputs // self.likelihood.outputs

    def init(self, key: Key[Array, ""]) -> VAEState:
        g_key, e_key, state_key = (jax.random.fold_in(key, n) for n in range(3))
        labels = jnp.zeros(2, jnp.int32) if self.num_classes else None
        at_start = jnp.zeros((), jnp.int32)
        optimizer = self.generator_optimizer(at_start)
        z, images = jnp.zeros((2, self.z_dim)), jnp.zeros((2, *self.image_shape))
        generator = player.create(self.generator, optimizer, g_key, z, labels)
        encoder = player.create(self.encoder, optimizer, e_key, images, labels)
        return VAEState(
            step=at_start,
            key=state_key,
            encoder=encoder,
            generator=generator,
            ema=player.copied(generator),
            encoder_ema=player.copied(encoder),
        )

    # ----------------------------------------------------------------------------------------------
    # The step

    def step(self, state: VAEState, batch: Batch) -> tuple[VAEState, Metrics]:
        """One training step. `batch`: image float32 1 b h w c in [-1, 1] (or points 1 b 2); label
        int32 1 b."""
        minibatch = jax.tree.map(lambda x: x[0], batch)
        key = jax.random.fold_in(state.key, state.step)
        old = {"encoder": state.encoder, "generator": state.generator}
        params = {role: each.params for role, each in old.items()}
        stats = {role: each.stats for role, each in old.items()}

        def objective(params: Params, stats: Stats, part: Batch):
            return self.loss(params, stats, part, state.step)

        parts = player.parts(minibatch, key, self.accumulate)
        gradients, stats, metrics = player.gradients(
            objective, params, stats, parts, self.accumulate
        )
        optimizer = self.generator_optimizer(state.step)
        new = {}
        for role, each in old.items():
            metrics |= player.gradient_norms(role, gradients[role])
            new[role] = player.update(each, optimizer, gradients[role], stats[role])
        return advanced(self, state, new), metrics

    def loss(
        self, params: Params, stats: Stats, part: Batch, step: Int[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of both networks' parameters, beside (stats afterwards, metrics). `part`: image, label,
        key."""
        labels, key = part.get("label"), part["key"]
        images = self.observed(jax.random.fold_in(key, 0), part["image"])
        posterior, encoder_stats = self.infer(
            params["encoder"], stats["encoder"], images, labels, train=True, key=key
        )
        noise = self.noise(jax.random.fold_in(key, 1), len(images), self.samples)
        log_prob, generator_stats = self.log_prob(
            params["generator"],
            stats["generator"],
            images,
            labels,
            posterior.at(noise),
            train=True,
            key=key,
        )
        divergence = jnp.sum(posterior.divergence(), -1)
        if self.bound == "iwae":
            weights = log_prob + posterior.log_ratio(noise)
            bound = jax.nn.logsumexp(weights, 1) - jnp.log(self.samples)
        else:
            bound = jnp.mean(log_prob, 1) - schedules.at(self.beta, step) * divergence
        loss = -jnp.mean(bound)
        metrics = {
            "loss": loss,
            "reconstruction": -jnp.mean(log_prob),
            "kl": jnp.mean(divergence),
        }
        return loss, ({"encoder": encoder_stats, "generator": generator_stats}, metrics)

    # ----------------------------------------------------------------------------------------------
    # Their parts

    def observed(self, key: Key[Array, ""], images: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """What the likelihood is of: the images, or draws of black and white ones."""
        uniform = parallel.draw(jax.random.uniform, key, images.shape)
        return self.likelihood.observed(images, parallel.constrain_batch(uniform))

    def noise(self, key: Key[Array, ""], count: int, samples: int) -> Float[Array, "b s z"]:
        shape = count, samples, self.z_dim
        return parallel.constrain_batch(parallel.draw(jax.random.normal, key, shape))

    def infer(
        self,
        params: Params,
        stats: Stats,
        images: Float[Array, "b ..."],
        labels: Int[Array, " b"] | None,
        train: bool = False,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Posterior, Stats]:
        """What the encoder makes of images, and its stats afterwards."""
        inputs = images, labels if self.num_classes else None
        output, stats = player.apply(
            self.encoder, params, stats, *inputs, train=train, dtype=self.dtype, key=key
        )
        return Posterior(*output), stats

    def log_prob(
        self,
        params: Params,
        stats: Stats,
        images: Float[Array, "b ..."],
        labels: Int[Array, " b"] | None,
        z: Float[Array, "b s z"],
        train: bool = False,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "b s"], Stats]:
        """log p(x | z) of each image by each of its latents, and the generator's stats."""
        count, samples, _ = z.shape
        given = None if labels is None else jnp.repeat(labels, samples, 0)
        output, stats = player.apply(
            self.generator,
            params,
            stats,
            z.reshape(count * samples, -1),
            given if self.num_classes else None,
            train=train,
            dtype=self.dtype,
            key=key,
        )
        nats = self.likelihood.log_prob(jnp.repeat(images, samples, 0), output)
        return nats.reshape(count, samples), stats

    # ----------------------------------------------------------------------------------------------
    # Samples, latents, bounds; all by the averages

    def sample(
        self,
        state: VAEState,
        key: Key[Array, ""],
        labels: Int[Array, " b"],
        truncation: float | None = None,
        train: bool = False,
    ) -> Float[Array, "b ..."]:
        """One image for each label, as in GAN.sample."""
        z = latents.draw(key, self.latent, (labels.shape[0], self.z_dim), truncation)
        return self.render(state, z, labels, train)

    def render(
        self, state: VAEState, z: Float[Array, "b z"], labels: Labels, train: bool = False
    ) -> Float[Array, "b ..."]:
        """The mean images of latents."""
        return self.likelihood.mean(latents.render(self, state, z, labels, train))

    def encode(
        self, state: VAEState, images: Float[Array, "b ..."], labels: Int[Array, " b"]
    ) -> Posterior:
        """What the latents of images may be. Of black and white images, where the likelihood is of
        such."""
        return self.infer(state.encoder_ema.params, state.encoder_ema.stats, images, labels)[0]

    def show(
        self,
        state: VAEState,
        key: Key[Array, ""],
        images: Float[Array, "b ..."],
        labels: Int[Array, " b"],
    ) -> tuple[Float[Array, "b ..."], Float[Array, "b ..."]]:
        """What is seen of the images, and the mean images of their latents' means."""
        seen = self.observed(key, images)
        return seen, self.render(state, self.encode(state, seen, labels).mean, labels)

    def bounds(
        self,
        state: VAEState,
        key: Key[Array, ""],
        images: Float[Array, "b ..."],
        labels: Int[Array, " b"],
        samples: int,
    ) -> dict[str, Float[Array, "b ..."]]:
        """In nats of each image: `elbo` with beta 1; `importance_bound`, by as many latents
        (Burda et al. 2016, section 5.1); and of each latent dimension its `divergence` b z; beside
        them its `mean` b z.

        `samples` is rounded up to whole hundreds beyond a hundred.
        """
        images = self.observed(jax.random.fold_in(key, 0), images)
        posterior = self.encode(state, images, labels)
        divergence, chunk = posterior.divergence(), min(samples, CHUNK)

        def more(number: Int[Array, ""]) -> tuple[Array, Array]:
            noise = self.noise(jax.random.fold_in(key, number + 1), len(images), chunk)
            ema, z = state.ema, posterior.at(noise)
            log_prob, _ = self.log_prob(ema.params, ema.stats, images, labels, z)
            weights = log_prob + posterior.log_ratio(noise)
            return jnp.mean(log_prob, 1), jax.nn.logsumexp(weights, 1) - jnp.log(chunk)

        chunks = -(-samples // chunk)
        log_prob, logs = jax.lax.map(more, jnp.arange(chunks))
        return {
            "elbo": jnp.mean(log_prob, 0) - jnp.sum(divergence, -1),
            "importance_bound": jax.nn.logsumexp(logs, 0) - jnp.log(chunks),
            "divergence": divergence,
            "mean": posterior.mean,
        }

    def with_standing_statistics(
        self, state: VAEState, key: Key[Array, ""], passes: int = 16
    ) -> VAEState:
        """The state whose generator's average has standing statistics."""
        return latents.with_standing_statistics(self, state, key, passes)

    def health(self, state: VAEState) -> Metrics:
        return player.health(state)


make = VAE
