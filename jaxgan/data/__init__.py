"""Data: sets by name, the order of their examples, and how they reach the step."""

from jaxgan.data.feed import Feed, ahead, make_feed
from jaxgan.data.grammar import to_texts
from jaxgan.data.idx import load_idx
from jaxgan.data.picture import read_picture
from jaxgan.data.pipeline import indices, to_float, to_uint8
from jaxgan.data.sounds import pictures, sound_of, spectrograms
from jaxgan.data.sources import DATASETS, Dataset, Prepared, directory_of, load, open_set
from jaxgan.data.toys import TOYS, Stacked, Toy, of_triple
from jaxgan.data.unpaired import Unpaired

__all__ = [
    "DATASETS",
    "TOYS",
    "Dataset",
    "Feed",
    "Prepared",
    "Stacked",
    "Toy",
    "Unpaired",
    "ahead",
    "directory_of",
    "indices",
    "load",
    "load_idx",
    "make_feed",
    "of_triple",
    "open_set",
    "pictures",
    "read_picture",
    "sound_of",
    "spectrograms",
    "to_float",
    "to_texts",
    "to_uint8",
]
