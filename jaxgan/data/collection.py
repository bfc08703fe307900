"""What a user's `data.path` holds: a folder's, zip's or array's pictures, classes and splits.

A collection lists its pictures and leaves each unread until it is asked for, so that threads can
share the work. Nothing is trusted: archives are never extracted, no pickle is loaded, and what is
read into memory at once is bounded. What is wrong with the whole is a UserError; what is wrong with
one picture is a `jaxgan.data.images.Bad` when that one is read.

In a folder or a zip,
- a folder that holds all the rest is passed through, so one folder alone is no class;
- top-level folders that are then all called train, test, val, valid or validation, in any case,
  one of them train, are splits; otherwise all is "train";
- below, folders are classes, and what lies deeper belongs to the first of its folders;
- a dataset.json at the root, as StyleGAN's tools write it, has the labels instead
  (https://github.com/NVlabs/stylegan3/blob/main/dataset_tool.py).

Of an array each picture is an item; `jaxgan.data.arrays` says which arrays are read.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxgan.data.arrays import read_arrays
from jaxgan.data.images import Bad
from jaxgan.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
MAX_BYTES = 2**28  # of one picture's file: more than any of images.MAX_PIXELS needs

_SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_KINDS = "a folder of images, a .zip of them, a .npy or a .npz"

_Read = Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Item:
    """One picture: a unique name, its class (None: unlabelled), its split and how to read it.

    `read()` gives the bytes of its file, or pixels as a uint8 array h w c where c is 1, 3 or 4. It
    raises Bad where it cannot, and may be called by any thread while the collection is open.
    """

    name: str
    label: int | None
    split: str
    read: Callable[[], bytes | np.ndarray]


@dataclasses.dataclass(frozen=True)
class Collection:
    """Items in the order of their names or of their array; class names (none: unlabelled).

    `splits` are those that have items. `notes` are sentences for the user about what was assumed
    or passed over.
    """

    items: tuple[Item, ...]
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    notes: tuple[str, ...]


@contextlib.contextmanager
def open_collection(path: Path) -> Iterator[Collection]:
    """The collection that a folder, .zip, .npy or .npz holds.

    Raises UserError, naming the path, where it is nothing of the kind, cannot be read, holds no
    images, or contradicts itself.
    """
    suffix = path.suffix.lower()
    if os.path.isdir(path):
        yield _tree(path, *_folder_files(path))
    elif not os.path.exists(path):
        raise UserError(f"{path}: there is no such file or folder")
    elif suffix == ".zip":
        with _open_zip(path) as archive:
            lock = threading.Lock()
            files: dict[str, _Read] = {
                name: functools.partial(_read_member, archive, lock, info)
                for name, info in _members(path, archive).items()
            }
            yield _tree(path, files, [])
    elif suffix in (".npy", ".npz"):
        yield _array_collection(path)
    else:
        raise UserError(f"{path}: images cannot be read from this; it should be {_KINDS}")


def _folder_files(root: Path) -> tuple[dict[str, _Read], list[str]]:
    """How to read each file below a folder, by its POSIX path; and notes."""
    files: dict[str, _Read] = {}
    folders, links, prepared = [(str(root), "")], 0, 0
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as scanned:
                entries = list(scanned)
        except OSError as error:
            raise UserError(f"{folder}: cannot be read: {error.strerror}") from error
        if any(entry.name == "dataset_info.json" for entry in entries):
            prepared += 1
            continue
        for entry in entries:
            # Names that are no UTF-8 could not be written down anywhere.
            raw = entry.name.encode("utf-8", "surrogateescape")
            name = prefix + raw.decode("utf-8", "backslashreplace")
            if _is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, f"{name}/"))
            elif entry.is_dir():
                links += 1
            elif entry.is_file() or not os.path.exists(entry.path):  # no pipe, which would block
                files[name] = functools.partial(_read_file, entry.path)
    if prepared and not files:
        raise UserError(
            f"{root}: is prepared already; train on it with data.name=folder and data.path, and "
            f"data.image_size for another size"
        )
    notes = [f"Symbolic links to folders are not followed: {links:,}."] if links else []
    return files, notes + ([f"Prepared data sets are passed over: {prepared:,}."] * bool(prepared))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db")


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise Bad(f"a file of {size:,} bytes, more than the {MAX_BYTES:,} allowed")
            return file.read(size)
    except OSError as error:
        raise Bad(f"cannot be read: {error.strerror}") from error


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises anything on hostile bytes
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{path}: cannot be read as a zip archive: {reason}") from error


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by their POSIX paths. Raises UserError for a name that climbs."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts:
            raise UserError(f"{path}: its member {info.filename!r} points out of the archive")
        if info.flag_bits & 1:
            raise UserError(f"{path}: its member {info.filename!r} is encrypted")
        if name.endswith("/") or not parts or any(map(_is_hidden, parts)):
            continue
        if "/".join(parts) in members:
            raise UserError(f"{path}: its member {info.filename!r} is there twice")
        members["/".join(parts)] = info
    return members


def _read_member(archive: zipfile.ZipFile, lock: threading.Lock, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > MAX_BYTES:
        raise Bad(f"a file of {info.file_size:,} bytes, more than the {MAX_BYTES:,} allowed")
    # zipfile unpacks the others without a bound, whatever size they declare.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Bad("compressed in its archive by another method than deflate")
    try:
        with lock, archive.open(info) as member:
            return member.read(info.file_size + 1)  # to its end, where the checksum is compared
    except Exception as error:
        raise Bad(f"corrupt in its archive: {str(error)[:80] or type(error).__name__}") from error


def _tree(path: Path, files: dict[str, _Read], notes: list[str]) -> Collection:
    """The collection in a folder's or a zip's files."""
    listing = files.pop("dataset.json", None)
    names = sorted(name for name in files if name.lower().endswith(SUFFIXES))
    if not names:
        raise UserError(
            f"{path}: no images in it; files called {', '.join(SUFFIXES)} are looked for"
        )
    splits, rests = _split(path, names)
    class_names: tuple[str, ...] = ()
    labels: list[int] | None = None
    if listing is not None:
        listed, extra = _listed_labels(path, listing, names)
        notes += extra
        if listed is not None:
            labels, class_names, extra = _number(listed)
            notes += extra
    elif any(len(rest) > 1 for rest in rests):
        beside = next((n for n, rest in zip(names, rests, strict=True) if len(rest) == 1), None)
        if beside is not None:
            raise _beside(path, beside)
        class_names = tuple(sorted({rest[0] for rest in rests}))
        numbers = {name: number for number, name in enumerate(class_names)}
        labels = [numbers[rest[0]] for rest in rests]
    notes += _others(files.keys() - set(names))
    return _collection(names, labels, splits, [files[n] for n in names], class_names, notes)


def _split(path: Path, names: list[str]) -> tuple[list[str], list[tuple[str, ...]]]:
    """The split of each name, and the parts of its path below split and wrapping folders."""
    parts = [tuple(name.split("/")) for name in names]
    depth = _wrapping(parts)
    tops = {part[depth].lower() for part in parts if len(part) > depth + 1}
    splits = ["train"] * len(names)
    if "train" in tops and tops <= _SPLITS.keys():
        beside = next((n for n, p in zip(names, parts, strict=True) if len(p) == depth + 1), None)
        if beside is not None:
            raise _beside(path, beside)
        splits = [_SPLITS[part[depth].lower()] for part in parts]
        depth += 1
    below = [part[depth:] for part in parts]
    _refuse_lost_splits(path, below)
    depth = _wrapping(below)
    return splits, [part[depth:] for part in below]


def _refuse_lost_splits(path: Path, parts: list[tuple[str, ...]]) -> None:
    """Test images must not be trained on because their folder lies elsewhere than expected."""
    beside: dict[tuple[str, ...], set[str]] = collections.defaultdict(set)
    for part in parts:
        for depth, name in enumerate(part[:-1]):
            if name.lower() in _SPLITS:
                beside[part[:depth]].add(name)
    for parent, names in beside.items():
        if len({_SPLITS[name.lower()] for name in names}) > 1:
            found = " and ".join(sorted("/".join((*parent, name)) for name in names))
            raise UserError(
                f"{path}: {found} look like splits, but lie below classes or beside other "
                f"folders; splits are the topmost folders, and train is one of them"
            )


def _wrapping(parts: list[tuple[str, ...]]) -> int:
    """How many folders hold, one within the other, all files."""
    folders = [part[:-1] for part in parts]
    first, last = min(folders), max(folders)
    pairs = zip(first, last, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))


def _beside(path: Path, name: str) -> UserError:
    return UserError(
        f"{path}: {name!r} lies beside folders of images; "
        "either all images should be in folders, one a class, or none"
    )


def _listed_labels(path: Path, read: _Read, names: list[str]) -> tuple[list[int] | None, list[str]]:
    """The labels that a dataset.json has for the names (None: it has none), and notes."""
    try:
        pairs = json.loads(read())["labels"]
        if pairs is None:
            return None, []
        labels = {name.replace("\\", "/"): label for name, label in pairs}
        if not all(type(label) is int for label in labels.values()):
            raise TypeError
    except (Bad, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f'{path}: its dataset.json should be {{"labels": [["name of a file", 3], ...]}}, '
            "whole numbers for all images, or null in place of the list"
        ) from error
    if len(labels) < len(pairs):
        raise UserError(f"{path}: its dataset.json has two labels for one file")
    for name in names:
        if name not in labels:
            raise UserError(f"{path}: its dataset.json has no label for {name!r}")
    missing = len(labels.keys() - set(names))
    notes = [f"Labels in dataset.json for images that are not there: {missing:,}."]
    return [labels[name] for name in names], notes if missing else []


def _array_collection(path: Path) -> Collection:
    arrays = read_arrays(path)
    count, notes, labels = len(arrays.pixels), list(arrays.notes), arrays.labels
    class_names: tuple[str, ...] = ()
    if labels is not None:
        labels, class_names, extra = _number(labels)
        notes += extra
    names = [f"images[{i}]" for i in range(count)]
    reads = [functools.partial(arrays.picture, i) for i in range(count)]
    return _collection(names, labels, ["train"] * count, reads, class_names, notes)


def _others(names: Iterable[str]) -> list[str]:
    counts = collections.Counter(os.path.splitext(n)[1].lower() or "no suffix" for n in names)
    if not counts:
        return []
    total, kinds = counts.total(), sorted(counts)
    what = "1 file that is no image" if total == 1 else f"{total:,} files that are no images"
    return [f"Passed over {what}: {', '.join(kinds[:5])}{' and others' * (len(kinds) > 5)}."]


def _number(labels: list[int]) -> tuple[list[int], tuple[str, ...], list[str]]:
    """Labels as 0 to k - 1, the names of the classes, and notes."""
    values = sorted(set(labels))
    names, notes = tuple(map(str, values)), []
    if values != list(range(len(values))):
        notes.append(
            f"The labels, {len(values):,} numbers from {names[0]} to {names[-1]}, are renumbered "
            f"0 to {len(values) - 1}; the old numbers are the names of the classes."
        )
    numbers = {value: number for number, value in enumerate(values)}
    return [numbers[label] for label in labels], names, notes


def _collection(
    names: list[str],
    labels: Sequence[int | None] | None,
    splits: list[str],
    reads: list,
    class_names: tuple[str, ...],
    notes: list[str],
) -> Collection:
    labels = [None] * len(names) if labels is None else labels
    items = tuple(map(Item, names, labels, splits, reads))
    counts = collections.Counter(item.label for item in items)
    lonely = next((i for i in items if i.label is not None and counts[i.label] == 1), None)
    if lonely is not None and lonely.label is not None:
        total = sum(count == 1 for count in counts.values())
        which = f"class {class_names[lonely.label]!r}: {lonely.name}"
        what = "A class has" if total == 1 else f"{total:,} classes have"
        notes.append(f"{what} one image only, {'' if total == 1 else 'among them '}{which}.")
    present = tuple(s for s in dict.fromkeys(_SPLITS.values()) if s in splits)
    return Collection(items, class_names, present, tuple(notes))
