"""The InceptionV3 of the Fréchet inception distance and of the inception score.

Szegedy et al. 2016 (https://arxiv.org/abs/1512.00567), as TensorFlow's graph of 2015-12-05 has it,
which both scores are defined with. It is not the network of the paper in two ways: the last block
takes the maximum where the others take the average, and average pooling divides by the number of
pixels within the image, not by 9. Nor is it torchvision's, whose weights are others.

The weights are pt_inception-2015-12-05-6726825d.pth of pytorch-fid, which torch-fidelity publishes
too, as weights-inception-2015-12-05-6726825d.pth; the names in them are those of torchvision.

* Features are the averages over the 8 x 8 pixels of the last block, FID's "pool_3:0".
* Logits are those without the bias, torch-fidelity's `logits_unbiased`: the inception score's own
  code (Salimans et al. 2016, https://arxiv.org/abs/1606.03498) multiplies the features with the
  last layer's weights and stops there, and published scores follow it.

On CPU the network is faster for 1 x 1 and strided convolutions as matrix products, for maxima of
shifted images in place of XLA's windows, and for a few images at a time, which also take less
memory: by 12, 5, 12 and 9 % (jax 0.10.2, two cores).
"""

from collections.abc import Callable, Mapping
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan.metrics.networks.outputs import Outputs
from jaxgan.metrics.networks.tensors import convolution_with_norm, take
from jaxgan.typing import Array, Float, Params

SIZE = 299

_EPSILON = 1e-3  # BatchNorm's
_PART = 8  # the most images that are looked at together on CPU
_CLASSES = 1008  # 1,000 of ImageNet, the others are never trained

# Output channels, input channels, height and width of the kernels.
_Shapes = dict[str, tuple[int, int, int, int]]

_STEM: _Shapes = {
    "Conv2d_1a_3x3": (32, 3, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (64, 32, 3, 3),
    "Conv2d_3b_1x1": (80, 64, 1, 1),
    "Conv2d_4a_3x3": (192, 80, 3, 3),
}


def convert(tensors: Mapping[str, np.ndarray]) -> Params:
    """Kernels (height x width x inputs x outputs) and biases by layer, and the last layer's matrix.

    Raises UserError for a tensor that is missing or has another shape.
    """
    params = {
        layer: convolution_with_norm(tensors, f"{layer}.conv", f"{layer}.bn", shape, _EPSILON)
        for layer, shape in _shapes().items()
    }
    last = take(tensors, "fc.weight", (_CLASSES, 2048))
    params["fc"] = {"kernel": np.ascontiguousarray(last.T)}
    return params


def apply(params: Params, images: Float[Array, "b 299 299 3"]) -> Outputs:
    """2,048 features and 1,008 logits of RGB images in [0, 255].

    On CPU as many images at a time as divide the batch, eight at most.
    """
    return lax.platform_dependent(params, images, cpu=_apply_to_parts, default=_apply)


def _apply_to_parts(params: Params, images: Array) -> Outputs:
    b = images.shape[0]
    size = next(size for size in range(_PART, 0, -1) if b % size == 0)
    # A part is made of every (b / size)th image, so each device has its share of it.
    parts = images.reshape(size, b // size, *images.shape[1:]).swapaxes(0, 1)
    outputs = lax.map(partial(_apply, params), parts)
    return jax.tree.map(lambda each: each.swapaxes(0, 1).reshape(b, -1), outputs)


def _apply(params: Params, images: Array) -> Outputs:
    x = _middle(params, _stem(params, (images - 128) / 128))
    x = _inception_d(partial(_conv, params, "Mixed_7a."), x)
    x = _inception_e(partial(_conv, params, "Mixed_7b."), x, _average_pool)
    x = _inception_e(partial(_conv, params, "Mixed_7c."), x, partial(_max_pool, padding=1))
    features = x.mean((1, 2))
    return Outputs(features, _product(features, params["fc"]["kernel"]))


# --------------------------------------------------------------------------------------------------
# Blocks, by torchvision's names. `conv` applies the block's layer of a name.


def _stem(params: Params, x: Array) -> Array:
    conv = partial(_conv, params, "")
    x = conv("Conv2d_2a_3x3", conv("Conv2d_1a_3x3", x, stride=2))
    x = _max_pool(conv("Conv2d_2b_3x3", x, padding=(1, 1)), stride=2)
    return _max_pool(conv("Conv2d_4a_3x3", conv("Conv2d_3b_1x1", x)), stride=2)


def _middle(params: Params, x: Array) -> Array:
    for name in ("Mixed_5b.", "Mixed_5c.", "Mixed_5d."):
        x = _inception_a(partial(_conv, params, name), x)
    x = _inception_b(partial(_conv, params, "Mixed_6a."), x)
    for name in ("Mixed_6b.", "Mixed_6c.", "Mixed_6d.", "Mixed_6e."):
        x = _inception_c(partial(_conv, params, name), x)
    return x


def _inception_a(conv: Callable[..., Array], x: Array) -> Array:
    double = conv("branch3x3dbl_2", conv("branch3x3dbl_1", x), padding=(1, 1))
    branches = [
        conv("branch1x1", x),
        conv("branch5x5_2", conv("branch5x5_1", x), padding=(2, 2)),
        conv("branch3x3dbl_3", double, padding=(1, 1)),
        conv("branch_pool", _average_pool(x)),
    ]
    return jnp.concatenate(branches, -1)


def _inception_b(conv: Callable[..., Array], x: Array) -> Array:
    double = conv("branch3x3dbl_2", conv("branch3x3dbl_1", x), padding=(1, 1))
    branches = [
        conv("branch3x3", x, stride=2),
        conv("branch3x3dbl_3", double, stride=2),
        _max_pool(x, stride=2),
    ]
    return jnp.concatenate(branches, -1)


def _inception_c(conv: Callable[..., Array], x: Array) -> Array:
    row, column = (0, 3), (3, 0)  # 1 x 7 and 7 x 1 kernels
    single = conv("branch7x7_2", conv("branch7x7_1", x), padding=row)
    double = conv("branch7x7dbl_2", conv("branch7x7dbl_1", x), padding=column)
    double = conv("branch7x7dbl_3", double, padding=row)
    double = conv("branch7x7dbl_4", double, padding=column)
    branches = [
        conv("branch1x1", x),
        conv("branch7x7_3", single, padding=column),
        conv("branch7x7dbl_5", double, padding=row),
        conv("branch_pool", _average_pool(x)),
    ]
    return jnp.concatenate(branches, -1)


def _inception_d(conv: Callable[..., Array], x: Array) -> Array:
    long = conv("branch7x7x3_2", conv("branch7x7x3_1", x), padding=(0, 3))
    long = conv("branch7x7x3_3", long, padding=(3, 0))
    branches = [
        conv("branch3x3_2", conv("branch3x3_1", x), stride=2),
        conv("branch7x7x3_4", long, stride=2),
        _max_pool(x, stride=2),
    ]
    return jnp.concatenate(branches, -1)


def _inception_e(conv: Callable[..., Array], x: Array, pool: Callable[[Array], Array]) -> Array:
    single = conv("branch3x3_1", x)
    double = conv("branch3x3dbl_2", conv("branch3x3dbl_1", x), padding=(1, 1))
    branches = [
        conv("branch1x1", x),
        conv("branch3x3_2a", single, padding=(0, 1)),
        conv("branch3x3_2b", single, padding=(1, 0)),
        conv("branch3x3dbl_3a", double, padding=(0, 1)),
        conv("branch3x3dbl_3b", double, padding=(1, 0)),
        conv("branch_pool", pool(x)),
    ]
    return jnp.concatenate(branches, -1)


def _shapes() -> _Shapes:
    """Kernels of all convolutions by name, as PyTorch has them."""
    shapes = dict(_STEM)
    for name, inputs, pool in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        shapes |= _named(name, _shapes_a(inputs, pool))
    shapes |= _named("6a", _SHAPES_B)
    for name, hidden in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        shapes |= _named(name, _shapes_c(hidden))
    shapes |= _named("7a", _SHAPES_D)
    for name, inputs in (("7b", 1280), ("7c", 2048)):
        shapes |= _named(name, _shapes_e(inputs))
    return shapes


def _named(block: str, shapes: _Shapes) -> _Shapes:
    return {f"Mixed_{block}.{branch}": shape for branch, shape in shapes.items()}


def _shapes_a(inputs: int, pool: int) -> _Shapes:
    return {
        "branch1x1": (64, inputs, 1, 1),
        "branch5x5_1": (48, inputs, 1, 1),
        "branch5x5_2": (64, 48, 5, 5),
        "branch3x3dbl_1": (64, inputs, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (pool, inputs, 1, 1),
    }


_SHAPES_B: _Shapes = {
    "branch3x3": (384, 288, 3, 3),
    "branch3x3dbl_1": (64, 288, 1, 1),
    "branch3x3dbl_2": (96, 64, 3, 3),
    "branch3x3dbl_3": (96, 96, 3, 3),
}


def _shapes_c(hidden: int) -> _Shapes:
    return {
        "branch1x1": (192, 768, 1, 1),
        "branch7x7_1": (hidden, 768, 1, 1),
        "branch7x7_2": (hidden, hidden, 1, 7),
        "branch7x7_3": (192, hidden, 7, 1),
        "branch7x7dbl_1": (hidden, 768, 1, 1),
        "branch7x7dbl_2": (hidden, hidden, 7, 1),
        "branch7x7dbl_3": (hidden, hidden, 1, 7),
        "branch7x7dbl_4": (hidden, hidden, 7, 1),
        "branch7x7dbl_5": (192, hidden, 1, 7),
        "branch_pool": (192, 768, 1, 1),
    }


_SHAPES_D: _Shapes = {
    "branch3x3_1": (192, 768, 1, 1),
    "branch3x3_2": (320, 192, 3, 3),
    "branch7x7x3_1": (192, 768, 1, 1),
    "branch7x7x3_2": (192, 192, 1, 7),
    "branch7x7x3_3": (192, 192, 7, 1),
    "branch7x7x3_4": (192, 192, 3, 3),
}


def _shapes_e(inputs: int) -> _Shapes:
    return {
        "branch1x1": (320, inputs, 1, 1),
        "branch3x3_1": (384, inputs, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (448, inputs, 1, 1),
        "branch3x3dbl_2": (384, 448, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": (192, inputs, 1, 1),
    }


# --------------------------------------------------------------------------------------------------
# Layers


def _conv(
    params: Params,
    block: str,
    name: str,
    x: Array,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
) -> Array:
    """Convolution, BatchNorm and ReLU; `padding` is in pixels above and below, left and right."""
    kernel, bias = params[block + name]["kernel"], params[block + name]["bias"]
    xla = partial(_xla_conv, stride=stride, padding=padding)
    if kernel.shape[:2] == (1, 1):
        y = _product(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:3], -1)
    elif stride == 2:
        y = lax.platform_dependent(x, kernel, cpu=_strided_conv, default=xla)
    else:
        y = xla(x, kernel)
    return jax.nn.relu(y + bias.reshape(1, 1, 1, -1))


def _xla_conv(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pixels, pixels) for pixels in padding],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )


def _strided_conv(x: Array, kernel: Array) -> Array:
    """Stride 2 without padding, as a matrix product with the pixels of each window in a row."""
    (kh, kw, i, o), (b, h, w) = kernel.shape, x.shape[:3]
    h, w = (h - kh) // 2 + 1, (w - kw) // 2 + 1
    taps = [x[:, u : u + 2 * h - 1 : 2, v : v + 2 * w - 1 : 2] for u, v in np.ndindex(kh, kw)]
    windows = jnp.concatenate(taps, -1).reshape(-1, kh * kw * i)
    return _product(windows, kernel.reshape(-1, o)).reshape(b, h, w, o)


def _product(x: Array, kernel: Array) -> Array:
    return jnp.matmul(x, kernel, precision=lax.Precision.HIGHEST)


def _max_pool(x: Array, stride: int = 1, padding: int = 0) -> Array:
    """The largest of each 3 x 3 window: of three shifted images along each axis."""
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (padding, padding)
        x = jnp.pad(x, pads, constant_values=-jnp.inf)
        end = x.shape[axis] - 2  # the last window begins before it
        shifted = (lax.slice_in_dim(x, n, end + n, stride, axis) for n in range(3))
        x = reduce(jnp.maximum, shifted)
    return x


def _average_pool(x: Array) -> Array:
    """The average of those pixels of each 3 x 3 window that lie in the image."""
    counts = _sums(jnp.ones((1, *x.shape[1:3], 1)))
    return _sums(x) / counts


def _sums(x: Array) -> Array:
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), pads)
