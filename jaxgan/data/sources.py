"""Data sets by name, each read whole into memory as uint8 arrays.

Prepared sets are ArrayRecord files that TFDS reads without TensorFlow and without the network.
A training set of the size studied here fits into memory many times over, and batches are then one
gather each: several times faster than decoding example by example.
"""

import contextlib
import dataclasses
import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image

from jaxgan.data.idx import read_idx
from jaxgan.errors import UserError, lookup
from jaxgan.typing import Int, UInt8


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One split in memory: square uint8 images, int32 labels (None: unlabelled), class names."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"] | None
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """0 where there are no labels."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return self.images.shape[-1]

    @property
    def image_size(self) -> int:
        """Pixels along a side."""
        return self.images.shape[1]


def load(name: str, split: str = "train", image_size: int | None = None) -> Dataset:
    """Reads a split of the data set `name`, one of DATASETS, in the order of its files.

    Images are resized to `image_size` pixels along a side where that is given and not their own.
    Raises UserError where the data set or its split does not exist.
    """
    return lookup(DATASETS, name, "data.name")(split, image_size)


def load_idx(
    folder: Path, split: str
) -> tuple[UInt8[np.ndarray, "n h w 1"], Int[np.ndarray, " n"]]:
    """Images and labels of the IDX files of MNIST or its kin; `split` is "train" or "test".

    Raises UserError, naming the file, where one is missing or corrupt.
    """
    prefix = {"train": "train", "test": "t10k"}[split]
    images = read_idx(folder, f"{prefix}-images-idx3-ubyte", ndim=3)
    labels = read_idx(folder, f"{prefix}-labels-idx1-ubyte", ndim=1)
    if len(images) != len(labels):
        raise UserError(f"{folder}: {len(images):,} {split} images, but {len(labels):,} labels")
    return images[..., None], labels.astype(np.int32)


def _prepared(folder: Path, split: str, image_size: int | None) -> Dataset:
    """Reads a labelled split of the data set that TFDS prepared in `folder`."""
    import tensorflow_datasets as tfds  # here, so that to import this room stays cheap

    with _quiet():
        builder = tfds.builder_from_directory(folder)
        lookup(builder.info.splits, split, "data.split")
        # Pillow does here what TFDS would do with it, in half the time.
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        examples = source.__getitems__(range(len(source)))
    return Dataset(
        images=np.stack([_decode(example["image"], image_size) for example in examples]),
        labels=np.array([example["label"] for example in examples], np.int32),
        class_names=tuple(builder.info.features["label"].names),
    )


def _decode(encoded: bytes, image_size: int | None) -> UInt8[np.ndarray, "h w c"]:
    with Image.open(io.BytesIO(encoded)) as image:
        if not image_size or image.size == (image_size, image_size):
            return np.atleast_3d(np.asarray(image))
        resized = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
        return np.atleast_3d(np.asarray(resized))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds absl's log lines back: TFDS and array_record tell of each file that they open."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


DATASETS: dict[str, Callable[[str, int | None], Dataset]] = {
    "fashion_mnist_mini": functools.partial(_prepared, Path(__file__).parent / "fashion_mnist_mini")
}
