"""DiffAugment (Zhao et al. 2020, arXiv 2006.10738), and the shifts and flips of CR-GAN.

The paper's code works on images in [-1, 1] as this library does, so its numbers are taken as they
are: a brightness of 0.5 is a quarter of the range from black to white, and the zeros that come in
from outside and that cover the cut-out square are mid-grey. The paper applies every transform to
every image (p = 1). With p < 1 each of the three colour transforms is chosen on its own.
"""

import jax
import jax.numpy as jnp
from jax import lax, random

from jaxgan.augment.chance import (
    Images,
    Mask,
    Probability,
    Which,
    chosen,
    per_image,
    uniform,
)
from jaxgan.parallel import draw
from jaxgan.typing import Array, Int, Key


def brightness(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    # x + U(-1/2, 1/2)
    which, amount = random.split(key)
    b = len(images)
    added = uniform(amount, (b,), -0.5, 0.5)
    return images + per_image(jnp.where(chosen(which, (b,), p), added, 0.0))


def saturation(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    # m + U(0, 2) (x - m), m the mean over the channels of a pixel
    return _about(jnp.mean(images, -1, keepdims=True), key, images, p, 0.0, 2.0)


def contrast(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    # m + U(1/2, 3/2) (x - m), m the mean of the image
    return _about(jnp.mean(images, (1, 2, 3), keepdims=True), key, images, p, 0.5, 1.5)


def _about(mean: Array, key, images: Images, p: Probability, low: float, high: float) -> Images:
    which, amount = random.split(key)
    b = len(images)
    factor = uniform(amount, (b,), low, high)
    extra = jnp.where(chosen(which, (b,), p), factor - 1, 0.0)
    return images + per_image(extra) * (images - mean)


def translation(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """By up to 1/8 of the size up or down and left or right, with zeros from outside."""
    which, where = random.split(key)
    b, h, w, _ = images.shape
    limits = int(h / 8 + 0.5), int(w / 8 + 0.5)
    shifts = jnp.where(chosen(which, (b, 1), p, axis=0), _shifts(where, b, limits), 0)
    return _shift(images, shifts, limits, "constant")


def cutout(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """Zeros in a square of half the size. Its centre is anywhere in the image, so that parts of the
    square, but never its centre, may lie outside."""
    which, where = random.split(key)
    b, h, w, _ = images.shape
    masks = []
    for n, u in zip((h, w), uniform(where, (2, b)), strict=True):
        size = int(n / 2 + 0.5)
        # An even square's centre is a corner of pixels, of which there is one more.
        low = jnp.floor(u * (n + 1 - size % 2)).astype(int) - size // 2
        masks.append(between(n, low, low + size))
    return cut(images, chosen(which, (b,), p), *masks)


def flip(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """Mirrors left and right in half of the images that it is applied to."""
    mirrored = per_image(chosen(key, (len(images),), p / 2))
    return jnp.where(mirrored, jnp.flip(images, 2), images)


def shift_and_flip(key: Key[Array, ""], images: Images) -> Images:
    """The transform of consistency regularisation (Zhang et al. 2020, arXiv 1910.12027): a shift by
    up to 4 pixels either way, with reflections from outside, and in half of the images a flip."""
    where, mirrored = random.split(key)
    b, h, w, _ = images.shape
    limits = min(4, h - 1), min(4, w - 1)
    shifted = _shift(images, _shifts(where, b, limits), limits, "reflect")
    return flip(mirrored, shifted, 1.0)


def between(n: int, low: Int[Array, " b"], high: Int[Array, " b"]) -> Mask:
    """low <= i < high for i = 0, ..., n - 1."""
    i = jnp.arange(n)[None, :]
    return (low[:, None] <= i) & (i < high[:, None])


def cut(images: Images, which: Which, rows: Mask, columns: Mask) -> Images:
    """Zeros where both the row and the column are marked, in those images."""
    gone = which[:, None, None] & rows[:, :, None] & columns[:, None, :]
    return jnp.where(gone[..., None], 0.0, images)


def _shifts(key: Key[Array, ""], b: int, limits: tuple[int, int]) -> Int[Array, "b 2"]:
    """Whole pixels down and right, each from -limit to limit."""
    ends = jnp.array([limits])
    return draw(lambda key, shape: random.randint(key, shape, -ends, ends + 1), key, (b, 2))


def _shift(images: Images, shifts: Int[Array, "b 2"], limits: tuple[int, int], mode: str) -> Images:
    """Images moved down and right by whole pixels, at most `limits`."""
    padded = jnp.pad(images, ((0, 0), *((n, n) for n in limits), (0, 0)), mode=mode)

    def crop(image, shift):
        start = limits[0] - shift[0], limits[1] - shift[1], 0
        return lax.dynamic_slice(image, start, images.shape[1:])

    return jax.vmap(crop)(padded, shifts)
