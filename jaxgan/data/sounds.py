"""Sounds: as their samples (WaveGAN), or as images and sounds again out of them (SpecGAN; both
Donahue, McAuley and Puckette, ICLR 2019, https://arxiv.org/abs/1802.04208, section 3).

The spectrogram of a clip of n x n samples is an image of n x n pixels: windows of 2 n samples, n
apart, and of each the logarithm of the lower n frequencies' magnitudes, the highest on top. Each
frequency has mean 0 and deviation 1 over the training clips; what is beyond 3 deviations is cut
off. With n = 128 at 16,000 samples a second these are the paper's; n = 64 at 8,000 is half a second
of speech. Samples are kept as 16-bit PNGs of n x n pixels; pictures and metrics are of their
spectrograms.

Clips begin where they become louder than a fiftieth of their peak, are cut or filled up with
silence to their length, and all have the same peak. On the way back phases are sought by the
algorithm of Griffin and Lim (1984), with the paper's 16 iterations.
"""

import hashlib
import io
import math
import os
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgan.data.pipeline import LOUDEST, indices
from jaxgan.errors import UserError
from jaxgan.typing import Array, Float, Int, Int16, UInt8

DEVIATIONS = 3.0
ITERATIONS = 16
QUIET = 0.02  # of the peak
HELD_OUT = 10  # one clip in so many is for the test
FLOOR = 1e-6

Clip = Float[np.ndarray, " _"]
Magnitudes = Float[np.ndarray, "n _"]  # frequencies from low to high, windows


# --------------------------------------------------------------------------------------------------
# There and back


def transform(clips: Float[Array | np.ndarray, "*b l"], size: int) -> Any:
    """The spectrum of each window, complex *b f n: size + 1 frequencies of `size` windows."""
    xp: Any = jnp if isinstance(clips, jax.Array) else np
    parts = clips.reshape(*clips.shape[:-1], size, size)
    following = xp.concatenate([parts[..., 1:, :], xp.zeros_like(parts[..., :1, :])], -2)
    windows = xp.concatenate([parts, following], -1)
    hann = _hann(size).astype(clips.dtype).reshape(*(1,) * clips.ndim, -1)
    return xp.fft.rfft(windows * hann).swapaxes(-1, -2)


def inverse(spectra: np.ndarray, size: int) -> Clip:
    """The clip whose windows' spectra are nearest to these (Griffin and Lim 1984, equation 6)."""
    windows = np.fft.irfft(spectra.T) * _hann(size)
    total, weight = (np.zeros(size * size + size) for _ in range(2))
    for n, window in enumerate(windows):
        total[n * size : (n + 2) * size] += window
        weight[n * size : (n + 2) * size] += _hann(size) ** 2
    return (total / np.maximum(weight, FLOOR))[: size * size]


def _hann(size: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * size) / size)


def log_magnitudes(clip: Clip, size: int) -> Magnitudes:
    return np.log(np.abs(transform(clip, size)[:size]) + FLOOR).astype(np.float32)


def to_pixels(logs: Magnitudes, sound: Mapping[str, Any]) -> UInt8[np.ndarray, "n _ 1"]:
    """`sound` has the frequencies' `mean` and `deviation`."""
    return _bytes(_scaled(logs, sound))


def spectrograms(waves: Float[Array, "b l"], sound: Mapping[str, Any]) -> Float[Array, "b n n 1"]:
    """Images within -1 to 1 of what a file of 16 bits holds of the samples."""
    return _scaled(_logs(jnp.round(waves * LOUDEST).clip(-LOUDEST, LOUDEST), sound), sound)


def pictures(
    waves: Int16[np.ndarray, "b l"], sound: Mapping[str, Any]
) -> UInt8[np.ndarray, "b n n 1"]:
    """The same of samples as they are kept, as bytes, by NumPy."""
    return _bytes(_scaled(_logs(waves.astype(np.float32), sound), sound))


def _logs(waves: Any, sound: Mapping[str, Any]) -> Any:
    """The logarithms of magnitudes, b n n, of samples from -LOUDEST to LOUDEST."""
    xp: Any = jnp if isinstance(waves, jax.Array) else np
    size = len(sound["mean"])
    return xp.log(xp.abs(transform(waves / LOUDEST, size)[..., :size, :]) + FLOOR)


def _bytes(images: np.ndarray) -> UInt8[np.ndarray, "..."]:
    return np.round((images + 1) * 127.5).astype(np.uint8)


def sound_of(details: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What is known of sounds that are kept as samples; of all other data None."""
    sound = details.get("sound")
    return sound if sound and "samples" in sound else None


def _scaled(logs: Any, sound: Mapping[str, Any]) -> Any:
    by_row = (*(1,) * (logs.ndim - 2), -1, 1)
    mean, deviation = (np.float32(sound[key]).reshape(by_row) for key in ("mean", "deviation"))
    return ((logs - mean) / deviation / DEVIATIONS).clip(-1, 1)[..., ::-1, :, None]


def to_wave_pixels(clip: Clip) -> np.ndarray:
    """16 bits without a sign, n x n x 1."""
    size = math.isqrt(len(clip))
    whole = np.round(clip * LOUDEST).astype(np.int32) + 2**15
    return whole.astype(np.uint16).reshape(size, size, 1)


def wave_of(encoded: bytes, length: int) -> Int[np.ndarray, " l"]:
    """The samples in the PNG of `to_wave_pixels`. Raises ValueError where it is of another
    length."""
    with Image.open(io.BytesIO(encoded), formats=("PNG",)) as picture:
        if picture.mode != "I;16" or math.prod(picture.size) != length:
            raise ValueError(f"a clip is {picture.mode} of {picture.size}")
        return (np.asarray(picture).reshape(-1).astype(np.int32) - 2**15).astype(np.int16)


def to_clip(pixels: UInt8[np.ndarray, "n _ 1"], sound: dict[str, Any], seed: int = 0) -> Clip:
    """The sound of a spectrogram, with a peak of 0.95; the first phases are random."""
    size = len(pixels)
    mean, deviation = (np.array(sound[key])[:, None] for key in ("mean", "deviation"))
    scaled = pixels[::-1, :, 0] / 127.5 - 1
    magnitudes = np.exp(scaled * DEVIATIONS * deviation + mean)
    magnitudes = np.concatenate([magnitudes, np.zeros((1, size))])  # the highest was left out
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, magnitudes.shape)
    for _ in range(ITERATIONS):
        clip = inverse(magnitudes * np.exp(1j * angles), size)
        angles = np.angle(transform(clip, size))
    return 0.95 * clip / max(np.abs(clip).max(), FLOOR)


# --------------------------------------------------------------------------------------------------
# Files


def read_wav(path: Path, rate: int) -> Clip:
    """One channel, resampled to `rate` samples a second. Raises UserError where the file is no WAV
    of whole numbers."""
    from scipy.signal import resample_poly  # here: few sets are of sounds

    try:
        with wave.open(str(path)) as file:
            width, channels, own = file.getsampwidth(), file.getnchannels(), file.getframerate()
            content = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
        values = content.reshape(-1, channels, width)
        if width == 1:
            samples = values[..., 0].astype(np.float64) - 128
        else:  # little-endian, with a sign: filled up from below to 32 bits
            wide = np.zeros((*values.shape[:2], 4), np.uint8)
            wide[..., 4 - width :] = values
            samples = wide.view("<i4")[..., 0].astype(np.float64)
    except (OSError, EOFError, ValueError, wave.Error) as error:
        raise UserError(f"{path}: cannot be read as WAV: {error}") from error
    if not len(samples) or own < 1:
        raise UserError(f"{path}: there are no samples in it")
    common = np.gcd(rate, own)
    return resample_poly(samples.mean(1), rate // common, own // common)


def write_wav(path: Path, clip: Clip, rate: int) -> None:
    """16 bits, one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.int16(np.round(np.clip(clip, -1, 1) * LOUDEST)).astype("<i2").tobytes())


def cut(samples: Clip, length: int) -> Clip:
    """From where they become loud, as many, with a peak of 1. Silence stays so."""
    peak = np.abs(samples).max()
    loud = np.abs(samples) > QUIET * peak
    first = int(np.argmax(loud))
    samples = samples[first : first + length] / (peak or 1)
    return np.pad(samples, (0, length - len(samples)))


def _listed(path: Path) -> tuple[list[Path], list[int | None], tuple[str, ...]]:
    """The WAV files below `path`, their classes and the classes' names. Raises UserError."""
    files = sorted(Path(top, name) for top, _, names in os.walk(path) for name in names)
    files = [file for file in files if file.suffix.lower() == ".wav"]
    if len(files) < 2 * HELD_OUT:
        raise UserError(f"{path}: {len(files)} files called .wav, and {2 * HELD_OUT} are needed")
    folders = [file.relative_to(path).parts[:-1] for file in files]
    names = tuple(sorted({parts[0] for parts in folders if parts}))
    if names and not all(folders):
        raise UserError(f"{path}: some .wav files lie in folders, classes, and some in none")
    return files, [names.index(parts[0]) if names else None for parts in folders], names


def prepare(path: Path, target: Path, rate: int, size: int, waves: bool) -> dict[str, Any]:
    """Prepares the WAV files below `path` as the new folder `target`, a set of spectrograms, or
    with `waves` of samples; folders are classes, and a tenth of the clips is its split test.
    Returns its metadata.

    Raises UserError where they cannot be used or `target` cannot be written.
    """
    from jaxgan.data.writing import Example, in_threads, once, write_set  # it imports TFDS

    files, labels, names = _listed(path)
    order = indices(seed=0, start=0, count=len(files), size=len(files))
    held_out = len(files) // HELD_OUT

    def look(number: int) -> tuple[np.ndarray | None, Magnitudes, int | None]:
        clip = cut(read_wav(files[number], rate), size * size)
        clip = np.round(clip * LOUDEST) / LOUDEST  # as a file of 16 bits has it
        kept = to_wave_pixels(clip) if waves else None
        return kept, log_magnitudes(clip, size), labels[number]

    found = list(in_threads(look, order.tolist()))
    training = np.stack([logs for _, logs, _ in found[held_out:]])
    sound = {
        "rate": rate,
        "mean": training.mean((0, 2)).tolist(),
        "deviation": np.maximum(training.std((0, 2)), FLOOR).tolist(),
        **({"samples": size * size} if waves else {}),
    }
    examples = [
        Example(to_pixels(logs, sound) if kept is None else kept, label)
        for kept, logs, label in found
    ]
    digest = hashlib.sha256(repr((rate, size, names)).encode())
    for image, label in examples:
        digest.update(image.tobytes() + bytes([(label or 0) % 256]))
    counts = {"train": len(found) - held_out, "test": held_out}
    metadata = {
        "source": path.name,
        "content": digest.hexdigest()[:16],
        "image_size": size,
        "sound": sound,
        "classes": list(names),
        "clips": counts,
    }

    def make(folder: Path) -> None:
        write_set(
            folder,
            metadata,
            name="sounds",
            splits={"train": examples[held_out:], "test": examples[:held_out]},
            shape=(size, size, 1),
            bits=16 if waves else 8,
            class_names=names,
            description=f"{'Samples' if waves else 'Spectrograms'} made by jaxgan of {path.name}",
        )

    once(target, make)
    return metadata
