"""Convolutions of stride s with kernels of 2s x 2s in 9/16 of the products, for CPU.

Along each axis such a kernel has two taps g0, g1 in units of s pixels, and two neighbouring outputs
look at three units d0, d1, d2. Minimal filtering (Winograd 1980; Lavin and Gray 2016,
https://arxiv.org/abs/1509.09308) makes the two of three products in place of four,

    y0 = d0 g0 + d1 g1 = (d0 - d1) g0 + d1 (g0 + g1)
    y1 = d1 g0 + d2 g1 = d1 (g0 + g1) + (d2 - d1) g1

with additions alone, so that rounding stays that of a few more additions. In two dimensions a tile
of 2 x 2 outputs is nine products, each a matrix product over all tiles. The gradient with respect
to x is the transposed map, with the same nine:

    y = A m,  m_j = v_j u_j        v = B x,  u = G k
    dx = B^T dv,  dv_j = (A^T dy)_j u_j^T

Arrays are NHWC and HWIO, outputs have an even height and width. `pads` as in conv.py.
"""

import jax.numpy as jnp
from jax import lax

from jaxgan.typing import Array

_barrier = lax.optimization_barrier
PRODUCTS = [(row, column) for row in range(3) for column in range(3)]


def forward(x, k, stride, pads, size):
    """y of height and width `size`."""
    h, w = size
    inputs, kernels = _inputs(x, stride, pads, h, w), _kernels(k, stride)
    m = {j: (inputs[j] @ kernels[j]).reshape(x.shape[0], h // 2, w // 2, -1) for j in PRODUCTS}
    rows = [_outputs(*(m[row, column] for row in range(3))) for column in range(3)]
    ys = [jnp.stack(_outputs(*(rows[column][n] for column in range(3))), 3) for n in range(2)]
    return jnp.stack(ys, 2).reshape(x.shape[0], h, w, -1)


def input_gradient(y, k, stride, pads, size):
    """dx of height and width `size`."""
    (b, h, w, _), s, i = y.shape, stride, k.shape[2]
    kernels, tiles = _kernels(k, stride), _tiles(y)
    shape = b, h // 2, w // 2, s, s, i
    dv = {j: (_flat(tiles[j]) @ kernels[j].T).reshape(shape) for j in PRODUCTS}
    rows = [_overlapped([dv[row, column] for column in range(3)], 2) for row in range(3)]
    x = _overlapped(rows, 1).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(b, (h + 1) * s, (w + 1) * s, i)
    return cropped(x, pads, size)


def cropped(x, pads, size):
    """x without its padding, and with zeros for the pixels that no output looked at."""
    ((top, _), (left, _)), (_, h, w, _) = pads, x.shape
    high = size[0] + top - h, size[1] + left - w
    zero = jnp.zeros((), x.dtype)
    return lax.pad(x, zero, ((0, 0, 0), (-top, high[0], 0), (-left, high[1], 0), (0, 0, 0)))


# --------------------------------------------------------------------------------------------------
# The transforms


def _inputs(x, s, pads, h, w) -> dict[tuple[int, int], Array]:
    """B x: of all tiles, each s x s unit as one row."""
    ((top, _), (left, _)), (b, height, width, i) = pads, x.shape
    high = (h + 1) * s - height - top, (w + 1) * s - width - left
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, ((0, 0, 0), (top, high[0], 0), (left, high[1], 0), (0, 0, 0)))
    x = _barrier(x.reshape(b, h + 1, s, w + 1, s, i))
    parts: dict[tuple[int, int], list[Array]] = {j: [] for j in PRODUCTS}
    for m in range(s):
        for n in range(s):  # pixel by pixel of a unit: XLA copies rows of channels fastest
            rows = _differences(*(x[:, d : d + h - 1 : 2, m, :, n] for d in range(3)))
            for row in range(3):
                units = (rows[row][:, :, d : d + w - 1 : 2] for d in range(3))
                for column, unit in enumerate(_differences(*units)):
                    parts[row, column].append(_flat(unit))
    return {j: jnp.concatenate(part, 1) for j, part in parts.items()}


def _kernels(k, s) -> dict[tuple[int, int], Array]:
    """G k: matrices from the s x s x i inputs of a unit to the outputs."""
    k = k.reshape(2, s, 2, s, *k.shape[2:])
    rows = _transposed_outputs(k[0], k[1])
    columns = [_transposed_outputs(row[:, 0], row[:, 1]) for row in rows]
    return {(m, n): columns[m][n].reshape(-1, k.shape[-1]) for m, n in PRODUCTS}


def _tiles(y) -> dict[tuple[int, int], Array]:
    """A^T y."""
    y = y.reshape(y.shape[0], y.shape[1] // 2, 2, y.shape[2] // 2, 2, y.shape[3])
    rows = _transposed_outputs(y[:, :, 0], y[:, :, 1])
    columns = [_transposed_outputs(row[:, :, :, 0], row[:, :, :, 1]) for row in rows]
    return {(m, n): columns[m][n] for m, n in PRODUCTS}


def _differences(d0, d1, d2):
    return d0 - d1, d1, d2 - d1


def _outputs(m0, m1, m2):
    return m0 + m1, m1 + m2


def _transposed_outputs(y0, y1):  # G, too
    return y0, y0 + y1, y1


def _overlapped(v, axis):
    """B^T v along an axis: of n tiles with three units each, 2 n + 1 units."""
    v0, v1, v2 = v
    edges = lambda *by: [by if a == axis else (0, 0, 0) for a in range(v0.ndim)]  # noqa: E731
    zero = jnp.zeros((), v0.dtype)
    after, before = edges(0, 1, 0), edges(1, 0, 0)
    even = lax.pad(v0, zero, after) + lax.pad(v2, zero, before)
    odd = lax.pad(v1 - v0 - v2, zero, after)
    shape = [2 * n if a == axis else n for a, n in enumerate(even.shape)]
    units = jnp.stack([even, odd], axis + 1).reshape(shape)
    return lax.slice_in_dim(units, 0, shape[axis] - 1, axis=axis)


def _flat(x):
    return x.reshape(-1, x.shape[-1])
