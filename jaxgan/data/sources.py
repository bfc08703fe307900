"""Data sets by name: what a config's section `data` speaks of, opened but not yet read.

Sets of images become ArrayRecord files, which TFDS reads without TensorFlow and without the network
(writing.py), whatever they came from: the package, original files, the TFDS catalogue, a user's
folder. The others are drawn on the device (toys.py).
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data import feed, grammar, images, sounds, toys, unpaired
from jaxgan.data.elsewhere import fetched
from jaxgan.data.feed import Feed
from jaxgan.data.pipeline import kept_as
from jaxgan.errors import UserError, lookup
from jaxgan.typing import Int, Int16, UInt8


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


@dataclasses.dataclass(frozen=True)
class Prepared:
    """One split of a data set on disk. `details` says how its pixels came about.

    Of a set of pairs an image is two, as its channels: the left one's before the right one's. Of
    sounds the shape is (samples,).
    """

    folder: Path
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    details: dict[str, Any]
    splits: tuple[str, ...]  # all that the set has
    records: Any  # array_record's reader: serialised tf.train.Examples, by number
    image_key: str
    label_key: str | None
    treatment: images.Treatment

    @property
    def num_examples(self) -> int:
        return len(self.records)

    def read(
        self, chosen: Int[np.ndarray, " n"]
    ) -> tuple[
        UInt8[np.ndarray, "n h w c"] | Int16[np.ndarray, "n l"], Int[np.ndarray, " n"] | None
    ]:
        """The images and labels of the examples with these numbers.

        Raises UserError where the files are damaged.
        """
        sounding = len(self.shape) == 1
        kept = self.shape if sounding else images.shape_of(self.treatment)
        pixels = np.empty((len(chosen), *kept), kept_as(kept))
        labels = np.empty(len(chosen), np.int32)
        try:
            for i, example in enumerate(self._examples(chosen)):
                encoded = example[self.image_key].bytes_list.value[0]
                if sounding:
                    pixels[i] = sounds.wave_of(encoded, *self.shape)
                else:
                    pixels[i] = images.standardise(encoded, self.treatment)
                if self.label_key:
                    labels[i] = example[self.label_key].int64_list.value[0]
            if self.label_key and not (labels.min() >= 0 and labels.max() < len(self.class_names)):
                count = len(self.class_names)
                raise ValueError(f"labels {labels.min()} to {labels.max()} of {count} classes")
        except Exception as error:  # whatever TFDS, array_record and protobuf make of broken files
            raise UserError(f"{self.folder}: damaged: {_first_line(error)}") from error
        if self.treatment.fit == "pair":
            pixels = np.concatenate(np.split(pixels, 2, axis=2), -1)
        return pixels, labels if self.label_key else None

    def labels(self) -> Int[np.ndarray, " n"]:
        """Those of all examples, whose images are not decoded, of a set that has labels.

        Raises UserError where the files are damaged.
        """
        labels = np.empty(self.num_examples, np.int32)
        try:
            for first in range(0, len(labels), 512):
                chosen = np.arange(first, min(first + 512, len(labels)))
                for i, example in zip(chosen, self._examples(chosen), strict=True):
                    labels[i] = example[self.label_key].int64_list.value[0]
        except Exception as error:
            raise UserError(f"{self.folder}: damaged: {_first_line(error)}") from error
        return labels

    def _examples(self, chosen: Int[np.ndarray, " n"]) -> Iterator[Any]:
        from tensorflow_datasets.proto import tf_example_pb2  # not TFDS's parser: 2 us, not 16

        for record in self.records.__getitems__(chosen.tolist()):
            yield tf_example_pb2.Example.FromString(record).features.feature

    def load(self) -> Dataset:
        """The whole split in memory, in the order of its files."""
        return Dataset(*feed.read_all(self), self.class_names)

    def feed(self, cache: str, **settings: Any) -> Feed:
        """See feed.make_feed; `cache` may be "auto"."""
        return feed.make_feed(self, self.choose_cache(cache), **settings)

    def choose_cache(self, cache: str) -> str:
        """The way that fits this machine, see feed.choose_cache."""
        return feed.cache_of(self, cache)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _describe(folder: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    """Which pixels these are, wherever the folder lies, and how they were made.

    Of sets that jaxgan did not make from pictures the first MiB and the last 64 KiB of each file
    count: all of small ones, and of large ones enough.
    """
    from jaxgan.data.writing import IDENTITY

    hashed = hashlib.sha256()
    if "content" in metadata:
        hashed.update(json.dumps([metadata.get(key) for key in IDENTITY]).encode())
    else:
        for path in sorted(filter(Path.is_file, folder.iterdir())):
            with open(path, "rb") as file:
                hashed.update(path.name.encode() + file.read(2**20))
                file.seek(max(file.tell(), path.stat().st_size - 2**16))
                hashed.update(file.read())
    made: dict[str, Any] = {"content": hashed.hexdigest()[:16]}
    made |= {key: metadata[key] for key in ("filter", "fit", "sound") if key in metadata}
    background = metadata.get("background", [*images.WHITE])
    return made | ({"background": background} if background != [*images.WHITE] else {})


def open_folder(folder: Path, split: str, image_size: int) -> Prepared:
    """A split of the set that TFDS prepared in `folder`; see open_set."""
    import tensorflow_datasets as tfds

    from jaxgan.data import catalogue, writing  # here, so that to import this room stays cheap

    with writing.quiet():
        builder = catalogue.open_prepared(folder)
        layout = catalogue.layout(builder)
        lookup(builder.info.splits, split.partition("[")[0], "data.split")
        decoders = {layout.image_key: tfds.decode.SkipDecoding()}
        try:
            if not builder.info.splits[split].num_examples:
                raise ValueError("there are no examples in it")
            examples = builder.as_data_source(split, decoders=decoders)
            # This opens the files, while array_record is kept quiet.
            first = examples.__getitems__([0])[0]
        except (ValueError, AssertionError, IndexError) as error:
            raise UserError(f"data.split: {split!r} cannot be had: {_first_line(error)}") from error
        except RuntimeError as error:
            raise UserError(f"{folder}: damaged: {_first_line(error)}") from error
        try:
            details = _describe(folder, dict(builder.info.metadata or {}))
        except (ValueError, TypeError) as error:
            raise UserError(f"{folder}: its metadata.json is damaged: {error}") from error
    # TFDS's label of examples whose labels are withheld is -1.
    label_key = None if layout.label_key and first[layout.label_key] == -1 else layout.label_key
    height, width, channels = layout.image_shape
    pair = details.get("fit") == "pair"
    size = image_size or (height if width == (1 + pair) * (height or 0) else None)
    if size is None:
        sizes = f"{width} x {height} pixels" if height and width else "of different sizes"
        raise UserError(f"data.image_size: the images of {folder} are {sizes}; set it")
    of_pixels = 1 if channels == 1 else 3
    fit = "pair" if pair else "crop"
    treatment = images.Treatment(size, of_pixels, fit=fit, small="upscale")
    if size != height or (not pair and size != width):
        details["resized"] = f"to {size} by {treatment.filter}"
    if pair:
        details["source_channels"] = of_pixels
    shape: tuple[int, ...] = size, size, (1 + pair) * of_pixels
    if sounds.sound_of(details):
        if size != height:
            raise UserError(f"data.image_size: {folder} is of sounds; leave it at 0")
        shape = (size * size,)
    return Prepared(
        folder=folder,
        shape=shape,
        class_names=layout.class_names if label_key else (),
        details=details,
        splits=tuple(builder.info.splits),
        records=examples.data_source,
        image_key=layout.image_key,
        label_key=label_key,
        treatment=treatment,
    )


# --------------------------------------------------------------------------------------------------
# Sets by name. Each takes (split, image_size, data_dir, path) and gives a Prepared, Toy, Stacked or
# Unpaired.


def open_set(
    name: str, split: str = "train", image_size: int = 0, data_dir: str = "", path: str = ""
) -> Prepared | toys.Toy | toys.Stacked | unpaired.Unpaired:
    """The data set of a config's section `data`; prepares it first if need be.

    `name`: one of DATASETS, tfds:NAME, stacked:NAME of a grey set, or unpaired:NAME,NAME. `split`:
    its name, or a slice as TFDS writes it, train[:90%]. `image_size`: pixels along a side; 0: as
    they are. `data_dir`: where prepared sets lie; "": TFDS's own folder. `path`: the user's files.
    Raises UserError.
    """
    kind, separator, rest = name.partition(":")
    make = lookup(FAMILIES, kind, "data.name") if separator else lookup(DATASETS, name, "data.name")
    if separator and not rest:
        raise UserError(f"data.name: {name} lacks the set's name, as in {kind}:mnist")
    try:
        directory = directory_of(data_dir)
        files = fetched(path, directory) if path else None
        if files is not None and not files.exists():
            here = "" if files.is_absolute() else f" in {Path.cwd()}"
            raise UserError(f"data.path: there is no {files}{here}")
        return make(rest or name, split, image_size, directory, files)
    except (OSError, RuntimeError) as error:  # a folder that may not be read, ~nobody
        raise UserError(f"data.path, data.dir: cannot be used: {error}") from error


def load(
    name: str, split: str = "train", image_size: int = 0, data_dir: str = "", path: str = ""
) -> Dataset:
    """The split of a set of images in memory; see open_set."""
    opened = open_set(name, split, image_size, data_dir, path)
    if isinstance(opened, unpaired.Unpaired):
        return Dataset(*feed.read_all(opened), opened.class_names)
    if not isinstance(opened, Prepared):
        raise UserError(f"data.name: {name} is drawn without end; it has no images to load")
    if len(opened.shape) == 1:
        raise UserError(f"data.name: {name} is of sounds; it has no images to load")
    return opened.load()


def directory_of(data_dir: str = "") -> Path:
    """Where prepared sets lie; "": TFDS's own folder."""
    if "://" in data_dir:
        raise UserError(
            f"data.dir: {data_dir} is not on this machine; name a folder that is, and your files "
            f"elsewhere in data.path"
        )
    if data_dir:
        return Path(data_dir).expanduser()
    import tensorflow_datasets as tfds

    return Path(tfds.core.constants.DATA_DIR)


def _embedded(name, split, image_size, data_dir, path) -> Prepared:
    if path is not None:
        raise UserError(f"data.path: {name} comes with the package and reads no files")
    return open_folder(Path(__file__).parent / name, split, image_size)


def _original(name, split, image_size, data_dir, path) -> Prepared:
    from jaxgan.data import originals

    return open_folder(originals.prepare_original(name, data_dir, path), split, image_size)


def _catalogue(name, split, image_size, data_dir, path) -> Prepared:
    from jaxgan.data import catalogue

    folder = catalogue.find(name, data_dir, path)
    return open_folder(folder, split, image_size)


def _folder(name, split, image_size, data_dir, path) -> Prepared:
    from jaxgan.data import prepare

    if path is None:
        raise UserError("data.path: name the folder, .zip, .npy or .npz file of data.name=folder")
    if (path / "dataset_info.json").is_file():  # made by `python -m jaxgan prepare`, or by TFDS
        return open_folder(path, split, image_size)
    folder = prepare.prepare_cached(path, data_dir, prepare.Options(image_size))
    return open_folder(folder, split, 0)


def _toy(name, split, image_size, data_dir, path) -> toys.Toy:
    if image_size or path is not None or split != "train":
        raise UserError(
            f"data.image_size, data.path, data.split: {name} is of no images, drawn without end; "
            f"leave them out"
        )
    return DRAWN[name]()


def _stacked(name, split, image_size, data_dir, path) -> toys.Stacked:
    base = open_set(name, split, image_size, str(data_dir), str(path or ""))
    if not isinstance(base, Prepared) or len(base.shape) == 1:
        raise UserError(f"data.name: stacked:{name}: {name} is no set of grey images")
    grey = base.load()
    return toys.stacked(grey.images, grey.labels, grey.class_names, base.details)


def _unpaired(name, split, image_size, data_dir, path) -> unpaired.Unpaired:
    names = unpaired.names_of(name)
    if len(names) > 1 and path is not None:
        raise UserError(f"data.path: of which of {' and '.join(names)}? prepare them, and leave it")
    opened = [open_set(each, split, image_size, str(data_dir), str(path or "")) for each in names]
    for each, of_each in zip(names, opened, strict=True):
        single = isinstance(of_each, Prepared) and of_each.treatment.fit != "pair"
        if not single or len(of_each.shape) == 1:
            raise UserError(f"data.name: unpaired:{name}: {each} is no set of single images")
    if len(opened) == 1:
        return unpaired.of_classes(opened[0])
    return unpaired.of_sets(opened[0], opened[1], names[1])


DRAWN = {**toys.TOYS, "grammar": grammar.grammar}
DATASETS: dict[str, Callable[..., Prepared | toys.Toy | toys.Stacked]] = {
    "fashion_mnist_mini": _embedded,
    **dict.fromkeys(("mnist", "fashion_mnist", "cifar10", "cifar100"), _original),
    "folder": _folder,
    **dict.fromkeys(DRAWN, _toy),
    "stacked_mnist": lambda name, *rest: _stacked("mnist", *rest),
}
FAMILIES = {"tfds": _catalogue, "stacked": _stacked, "unpaired": _unpaired}
