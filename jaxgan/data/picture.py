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
    """Its pixels; a square of `size`, if that is not 0, cropped or padded (with white) and resized
    as the pictures of the data set whose details are `like`. Raises UserError, with `key`, where it
    is none."""
    known = like or {}
    fit = "pad" if known.get("fit") == "pad" else "crop"  # one picture is no pair
    treatment = images.Treatment(size, channels, fit=fit, small="upscale")
    if isinstance(known.get("filter"), str) and known["filter"] in images.FILTERS:
        treatment = dataclasses.replace(treatment, filter=known["filter"])
    try:
        return images.standardise(path.expanduser().read_bytes(), treatment)
    except (OSError, RuntimeError, images.Bad) as error:
        raise UserError(f"{key}: {path} cannot be read: {error}") from error
