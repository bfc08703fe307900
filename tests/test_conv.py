"""The three convolution maps against XLA's own: values, first and second derivatives, vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxgan.ops.conv import (
    _conv_pool,
    _kernel_gradient_matmul,
    _kernel_gradient_xla,
    _upsample_conv,
    conv,
    conv_average_pool,
    conv_transpose,
    upsample_conv,
)

# height, width, input channels, output channels, kernel, stride, padding
CASES = [
    (8, 8, 3, 20, (3, 3), 1, None),
    (8, 8, 20, 3, (3, 3), 1, None),  # few output channels
    (7, 9, 5, 18, (4, 4), 2, None),  # odd sizes
    (9, 7, 4, 2, (5, 3), 1, 0),
    (9, 7, 4, 2, (3, 5), 1, ((2, 0), (1, 4))),
    (10, 10, 2, 17, (5, 5), 3, 1),
    (8, 12, 5, 18, (4, 4), 2, 1),  # in pairs of taps: winograd.py, its gradient of the input
    (7, 8, 3, 4, (4, 4), 2, ((1, 2), (1, 1))),
    (9, 8, 2, 3, (4, 4), 2, ((2, 1), (1, 1))),
    (4, 4, 128, 256, (4, 4), 2, 1),  # and its forward one
    (6, 6, 3, 4, (1, 1), 1, None),
    (6, 6, 3, 17, (1, 1), 2, 0),
]


def arrays(*shapes, seed=0, dtype=jnp.float32):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]


def stock(x, k, stride=1, padding=None):
    if isinstance(padding, int):
        padding = [(padding, padding)] * 2
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, k, (stride, stride), padding or "SAME", dimension_numbers=numbers
    )


def gradients(f):
    """Of both arguments, as one program: op by op each shape would be compiled by itself."""
    return jax.jit(jax.grad(f, argnums=(0, 1)))


def scaled_error(a, b):
    return max(
        float(jnp.abs(p - q).max() / (jnp.abs(q).max() + 1e-9))
        for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("h, w, i, o, size, stride, padding", CASES)
def test_conv_and_its_derivatives_equal_xla(h, w, i, o, size, stride, padding):
    x, k = arrays((2, h, w, i), (*size, i, o))
    k = k / np.sqrt(k[..., 0].size)  # for a sine that rounding does not scramble

    def loss(f):
        return lambda x, k: jnp.sum(jnp.sin(f(x, k, stride, padding)))

    def penalty(f):  # differentiates twice, as R1 does
        return lambda x, k: jnp.sum(jnp.square(jax.grad(loss(f))(x, k)))

    assert scaled_error(conv(x, k, stride, padding), stock(x, k, stride, padding)) < 1e-6
    for objective in (loss, penalty):
        ours, theirs = (gradients(objective(f))(x, k) for f in (conv, stock))
        assert scaled_error(ours, theirs) < 2e-5


@pytest.mark.parametrize("h, w, i, o, size, stride, padding", CASES)
def test_kernel_gradient_as_matrix_products_equals_xla(h, w, i, o, size, stride, padding):
    x, k = arrays((2, h, w, i), (*size, i, o))
    (y,) = arrays(stock(x, k, stride, padding).shape, seed=1)
    if padding is None:
        pads = tuple(lax.padtype_to_pads((h, w), size, (stride, stride), "SAME"))
    else:
        pads = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    ours = _kernel_gradient_matmul(x, y, stride, pads, size)
    theirs = _kernel_gradient_xla(x, y, stride, pads, size)
    assert scaled_error(ours, theirs) < 2e-6


@pytest.mark.parametrize(
    "size, stride, kernel",
    [((4, 4), 2, 4), ((7, 5), 2, 4), ((5, 5), 2, 5), ((6, 6), 1, 3), ((2, 4), 3, 6)],
)
def test_conv_transpose_is_the_gradient_of_conv_and_equals_lax(size, stride, kernel):
    y, k = arrays((2, *size, 6), (kernel, kernel, 6, 3))
    x_shape = (2, size[0] * stride, size[1] * stride, 3)

    def reference(y, k):
        forward = k.swapaxes(2, 3)
        return jax.linear_transpose(lambda x: stock(x, forward, stride), jnp.zeros(x_shape))(y)[0]

    out = conv_transpose(y, k, stride)
    assert out.shape == x_shape
    assert scaled_error(out, reference(y, k)) < 1e-6
    lax_out = lax.conv_transpose(
        y, k.swapaxes(2, 3), (stride, stride), "SAME", transpose_kernel=True
    )
    if kernel - stride == 2 or stride == 1:  # where lax's SAME means the same
        assert scaled_error(out, lax_out) < 1e-6

    def penalty(f):
        inner = jax.grad(lambda y, k: jnp.sum(jnp.sin(f(y, k))))
        return gradients(lambda y, k: jnp.sum(jnp.square(inner(y, k))))

    ours = penalty(lambda y, k: conv_transpose(y, k, stride))(y, k)
    assert scaled_error(ours, penalty(reference)(y, k)) < 2e-5


@pytest.mark.parametrize(
    "joined, stock", [(upsample_conv, _upsample_conv), (conv_average_pool, _conv_pool)]
)
@pytest.mark.parametrize("h, w, i, o, size", [(8, 4, 5, 18, 3), (6, 10, 3, 2, 5), (4, 4, 2, 3, 1)])
def test_a_change_of_size_and_a_convolution_in_one(joined, stock, h, w, i, o, size):
    x, k = arrays((2, h, w, i), (size, size, i, o))

    def loss(f):
        return lambda x, k: jnp.sum(jnp.sin(f(x, k)))

    def penalty(f):
        return lambda x, k: jnp.sum(jnp.square(jax.grad(loss(f))(x, k)))

    assert joined(x, k).shape == stock(x, k).shape
    assert scaled_error(joined(x, k), stock(x, k)) < 2e-6
    for objective in (loss, penalty):
        ours, theirs = (gradients(objective(f))(x, k) for f in (joined, stock))
        assert scaled_error(ours, theirs) < 2e-5


def test_fewer_products_round_like_the_stock_convolution():
    """Against float64: minimal filtering may not cost digits."""
    x, k = arrays((2, 16, 16, 128), (4, 4, 128, 256))
    (y,) = arrays((2, 8, 8, 256), seed=1)
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.float64(each)) for each in (x, k, y)]
        value = np.asarray(stock(*wide[:2], 2, 1))
        slope = np.asarray(jax.vjp(lambda x: stock(x, wide[1], 2, 1), wide[0])[1](wide[2])[0])
    forms = {}
    for name, f in (("ours", conv), ("stock", stock)):
        out, back = jax.vjp(lambda x, f=f: f(x, k, 2, 1), x)
        forms[name] = scaled_error(out, value), scaled_error(back(y)[0], slope)
    assert max(forms["ours"]) < 2e-6
    assert all(
        ours < 4 * theirs for ours, theirs in zip(forms["ours"], forms["stock"], strict=True)
    )


def test_derivatives_against_finite_differences():
    with jax.enable_x64(True):
        x, k = arrays((1, 5, 5, 2), (3, 3, 2, 2), dtype=jnp.float64)
        ours = lambda x, k: conv(jnp.asarray(x), jnp.asarray(k), 2, 1)  # noqa: E731
        check_grads(ours, (x, k), order=2, modes=["rev"])
        ours = lambda x, k: conv_transpose(jnp.asarray(x), jnp.asarray(k), 2)  # noqa: E731
        check_grads(ours, (x, k), order=2, modes=["rev"])


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("f", [conv, upsample_conv, conv_average_pool])
def test_vmap_equals_a_loop(f, axes):
    x, k = arrays((3, 2, 8, 8, 4), (3, 3, 3, 4, 5))
    x = x if axes[0] == 0 else x[0]
    k = k if axes[1] == 0 else k[0]

    def gradients(x, k):
        return jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k))), argnums=(0, 1))(x, k)

    batched = jax.vmap(gradients, in_axes=axes)(x, k)
    for n in range(3):
        one = gradients(x[n] if axes[0] == 0 else x, k[n] if axes[1] == 0 else k)
        assert scaled_error(jax.tree.map(lambda a, n=n: a[n], batched), one) < 1e-5


@pytest.mark.parametrize("f", [conv, conv_transpose, upsample_conv, conv_average_pool])
def test_bfloat16_keeps_its_type_and_is_close(f):
    x, k = arrays((2, 8, 8, 4), (3, 3, 4, 20))

    def gradients(x, k):
        return jax.grad(lambda k: jnp.sum(f(x, k).astype(jnp.float32) ** 2))(k)

    half = gradients(x.astype(jnp.bfloat16), k.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    assert scaled_error(half.astype(jnp.float32), gradients(x, k)) < 3e-2


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_platforms_other_than_cpu_keep_xla_convolutions(platform):
    x, k = arrays((2, 8, 8, 4), (3, 3, 4, 20))

    def counts(f, *arguments):
        gradients = jax.jit(jax.grad(lambda *a: jnp.sum(f(*a)), argnums=(0, 1)))
        text = gradients.trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
        return text.count("stablehlo.dot_general"), text.count("stablehlo.convolution")

    on_cpu = platform == "cpu"
    assert counts(conv, x, k) == ((9, 1) if on_cpu else (0, 2))  # the value itself is not needed
    # A convolution of stride 2 with 4 x 4 taps: 16 products for k, and nine, of each tile, for x.
    assert counts(conv_average_pool, x, k) == ((25, 0) if on_cpu else (0, 2))
    assert counts(upsample_conv, x, k) == ((16, 1) if on_cpu else (0, 2))
    wide = arrays((2, 8, 8, 128), (4, 4, 128, 256))
    assert counts(lambda x, k: conv(x, k, 2) ** 2, *wide) == ((34, 0) if on_cpu else (0, 3))
