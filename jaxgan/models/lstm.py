"""Recurrent networks that write and read sequences of symbols (Kusner and Hernández-Lobato 2016,
https://arxiv.org/abs/1611.04051): an LSTM each, with `width` hidden units.

The generator's first memory comes of the latents, and its input is the symbol before, as it was
chosen. In training a symbol is chosen by the Gumbel-softmax distribution (Jang et al. 2017,
Maddison et al. 2017) at `temperature`, which is no one-hot vector but has a gradient; with
`estimator` "straight_through" it is one-hot and has the gradient of the other. Without `train` it
is the symbol itself, drawn if there is a key, or else the most likely one. The temperature comes
from the algorithm.

The discriminator reads the sequence and judges by what it remembers at its end.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import parallel
from jaxgan.errors import UserError, lookup
from jaxgan.models.layers import Dense
from jaxgan.typing import Array, Float, Int


class Generator(nn.Module):
    image_shape: tuple[int, ...]  # symbols in a sequence, and kinds of them
    estimator: str
    width: int = 64
    temperature: Any = 1.0

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, "b l s"]:
        if len(self.image_shape) != 2:
            raise UserError("model.name: lstm writes sequences; take data.name=grammar")
        length, kinds = self.image_shape
        memory = jnp.tanh(Dense(self.width)(z)), jnp.tanh(Dense(self.width)(z))
        of_sequence = nn.scan(
            Symbol,
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            length=length,
            out_axes=1,
        )
        write = of_sequence(self.width, kinds, self.temperature, self.estimator, train)
        return write((memory, jnp.zeros((len(z), kinds), z.dtype)), None)[1]


class Symbol(nn.Module):
    """One more symbol of a sequence."""

    width: int
    kinds: int
    temperature: Any
    estimator: str
    train: bool

    @nn.compact
    def __call__(
        self, carry: tuple[Any, Float[Array, "b s"]], _: None
    ) -> tuple[Any, Float[Array, "b s"]]:
        memory, before = carry
        memory, hidden = nn.OptimizedLSTMCell(self.width)(memory, before)
        symbol = self._choose(Dense(self.kinds)(hidden).astype(jnp.float32))
        return (memory, symbol.astype(before.dtype)), symbol

    def _choose(self, logits: Float[Array, "b s"]) -> Float[Array, "b s"]:
        if self.has_rng("dropout"):
            logits += parallel.draw(jax.random.gumbel, self.make_rng("dropout"), logits.shape)
        if not self.train:
            return _one_hot(logits)
        soft = jax.nn.softmax(logits / self.temperature)
        return lookup(ESTIMATORS, self.estimator, "text.estimator")(soft)


class Discriminator(nn.Module):
    width: int = 64

    @nn.compact
    def __call__(
        self, x: Float[Array, "b l s"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, " b"]:
        hidden = jnp.asarray(nn.RNN(nn.OptimizedLSTMCell(self.width))(x))
        return Dense(1)(hidden[:, -1])[:, 0].astype(jnp.float32)


def _one_hot(x: Float[Array, "b s"]) -> Float[Array, "b s"]:
    return jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1])


ESTIMATORS: dict[str, Callable[[Array], Array]] = {
    "soft": lambda soft: soft,
    "straight_through": lambda soft: soft + jax.lax.stop_gradient(_one_hot(soft) - soft),
}
