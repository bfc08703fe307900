"""Resizing against Pillow, and against TensorFlow 1's rule pixel by pixel."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan.errors import UserError
from jaxgan.ops.resize import METHODS, resize

PILLOW = {"pil_bilinear": Image.Resampling.BILINEAR, "pil_bicubic": Image.Resampling.BICUBIC}

# (height, width) before and after
SIZES = [
    ((32, 32), (299, 299)),
    ((64, 48), (96, 50)),
    ((48, 64), (20, 31)),
    ((512, 300), (299, 299)),  # one side shrinks, the other hardly
    ((7, 5), (7, 5)),
    ((1, 6), (4, 1)),
    ((2, 1), (1, 3)),
    ((1, 1), (2, 2)),
]


def images(height, width, count=2):
    random = np.random.default_rng(height + width)
    return random.integers(0, 256, (count, height, width, 3)).astype(np.float32)


def resized(x, size, method):
    return np.asarray(jax.jit(resize, static_argnums=(1, 2))(x, size, method))


def by_pillow(x, size, method):
    """Each channel as an image of floats, which Pillow does not round."""

    def one(plane):
        return np.asarray(Image.fromarray(plane).resize(size[::-1], PILLOW[method]))

    planes = [[one(image[..., c]) for c in range(image.shape[-1])] for image in x]
    return np.moveaxis(np.asarray(planes), 1, -1)


def by_tensorflow_1(x, size):
    """resize_bilinear without align_corners and without centres of pixels, one pixel at a time."""
    (_, height, width, _), (rows, columns) = x.shape, size
    y = np.zeros((len(x), rows, columns, x.shape[3]), np.float32)
    for row in range(rows):
        down = np.float32(row) * np.float32(height / rows)
        top = int(down)
        bottom, down = min(top + 1, height - 1), down - np.float32(top)
        for column in range(columns):
            right = np.float32(column) * np.float32(width / columns)
            left = int(right)
            far, right = min(left + 1, width - 1), right - np.float32(left)
            above = x[:, top, left] + (x[:, top, far] - x[:, top, left]) * right
            below = x[:, bottom, left] + (x[:, bottom, far] - x[:, bottom, left]) * right
            y[:, row, column] = above + (below - above) * down
    return y


@pytest.mark.parametrize("before, after", SIZES)
@pytest.mark.parametrize("method", PILLOW)
def test_pillows_filters(method, before, after):
    x = images(*before)
    expected = by_pillow(x, after, method)
    np.testing.assert_allclose(resized(x, after, method), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("before, after", [pair for pair in SIZES if pair[0] != (512, 300)])
def test_tensorflow_1s_rule(before, after):
    x = images(*before, count=1)
    expected = by_tensorflow_1(x, after)
    np.testing.assert_allclose(resized(x, after, "tf1_bilinear"), expected, rtol=0, atol=1e-4)


def test_bicubic_overshoots_and_is_not_clipped():
    x = np.zeros((1, 8, 8, 1), np.float32)
    x[:, :, 4:] = 255
    y = resized(x, (8, 64), "pil_bicubic")
    assert y.min() < -5 and y.max() > 260


@pytest.mark.parametrize("method", METHODS)
def test_a_flat_image_stays_flat(method):
    y = resized(np.full((1, 33, 17, 3), 200, np.float32), (50, 9), method)
    np.testing.assert_allclose(y, 200, rtol=1e-6)


def test_an_unknown_method_is_named():
    with pytest.raises(UserError, match=r"resize: there is no 'pil_bicubi'.*'pil_bicubic'"):
        resized(images(4, 4), (2, 2), "pil_bicubi")
