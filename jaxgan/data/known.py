"""What is known of a data set that is not here: enough to compile for it.

Nothing is downloaded or prepared. Of the published sets it is known from the sources, of others
from the TFDS catalogue, of a prepared folder from its files; what remains has to be said.
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data import feed, toys, unpaired
from jaxgan.data.feed import Feed
from jaxgan.data.sources import DATASETS, DRAWN, FAMILIES, Prepared, directory_of, open_set
from jaxgan.errors import UserError, lookup
from jaxgan.typing import Int, UInt8

_SHAPES = {
    **dict.fromkeys(("mnist", "fashion_mnist"), (28, 28, 1)),
    **dict.fromkeys(("cifar10", "cifar100"), (32, 32, 3)),
}


@dataclasses.dataclass(frozen=True)
class Absent:
    """A split of images that are not here. 0 examples: nobody knows how many."""

    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    num_examples: int
    source_channels: int = 0  # of pairs, the first one's

    @property
    def details(self) -> dict[str, Any]:
        return {"source_channels": self.source_channels} if self.source_channels else {}

    def feed(self, cache: str, **settings: Any) -> Feed:
        """As of the images themselves, over arrays that hold one number, however large they are."""
        one = dataclasses.replace(self, num_examples=1)
        made = feed.make_feed(one, cache, **settings)
        minibatch = (settings["minibatches"], settings["batch_size"])
        row, labelled = int(np.prod(self.shape)), bool(self.class_names)

        def same(kind: type, *shape: int) -> np.ndarray:
            return np.broadcast_to(kind(0), shape)

        def examples(*shape: int) -> dict[str, np.ndarray]:
            images = {"image": same(np.uint8, *shape, row)}
            return {**images, "label": same(np.int32, *shape)} if labelled else images

        if cache == "device":
            return made._replace(
                resident=examples(self.num_examples),
                fetch=lambda step, count: {"index": same(np.int32, count, *minibatch)},
            )
        return made._replace(fetch=lambda step, count: examples(count, *minibatch))

    def read(
        self, chosen: Int[np.ndarray, " n"]
    ) -> tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"] | None]:
        images = np.zeros((len(chosen), *self.shape), np.uint8)
        return images, np.zeros(len(chosen), np.int32) if self.class_names else None


def known(
    name: str,
    split: str = "train",
    image_size: int = 0,
    data_dir: str = "",
    path: str = "",
    classes: int = 0,
) -> Any:
    """What `open_set` would give, or in its place Absent or what is drawn from absent images.

    `classes`: how many there are, where it is not known; 0: not said. Raises UserError where the
    size of the images is known to nobody.
    """
    kind, separator, rest = name.partition(":")
    lookup(FAMILIES if separator else DATASETS, kind, "data.name")
    if name == "stacked_mnist" or (separator and kind == "stacked"):
        grey = known(rest or "mnist", split, image_size, data_dir, path)
        if len(grey.shape) == 1:
            raise UserError(f"data.name: {name}: {rest or 'mnist'} is no set of grey images")
        images = np.zeros((max(grey.num_examples, 1), *grey.shape), np.uint8)
        labels = np.zeros(len(images), np.int32) if grey.class_names else None
        return toys.stacked(images, labels, grey.class_names, {})
    if separator and kind == "unpaired":
        of_both = unpaired.names_of(rest)
        both = [known(each, split, image_size, data_dir, path) for each in of_both]
        source, target = both[0], both[-1]
        if any(len(each.shape) == 1 for each in both):
            raise UserError(f"data.name: {name}: these are not both sets of images")
        unpaired.check_sizes(source, target)
        shape = (*target.shape[:2], source.shape[-1] + target.shape[-1])
        count = max(each.num_examples for each in both)
        return Absent(shape, (), count, source.shape[-1])
    if name == "fashion_mnist_mini" or name in DRAWN:
        return open_set(name, split, image_size)
    if name in _SHAPES:
        found: Absent | Prepared | None = _published(name, split)
    elif name == "folder":
        found = _folder(split, image_size, path)
    else:
        found = _catalogue(rest, split, directory_of(data_dir))
    if isinstance(found, Prepared) and len(found.shape) == 1:
        return found  # sounds, which are here
    shape = found.shape if found else (0, 0, 3)
    if image_size:
        shape = (image_size, image_size, shape[-1])
    if not all(shape):
        raise UserError(
            f"data.image_size: the size of the images of {name} is not known without them; set it, "
            f"as in --config.data.image_size=64"
        )
    if found and found.class_names and classes not in (0, len(found.class_names)):
        raise UserError(f"--classes: {name} has {len(found.class_names)} classes; leave it out")
    names = (found.class_names if found else ()) or tuple(map(str, range(classes)))
    of_source = found.details.get("source_channels", 0) if found else 0
    return Absent(shape, names, found.num_examples if found else 0, of_source)


def _published(name: str, split: str) -> Absent:
    from jaxgan.data.originals import ORIGINALS

    original = ORIGINALS[name]
    counts = lookup(original.per_class, split.partition("[")[0], "data.split")
    return Absent(_SHAPES[name], original.class_names, sum(counts))


def _folder(split: str, image_size: int, path: str) -> Prepared | None:
    if path and (Path(path).expanduser() / "dataset_info.json").is_file():
        opened = open_set("folder", split, image_size, path=path)
        assert isinstance(opened, Prepared)
        return opened
    return None


def _catalogue(name: str, split: str, data_dir: Path) -> Absent | None:
    import tensorflow_datasets as tfds

    from jaxgan.data import catalogue, writing

    with contextlib.suppress(Exception), writing.quiet():  # any of its sets' own mistakes
        builder = tfds.builder(name, data_dir=data_dir)
        layout = catalogue.layout(builder)
        splits = builder.info.splits
        whole = split.partition("[")[0]
        count = splits[whole].num_examples if whole in splits else 0
        sizes = layout.image_shape
        channels = 1 if sizes[-1] == 1 else 3
        square = sizes[0] if sizes[0] == sizes[1] else None
        return Absent((square or 0, square or 0, channels), layout.class_names, count)
    return None
