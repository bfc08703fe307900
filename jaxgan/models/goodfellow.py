"""The fully connected networks of 2014, with maxout and dropout.

Of the first GAN (Goodfellow et al., https://arxiv.org/abs/1406.2661), which are in its code: a
generator of two layers of 1,200 ReLUs, a discriminator of two of 240 maxout units of five pieces,
dropout of 0.2 on its images and one half after its layers.

Of the conditional GAN (Mirza and Osindero, https://arxiv.org/abs/1411.1784, section 4.1): in the
generator latents to 200 and labels to 1,000 ReLUs, both to 1,200; in the discriminator images to
240 maxout units of five pieces and labels to 50 of five, both to 240 of four; dropout of one half
in both (fields `latent_features` 200, `joint_pieces` 4, `dropout` 0.5).

Pixels are in [0, 1] between the two, from a sigmoid. First weights are normal, of the deviation of
the code's uniform ones. Its last bias begins at each pixel's mean, ours at `pixel_mean`. Its
latents are uniform in +-sqrt(3): those in +-1 (`latent="uniform"`) by a `latent_scale` of 1.732.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Dense, check_images, codes, dropout
from jaxgan.models.mlp import maxout
from jaxgan.typing import Array, Float, Int, Labels


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    latent_features: int = 1200
    label_features: int = 1000
    features: int = 1200
    dropout: float = 0.0
    deviation: float = 0.029  # of the first weights; +-0.05
    pixel_mean: float = 0.5  # of the first images
    latent_scale: float = 1.0  # what the latents are multiplied by

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b ..."]:
        check_images(self.image_shape, "goodfellow")
        if not 0 < self.pixel_mean < 1:
            mean = self.pixel_mean
            raise UserError(f"model.generator.pixel_mean: {mean} is not between 0 and 1")
        init = nn.initializers.normal(self.deviation)

        def hidden(x: Array, features: int) -> Array:
            return dropout(self, nn.relu(Dense(features, kernel_init=init)(x)), self.dropout)

        parts = [hidden(self.latent_scale * z, self.latent_features)]
        if self.num_classes:
            assert labels is not None
            one_hot = codes(labels, self.num_classes, z.dtype)
            parts.append(hidden(one_hot, self.label_features))
        x = hidden(jnp.concatenate(parts, -1), self.features)
        x = Dense(math.prod(self.image_shape), kernel_init=init)(x)
        logit = math.log(self.pixel_mean / (1 - self.pixel_mean))
        pixels = nn.sigmoid(x.astype(jnp.float32) + logit)
        return (2 * pixels - 1).reshape(-1, *self.image_shape)


class Discriminator(nn.Module):
    num_classes: int = 0
    image_features: int = 240
    label_features: int = 50
    features: int = 240
    pieces: int = 5
    joint_pieces: int = 5
    input_dropout: float = 0.2
    dropout: float = 0.5
    deviation: float = 0.0029  # +-0.005

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        init = nn.initializers.normal(self.deviation)

        def hidden(x: Array, features: int, pieces: int) -> Array:
            x = Dense(features * pieces, kernel_init=init)(x)
            return dropout(self, maxout(x.reshape(-1, pieces, features)), self.dropout)

        pixels = (x.reshape(x.shape[0], -1) + 1) / 2
        parts = [
            hidden(dropout(self, pixels, self.input_dropout), self.image_features, self.pieces)
        ]
        if self.num_classes:
            one_hot = jax.nn.one_hot(labels, self.num_classes, dtype=x.dtype)
            parts.append(hidden(one_hot, self.label_features, self.pieces))
        x = hidden(jnp.concatenate(parts, -1), self.features, self.joint_pieces)
        return Head(0, "concat", kernel_init=init)(x, None)
