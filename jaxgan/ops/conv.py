"""Convolutions whose gradients are fast on CPU too.

A convolution y = conv(x, k), the gradient with respect to its input (a transposed convolution) and
the gradient with respect to its kernel are three bilinear maps of <y, conv(x, k)>: the derivative
of each with respect to either argument is another of the three. Each is a `custom_vjp` here whose
rule is made of the other two, so derivatives of every order (gradient penalties, unrolled
optimisers) stay within these three.

    conv              x, k -> y      XLA's convolution
    input gradient    y, k -> x      on CPU one plain convolution, of all phases of the stride
    kernel gradient   x, y -> k      on CPU one matrix product for each of the kernel's taps

and where a kernel is twice as large as the stride, the first (of many channels) and the second on
CPU in 9/16 of the products, by winograd.py.

TPU and GPU keep XLA's convolutions, forward and backward (1 x 1 are matrix products everywhere).
XLA's own gradients on CPU are many times slower inside `scan` or `while_loop` than outside, and one
training call is a scan. Milliseconds for 64 images, two cores, jax 0.10.2 and 0.11.2:

                                          outside | inside a scan | as here, inside
    kernel gradient, 16x16x64 -> 64, 3x3               13 | 2,000 | 18
    input gradient, 14x14x32 <- 7x7x64, 4x4, stride 2   1 | 3 to 31 | 1.3

Residual networks double an image before a convolution and halve it after one. On CPU either pair is
one convolution of stride 2 with a kernel wider by a pixel, in 4/9 of the products. Groups of few
channels (R3GAN's) are convolved a few together.

Forward-mode differentiation (`jax.jvp`) is not defined.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxgan.ops import winograd
from jaxgan.ops.dense import product
from jaxgan.typing import Array, Float

Pads = tuple[tuple[int, int], tuple[int, int]]

# From here up a layer has enough output channels to fill the columns of a matrix product.
_FEW_CHANNELS = 16
# Groups are convolved together until they have as many channels, if that is not in more blocks.
_BLOCK = 32
_MOST_BLOCKS = 8
# From here up fewer products are worth their additions, in an input's and in an output's channels.
_WIDE = 128, 256


def conv(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "kh kw i o"],
    stride: int = 1,
    padding: int | Pads | None = None,
) -> Float[Array, "b h2 w2 o"]:
    """Two-dimensional cross-correlation, as `lax.conv_general_dilated` in NHWC and HWIO.

    `padding` is a number of pixels on all sides, or ((top, bottom), (left, right)); None pads so
    that the output has ceil(size / stride) pixels ("SAME").
    """
    if kernel.shape[:2] == (1, 1) and stride == 1 and not padding:
        # One matrix product: on CPU twice as fast, forward and backward.
        return product(x.reshape(-1, x.shape[3]), kernel[0, 0]).reshape(*x.shape[:3], -1)
    return _conv(x, kernel, stride, _pads(x.shape, kernel.shape, stride, padding))


def conv_transpose(
    y: Float[Array, "b h w i"],
    kernel: Float[Array, "kh kw i o"],
    stride: int = 1,
) -> Float[Array, "b h2 w2 o"]:
    """Transposed convolution to `stride` times the size: the input gradient of a "SAME" `conv`.

    As PyTorch's `ConvTranspose2d` it is the gradient proper, so the kernel is not flipped.
    """
    b, h, w, _ = y.shape
    x_shape = (b, h * stride, w * stride, kernel.shape[3])
    forward = kernel.swapaxes(2, 3)  # the kernel of the convolution whose gradient this is
    pads = _pads(x_shape, forward.shape, stride, None)
    return _input_gradient(y, forward, stride, pads, x_shape[1:3])


def grouped_conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw g o"]
) -> Float[Array, "b h w o"]:
    """`lax.conv_general_dilated` with i / g feature groups, "SAME" and no stride."""
    return _of_platform(_grouped_on_cpu, _grouped_xla)(x, kernel)


def upsample_conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h2 w2 o"]:
    """The "SAME" `conv` of `upsample(x)`."""
    return _of_platform(_upsample_conv_joined, _upsample_conv)(x, kernel)


def conv_average_pool(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h2 w2 o"]:
    """The `average_pool` of the "SAME" `conv` of x."""
    return _of_platform(_conv_pool_joined, _conv_pool)(x, kernel)


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Twice the size: each pixel becomes 2 x 2."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x.reshape(b, h, 1, w, 1, c), (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Half the size: the means over 2 x 2 pixels."""
    b, h, w, c = x.shape
    return jnp.mean(x.reshape(b, h // 2, 2, w // 2, 2, c), (2, 4))


def _pads(x_shape, kernel_shape, stride: int, padding: int | Pads | None) -> Pads:
    if padding is None:
        rows, columns = lax.padtype_to_pads(
            x_shape[1:3], kernel_shape[:2], (stride, stride), "SAME"
        )
        return (rows[0], rows[1]), (columns[0], columns[1])
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    return padding


# --------------------------------------------------------------------------------------------------
# The three maps. y = conv(x, k); `size` is the height and width of x or of k.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x, k, stride, pads):
    size = tuple(
        (n + sum(p) - t) // stride + 1
        for n, p, t in zip(x.shape[1:3], pads, k.shape[:2], strict=True)
    )
    if _is_in_pairs(k, stride, size) and k.shape[2] >= _WIDE[0] and k.shape[3] >= _WIDE[1]:
        fewer = functools.partial(winograd.forward, stride=stride, pads=pads, size=size)
        stock = functools.partial(_xla_conv, stride=stride, pads=pads)
        return lax.platform_dependent(x, k, cpu=fewer, default=stock)
    return _xla_conv(x, k, stride, pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _input_gradient(y, k, stride, pads, size):
    static = {"stride": stride, "pads": pads, "size": size}
    on_cpu = _input_gradient_flipped if stride == 1 else _input_gradient_phases
    if _is_in_pairs(k, stride, y.shape[1:3]):
        on_cpu = winograd.input_gradient
    return lax.platform_dependent(
        y,
        k,
        cpu=functools.partial(on_cpu, **static),
        default=functools.partial(_input_gradient_xla, **static),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_gradient(x, y, stride, pads, size):
    static = {"stride": stride, "pads": pads, "size": size}
    return lax.platform_dependent(
        x,
        y,
        cpu=functools.partial(_kernel_gradient_matmul, **static),
        default=functools.partial(_kernel_gradient_xla, **static),
    )


def _is_in_pairs(k, stride, size) -> bool:
    """Whether winograd.py computes a convolution to this height and width."""
    even, exact = size[0] % 2 == size[1] % 2 == 0, jnp.finfo(k.dtype).bits >= 32
    return stride > 1 and k.shape[:2] == (2 * stride, 2 * stride) and even and exact


def _conv_fwd(x, k, stride, pads):
    return _conv(x, k, stride, pads), (x, k)


def _conv_bwd(stride, pads, residuals, dy):
    x, k = residuals
    return (
        _input_gradient(dy, k, stride, pads, x.shape[1:3]),
        _kernel_gradient(x, dy, stride, pads, k.shape[:2]),
    )


def _input_gradient_fwd(y, k, stride, pads, size):
    return _input_gradient(y, k, stride, pads, size), (y, k)


def _input_gradient_bwd(stride, pads, size, residuals, dx):
    y, k = residuals
    return _conv(dx, k, stride, pads), _kernel_gradient(dx, y, stride, pads, k.shape[:2])


def _kernel_gradient_fwd(x, y, stride, pads, size):
    return _kernel_gradient(x, y, stride, pads, size), (x, y)


def _kernel_gradient_bwd(stride, pads, size, residuals, dk):
    x, y = residuals
    return _input_gradient(y, dk, stride, pads, x.shape[1:3]), _conv(x, dk, stride, pads)


_conv.defvjp(_conv_fwd, _conv_bwd)
_input_gradient.defvjp(_input_gradient_fwd, _input_gradient_bwd)
_kernel_gradient.defvjp(_kernel_gradient_fwd, _kernel_gradient_bwd)


# --------------------------------------------------------------------------------------------------
# Lowerings


def _xla_conv(x, k, stride, pads, groups=1):
    return lax.conv_general_dilated(
        x,
        k,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _input_gradient_xla(y, k, stride, pads, size):
    x = jax.ShapeDtypeStruct((y.shape[0], *size, k.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _xla_conv(x, k, stride, pads), x)(y)[0]


def _input_gradient_flipped(y, k, stride, pads, size):
    # The convolution that XLA's own is too, with the kernel's flip spelt out, which in loops on CPU
    # is some ten times faster.
    (kh, kw), ((top, bottom), (left, right)) = k.shape[:2], pads
    full = (kh - 1 - top, kh - 1 - bottom), (kw - 1 - left, kw - 1 - right)
    return _xla_conv(y, jnp.flip(k, (0, 1)).swapaxes(2, 3), 1, full)


def _input_gradient_phases(y, k, stride, pads, size):
    # dx[s q + r] = sum over t of k[s t + r] y[q - t] along each axis, s the stride: pixels of the
    # same phase r come from the same taps, so all phases are the channels of one convolution.
    (kh, kw, i, o), (b, h, w, _), s = k.shape, y.shape, stride
    th, tw = -(-kh // s), -(-kw // s)  # taps of a phase
    k = jnp.pad(k, ((0, th * s - kh), (0, tw * s - kw), (0, 0), (0, 0)))
    k = jnp.flip(k.reshape(th, s, tw, s, i, o), (0, 2)).transpose(0, 2, 5, 1, 3, 4)
    full = (th - 1, th - 1), (tw - 1, tw - 1)
    x = _xla_conv(y, k.reshape(th, tw, o, s * s * i), 1, full)
    rows, columns = h + th - 1, w + tw - 1
    x = x.reshape(b, rows, columns, s, s, i).transpose(0, 1, 3, 2, 4, 5)
    return winograd.cropped(x.reshape(b, rows * s, columns * s, i), pads, size)


def _kernel_gradient_xla(x, y, stride, pads, size):
    k = jax.ShapeDtypeStruct((*size, x.shape[3], y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda k: _xla_conv(x, k, stride, pads), k)(y)[0]


def _kernel_gradient_matmul(x, y, stride, pads, size):
    # dk[u, v] = sum over b, h, w of x[b, stride h + u, stride w + v]^T y[b, h, w]
    if stride == 1 and y.shape[3] < _FEW_CHANNELS:
        return _kernel_gradient_few(x, y, pads, size)
    (kh, kw), (_, h, w, o), i = size, y.shape, x.shape[3]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    y = y.reshape(-1, o)
    taps = []
    for u in range(kh):
        for v in range(kw):
            rows = slice(u, u + (h - 1) * stride + 1, stride)
            columns = slice(v, v + (w - 1) * stride + 1, stride)
            taps.append(x[:, rows, columns].reshape(-1, i).T @ y)
    return jnp.stack(taps).reshape(kh, kw, i, o)


def _kernel_gradient_few(x, y, pads, size):
    # The same sum over the pixels of x (stride 1): dk[u, v] = sum x[b, h, w]^T y[b, h - u, w - v].
    # All taps of the narrow y become the columns of one product, and the wide x is read once.
    (kh, kw), (_, h, w, i), o = size, x.shape, y.shape[3]
    (top, _), (left, _) = pads
    low = (kh - 1 - top, kw - 1 - left)
    high = (h - y.shape[1] + top, w - y.shape[2] + left)
    zero = jnp.zeros((), y.dtype)
    y = lax.pad(y, zero, ((0, 0, 0), (low[0], high[0], 0), (low[1], high[1], 0), (0, 0, 0)))
    taps = []
    for u in range(kh):
        for v in range(kw):
            taps.append(y[:, kh - 1 - u : kh - 1 - u + h, kw - 1 - v : kw - 1 - v + w])
    dk = x.reshape(-1, i).T @ jnp.concatenate(taps, -1).reshape(-1, kh * kw * o)
    return dk.reshape(i, kh, kw, o).transpose(1, 2, 0, 3)


def _of_platform(on_cpu, default):
    """A function of (x, k). Its gradient keeps these two, which are enough, and not what either of
    the platforms' forms has on its way."""
    chosen = functools.partial(lax.platform_dependent, cpu=on_cpu, default=default)
    return jax.checkpoint(chosen, prevent_cse=False)


# --------------------------------------------------------------------------------------------------
# Groups


def _grouped_xla(x, k):
    return _xla_conv(x, k, 1, "SAME", groups=x.shape[3] // k.shape[2])


def _grouped_on_cpu(x, k):
    groups, enough = x.shape[3] // k.shape[2], min(_BLOCK, x.shape[3])
    joined = next(n for n in range(1, groups + 1) if groups % n == 0 and n * k.shape[2] >= enough)
    if groups // joined > _MOST_BLOCKS:
        return _grouped_matmul(x, k)
    return _grouped_in_blocks(x, k, joined, groups // joined)


def _grouped_in_blocks(x, k, joined, blocks):
    # Neighbouring groups are one dense convolution whose kernel is 0 between them: more products,
    # but less time than XLA takes for a group's few channels.
    kh, kw, each, _ = k.shape
    same = jnp.eye(joined, dtype=k.dtype).reshape(1, 1, joined, 1, joined, 1)
    ys = []
    for part, kernel in zip(jnp.split(x, blocks, 3), jnp.split(k, blocks, 3), strict=True):
        dense = same * kernel.reshape(kh, kw, 1, each, joined, -1)
        ys.append(conv(part, dense.reshape(kh, kw, joined * each, -1)))
    return jnp.concatenate(ys, 3)


def _grouped_matmul(x, kernel):
    # One batched product for each tap: compiled in no time, however many groups there are.
    (b, h, w, i), (kh, kw, each, o) = x.shape, kernel.shape
    groups = i // each
    x = x.reshape(b, h, w, groups, each).transpose(3, 0, 1, 2, 4)
    top, left = (kh - 1) // 2, (kw - 1) // 2
    x = jnp.pad(x, ((0, 0), (0, 0), (top, kh - 1 - top), (left, kw - 1 - left), (0, 0)))
    kernel = kernel.reshape(kh, kw, each, groups, -1).transpose(0, 1, 3, 2, 4)
    taps = (
        x[:, :, u : u + h, v : v + w].reshape(groups, -1, each) @ kernel[u, v]
        for u in range(kh)
        for v in range(kw)
    )
    y = functools.reduce(jnp.add, taps)
    return y.reshape(groups, b, h, w, -1).transpose(1, 2, 3, 0, 4).reshape(b, h, w, o)


# --------------------------------------------------------------------------------------------------
# A change of size and a convolution in one


def _upsample_conv(x, k):
    return conv(upsample(x), k)


def _upsample_conv_joined(x, k):
    # Pixel q of x is pixels 2q and 2q + 1: tap k[u] brings it to two neighbouring outputs.
    k = _widened(jnp.flip(k, (0, 1)).swapaxes(2, 3))
    size = 2 * x.shape[1], 2 * x.shape[2]
    low = [(n - 2) // 2 for n in k.shape[:2]]
    pads = tuple((n - 2 - before, before) for n, before in zip(k.shape[:2], low, strict=True))
    return _input_gradient(x, k, 2, pads, size)


def _conv_pool(x, k):
    return average_pool(conv(x, k))


def _conv_pool_joined(x, k):
    low = [(n - 1) // 2 for n in k.shape[:2]]
    pads = tuple((before, n - 1 - before) for n, before in zip(k.shape[:2], low, strict=True))
    return _conv(x, _widened(k) / 4, 2, pads)


def _widened(k):
    """The sum of the kernel at its place, and moved by a pixel along each axis and along both."""
    for axis in (0, 1):
        moved = [(1, 0) if a == axis else (0, 0) for a in range(4)]
        held = [(0, 1) if a == axis else (0, 0) for a in range(4)]
        k = jnp.pad(k, held) + jnp.pad(k, moved)
    return k
