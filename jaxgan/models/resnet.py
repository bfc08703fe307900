"""The residual networks of SNGAN (Miyato et al. 2018, https://arxiv.org/abs/1802.05957, appendix
B.4) and, without spectral normalisation, of WGAN-GP (Gulrajani et al. 2017,
https://arxiv.org/abs/1704.00028, appendix).

Blocks are pre-activated (He et al. 2016): norm, ReLU, 3 x 3, norm, ReLU, 3 x 3, beside a 1 x 1
shortcut where the shape changes. Generators double the nearest pixels before the first 3 x 3,
discriminators average 2 x 2 after the second; their first block has neither norm nor ReLU at its
start. Shortcuts are taken at the smaller of the two sizes, which gives the same as at the larger.

The tables, as features from the largest map to the smallest, in units of `width`:

    generator, 32 pixels     1 1 1, dense 1              (the papers' width: 256; WGAN-GP's 128)
    generator, 48, 64, 128   1 2 4 8 16 .., at most 16   (64), the dense layer one further
    discriminator, 32        1 1, then two blocks 1 1    (128) on the last map
    discriminator, 48, 128   1 2 4 8 16 .., at most 16   (64), the last block on the last map

Sizes up to 32 (28 = 7 x 4) follow the first, larger ones the second; the papers have none for 64.
The discriminator halves its map while it is even and above 4 pixels, and twice at most up to 32.
At the end it takes the sum over pixels (SNGAN) or the mean (WGAN-GP), field `pooling`.

Weights are Glorot's uniform ones, times sqrt(2) in the residual branches. Layers keep their biases
before BatchNorm, as in the author's code. With `remat` blocks keep nothing but their input for the
gradient. With `conditioning` "norm" the blocks' normalisations
know the label and the last one does not (Miyato and Koyama 2018).
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import lookup
from jaxgan.models.conditions import condition, with_label_channel
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Conv, Dense, block, pyramid
from jaxgan.models.norms import Condition, normalise
from jaxgan.ops.conv import average_pool, upsample
from jaxgan.typing import Array, Float, Int, Labels

plain_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
branch_init = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    width: int = 256
    embedding: int = 50
    norm: str = "batch"
    conditioning: str = "norm"
    weight_norm: str = "none"
    remat: bool = False

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b h w c"]:
        base, (first, *features) = generator_features(self.image_shape, self.width, "resnet")
        x, given = condition(
            self.conditioning, self.norm, z, labels, self.num_classes, self.embedding
        )
        x = Dense(base * base * first, True, plain_init, self.weight_norm)(x)
        x = x.reshape(-1, base, base, first)
        for n, each in enumerate(features):
            up = block(UpBlock, n, self.remat, static=(2,))
            x = up(each, self.norm, self.weight_norm)(x, train, given)
        return ToImage(self.image_shape[2], self.norm, self.weight_norm)(x, train, given)


class Discriminator(nn.Module):
    num_classes: int = 0
    width: int = 128
    norm: str = "none"
    conditioning: str = "projection"
    weight_norm: str = "spectral"
    pooling: str = "sum"
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        if self.num_classes and self.conditioning == "concat":
            x = with_label_channel(x, labels, self.num_classes)
        blocks = discriminator_features(x.shape[1:], self.width, "resnet")
        for n, (features, down) in enumerate(blocks):
            part = block(DownBlock, n, self.remat, static=(2,))
            x = part(features, down, n == 0, self.norm, self.weight_norm)(x, train)
        x = lookup(POOLINGS, self.pooling, "pooling")(nn.relu(x.astype(jnp.float32)))
        return Head(self.num_classes, self.conditioning, self.weight_norm, kernel_init=plain_init)(
            x, labels
        )


POOLINGS: dict[str, Callable] = {
    "sum": lambda x: jnp.sum(x, (1, 2)),
    "mean": lambda x: jnp.mean(x, (1, 2)),
}


# --------------------------------------------------------------------------------------------------
# The tables


def generator_features(
    image_shape: tuple[int, ...], width: int, model: str
) -> tuple[int, list[int]]:
    """The base's pixels, and the features from the dense layer to the last block."""
    base, levels = pyramid(image_shape, model)
    return base, [width * _factor(image_shape[0], level) for level in range(levels, -1, -1)]


def discriminator_features(
    image_shape: tuple[int, ...], width: int, model: str
) -> list[tuple[int, bool]]:
    """The features of each block, and whether it halves the map."""
    pyramid(image_shape, model)  # raises UserError
    size = image_shape[0]
    number = len(discriminator_maps(size))
    blocks = [(width * _factor(size, level), True) for level in range(number)]
    return blocks + [(width * _factor(size, number), False)] * (2 if size <= 32 else 1)


def discriminator_maps(size: int) -> list[int]:
    """The pixels along a side after each halving."""
    maps: list[int] = []
    most = 2 if size <= 32 else size
    while size % 2 == 0 and size > 4 and len(maps) < most:
        size //= 2
        maps.append(size)
    return maps


def _factor(size: int, level: int) -> int:
    return 1 if size <= 32 else min(2**level, 16)


# --------------------------------------------------------------------------------------------------
# Blocks


class UpBlock(nn.Module):
    """A residual block to twice the size."""

    features: int
    norm: str
    weight_norm: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], train: bool, given: Condition
    ) -> Float[Array, "b h2 w2 o"]:
        y = nn.relu(normalise(self.norm, x, train, given))
        y = _conv(self, 3, change="upsample")(y)
        y = nn.relu(normalise(self.norm, y, train, given))
        y = _conv(self, 3)(y)
        return y + upsample(_conv(self, 1)(x))


class DownBlock(nn.Module):
    """A residual block, to half the size if `down`. The `first` takes images; it and a `wide` one
    have all features after the first convolution already."""

    features: int
    down: bool
    first: bool
    norm: str
    weight_norm: str
    wide: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], train: bool) -> Float[Array, "b h2 w2 o"]:
        def activate(x: Array) -> Array:
            return nn.relu(x if self.first else normalise(self.norm, x, train))

        y = x if self.first else activate(x)
        y = _conv(self, 3, self.features if self.first or self.wide else x.shape[-1])(y)
        y = _conv(self, 3, change="average_pool" if self.down else "")(activate(y))
        if self.down:
            x = average_pool(x)
        if self.down or x.shape[-1] != self.features:
            x = _conv(self, 1)(x)
        return x + y


class ToImage(nn.Module):
    """Norm (the same for all labels), ReLU, 3 x 3, tanh."""

    channels: int
    norm: str
    weight_norm: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], train: bool, given: Condition
    ) -> Float[Array, "b h w c"]:
        x = nn.relu(normalise(self.norm, x, train, Condition(given.z)))
        x = Conv(self.channels, 3, kernel_init=plain_init, weight_norm=self.weight_norm)(x)
        return jnp.tanh(x.astype(jnp.float32))


def _conv(of: UpBlock | DownBlock, size: int, features: int = 0, change: str = "") -> Conv:
    init = plain_init if size == 1 else branch_init
    features = features or of.features
    return Conv(features, size, change=change, kernel_init=init, weight_norm=of.weight_norm)
