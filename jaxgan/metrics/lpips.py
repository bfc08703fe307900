"""LPIPS: how far apart two images look.

Zhang et al. 2018 (https://arxiv.org/abs/1801.03924), equation 1, with VGG16 and the linear heads of
version 0.1 ("vgg" of the authors' lpips package): at every pixel of five layers the activations are
divided by their norm, and the squares of their differences are weighted, summed over channels,
averaged over pixels and summed over layers.

The distance depends on the size of images: compare only images of one size. Nothing is resized
here. The heads were learnt from patches of 64 pixels; of smaller images the deep layers see mostly
their padding. 28 pixels leave 1 x 1 in relu5_3; from 16 pixels up there is a distance. Grey images
have their channel repeated by the caller.
"""

import jax
import jax.numpy as jnp

from jaxgan.metrics.networks import vgg16
from jaxgan.typing import Array, Float, Params

EPSILON = 1e-10  # beside the norm


@jax.jit
def lpips(
    params: Params, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]
) -> Float[Array, " b"]:
    """Of each pair of images in [-1, 1], with the weights that `vgg16.convert` returns."""
    of_both = _directions(params, jnp.concatenate([a, b]))
    return _weighted_squares(params, [x[: len(a)] - x[len(a) :] for x in of_both])


@jax.jit
def lpips_within(
    params: Params,
    a: Float[Array, "b h w 3"],
    b: Float[Array, "b h w 3"],
    mask: Float[Array, "b h w 1"],
) -> Float[Array, " b"]:
    """The same over the pixels of a mask alone: each layer's mean over pixels is weighted by how
    much of what they stand for is in it."""
    of_both = _directions(params, jnp.concatenate([a, b]))
    differences = [x[: len(a)] - x[len(a) :] for x in of_both]
    found: list[Array] = []
    for head, difference in zip(params["heads"], differences, strict=True):
        if found:
            h, w = mask.shape[1] // 2, mask.shape[2] // 2
            mask = mask[:, : 2 * h, : 2 * w].reshape(-1, h, 2, w, 2, 1).mean((2, 4))
        weighted = jnp.sum(jnp.square(difference) * jnp.reshape(head, (1, 1, 1, -1)), -1)
        share = jnp.maximum(jnp.sum(mask, (1, 2, 3)), 1e-6)
        found.append(jnp.sum(weighted * mask[..., 0], (1, 2)) / share)
    return jnp.sum(jnp.stack(found), 0)


@jax.jit
def squared_speed(
    params: Params, images: Float[Array, "b h w 3"], velocity: Float[Array, "b h w 3"]
) -> Float[Array, " b"]:
    """The limit of lpips(images, images + s velocity) / s^2 as s goes to 0.

    The distance of images that are close is quadratic, so this is the same sum over the squares of
    the activations' derivatives along `velocity`. It has none of the cancellation of a small s.
    """
    _, derivatives = jax.jvp(lambda x: _directions(params, x), (images,), (velocity,))
    return _weighted_squares(params, derivatives)


def to_rgb(images: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """Grey images as three equal channels; colours as they are."""
    return jnp.broadcast_to(images, (*images.shape[:3], 3))


def _directions(params: Params, images: Float[Array, "b h w 3"]) -> list[Array]:
    """Each layer's activations over their norm; those that are 0 stay 0, and so do derivatives."""
    found = []
    for x in vgg16.activations(params, (images + 1) * 127.5):
        squares = jnp.sum(jnp.square(x), -1, keepdims=True)
        # sqrt has no derivative at 0, where all channels of a pixel are off
        norm = jnp.sqrt(jnp.where(squares > 0, squares, 1))
        found.append(x / (norm + EPSILON))
    return found


def _weighted_squares(params: Params, differences: list[Array]) -> Float[Array, " b"]:
    of_layers = []
    for head, difference in zip(params["heads"], differences, strict=True):
        weighted = jnp.square(difference) * jnp.reshape(head, (1, 1, 1, -1))
        of_layers.append(jnp.mean(jnp.sum(weighted, -1), (1, 2)))
    return jnp.sum(jnp.stack(of_layers), 0)
