"""A pickle of nested dicts of numpy arrays."""

import math
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgan.weights.machine import DTYPE, NDARRAY, RECONSTRUCT, Call, called
from jaxgan.weights.tensors import Bad, copied, expect, sizes

_NUMBERS = {"f2", "f4", "f8", "b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}


def read_nested(content: mmap.mmap, found: Any) -> dict[str, np.ndarray]:
    if content.tell() != len(content):
        raise Bad("corrupt: more follows after the end of its pickle")
    return copied(dict(_arrays(expect(found, dict), "", set())))


def _arrays(tree: dict, prefix: str, seen: set[int]) -> Iterator[tuple[str, np.ndarray]]:
    if id(tree) in seen:
        raise Bad("corrupt: a dict occurs in it more than once")
    seen.add(id(tree))
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _arrays(value, f"{prefix}{key}/", seen)
        elif called(value, *RECONSTRUCT):
            yield f"{prefix}{key}", _array(value)


def _array(call: Call) -> np.ndarray:
    """A view of the pickle's bytes."""
    kind, *_ = call.args
    _, shape, made, fortran, data = expect(call.state, tuple)
    if kind != NDARRAY or not called(made, DTYPE):
        raise Bad("corrupt: an array without its type")
    code, order = expect(made.args[0], str), expect(made.state, tuple)[1]
    if code not in _NUMBERS:
        raise Bad(f"has an array of {code[:20]!r}; they should hold numbers")
    dtype = np.dtype(code).newbyteorder(expect(order, str))
    count = math.prod(sizes(shape))
    if count * dtype.itemsize != len(expect(data, bytes)):
        raise Bad("corrupt: an array has not as many bytes as its shape says")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
