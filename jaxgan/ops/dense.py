"""Matrix products of numbers in bfloat16, fast on CPU too.

CPUs with AMX multiply bfloat16 numbers, and add up in float32, four to six times as fast as
float32. XLA lets them where the result is float32 and the first factor is summed over its last
axis; elsewhere it widens the factors first, which takes longer than float32 from the start. So here

    a b, a b^T, a^T b      are three maps, each a `custom_vjp` whose rule is made of the other two,
                           as in conv.py: derivatives of every order stay within them
    a^T b                  has its first factor transposed in memory, beside columns of zeros
                           without which XLA would take the transposition back

and results are rounded to the factors' own type at the end. TPU and GPU keep XLA's products.

Forward-mode differentiation (`jax.jvp`) of them is not defined.
"""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgan.typing import Array, Float

# In place of a dtype: all is float32, but factors of products are rounded to bfloat16.
PRODUCTS = "bfloat16_products"

_ROUNDED = "bfloat16"  # a `jax.default_matmul_precision`
_TILE = 32


def computing(dtype: Any) -> tuple[Any, contextlib.AbstractContextManager]:
    """The dtype of a network's arrays, and the context to apply it in; of a dtype or PRODUCTS."""
    if dtype == PRODUCTS:
        return jnp.float32, jax.default_matmul_precision(_ROUNDED)
    return dtype, contextlib.nullcontext()


def product(x: Float[Array, "b i"], kernel: Float[Array, "i o"]) -> Float[Array, "b o"]:
    """x @ kernel, added up in float32. Where `jax.default_matmul_precision` is "bfloat16", factors
    are rounded to it first, as TPUs do by default."""
    by_default = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    if x.dtype == jnp.bfloat16 or by_default == _ROUNDED:
        return _product(x, kernel)
    return x @ kernel


@jax.custom_vjp
def _product(a: Array, b: Array) -> Array:
    return _of_platform(a, b, (1, 0))


@jax.custom_vjp
def _by_transposed(a: Array, b: Array) -> Array:  # a b^T
    return _of_platform(a, b, (1, 1))


@jax.custom_vjp
def _of_transposed(a: Array, b: Array) -> Array:  # a^T b
    return _of_platform(a, b, (0, 0))


def _of_platform(a: Array, b: Array, summed: tuple[int, int]) -> Array:
    dimensions = ((summed[:1], summed[1:]), ((), ()))

    def on_cpu(a, b):
        x, y = (factor.astype(jnp.bfloat16) for factor in (a, b))
        if summed[0] == 0:
            zeros = 0, _TILE - len(a) % _TILE
            x, y = jnp.pad(x.T, ((0, 0), zeros)), jnp.pad(y, (zeros, (0, 0)))
        by_rows = ((1,), summed[1:]), ((), ())
        return lax.dot_general(x, y, by_rows, preferred_element_type=jnp.float32).astype(a.dtype)

    def default(a, b):
        return lax.dot_general(a, b, dimensions)

    return lax.platform_dependent(a, b, cpu=on_cpu, default=default)


def _forward(function):
    return lambda a, b: (function(a, b), (a, b))


_product.defvjp(
    _forward(_product),
    lambda factors, y: (_by_transposed(y, factors[1]), _of_transposed(factors[0], y)),
)
_by_transposed.defvjp(
    _forward(_by_transposed),
    lambda factors, y: (_product(y, factors[1]), _of_transposed(y, factors[0])),
)
_of_transposed.defvjp(
    _forward(_of_transposed),
    lambda factors, y: (_by_transposed(factors[1], y), _product(factors[0], y)),
)
