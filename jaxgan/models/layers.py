"""Layers that the networks share. Their weights may be normalised (field `weight_norm`):

* "spectral", Miyato et al. 2018 (https://arxiv.org/abs/1802.05957): W / sigma(W), sigma the largest
  singular value of the kernel as a matrix of (inputs x taps) and outputs. Every call makes one step
  of the power iteration from the stored u. The collection "spectral" keeps u and sigma, and only a
  call in which it is mutable changes them.
* "weight", Salimans and Kingma 2016 (https://arxiv.org/abs/1602.07868): g v / |v| for each output.

Both are computed in float32. A layer's arithmetic has its input's dtype, and weights follow it.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import parallel
from jaxgan.errors import UserError, lookup
from jaxgan.ops.conv import Pads, conv, conv_average_pool, conv_transpose, upsample_conv
from jaxgan.ops.conv1d import conv_1d, conv_transpose_1d
from jaxgan.ops.dense import product
from jaxgan.typing import Array, Float, Labels

# Radford et al. 2016, section 3: "All weights were initialized from a zero-centered Normal
# distribution with standard deviation 0.02."
normal_init = nn.initializers.normal(0.02)

# Flax's own for dense layers and for embeddings.
dense_init = nn.initializers.lecun_normal()
embedding_init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)

# Power iterations before the first step: a random direction would give far too small a sigma.
_FIRST_ITERATIONS = 20


class Conv(nn.Module):
    """Convolution with a `size` x `size` kernel; `stride` and `padding` as in `ops.conv.conv`, or a
    `change` of size: "upsample" before it, "average_pool" after it."""

    features: int
    size: int
    stride: int = 1
    padding: int | Pads | None = None
    change: str = ""
    use_bias: bool = True
    kernel_init: Callable = normal_init
    weight_norm: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = _weight(self, "kernel", self.kernel_init, shape).astype(x.dtype)
        if self.change:
            return _biased(self, CHANGES[self.change](x, kernel))
        return _biased(self, conv(x, kernel, self.stride, self.padding))


class ConvTranspose(nn.Module):
    """Transposed convolution to `stride` times the size with a `size` x `size` kernel."""

    features: int
    size: int
    stride: int = 2
    use_bias: bool = True
    kernel_init: Callable = normal_init
    weight_norm: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = _weight(self, "kernel", self.kernel_init, shape).astype(x.dtype)
        return _biased(self, conv_transpose(x, kernel, self.stride))


class Conv1D(nn.Module):
    """Convolution of sequences with a kernel of `size` samples, to 1 / `stride` of the length."""

    features: int
    size: int
    stride: int
    kernel_init: Callable
    weight_norm: str = "none"

    use_bias = True

    @nn.compact
    def __call__(self, x: Float[Array, "b l i"]) -> Float[Array, "b l2 o"]:
        shape = (self.size, x.shape[-1], self.features)
        kernel = _weight(self, "kernel", self.kernel_init, shape).astype(x.dtype)
        return _biased(self, self.convolve(x, kernel))

    def convolve(self, x: Array, kernel: Array) -> Array:
        return conv_1d(x, kernel, self.stride)


class ConvTranspose1D(Conv1D):
    """Transposed convolution of sequences to `stride` times the length."""

    def convolve(self, x: Array, kernel: Array) -> Array:
        return conv_transpose_1d(x, kernel, self.stride)


class Dense(nn.Module):
    features: int
    use_bias: bool = True
    kernel_init: Callable = dense_init
    weight_norm: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b i"]) -> Float[Array, "b o"]:
        shape = (x.shape[-1], self.features)
        kernel = _weight(self, "kernel", self.kernel_init, shape).astype(x.dtype)
        return _biased(self, product(x, kernel))


class Gaussian(nn.Module):
    """Means and log variances of `z_dim` independent normal variables, float32 whatever the
    features."""

    z_dim: int
    kernel_init: Callable = dense_init
    weight_norm: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> tuple[Float[Array, "b z"], Float[Array, "b z"]]:
        dense = Dense(2 * self.z_dim, True, self.kernel_init, self.weight_norm)
        mean, log_variance = jnp.split(dense(x.astype(jnp.float32)), 2, -1)
        return mean, log_variance


class Embed(nn.Module):
    """A vector for each label: the linear map of its one-hot code."""

    num_classes: int
    features: int
    embedding_init: Callable = embedding_init
    weight_norm: str = "none"

    @nn.compact
    def __call__(self, labels: Labels) -> Float[Array, "b d"]:
        shape = (self.num_classes, self.features)
        return rows(_weight(self, "embedding", self.embedding_init, shape), labels)


def rows(table: Float[Array, "n d"], labels: Labels) -> Float[Array, "b d"]:
    """Each label's row of the table; of shares of classes, the mean of the rows by them."""
    if labels.ndim == 1:
        return jnp.take(table, labels, axis=0)
    return jnp.matmul(labels.astype(table.dtype), table, precision="highest")


def codes(labels: Labels, num_classes: int, dtype: Any) -> Float[Array, "b n"]:
    """Labels' one-hot codes; shares of classes are their own."""
    shares = labels if labels.ndim == 2 else jax.nn.one_hot(labels, num_classes)
    return shares.astype(dtype)


def dropout(module: Any, x: Float[Array, "..."], rate: float) -> Float[Array, "..."]:
    """Srivastava et al. 2014: an element is 0 with probability `rate`, or else divided by 1 - rate;
    of a module that is applied with a key "dropout", and x itself without one. Raises UserError for
    a rate that is none."""
    if not 0 <= rate < 1:
        raise UserError(f"model.*.dropout: {rate} is not between 0 and 1, without 1 itself")
    if not rate or not module.has_rng("dropout"):
        return x
    kept = lambda key, shape: jax.random.bernoulli(key, 1 - rate, shape)  # noqa: E731
    return jnp.where(parallel.draw(kept, module.make_rng("dropout"), x.shape), x / (1 - rate), 0)


def image_of(output: str, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The last layer's output as an image, float32: within -1 to 1, or as it is."""
    return lookup(OUTPUTS, output, "output")(x.astype(jnp.float32))


OUTPUTS: dict[str, Callable] = {"tanh": jnp.tanh, "linear": lambda x: x}

CHANGES: dict[str, Callable] = {"upsample": upsample_conv, "average_pool": conv_average_pool}


def _biased(module: Any, x: Array) -> Array:
    if not module.use_bias:
        return x
    bias = module.param("bias", nn.initializers.zeros, (module.features,))
    return x + bias.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


# --------------------------------------------------------------------------------------------------
# Normalised weights; the last axis of a weight is its outputs


def _weight(module: Any, name: str, init: Callable, shape: tuple[int, ...]) -> Array:
    w = module.param(name, init, shape)
    return lookup(WEIGHT_NORMS, module.weight_norm, "weight_norm")(module, w).astype(w.dtype)


def _spectral(module: Any, w: Array) -> Array:
    matrix = w.astype(jnp.float32).reshape(-1, w.shape[-1])

    def first() -> Array:
        u = jax.random.normal(module.make_rng("params"), (matrix.shape[1],))
        return jax.lax.fori_loop(0, _FIRST_ITERATIONS, lambda _, u: _power(matrix, u)[1], u)

    stored_u = module.variable("spectral", "u", first)
    stored_sigma = module.variable("spectral", "sigma", lambda: jnp.ones(()))
    # The gradient of sigma = v^T W u with u and v held fixed is that of the singular value (eq. 11)
    v, u = jax.lax.stop_gradient(_power(matrix, stored_u.value))
    sigma = jnp.vdot(v, _product(matrix, u))
    if module.is_mutable_collection("spectral"):
        stored_u.value, stored_sigma.value = u, jax.lax.stop_gradient(sigma)
    return w.astype(jnp.float32) / sigma


def _power(matrix: Float[Array, "i o"], u: Float[Array, " o"]) -> tuple[Array, Array]:
    """One step of the power iteration (appendix A, algorithm 1): the left and right directions."""
    v = unit(_product(matrix, u))
    return v, unit(_product(matrix.T, v))


def _product(matrix: Float[Array, "i o"], u: Float[Array, " o"]) -> Float[Array, " i"]:
    return jnp.matmul(matrix, u, precision="highest")


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """x / |x| along the last axis; its derivative is finite at 0 too."""
    square = jnp.sum(jnp.square(x), -1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def _lengths(module: Any, w: Array) -> Array:
    v = w.astype(jnp.float32)
    length = jnp.sqrt(jnp.sum(jnp.square(v), tuple(range(v.ndim - 1))))
    g = module.param("g", lambda key: length)
    return v * (g.astype(jnp.float32) / length).reshape((1,) * (v.ndim - 1) + (-1,))


WEIGHT_NORMS: dict[str, Callable] = {
    "none": lambda module, w: w,
    "spectral": _spectral,
    "weight": _lengths,
}


# --------------------------------------------------------------------------------------------------
# Memory


def block(kind: type[nn.Module], number: int, remat: bool, static: tuple[int, ...] = ()) -> Any:
    """The class of a network's block `number`. With `remat` its activations are not kept for the
    gradient but computed anew, all but its input. (On CPU XLA finds both computations the same and
    keeps them after all.)

    `static` are the places of its call's arguments, after self, that are no arrays. Parameters have
    the same names either way.
    """
    chosen = nn.remat(kind, static_argnums=static) if remat else kind
    return functools.partial(chosen, name=f"{kind.__name__}_{number}")


# --------------------------------------------------------------------------------------------------
# Initial weights, sizes


def initializer(norm: str, upsample: int = 1) -> Callable:
    """The paper's small weights where a normalisation follows, He et al. 2015's where none does.

    `upsample` is the stride of a transposed convolution: one tap in its square meets a pixel.
    """
    if norm != "none":
        return normal_init
    return nn.initializers.variance_scaling(2.0 * upsample**2, "fan_in", "truncated_normal")


def check_images(image_shape: tuple[int, ...], model: str, does: str = "draws") -> None:
    """Raises UserError for points and sounds."""
    if len(image_shape) != 3:
        raise UserError(
            f"model.name: {model} {does} images, which these data are not; mlp draws points, "
            f"wavegan sounds"
        )


def pyramid(image_shape: tuple[int, ...], model: str) -> tuple[int, int]:
    """The base (4 to 7 pixels) and the number of doublings that lead from it to the image.

    Raises UserError for a size that no such pyramid reaches, and for what is no image.
    """
    check_images(image_shape, model)
    size = image_shape[0]
    for levels in range(1, 8):
        if size % 2**levels == 0 and 4 <= size // 2**levels < 8:
            return size // 2**levels, levels
    reached = sorted(base * 2**levels for base in range(4, 8) for levels in range(1, 8))
    raise UserError(
        f"data.image_size: {model} doubles a base of 4 to 7 pixels, which never gives {size}; "
        f"sizes that work: {', '.join(map(str, reached))}"
    )
