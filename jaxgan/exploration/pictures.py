"""Pictures of latents, and moving ones."""

import importlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxgan import data, writer
from jaxgan.errors import UserError
from jaxgan.typing import Array, UInt8

CHUNK = 64  # latents at once
RATE = 20  # frames a second


def pictures(
    render: Callable[[Any, Any], Array], z: Any, labels: Any
) -> UInt8[np.ndarray, "n ..."]:
    """The images of latents n z and labels n (or shares of classes n c), by a `Partial`."""
    count = len(z)
    z, labels = (np.asarray(each) for each in (z, labels))
    whole = np.minimum(np.arange(-(-count // CHUNK) * CHUNK), count - 1).reshape(-1, CHUNK)
    return np.concatenate([np.asarray(_drawn(render, z[n], labels[n])) for n in whole])[:count]


@jax.jit
def _drawn(render: Any, z: Array, labels: Array) -> Array:
    return data.to_uint8(render(z, labels))


def check_moving(out: Path) -> None:
    """Raises UserError for an .mp4 where nothing writes such."""
    if out.suffix == ".mp4":
        _ffmpeg()


def write_moving(path: Path, frames: Sequence[UInt8[np.ndarray, "h w c"]]) -> None:
    """A GIF, WebP or MP4 of 20 frames a second; the first two begin again after the last."""
    with writer.whole_file(path) as partial:
        if path.suffix == ".mp4":
            _write_mp4(partial, frames)
            return
        first, *others = (Image.fromarray(np.squeeze(each)) for each in frames)
        options: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
        if path.suffix == ".webp":  # which knows no grey
            first, *others = (each.convert("RGB") for each in (first, *others))
        kind, duration = path.suffix[1:], 1000 // RATE
        options |= {"save_all": True, "append_images": others, "duration": duration, "loop": 0}
        first.save(partial, format=kind, **options)


def _write_mp4(path: Path, frames: Sequence[UInt8[np.ndarray, "h w c"]]) -> None:
    h, w, _ = frames[0].shape
    size = h + h % 2, w + w % 2  # colours are of two pixels by two
    padded = (np.pad(each, ((0, h % 2), (0, w % 2), (0, 0))) for each in frames)
    pixels = b"".join(np.broadcast_to(each, (*size, 3)).tobytes() for each in padded)
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", f"{RATE}"]
    made = ["-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart", "-f", "mp4"]
    command = [_ffmpeg(), "-loglevel", "error", "-y", *given, "-i", "-", *made, str(path)]
    done = subprocess.run(command, input=pixels, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"--out: ffmpeg wrote no .mp4: {done.stderr.decode()[:200].strip()}")


def _ffmpeg() -> str:
    try:
        return importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:  # no package, or none for this machine
        raise UserError(
            '--out: .mp4 takes a package of the extra video (pip install -e ".[video]"); .gif and '
            ".webp take none"
        ) from error
