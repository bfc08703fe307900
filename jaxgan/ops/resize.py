"""Resizing as the originals of published scores do it, each by its own rule.

* "tf1_bilinear": `resize_bilinear` of TensorFlow 1 without align_corners, which the graph of the
  Fréchet inception distance begins with. Output pixel i lies at i * inputs / outputs, not at
  (i + 1/2) * inputs / outputs - 1/2, and shrinking skips pixels.
* "pil_bilinear", "pil_bicubic": Pillow's `Image.resize` of an image of floats (mode "F"): where it
  shrinks, the filter is as much wider, so that no pixel is skipped. clean-fid (Parmar et al. 2022,
  https://arxiv.org/abs/2104.11222) resizes so, bicubically, and clips to [0, 255] afterwards, since
  the bicubic filter overshoots; clipping is left to the caller.

Both are linear and separable: one matrix for the rows and one for the columns.
"""

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from jaxgan.errors import lookup
from jaxgan.typing import Array, Float


def resize(
    images: Float[Array, "b h w c"], size: tuple[int, int], method: str
) -> Float[Array, "b h2 w2 c"]:
    """Images of `size`, (height, width), by a method of METHODS; neither rounded nor clipped."""
    weights = lookup(METHODS, method, "resize")
    rows, columns = (weights(*sizes) for sizes in zip(images.shape[1:3], size, strict=True))
    product = lax.Precision.HIGHEST
    images = jnp.einsum("pw,bhwc->bhpc", columns, images, precision=product)
    return jnp.einsum("ph,bhwc->bpwc", rows, images, precision=product)


def _tf1_bilinear(inputs: int, outputs: int) -> Float[Array, "o i"]:
    # In float32, as TensorFlow computes positions; the last pixel goes on beyond the edge.
    positions = jnp.arange(outputs, dtype=jnp.float32) * jnp.float32(inputs / outputs)
    positions = jnp.minimum(positions, inputs - 1)[:, None]
    pixels = jnp.arange(inputs, dtype=jnp.float32)[None, :]
    return jnp.maximum(1 - jnp.abs(pixels - positions), 0)


def _pillow(
    kernel: Callable[[float], float], support: int, inputs: int, outputs: int
) -> Float[Array, "o i"]:
    # In Python's float64: positions of float32 would cost a hundredth of a grey level.
    scale = inputs / outputs
    width = max(scale, 1.0)
    rows = []
    for output in range(outputs):
        centre = (output + 0.5) * scale
        first = max(math.floor(centre - support * width), 0)
        last = min(math.ceil(centre + support * width), inputs)
        weights = [kernel(abs(i + 0.5 - centre) / width) for i in range(first, last)]
        total = math.fsum(weights)
        weights = [weight / total for weight in weights]
        rows.append([0.0] * first + weights + [0.0] * (inputs - last))
    return jnp.asarray(rows, jnp.float32)


def _bilinear(distance: float) -> float:
    return max(1 - distance, 0.0)


def _bicubic(distance: float) -> float:
    """Keys's cubic convolution with a = -1/2."""
    a, d = -0.5, distance
    if d < 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return (((d - 5) * d + 8) * d - 4) * a if d < 2 else 0.0


# Method: the weights of input pixels in each output pixel.
METHODS = {
    "tf1_bilinear": _tf1_bilinear,
    "pil_bilinear": functools.partial(_pillow, _bilinear, 1),
    "pil_bicubic": functools.partial(_pillow, _bicubic, 2),
}
