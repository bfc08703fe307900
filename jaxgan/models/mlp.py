"""Fully connected networks (Goodfellow et al., NIPS 2014; Mirza and Osindero, 2014).

https://arxiv.org/abs/1406.2661 and https://arxiv.org/abs/1411.1784. The generator's hidden layers
are ReLU as in the papers, with BatchNorm where asked for; the discriminator's are LeakyReLU 0.2 in
place of the papers' maxout, with their dropout left out.

With classes the label's embedding is joined to z, and in the discriminator to the pixels
("concat", the paper's form), or it enters as a projection (Miyato and Koyama 2018, "projection").
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.models.layers import LabelledLatent, Logit, normalise
from jaxgan.typing import Array, Float, Int


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    features: tuple[int, ...] = (256, 512, 1024)
    embedding: int = 50
    norm: str = "batch"

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, "b ..."]:
        x = LabelledLatent(self.num_classes, self.embedding)(z, labels)
        for features in self.features:
            x = nn.Dense(features, use_bias=self.norm == "none")(x)
            x = nn.relu(normalise(self.norm, x, train))
        x = nn.Dense(math.prod(self.image_shape))(x)
        if len(self.image_shape) > 1:  # pixels lie in [-1, 1], points anywhere
            x = jnp.tanh(x)
        return x.reshape(-1, *self.image_shape)


class Discriminator(nn.Module):
    num_classes: int = 0
    features: tuple[int, ...] = (512, 256)
    embedding: int = 50
    norm: str = "none"
    conditioning: str = "concat"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, " b"]:
        x = x.reshape(x.shape[0], -1)
        if self.num_classes and self.conditioning == "concat":
            x = jnp.concatenate([x, nn.Embed(self.num_classes, self.embedding)(labels)], -1)
        for features in self.features:
            x = nn.Dense(features, use_bias=self.norm == "none")(x)
            x = nn.leaky_relu(normalise(self.norm, x, train), 0.2)
        return Logit(self.num_classes, self.conditioning)(x, labels)
