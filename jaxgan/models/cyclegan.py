"""The networks of CycleGAN (Zhu et al., ICCV 2017, https://arxiv.org/abs/1703.10593, appendix 7.2),
whose generator is after that of Johnson et al. 2016.

In the paper's words c7s1-64, d128, d256, `blocks` times R256 (9 for 256 pixels, 6 for 128), u128,
u64, c7s1-3 with `width` in place of 64: a 7 x 7 convolution, two of stride 2, residual blocks of
two 3 x 3, two transposed convolutions, 7 x 7; instance normalisation and ReLU after each but the
last. Images are reflected at their borders. The normalisations have a gain and a bias, which those
of the authors' PyTorch code have not.

The discriminator is that of pix2pix.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.layers import Conv, ConvTranspose, check_images, image_of
from jaxgan.models.norms import has_bias, normalise
from jaxgan.models.pix2pix import Discriminator
from jaxgan.typing import Array, Float, Int

__all__ = ["Discriminator", "Generator"]


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    given: int  # channels of what it translates
    width: int = 64
    blocks: int = 9
    norm: str = "instance"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, "b h w c"]:
        check_images(self.image_shape, "cyclegan", "translates")
        if any(side % 4 for side in self.image_shape[:2]):
            size = self.image_shape[0]
            raise UserError(
                f"data.image_size: cyclegan halves images twice, and {size} is no multiple of 4"
            )

        def normal(layer: type[nn.Module], features: int, size: int, x: Array, **how: Any) -> Array:
            x = layer(features, size, use_bias=not has_bias(self.norm), **how)(x)
            return normalise(self.norm, x, train)

        x = nn.relu(normal(Conv, self.width, 7, reflected(x, 3), padding=0))
        for level in range(1, 3):
            x = nn.relu(normal(Conv, self.width * 2**level, 3, x, stride=2, padding=1))
        features = x.shape[-1]
        for _ in range(self.blocks):
            y = nn.relu(normal(Conv, features, 3, reflected(x, 1), padding=0))
            x = x + normal(Conv, features, 3, reflected(y, 1), padding=0)
        for level in reversed(range(2)):
            x = nn.relu(normal(ConvTranspose, self.width * 2**level, 3, x))
        x = Conv(self.image_shape[2], 7, padding=0)(reflected(x, 3))
        return image_of("tanh", x)


def reflected(x: Float[Array, "b h w c"], pixels: int) -> Float[Array, "b h2 w2 c"]:
    """With as many pixels more on each side, mirror images of those within."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")
