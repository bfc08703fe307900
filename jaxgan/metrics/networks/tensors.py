"""What `convert` of every feature network does to the tensors of a weight file."""

from collections.abc import Mapping

import numpy as np

from jaxgan.errors import UserError


def take(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor `name` as float32; UserError if it is not there or has another shape."""
    if name not in tensors:
        raise UserError(f"weights: there is no tensor {name!r}; is it the file of another network?")
    tensor = np.asarray(tensors[name])
    if tensor.shape != shape:
        raise UserError(f"weights: the tensor {name!r} has the shape {tensor.shape}, not {shape}")
    return tensor.astype(np.float32)


def convolution_with_norm(
    tensors: Mapping[str, np.ndarray],
    name: str,
    norm: str,
    shape: tuple[int, int, int, int],
    epsilon: float,
) -> dict[str, np.ndarray]:
    """PyTorch's convolution `name`, of `shape` OIHW, and the BatchNorm `norm` after it as one.

    (k * x - mean) scale + bias with scale = weight / sqrt(variance + epsilon) is a convolution with
    k scale, plus bias - mean scale. In float64, so that only float32's last digit differs.
    """
    kernel = take(tensors, f"{name}.weight", shape).astype(np.float64)
    weight, bias, mean, variance = (
        take(tensors, f"{norm}.{each}", shape[:1]).astype(np.float64)
        for each in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + epsilon)
    return {
        "kernel": np.ascontiguousarray((kernel.transpose(2, 3, 1, 0) * scale).astype(np.float32)),
        "bias": (bias - mean * scale).astype(np.float32),
    }
