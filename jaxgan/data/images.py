"""One picture, from the bytes of somebody's file to a uint8 array of the size that was asked for.

Pictures that look right on a screen are the measure. So EXIF's rotation is applied, an embedded
colour profile is converted to sRGB (relative colorimetric), 16-bit grey becomes v / 257, and what
is transparent is laid on a background colour before anything is resized: a resized edge then
mixes the picture with that colour, not with colours that nobody was to see. Grey is the luma of
ITU-R BT.601, as Pillow computes it, of the sRGB values.

Resizing averages sRGB values, not linear light. That darkens fine contrast a little, but it is
the field's convention, and metrics are compared under it. Filters are Pillow's, which antialias
(Parmar, Zhang and Zhu 2022, https://arxiv.org/abs/2104.11222, show what others cost), and work
in fixed point: pixels depend on Pillow's version and on nothing else.

Choices: of an animation or of many pages, the first; of 16-bit colour, the upper byte; PNG's gAMA
and cHRM are ignored, as is a profile that is broken or made for other channels. A picture of
floating-point numbers is refused, since nothing says which of them is white.
"""

import dataclasses
import io
import re
import warnings
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from jaxgan.typing import UInt8

MAX_PIXELS = 100_000_000  # 300 MB in colour; a larger picture is a mistake or an attack

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}
FITS = ("crop", "pad", "pair")
SMALL = ("error", "upscale", "pad", "skip")
WHITE = 255, 255, 255

# By the first two bytes. Image.open would warn of a large picture, or refuse it without its size.
_PLUGINS: dict[bytes, type[ImageFile]] = {
    b"\x89P": PngImageFile,
    b"\xff\xd8": JpegImageFile,
    b"RI": WebPImageFile,
    b"BM": BmpImageFile,
    b"II": TiffImageFile,
    b"MM": TiffImageFile,
    b"GI": GifImageFile,
    **{b"P" + digit: PpmImageFile for digit in (b"1", b"2", b"3", b"4", b"5", b"6", b"f")},
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What a picture may carry that changes its pixels, as the keys of Pillow's `info`.
_ORIENTED = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
_ALTERED = _ORIENTED | {"icc_profile", "transparency"}

# Pillow warns of odd metadata and of large pictures.
_SILENCE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class Bad(Exception):
    """The reason why one picture cannot be used. It is skipped and listed, not fatal."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What is made of each picture.

    `size`: pixels along a side; 0: as it is. `channels`: 1, grey, or 3, RGB. `filter`: of FILTERS.
    `fit`: of FITS: a picture that is no square loses its ends, or gets a border of `background`,
    the RGB colour that lies under transparent pixels too; or it is a pair of pictures side by side,
    each of which is cropped, and they stay so. `small`: of SMALL: where the square has
    fewer pixels than asked for it is resized up, or gets a border, or the picture is Bad.
    """

    size: int
    channels: int
    filter: str = "lanczos"
    fit: str = "crop"
    background: tuple[int, int, int] = WHITE
    small: str = "error"


def shape_of(treatment: Treatment) -> tuple[int, int, int]:
    """Of the arrays that come of it, which have a size."""
    across = 2 if treatment.fit == "pair" else 1
    return treatment.size, across * treatment.size, treatment.channels


class Header(NamedTuple):
    """Pixels across and down, after EXIF's rotation, and whether it may hold colours."""

    width: int
    height: int
    colour: bool


def header(content: bytes) -> Header:
    """Looks at a picture without decoding its pixels.

    `colour` is that of the file's kind of pixels, and of the palette's entries where there is one:
    a colour file of grey pixels counts as colour. The rotation that a PNG states after its pixels
    is not seen here. Raises Bad where the bytes are no picture of a format that is read (PNG,
    JPEG, WEBP, BMP, TIFF, GIF, PPM), or one of more than MAX_PIXELS.
    """
    try:
        image = _open(content)
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return Header(width, height, _has_colour(image))
    except Bad:
        raise
    except Exception as error:  # Pillow raises anything on hostile bytes
        raise _bad(error) from error


def standardise(content: bytes, treatment: Treatment) -> UInt8[np.ndarray, "h w c"]:
    """The picture in the bytes of a file, of the size and channels that the treatment asks for.

    The array may be read-only. Raises Bad where the picture cannot be decoded to its end, has more
    than MAX_PIXELS or pixels of no known range, or is small and the treatment does not say what
    to do then. Safe to call from many threads.
    """
    try:
        image: Image.Image = _open(content)
        image.load()
        if _ALTERED.isdisjoint(image.info) and _is_finished(image, treatment):
            return _array(image)
        turn = _TURNS.get(_orientation(image))
        plain, alpha = _plain(image, content)
        if profile := image.info.get("icc_profile"):
            plain = _to_srgb(plain, profile)
        plain = _compose(plain, alpha, treatment)
        if turn is not None:
            plain = plain.transpose(turn)
        return _array(_square(plain, treatment))
    except Bad:
        raise
    except Exception as error:
        raise _bad(error) from error


def standardise_array(
    array: UInt8[np.ndarray, "h w c"], treatment: Treatment
) -> UInt8[np.ndarray, "h2 w2 c2"]:
    """The same for pixels at hand: grey, RGB or RGBA. Raises Bad as `standardise` does."""
    height, width, channels = array.shape
    _check_size(width, height)
    image = Image.fromarray(array[..., 0] if channels == 1 else array[..., :3])
    alpha = Image.fromarray(array[..., 3]) if channels == 4 else None
    return _array(_square(_compose(image, alpha, treatment), treatment))


def _open(content: bytes) -> ImageFile:
    """Reads the header. Raises Bad, or whatever Pillow raises."""
    plugin = _PLUGINS.get(content[:2])
    if plugin is None:
        raise Bad("not a PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM")
    _hush()
    if plugin is WebPImageFile:
        _check_size(*_webp_size(content))  # its decoder allocates the canvas at once
    image = plugin(io.BytesIO(content))
    _check_size(*image.size)
    return image


def _hush() -> None:
    """Silences Pillow's warnings, in this process and for good.

    Python's filters belong to the process: with catch_warnings around each picture, threads would
    undo each other's. One filter that is added and stays cannot be undone half-way.
    """
    if warnings.filters[:1] != [_SILENCE]:
        warnings.filterwarnings("ignore", module=_SILENCE[3].pattern)


def _webp_size(content: bytes) -> tuple[int, int]:
    """Source: https://www.rfc-editor.org/rfc/rfc9649, sections 2.5 to 2.7."""
    kind, start = content[12:16], content[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return int.from_bytes(start[4:7], "little") + 1, int.from_bytes(start[7:], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(start[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return (
        int.from_bytes(start[6:8], "little") & 0x3FFF,
        int.from_bytes(start[8:], "little") & 0x3FFF,
    )


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise Bad(f"{width:,} x {height:,} pixels")
    if width * height > MAX_PIXELS:
        raise Bad(
            f"{width:,} x {height:,} pixels, more than the {MAX_PIXELS // 10**6} million that "
            "are allowed"
        )


def _bad(error: Exception) -> Bad:
    """The exception as a reason of a few words that are safe to print."""
    if isinstance(error, MemoryError):
        return Bad("needs more memory than there is")
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    if "truncated" in text.lower():
        return Bad("truncated")
    if " " not in text:  # a KeyError's is the key
        text = f"{type(error).__name__} {text}".strip()
    return Bad(f"cannot be decoded: {text[:80]}")


def _orientation(image: Image.Image) -> int:
    """1 to 8, as in EXIF; 1 where none is stated, or none that can be read."""
    if isinstance(image, TiffImageFile) or _ORIENTED.isdisjoint(image.info):
        return 1  # Pillow turns a TIFF itself
    try:
        # Not image.getexif(): a PNG's would decode the pixels first.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in _TURNS else 1
    except Exception:  # the picture itself may be sound
        return 1


def _has_colour(image: ImageFile) -> bool:
    if image.mode not in ("P", "PA"):
        return image.mode not in ("1", "L", "LA", "La", "F") and image.mode[0] != "I"
    if image.palette is None:
        return True
    rawmode, entries = image.palette.getdata()
    strip = Image.frombytes("P", (256, 1), bytes(range(256)))
    strip.putpalette(bytes(entries), rawmode)
    colours = np.asarray(strip.convert("RGB"))
    return bool((colours != colours[..., :1]).any())


def _plain(image: Image.Image, content: bytes) -> tuple[Image.Image, Image.Image | None]:
    """The picture as L, RGB or CMYK, and apart from it its alpha, if it has any."""
    if image.mode == "F":
        raise Bad("pixels are floating-point numbers, whose range is unknown")
    if image.mode in ("P", "PA"):
        plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("La", "RGBa"):  # multiplied by alpha
        plain = image.convert(image.mode.upper())
    elif image.mode[0] == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise Bad(f"grey values of {values.min():,} to {values.max():,}, not 0 to 65,535")
        values = values.astype(np.uint16)
        plain = Image.fromarray((values // 257 + (values % 257 > 128)).astype(np.uint8))
    elif image.mode == "1":
        plain = image.convert("L")
    elif image.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        plain = image
    else:  # RGBX, YCbCr, LAB, HSV
        plain = image.convert("RGB")
    if plain.mode in ("LA", "RGBA"):
        *bands, alpha = plain.split()
        return Image.merge(plain.mode[:-1], bands), alpha
    if "transparency" in image.info and image.mode[0] != "P":
        return plain, _keyed_alpha(image, content)
    return plain, None


def _keyed_alpha(image: Image.Image, content: bytes) -> Image.Image:
    """Alpha where one grey or colour stands for transparent; PNG states it before scaling."""
    key = np.array(image.info["transparency"])
    depth = content[24] if isinstance(image, PngImageFile) else 8
    if depth == 1:
        key = np.where(key > 0, 255, 0)  # Pillow 13 has scaled this one already
    elif depth < 8:
        key = key * (255 // (2**depth - 1))
    elif depth == 16 and image.mode == "RGB":
        key = key >> 8
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    same = values == key
    return Image.fromarray(np.where(same.all(-1) if same.ndim == 3 else same, 0, 255).astype("u1"))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        converted = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            "RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return converted or image


def _compose(image: Image.Image, alpha: Image.Image | None, treatment: Treatment) -> Image.Image:
    """The picture on the background, as L or RGB."""
    if alpha is not None:
        canvas = Image.new("RGB", image.size, treatment.background)
        canvas.paste(_converted(image, "RGB"), mask=alpha)
        image = canvas
    return _converted(image, "L" if treatment.channels == 1 else "RGB")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode == "CMYK" and mode == "L":
        image = image.convert("RGB")
    image.info.pop("transparency", None)  # it was dealt with, and Pillow would convert it too
    return image.convert(mode)


def _is_finished(image: Image.Image, treatment: Treatment) -> bool:
    height, width, channels = shape_of(treatment)
    return image.mode == ("L" if channels == 1 else "RGB") and (
        not height or image.size == (width, height)
    )


def _square(image: Image.Image, treatment: Treatment) -> Image.Image:
    """Crops or pads to a square at the centre, then resizes. An odd pixel is left on the right."""
    width, height = image.size
    size = treatment.size
    if size and treatment.fit == "pair":
        if width < 2:
            raise Bad(f"{width:,} x {height:,} pixels, which is no pair")
        half = width // 2
        both = Image.new(image.mode, (2 * size, size))
        of_one = dataclasses.replace(treatment, fit="crop")
        for n in range(2):
            part = image.crop((n * half, 0, (n + 1) * half, height))
            both.paste(_square(part, of_one), (n * size, 0))
        return both
    if not size or (width, height) == (size, size):
        return image
    side = min(width, height) if treatment.fit == "crop" else max(width, height)
    if side < size and treatment.small in ("error", "skip"):
        raise Bad(f"{width:,} x {height:,} pixels, smaller than {size} x {size}")
    if treatment.fit == "crop":
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    else:
        if side * side > MAX_PIXELS:
            raise Bad(f"{width:,} x {height:,} pixels, too long to be padded to a square")
        image = _centred(image, side, treatment)
    if side < size and treatment.small == "pad":
        return _centred(image, size, treatment)
    return image.resize((size, size), FILTERS[treatment.filter])


def _centred(image: Image.Image, size: int, treatment: Treatment) -> Image.Image:
    background = Image.new("RGB", (1, 1), treatment.background).convert(image.mode)
    canvas = background.resize((size, size), Image.Resampling.NEAREST)
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return canvas


def _array(image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    return np.atleast_3d(np.asarray(image))
