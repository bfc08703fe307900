"""The IDX files in which MNIST and its kin are published."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxgan.errors import UserError
from jaxgan.typing import Int, UInt8

MAX_BYTES = 2**32  # of one file; what a hostile header may make us take


def read_idx(folder: Path, name: str, ndim: int) -> UInt8[np.ndarray, "..."]:
    """The unsigned bytes of the IDX file `name`, or else `name`.gz, as an array of `ndim` axes.

    The format: 0, 0, the type (8 is uint8), the number of axes; the size of each axis as a
    big-endian uint32; the data. Raises UserError, naming the file, where it is missing, corrupt,
    truncated or of another kind. Source: http://yann.lecun.com/exdb/mnist.
    """
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise UserError(f"{folder}: there is neither {name} nor {name}.gz in this folder")
    start = 4 + 4 * ndim
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            header = file.read(start)
            shape, size = _shape(path, header, ndim)
            content = file.read(size + 1)
    except (OSError, EOFError, MemoryError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if len(content) != size:
        count = f"{len(content)} bytes follow" if len(content) < size else "more follow"
        raise UserError(
            f"{path}: truncated or corrupt: its header says {shape}, which is {size} bytes, "
            f"but {count}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(path: Path, header: bytes, ndim: int) -> tuple[tuple[int, ...], int]:
    """The array's shape by the file's header, and its bytes."""
    magic = bytes([0, 0, 8, ndim])
    if header[:4] != magic:
        raise UserError(
            f"{path}: not an IDX file of unsigned bytes with {ndim} axes: "
            f"it should begin with {magic.hex()}, not with '{header[:4].hex()}'"
        )
    if len(header) < 4 + 4 * ndim:
        raise UserError(f"{path}: truncated: it ends within its header")
    shape = struct.unpack(f">{ndim}I", header[4:])
    if math.prod(shape) > MAX_BYTES:
        raise UserError(f"{path}: its header says {shape}, more than the 4 GiB that are allowed")
    return shape, math.prod(shape)


def load_idx(
    folder: Path, split: str
) -> tuple[UInt8[np.ndarray, "n h w 1"], Int[np.ndarray, " n"]]:
    """Images and labels of the IDX files of MNIST or its kin; `split` is "train" or "test".

    Raises UserError, naming the file, where one is missing or corrupt.
    """
    prefix = {"train": "train", "test": "t10k"}[split]
    images = read_idx(folder, f"{prefix}-images-idx3-ubyte", ndim=3)
    labels = read_idx(folder, f"{prefix}-labels-idx1-ubyte", ndim=1)
    if len(images) != len(labels):
        raise UserError(f"{folder}: {len(images):,} {split} images, but {len(labels):,} labels")
    return images[..., None], labels.astype(np.int32)
