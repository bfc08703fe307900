"""Weights that the tests and the scripts beside this file make alike, from a tensor's name."""

import math
import zlib

import numpy as np


def tensor(name, shape):
    """Normal numbers that keep activations of order 1; positive variances, scales about 1."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    numbers = random.standard_normal(shape)
    last = name.replace("/", ".").split(".")[-1]
    if last == "running_var" or "Lin" in name:
        numbers = np.exp(0.5 * numbers)
    elif last in ("cls_token", "pos_embed"):
        numbers *= 0.1
    elif len(shape) > 1:  # kernels: OIHW and output first of PyTorch's, HWIO of Flax's
        fan_in = math.prod(shape[:-1] if last == "kernel" else shape[1:])
        numbers *= math.sqrt(2 / fan_in)
    elif last in ("weight", "gamma"):
        numbers = 1 + 0.2 * numbers
    else:
        numbers *= 0.2
    return numbers.astype(np.float32)


def tensors(shapes):
    return {name: tensor(name, shape) for name, shape in shapes.items()}


def images(count, size, seed=0):
    """Smooth ones with noise, in [0, 255]."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (count, 4, 4, 3))
    fine = np.kron(coarse, np.ones((1, -(-size // 4), -(-size // 4), 1)))[:, :size, :size]
    return np.clip(fine + random.normal(0, 20, fine.shape), 0, 255).astype(np.float32)
