"""safetensors and .npz, which hold nothing but arrays."""

import math
import mmap
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxgan.weights.tensors import BFLOAT16, Bad, bounded, copied

_SAFETENSORS = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "BOOL": "|b1",
    "BF16": BFLOAT16,
}

_METADATA, _ENTRY = 2**16, 256  # bytes of a header, at most: beside its entries, and of each


def read_safetensors(content: mmap.mmap) -> dict[str, np.ndarray]:
    bounded(len(content))
    try:
        entries = safetensors.deserialize(content[:])
    except safetensors.SafetensorError as error:
        raise Bad(f"corrupt safetensors: {str(error)[:80]}") from error
    views = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS:
            raise Bad(f"{name[:80]!r} is of type {entry['dtype']}, which is not read")
        flat = np.frombuffer(entry["data"], _SAFETENSORS[entry["dtype"]])
        views[name] = flat.reshape(entry["shape"])
    return copied(views)


def read_safetensors_like(content: mmap.mmap, like: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Those with the names, shapes and dtypes of `like`, or Bad."""
    arrays = sum(math.prod(each.shape) * each.dtype.itemsize for each in like.values())
    header = int.from_bytes(content[:8], "little")
    most = _METADATA + sum(len(name.encode()) + _ENTRY for name in like)
    if len(content) < 8 or header > most or len(content) != 8 + header + arrays:
        raise Bad(
            f"truncated, corrupt or of another network: it has {len(content):,} bytes, but the "
            f"network's arrays are {arrays:,}, with up to {most:,} before them"
        )
    tensors = read_safetensors(content)
    if tensors.keys() != like.keys():
        odd = sorted(tensors.keys() ^ like.keys())[0]
        raise Bad(f"of another network: {odd[:80]!r} is in one of the two and not in the other")
    for name, there in tensors.items():
        of = like[name]
        if (there.shape, there.dtype) != (of.shape, of.dtype):
            raise Bad(
                f"of another network: {name!r} is {there.dtype} of {list(there.shape)}, and should "
                f"be {of.dtype} of {list(of.shape)}"
            )
    return tensors


def write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str]
) -> None:
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    path.write_bytes(safetensors.numpy.save(contiguous, metadata or None))


def read_npz(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]
) -> dict[str, np.ndarray]:
    bounded(sum(info.file_size for info in members.values()))
    with warnings.catch_warnings():  # of headers that Python 2 wrote, and of odd ones
        warnings.simplefilter("ignore")
        return {
            member.removesuffix(".npy"): _read_npy(archive, info)
            for member, info in members.items()
        }


def _read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    place, form = repr(info.filename[:80]), np.lib.format
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks these without a bound, whatever size they declare.
        raise Bad(f"{place} is compressed by another method than numpy's")
    with archive.open(info) as file:
        old = form.read_magic(file) == (1, 0)
        header = form.read_array_header_1_0 if old else form.read_array_header_2_0
        shape, _, dtype = header(file)
        if dtype.kind not in "fiub":
            raise Bad(f"{place} should hold numbers, but is of {dtype}")
        if math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise Bad(f"truncated or corrupt: {place} is not as long as its header says")
    with archive.open(info) as file:
        array = form.read_array(file, allow_pickle=False)
    return np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)  # 0 axes stay 0
