"""Array aliases and the legend of the letters in their shapes.

    b  examples in a batch          h w c  height, width and channels of an image
    k  minibatches in a step        i o    input and output channels of a layer
    z  latent dimensions            n      examples in a data set
    s  training steps in one call,  d      features of a layer
       or latents of an image      l      samples of a sound

Shapes in annotations are checked by beartype in the tests only; at run time they are documentation.
"""

from typing import Any

from jaxtyping import Array, Float, Int, Int16, Key, PyTree, UInt8

# Classes by their numbers; or shares of each, which generators take in their place
Labels = Int[Array, " b"] | Float[Array, "b n"]
Params = PyTree  # trainable arrays of one network
Stats = PyTree  # its other variables: BatchNorm moments, power iterations
Metrics = dict[str, Array]  # scalars of one step
# image: float32 b h w c in [-1, 1], sounds b l, or points b 2; label: int32 b
Batch = dict[str, Array]

Folder = Any  # or file: a pathlib.Path, or one of etils.epath, as at gs://

__all__ = [
    "Array",
    "Batch",
    "Float",
    "Folder",
    "Int",
    "Int16",
    "Key",
    "Labels",
    "Metrics",
    "Params",
    "PyTree",
    "Stats",
    "UInt8",
]
