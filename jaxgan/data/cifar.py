"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the binary files in which they are published.

A record of CIFAR-10 is a byte, the label, and 3,072 bytes: the red, the green and the blue plane
of the image, each 32 rows of 32. In CIFAR-100 another byte, the coarse label, comes before the
label. Source: https://www.cs.toronto.edu/~kriz/cifar.html.

An archive is unpacked into memory, up to a bound, and never onto the disk. It is read to its end,
so that the checksum at the end of a gzip file counts.
"""

import gzip
import io
import itertools
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgan.errors import UserError, lookup
from jaxgan.typing import Int, UInt8

# In the order of the labels, as in the files batches.meta.txt and fine_label_names.txt.
CIFAR10_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
CIFAR100_NAMES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver",
    "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly",
    "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach",
    "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew",
    "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table",
    "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe",
    "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip

IMAGE_BYTES = 3 * 32 * 32
RECORDS = {"train": 50_000, "test": 10_000}

# The published archives hold 184 MB in at most nine members; others could fill the memory.
ARCHIVE_BYTES = 1 << 28
ARCHIVE_MEMBERS = 100


class _Layout(NamedTuple):
    archive: str
    folder: str
    files: dict[str, tuple[str, ...]]
    label_bytes: int
    classes: int


_LAYOUTS = {
    "cifar10": _Layout(
        archive="cifar-10-binary.tar",
        folder="cifar-10-batches-bin",
        files={
            "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        label_bytes=1,
        classes=len(CIFAR10_NAMES),
    ),
    "cifar100": _Layout(
        archive="cifar-100-binary.tar",
        folder="cifar-100-binary",
        files={"train": ("train.bin",), "test": ("test.bin",)},
        label_bytes=2,
        classes=len(CIFAR100_NAMES),
    ),
}


def read_cifar(
    name: str, path: Path, split: str
) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int[np.ndarray, " n"]]:
    """Images and int32 labels (of CIFAR-100 the fine ones) of a split, in the order of the files.

    `name` is "cifar10" or "cifar100", `split` "train" or "test". `path` is the published archive,
    gzipped or not, or a folder that holds it, its unpacked folder, or the files of that. Raises
    UserError, naming the file, where one is missing, corrupt or not as published.
    """
    layout = _LAYOUTS[name]
    files = lookup(layout.files, split, "data.split")
    count = RECORDS[split] // len(files)
    images = np.empty((RECORDS[split], 32, 32, 3), np.uint8)
    labels = np.empty(RECORDS[split], np.int32)
    size = count * (layout.label_bytes + IMAGE_BYTES)
    for i, (place, content) in enumerate(_contents(layout, path, files, size)):
        if len(content) != size:
            raise UserError(
                f"{place}: {'longer' if len(content) > size else 'shorter'} than as published, "
                f"which is {size:,} bytes, {count:,} images"
            )
        records = np.frombuffer(content, np.uint8).reshape(count, -1)
        part = slice(i * count, (i + 1) * count)
        labels[part] = records[:, layout.label_bytes - 1]
        planes = records[:, layout.label_bytes :].reshape(count, 3, 32, 32)
        images[part] = planes.transpose(0, 2, 3, 1)
        if labels[part].max() >= layout.classes:
            wrong = int(np.argmax(labels[part] >= layout.classes))
            raise UserError(
                f"{place}: image {wrong:,} has the label {labels[part][wrong]}, which should be "
                f"from 0 to {layout.classes - 1}"
            )
    return images, labels


def _contents(
    layout: _Layout, path: Path, files: tuple[str, ...], size: int
) -> Iterator[tuple[str, bytes | memoryview]]:
    """Of each file, in order, what to call it and its content, which may be of another size."""
    archives = [path, path / f"{layout.archive}.gz", path / layout.archive]
    folders = [path / layout.folder, path]
    one = files[0]
    # Not Path.is_file, which raises where a folder may not be searched.
    if archive := next(filter(os.path.isfile, archives), None):
        yield from _members(layout, archive, files)
    elif folder := next((f for f in folders if any(os.path.isfile(f / n) for n in files)), None):
        for name in files:
            yield str(folder / name), _read(folder / name, size + 1)
    elif os.path.isdir(path):
        raise UserError(
            f"{path}: there is neither {layout.archive}.gz nor {layout.archive}, "
            f"{layout.folder}/{one} or {one} in this folder"
        )
    else:
        raise UserError(f"{path}: there is no such folder or file")


def _members(
    layout: _Layout, archive: Path, files: tuple[str, ...]
) -> Iterator[tuple[str, memoryview]]:
    """The named files of a tar archive, gzipped or not."""
    content = _read(archive, ARCHIVE_BYTES + 1)
    if len(content) > ARCHIVE_BYTES:
        raise UserError(
            f"{archive}: not as published: unpacked it is larger than {ARCHIVE_BYTES:,} bytes"
        )
    members: dict[str, memoryview] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for member in itertools.islice(tar, ARCHIVE_MEMBERS):
                if member.isreg() and not member.issparse():
                    start = member.offset_data
                    members[member.name] = memoryview(content)[start : start + member.size]
    # tarfile stumbles over headers that are not as it expects in more ways than its own.
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{archive}: not a tar archive, or a truncated or corrupt one") from error
    for name in files:
        member_name = f"{layout.folder}/{name}"
        if member_name not in members:
            raise UserError(f"{archive}: truncated or not as published: {member_name} is missing")
        yield f"{archive}: {member_name}", members[member_name]


def _read(path: Path, count: int) -> bytes:
    """The first `count` bytes of a file, after gunzipping if it is gzipped."""
    try:
        with open(path, "rb") as stream:
            if stream.peek(2)[:2] != b"\x1f\x8b":
                return stream.read(count)
            with gzip.open(stream) as unzipped:
                return unzipped.read(count)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from error
