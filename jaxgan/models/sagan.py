"""SAGAN (Zhang et al., ICML 2019, https://arxiv.org/abs/1805.08318): self-attention.

The residual networks of resnet.py with attention on one map of each player, spectral normalisation
in both, BatchNorm with a gain and bias for each label in the generator and the projection of Miyato
and Koyama 2018 in the discriminator. The paper's images have 128 pixels and its map 32; here it is
the largest map of at most `attention` pixels along a side that is not the image itself (the
smallest where none is: 14 for 28, 16 for 32, 32 for 64).

The paper gives queries, keys and values an eighth of the channels; here, as in its code, values
have half, and keys and values are the maxima over 2 x 2 pixels (`pooled`; a last odd row is left
out). The 1 x 1 convolutions of the attention have no bias.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import lookup
from jaxgan.models.conditions import condition, with_label_channel
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Conv, Dense, block
from jaxgan.models.resnet import (
    POOLINGS,
    DownBlock,
    ToImage,
    UpBlock,
    discriminator_features,
    discriminator_maps,
    generator_features,
    plain_init,
)
from jaxgan.typing import Array, Float, Int, Labels


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    width: int = 64
    embedding: int = 50
    norm: str = "batch"
    conditioning: str = "norm"
    weight_norm: str = "spectral"
    attention: int = 32
    pooled: bool = True
    remat: bool = False

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b h w c"]:
        base, (first, *features) = generator_features(self.image_shape, self.width, "sagan")
        attended = attended_map(self.image_shape[0], self.attention)
        x, given = condition(
            self.conditioning, self.norm, z, labels, self.num_classes, self.embedding
        )
        x = Dense(base * base * first, True, plain_init, self.weight_norm)(x)
        x = x.reshape(-1, base, base, first)
        for n, each in enumerate(features):
            if x.shape[1] == attended:
                x = SelfAttention(self.pooled, self.weight_norm)(x)
            up = block(UpBlock, n, self.remat, static=(2,))
            x = up(each, self.norm, self.weight_norm)(x, train, given)
        return ToImage(self.image_shape[2], self.norm, self.weight_norm)(x, train, given)


class Discriminator(nn.Module):
    num_classes: int = 0
    width: int = 64
    norm: str = "none"
    conditioning: str = "projection"
    weight_norm: str = "spectral"
    pooling: str = "sum"
    attention: int = 32
    pooled: bool = True
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        size = x.shape[1]
        if self.num_classes and self.conditioning == "concat":
            x = with_label_channel(x, labels, self.num_classes)
        blocks = discriminator_features(x.shape[1:], self.width, "sagan")
        for n, (features, down) in enumerate(blocks):
            part = block(DownBlock, n, self.remat, static=(2,))
            x = part(features, down, n == 0, self.norm, self.weight_norm)(x, train)
            if down and x.shape[1] == attended_map(size, self.attention):
                x = SelfAttention(self.pooled, self.weight_norm)(x)
        x = lookup(POOLINGS, self.pooling, "pooling")(nn.relu(x.astype(jnp.float32)))
        return Head(self.num_classes, self.conditioning, self.weight_norm, kernel_init=plain_init)(
            x, labels
        )


def attended_map(size: int, attention: int) -> int:
    """The pixels along a side of the map that attends to itself; both players have it."""
    maps = [each for each in discriminator_maps(size) if each >= 4]
    return max([each for each in maps if each <= attention], default=maps[-1])


class SelfAttention(nn.Module):
    """x + gamma v(softmax(f(x)^T g(x)) h(x)) (equations 1 to 3); gamma begins at 0."""

    pooled: bool = True
    weight_norm: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        narrow, half = max(c // 8, 1), max(c // 2, 1)
        queries, keys, values = (
            self._conv(features, name)(x)
            for features, name in ((narrow, "queries"), (narrow, "keys"), (half, "values"))
        )
        if self.pooled:
            keys, values = max_pool(keys), max_pool(values)
        queries, keys, values = (y.reshape(b, -1, y.shape[-1]) for y in (queries, keys, values))
        scores = jnp.einsum("bqd,bkd->bqk", queries, keys, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores).astype(x.dtype)
        y = self._conv(c, "output")((weights @ values).reshape(b, h, w, half))
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + gamma.astype(x.dtype) * y

    def _conv(self, features: int, name: str) -> Conv:
        return Conv(
            features,
            size=1,
            use_bias=False,
            kernel_init=plain_init,
            weight_norm=self.weight_norm,
            name=name,
        )


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """The maxima over 2 x 2 pixels."""
    b, h, w, c = x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    x = x[:, : 2 * h, : 2 * w].reshape(b, h, 2, w, 2, c)
    return jnp.max(x, (2, 4))
