"""Radially averaged power spectra: checkerboards and missing detail, which features may not see.

Durall et al., CVPR 2020 (https://arxiv.org/abs/2003.01826), "Watch your up-convolution".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.typing import Array, Float


class Spectra(NamedTuple):
    """Mean spectra in decibels, by radius, and the root mean square of their difference."""

    distance: Float[Array, ""]
    real: Float[Array, " r"]
    fake: Float[Array, " r"]


def power_spectrum(images: Float[Array, "b h w c"]) -> Float[Array, "b r"]:
    """The mean power of each whole radius in frequency, of square images, over channels.

    They go from 0, the mean, past h / 2 cycles an image, the finest along an axis, to the corners,
    where checkerboards are. In units of a pixel's square: the sum over all frequencies would be the
    mean square of the pixels.
    """
    size = images.shape[1]
    spectrum = jnp.fft.fft2(images, axes=(1, 2)) / size**2
    power = jnp.mean(jnp.square(jnp.abs(spectrum)), -1).reshape(images.shape[0], -1)
    along = np.fft.fftfreq(size) * size
    radius = np.rint(np.hypot(along[:, None], along[None, :])).astype(int).ravel()
    rings = radius[:, None] == np.arange(radius.max() + 1)
    weights = rings / np.maximum(rings.sum(0, keepdims=True), 1)
    return jnp.matmul(power, jnp.float32(weights), precision="highest")


@jax.jit
def compare(real: Float[Array, "n r"], fake: Float[Array, "m r"]) -> Spectra:
    """Of power spectra of images; powers far below 1e-12, -120 dB, count as that."""
    decibels = [10 * jnp.log10(jnp.mean(each, 0) + 1e-12) for each in (real, fake)]
    apart = jnp.sqrt(jnp.mean(jnp.square(decibels[0] - decibels[1])))
    return Spectra(apart, *decibels)
