"""Fully connected networks (Goodfellow et al., NIPS 2014; Mirza and Osindero, 2014).

https://arxiv.org/abs/1406.2661 and https://arxiv.org/abs/1411.1784. The generator's hidden layers
are ReLU as in the papers, with BatchNorm where asked for; the discriminator's are LeakyReLU 0.2
in place of the papers' maxout and dropout (goodfellow.py has them to the letter).

Other fields give the toy networks of other papers: PacGAN's discriminator (Lin et al. 2018) is
`activation` "maxout" with 5 `pieces` and `initial` "normal"; that of unrolled GANs (Metz et al.
2017) "tanh" with `initial` "orthogonal" and `gain` 1.4.

Labels enter by the field `conditioning`, see conditions.py and heads.py. In the discriminator's
"concat", the papers' form, the label's embedding is joined to the pixels, as it is in the encoder.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import lookup
from jaxgan.models.conditions import condition
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Dense, Gaussian, image_of, normal_init
from jaxgan.models.norms import has_bias, normalise
from jaxgan.typing import Array, Float, Int, Labels


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    features: tuple[int, ...] = (256, 512, 1024)
    embedding: int = 50
    norm: str = "batch"
    momentum: float = 0.9
    conditioning: str = "embedding"
    weight_norm: str = "none"
    activation: str = "relu"
    initial: str = "default"
    gain: float = 1.0
    output: str = "tanh"

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b ..."]:
        activation = lookup(GENERATOR_ACTIVATIONS, self.activation, "activation")
        init = lookup(INITIALS, self.initial, "initial")(self.gain)
        x, given = condition(
            self.conditioning, self.norm, z, labels, self.num_classes, self.embedding
        )
        for features in self.features:
            x = Dense(features, not has_bias(self.norm), init, self.weight_norm)(x)
            x = activation(normalise(self.norm, x, train, given, self.momentum))
        x = Dense(math.prod(self.image_shape), True, init, self.weight_norm)(x)
        # Pixels lie in [-1, 1], points anywhere.
        x = image_of(self.output if len(self.image_shape) > 1 else "linear", x)
        return x.reshape(-1, *self.image_shape)


class Discriminator(nn.Module):
    num_classes: int = 0
    features: tuple[int, ...] = (512, 256)
    embedding: int = 50
    norm: str = "none"
    conditioning: str = "concat"
    weight_norm: str = "none"
    activation: str = "leaky_relu"
    pieces: int = 5
    initial: str = "default"
    gain: float = 1.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        x = _hidden(self, x, labels if self.conditioning == "concat" else None, train)
        init = lookup(INITIALS, self.initial, "initial")(self.gain)
        last = normal_init if self.initial == "default" else init
        head = Head(
            self.num_classes,
            self.conditioning,
            self.weight_norm,
            kernel_init=last,
            name="Logit_0",
        )
        return head(x, labels)


class Encoder(nn.Module):
    """Means and log variances of latents (Kingma and Welling 2014, appendix C.2)."""

    z_dim: int
    num_classes: int = 0
    features: tuple[int, ...] = (512, 256)
    embedding: int = 50
    norm: str = "none"
    weight_norm: str = "none"
    activation: str = "leaky_relu"
    pieces: int = 5
    initial: str = "default"
    gain: float = 1.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ..."], labels: Int[Array, " b"] | None, train: bool
    ) -> tuple[Float[Array, "b z"], Float[Array, "b z"]]:
        x = _hidden(self, x, labels, train)
        init = lookup(INITIALS, self.initial, "initial")(self.gain)
        return Gaussian(self.z_dim, init, self.weight_norm)(x)


def _hidden(
    network: Discriminator | Encoder, x: Array, labels: Array | None, train: bool
) -> Float[Array, "b d"]:
    """The hidden layers, with labels that are joined to the input."""
    activation = lookup(DISCRIMINATOR_ACTIVATIONS, network.activation, "activation")
    init = lookup(INITIALS, network.initial, "initial")(network.gain)
    pieces = network.pieces if network.activation == "maxout" else 1
    x = x.reshape(x.shape[0], -1)
    if network.num_classes and labels is not None:
        label = nn.Embed(network.num_classes, network.embedding)(labels)
        x = jnp.concatenate([x, label.astype(x.dtype)], -1)
    for features in network.features:
        x = Dense(features * pieces, not has_bias(network.norm), init, network.weight_norm)(x)
        x = normalise(network.norm, x, train)
        x = activation(x.reshape(-1, pieces, features) if pieces > 1 else x)
    return x


@jax.custom_vjp
def maxout(x: Float[Array, "b p d"]) -> Float[Array, "b d"]:
    """Goodfellow et al. 2013: of each feature's p linear maps the largest.

    Of equal ones each gets the whole gradient; `jax.jvp` is not defined. (On CPU XLA's own, which
    shares it among them, takes one and a half times as long; along the last axis five times.)
    """
    return jnp.max(x, 1)


def _maxout_fwd(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = maxout(x)
    return y, (x, y)


def _maxout_bwd(residuals: tuple[Array, Array], dy: Array) -> tuple[Array]:
    x, y = residuals
    return (jnp.where(x == y[:, None], dy[:, None], 0),)


maxout.defvjp(_maxout_fwd, _maxout_bwd)


GENERATOR_ACTIVATIONS: dict[str, Callable] = {"relu": nn.relu, "tanh": nn.tanh}

DISCRIMINATOR_ACTIVATIONS: dict[str, Callable] = {
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "relu": nn.relu,
    "tanh": nn.tanh,
    "maxout": lambda x: maxout(x) if x.ndim > 2 else x,
}

# First weights; `gain` multiplies them.
INITIALS: dict[str, Callable] = {
    # LeCun et al. 1998, Flax's own; the discriminator's last layer is N(0, 0.02^2)
    "default": lambda gain: nn.initializers.variance_scaling(gain**2, "fan_in", "truncated_normal"),
    "normal": lambda gain: nn.initializers.normal(0.02 * gain),
    "orthogonal": nn.initializers.orthogonal,
}
