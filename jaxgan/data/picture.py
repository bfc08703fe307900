"""One picture of the user's, outside any data set."""

from pathlib import Path

import numpy as np

from jaxgan.data import images
from jaxgan.errors import UserError
from jaxgan.typing import UInt8


def read_picture(key: str, path: Path, channels: int, size: int = 0) -> UInt8[np.ndarray, "h w c"]:
    """Its pixels; a square of `size`, if that is not 0. Raises UserError, with `key`, where it is
    none."""
    try:
        content = path.expanduser().read_bytes()
        return images.standardise(content, images.Treatment(size, channels, small="upscale"))
    except (OSError, RuntimeError, images.Bad) as error:
        raise UserError(f"{key}: {path} cannot be read: {error}") from error
