"""Writing a data set once: as ArrayRecord, through TFDS without TensorFlow, whole or not at all.

Images are stored as PNG, in the order in which they come; whoever wants them shuffled on disk, so
that a slice such as train[:90%] is a fair sample, hands them over shuffled.
"""

import contextlib
import errno
import fcntl
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from jaxgan.data.feed import cores
from jaxgan.errors import UserError

# What of metadata.json says which pixels these are.
IDENTITY = (
    "content", "image_size", "channels", "filter", "fit", "background", "small", "pillow",
)  # fmt: skip

In = TypeVar("In")
Out = TypeVar("Out")


class Example(NamedTuple):
    image: np.ndarray  # unsigned, h w c
    label: int | None


class ImageSet(tfds.core.GeneratorBasedBuilder):
    """A data set of equal images, and labels where there are class names.

    `splits` maps a name to its examples, which are taken once and in order. `bits`: of a pixel, 8
    or 16.
    """

    VERSION = tfds.core.Version("1.0.0")
    name = "image_set"

    def __init__(
        self,
        name: str,
        splits: Mapping[str, Iterable[Example]],
        shape: tuple[int, int, int],
        class_names: tuple[str, ...],
        description: str = "",
        licence: str = "",
        bits: int = 8,
        **kwargs: Any,
    ):
        self.bits = bits
        self.name, self.splits, self.shape, self.class_names = name, splits, shape, class_names
        self.description, self.licence = description, licence
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        dtype = np.uint16 if self.bits == 16 else np.uint8
        image = tfds.features.Image(shape=self.shape, dtype=dtype, encoding_format="png")
        features = {"image": image}
        if self.class_names:
            features["label"] = tfds.features.ClassLabel(names=self.class_names)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.description,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label") if self.class_names else None,
            license=self.licence,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in self.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        yield from enumerate(in_threads(_encode, self.splits[split]))


def _encode(example: Example) -> dict[str, Any]:
    pixels = example.image[..., 0] if example.image.shape[-1] == 1 else example.image
    buffer = io.BytesIO()
    # The lowest level: photographs shrink little more at higher ones, which take far longer.
    Image.fromarray(pixels).save(buffer, format="png", compress_level=1)
    encoded = {"image": buffer.getvalue()}
    return encoded if example.label is None else {**encoded, "label": example.label}


def write_set(folder: Path, metadata: dict[str, Any], **kwargs: Any) -> None:
    """Writes `ImageSet(**kwargs)` as the new folder `folder`, with `metadata`, of JSON's types.

    `metadata` may still be filled while the examples are taken. To be called by the `make` of
    `once`: what it leaves after an error is not whole.
    """
    scratch = folder.with_name(f"{folder.name}.tfds")
    with quiet(), contextlib.redirect_stdout(None):
        tfds.disable_progress_bar()
        builder = ImageSet(**kwargs, data_dir=scratch, file_format="array_record")
        builder.download_and_prepare()
    os.rename(builder.data_dir, folder)
    shutil.rmtree(scratch)
    tfds.core.MetadataDict(metadata).save_metadata(folder)


def once(target: Path, make: Callable[[Path], None]) -> bool:
    """Makes the folder `target` unless it is there: `make` writes to the path that it is given.

    The folder takes its name when it is whole. What a killed run left is removed first; of two
    processes one makes it and the other waits. True for the one that has made it. Raises UserError
    where the disk is full or `target` cannot be written.
    """
    if target.is_dir():
        return False
    workshop = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock")):
            if target.is_dir():  # made while this process waited
                return False
            shutil.rmtree(workshop, ignore_errors=True)
            try:
                workshop.mkdir()
                make(workshop / "set")
                for path in filter(Path.is_file, (workshop / "set").rglob("*")):
                    with open(path, "rb") as file:
                        os.fsync(file.fileno())
                os.rename(workshop / "set", target)
                return True
            finally:
                shutil.rmtree(workshop, ignore_errors=True)
    except UserError:
        raise
    except Exception as error:  # array_record tells of a full disk by other exceptions than OSError
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if not full and not isinstance(error, OSError):
            raise
        reason = "no space is left on the disk" if full else str(error)
        raise UserError(f"{target}: cannot be written: {reason}; nothing was kept") from error


def remove_leftovers(folder: Path) -> None:
    """Removes what killed runs of `once` have left in `folder`, unless one is at work on it."""
    for workshop in folder.glob(".*.partial"):
        lock = workshop.with_name(workshop.name.removesuffix("partial") + "lock")
        with contextlib.suppress(BlockingIOError), locked(lock, wait=False):
            shutil.rmtree(workshop, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[int]:
    """Holds the file .NAME.lock while it exists; yields its descriptor.

    Another process waits for its turn, or without `wait` raises BlockingIOError. The system frees
    the lock when the process ends, however it ends.
    """
    while True:
        with open(path, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                print(
                    f"waiting for another process that prepares {path.name[1:-5]}", file=sys.stderr
                )
                fcntl.flock(file, fcntl.LOCK_EX)
            # The one before may have removed the file that this process waited for.
            if not path.exists() or not os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                continue
            try:
                yield file.fileno()
            finally:
                path.unlink(missing_ok=True)
            return


def in_threads(function: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """`map` in as many threads as there are cores, in order, with a bounded number under way.

    Pillow, zlib and hashes let go of Python's lock while they work.
    """
    threads = cores()
    items = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        pending = [pool.submit(function, item) for item in islice(items, 8 * threads)]
        try:
            while pending:
                yield pending.pop(0).result()
                pending += [pool.submit(function, item) for item in islice(items, 1)]
        finally:
            for future in pending:
                future.cancel()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds absl's log lines back: TFDS and array_record tell of each file that they open."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
