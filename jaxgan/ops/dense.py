"""Matrix products of numbers in bfloat16, fast on CPU too.

CPUs with AMX multiply bfloat16 numbers, and add up in float32, four to six times as fast as
float32. XLA lets them where the result is float32 and the first factor is summed over its last
axis; elsewhere it widens the factors first, which takes longer than float32 from the start. So here

    a b, a b^T, a^T b      are three maps, each a `custom_vjp` whose rule is made of the other two,
                           as in conv.py: derivatives of every order stay within them
    a^T b                  on CPU has its first factor transposed in memory. It is summed from the
                           middle row on and then from the first one, or XLA would take the
                           transposition back (where a batch is split over CPU devices this moves
                           rows between them; TPU and GPU have none of it)

Without AMX they are float32's own products of rounded numbers, at best as fast as those.

Forward-mode differentiation (`jax.jvp`) of them is not defined.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgan.typing import Array, Float

# In place of a dtype: arrays are float32, and the factors of `product` are rounded to bfloat16.
PRODUCTS = "bfloat16_products"

_ROUNDED = "bfloat16"  # a `jax.default_matmul_precision`, on which what JAX has traced depends
_FEW_ROWS = 32  # below, transposing costs more than it gains


@contextlib.contextmanager
def computing(dtype: Any) -> Iterator[Any]:
    """While networks are applied in a dtype or PRODUCTS; gives the dtype of their arrays."""
    if dtype != PRODUCTS:
        yield dtype
        return
    with jax.default_matmul_precision(_ROUNDED):
        yield jnp.float32


def product(x: Float[Array, "b i"], kernel: Float[Array, "i o"]) -> Float[Array, "b o"]:
    """x @ kernel, in their dtype; of bfloat16 added up in float32. Where JAX's own setting is
    "bfloat16", as within `computing(PRODUCTS)`, float32 factors are rounded to it first, those of
    gradients, too, which a CPU would not do by itself."""
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
    dtype = a.dtype

    def by_xla(a, b, summed=summed, to=dtype):
        axes = (summed[:1], summed[1:]), ((), ())
        return lax.dot_general(a, b, axes, preferred_element_type=to).astype(dtype)

    def on_cpu(a, b):
        if summed[0] == 1 or len(a) < _FEW_ROWS:
            return by_xla(a, b, to=jnp.float32)
        half = len(a) // 2
        columns = jnp.concatenate([a.T[:, half:], a.T[:, :half]], 1)
        rows = jnp.concatenate([b[half:], b[:half]])
        return by_xla(columns, rows, (1, 0), jnp.float32)

    factors = [each.astype(jnp.bfloat16) for each in (a, b)]
    return lax.platform_dependent(*factors, cpu=on_cpu, default=by_xla)


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
