"""DINOv2: vision transformers that learnt from images without labels; for FD-DINOv2, ViT-L/14.

Oquab et al. 2023 (https://arxiv.org/abs/2304.07193); Stein et al. 2023
(https://arxiv.org/abs/2306.04675) compare Gaussians of its features. The weight file is the
authors' `dinov2_vitl14_pretrain.pth` (Apache-2.0). Depth and width are read from the tensors, so
those of ViT-S/14 and ViT-B/14 serve too.

The features are the class token after the last norm, of images of 224 pixels: 16 x 16 patches. The
file has the positions of 37 x 37. The authors' code resizes them bicubically with the scale
(16 + 0.1) / 37, not 16 / 37, and without antialiasing, and so does this; the networks behind
published FD-DINOv2 are that code's. transformers' takes 16 / 37 and timm's antialiases: other
features, with random weights by some 1e-4 of the largest.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.metrics.networks.outputs import Outputs
from jaxgan.metrics.networks.tensors import take
from jaxgan.typing import Array, Float, Params

SIZE = 224
PATCH = 14  # pixels along a side
GRID, STORED = SIZE // PATCH, 37  # patches along a side: of the images here, of the file's
HEAD = 64  # channels of an attention head, in networks of all sizes
EPSILON = 1e-6  # of LayerNorm
OFFSET = 0.1  # added to the number of patches where positions are resized
CUBIC = -0.75  # the parameter of PyTorch's bicubic kernel

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's images in [0, 1]
DEVIATION = (0.229, 0.224, 0.225)


def convert(tensors: Mapping[str, np.ndarray]) -> Params:
    """Kernels input first, blocks stacked along a leading axis, positions of 16 x 16 patches.

    Raises UserError for a tensor that is missing or has another shape, and for a network with
    register tokens.
    """
    if "register_tokens" in tensors:
        raise UserError("weights: a DINOv2 network with registers; take the file without (no reg4)")
    width = np.atleast_1d(tensors.get("cls_token", np.zeros(HEAD))).shape[-1]  # `take` judges it
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})

    def linear(name: str, outputs: int, inputs: int) -> dict[str, np.ndarray]:
        kernel = take(tensors, f"{name}.weight", (outputs, inputs))
        bias = take(tensors, f"{name}.bias", (outputs,))
        return {"kernel": np.ascontiguousarray(kernel.T), "bias": bias}

    def vector(name: str) -> np.ndarray:
        return take(tensors, name, (width,))

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"scale": vector(f"{name}.weight"), "bias": vector(f"{name}.bias")}

    def block(at: str) -> Params:
        return {
            "norm1": norm(f"{at}.norm1"),
            "qkv": linear(f"{at}.attn.qkv", 3 * width, width),
            "proj": linear(f"{at}.attn.proj", width, width),
            "scale1": vector(f"{at}.ls1.gamma"),
            "norm2": norm(f"{at}.norm2"),
            "fc1": linear(f"{at}.mlp.fc1", 4 * width, width),
            "fc2": linear(f"{at}.mlp.fc2", width, 4 * width),
            "scale2": vector(f"{at}.ls2.gamma"),
        }

    class_token = take(tensors, "cls_token", (1, 1, width))[0]
    positions = take(tensors, "pos_embed", (1, 1 + STORED**2, width))[0]
    patch = take(tensors, "patch_embed.proj.weight", (width, 3, PATCH, PATCH))
    blocks = [block(f"blocks.{number}") for number in range(max(depth, 1))]
    return {
        "class_token": class_token + positions[:1],
        "patch": {
            "kernel": patch.transpose(2, 3, 1, 0).reshape(-1, width),
            "bias": vector("patch_embed.proj.bias"),
        },
        "positions": _resized(positions[1:]),
        "blocks": jax.tree.map(lambda *each: np.stack(each), *blocks),
        "norm": norm("norm"),
    }


def apply(params: Params, images: Float[Array, "b h w 3"]) -> Outputs:
    """Of float32 RGB images in [0, 255], 224 pixels along a side."""
    mean, deviation = (jnp.asarray([[[each]]], images.dtype) for each in (MEAN, DEVIATION))
    x = (images / 255 - mean) / deviation
    b = x.shape[0]
    x = x.reshape(b, GRID, PATCH, GRID, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
    x = _linear(params["patch"], x.reshape(b, GRID**2, -1)) + params["positions"][None]
    first = jnp.broadcast_to(params["class_token"][None], (b, 1, x.shape[2]))
    x = jnp.concatenate([first, x], 1)
    x, _ = jax.lax.scan(lambda x, block: (_block(block, x), None), x, params["blocks"])
    return Outputs(_norm(params["norm"], x[:, 0]), None)


def _block(params: Params, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    y = _attention(params, _norm(params["norm1"], x))
    x = x + y * params["scale1"][None, None]
    y = jax.nn.gelu(_linear(params["fc1"], _norm(params["norm2"], x)), approximate=False)
    return x + _linear(params["fc2"], y) * params["scale2"][None, None]


def _attention(params: Params, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    b, t, d = x.shape
    qkv = _linear(params["qkv"], x).reshape(b, t, 3, d // HEAD, HEAD)
    q, k, v = (qkv[:, :, n] for n in range(3))
    logits = jnp.einsum("bqhd,bkhd->bhqk", q / math.sqrt(HEAD), k, precision="highest")
    y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(logits), v, precision="highest")
    return _linear(params["proj"], y.reshape(b, t, d))


def _linear(params: Params, x: Float[Array, "b t i"]) -> Float[Array, "b t o"]:
    return jnp.matmul(x, params["kernel"], precision="highest") + params["bias"][None, None]


def _norm(params: Params, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    x = x - jnp.mean(x, -1, keepdims=True)
    x = x / jnp.sqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + EPSILON)
    scale, bias = (params[name].reshape((1,) * (x.ndim - 1) + (-1,)) for name in ("scale", "bias"))
    return x * scale + bias


def _resized(positions: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m d"]:
    """From 37 x 37 patches to 16 x 16, as PyTorch's bicubic `interpolate` with a scale factor."""
    scale = (GRID + OFFSET) / STORED
    source = (np.arange(GRID) + 0.5) / scale - 0.5
    taps = np.floor(source)[:, None] + np.arange(-1, 3)  # 4 to each output
    weights = _cubic(np.abs(source[:, None] - taps))
    matrix = np.zeros((GRID, STORED))
    clamped = np.clip(taps, 0, STORED - 1).astype(int)
    np.add.at(matrix, (np.arange(GRID)[:, None], clamped), weights)
    grid = positions.reshape(STORED, STORED, -1).astype(np.float64)
    resized = np.einsum("hi,wj,ijd->hwd", matrix, matrix, grid, optimize=True)
    return resized.reshape(GRID**2, -1).astype(np.float32)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys 1981, equation 4, for distances below 2."""
    x, a = distance, CUBIC
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    return np.where(x <= 1, near, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a)
