"""DCGAN (Radford, Metz and Chintala, ICLR 2016, https://arxiv.org/abs/1511.06434).

The paper's guidelines: strided convolutions instead of pooling, transposed ones in the generator,
BatchNorm in both but not on the generator's output nor the discriminator's input, ReLU and a tanh
in the generator, LeakyReLU 0.2 in the discriminator, no fully connected hidden layers. The image
is a pyramid of powers of two over a base of 4 to 7 pixels (28 = 7 x 4, 32 = 4 x 8, 64 = 4 x 16);
`width` is the number of features beside the image, and it doubles with each halving. Kernels are
4 x 4 as in the author's later code; the paper draws 5 x 5.

With classes the label's embedding is joined to z in the generator. In the discriminator it is a
further input channel ("concat", as Mirza and Osindero 2014 do it with vectors) or the projection of
Miyato and Koyama 2018 ("projection").
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.layers import Conv, ConvTranspose, LabelledLatent, Logit, initializer, normalise
from jaxgan.typing import Array, Float, Int


class Generator(nn.Module):
    image_shape: tuple[int, int, int]
    num_classes: int = 0
    width: int = 64
    embedding: int = 50
    norm: str = "batch"

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, "b h w c"]:
        if len(self.image_shape) != 3:
            raise UserError("model.name: dcgan draws images, and these data are points; take mlp")
        base, levels = pyramid(self.image_shape[0])
        biased, init = self.norm == "none", initializer(self.norm)
        x = LabelledLatent(self.num_classes, self.embedding)(z, labels)
        features = self.width * 2 ** (levels - 1)
        x = nn.Dense(base * base * features, use_bias=biased, kernel_init=init)(x)
        x = x.reshape(-1, base, base, features)
        x = nn.relu(normalise(self.norm, x, train))
        init = initializer(self.norm, upsample=2)
        for level in reversed(range(levels - 1)):
            x = ConvTranspose(self.width * 2**level, 4, use_bias=biased, kernel_init=init)(x)
            x = nn.relu(normalise(self.norm, x, train))
        return jnp.tanh(ConvTranspose(self.image_shape[2], 4)(x))


class Discriminator(nn.Module):
    num_classes: int = 0
    width: int = 64
    norm: str = "batch"
    conditioning: str = "projection"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, " b"]:
        b, h, w, _ = x.shape
        levels = math.ceil(math.log2(h / 4))  # down to 3 or 4 pixels along a side
        init = initializer(self.norm)
        if self.num_classes and self.conditioning == "concat":
            plane = nn.Embed(self.num_classes, h * w)(labels)
            x = jnp.concatenate([x, plane.reshape(b, h, w, 1)], -1)
        for level in range(levels):
            biased = self.norm == "none" or level == 0
            x = Conv(self.width * 2**level, 4, 2, use_bias=biased, kernel_init=init)(x)
            if level > 0:
                x = normalise(self.norm, x, train)
            x = nn.leaky_relu(x, 0.2)
        return Logit(self.num_classes, self.conditioning)(x.reshape(b, -1), labels)


def pyramid(size: int) -> tuple[int, int]:
    """The base (4 to 7 pixels) and the number of doublings that lead from it to `size` pixels.

    Raises UserError for a size that no such pyramid reaches.
    """
    for levels in range(1, 8):
        if size % 2**levels == 0 and 4 <= size // 2**levels < 8:
            return size // 2**levels, levels
    reached = sorted(base * 2**levels for base in range(4, 8) for levels in range(1, 8))
    raise UserError(
        f"data.image_size: dcgan doubles a base of 4 to 7 pixels, which never gives {size}; "
        f"sizes that work: {', '.join(map(str, reached))}"
    )
