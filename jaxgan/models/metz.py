"""The small convolutional networks of unrolled GANs (Metz et al., ICLR 2017) for stacked digits.

https://arxiv.org/abs/1611.02163, as PacGAN's code (Lin et al. 2018) has them: sizes are halved and
rounded up (28, 14, 7, 4), all kernels are 3 x 3, BatchNorm follows every layer but the last of
each, the generator's ReLU, the discriminator's LeakyReLU 0.3. The discriminator's `features` are
1/4 or 1/2 of the generator's, so that modes are missed. Weights are N(0, 0.02^2).

Labels enter as in dcgan.py, but for "concat".
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.conditions import condition
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Conv, ConvTranspose, Dense, check_images, initializer
from jaxgan.models.norms import has_bias, normalise
from jaxgan.typing import Array, Float, Int, Labels


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    features: tuple[int, ...] = (64, 32, 16, 8)
    embedding: int = 50
    norm: str = "batch"
    conditioning: str = "embedding"

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b h w c"]:
        sizes = _sizes(self.image_shape, len(self.features))
        biased, init = not has_bias(self.norm), initializer(self.norm)
        x, given = condition(
            self.conditioning, self.norm, z, labels, self.num_classes, self.embedding
        )
        for n, (size, features) in enumerate(zip(sizes, self.features, strict=True)):
            if n == 0:
                x = Dense(size * size * features, biased, init)(x)
                x = x.reshape(-1, size, size, features)
            else:
                x = ConvTranspose(features, 3, 2, biased, init)(x)
                # The gradient of a convolution of an odd size has no first row and column.
                x = x[:, -size:, -size:]
            x = nn.relu(normalise(self.norm, x, train, given))
        x = Conv(self.image_shape[2], 3)(x)
        return jnp.tanh(x.astype(jnp.float32))


class Discriminator(nn.Module):
    num_classes: int = 0
    features: tuple[int, ...] = (2, 4, 8)
    norm: str = "batch"
    conditioning: str = "projection"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        if self.num_classes and self.conditioning == "concat":
            raise UserError("model.discriminator.conditioning: metz has no 'concat'; try dcgan")
        for features in self.features:
            x = Conv(features, 3, 2, None, "", not has_bias(self.norm), initializer(self.norm))(x)
            x = nn.leaky_relu(normalise(self.norm, x, train), 0.3)
        return Head(self.num_classes, self.conditioning)(x.reshape(x.shape[0], -1), labels)


def _sizes(image_shape: tuple[int, ...], levels: int) -> list[int]:
    """From the base's to the image's."""
    check_images(image_shape, "metz")
    return [math.ceil(image_shape[0] / 2**n) for n in reversed(range(levels))]
