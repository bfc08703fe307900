"""Colour, filtering and corruptions of ADA (Karras et al. 2020, arXiv 2006.06676, appendix B), and
the controller of the probability with which they are applied.

Images are in [-1, 1], as in the paper.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax, random

from jaxgan.augment.chance import Images, Probability, chosen, normal, per_image, uniform
from jaxgan.augment.diffaugment import between, cut
from jaxgan.augment.geometry import reflect
from jaxgan.typing import Array, Float, Key

# --------------------------------------------------------------------------------------------------
# Colour


def ada_color(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """Brightness, contrast, luma flip, hue rotation and saturation. Grey images have a luma alone;
    of images that are neither grey nor of three channels only brightness and contrast change."""
    b = len(images)
    which, bell, flat = random.split(key, 3)
    on, z, u = chosen(which, (5, b), p), normal(bell, (3, b)), uniform(flat, (2, b))
    brightness = jnp.where(on[0], 0.2 * z[0], 0.0)
    contrast = jnp.where(on[1], jnp.exp2(0.5 * z[1]), 1.0)
    luma = jnp.where(on[2] & (u[0] < 0.5), -1.0, 1.0)
    hue = jnp.where(on[3], (2 * u[1] - 1) * np.pi, 0.0)
    saturation = jnp.where(on[4], jnp.exp2(z[2]), 1.0)
    return recolor(images, brightness, contrast, luma, hue, saturation)


def recolor(
    images: Images,
    brightness: Float[Array, " b"],
    contrast: Float[Array, " b"],
    luma: Float[Array, " b"],
    hue: Float[Array, " b"],
    saturation: Float[Array, " b"],
) -> Images:
    # The paper multiplies 4x4 matrices. All but the first, brightness, are linear and act within
    # the luma axis v = (1, 1, 1) / sqrt 3 and the plane across it. With m = v v^T x, the pixel's
    # mean, after contrast c, luma flip f = +-1, rotation by a about v, and saturation s
    #     y = c (f m + s (cos(a) (x - m) + sin(a) (v cross x)))
    brightness, contrast, luma = per_image(brightness), per_image(contrast), per_image(luma)
    images = images + brightness
    if images.shape[-1] == 1:
        return contrast * luma * images
    if images.shape[-1] != 3:
        return contrast * images
    mean = jnp.mean(images, -1, keepdims=True)
    across = (jnp.roll(images, 1, -1) - jnp.roll(images, -1, -1)) / np.sqrt(3)  # v cross x
    cosine, sine = per_image(saturation * jnp.cos(hue)), per_image(saturation * jnp.sin(hue))
    return contrast * (luma * mean + cosine * (images - mean) + sine * across)


# --------------------------------------------------------------------------------------------------
# Image-space filtering

POWER = np.array([10, 1, 1, 1]) / 13  # of natural images in the four bands, about 1 / frequency


def _bands() -> np.ndarray:
    """Zero-phase filters of the bands [0, pi/8], [pi/8, pi/4], [pi/4, pi/2], [pi/2, pi]: 4 x taps.

    From the orthogonal low-pass filter H of the wavelet sym2, with L(z) = H(z) H(1/z) / 2, a
    half-band filter, L(z) + L(-z) = 1. The bands are L(z) L(z^2) L(z^4), L(z) L(z^2) L(-z^4),
    L(z) L(-z^2) and L(-z), whose sum is 1.
    """
    sym2 = np.array([1 - 3**0.5, 3 - 3**0.5, 3 + 3**0.5, 1 + 3**0.5]) / 32**0.5
    low = np.convolve(sym2, sym2[::-1]) / 2
    high = np.where(np.arange(7) == 3, 1, 0) - low

    def spread(taps, factor):  # of z^factor
        spaced = np.zeros((len(taps) - 1) * factor + 1)
        spaced[::factor] = taps
        return spaced

    low2, high2, low4, high4 = (spread(taps, s) for s in (2, 4) for taps in (low, high))
    octaves = [
        np.convolve(np.convolve(low, low2), low4),
        np.convolve(np.convolve(low, low2), high4),
        np.convolve(low, high2),
        high,
    ]
    width = len(octaves[0])
    return np.stack([np.pad(taps, (width - len(taps)) // 2) for taps in octaves])


BANDS = _bands()


def ada_filter(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """Amplifies each of four frequency bands with probability p by 2^N(0, 1). With each
    amplification all bands are scaled so that a natural image keeps its power."""
    b = len(images)
    which, amount = random.split(key)
    on, factors = chosen(which, (4, b), p), jnp.exp2(normal(amount, (4, b)))
    gains = jnp.ones((b, 4))
    for i in range(4):
        # The factors of the other bands are 1, and the power's weights sum to 1.
        norm = jnp.sqrt(1 + POWER[i] * (factors[i] ** 2 - 1))
        t = jnp.where(jnp.arange(4)[None, :] == i, factors[i][:, None], 1.0) / norm[:, None]
        gains = gains * jnp.where(on[i][:, None], t, 1.0)
    return equalize(images, gains)


def equalize(images: Images, gains: Float[Array, "b 4"]) -> Images:
    """Bands multiplied by their gains, along each axis, with reflections from outside."""
    _, h, w, _ = images.shape
    precise = lax.Precision.HIGHEST
    rows, columns = _filters(h, gains), _filters(w, gains)
    images = jnp.einsum("bYy,byxc->bYxc", rows, images, precision=precise)
    return jnp.einsum("bXx,byxc->byXc", columns, images, precision=precise)


def _filters(n: int, gains: Float[Array, "b 4"]) -> Float[Array, "b n n"]:
    # sum g_i B_i = 1 + sum (g_i - 1) B_i, which is exact where nothing is amplified
    matrices = np.zeros((4, n, n))
    reach = BANDS.shape[1] // 2
    for row in range(n):
        for i, taps in enumerate(BANDS.T):
            matrices[:, row, reflect(row + i - reach, n)] += taps
    change = jnp.einsum("bi,iyx->byx", gains - 1, matrices, precision=lax.Precision.HIGHEST)
    return jnp.eye(n)[None] + change


# --------------------------------------------------------------------------------------------------
# Corruptions


def ada_noise(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    # x + N(0, s^2) at each pixel and channel, s the absolute value of N(0, 0.1^2)
    which, amount, noise = random.split(key, 3)
    b = len(images)
    deviation = jnp.where(chosen(which, (b,), p), 0.1 * jnp.abs(normal(amount, (b,))), 0.0)
    return images + per_image(deviation) * normal(noise, images.shape, axis=0)


def ada_cutout(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """Zeros in a rectangle of half the size, whose centre is anywhere in the image."""
    which, where = random.split(key)
    b, h, w, _ = images.shape
    centre = uniform(where, (b, 2), axis=0)
    masks = []
    for i, n in enumerate((h, w)):
        low, high = (jnp.round((centre[:, i] + e) * n).astype(int) for e in (-0.25, 0.25))
        masks.append(between(n, low, high))
    return cut(images, chosen(which, (b,), p), *masks)


# --------------------------------------------------------------------------------------------------
# The controller


def adapt(
    p: Probability,
    signs: Float[Array, ""],
    target: Float[Array, ""] | float | int,
    images: Float[Array, ""] | float | int,
    kimg: Float[Array, ""] | float | int,
) -> Float[Array, ""]:
    """The next probability, after `images` images have been seen since the last one.

    `signs` is the heuristic r_t = E[sign(D(x))] over real images (equation 1), 0 where the
    discriminator does not overfit and 1 where it does wholly; `target` (0.6 in the paper) is what
    it should be. p moves up or down at a fixed rate, from 0 to 1 in `kimg` (500) thousand images.
    """
    p = jnp.asarray(p, jnp.float32) + jnp.sign(signs - target) * images / (kimg * 1000)
    return jnp.clip(p, 0, 1).astype(jnp.float32)
