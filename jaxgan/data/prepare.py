"""From a user's folder, zip or array to a prepared data set, once.

Two passes, each in as many threads as there are cores. The first looks at every picture without
decoding it: its size, whether it has colours, its digest. So most of what is wrong is known
before anything is written. The second decodes, squares, resizes (images.py) and writes
(writing.py), in a fixed shuffled order, so that a slice such as train[:90%] has all classes. A few
pictures that cannot be decoded are skipped and listed; more than one in a hundred are an error.

metadata.json in the set's folder says how it was made, contact_sheet.png shows it.
"""

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import tqdm

from jaxgan.data import images
from jaxgan.data.collection import Collection, Item, open_collection
from jaxgan.data.contact_sheet import ContactSheet
from jaxgan.data.images import Bad, Header, Treatment
from jaxgan.data.pipeline import indices
from jaxgan.data.writing import IDENTITY, Example, in_threads, once, remove_leftovers, write_set
from jaxgan.errors import UserError
from jaxgan.typing import UInt8

MAX_BAD = 0.01  # of the pictures may be skipped for being undecodable
MOST_TOLD = 20  # of these by name
FORMAT = 1  # to be raised when the same pictures and options give other pixels
CHANNELS = {"grey": 1, "rgb": 3, "auto": 0}


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user chooses; see images.Treatment. `image_size` 0: as they are, which must be equal
    squares. `channels`: of CHANNELS; auto is grey where no picture has colours."""

    image_size: int
    channels: str = "auto"
    filter: str = "lanczos"
    fit: str = "crop"
    background: tuple[int, int, int] = images.WHITE
    small: str = "error"


def prepare(path: Path, target: Path, options: Options) -> dict[str, Any]:
    """Prepares what `path` holds as the new folder `target`; returns its metadata.

    Raises UserError where `path` cannot be used or `target` cannot be written; then nothing of
    `target` is left.
    """
    with open_collection(path) as collection:
        scan = _Scan(path, collection, options)
        mine = once(target, lambda folder: _write(path, folder, scan))
    made = read_metadata(target)
    if not mine and _identity(made) != _identity(_metadata(path, scan)):
        raise UserError(f"{target}: another process has made it meanwhile, of other images")
    return made


def read_metadata(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metadata.json").read_text())


def _identity(metadata: dict[str, Any]) -> list[Any]:
    return [metadata.get(key) for key in IDENTITY]


def prepare_cached(path: Path, data_dir: Path, options: Options) -> Path:
    """The folder below `data_dir` of what `path` holds, prepared unless the same content is there.

    As in git, files whose sizes and times are as before count as unchanged; otherwise they are
    read and their digests decide. Raises UserError as `prepare` does.
    """
    root = data_dir / "jaxgan_folder"
    key = [FORMAT, dataclasses.asdict(options)]
    known = root / ".known" / _digest([_stat(path), key])
    if known.is_file() and (name := known.read_text()) and (root / name).is_dir():
        return root / name
    with open_collection(path) as collection:
        scan = _Scan(path, collection, options)
        name = f"{_slug(path)}-{_digest([scan.content, key])[:16]}"
        remove_leftovers(root)
        if once(root / name, lambda folder: _write(path, folder, scan)):
            print(f"{summary(read_metadata(root / name))}\n{root / name / 'contact_sheet.png'}")
    with contextlib.suppress(OSError):  # it only saves time, and others' folders are read-only
        known.parent.mkdir(exist_ok=True)
        partial = known.with_suffix(f".{os.getpid()}")
        partial.write_text(name)
        os.replace(partial, known)
    return root / name


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _slug(path: Path) -> str:
    words = re.sub("[^a-z0-9]+", "_", path.resolve().stem.lower())
    return words[:40].strip("_") or "images"  # it becomes part of longer names


def _stat(path: Path) -> list:
    """Names, sizes and times of the file, or of the files below the folder."""
    paths = [path]
    if path.is_dir():
        paths = sorted(Path(top, name) for top, _, names in os.walk(path) for name in names)
    found = [(str(p), os.stat(p)) for p in paths if p.exists()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]


# --------------------------------------------------------------------------------------------------
# The first pass


class _Scan:
    """What a look at each picture tells; raises UserError for what can't be prepared.

    `content` is a digest of all pictures, labels and splits.
    """

    def __init__(self, path: Path, collection: Collection, options: Options):
        self.collection, self.options = collection, options
        _refuse_odd_names(path, collection.class_names)
        _announce(f"looking at {path.name}", len(collection.items))
        looks = in_threads(_look, _progress(collection.items, f"looking at {path.name}"))
        found = list(zip(collection.items, looks, strict=True))
        self.bad = [(item.name, str(look)) for item, look in found if isinstance(look, Bad)]
        refuse_if_many(path, self.bad, len(found))
        good = [(item, *look) for item, look in found if not isinstance(look, Bad)]
        names = [(item.split, item.label, item.name, digest) for item, digest, _ in good]
        self.content = _digest([names, collection.class_names])
        self.digests = {item.name: digest for item, digest, _ in good}
        self.headers = headers = {item.name: header for item, _, header in good}
        size = self._size(path, headers)
        channels = CHANNELS[options.channels] or (
            3 if any(h.colour for h in headers.values()) else 1
        )
        self.treatment = Treatment(
            size, channels, options.filter, options.fit, options.background, options.small
        )
        small = [item.name for item, *_ in good if _side(headers[item.name], options) < size]
        if small and options.small == "error":
            first = headers[small[0]]
            raise UserError(
                f"{path}: {small[0]} is {first.width} x {first.height} pixels, and {len(small):,} "
                f"of {len(good):,} images are smaller than {size} x {size}; take a smaller "
                f"image_size, or prepare them with --small upscale, pad or skip"
            )
        skip = set(small) if options.small == "skip" else set()
        self.skipped = [
            (name, f"{headers[name].width} x {headers[name].height} pixels")
            for name in sorted(skip)
        ]
        self.items = [item for item, *_ in good if item.name not in skip]
        if not self.items:
            raise UserError(f"{path}: no image is left of {len(found):,}; all are too small")

    def _size(self, path: Path, headers: dict[str, Header]) -> int:
        if self.options.image_size:
            return self.options.image_size
        sizes = sorted({(h.width, h.height) for h in headers.values()})
        across = 2 if self.options.fit == "pair" else 1
        if len(sizes) == 1 and sizes[0][0] == across * sizes[0][1]:
            return sizes[0][1]
        between = " to ".join(f"{w} x {h}" for w, h in dict.fromkeys((sizes[0], sizes[-1])))
        equal = "equal pairs of squares" if across > 1 else "equal squares"
        raise UserError(
            f"{path}: its images are {between} pixels, no {equal}; set the size that they are to "
            f"get, image_size"
        )


def _refuse_odd_names(path: Path, class_names: tuple[str, ...]) -> None:
    """TFDS keeps names of classes as lines of a file, and strips them."""
    odd = next((name for name in class_names if name.strip().splitlines() != [name]), None)
    if odd is not None:
        raise UserError(
            f"{path}: the name of the class {odd!r} begins or ends with a space or has more than "
            f"one line; rename it"
        )


def _look(item: Item) -> tuple[str, Header] | Bad:
    try:
        content = item.read()
        if isinstance(content, bytes):
            return _hash(content), images.header(content)
        height, width, channels = content.shape
        return _hash(content), Header(width, height, channels > 1)
    except Bad as reason:
        return reason


def _hash(content: bytes | np.ndarray) -> str:
    if not isinstance(content, bytes):
        content = repr(content.shape).encode() + content.tobytes()
    return hashlib.sha256(content).hexdigest()


def _side(header: Header, options: Options) -> int:
    """Of the square that the picture becomes before it is resized, in pixels of its own."""
    if options.fit == "pair":
        return min(header.width // 2, header.height)
    return (max if options.fit == "pad" else min)(header.width, header.height)


def refuse_if_many(path: Path, bad: list[tuple[str, str]], total: int) -> None:
    if len(bad) > MAX_BAD * total:
        listed = "; ".join(f"{name}: {reason}" for name, reason in bad[:MOST_TOLD])
        listed += f"; and {len(bad) - MOST_TOLD:,} more" if len(bad) > MOST_TOLD else ""
        raise UserError(
            f"{path}: {len(bad):,} of {total:,} images cannot be used, more than 1 %: {listed}"
        )


def _progress(items: Sequence[Item], text: str) -> Iterator[Item]:
    return iter(tqdm.tqdm(items, unit="image", desc=text, disable=None))


def _announce(text: str, count: int) -> None:
    """Where there is no terminal, and so no bar."""
    if not sys.stderr.isatty():
        print(f"{text}: {count:,} images", flush=True)


# --------------------------------------------------------------------------------------------------
# The second pass


def _write(path: Path, folder: Path, scan: _Scan) -> None:
    metadata = _metadata(path, scan)
    sheet = ContactSheet(scan.collection.class_names)
    pictures = _Pictures(path, scan, metadata, sheet)
    by_split = {
        split: [item for item in scan.items if item.split == split]
        for split in scan.collection.splits
    }
    _announce(f"preparing {path.name}", len(scan.items))
    write_set(
        folder,
        metadata,
        name=_slug(path),
        splits={split: pictures.of(items) for split, items in by_split.items() if items},
        shape=images.shape_of(scan.treatment),
        class_names=scan.collection.class_names,
        description=f"Prepared by jaxgan from {path.name}",
    )
    sheet.save(folder / "contact_sheet.png")


class _Pictures:
    """Decodes pictures and keeps the books: counts, what was skipped, what is there twice."""

    def __init__(self, path: Path, scan: _Scan, metadata: dict[str, Any], sheet: ContactSheet):
        self.path, self.scan, self.metadata, self.sheet = path, scan, metadata, sheet
        self.seen: dict[bytes, tuple[Item, list[str] | None]] = {}

    def of(self, items: list[Item]) -> Iterator[Example]:
        order = indices(seed=0, start=0, count=len(items), size=len(items))
        shuffled = _progress([items[i] for i in order], f"preparing {self.path.name}")
        for item, result in in_threads(self._standardise, shuffled):
            if isinstance(result, Bad):
                self.metadata["skipped"].append([item.name, str(result)])
                self.scan.bad.append((item.name, str(result)))
                refuse_if_many(self.path, self.scan.bad, len(self.scan.collection.items))
                continue
            pixels, digest = result
            self._note_duplicate(item, digest)
            counts = self.metadata["images"].setdefault(item.split, collections.Counter())
            names = self.scan.collection.class_names
            counts["" if item.label is None else names[item.label]] += 1
            self.sheet.add(pixels, item.label)
            yield Example(pixels, item.label)
        counts = self.metadata["images"].get(items[0].split, {})
        for name in self.scan.collection.class_names if items[0].split == "train" else ():
            if counts and not counts[name]:
                self.metadata["notes"].append(f"Class {name!r} has no training image.")
        if not counts:
            name, reason = self.scan.bad[-1]
            raise UserError(
                f"{self.path}: no image of its split {items[0].split!r} can be used: "
                f"{name}: {reason}"
            )

    def _standardise(
        self, item: Item
    ) -> tuple[Item, tuple[UInt8[np.ndarray, "h w c"], bytes] | Bad]:
        try:
            content = item.read()
            if _hash(content) != self.scan.digests[item.name]:
                raise UserError(f"{self.path}: {item.name} has changed meanwhile; start again")
            if isinstance(content, bytes):
                pixels = images.standardise(content, self.scan.treatment)
            else:
                pixels = images.standardise_array(content, self.scan.treatment)
            return item, (pixels, hashlib.sha256(pixels.tobytes()).digest())
        except Bad as reason:
            return item, reason

    def _note_duplicate(self, item: Item, digest: bytes) -> None:
        """Groups of equal pictures, and how many of them differ in their splits or labels."""
        first, group = self.seen.setdefault(digest, (item, None))
        if first is item:
            return
        if group is None:
            group = [first.name]
            self.seen[digest] = first, group
            self.metadata["duplicates"].append(group)
        group.append(item.name)
        self.metadata["duplicates_across_splits"] += first.split != item.split
        self.metadata["duplicates_across_classes"] += first.label != item.label


def _metadata(path: Path, scan: _Scan) -> dict[str, Any]:
    sizes = sorted((h.width * h.height, h.width, h.height) for h in scan.headers.values())
    chosen = {"smallest": 0, "median": len(sizes) // 2, "largest": -1}
    return {
        "source": path.name,
        "content": scan.content[:16],
        "image_size": scan.treatment.size,
        "channels": scan.treatment.channels,
        "filter": scan.treatment.filter,
        "fit": scan.treatment.fit,
        "background": list(scan.treatment.background),
        "small": scan.treatment.small,
        "pillow": PIL.__version__,
        "sizes": {name: list(sizes[i][1:]) for name, i in chosen.items()},
        "classes": list(scan.collection.class_names),
        "images": {},
        "skipped": [list(pair) for pair in [*scan.bad, *scan.skipped]],
        "duplicates": [],
        "duplicates_across_splits": 0,
        "duplicates_across_classes": 0,
        "notes": list(scan.collection.notes),
    }


def summary(made: dict[str, Any]) -> str:
    """What metadata.json says, as a table for people."""
    splits = list(made["images"])
    classes = made["classes"]
    lines = []
    if classes:
        lines += [f"{'class':<24}" + "".join(f"{split:>12}" for split in splits)]
        lines += [
            f"{name[:24]:<24}" + "".join(f"{made['images'][s].get(name, 0):>12,}" for s in splits)
            for name in classes
        ]
    totals = [sum(made["images"][split].values()) for split in splits]
    lines += [f"{'images':<24}" + "".join(f"{total:>12,}" for total in totals)]
    sizes = ", ".join(f"{name} {w} x {h}" for name, (w, h) in made["sizes"].items())
    kind = "grey" if made["channels"] == 1 else "RGB"
    pairs = ", pairs side by side" if made["fit"] == "pair" else ""
    lines += [
        f"sizes: {sizes} pixels",
        f"made: {made['image_size']} x {made['image_size']} {kind}{pairs}, "
        f"filter {made['filter']}, fit {made['fit']}, small ones: {made['small']}, "
        f"Pillow {made['pillow']}",
        *made["notes"],
    ]
    if made["duplicates"]:
        twins = sum(len(group) - 1 for group in made["duplicates"])
        lines += [
            f"duplicates: {twins:,} images show what another one does, "
            f"{made['duplicates_across_classes']:,} of them in another class, "
            f"{made['duplicates_across_splits']:,} in another split; all are kept"
        ]
    lines += [f"skipped: {len(made['skipped']):,}"]
    lines += [f"  {name}: {reason}" for name, reason in made["skipped"][:20]]
    if len(made["skipped"]) > 20:
        lines += ["  and more, in metadata.json"]
    return "\n".join(lines)
