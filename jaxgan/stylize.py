"""The content of one picture in the style of another (Gatys, Ecker and Bethge, CVPR 2016).

https://openaccess.thecvf.com/content_cvpr_2016/papers/Gatys_Image_Style_Transfer_CVPR_2016_paper.pdf

Content are the activations of one layer, style is the Gram matrices of five: what channels are on
together, wherever in the picture. A picture is sought whose content is that of the one and whose
style is that of the other, by L-BFGS on its pixels.

What differs from the paper: VGG16 in place of VGG19, its weights as they are (the paper scales
each channel to a mean of 1), maxima for pooling where it found means a little nicer; sums over
positions, channels and Gram matrices are means, so that weights mean the same at every size; the
total variation of Johnson et al. 2016 beside them.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan.metrics.networks import vgg16
from jaxgan.ops.conv import conv
from jaxgan.typing import Array, Float, Params

CONTENT = (3, 1)  # relu4_2
STYLE = ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0))  # relu1_1 to relu5_1
WIDTHS = (64, 128, 256, 512, 512)  # of STYLE's layers
MEMORY = 10  # steps that L-BFGS remembers


class Weights(NamedTuple):
    content: float = 1.0
    style: float = 1e3
    variation: float = 1e-3


class Losses(NamedTuple):
    """Unweighted."""

    content: Float[Array, ""]
    style: Float[Array, ""]
    variation: Float[Array, ""]


def layers(
    params: Params, images: Float[Array, "b h w 3"]
) -> tuple[tuple[Float[Array, "b _ _ _"], ...], ...]:
    """VGG16's layers of images in [-1, 1], by convolutions whose gradients are fast."""

    def convolve(x: Array, layer: Params) -> Array:
        return conv(x, layer["kernel"]) + jnp.reshape(layer["bias"], (1, 1, 1, -1))

    return vgg16.relus(params, (images + 1) * 127.5, convolve)


def gram(x: Float[Array, "b h w c"]) -> Float[Array, "b c c"]:
    """The mean over positions of the products of channels (equation 3, over their number)."""
    flat = x.reshape(len(x), -1, x.shape[-1])
    return jnp.einsum("bnc,bnd->bcd", flat, flat) / flat.shape[1]


class Target(NamedTuple):
    """What is sought: pictures' content, another's style."""

    content: Float[Array, "b _ _ _"]
    style: tuple[Float[Array, "1 _ _"], ...]


def content_of(params: Params, images: Float[Array, "b h w 3"]) -> Float[Array, "b _ _ _"]:
    return layers(params, images)[CONTENT[0]][CONTENT[1]]


def style_of(params: Params, images: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _"], ...]:
    found = layers(params, images)
    return tuple(gram(found[s][n]) for s, n in STYLE)


def target_of(
    params: Params, content: Float[Array, "1 h w 3"], style: Float[Array, "1 h2 w2 3"]
) -> Target:
    return Target(content_of(params, content), style_of(params, style))


def losses(params: Params, target: Target, images: Float[Array, "b h w 3"]) -> Losses:
    """Content: the mean squared difference of activations (equation 1). Style: the mean over layers
    of the mean squared difference of Gram matrices (equations 4 and 5). Variation: that of
    neighbouring pixels."""
    seen = layers(params, images)
    content = jnp.mean(jnp.square(seen[CONTENT[0]][CONTENT[1]] - target.content))
    of_layers = [
        jnp.mean(jnp.square(gram(seen[s][n]) - wanted))
        for (s, n), wanted in zip(STYLE, target.style, strict=True)
    ]
    return Losses(content, jnp.mean(jnp.stack(of_layers)), variation(images))


def variation(images: Float[Array, "b h w c"]) -> Float[Array, ""]:
    down, right = images[:, 1:] - images[:, :-1], images[:, :, 1:] - images[:, :, :-1]
    return jnp.mean(jnp.square(down)) + jnp.mean(jnp.square(right))


def weighted(found: Losses, weights: Sequence[Any]) -> Float[Array, ""]:
    return jnp.sum(jnp.stack([w * x for w, x in zip(weights, found, strict=True)]))


def optimise(
    params: Params, target: Target, image: Float[Array, "1 h w 3"], weights: Weights
) -> Iterator[tuple[Float[Array, "1 h w 3"], Losses]]:
    """The picture after 0, 1, 2, ... iterations of L-BFGS from `image`, with its losses; without
    end. Its pixels may lie outside [-1, 1]."""
    optimizer = optax.lbfgs(memory_size=MEMORY)

    @jax.jit
    def step(image, state, params, target):
        total = lambda x: weighted(losses(params, target, x), weights)  # noqa: E731
        value, slope = optax.value_and_grad_from_state(total)(image, state=state)
        moves, state = optimizer.update(
            slope, state, image, value=value, grad=slope, value_fn=total
        )
        return optax.apply_updates(image, moves), state

    found = jax.jit(losses)
    state = optimizer.init(image)
    while True:
        yield image, found(params, target, image)
        image, state = step(image, state, params, target)
