"""Pixel blitting and general geometry of ADA (Karras et al. 2020, arXiv 2006.06676, appendix B).

All transforms of one image are one 3x3 matrix, and the image is resampled once. The matrices here
are the inverses, from a pixel of the output to where it comes from, (x, y, 1) with the origin in
the image's centre, x to the right and y down.

Resampling follows the paper: reflect, upsample 2x with the orthogonal low-pass filter sym6, sample
bilinearly, downsample 2x with the same filter. Choices that the paper leaves open or makes
otherwise:

- Reflected images are periodic, with period 2 (n - 1), and so is what upsampling makes of them.
  One period is computed and coordinates wrap around: reflections without end, at less work than
  the paper's padding, and the same shapes whatever the matrix.
- Filters and reflections along an axis are one constant matrix.
- sym6 is not symmetric. Its centre of gravity is where a pixel lies in the upsampled image, so that
  smooth images turn about their centre.
- Images to which blitting alone is applied are looked up pixel by pixel, which is exact.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from jaxgan.augment.chance import Images, Probability, Which, chosen, normal, per_image, uniform
from jaxgan.typing import Array, Float, Key

Matrix = Float[Array, "b 3 3"]

# Daubechies' least asymmetric wavelet with 6 vanishing moments: sum h = sqrt 2, and
# sum over t of h[t] h[t + 2m] = 1 for m = 0 and 0 otherwise.
# fmt: off
SYM6 = np.array([
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
])
# fmt: on
_TAPS = len(SYM6)
_LEFT = _TAPS // 2 - 1  # taps before the pixel
_CENTRE = np.sum(np.arange(_TAPS) * SYM6) / np.sum(SYM6) - _LEFT  # pixel k lies at 2 k + _CENTRE


def ada_blit(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """Pixel blitting: flips left to right, quarter turns, shifts by up to 1/8 of the size."""
    return look_up(images, _blit(key, images, p))


def ada_geometry(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """General geometry: scaling, turns by any angle, stretching, any shift."""
    inverse, moved = _general(key, images, p)
    return jnp.where(per_image(moved), resample(images, inverse), images)


def ada_blit_and_geometry(key: Key[Array, ""], images: Images, p: Probability) -> Images:
    """Blitting, then general geometry, in one resampling."""
    first, second = random.split(key)
    blit = _blit(first, images, p)
    general, moved = _general(second, images, p)
    resampled = resample(images, _product(blit, general))
    return jnp.where(per_image(moved), resampled, look_up(images, blit))


# --------------------------------------------------------------------------------------------------
# Matrices. Applying T after G makes the inverse G^-1 T^-1.


def _blit(key: Key[Array, ""], images: Images, p: Probability) -> Matrix:
    """x-flip, rotations by 90 degrees and integer translation: integers, in as far as the centre of
    a turned image that is not square lies on a pixel."""
    b, h, w, _ = images.shape
    which, amount = random.split(key)
    on, u = chosen(which, (3, b), p), uniform(amount, (4, b))
    flips = jnp.where(on[0], jnp.floor(2 * u[0]), 0.0)
    turns = jnp.where(on[1], jnp.floor(4 * u[1]), 0.0).astype(int)
    shift = jnp.round((u[2:].T - 0.5) / 4 * jnp.array([[w, h]]))
    shift = jnp.where(on[2][:, None], shift, 0.0)
    cosine, sine = jnp.array([1.0, 0.0, -1.0, 0.0])[turns], jnp.array([0.0, 1.0, 0.0, -1.0])[turns]
    mirror = _scale(1.0 - 2.0 * flips, jnp.ones(b))
    return _product(mirror, _rotate(cosine, sine), _translate(-shift))


def _general(key: Key[Array, ""], images: Images, p: Probability) -> tuple[Matrix, Which]:
    """Scaling, rotation, anisotropic scaling, rotation, fractional translation; which have any."""
    b, h, w, _ = images.shape
    which, bell, flat = random.split(key, 3)
    p = jnp.asarray(p, float)
    p_rotate = 1 - jnp.sqrt(1 - p)  # so that one rotation or the other has probability p
    on = chosen(which, (5, b), jnp.stack([p, p_rotate, p, p_rotate, p])[:, None])
    z = normal(bell, (4, b))
    size = jnp.where(on[0], jnp.exp2(0.2 * z[0]), 1.0)
    stretch = jnp.where(on[2], jnp.exp2(0.2 * z[1]), 1.0)
    angles = uniform(flat, (2, b), -np.pi, np.pi)
    before, after = jnp.where(on[1], angles[0], 0.0), jnp.where(on[3], angles[1], 0.0)
    shift = jnp.where(on[4][:, None], 0.125 * z[2:].T * jnp.array([[w, h]]), 0.0)
    inverse = _product(
        _scale(1 / size, 1 / size),
        _rotate(jnp.cos(before), jnp.sin(before)),
        _scale(1 / stretch, stretch),
        _rotate(jnp.cos(after), jnp.sin(after)),
        _translate(-shift),
    )
    return inverse, jnp.any(on, 0)


def _scale(x: Float[Array, " b"], y: Float[Array, " b"]) -> Matrix:
    zero = jnp.zeros_like(x)
    return _affine(x, zero, zero, zero, y, zero)


def _rotate(cosine: Float[Array, " b"], sine: Float[Array, " b"]) -> Matrix:
    zero = jnp.zeros_like(cosine)
    return _affine(cosine, -sine, zero, sine, cosine, zero)


def _translate(shift: Float[Array, "b 2"]) -> Matrix:
    one, zero = jnp.ones(len(shift)), jnp.zeros(len(shift))
    return _affine(one, zero, shift[:, 0], zero, one, shift[:, 1])


def _affine(*entries: Float[Array, " b"]) -> Matrix:
    upper = jnp.stack(entries, -1).reshape(-1, 2, 3)
    lower = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0], upper.dtype), (len(upper), 1, 3))
    return jnp.concatenate([upper, lower], 1)


def _product(*matrices: Matrix) -> Matrix:
    product = matrices[0]
    for matrix in matrices[1:]:
        product = jnp.matmul(product, matrix, precision=lax.Precision.HIGHEST)
    return product


# --------------------------------------------------------------------------------------------------
# Sampling


def look_up(images: Images, inverse: Matrix) -> Images:
    """The nearest pixel, reflected at the edges: exact where the inverse's numbers are integers."""
    _, h, w, _ = images.shape
    x, y = _sources(inverse, np.arange(w) - (w - 1) / 2, np.arange(h) - (h - 1) / 2)
    # The small number makes all of a half pixel's ties fall to the same side.
    x, y = (jnp.round(v + (n - 1) / 2 - 1e-3).astype(int) for v, n in ((x, w), (y, h)))
    return jax.vmap(lambda image, y, x: image[y, x])(images, reflect(y, h), reflect(x, w))


def resample(images: Images, inverse: Matrix) -> Images:
    """Images transformed with the matrices whose inverses are given, without aliasing."""
    _, h, w, _ = images.shape
    fine = _along_axes(_upsampling(h), _upsampling(w), images)
    x, y = _sources(inverse, _fine_pixels(w), _fine_pixels(h))
    x, y = (2 * (v + (n - 1) / 2) + _CENTRE for v, n in ((x, w), (y, h)))
    return _along_axes(_downsampling(h), _downsampling(w), _bilinear(fine, y, x))


def _sources(inverse: Matrix, x: np.ndarray, y: np.ndarray) -> tuple[Array, Array]:
    """Where each pixel of the grid of x and y comes from: arrays b h w."""
    right, down = (v.astype(np.float32)[None] for v in np.meshgrid(x, y))
    m = inverse[:, :2, :, None, None]
    from_x, from_y = (m[:, i, 0] * right + m[:, i, 1] * down + m[:, i, 2] for i in (0, 1))
    return from_x, from_y


def _fine_pixels(n: int) -> np.ndarray:
    """Where the samples that downsampling takes lie, in pixels from the centre."""
    return (np.arange(2 * n + _TAPS - 2) - _LEFT - _CENTRE) / 2 - (n - 1) / 2


def _bilinear(
    fine: Float[Array, "b hf wf c"], y: Float[Array, "b m n"], x: Float[Array, "b m n"]
) -> Float[Array, "b m n c"]:
    """Samples of periodic images, whose last row and column are their first once more."""
    rows, columns, c = fine.shape[1:]
    y, x = jnp.mod(y, rows - 1), jnp.mod(x, columns - 1)
    # mod of a tiny negative number rounds to the period itself
    top, left = jnp.minimum(jnp.floor(y), rows - 2), jnp.minimum(jnp.floor(x), columns - 2)
    down, right = (y - top)[..., None, None], (x - left)[..., None]

    def corners(image, y, x):  # one gather of all four, for its gradient is a slow scatter
        return lax.dynamic_slice(image, (y, x, 0), (2, 2, c))

    for axes in ((None, 0, 0), (None, 0, 0), (0, 0, 0)):
        corners = jax.vmap(corners, axes)
    four = corners(fine, top.astype(int), left.astype(int))
    two = (1 - down) * four[..., 0, :, :] + down * four[..., 1, :, :]
    return (1 - right) * two[..., 0, :] + right * two[..., 1, :]


# --------------------------------------------------------------------------------------------------
# Filters along one axis, as matrices


def reflect(i, n: int):
    """The pixel of 0, ..., n - 1 that reflections without end put at the integers i."""
    period = max(2 * (n - 1), 1)
    i = i % period
    return i - (2 * i - period) * (i >= n)


def _upsampling(n: int) -> np.ndarray:
    """One period of the reflected and upsampled signal, u[j] = sum over k of h[j - 2k + left] x[k],
    and its first sample once more."""
    period = max(4 * (n - 1), 2)
    matrix = np.zeros((period + 1, n))
    for j in range(period):
        for k in range((j + _LEFT - _TAPS) // 2, (j + _LEFT) // 2 + 1):
            if 0 <= j - 2 * k + _LEFT < _TAPS:
                matrix[j, reflect(k, n)] += SYM6[j - 2 * k + _LEFT]
    matrix[period] = matrix[0]
    return matrix


def _downsampling(n: int) -> np.ndarray:
    """y[k] = sum over t of h[t] u[2k + t - left]; the first column is u[-left]."""
    matrix = np.zeros((n, 2 * n + _TAPS - 2))
    for k in range(n):
        matrix[k, 2 * k : 2 * k + _TAPS] = SYM6
    return matrix


def _along_axes(rows: np.ndarray, columns: np.ndarray, images: Images) -> Float[Array, "b h2 w2 c"]:
    precise = lax.Precision.HIGHEST
    images = jnp.einsum("Yy,byxc->bYxc", rows, images, precision=precise)
    return jnp.einsum("Xx,byxc->byXc", columns, images, precision=precise)
