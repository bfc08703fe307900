"""One picture of the user's, outside any data set."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data import images
from jaxgan.errors import UserError
from jaxgan.typing import UInt8


def read_picture(
    key: str, path: Path, channels: int, size: int = 0, like: Mapping[str, Any] | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """Its pixels; a square of `size`, if that is not 0, made as the pictures of the data set whose
    details are `like`. Raises UserError, with `key`, where it is none."""
    try:
        treatment = _treatment(like or {}, size, channels)
        return images.standardise(path.expanduser().read_bytes(), treatment)
    except (OSError, RuntimeError, images.Bad) as error:
        raise UserError(f"{key}: {path} cannot be read: {error}") from error


def _treatment(like: Mapping[str, Any], size: int, channels: int) -> images.Treatment:
    """That of one picture, which is no pair. Raises Bad for details, which may be an export's, that
    no data set has."""
    made = images.Treatment(size, channels, small="upscale")
    kind, fit = like.get("filter", made.filter), like.get("fit", made.fit)
    colour = like.get("background", made.background)
    known = kind in [*images.FILTERS] and fit in images.FITS
    levels = colour if isinstance(colour, list | tuple) and len(colour) == 3 else [None]
    if not known or not all(type(each) is int and 0 <= each < 256 for each in levels):
        raise images.Bad("the data set's filter, fit or background is none")
    fit = "crop" if fit == "pair" else fit
    return dataclasses.replace(made, filter=kind, fit=fit, background=tuple(colour))
