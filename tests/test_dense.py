"""Products of bfloat16 numbers: against the rounding by hand, and their gradients of two orders."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.ops.dense import PRODUCTS, computing, product

SHAPES = pytest.mark.parametrize("shape", [(5, 7), (65, 7)])


def numbers(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def rounded(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


def under_products(function, *given):
    with computing(PRODUCTS):
        return jax.jit(function)(*given)


@SHAPES
def test_factors_are_rounded_and_sums_are_not(shape):
    x, kernel, slope = numbers(0, *shape), numbers(1, 7, 6), numbers(2, shape[0], 6)

    def pulled(x, kernel):
        y, pull = jax.vjp(product, x, kernel)
        return y, *pull(slope)

    y, dx, dk = under_products(pulled, x, kernel)
    assert {each.dtype for each in (y, dx, dk)} == {jnp.dtype("float32")}
    rows, slopes = rounded(x), rounded(slope)
    np.testing.assert_allclose(y, rounded(x) @ rounded(kernel), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, rounded(slope) @ rounded(kernel).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dk, rows.T @ slopes, rtol=1e-5, atol=1e-5)


@SHAPES
def test_of_float32_it_is_the_product_itself(shape):
    x, kernel = numbers(0, *shape), numbers(1, 7, 6)
    np.testing.assert_array_equal(product(x, kernel), x @ kernel)
    assert "custom" not in str(jax.make_jaxpr(product)(x, kernel))


@SHAPES
def test_bfloat16_is_added_up_in_float32(shape):
    x, kernel = (each.astype(jnp.bfloat16) for each in (numbers(0, *shape), numbers(1, 7, 6)))
    y, pull = jax.vjp(jax.jit(product), x, kernel)
    assert y.dtype == jnp.bfloat16 and {each.dtype for each in pull(y)} == {y.dtype}
    np.testing.assert_array_equal(rounded(y), rounded(rounded(x) @ rounded(kernel)))


def lowered(dtype, platform):
    """The products of a layer and of its gradients: axes, types of factors and result."""
    x, kernel = jnp.zeros((64, 7), dtype), jnp.zeros((7, 6), dtype)
    loss = lambda x, kernel: jnp.sum(product(x, kernel).astype(jnp.float32) ** 2)  # noqa: E731
    with computing(PRODUCTS if dtype == jnp.float32 else dtype):
        traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    of_types = r"tensor<(\S+)>, tensor<(\S+)>\) -> tensor<(\S+)>"
    pattern = r"contracting_dims = (\S+\]) x (\S+\])[ ,].*: \(" + of_types
    return sorted(re.findall(pattern, text))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_cpu_gets_what_its_units_take(dtype):
    assert lowered(dtype, "cpu") == [
        ("[1]", "[0]", "64x7xbf16", "7x6xbf16", "64x6xf32"),
        ("[1]", "[0]", "7x64xbf16", "64x6xbf16", "7x6xf32"),
        ("[1]", "[1]", "64x6xbf16", "7x6xbf16", "64x7xf32"),
    ]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize(("dtype", "to"), [(jnp.float32, "f32"), (jnp.bfloat16, "bf16")])
def test_accelerators_get_the_products_themselves(platform, dtype, to):
    assert lowered(dtype, platform) == [
        ("[0]", "[0]", "64x7xbf16", "64x6xbf16", f"7x6x{to}"),
        ("[1]", "[0]", "64x7xbf16", "7x6xbf16", f"64x6x{to}"),
        ("[1]", "[1]", "64x6xbf16", "7x6xbf16", f"64x7x{to}"),
    ]


def test_a_penalty_of_gradients_has_gradients():
    first, second, x = numbers(0, 7, 9) / 3, numbers(1, 9, 4) / 3, numbers(2, 8, 7)

    def penalty(weights):
        logits = lambda x: product(jnp.tanh(product(x, weights[0])), weights[1])  # noqa: E731
        return jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(jnp.square(logits(x))))(x)))

    near = under_products(jax.grad(penalty), (first, second))
    for found, expected in zip(near, jax.grad(penalty)((first, second)), strict=True):
        assert jnp.linalg.norm(found - expected) < 0.02 * jnp.linalg.norm(expected)
        assert np.any(found != expected)


def test_each_of_several_is_as_alone():
    x, kernels = numbers(0, 3, 5, 7), numbers(1, 3, 7, 6)
    together = under_products(jax.vmap(product), x, kernels)
    alone = [under_products(product, *each) for each in zip(x, kernels, strict=True)]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-6, atol=1e-6)
