"""Images to translate from, and those to translate into.

They come as the channels of one image, the source's first; or the source is computed from the
image, by one of SOURCES.
"""

from collections.abc import Callable

import jax.numpy as jnp

from jaxgan.ops.conv import average_pool, upsample
from jaxgan.typing import Array, Float

STEEP = 0.25  # the least change of brightness over a pixel, of 0 to 1, that is an edge


def split(
    source: str, source_channels: int, images: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h w s"], Float[Array, "b h w t"]]:
    """Sources and targets. `source`: of SOURCES; "" where the images are pairs."""
    if source:
        return SOURCES[source](images), images
    return images[..., :source_channels], images[..., source_channels:]


def channels(source: str, source_channels: int, given: int) -> tuple[int, int]:
    """Of the sources and of the targets, of data with `given` channels."""
    if source:
        return (given if source == "small" else 1), given
    return source_channels, given - source_channels


def grey(images: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
    """Without colours (ITU-R BT.601)."""
    if images.shape[-1] == 1:
        return images
    return jnp.sum(images * jnp.array([0.299, 0.587, 0.114])[None, None, None], -1, keepdims=True)


def edges(images: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
    """White, 1, where brightness changes steeply (Sobel's operator), or else black, -1."""
    x = jnp.pad(grey(images)[..., 0] / 2, ((0, 0), (1, 1), (1, 1)), mode="edge")
    smooth_x = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
    smooth_y = (x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]) / 4
    down = (smooth_x[:, 2:] - smooth_x[:, :-2]) / 2
    right = (smooth_y[..., 2:] - smooth_y[..., :-2]) / 2
    steep = jnp.square(down) + jnp.square(right) > STEEP**2
    return jnp.where(steep, 1.0, -1.0)[..., None]


def small(images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """At a quarter of the size, each pixel as a square of 4 x 4."""
    return upsample(upsample(average_pool(average_pool(images))))


SOURCES: dict[str, Callable[[Array], Array]] = {"edges": edges, "grey": grey, "small": small}
