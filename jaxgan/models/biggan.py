"""BigGAN (Brock, Donahue and Simonyan, ICLR 2019, https://arxiv.org/abs/1809.11096, appendix B).

The residual networks of SNGAN and SAGAN, wider: in the generator one embedding of the labels serves
all layers, and z is cut into a part for the dense layer and one for each block; the gains and
biases of a block's BatchNorm are linear in its part of z beside the label's embedding. The first
convolution of a discriminator's block has as many channels as the second. One map of each player
attends to itself, for images of 128 pixels that of 64. Spectral normalisation in both, orthogonal
first weights.

As in the authors' later code (BigGAN-PyTorch) the dense layer sees no label. z must have as many
dimensions as parts, or a multiple: 120 for 128 pixels.
"""

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Conv, Dense, Embed, block
from jaxgan.models.norms import BatchNorm, Condition, modulate
from jaxgan.models.resnet import (
    POOLINGS,
    DownBlock,
    ToImage,
    discriminator_features,
    generator_features,
)
from jaxgan.models.sagan import SelfAttention, attended_map
from jaxgan.ops.conv import upsample
from jaxgan.typing import Array, Float, Int, Labels

init = nn.initializers.orthogonal()


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    width: int = 96
    embedding: int = 128
    weight_norm: str = "spectral"
    attention: int = 64
    remat: bool = False

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b h w c"]:
        base, (first, *features) = generator_features(self.image_shape, self.width, "biggan")
        attended, parts = attended_map(self.image_shape[0], self.attention), 1 + len(features)
        if z.shape[1] % parts:
            raise UserError(
                f"z_dim: biggan cuts z into {parts} parts for this image, and {z.shape[1]} is no "
                f"multiple of it; try {-(-z.shape[1] // parts) * parts}"
            )
        own, *of_blocks = jnp.split(z, parts, 1)
        if self.num_classes:
            assert labels is not None
            shared = Embed(self.num_classes, self.embedding)(labels).astype(z.dtype)
            of_blocks = [jnp.concatenate([part, shared], 1) for part in of_blocks]
        x = Dense(base * base * first, True, init, self.weight_norm)(own)
        x = x.reshape(-1, base, base, first)
        for n, (each, given) in enumerate(zip(features, of_blocks, strict=True)):
            if x.shape[1] == attended:
                x = SelfAttention(weight_norm=self.weight_norm)(x)
            x = block(UpBlock, n, self.remat, static=(3,))(each, self.weight_norm)(x, given, train)
        return ToImage(self.image_shape[2], "batch", self.weight_norm)(x, train, Condition())


class Discriminator(nn.Module):
    num_classes: int = 0
    width: int = 96
    conditioning: str = "projection"
    weight_norm: str = "spectral"
    attention: int = 64
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        if self.num_classes and self.conditioning == "concat":
            raise UserError("model.discriminator.conditioning: biggan has no 'concat'; try sagan")
        size = x.shape[1]
        blocks = discriminator_features(x.shape[1:], self.width, "biggan")
        for n, (features, down) in enumerate(blocks):
            part = block(DownBlock, n, self.remat, static=(2,))
            x = part(features, down, n == 0, "none", self.weight_norm, wide=True)(x, train)
            if down and x.shape[1] == attended_map(size, self.attention):
                x = SelfAttention(weight_norm=self.weight_norm)(x)
        x = POOLINGS["sum"](nn.relu(x.astype(jnp.float32)))
        return Head(self.num_classes, self.conditioning, self.weight_norm, kernel_init=init)(
            x, labels
        )


class UpBlock(nn.Module):
    """A residual block to twice the size, modulated by `given`."""

    features: int
    weight_norm: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], given: Float[Array, "b d"], train: bool
    ) -> Float[Array, "b h2 w2 o"]:
        y = Modulated(self.weight_norm)(x, given, train)
        y = self._conv(3, "upsample")(nn.relu(y))
        y = Modulated(self.weight_norm)(y, given, train)
        y = self._conv(3)(nn.relu(y))
        return y + upsample(self._conv(1)(x))

    def _conv(self, size: int, change: str = "") -> Conv:
        return Conv(
            self.features, size, change=change, kernel_init=init, weight_norm=self.weight_norm
        )


class Modulated(nn.Module):
    """BatchNorm with gain and bias linear in `given`; the gain is the difference from 1."""

    weight_norm: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], given: Float[Array, "b d"], train: bool
    ) -> Float[Array, "b h w c"]:
        gain, bias = (
            Dense(x.shape[-1], False, init, self.weight_norm, name=name)(given)
            for name in ("gain", "bias")
        )
        return modulate(BatchNorm(0.9, affine=False)(x, train), gain, bias).astype(x.dtype)
