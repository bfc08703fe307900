"""Multi-scale structural similarity: how alike images are, 1 where they are the same.

Wang, Simoncelli and Bovik 2003, with the windows and constants of Wang et al. 2004. Odena et al.
2017 (https://arxiv.org/abs/1610.09585), section 4.2, take its mean over random pairs of a class for
the lack of diversity: compare it with that of real images.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.typing import Array, Float

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first
WINDOW, WIDTH = 11, 1.5  # pixels along a side, and the Gaussian's standard deviation
C1, C2 = 0.01**2, 0.03**2  # of pixels in [0, 1]


@jax.jit
def ms_ssim(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Of each pair of images in [-1, 1], mean over channels.

    Of five scales, each half the one before, those that are no smaller than the window of 11
    pixels; of fewer the weights are scaled to sum to 1, as those of five do, so compare
    only images of one size. Raises ValueError for images smaller than the window.
    """
    size = min(a.shape[1:3])
    if size < WINDOW:
        raise ValueError(f"images of {size} pixels are smaller than the window of {WINDOW}")
    scales = min(len(WEIGHTS), 1 + int(np.log2(size / WINDOW)))
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    a, b = (a + 1) / 2, (b + 1) / 2  # luminance is a ratio of means, which must not be negative
    product = jnp.ones((a.shape[0], a.shape[3]))
    for scale, weight in enumerate(weights):
        luminance, contrast = _similarities(a, b)
        seen = luminance * contrast if scale == scales - 1 else contrast
        # Of the mean over pixels, which a negative one has no root of.
        product *= jnp.maximum(jnp.mean(seen, (1, 2)), 0) ** weight
        a, b = _halved(a), _halved(b)
    return jnp.mean(product, -1)


@jax.jit
def ssim_map(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """SSIM of the window around each pixel, of images in [-1, 1], mirrored at the border."""
    side = WINDOW // 2
    pad = lambda x: jnp.pad(x, ((0, 0), (side, side), (side, side), (0, 0)), "symmetric")  # noqa: E731
    luminance, contrast = _similarities(*(pad((x + 1) / 2) for x in (a, b)))
    return luminance * contrast


def _similarities(a: Array, b: Array) -> tuple[Array, Array]:
    # Wang et al. 2004, equations 6 to 13: luminance, and contrast with structure
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a = _blurred(a * a) - mean_a**2
    variance_b = _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return luminance, (2 * covariance + C2) / (variance_a + variance_b + C2)


def _blurred(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Gaussian window, where it lies within the image."""
    window = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * WIDTH**2))
    window = jnp.float32(window / window.sum())
    for axis in (1, 2):
        length = x.shape[axis] - WINDOW + 1
        x = sum(
            window[n] * jax.lax.slice_in_dim(x, n, n + length, axis=axis) for n in range(WINDOW)
        )
    return x


def _halved(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Means of 2 x 2 pixels; of an odd number the last are left out."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
