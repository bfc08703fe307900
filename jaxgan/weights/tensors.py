"""What all formats share: bounds, and tensors that outlive their file."""

from collections.abc import Mapping
from typing import Any

import numpy as np

MAX_BYTES = 2**32  # of all tensors of a file together
BFLOAT16 = "V2"  # two bytes, which numpy has no numbers for; they become float32, exactly

_MAX_AXES = 8


class Bad(Exception):
    """What is wrong with the file, as the end of a sentence that begins with its name."""


def copied(views: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What remains when the file is closed: contiguous, in native order, bfloat16 as float32."""
    bounded(sum(view.nbytes * (1 + (view.dtype == BFLOAT16)) for view in views.values()))
    copies = {}
    for name, view in views.items():
        if view.dtype == BFLOAT16:  # the upper half of a float32
            upper = np.ascontiguousarray(view).view("<u2").astype(np.uint32)
            copies[name] = (upper << 16).view(np.float32).reshape(view.shape)
        else:
            copies[name] = np.array(view, view.dtype.newbyteorder("="), order="C")
    return copies


def bounded(total: int) -> None:
    if total > MAX_BYTES:
        raise Bad(f"its tensors are larger than the {MAX_BYTES // 2**30} GiB that are read")


def sizes(value: Any) -> tuple[int, ...]:
    """A shape or the strides of an array, checked."""
    sizes = expect(value, tuple)
    if len(sizes) > _MAX_AXES or not all(type(n) is int and 0 <= n <= MAX_BYTES for n in sizes):
        raise Bad("corrupt: a shape or strides that are none")
    return sizes


def expect(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise Bad(f"corrupt: there is a {type(value).__name__} where that cannot be")
    return value
