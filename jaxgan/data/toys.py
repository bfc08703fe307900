"""Distributions without end, drawn on the device inside the step.

Points in the plane (two float32 coordinates, not scaled to [-1, 1]), on which a lost mode is seen
at a glance:

* `ring`: eight Gaussians of standard deviation 0.01 on the unit circle, and
* `grid`: 25 of standard deviation 0.05 on {-4, -2, 0, 2, 4} squared, both as in VEEGAN (Srivastava
  et al. 2017, https://arxiv.org/abs/1705.07761) and PacGAN (Lin et al. 2018); the label is the
  Gaussian's number;
* `swiss_roll`: the roll of Marsland 2009 seen from its side with noise 0.25, divided by 7.5, as in
  WGAN-GP (Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028); no labels.

`stacked` images (Metz et al. 2017, https://arxiv.org/abs/1611.02163): three random images of a grey
set are the colour channels of one; of ten classes its label abc is 100 a + 10 b + c.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.feed import Feed, mirror
from jaxgan.data.pipeline import to_float
from jaxgan.errors import UserError
from jaxgan.typing import Array, Float, Int, Key, UInt8

# (key, number) -> points n 2 or sequences n l s, and their labels or None.
Draw = Callable[[Key[Array, ""], int], tuple[Float[Array, "n ..."], Int[Array, " n"] | None]]


@dataclasses.dataclass(frozen=True)
class Toy:
    """A distribution of points in the plane, or of sequences (grammar.py)."""

    draw: Draw
    class_names: tuple[str, ...]
    means: Float[np.ndarray, "k 2"] | None = None  # of the Gaussians, where it is of such
    deviation: float = 0.0  # of each
    shape: tuple[int, ...] = (2,)  # or those of sequences of one-hot symbols
    num_examples: int = 0  # none: there is no end
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def feed(self, flip: bool, seed: Any, minibatches: int, batch_size: int, **_: Any) -> Feed:
        """Fresh points in every minibatch. How a set is held, and by whom, has no bearing."""
        if flip:
            raise UserError("data.flip: only images have a mirror image; leave it False")

        def batch(key, resident, inputs):
            points, labels = self.draw(key, minibatches * batch_size)
            fresh = {"image": points} if labels is None else {"image": points, "label": labels}
            return {k: v.reshape(minibatches, batch_size, *v.shape[1:]) for k, v in fresh.items()}

        return Feed(seed=seed, resident={}, fetch=lambda step, count: {}, batch=batch)


@dataclasses.dataclass(frozen=True)
class Stacked:
    """Triples, drawn with replacement, of the grey images of a set."""

    images: UInt8[np.ndarray, "n h w"]
    labels: Int[np.ndarray, " n"] | None
    class_names: tuple[str, ...]
    details: dict[str, Any]
    num_examples: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.images.shape[1:], 3)

    @property
    def base(self) -> int:
        """Classes of the grey set."""
        return round(len(self.class_names) ** (1 / 3))

    @property
    def shares(self) -> Float[np.ndarray, " n"]:
        """Of each class among triples; they are unequal where the grey set's are."""
        assert self.labels is not None
        of_grey = np.bincount(self.labels, minlength=self.base) / len(self.labels)
        return np.einsum("i,j,k->ijk", of_grey, of_grey, of_grey).ravel()

    def drawn(
        self, count: int
    ) -> tuple[UInt8[np.ndarray, "n h w 3"], Int[np.ndarray, " n"] | None]:
        """The same `count` triples always, and their labels."""
        chosen = np.random.Philox(key=0).random_raw(3 * count).reshape(count, 3) % len(self.images)
        images = np.moveaxis(self.images[chosen], 1, -1)
        return images, None if self.labels is None else of_triple(self.labels[chosen], self.base)

    def feed(self, flip: bool, seed: Any, minibatches: int, batch_size: int, **_: Any) -> Feed:
        """Fresh triples in every minibatch; the grey images lie on the device."""
        resident = {"image": self.images.reshape(len(self.images), -1)}  # rows: see feed.py
        if self.labels is not None:
            resident["label"] = self.labels

        def batch(key, resident, inputs):
            shape = (minibatches, batch_size, 3)
            chosen_key, flip_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
            chosen = jax.random.randint(chosen_key, shape, 0, len(self.images))
            channels = to_float(jnp.moveaxis(resident["image"][chosen], 2, -1))
            images = channels.reshape(minibatches, batch_size, *self.shape)
            fresh = {"image": mirror(flip_key, images) if flip else images}
            if "label" in resident:
                fresh["label"] = of_triple(resident["label"][chosen], self.base)
            return fresh

        return Feed(seed=seed, resident=resident, fetch=lambda step, count: {}, batch=batch)


def of_triple(labels: Any, base: int) -> Any:
    """The class of three grey images of `base` classes: of integers ... 3, numpy's or JAX's, ..."""
    return (labels[..., 0] * base + labels[..., 1]) * base + labels[..., 2]


def stacked(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"] | None,
    class_names: tuple[str, ...],
    details: dict[str, Any],
) -> Stacked:
    """The stacked set over a grey one. Raises UserError for colour images."""
    if images.shape[-1] != 1:
        raise UserError("data.name: a stacked set is made of grey images; these are in colour")
    short = all(len(name) == 1 for name in class_names)
    joined = map(("" if short else ",").join, itertools.product(class_names, repeat=3))
    return Stacked(images[..., 0], labels, tuple(joined) if class_names else (), details)


def _gaussians(means: Sequence[tuple[float, ...]], deviation: float) -> Toy:
    centres = jnp.asarray(means, jnp.float32)

    def draw(key, number):
        mode_key, noise_key = jax.random.split(key)
        labels = jax.random.randint(mode_key, (number,), 0, len(means))
        return centres[labels] + deviation * jax.random.normal(noise_key, (number, 2)), labels

    names = tuple(map(str, range(len(means))))
    return Toy(draw, names, np.asarray(means, np.float32), deviation)


def ring() -> Toy:
    angles = 2 * np.pi * np.arange(8) / 8
    return _gaussians(list(zip(np.cos(angles), np.sin(angles), strict=True)), 0.01)


def grid() -> Toy:
    return _gaussians(list(itertools.product((-4.0, -2.0, 0.0, 2.0, 4.0), repeat=2)), 0.05)


def swiss_roll() -> Toy:
    def draw(key, number):
        turn_key, noise_key = jax.random.split(key)
        turn = 1.5 * jnp.pi * (1 + 2 * jax.random.uniform(turn_key, (number,)))
        roll = jnp.stack([turn * jnp.cos(turn), turn * jnp.sin(turn)], axis=-1)
        return (roll + 0.25 * jax.random.normal(noise_key, (number, 2))) / 7.5, None

    return Toy(draw, ())


TOYS: dict[str, Callable[[], Toy]] = {"ring": ring, "grid": grid, "swiss_roll": swiss_roll}
