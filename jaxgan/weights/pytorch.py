"""A PyTorch state_dict, as `torch.save` writes it in either of its formats."""

import functools
import io
import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxgan.weights.machine import DICT, PARAMETER, TENSOR, Call, Machine, Storage, called
from jaxgan.weights.tensors import Bad, bounded, copied, expect, sizes

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_legacy(content: mmap.mmap) -> dict[str, np.ndarray]:
    # Pickles: the magic number (read by now), the version, of the machine, the object, the keys;
    # then each key's storage after its size.
    if Machine().run(content) != _PROTOCOL:
        raise Bad("of an unknown version of PyTorch's format")
    if expect(Machine().run(content), dict).get("little_endian") is not True:
        raise Bad("written by a big-endian machine, which is not read")
    machine = Machine()
    found = machine.run(content)
    flats = {}
    for key in expect(Machine().run(content), list):
        dtype, _, size = machine.storages[expect(key, str)]
        (written,) = struct.unpack("<q", content.read(8))
        length = size * np.dtype(dtype).itemsize
        if written != size or length > len(content) - content.tell():
            raise Bad("truncated or corrupt: a storage is not as long as it should be")
        flats[key] = np.frombuffer(content.read(length), dtype)
    return copied(views(found, flats.__getitem__))


def read_zip(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], length: int
) -> dict[str, np.ndarray]:
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Bad("should be a .npz or a PyTorch state_dict, but is another zip archive")
    folder = pickles[0].removesuffix("data.pkl")

    def read(name: str) -> bytes:
        info = members[folder + name]
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > length:
            raise Bad("corrupt: PyTorch's archives are not compressed")
        return archive.read(info)

    bounded(sum(info.file_size for info in members.values()))
    if folder + "byteorder" in members and read("byteorder") != b"little":
        raise Bad("written by a big-endian machine, which is not read")
    machine = Machine()
    found = machine.run(io.BytesIO(read("data.pkl")))

    @functools.cache
    def flat(key: str) -> np.ndarray:
        dtype, _, size = machine.storages[key]
        data = np.frombuffer(read(f"data/{key}"), dtype)
        if len(data) != size:
            raise Bad("truncated or corrupt: a storage is not as long as it should be")
        return data

    return copied(views(found, flat))


def views(found: Any, flat: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a state_dict, in `found` or in one dict of it; `flat` gives storages."""
    dicts = [found, *_entries(found).values()]
    for candidates in dicts[:1], dicts[1:]:
        calls = [_tensors(value) for value in candidates]
        calls = [each for each in calls if each]
        if len(calls) > 1:
            raise Bad("holds more than one dict of tensors; save the state_dict alone")
        if calls:
            return {name: _view(call, flat) for name, call in calls[0].items()}
    return {}


def _entries(value: Any) -> dict:
    """Those of a dict or an OrderedDict, which Python 2 wrote as a list of pairs; none else."""
    if called(value, DICT):
        pairs = value.args[0] if value.args else []
        return {expect(key, str, int): each for key, each in pairs} | value.entries
    return value if isinstance(value, dict) else {}


def _tensors(value: Any) -> dict[str, Call]:
    unwrapped = {
        name: each.args[0] if called(each, PARAMETER) else each
        for name, each in _entries(value).items()
    }
    return {str(name): each for name, each in unwrapped.items() if called(each, TENSOR)}


def _view(call: Call, flat: Callable[[str], np.ndarray]) -> np.ndarray:
    """A tensor as a view of its storage."""
    storage, offset, shape, strides, *_ = call.args
    data = flat(expect(storage, Storage).key)
    (offset,), shape, strides = sizes((offset,)), sizes(shape), sizes(strides)
    # A stride of 0 would make as much as is claimed of one number.
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > len(data) or (0 not in shape and last >= len(data)):
        raise Bad("corrupt: a tensor reaches beyond its storage")
    size = data.itemsize
    if 0 in shape:
        return np.empty(shape, data.dtype)
    return np.ndarray(shape, data.dtype, data, offset * size, [n * size for n in strides])
