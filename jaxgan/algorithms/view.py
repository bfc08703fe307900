"""What the discriminator gets to see: images that are augmented, given noise and packed; and what
the state remembers of its logits, for the augmentation's strength and for LeCam.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import augment, parallel, schedules
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Float, Int, Key, Metrics

ADAPT_EVERY = 4  # updates of the discriminator between those of p (Karras et al. 2020, section 3.1)
ANCHOR_DECAY = 0.99  # of LeCam's moving averages of logits (Tseng et al. 2021, section 4)


class Augmentation(NamedTuple):
    """With a `target` p, a number, is where adaptation (ADA) starts. `transform` None is APA."""

    transform: Callable[[Key[Array, ""], Array, Any], Array] | None
    p: Scalar
    target: float = 0.0
    kimg: float = 500.0


class View(NamedTuple):
    """`noise`: the standard deviation of instance noise (Sønderby et al. 2017); `pack`: images that
    are judged together (Lin et al. 2018, PacGAN), joined by their channels."""

    augmentation: Augmentation | None = None
    noise: Scalar = 0.0
    pack: int = 1

    def packed(self, images: Float[Array, "b ..."]) -> Float[Array, "b2 ..."]:
        """Each `pack` images after one another as one."""
        if self.pack == 1:
            return images
        groups = images.reshape(-1, self.pack, *images.shape[1:])
        return jnp.concatenate([groups[:, m] for m in range(self.pack)], axis=-1)

    def unpacked(self, images: Float[Array, "b2 ..."]) -> Float[Array, "b ..."]:
        if self.pack == 1:
            return images
        groups = jnp.stack(jnp.split(images, self.pack, axis=-1), axis=1)
        return groups.reshape(-1, *groups.shape[2:])

    def seen(
        self, key: Key[Array, ""], images: Float[Array, "b ..."], memory: Metrics, step: Any
    ) -> Float[Array, "b ..."]:
        """Of packed images each one augmented, all with noise."""
        if self.augmentation and self.augmentation.transform:
            augment_key, p = jax.random.fold_in(key, 0), self.probability(memory, step)
            single = self.augmentation.transform(augment_key, self.unpacked(images), p)
            images = self.packed(single)
        if callable(self.noise) or self.noise:
            noise = parallel.draw(jax.random.normal, jax.random.fold_in(key, 1), images.shape)
            images = images + schedules.at(self.noise, step) * noise
        return images

    def shifted(self, key: Key[Array, ""], images: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """Shifted and flipped a little, of packed images each one."""
        return self.packed(augment.shift_and_flip(key, self.unpacked(images)))

    # ----------------------------------------------------------------------------------------------
    # The augmentation's strength

    @property
    def replaces(self) -> bool:
        """Whether generated images stand in for some real ones (APA)."""
        return self.augmentation is not None and self.augmentation.transform is None

    @property
    def adapts(self) -> bool:
        return self.augmentation is not None and self.augmentation.target > 0

    def probability(self, memory: Metrics, step: Any) -> Any:
        """The augmentation's p."""
        assert self.augmentation
        return memory["augment_p"] if self.adapts else schedules.at(self.augmentation.p, step)

    def adapted(self, memory: Metrics, sign: Any, number: Int[Array, ""], images: int) -> Metrics:
        """The memory after update `number` of the discriminator, from 0, on a minibatch of `images`
        with `sign` the mean sign of the real ones' logits."""
        if not self.adapts:
            return memory
        assert self.augmentation
        target, kimg = self.augmentation.target, self.augmentation.kimg
        p, signs = memory["augment_p"], memory["signs"] + sign
        due = (number + 1) % ADAPT_EVERY == 0
        moved = augment.adapt(p, signs / ADAPT_EVERY, target, float(ADAPT_EVERY * images), kimg)
        p, signs = jnp.where(due, moved, p), jnp.where(due, 0.0, signs)
        return {**memory, "augment_p": p, "signs": signs}


def initial_memory(view: View, penalties: Iterable[str]) -> Metrics:
    start: dict[str, Any] = {}
    if view.adapts and view.augmentation:
        start = {"augment_p": view.augmentation.p, "signs": 0.0}
    if "lecam" in penalties:
        start |= {"real_anchor": 0.0, "fake_anchor": 0.0, "anchored": 0.0}
    return {name: jnp.full((), value, jnp.float32) for name, value in start.items()}


# --------------------------------------------------------------------------------------------------
# LeCam's anchors, moving averages of the mean logits


def moved_anchors(memory: Metrics, metrics: Metrics) -> Metrics:
    """The memory after an update with these mean logits."""
    if "real_anchor" not in memory:
        return memory
    moved = {
        f"{which}_anchor": ANCHOR_DECAY * memory[f"{which}_anchor"]
        + (1 - ANCHOR_DECAY) * metrics[f"{which}_logit"]
        for which in ("real", "fake")
    }
    return {**memory, **moved, "anchored": memory["anchored"] + 1}


def anchors(memory: Metrics) -> Metrics | None:
    """The averages so far, freed of the zeros that they began with."""
    if "real_anchor" not in memory:
        return None
    seen = jnp.maximum(1 - ANCHOR_DECAY ** memory["anchored"], 1 - ANCHOR_DECAY)
    return {which: memory[f"{which}_anchor"] / seen for which in ("real", "fake")}
