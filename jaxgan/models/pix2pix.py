"""The networks of pix2pix (Isola et al., CVPR 2017, https://arxiv.org/abs/1611.07004, section 6.1).

The generator is a U-Net: 4 x 4 convolutions of stride 2 down to one pixel, 8 at most, and
transposed ones up again, which see the maps of the way down beside their own. Features are width x
(1 2 4 8 8 8 8 8). Dropout, the only noise, is in as many of the deepest three blocks of the way up
as leave three above them without. Half of an odd size is rounded up, and what is too much on the
way up cut off.

The discriminator judges patches: `layers` 4 x 4 convolutions of stride 2 and two of stride 1, with
a logit for each place of the last map. With 3 a logit sees 70 x 70 pixels, with 2 34, with 1 16.

The paper has BatchNorm over one image, which is the instance normalisation that is here the usual
one. The first, innermost and last layers have none, a first layer's is left out in both networks.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.layers import Conv, ConvTranspose, check_images, dropout, image_of
from jaxgan.models.norms import has_bias, normalise
from jaxgan.typing import Array, Float, Int

LEVELS = 8


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    given: int  # channels of what it translates
    width: int = 64
    norm: str = "instance"
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, "b h w c"]:
        check_images(self.image_shape, "pix2pix", "translates")
        levels = min(LEVELS, math.ceil(math.log2(max(self.image_shape[:2]))))
        x_shape = x.shape
        features = [self.width * min(2**level, 8) for level in range(levels)]
        skips = []
        for level in range(levels):
            normal = 0 < level < levels - 1
            use_bias = not (normal and has_bias(self.norm))
            x = x if level == 0 else nn.leaky_relu(x, 0.2)
            x = Conv(features[level], 4, 2, use_bias=use_bias)(x)
            x = normalise(self.norm, x, train) if normal else x
            skips.append(x)
        x = skips.pop()
        for level in reversed(range(1, levels)):
            use_bias = not has_bias(self.norm)
            x = ConvTranspose(features[level - 1], 4, use_bias=use_bias)(nn.relu(x))
            x = normalise(self.norm, x, train)
            if levels - level <= min(3, levels - 4):
                x = dropout(self, x, self.dropout)
            x = jnp.concatenate([skips[-1], cut(x, skips.pop().shape)], -1)
        x = ConvTranspose(self.image_shape[2], 4)(nn.relu(x))
        return image_of("tanh", cut(x, x_shape))


class Discriminator(nn.Module):
    width: int = 64
    layers: int = 3
    norm: str = "instance"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, " n"]:
        for layer in range(self.layers + 1):
            stride = 2 if layer < self.layers else 1
            use_bias = not (layer and has_bias(self.norm))
            features = self.width * min(2**layer, 8)
            x = Conv(features, 4, stride, padding=1, use_bias=use_bias)(x)
            x = normalise(self.norm, x, train) if layer else x
            x = nn.leaky_relu(x, 0.2)
            if min(x.shape[1:3]) < 2:  # of which the last one leaves something
                raise UserError(
                    f"model.discriminator.layers: after {layer + 1} of {self.layers + 2} "
                    f"convolutions nothing is left of the images; take fewer"
                )
        return Conv(1, 4, padding=1)(x).astype(jnp.float32).reshape(-1)


def cut(x: Float[Array, "b h w c"], shape: tuple[int, ...]) -> Float[Array, "b h2 w2 c"]:
    """The upper left part that is of that height and width."""
    return x[:, : shape[1], : shape[2]]
