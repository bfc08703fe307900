"""The IDX files in which MNIST and its kin are published."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxgan.errors import UserError
from jaxgan.typing import UInt8


def read_idx(folder: Path, name: str, ndim: int) -> UInt8[np.ndarray, "..."]:
    """The unsigned bytes of the IDX file `name`, or else `name`.gz, as an array of `ndim` axes.

    The format: 0, 0, the type (8 is uint8), the number of axes; the size of each axis as a
    big-endian uint32; the data. Raises UserError, naming the file, where it is missing, corrupt,
    truncated or of another kind. Source: http://yann.lecun.com/exdb/mnist.
    """
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise UserError(f"{folder}: there is neither {name} nor {name}.gz in this folder")
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    magic, start = bytes([0, 0, 8, ndim]), 4 + 4 * ndim
    if content[:4] != magic:
        raise UserError(
            f"{path}: not an IDX file of unsigned bytes with {ndim} axes: "
            f"it should begin with {magic.hex()}, not with '{content[:4].hex()}'"
        )
    if len(content) < start:
        raise UserError(f"{path}: truncated: it ends within its header")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise UserError(
            f"{path}: truncated or corrupt: its header says {shape}, which is "
            f"{math.prod(shape)} bytes, but {len(content) - start} bytes follow"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
