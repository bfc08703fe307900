"""Pictures that lie in an array: a .npy, or a .npz that may have labels beside them.

`images` (in a .npz; an array alone may have any name) is N x H x W or N x H x W x C with 1, 3 or 4
channels last, the fourth alpha. What its numbers mean is found from their type and their range:
bytes, whole numbers from 0 to 255, 16-bit numbers, or floats in [0, 1] or [-1, 1]. `labels` are N
whole numbers. A .npy is mapped, so that it may be larger than memory; a .npz is unpacked into it.

Neither is trusted: no pickle is loaded, and sizes are compared before anything is allocated.
"""

import dataclasses
import io
import math
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from jaxgan.data.images import MAX_PIXELS
from jaxgan.errors import UserError
from jaxgan.typing import UInt8

MAX_BYTES = 2**33  # of a .npz, unpacked
TOLERANCE = 1e-3  # by which floats may leave their range, as resizing and rounding make them

_CHUNK_BYTES = 2**24


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Pixels as they are in the file, how they become bytes, labels as they are (None: none).

    `notes` are sentences for the user about what was assumed.
    """

    pixels: np.ndarray
    to_bytes: Callable[[np.ndarray], np.ndarray]
    labels: list[int] | None
    notes: tuple[str, ...]

    def picture(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        """One picture in memory, with an axis for the channels."""
        pixels = self.to_bytes(np.array(self.pixels[index]))
        return pixels[..., None] if pixels.ndim == 2 else pixels


def read_arrays(path: Path) -> Arrays:
    """The arrays in a .npy or .npz, checked as far as that is possible for all pictures at once.

    Raises UserError, naming the file, where it is corrupt, or its arrays are none of pictures.
    """
    if path.suffix.lower() == ".npy":
        pixels, labels, place = _map_npy(path), None, str(path)
    else:
        pixels, labels = _read_npz(path)
        place = f"{path}: images"
    to_bytes, notes = _meaning(place, pixels)
    return Arrays(pixels, to_bytes, labels, notes)


def _map_npy(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            dtype, shape, fortran = _layout(str(path), file, os.fstat(file.fileno()).st_size)
            _check_images(str(path), dtype, shape)
            return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _read_npz(path: Path) -> tuple[np.ndarray, list[int] | None]:
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises anything on hostile bytes
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{path}: cannot be read as a .npz: {reason}") from error
    with archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if len(members) == 1:
            members = {"images": members.popitem()[1]}
        if "images" not in members or not members.keys() <= {"images", "labels"}:
            raise UserError(
                f"{path}: should hold the arrays 'images' and, if there are any, 'labels'; "
                f"there are: {', '.join(map(repr, sorted(members))) or 'none'}"
            )
        total = sum(info.file_size for info in members.values())
        if total > MAX_BYTES:
            raise UserError(
                f"{path}: unpacks to {total:,} bytes, more than the {MAX_BYTES:,} that are read "
                "into memory; save the images as a .npy, or as files in folders"
            )
        images = _read_member(f"{path}: images", archive, members["images"], _check_images)
        if "labels" not in members:
            return images, None
        count = len(images)

        def check(place: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
            _check_labels(place, dtype, shape, count)

        return images, _read_member(f"{path}: labels", archive, members["labels"], check).tolist()


def _read_member(
    place: str,
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    check: Callable[[str, np.dtype, tuple[int, ...]], None],
) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks these without a bound, whatever size they declare.
        raise UserError(f"{place}: compressed by another method than numpy.savez_compressed's")
    try:
        with archive.open(info) as file:
            dtype, shape, _ = _layout(place, file, info.file_size)
        check(place, dtype, shape)
        with archive.open(info) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.lib.format.read_array(file, allow_pickle=False)
    except UserError:
        raise
    except Exception as error:
        reason = str(error)[:80] or type(error).__name__
        raise UserError(f"{place}: truncated or corrupt: {reason}") from error


def _layout(
    place: str, file: io.BufferedIOBase | IO[bytes], size: int
) -> tuple[np.dtype, tuple[int, ...], bool]:
    """Type, shape and whether in Fortran's order, from the header of a .npy of `size` bytes."""
    form = np.lib.format
    try:
        with warnings.catch_warnings():  # of headers that Python 2 wrote, and of odd ones
            warnings.simplefilter("ignore")
            version = form.read_magic(file)
            read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
            shape, fortran, dtype = read(file)
    except Exception as error:  # numpy raises anything on hostile bytes
        raise UserError(f"{place}: corrupt, or not as numpy.save writes arrays") from error
    if dtype.hasobject:
        raise UserError(
            f"{place}: holds Python objects (a pickle), which jaxgan does not load; "
            "save plain arrays"
        )
    expected, follow = math.prod(shape) * dtype.itemsize, size - file.tell()
    if expected != follow:
        raise UserError(
            f"{place}: truncated or corrupt: its header says {shape} of {dtype}, which is "
            f"{expected:,} bytes, but {follow:,} bytes follow"
        )
    return dtype, shape, fortran


def _check_images(place: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if dtype.kind not in "uif":
        raise UserError(f"{place}: is of {dtype}; pixels should be uint8, or floats in [0, 1]")
    if len(shape) == 4 and shape[3] not in (1, 3, 4) and shape[1] in (1, 3, 4):
        raise UserError(
            f"{place}: of shape {shape}, has its channels first; they should be last: "
            "save images.transpose(0, 2, 3, 1)"
        )
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
        raise UserError(
            f"{place}: of shape {shape}; it should be N x H x W, or N x H x W x C with 1, 3 or 4 "
            "channels"
        )
    if min(shape) < 1:
        raise UserError(f"{place}: of shape {shape}; there are no pixels in it")
    if shape[1] * shape[2] > MAX_PIXELS:
        raise UserError(
            f"{place}: images of {shape[1]:,} x {shape[2]:,} pixels are larger than the "
            f"{MAX_PIXELS // 10**6} million pixels that are allowed"
        )


def _check_labels(place: str, dtype: np.dtype, shape: tuple[int, ...], count: int) -> None:
    if len(shape) == 2 and shape[1] > 1:
        raise UserError(
            f"{place}: of shape {shape}; there should be one whole number an image: "
            "if they are one-hot, save labels.argmax(1)"
        )
    if dtype.kind not in "ui":
        raise UserError(
            f"{place}: of {dtype}; they should be whole numbers: save labels.astype(int)"
        )
    if len(shape) != 1:
        raise UserError(f"{place}: of shape {shape}; save labels.reshape(-1)")
    if shape[0] != count:
        raise UserError(f"{place}: {shape[0]:,} labels for {count:,} images")


def _meaning(
    place: str, pixels: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...]]:
    """How pixels become bytes, and notes."""
    if pixels.dtype == np.uint8:
        return _from_whole, ()
    low, high = _range(place, pixels)
    span = f"{low:.6g} to {high:.6g}"
    if pixels.dtype.kind == "f":
        if low >= -TOLERANCE and high <= 1 + TOLERANCE:
            return _from_unit, (f"Pixels, floats from {span}, are taken to be in [0, 1].",)
        if low >= -1 - TOLERANCE and high <= 1 + TOLERANCE:
            return _from_signed, (f"Pixels, floats from {span}, are taken to be in [-1, 1].",)
        raise UserError(
            f"{place}: floats from {span}; they should be in [0, 1] or in [-1, 1], "
            "or saved as uint8 where they are in [0, 255]"
        )
    if low >= 0 and high <= 255:
        return _from_whole, ()
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        return _from_16_bits, (f"Pixels, 16-bit numbers from {span}, are divided by 257.",)
    raise UserError(f"{place}: {pixels.dtype} from {span}; it should be 0 to 255, or uint16")


def _range(place: str, pixels: np.ndarray) -> tuple[float, float]:
    """Least and greatest of all numbers, a few pictures at a time."""
    low, high = math.inf, -math.inf
    step = max(1, _CHUNK_BYTES // pixels[0].nbytes)
    with np.errstate(all="ignore"):
        for start in range(0, len(pixels), step):
            chunk = np.asarray(pixels[start : start + step])
            least, greatest = chunk.min(), chunk.max()
            if not (np.isfinite(least) and np.isfinite(greatest)):
                first, *rest = np.argwhere(~np.isfinite(chunk))[0].tolist()
                value, where = chunk[first, *rest], ", ".join(map(str, (start + first, *rest)))
                raise UserError(f"{place}: the number at [{where}] is {value}")
            low, high = min(low, float(least)), max(high, float(greatest))
    return low, high


def _from_whole(pixels: np.ndarray) -> UInt8[np.ndarray, "..."]:
    return pixels.astype(np.uint8)


def _from_16_bits(pixels: np.ndarray) -> UInt8[np.ndarray, "..."]:
    return ((pixels.astype(np.int32) + 128) // 257).astype(np.uint8)


# Within TOLERANCE of its range a float is rounded into it.
def _from_unit(pixels: np.ndarray) -> UInt8[np.ndarray, "..."]:
    return np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)


def _from_signed(pixels: np.ndarray) -> UInt8[np.ndarray, "..."]:
    return np.rint((pixels.astype(np.float64) + 1) * 127.5).astype(np.uint8)
