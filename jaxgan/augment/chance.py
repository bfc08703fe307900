"""Which images a transform is applied to, and transforms one after the other.

A transform is a function (key, images, p) -> images; each image is transformed with probability p,
independently of the others. What a transform draws it draws in as few calls as it can: most of the
time that it takes to compile is that of random numbers.
"""

from collections.abc import Callable

import jax
from jax import random
from jaxtyping import Bool

from jaxgan.parallel import draw
from jaxgan.typing import Array, Float, Key

Images = Float[Array, "b h w c"]
Probability = Float[Array, ""] | float | int
Which = Bool[Array, " b"]  # images that a transform is applied to
Mask = Bool[Array, "b _"]  # rows or columns of each image
Transform = Callable[[Key[Array, ""], Images, Probability], Images]


def chosen(
    key: Key[Array, ""], shape: tuple[int, ...], p: Array | float | int, axis: int = -1
) -> Bool[Array, "..."]:
    """True with probability p, exactly never at p = 0 and exactly always at p = 1.

    `axis` is that of the images, here and below.
    """
    return draw(random.uniform, key, shape, axis) < p


def uniform(
    key: Key[Array, ""], shape: tuple[int, ...], low: float = 0.0, high: float = 1.0, axis: int = -1
) -> Float[Array, "..."]:
    return draw(lambda key, shape: random.uniform(key, shape, float, low, high), key, shape, axis)


def normal(key: Key[Array, ""], shape: tuple[int, ...], axis: int = -1) -> Float[Array, "..."]:
    return draw(random.normal, key, shape, axis)


def per_image(values: Array) -> Array:
    """One number for each image in a shape that goes with images."""
    return values[:, None, None, None]


def chain(*transforms: Transform) -> Transform:
    """The transforms one after the other, each with its own key; of the images' shape and dtype."""

    def transform(key: Key[Array, ""], images: Images, p: Probability) -> Images:
        transformed = images
        for i, each in enumerate(transforms):
            transformed = each(jax.random.fold_in(key, i), transformed, p)
        return transformed.astype(images.dtype)

    return transform
