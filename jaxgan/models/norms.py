"""Normalisations of activations, whose gain and bias may depend on the label or on the latents.

    batch           Ioffe and Szegedy 2015; statistics of the batch, running ones without `train`
    layer           Ba et al. 2016; of an example's pixels and channels together
    instance        Ulyanov et al. 2016; of each channel of an example
    pixel           Karras et al. 2018 (https://arxiv.org/abs/1710.10196); the vector at a pixel has
                    mean square 1; no parameters
    self_modulated  Chen et al. 2019 (https://arxiv.org/abs/1810.01365); batch, with gain and bias
                    from a network with one hidden layer of the latents

Gain and bias for each label ("conditional BatchNorm", Dumoulin et al. 2017, de Vries et al. 2017)
go with batch, layer and instance. The gain is kept as its difference from 1, so that all labels
begin with a gain of exactly 1 and a bias of 0, whatever the dtype of the parameters. So does
self-modulation: the last layers of its networks begin at 0.

Statistics are float32 whatever the input; the output has the input's dtype.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxgan.errors import UserError, lookup
from jaxgan.models.layers import Dense, rows
from jaxgan.parallel import statistics_axes
from jaxgan.typing import Array, Float, Labels


class Condition(struct.PyTreeNode):
    """What gain and bias may depend on: the latents (self-modulation), and the labels if any."""

    z: Float[Array, "b z"] | None = None
    labels: Labels | None = None
    num_classes: int = struct.field(pytree_node=False, default=0)


_NOTHING = Condition()


def normalise(
    norm: str, x: Array, train: bool, condition: Condition = _NOTHING, momentum: float = 0.9
) -> Array:
    """Apply the normalisation called `norm` inside a compact module; x is b d or b h w d.

    `momentum`: the decay of BatchNorm's running moments, by batches.
    """
    if not 0 < momentum < 1:
        raise UserError(f"model.*.momentum: {momentum} is not between 0 and 1")
    return lookup(NORMS, norm, "norm")(x, train, condition, momentum).astype(x.dtype)


def has_bias(norm: str) -> bool:
    """Whether the normalisation has a bias, so that the layer before it needs none."""
    return norm not in ("none", "pixel")


def _batch(x: Array, train: bool, condition: Condition, momentum: float) -> Array:
    layer = BatchNorm(momentum, affine=condition.labels is None)
    return _by_label(layer(x, train), condition)


def _layer(x: Array, train: bool, condition: Condition, momentum: float) -> Array:
    affine = condition.labels is None
    layer = nn.LayerNorm(
        epsilon=1e-5,
        reduction_axes=tuple(range(1, x.ndim)),
        feature_axes=-1,
        use_fast_variance=False,
        use_scale=affine,
        use_bias=affine,
    )
    return _by_label(layer(x), condition)


def _instance(x: Array, train: bool, condition: Condition, momentum: float) -> Array:
    if x.ndim == 2:
        raise UserError("model.*.norm: 'instance' is over pixels, and mlp has none; try 'layer'")
    affine = condition.labels is None
    layer = nn.InstanceNorm(
        epsilon=1e-5, use_fast_variance=False, use_scale=affine, use_bias=affine
    )
    return _by_label(layer(x), condition)


def _pixel(x: Array, train: bool, condition: Condition, momentum: float) -> Array:
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-8)


def _self_modulated(x: Array, train: bool, condition: Condition, momentum: float) -> Array:
    if condition.z is None:
        raise UserError(
            "model.*.norm: 'self_modulated' needs latents, which only the generator has"
        )
    return SelfModulation()(BatchNorm(momentum, affine=False)(x, train), condition.z)


def _by_label(x: Array, condition: Condition) -> Array:
    if condition.labels is None:
        return x
    return LabelModulation(condition.num_classes)(x, condition.labels)


class BatchNorm(nn.Module):
    """Over all but the last axis; its variables are those of Flax's.

    Gain and moments keep their shape (d,) up to where they meet x. (Reshaped before, as Flax does
    it, they keep XLA from seeing that a pass with gradients computes what one without them does,
    and simultaneous updates pass the same latents twice.)
    """

    momentum: float
    affine: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b *p d"], train: bool) -> Float[Array, "b *p d"]:
        shape, wide = x.shape[-1:], x.astype(jnp.float32)
        running = [
            self.variable("batch_stats", name, first, shape, jnp.float32)
            for name, first in (("mean", jnp.zeros), ("var", jnp.ones))
        ]
        mean, var = (each.value for each in running)
        if train:
            axes = tuple(range(x.ndim - 1))
            mean, square = jnp.mean(wide, axes), jnp.mean(jnp.square(wide), axes)
            if statistics_axes():
                mean, square = jax.lax.pmean((mean, square), statistics_axes())
            var = jnp.maximum(square - jnp.square(mean), 0)
            if not self.is_initializing():
                for each, now in zip(running, (mean, var), strict=True):
                    each.value = self.momentum * each.value + (1 - self.momentum) * now
        on_x = lambda each: jnp.expand_dims(each, range(x.ndim - 1))  # noqa: E731
        gain = jax.lax.rsqrt(var + 1e-5)
        if not self.affine:
            return (wide - on_x(mean)) * on_x(gain)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        return (wide - on_x(mean)) * on_x(gain * scale) + on_x(bias)


class LabelModulation(nn.Module):
    """A gain and a bias for each label and channel."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b *p d"], labels: Labels) -> Float[Array, "..."]:
        shape = (self.num_classes, x.shape[-1])
        gain, bias = (
            rows(self.param(name, nn.initializers.zeros, shape), labels)
            for name in ("gain", "bias")
        )
        return modulate(x, gain, bias)


class SelfModulation(nn.Module):
    """A gain and a bias for each example and channel, computed from its latents."""

    hidden: int = 32  # the paper's

    @nn.compact
    def __call__(self, x: Float[Array, "b *p d"], z: Float[Array, "b z"]) -> Float[Array, "..."]:
        hidden = nn.relu(Dense(self.hidden)(z))
        gain, bias = (
            Dense(x.shape[-1], kernel_init=nn.initializers.zeros, name=name)(hidden)
            for name in ("gain", "bias")
        )
        return modulate(x, gain, bias)


def modulate(x: Array, gain: Float[Array, "b d"], bias: Float[Array, "b d"]) -> Array:
    """`gain` is the difference from 1."""
    gain, bias = (
        each.astype(jnp.float32).reshape(x.shape[0], *(1,) * (x.ndim - 2), -1)
        for each in (gain, bias)
    )
    return x.astype(jnp.float32) * (1 + gain) + bias


NORMS: dict[str, Callable] = {
    "none": lambda x, *_: x,
    "batch": _batch,
    "layer": _layer,
    "instance": _instance,
    "pixel": _pixel,
    "self_modulated": _self_modulated,
}

# Those that can learn a gain and a bias for each label.
CONDITIONAL = ("batch", "layer", "instance", "self_modulated")
