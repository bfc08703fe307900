"""How well holes in images are filled: measures of what was missing, and other ways to fill it.

Peak signal-to-noise ratio and mean absolute difference over the hole; SSIM over the windows of 11
pixels whose centre is in it (Wang et al. 2004), at the border with the image mirrored. Images are
in [-1, 1]; differences and ratios are those of pixels in [0, 1].

The simplest fills to compare with: the mean of the image's other pixels; the nearest pixel that is
there; and the pixels of the training image that is nearest where there are pixels to compare, the
baseline of Pathak et al. 2016 (after Hays and Efros 2007).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data import to_float
from jaxgan.metrics.ssim import ssim_map
from jaxgan.typing import Array, Float, Key, UInt8

Images = Float[Array, "b h w c"]
Mask = Float[Array, "b h w 1"]  # 1 where the image is missing
FILLS = ("means", "pixels", "images")


def values(**directions: int) -> dict[str, int]:
    """The names of what `of_holes` tells, with the directions of the model's own values."""
    fills = {f"_by_{fill}": 0 for fill in FILLS}
    return {
        f"hole_{name}{fill}": sign if fill == "" else 0
        for name, sign in directions.items()
        for fill in ("", *fills)
    }


def of_holes(
    measures: Callable[[Images, Images, Mask], dict[str, Array]],
    complete: Callable[[Key[Array, ""], Images], tuple[Images, Mask]],
    key: Key[Array, ""],
    images: UInt8[np.ndarray, "n h w c"],
    training: UInt8[np.ndarray, "m h w c"],
) -> dict[str, np.floating]:
    """The means of `measures(images, filled, mask)` of the images, as `complete` fills its holes
    and as FILLS do."""
    found: dict[str, list] = {}
    known = to_float(training)
    for first in range(0, len(images), 50):
        real = to_float(images[first : first + 50])
        filled, mask = complete(jax.random.fold_in(key, first), real)
        fills = {
            "": filled,
            "_by_means": by_means(real, mask),
            "_by_pixels": by_pixels(real, mask),
            "_by_images": by_images(real, mask, known),
        }
        for fill, of_fill in fills.items():
            for name, each in measures(real, of_fill, mask).items():
                found.setdefault(f"hole_{name}{fill}", []).append(np.asarray(each))
    return {name: np.nanmean(np.concatenate(each)) for name, each in found.items()}


@jax.jit
def measures(real: Images, filled: Images, mask: Mask) -> dict[str, Float[Array, " b"]]:
    """`psnr` in decibels, `ssim` and `l1`, of each image's hole; NaN of an image without one."""
    missing = jnp.sum(mask, (1, 2, 3))
    of_hole = lambda x: jnp.sum(jnp.mean(x, -1, keepdims=True) * mask, (1, 2, 3)) / missing  # noqa: E731
    difference = (real - filled) / 2
    square = jnp.maximum(of_hole(jnp.square(difference)), 1e-10)
    return {
        "psnr": -10 * jnp.log10(square),
        "ssim": of_hole(ssim_map(real, filled)),
        "l1": of_hole(jnp.abs(difference)),
    }


@jax.jit
def by_means(images: Images, mask: Mask) -> Images:
    there = 1 - mask
    count = jnp.maximum(jnp.sum(there, (1, 2), keepdims=True), 1)
    mean = jnp.sum(images * there, (1, 2), keepdims=True) / count
    return there * images + mask * mean


def by_pixels(images: Images, mask: Mask) -> Images:
    """By the nearest pixel that is there."""
    from scipy.ndimage import distance_transform_edt  # here: only this needs it

    filled = []
    for image, hole in zip(np.asarray(images), np.asarray(mask)[..., 0], strict=True):
        rows, columns = distance_transform_edt(hole, return_distances=False, return_indices=True)
        filled.append(image[rows, columns])
    return jnp.asarray(np.stack(filled))


@jax.jit
def by_images(images: Images, mask: Mask, training: Float[Array, "n h w c"]) -> Images:
    """By the training image with the least squared difference where pixels are there."""
    flat = lambda x: x.reshape(len(x), -1)  # noqa: E731
    there = flat(jnp.broadcast_to(1 - mask, images.shape))
    known = flat(training)
    product = lambda a, b: jnp.matmul(a, b.T, precision="highest")  # noqa: E731
    # |x - t|^2 but for |x|^2, which is the same for all t
    distance = product(there, jnp.square(known)) - 2 * product(flat(images) * there, known)
    return (1 - mask) * images + mask * training[jnp.argmin(distance, 1)]
