"""How varied a batch is, cheap enough for every step: the first sign of a collapsed generator."""

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float, Int

POOLED = 8  # pixels along a side


def diversity(
    images: Float[Array, "b ..."], labels: Int[Array, " b"] | None = None
) -> Float[Array, ""]:
    """The standard deviation of images about the mean of their class, root mean square of pixels.

    Images are first averaged over squares to at most 8 x 8 pixels, so that speckle counts little
    and a batch that lies on many devices is cheap to compare; points are taken as they are. Without
    labels all are one class. With b images in c classes the squares are divided by b - c, as in an
    unbiased variance. Its root is a little small where b - c is: as much for real images as for
    fake ones of the same labels, which are what to compare. 0 where each has a class to itself.
    """
    rows = _pooled(images).reshape(images.shape[0], -1)
    if labels is None:  # nothing but a sum passes between devices
        means, classes = rows.mean(0, keepdims=True), jnp.float32(1)
    else:
        same = jnp.float32(labels[:, None] == labels[None, :])
        sizes = same.sum(1)  # of each image's class
        means = jnp.matmul(same, rows, precision=jax.lax.Precision.HIGHEST) / sizes[:, None]
        classes = jnp.sum(1 / sizes)
    freedom = rows.shape[0] - classes
    variance = jnp.sum(jnp.square(rows - means)) / (jnp.maximum(freedom, 1.0) * rows.shape[1])
    return jnp.sqrt(variance)


def _pooled(images: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    if images.ndim != 4:
        return images
    b, h, w, c = images.shape
    size_h, size_w = -(-h // POOLED), -(-w // POOLED)  # of the squares; the edge's are cut off
    rows, columns = h // size_h, w // size_w
    cut = images[:, : rows * size_h, : columns * size_w]
    return cut.reshape(b, rows, size_h, columns, size_w, c).mean((2, 4))
