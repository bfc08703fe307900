"""DCGAN (Radford, Metz and Chintala, ICLR 2016, https://arxiv.org/abs/1511.06434).

The paper's guidelines: strided convolutions instead of pooling, transposed ones in the generator,
BatchNorm in both but not on the generator's output nor the discriminator's input, ReLU and a tanh
in the generator, LeakyReLU 0.2 in the discriminator, no fully connected hidden layers. The image
is a pyramid of powers of two over a base of 4 to 7 pixels (28 = 7 x 4, 32 = 4 x 8, 64 = 4 x 16);
`width` is the number of features beside the image, and it doubles with each halving. Kernels are
4 x 4 as in the author's later code; the paper draws 5 x 5.

Labels enter by the field `conditioning`, see conditions.py and heads.py. In the discriminator's
"concat" a learned plane for the label is a further input channel (as Mirza and Osindero 2014 do it
with vectors), as it is in the encoder, whose convolutions are the discriminator's.
"""

import math

import flax.linen as nn

from jaxgan.models.conditions import condition, with_label_channel
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import (
    Conv,
    ConvTranspose,
    Dense,
    Gaussian,
    image_of,
    initializer,
    pyramid,
)
from jaxgan.models.norms import has_bias, normalise
from jaxgan.typing import Array, Float, Int, Labels


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    width: int = 64
    embedding: int = 50
    norm: str = "batch"
    conditioning: str = "embedding"
    weight_norm: str = "none"
    output: str = "tanh"

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b h w c"]:
        base, levels = pyramid(self.image_shape, "dcgan")
        biased, init, weights = not has_bias(self.norm), initializer(self.norm), self.weight_norm
        x, given = condition(
            self.conditioning, self.norm, z, labels, self.num_classes, self.embedding
        )
        features = self.width * 2 ** (levels - 1)
        x = Dense(base * base * features, biased, init, weights)(x)
        x = x.reshape(-1, base, base, features)
        x = nn.relu(normalise(self.norm, x, train, given))
        init = initializer(self.norm, upsample=2)
        for level in reversed(range(levels - 1)):
            x = ConvTranspose(self.width * 2**level, 4, 2, biased, init, weights)(x)
            x = nn.relu(normalise(self.norm, x, train, given))
        x = ConvTranspose(self.image_shape[2], 4, weight_norm=weights)(x)
        return image_of(self.output, x)


class Discriminator(nn.Module):
    num_classes: int = 0
    width: int = 64
    norm: str = "batch"
    conditioning: str = "projection"
    weight_norm: str = "none"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        x = _convolved(self, x, labels if self.conditioning == "concat" else None, train)
        head = Head(self.num_classes, self.conditioning, self.weight_norm, name="Logit_0")
        return head(x, labels)


class Encoder(nn.Module):
    """Means and log variances of latents."""

    z_dim: int
    num_classes: int = 0
    width: int = 64
    norm: str = "batch"
    weight_norm: str = "none"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, train: bool
    ) -> tuple[Float[Array, "b z"], Float[Array, "b z"]]:
        x = _convolved(self, x, labels, train)
        return Gaussian(self.z_dim, weight_norm=self.weight_norm)(x)


def _convolved(
    network: Discriminator | Encoder, x: Array, labels: Array | None, train: bool
) -> Float[Array, "b d"]:
    """The features of the last map, with labels that are joined to the input."""
    levels = math.ceil(math.log2(x.shape[1] / 4))  # down to 3 or 4 pixels along a side
    init = initializer(network.norm)
    if network.num_classes and labels is not None:
        x = with_label_channel(x, labels, network.num_classes)
    for level in range(levels):
        biased = level == 0 or not has_bias(network.norm)
        x = Conv(
            network.width * 2**level,
            size=4,
            stride=2,
            use_bias=biased,
            kernel_init=init,
            weight_norm=network.weight_norm,
        )(x)
        if level > 0:
            x = normalise(network.norm, x, train)
        x = nn.leaky_relu(x, 0.2)
    return x.reshape(x.shape[0], -1)
