"""Two sets of images that belong together only as wholes: what to translate from, and into what.

An example has the channels of an image of each, the source's before the target's, as a pair has
that was prepared with `fit` "pair". Which two come together means nothing; the smaller set begins
again where it ends.
"""

import dataclasses
from typing import Any

import numpy as np

from jaxgan.data import feed
from jaxgan.data.feed import Feed
from jaxgan.errors import UserError
from jaxgan.typing import Int, UInt8


@dataclasses.dataclass(frozen=True)
class Unpaired:
    """`sources` and `targets` are the numbers of the examples in their sets. Labels, where both
    sets have as many classes, are the source's."""

    source: Any
    target: Any
    sources: Int[np.ndarray, " n"]
    targets: Int[np.ndarray, " m"]
    class_names: tuple[str, ...]
    target_name: str  # of the set that the targets are of; "" where they are one of its classes

    @property
    def num_examples(self) -> int:
        return max(len(self.sources), len(self.targets))

    @property
    def different(self) -> int:
        """The first examples, in which no image comes twice."""
        return min(len(self.sources), len(self.targets))

    @property
    def source_channels(self) -> int:
        return self.source.shape[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.target.shape
        return height, width, self.source_channels + channels

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in self.source.splits if name in self.target.splits)

    @property
    def details(self) -> dict[str, Any]:
        of_both = {"source": self.source.details, "target": self.target.details}
        listed = {
            f"{kind}_{name}": value
            for kind, details in of_both.items()
            for name, value in details.items()
        }
        return {**listed, "source_channels": self.source_channels}

    def read(
        self, chosen: Int[np.ndarray, " n"]
    ) -> tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"] | None]:
        """The images of the examples with these numbers, and the sources' labels."""
        of_source, labels = self.source.read(self.sources[chosen % len(self.sources)])
        of_target, _ = self.target.read(self.targets[chosen % len(self.targets)])
        return np.concatenate([of_source, of_target], -1), labels if self.class_names else None

    def feed(self, cache: str, **settings: Any) -> Feed:
        """See feed.make_feed; `cache` may be "auto"."""
        return feed.make_feed(self, self.choose_cache(cache), **settings)

    def choose_cache(self, cache: str) -> str:
        """The way that fits this machine, see feed.choose_cache."""
        return feed.cache_of(self, cache)


def names_of(text: str) -> list[str]:
    """The sets of unpaired:TEXT. Raises UserError for other numbers of them."""
    names = text.split(",")
    if len(names) > 2 or (len(names) == 1 and names != ["folder"]):
        raise UserError(
            f"data.name: unpaired:{text}: name two sets, as in unpaired:mnist,fashion_mnist, or "
            f"unpaired:folder, whose images lie in two folders"
        )
    return names


def check_sizes(source: Any, target: Any) -> None:
    """Raises UserError where they differ."""
    if source.shape[:2] != target.shape[:2]:
        sizes = " and ".join(f"{each.shape[1]} x {each.shape[0]}" for each in (source, target))
        raise UserError(f"data.image_size: the two sets' images have {sizes} pixels; set it")


def of_sets(source: Any, target: Any, target_name: str) -> Unpaired:
    """From the images of one set to those of another. Raises UserError for other sizes."""
    check_sizes(source, target)
    names = source.class_names if len(source.class_names) == len(target.class_names) else ()
    numbers = [np.arange(each.num_examples, dtype=np.int32) for each in (source, target)]
    return Unpaired(source, target, numbers[0], numbers[1], tuple(names), target_name)


def of_classes(opened: Any) -> Unpaired:
    """From the images of a set's first class to those of its second. Raises UserError where there
    are other numbers of classes."""
    if len(opened.class_names) != 2:
        raise UserError(
            f"data.path: it has {len(opened.class_names)} classes, and two are needed, a folder of "
            f"images to translate from and one, later in the alphabet, of those to translate into"
        )
    labels = opened.labels()
    of_each = [np.flatnonzero(labels == number).astype(np.int32) for number in range(2)]
    for name, numbers in zip(opened.class_names, of_each, strict=True):
        if not len(numbers):
            raise UserError(f"data.split: there is no image of {name} in it")
    return Unpaired(opened, opened, of_each[0], of_each[1], (), "")
