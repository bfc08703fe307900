"""Translation between two sets of images without pairs: CycleGAN (Zhu et al., ICCV 2017,
https://arxiv.org/abs/1703.10593).

The generator G makes targets y of sources x, the inverse F sources of targets; each has a
discriminator of what it makes. One step is an update of both generators, then one of both
discriminators, from the same minibatch and the old networks (equation 3):

    G and F         down the adversarial losses of G(x) and F(y)
                    + `cycle` (|F(G(x)) - x| + |G(F(y)) - y|)       (equation 2)
                    + `identity` (|G(y) - y| + |F(x) - x|)          (section 5.2, "photo generation
                                                                     from paintings")
    discriminators  down their adversarial losses of real images against a history of generated ones

Absolute differences are means over pixels. What the paper leaves open, or is done in another way:

* The history (Shrivastava et al. 2017) holds `pool` images of each kind. Once it is full, an image
  takes the place of a random one, which the discriminator sees in its stead, or is seen itself,
  each with probability one half. It belongs to the state.
* The paper's generators minimise (D - 1)^2 where `least_squares` is half of that (Mao et al. 2017):
  beside it a `cycle` of 5 is the paper's 10. The authors' code halves the discriminators' losses,
  as `least_squares` does. Its `lambda_identity` is relative to `cycle`, `identity` is not.
* Dropout, if a generator has any, is there in training and when images are made.
* The average of G's weights makes the images, and that of F's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxgan import schedules
from jaxgan.algorithms import pairs, player
from jaxgan.algorithms.player import Average, Game, Player
from jaxgan.losses import Loss
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Batch, Float, Int, Key, Metrics, Params, Stats


class Pool(struct.PyTreeNode):
    """Generated images of earlier steps."""

    images: Any  # float32 n h w c
    count: Any  # int32 scalar: how many of them there are so far


class CycleState(Game):
    """All that training changes. `discriminator` is that of targets, `pools` by kind of image."""

    inverse: Player
    source_discriminator: Player
    inverse_ema: Average
    pools: Any


@dataclass(frozen=True, eq=False)
class CycleGAN:
    """What training does not change. See the config's keys of the same names."""

    generator: nn.Module
    inverse: nn.Module
    discriminator: nn.Module
    source_discriminator: nn.Module
    generator_optimizer: Callable[[Any], optax.GradientTransformation]  # of a step
    discriminator_optimizer: Callable[[Any], optax.GradientTransformation]
    loss: Loss
    batch_size: int
    image_shape: tuple[int, ...]  # of the data: the channels of a source and of a target
    source_channels: int
    ema_halflife: Scalar  # images
    ema_rampup: float
    cycle: Scalar = 10.0
    identity: Scalar = 0.0
    pool: int = 50
    accumulate: int = 1
    dtype: Any = jnp.float32

    n_critic = minibatches = 1
    num_classes = 0
    opponent = None
    restores = False

    def init(self, key: Key[Array, ""]) -> CycleState:
        x, y = self.split(jnp.zeros((2, *self.image_shape)))
        there = player.begin(self, key, x, y)
        inverse, source_discriminator = self._begin_back(jax.random.fold_in(key, 3), x, y)
        pools = {
            kind: Pool(jnp.zeros((self.pool, *like.shape[1:])), jnp.zeros((), jnp.int32))
            for kind, like in (("source", x), ("target", y))
            if self.pool
        }
        return CycleState(
            step=there.step,
            key=there.key,
            generator=there.generator,
            discriminator=there.discriminator,
            ema=there.ema,
            inverse=inverse,
            source_discriminator=source_discriminator,
            inverse_ema=player.copied(inverse),
            pools=pools,
        )

    def _begin_back(self, key: Key[Array, ""], x: Array, y: Array) -> tuple[Player, Player]:
        """The inverse and the discriminator of sources."""
        at_start = jnp.zeros((), jnp.int32)
        optimizers = self.generator_optimizer(at_start), self.discriminator_optimizer(at_start)
        keys = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        return (
            player.create(self.inverse, optimizers[0], keys[0], y, None),
            player.create(self.source_discriminator, optimizers[1], keys[1], x, None),
        )

    # ----------------------------------------------------------------------------------------------
    # The step

    def step(self, state: CycleState, batch: Batch) -> tuple[CycleState, Metrics]:
        """One training step. `batch`: image float32 1 b h w c in [-1, 1]."""
        x, y = self.split(batch["image"][0])
        key = jax.random.fold_in(state.key, state.step)
        of_generators = state, x, y, jax.random.fold_in(key, 0)
        generators, metrics, made = self.update_generators(*of_generators)

        pools, discriminators = {}, {}
        for stream, (kind, role, real, fake) in enumerate(
            (
                ("target", "discriminator", y, made["target"]),
                ("source", "source_discriminator", x, made["source"]),
            ),
            start=1,
        ):
            keys = [jax.random.fold_in(jax.random.fold_in(key, stream), n) for n in range(2)]
            if self.pool:
                pools[kind], fake = exchanged(state.pools[kind], fake, keys[0])
            minibatch, objective = {"real": real, "fake": fake}, self.loss_of(role)
            discriminators[role], found = player.updated(
                self, state, role, minibatch, keys[1], objective
            )
            metrics |= found

        averages = {
            "ema": player.next_average(self, state.step, state.ema, generators["generator"]),
            "inverse_ema": player.next_average(
                self, state.step, state.inverse_ema, generators["inverse"]
            ),
        }
        new = state.replace(step=state.step + 1, pools=pools, **averages)
        return new.replace(**generators, **discriminators), metrics

    def update_generators(
        self,
        state: CycleState,
        x: Float[Array, "b h w s"],
        y: Float[Array, "b h w t"],
        key: Key[Array, ""],
    ) -> tuple[dict[str, Player], Metrics, dict[str, Array]]:
        """Both after an update through the state's discriminators, and what the old ones made."""
        old = {role: getattr(state, role) for role in ("generator", "inverse")}
        gradients, stats, metrics, made = player.gradients(
            lambda params, stats, part: self.generators_loss(params, stats, state, part),
            {role: each.params for role, each in old.items()},
            {role: each.stats for role, each in old.items()},
            player.parts({"source": x, "target": y}, key, self.accumulate),
            self.accumulate,
        )
        optimizer = self.generator_optimizer(state.step)
        new = {
            role: player.update(each, optimizer, gradients[role], stats[role])
            for role, each in old.items()
        }
        for role in old:
            metrics |= player.gradient_norms(role, gradients[role])
        return new, metrics, made

    def generators_loss(
        self, params: Params, stats: Stats, state: CycleState, part: Batch
    ) -> tuple[Float[Array, ""], tuple[Stats, Metrics, dict[str, Array]]]:
        """Of both generators' parameters, by their roles, beside (stats afterwards, metrics, images
        made of the part)."""
        x, y, key = part["source"], part["target"], part["key"]
        after = dict(stats)

        def made(role: str, images: Array) -> Array:
            network = getattr(self, role)
            output, after[role] = self._apply(network, params[role], after[role], images, key)
            return output

        def distance(images: Array, others: Array) -> Array:
            return jnp.mean(jnp.abs(images - others))

        fake_y, fake_x = made("generator", x), made("inverse", y)
        judged = self._adversarial("discriminator", state, fake_y, y, key)
        judged_back = self._adversarial("source_discriminator", state, fake_x, x, key)
        again_x, again_y = made("inverse", fake_y), made("generator", fake_x)
        cycle = distance(again_x, x) + distance(again_y, y)
        loss = judged + judged_back + schedules.at(self.cycle, state.step) * cycle
        metrics = {"g_loss": judged, "g_loss_back": judged_back, "cycle": cycle}
        if schedules.is_on(self.identity):
            metrics["identity"] = distance(made("generator", y), y)
            metrics["identity"] += distance(made("inverse", x), x)
            loss += schedules.at(self.identity, state.step) * metrics["identity"]
        return loss, (after, metrics, {"target": fake_y, "source": fake_x})

    def _adversarial(
        self, role: str, state: CycleState, fake: Array, real: Array, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        of, network = getattr(state, role), getattr(self, role)
        judge = lambda images: self._apply(network, of.params, of.stats, images, key)[0]  # noqa: E731
        return player.fooled(self.loss, judge, fake, real)

    def loss_of(self, role: str) -> Callable:
        """What a discriminator minimises, see player.updated. `part`: real, fake."""

        def loss(params: Params, stats: Stats, state: CycleState, part: Batch):
            network = getattr(self, role)
            real_logits, after = self._apply(network, params, stats, part["real"], part["key"])
            fake_logits, after = self._apply(network, params, after, part["fake"], part["key"])
            loss, metrics = player.judged(self.loss, real_logits, fake_logits)
            back = "" if role == "discriminator" else "_back"
            return loss, (after, {f"{name}{back}": value for name, value in metrics.items()})

        return loss

    # ----------------------------------------------------------------------------------------------
    # Their parts

    def split(
        self, images: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w s"], Float[Array, "b h w t"]]:
        """Sources and targets of the data's images."""
        return pairs.split("", self.source_channels, images)

    def _apply(
        self, network: nn.Module, params: Params, stats: Stats, images: Array, key: Key[Array, ""]
    ) -> tuple[Array, Stats]:
        return player.apply(
            network, params, stats, images, None, train=True, dtype=self.dtype, key=key
        )

    # ----------------------------------------------------------------------------------------------
    # Images, by the averages

    def translate(
        self, state: CycleState, key: Key[Array, ""], images: Float[Array, "b h w s"]
    ) -> Float[Array, "b h w t"]:
        """What becomes of sources."""
        return self._average(state.ema, self.generator, images, key)

    def translate_back(
        self, state: CycleState, key: Key[Array, ""], images: Float[Array, "b h w t"]
    ) -> Float[Array, "b h w s"]:
        """What becomes of targets."""
        return self._average(state.inverse_ema, self.inverse, images, key)

    def _average(
        self, ema: Average, network: nn.Module, images: Array, key: Key[Array, ""]
    ) -> Array:
        given = network, ema.params, ema.stats, images, None
        return player.apply(*given, train=False, dtype=self.dtype, key=key)[0]

    def show(
        self,
        state: CycleState,
        key: Key[Array, ""],
        images: Float[Array, "b h w c"],
        labels: Int[Array, " b"],
    ) -> tuple[Float[Array, "b h w _"], ...]:
        """The sources, those again out of what became of them, and this."""
        x, _ = self.split(images)
        made = self.translate(state, key, x)
        return x, self.translate_back(state, key, made), made

    def health(self, state: CycleState) -> Metrics:
        return player.health(state)


make = CycleGAN


def exchanged(
    pool: Pool, images: Float[Array, "b h w c"], key: Key[Array, ""]
) -> tuple[Pool, Float[Array, "b h w c"]]:
    """The history with these images, one after another, and what is seen in their places."""
    size = len(pool.images)

    def one(pool: Pool, given: tuple[Array, Array]) -> tuple[Pool, Array]:
        image, number = given
        at, coin = (jax.random.fold_in(jax.random.fold_in(key, number), n) for n in range(2))
        full = pool.count >= size
        place = jnp.where(full, jax.random.randint(at, (), 0, size), pool.count)
        kept = pool.images[place]
        swapped = full & jax.random.bernoulli(coin)
        stored = jnp.where(full & ~swapped, kept, image)
        pool = Pool(pool.images.at[place].set(stored), jnp.minimum(pool.count + 1, size))
        return pool, jnp.where(swapped, kept, image)

    return jax.lax.scan(one, pool, (images, jnp.arange(len(images))))
