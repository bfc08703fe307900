"""Generative adversarial training (Goodfellow et al., NIPS 2014, algorithm 1), conditional or not.

One step is K updates of the discriminator, each on a fresh minibatch of real images and fresh
latents, then one of the generator on fresh latents through the updated discriminator, then one of
the generator's moving average. What the paper leaves open:

* Real and fake images pass the discriminator in two calls, so BatchNorm sees them apart.
* A player's stats (BatchNorm moments, power iterations of spectral normalisation) change only in
  its own update: the discriminator's by the real, then the fake batch; the generator's by its
  batch. What the other's update would change in them is dropped.
* Fake images take the labels of the real minibatch beside them, and the generator's update those of
  the last one, so that labels have the data's frequencies everywhere. A loss of the generator that
  looks at real images (relativistic) has a minibatch of its own, the last.
* All that the discriminator judges passes the same way: augmentation, instance noise, packing. Its
  randomness is fresh for real and for fake images; penalties look through that of the real ones.
* Simultaneous updates are both computed from the old networks, on the same images and latents.
* The metric `d_loss` is the adversarial loss alone; the class loss and penalties stand beside it,
  unweighted. A lazy penalty counts as often as it is strong, so its mean over steps is unbiased.
* The health signals beside the losses are those of the discriminator's updates: the mean logits,
  how often it is right (`d_accuracy`), how varied its real and fake images are; and the norms of
  both players' gradients, whole and for each block of the network.
* Sampling uses the averages of params and of stats, without train mode unless asked. Dropout is
  part of both updates, by masks of its own (simultaneous images differ in it), not of sampling.
* Randomness: `fold_in(key, step)`, then `fold_in` of the update's number for its latents, of
  numbers above those for all else. No key is stored back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxgan import augment, parallel, schedules
from jaxgan.algorithms import latents, player
from jaxgan.algorithms.player import Average, Player
from jaxgan.algorithms.privacy import Private
from jaxgan.algorithms.terms import Classes, Regulariser, penalise, top_k_weights
from jaxgan.algorithms.view import View, anchors, initial_memory, moved_anchors
from jaxgan.errors import UserError
from jaxgan.losses import Loss
from jaxgan.metrics.diversity import diversity
from jaxgan.penalties import Scene
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Batch, Float, Int, Key, Labels, Metrics, Params, Stats


class GANState(struct.PyTreeNode):
    """All that training changes. Trees of shapes and of shardings have this structure too."""

    step: Any  # int32 scalar
    key: Any  # a typed key, never split
    generator: Player
    discriminator: Player
    ema: Average
    memory: Any = struct.field(default_factory=dict)  # scalars: ADA's p, LeCam's anchors


@dataclass(frozen=True, eq=False)
class GAN:
    """What training does not change. See the config's keys of the same names."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: Callable[[Any], optax.GradientTransformation]  # of a step
    discriminator_optimizer: Callable[[Any], optax.GradientTransformation]
    loss: Loss
    n_critic: int
    batch_size: int
    z_dim: int
    num_classes: int
    ema_halflife: Scalar  # images
    ema_rampup: float
    penalties: tuple[Regulariser, ...] = ()
    generator_penalties: tuple[Regulariser, ...] = ()
    classes: Classes | None = None
    view: View = field(default_factory=View)
    latent: str = "normal"
    sample_dropout: bool = False
    accumulate: int = 1
    top_k: Scalar = 1.0
    simultaneous: bool = False
    private: Private | None = None  # the discriminator's updates
    dtype: Any = jnp.float32
    # Whom the generator's update plays against, of (this, a state with the generator, a part of the
    # minibatch); None: the discriminator.
    opponent: Callable[["GAN", GANState, Batch], Player] | None = None

    # ----------------------------------------------------------------------------------------------
    # State

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.generator.image_shape

    @property
    def minibatches(self) -> int:
        """How many a step takes."""
        return self.n_critic + (self.loss.uses_real and not self.simultaneous)

    def init(self, key: Key[Array, ""]) -> GANState:
        g_key, d_key, state_key = (jax.random.fold_in(key, n) for n in range(3))
        z = jnp.zeros((2, self.z_dim))
        labels = jnp.zeros(2, jnp.int32) if self.num_classes else None
        at_start = jnp.zeros((), jnp.int32)
        generator = player.create(
            self.generator, self.generator_optimizer(at_start), g_key, z, labels
        )
        images = jnp.zeros((2 * self.view.pack, *self.generator.image_shape))
        images = self.view.packed(images)
        discriminator = player.create(
            self.discriminator, self.discriminator_optimizer(at_start), d_key, images, labels
        )
        if self.private and discriminator.stats:
            kept = " and ".join(discriminator.stats)
            raise UserError(
                f"privacy.noise: the discriminator keeps {kept} of its minibatches, in which an "
                f"image touches others' gradients; take model.discriminator.norm and .weight_norm "
                f"that do not, as layer and none"
            )
        return GANState(
            step=at_start,
            key=state_key,
            generator=generator,
            discriminator=discriminator,
            ema=player.copied(generator),
            memory=initial_memory(self.view, [each.name for each in self.penalties]),
        )

    # ----------------------------------------------------------------------------------------------
    # The step

    def step(self, state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        """One training step. `batch`: image float32 k b h w c in [-1, 1] (or points k b 2); label
        int32 k b; k is `minibatches`."""

        def discriminator_update(carry, inputs):
            after, metrics = self.update_discriminator(state.replace(**carry), *inputs)
            return {name: getattr(after, name) for name in carry}, metrics

        carry = {"discriminator": state.discriminator, "memory": state.memory}
        minibatches = jax.tree.map(lambda x: x[: self.n_critic], batch)
        inputs = minibatches, jnp.arange(self.n_critic)
        if self.n_critic == 1:  # no loop, in which XLA on CPU is slower
            carry, d_metrics = discriminator_update(carry, jax.tree.map(lambda x: x[0], inputs))
            d_metrics = jax.tree.map(lambda x: x[None], d_metrics)
        else:
            carry, d_metrics = jax.lax.scan(discriminator_update, carry, inputs)
        updated = state.replace(**carry)
        last = jax.tree.map(lambda x: x[-1], batch)
        opponents = state if self.simultaneous else updated
        generator, g_metrics = self.update_generator(opponents, last)

        ema = player.next_average(self, state.step, state.ema, generator)
        metrics = {**player.mean_or_first_broken(d_metrics), **g_metrics}
        return updated.replace(step=state.step + 1, generator=generator, ema=ema), metrics

    def update_discriminator(
        self, state: GANState, minibatch: Batch, number: Int[Array, ""] | int
    ) -> tuple[GANState, Metrics]:
        """Update `number` of the step's K; what it changes is the discriminator and the memory."""
        old = state.discriminator
        parts = self._parts({"z": self.latents(state, number), **minibatch}, state, number)
        if self.private:  # whose examples are each by itself, which the generator's may not be
            of, labels = state.generator, parts.get("label")
            given = of.params, of.stats, parts["z"], labels, parts["key"]
            parts["fake"] = self.generate(*given)[0]
        of_all = state.step * self.n_critic + number  # the update's number since the start

        def objective(params: Params, stats: Stats, part: Batch):
            return self.discriminator_loss(params, stats, state, part, of_all)

        of_parts = self.private.gradients if self.private else player.gradients
        gradients, stats, metrics = of_parts(
            objective, old.params, old.stats, parts, self.accumulate
        )
        optimizer = self.discriminator_optimizer(state.step)
        sign = metrics.get("real_sign")
        memory = self.view.adapted(state.memory, sign, of_all, self.batch_size)
        memory = moved_anchors(memory, metrics)
        metrics |= player.gradient_norms("discriminator", gradients)
        new = player.update(old, optimizer, gradients, stats)
        return state.replace(discriminator=new, memory=memory), metrics

    def update_generator(self, state: GANState, minibatch: Batch) -> tuple[Player, Metrics]:
        """Its update through the state's discriminator."""
        number = 0 if self.simultaneous else self.n_critic
        z = self.latents(state, number)
        parts = self._parts({"z": z, **minibatch}, state, self.n_critic)
        old = state.generator

        def objective(params: Params, stats: Stats, part: Batch):
            opponent = state.discriminator
            if self.opponent:
                generator = old.replace(params=params, stats=stats)
                opponent = self.opponent(self, state.replace(generator=generator), part)
            return self.generator_loss(params, stats, state, part, opponent)

        gradients, stats, metrics = player.gradients(
            objective, old.params, old.stats, parts, self.accumulate
        )
        metrics |= player.gradient_norms("generator", gradients)
        optimizer = self.generator_optimizer(state.step)
        return player.update(old, optimizer, gradients, stats), metrics

    # ----------------------------------------------------------------------------------------------
    # What the players minimise

    def discriminator_loss(
        self, params: Params, stats: Stats, state: GANState, part: Batch, number: Int[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of the parameters, beside (stats afterwards, metrics). `part`: image, label, z, key."""
        real, labels, key = part["image"], part.get("label"), part["key"]
        old = state.generator
        generate = lambda z: self.generate(old.params, old.stats, z, labels, key)[0]  # noqa: E731
        fake = part["fake"] if "fake" in part else generate(part["z"])
        metrics = {
            "real_diversity": diversity(real, labels),
            "fake_diversity": diversity(fake, labels),
        }
        if self.view.augmentation:
            p = self.view.probability(state.memory, state.step)
            metrics["augment_p"] = jnp.float32(p)
        if self.view.replaces:
            z = latents.draw(jax.random.fold_in(key, 3), self.latent, (len(real), self.z_dim))
            real = augment.pseudo(jax.random.fold_in(key, 4), real, generate(z), p)
        real, fake = self.view.packed(real), self.view.packed(fake)

        def judge(images, stats, stream):
            stream = jax.random.fold_in(key, stream)
            return self.judge(params, stats, images, labels, stream, state)

        real_logits, real_outputs, after = judge(real, stats, 0)
        fake_logits, fake_outputs, after = judge(fake, after, 1)
        loss, told = player.judged(self.loss, real_logits, fake_logits)
        metrics |= told
        if self.classes:
            of_images = self.classes.loss.discriminator(real_outputs, fake_outputs, labels)
            metrics["d_class_loss"] = jnp.mean(of_images)
            loss += self.classes.weight("discriminator", state.step) * metrics["d_class_loss"]
        if self.view.adapts:
            metrics["real_sign"] = jnp.mean(jnp.sign(real_logits - self.loss.boundary))
        scene = Scene(params, jax.random.fold_in(key, 2), real=real, fake=fake, z=part["z"])
        scene = scene._replace(
            critic=lambda images: judge(images, stats, 0)[0],
            real_logits=real_logits,
            fake_logits=fake_logits,
            shift=self.view.shifted,
            generate=lambda z: self.view.packed(generate(z)),
            anchors=anchors(state.memory),
            draw=parallel.draw,
        )
        added, penalties = penalise(self.penalties, scene, state.step, number)
        return loss + added, (after, {**metrics, **penalties})

    def generator_loss(
        self, params: Params, stats: Stats, state: GANState, part: Batch, opponent: Player
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
        """Of the parameters, against `opponent`, beside (stats afterwards, metrics)."""
        labels, key, z = part.get("label"), part["key"], part["z"]
        generate = lambda z: self.generate(params, stats, z, labels, key)  # noqa: E731
        fake, after = generate(z)

        def judge(images, stream):
            stream = jax.random.fold_in(key, stream)
            images = self.view.packed(images)
            return self.judge(opponent.params, opponent.stats, images, labels, stream, state)

        logits, outputs, _ = judge(fake, 1)
        real_logits = judge(part["image"], 0)[0] if self.loss.uses_real else logits
        weights = top_k_weights(logits, schedules.at(self.top_k, state.step))
        loss = jnp.sum(weights * self.loss.generator(logits, real_logits))
        metrics = {"g_loss": loss}
        if self.classes:
            of_images = self.classes.loss.generator(outputs, labels)
            metrics["g_class_loss"] = jnp.sum(weights * of_images)
            loss += self.classes.weight("generator", state.step) * metrics["g_class_loss"]

        scene = Scene(params, jax.random.fold_in(key, 2), fake=fake, z=z, draw=parallel.draw)
        scene = scene._replace(generate=lambda z: generate(z)[0])
        added, penalties = penalise(self.generator_penalties, scene, state.step, state.step)
        return loss + added, (after, {**metrics, **_named("g_", penalties)})

    def generate(
        self,
        params: Params,
        stats: Stats,
        z: Float[Array, "b z"],
        labels: Int[Array, " b"] | None,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, "b ..."], Stats]:
        """Images in train mode, by `key` for dropout, and the stats afterwards."""
        return player.apply(
            self.generator, params, stats, z, labels, train=True, dtype=self.dtype, key=key
        )

    def judge(
        self,
        params: Params,
        stats: Stats,
        images: Float[Array, "b ..."],
        labels: Int[Array, " b"] | None,
        key: Key[Array, ""],
        state: GANState,
    ) -> tuple[Float[Array, " b"], dict[str, Array], Stats]:
        """Logits, the head's other outputs and the stats afterwards, of packed images that are
        augmented and given noise first."""
        images = self.view.seen(key, images, state.memory, state.step)
        output, stats = player.apply(
            self.discriminator, params, stats, images, labels, train=True, dtype=self.dtype, key=key
        )
        logits, outputs = output if isinstance(output, tuple) else (output, {})
        return logits, outputs, stats

    # ----------------------------------------------------------------------------------------------
    # Their parts

    def _parts(self, minibatch: Batch, state: GANState, stream: Any) -> Batch:
        key = jax.random.fold_in(self._step_key(state), self.n_critic + 1 + stream)
        return player.parts(minibatch, key, self.accumulate, self.view.pack)

    # ----------------------------------------------------------------------------------------------
    # Latents and samples

    def _step_key(self, state: GANState) -> Key[Array, ""]:
        return jax.random.fold_in(state.key, state.step)

    def latents(self, state: GANState, number: Int[Array, ""] | int) -> Float[Array, "b z"]:
        """Those of the step's update `number`; the generator's has n_critic."""
        key = jax.random.fold_in(self._step_key(state), number)
        shape = self.batch_size // parallel.replicas(), self.z_dim
        return parallel.constrain_batch(latents.draw(key, self.latent, shape))

    def sample(
        self,
        state: GANState,
        key: Key[Array, ""],
        labels: Int[Array, " b"],
        truncation: float | None = None,
        train: bool = False,
    ) -> Float[Array, "b ..."]:
        """One image for each label, in [-1, 1]; without classes only their number counts.

        With `truncation` latents are drawn anew until they lie within it (Brock et al. 2019). With
        `train` BatchNorm takes the statistics of this batch instead of the running ones.
        """
        z = latents.draw(key, self.latent, (labels.shape[0], self.z_dim), truncation)
        noise = key if self.sample_dropout else None
        return latents.render(self, state, z, labels, train, noise)

    def render(
        self, state: GANState, z: Float[Array, "b z"], labels: Labels, train: bool = False
    ) -> Float[Array, "b ..."]:
        """The images of latents, by the averages, without dropout."""
        return latents.render(self, state, z, labels, train)

    def score(
        self, state: GANState, images: Float[Array, "b ..."], labels: Int[Array, " b"]
    ) -> Float[Array, " b"]:
        """What the discriminator thinks of images, without augmentation: its logits."""
        of, given = state.discriminator, labels if self.num_classes else None
        found, _ = player.apply(
            self.discriminator,
            of.params,
            of.stats,
            self.view.packed(images),
            given,
            train=False,
            dtype=self.dtype,
        )
        return found[0] if isinstance(found, tuple) else found

    def with_standing_statistics(
        self, state: GANState, key: Key[Array, ""], passes: int = 16
    ) -> GANState:
        return latents.with_standing_statistics(self, state, key, passes)

    def health(self, state: GANState) -> Metrics:
        return player.health(state)


make = GAN


def _named(prefix: str, metrics: Metrics) -> Metrics:
    return {f"{prefix}{name}": value for name, value in metrics.items()}
