"""Data: sets by name, the order of their examples, and pixels between uint8 and float32."""

from jaxgan.data.pipeline import indices, to_float, to_uint8
from jaxgan.data.sources import DATASETS, Dataset, load, load_idx

__all__ = ["DATASETS", "Dataset", "indices", "load", "load_idx", "to_float", "to_uint8"]
