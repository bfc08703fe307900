"""R3GAN (Huang et al., NeurIPS 2024, https://arxiv.org/abs/2501.05441), its networks "config E".

Stages from 4 x 4 pixels (or a base of up to 7) to the image, with `widths` and `cardinalities` (the
groups of the 3 x 3) from the smallest map up, the same for both players. A stage is `blocks`
inverted bottlenecks without normalisation:

    x + conv1x1(lrelu(bias + grouped conv3x3(lrelu(bias + conv1x1(x)))))      inside `expansion` x

The last kernel begins at 0 and the others with He's scale times (all blocks of the network)^(-1/4),
which is Fixup's L^(-1 / (2 m - 2)) for branches of m = 3 layers (Zhang et al. 2019). Between stages
maps double by interpolation or halve by the filter [1, 2, 1] / 4, and a 1 x 1 convolution follows
where the widths differ (it is taken on the smaller map, which gives the same).

The generator begins with a learned 4 x 4 map, each channel times a linear map of z and of the
label's embedding, and ends with a 1 x 1 convolution and no tanh: images are not confined to
[-1, 1]. The discriminator ends with one 4 x 4 filter a channel and a linear layer, to the logit or,
where it projects, to as many features as the widest stage has, whose inner product with the label's
embedding is the logit: as in the authors' code there is no term without the label, which Miyato and
Koyama 2018 have. Biases are in the branches and in the logit's layer alone (theirs has none).
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from jaxgan.errors import UserError
from jaxgan.models.conditions import LabelledLatent, with_label_channel
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Conv, Dense, Embed, block, pyramid
from jaxgan.ops.conv import grouped_conv
from jaxgan.typing import Array, Float, Int, Labels

SLOPE = 0.2
BRANCH_LAYERS = 3
linear_init = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    widths: tuple[int, ...] = (768, 768, 768, 768)
    cardinalities: tuple[int, ...] = (96, 96, 96, 96)
    blocks: int = 2
    expansion: int = 2
    embedding: int = 64
    remat: bool = False

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b h w c"]:
        base = _base(self, self.image_shape, "generator")
        z = LabelledLatent(self.num_classes, self.embedding)(z, labels)
        start = self.param("basis", nn.initializers.normal(1), (base, base, self.widths[0]))
        scale = Dense(self.widths[0], use_bias=False, kernel_init=linear_init)(z)
        x = start.astype(z.dtype)[None] * scale[:, None, None]
        for stage, (width, groups) in enumerate(zip(self.widths, self.cardinalities, strict=True)):
            if stage > 0:
                x = upsample(_convert(x, width))
            for n in range(self.blocks):
                each = block(Block, stage * self.blocks + n, self.remat)
                x = each(groups, self.expansion, self.blocks * len(self.widths))(x)
        return _convert(x, self.image_shape[2], always=True).astype(jnp.float32)


class Discriminator(nn.Module):
    num_classes: int = 0
    widths: tuple[int, ...] = (768, 768, 768, 768)
    cardinalities: tuple[int, ...] = (96, 96, 96, 96)
    blocks: int = 2
    expansion: int = 2
    conditioning: str = "projection"
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        base = _base(self, x.shape[1:], "discriminator")
        if self.num_classes and self.conditioning == "concat":
            x = with_label_channel(x, labels, self.num_classes)
        stages = list(zip(self.widths, self.cardinalities, strict=True))[::-1]
        x = _convert(x, stages[0][0], always=True)
        for stage, (width, groups) in enumerate(stages):
            if stage > 0:
                x = _convert(downsample(x), width)
            for n in range(self.blocks):
                each = block(Block, stage * self.blocks + n, self.remat)
                x = each(groups, self.expansion, self.blocks * len(self.widths))(x)
        # He's scale for one channel's base x base inputs.
        basis = self.param("basis", nn.initializers.normal(1 / base), x.shape[1:])
        x = jnp.sum(x.astype(jnp.float32) * basis.astype(jnp.float32)[None], (1, 2))
        if labels is not None and self.num_classes and self.conditioning == "projection":
            size = max(self.widths)
            init = nn.initializers.normal((size * self.num_classes) ** -0.5)
            embedding = Embed(self.num_classes, size, init)(labels)
            return jnp.sum(Dense(size, False, linear_init)(x) * embedding, -1)
        return Head(self.num_classes, self.conditioning, kernel_init=linear_init)(x, labels)


class Block(nn.Module):
    """The inverted bottleneck. `network_blocks`: how many the whole network has."""

    groups: int
    expansion: int
    network_blocks: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h w d"]:
        shrink = self.network_blocks ** (-2 / (2 * BRANCH_LAYERS - 2))  # of variances
        gain = 2 / (1 + SLOPE**2)  # He et al. 2015 for leaky ReLUs
        init = nn.initializers.variance_scaling(gain * shrink, "fan_in", "normal")
        inner = x.shape[-1] * self.expansion
        y = Conv(inner, 1, kernel_init=init, name="expand")(x)
        y = nn.leaky_relu(y, SLOPE)
        kernel = self.param("grouped_kernel", init, (3, 3, inner // self.groups, inner))
        bias = self.param("bias", nn.initializers.zeros, (inner,))
        y = grouped_conv(y, kernel.astype(y.dtype)) + bias.astype(y.dtype).reshape(1, 1, 1, -1)
        y = nn.leaky_relu(y, SLOPE)
        zeros = nn.initializers.zeros
        return x + Conv(x.shape[-1], 1, use_bias=False, kernel_init=zeros, name="project")(y)


def _base(network: Generator | Discriminator, image_shape: tuple[int, ...], role: str) -> int:
    """The smallest map's pixels; raises UserError where the fields do not fit the image."""
    base, levels = pyramid(image_shape, "r3gan")
    widths, cardinalities = network.widths, network.cardinalities
    if len(widths) != levels + 1:
        raise UserError(
            f"model.{role}.widths: {image_shape[0]} pixels are {levels + 1} stages from "
            f"{base} x {base} up, and these are {len(widths)} widths"
        )
    if len(cardinalities) != len(widths):
        raise UserError(
            f"model.{role}.cardinalities: there are {len(widths)} widths and "
            f"{len(cardinalities)} cardinalities; give one for each"
        )
    for width, groups in zip(widths, cardinalities, strict=True):
        if width * network.expansion % groups:
            raise UserError(
                f"model.{role}.cardinalities: {groups} groups do not divide {network.expansion} x "
                f"{width} features"
            )
    return base


def _convert(x: Array, width: int, always: bool = False) -> Array:
    """A 1 x 1 convolution where the widths differ, or `always`; inside a compact module."""
    if x.shape[-1] == width and not always:
        return x
    return Conv(width, 1, use_bias=False, kernel_init=linear_init)(x)


# --------------------------------------------------------------------------------------------------
# Resampling by [1, 2, 1], one axis after the other; zeros lie beyond the edges


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Twice the size by interpolation: pixel 2 i is x[i], pixel 2 i + 1 the mean of its two."""
    for axis in (1, 2):
        between = (x + _shift(x, axis, -1)) / 2
        shape = [2 * n if a == axis else n for a, n in enumerate(x.shape)]
        x = jnp.stack([x, between], axis + 1).reshape(shape)
    return x


def downsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Half the size: pixel i is x[2 i - 1] / 4 + x[2 i] / 2 + x[2 i + 1] / 4, the adjoint of
    `upsample` but for its scale."""
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        even, odd = (lax.index_in_dim(pairs, n, axis + 1, keepdims=False) for n in (0, 1))
        x = even / 2 + (odd + _shift(odd, axis, 1)) / 4
    return x


def _shift(x: Array, axis: int, by: int) -> Array:
    """x moved by `by` (1 or -1) pixels along the axis, a zero behind it."""
    zero = jnp.zeros((), x.dtype)
    edges = [(by, -by, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
    return lax.pad(x, zero, edges)
