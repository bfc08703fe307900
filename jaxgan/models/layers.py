"""Layers that the networks share."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import lookup
from jaxgan.ops.conv import Pads, conv, conv_transpose
from jaxgan.typing import Array, Float, Int

# Radford et al. 2016, section 3: "All weights were initialized from a zero-centered Normal
# distribution with standard deviation 0.02."
normal_init = nn.initializers.normal(0.02)


class Conv(nn.Module):
    """Convolution with a `size` x `size` kernel; `padding` as in `ops.conv.conv`."""

    features: int
    size: int
    stride: int = 1
    padding: int | Pads | None = None
    use_bias: bool = True
    kernel_init: Callable = normal_init

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        return _biased(self, conv(x, kernel, self.stride, self.padding))


class ConvTranspose(nn.Module):
    """Transposed convolution to `stride` times the size with a `size` x `size` kernel."""

    features: int
    size: int
    stride: int = 2
    use_bias: bool = True
    kernel_init: Callable = normal_init

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        return _biased(self, conv_transpose(x, kernel, self.stride))


def _biased(module: Conv | ConvTranspose, x: Array) -> Array:
    if not module.use_bias:
        return x
    bias = module.param("bias", nn.initializers.zeros, (module.features,))
    return x + bias.reshape(1, 1, 1, -1)


def normalise(norm: str, x: Array, train: bool) -> Array:
    """Apply the normalisation called `norm` ("batch", "none") inside a compact module."""
    return lookup(NORMS, norm, "norm")(x, train)


def initializer(norm: str, upsample: int = 1) -> Callable:
    """The paper's small weights where a normalisation follows, He et al. 2015's where none does.

    `upsample` is the stride of a transposed convolution: one tap in its square meets a pixel.
    """
    if norm != "none":
        return normal_init
    return nn.initializers.variance_scaling(2.0 * upsample**2, "fan_in", "truncated_normal")


NORMS = {
    "batch": lambda x, train: nn.BatchNorm(use_running_average=not train, momentum=0.9)(x),
    "none": lambda x, train: x,
}


class LabelledLatent(nn.Module):
    """z beside an embedding of its label (Mirza and Osindero 2014); without classes z itself."""

    num_classes: int
    features: int

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Int[Array, " b"] | None
    ) -> Float[Array, "b d"]:
        if self.num_classes == 0:
            return z
        embedding = nn.Embed(
            self.num_classes, self.features, embedding_init=nn.initializers.normal(1)
        )
        return jnp.concatenate([z, embedding(labels)], -1)


# How the discriminator learns the label: whether by a term of its last layer, or with its input.
CONDITIONINGS = {"concat": False, "projection": True}

# Fields of networks that are names.
CHOICES: dict[str, Mapping[str, Any]] = {"norm": NORMS, "conditioning": CONDITIONINGS}


class Logit(nn.Module):
    """The discriminator's last layer, a linear map of its features.

    With classes and "projection" the inner product of the features with an embedding of the label
    is added (Miyato and Koyama 2018, equation 3).
    """

    num_classes: int
    conditioning: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "b d"], labels: Int[Array, " b"] | None
    ) -> Float[Array, " b"]:
        projected = lookup(CONDITIONINGS, self.conditioning, "conditioning")
        logits = nn.Dense(1, kernel_init=normal_init)(x)[:, 0]
        if self.num_classes and projected:
            embedding = nn.Embed(self.num_classes, x.shape[-1], embedding_init=normal_init)
            logits = logits + jnp.sum(embedding(labels) * x, -1)
        return logits
