"""Weight files of others: their tensors by name, and nothing of the file is ever executed.

Told by content, not by suffix: safetensors; a .npz; a PyTorch state_dict, as `torch.save` wrote it
before version 1.6 (pickles, then the storages) and since (the same in a zip archive); a pickle of
nested dicts of numpy arrays, which is how some JAX packages ship their weights.

The format of a pickle is a program for a stack machine, and loading one runs it. Here it is not
loaded: pickletools lists its instructions, the few that weight files need are followed, and what
they would call is noted down as a `Call`. Then those calls that make a tensor are read for their
arguments. So no constructor runs before its sizes are known to lie within the file.
"""

import mmap
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.weights import nested, plain, pytorch
from jaxgan.weights.machine import Machine
from jaxgan.weights.tensors import Bad


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a weight file by name, contiguous and in the machine's byte order.

    bfloat16 becomes float32. Names within nested dicts of numpy arrays are joined with "/". Of a
    PyTorch file these are the tensors of the state_dict, which may lie in a dict under a key of
    its own; its other entries are skipped. Raises UserError, naming the file, where it is missing,
    of another format, truncated or corrupt, would call anything else, or has more than 4 GiB.
    """
    tensors = _opened(path, _read)
    if not tensors:
        raise UserError(f"{path}: there are no tensors in it")
    return tensors


def read_like(path: Path, like: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file that has those of `like`, by their names, shapes and
    dtypes, and no others; its size is compared before anything is read. Raises UserError."""
    return _opened(path, lambda _, content: plain.read_safetensors_like(content, like))


def write_tensors(
    path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Arrays and numbers by name, as a safetensors file."""
    arrays = {name: np.asarray(x) for name, x in tensors.items()}
    plain.write_safetensors(path, arrays, dict(metadata or {}))


def _opened(
    path: Path, read: Callable[[IO[bytes], mmap.mmap], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise Bad("is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return read(file, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Bad as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # hostile bytes make every parser raise anything
        raise UserError(f"{path}: truncated or corrupt ({type(error).__name__})") from error


def _read(file: IO[bytes], content: mmap.mmap) -> dict[str, np.ndarray]:
    if content[:4] == b"PK\3\4":
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if all(name.endswith(".npy") for name in members):
                return plain.read_npz(archive, members)
            return pytorch.read_zip(archive, members, len(content))
    if content[:1] == b"\x80":  # how pickles begin
        found = Machine().run(content)
        if type(found) is int and found == pytorch.MAGIC:
            return pytorch.read_legacy(content)
        return nested.read_nested(content, found)
    if content[8:9] == b"{":  # after the length of its header
        return plain.read_safetensors(content)
    raise Bad("should be safetensors, .npz, a PyTorch state_dict or a pickle of numpy arrays")
