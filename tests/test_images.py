"""Pictures from files: every kind of pixel, rotation, profile, alpha, geometry; hostile bytes."""

import concurrent.futures
import io
import struct
import subprocess
import sys
import textwrap
import warnings
import zlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image, ImageCms

from jaxgan.data import images
from jaxgan.data.images import Bad, Treatment, header, standardise, standardise_array
from tests.mutations import fuzz, mutated

RGB = Treatment(size=0, channels=3)
GREY = Treatment(size=0, channels=1)
BLUE = Treatment(size=0, channels=3, background=(0, 40, 255))
rng = np.random.default_rng(0)
COLOURS = rng.integers(256, size=(6, 9, 3)).astype(np.uint8)
GREYS, ALPHA = COLOURS[..., 0], COLOURS[..., 1]


def encode(image, form="PNG", **options):
    """A picture's file; `image` is Pillow's or an array."""
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, before=b"", after=b""):
    """A PNG written by hand: unfiltered rows, and chunks before and after the pixels."""
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + start + before + data + after + chunk(b"IEND", b"")


def over(colours, alpha, background):
    """Closed form of compositing, in bytes."""
    alpha = alpha[..., None] / 255
    return np.floor(colours * alpha + np.array(background) * (1 - alpha) + 0.5).astype(np.uint8)


def grey3(array):
    return np.repeat(array[..., None], 3, -1)


def luma(colours):
    """ITU-R BT.601 in Pillow's fixed point."""
    return (colours @ [19595, 38470, 7471] + 0x8000) >> 16


def with_alpha(colours, alpha):
    return np.dstack([colours, alpha])


QUANTISED = Image.fromarray(COLOURS).quantize(256)
PLAIN = {
    "png 1": (encode(Image.fromarray(GREYS).point(lambda v: v, "1")), grey3(GREYS // 1), None),
    "png L": (encode(GREYS), grey3(GREYS), None),
    "png RGB": (encode(COLOURS), COLOURS, None),
    "png P": (encode(QUANTISED), np.asarray(QUANTISED.convert("RGB")), None),
    "gif P": (encode(QUANTISED, "GIF"), np.asarray(QUANTISED.convert("RGB")), None),
    "gif L": (encode(GREYS, "GIF"), grey3(GREYS), None),
    "png LA": (encode(with_alpha(GREYS, ALPHA)), grey3(GREYS), ALPHA),
    "png RGBA": (encode(with_alpha(COLOURS, ALPHA)), COLOURS, ALPHA),
    "bmp RGB": (encode(COLOURS, "BMP"), COLOURS, None),
    "bmp L": (encode(GREYS, "BMP"), grey3(GREYS), None),
    "ppm RGB": (encode(COLOURS, "PPM"), COLOURS, None),
    "pgm L": (encode(GREYS, "PPM"), grey3(GREYS), None),
    "webp RGB": (encode(COLOURS, "WEBP", lossless=True), COLOURS, None),
    "tiff LA": (encode(with_alpha(GREYS, ALPHA), "TIFF"), grey3(GREYS), ALPHA),
    "tiff RGB": (encode(COLOURS, "TIFF", compression="tiff_lzw"), COLOURS, None),
    "tiff RGBX": (encode(Image.fromarray(COLOURS).convert("RGBX"), "TIFF"), COLOURS, None),
}
PLAIN["png 1"] = (PLAIN["png 1"][0], grey3(np.where(GREYS > 0, 255, 0).astype(np.uint8)), None)


@pytest.mark.parametrize("kind", PLAIN)
def test_kinds_of_pixels(kind):
    content, colours, alpha = PLAIN[kind]
    expected = colours if alpha is None else over(colours, alpha, (0, 40, 255))
    np.testing.assert_array_equal(standardise(content, BLUE), expected)
    grey = standardise(content, Treatment(0, 1, background=(0, 40, 255)))
    np.testing.assert_array_equal(grey, luma(expected)[..., None])
    assert (grey.dtype, grey.shape) == (np.uint8, (6, 9, 1))
    assert header(content) == (9, 6, "L" not in kind and "1" not in kind)


def test_webp_alpha():
    content = encode(with_alpha(COLOURS, ALPHA), "WEBP", lossless=True, exact=True)
    np.testing.assert_array_equal(standardise(content, BLUE), over(COLOURS, ALPHA, (0, 40, 255)))


def test_jpeg():
    flat = np.full((8, 16, 3), (200, 30, 90), np.uint8)
    for image in (Image.fromarray(flat), Image.fromarray(flat).convert("CMYK")):
        result = standardise(encode(image, "JPEG", quality=100), RGB)
        np.testing.assert_allclose(result.astype(int), flat, atol=2)
    assert header(encode(GREYS, "JPEG")) == (9, 6, False)


def test_tiff_of_other_colour_spaces():
    cmyk = Image.fromarray(with_alpha(COLOURS, np.zeros((6, 9), np.uint8)), "RGBA")
    cmyk = Image.frombytes("CMYK", (9, 6), cmyk.tobytes())
    np.testing.assert_array_equal(standardise(encode(cmyk, "TIFF"), RGB), 255 - COLOURS)
    assert standardise(encode(cmyk, "TIFF"), GREY).shape == (6, 9, 1)
    y, cb, cr = (np.full((6, 9), v, np.uint8) for v in (120, 90, 160))
    ycbcr = encode(Image.frombytes("YCbCr", (9, 6), np.dstack([y, cb, cr]).tobytes()), "TIFF")
    expected = [120 + 1.402 * 32, 120 + 0.344136 * 38 - 0.714136 * 32, 120 - 1.772 * 38]
    np.testing.assert_allclose(standardise(ycbcr, RGB)[0, 0].astype(float), expected, atol=1)
    lab = encode(Image.new("LAB", (9, 6), (round(53.585 * 2.55), 128, 128)), "TIFF")  # CSS's grey
    np.testing.assert_allclose(standardise(lab, RGB).astype(int), 128, atol=1)
    np.testing.assert_allclose(standardise(lab, GREY).astype(int), 128, atol=1)


def test_alpha_that_is_multiplied_in():
    multiplied = (GREYS.astype(int) * ALPHA // 255).astype(np.uint8)
    content = encode(with_alpha(multiplied, ALPHA), "TIFF")
    tag = struct.pack("<HHIH", 338, 3, 1, 2)  # the extra sample is alpha, multiplied or not
    assert content.count(tag) == 1
    content = content.replace(tag, struct.pack("<HHIH", 338, 3, 1, 1))
    assert Image.open(io.BytesIO(content)).mode == "La"
    expected = multiplied + (255 - ALPHA.astype(int))  # on white
    np.testing.assert_allclose(
        standardise(content, RGB).astype(int), np.minimum(grey3(expected), 255), atol=2
    )


@pytest.mark.parametrize("mode", ["RGBa", "HSV", "I;16L", "I;16B", "I;16N", "PA"])
def test_modes_that_few_files_have(mode, monkeypatch):
    image = Image.fromarray(COLOURS)
    if mode[0] == "I":
        image = Image.frombytes(mode, (9, 6), (GREYS.astype("<u2") * 257).tobytes())
        expected = grey3(GREYS)
    elif mode == "PA":
        image, expected = Image.new("PA", (9, 6), (0, 0)), np.full((6, 9, 3), 255)
        image.putpalette([10, 20, 30])
    else:
        image, expected = image.convert("RGBA").convert(mode) if mode == "RGBa" else image, COLOURS
        image = image.convert(mode)
    monkeypatch.setattr(images, "_open", lambda content: image)
    if mode == "I;16B":
        image = Image.frombytes(mode, (9, 6), (GREYS.astype(">u2") * 257).tobytes())
    np.testing.assert_allclose(
        standardise(b"", RGB).astype(int), expected, atol=6 * (mode == "HSV")
    )


def test_16_bit_grey_is_divided_by_257():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.floor(values / 257 + 0.5)[..., None]
    pgm = b"P5 256 256 65535\n" + values.astype(">u2").tobytes()
    signed = encode(values.astype(np.int32), "TIFF")
    for content in (encode(values), encode(values, "TIFF"), pgm, signed):
        np.testing.assert_array_equal(standardise(content, GREY), expected)
        assert not header(content).colour
    with pytest.raises(Bad, match=r"^grey values of -1 to 65,534, not 0 to 65,535$"):
        standardise(encode(values.astype(np.int32) - 1, "TIFF"), GREY)
    with pytest.raises(Bad, match=r"^grey values of 1 to 65,536, not"):
        standardise(encode(values.astype(np.int32) + 1, "TIFF"), GREY)
    with pytest.raises(Bad, match=r"^pixels are floating-point numbers, whose range is unknown$"):
        standardise(encode(GREYS.astype(np.float32), "TIFF"), GREY)


def test_one_transparent_grey_or_colour():
    def shown(content):
        return standardise(content, BLUE)[0].tolist()

    blue = [0, 40, 255]
    key = chunk(b"tRNS", struct.pack(">H", 1))
    assert shown(png(2, 1, 1, 0, [b"\x40"], key)) == [[0] * 3, blue]
    assert shown(png(2, 1, 2, 0, [b"\x1f"], key)) == [[0] * 3, blue]
    assert shown(png(2, 1, 4, 0, [b"\x21"], key)) == [[34] * 3, blue]
    assert shown(png(2, 1, 8, 0, [b"\x02\x01"], key)) == [[2] * 3, blue]
    # These differ in 16 bits, but not in 8.
    assert shown(png(2, 1, 16, 0, [b"\0\0\0\1"], key)) == [[0] * 3, blue]
    key = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    assert shown(png(2, 1, 8, 2, [b"\1\2\4\1\2\3"], key)) == [[1, 2, 4], blue]
    key = chunk(b"tRNS", struct.pack(">3H", 256, 512, 768))
    assert shown(png(2, 1, 16, 2, [b"\1\0\2\0\4\0\1\0\2\0\3\0"], key)) == [[1, 2, 4], blue]


def test_transparent_palette_entries():
    palette = chunk(b"PLTE", bytes([9, 9, 9, 255, 0, 0, 0, 0, 200]))
    half = chunk(b"tRNS", bytes([255, 0, 51]))
    content = png(3, 1, 8, 3, [b"\0\1\2"], palette + half)
    expected = [[9, 9, 9], [0, 40, 255], [0, 32, 244]]  # the last: a fifth and four fifths
    assert standardise(content, BLUE)[0].tolist() == expected
    two = Image.frombytes("P", (2, 1), b"\0\1")
    two.putpalette([9, 9, 9, 255, 0, 0])
    gif = encode(two, "GIF", transparency=1)
    assert standardise(gif, BLUE)[0].tolist() == [[9, 9, 9], [0, 40, 255]]


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF"])
def test_header_looks_at_the_palette(form):
    image = Image.frombytes("P", (256, 1), bytes(range(256)))
    image.putpalette([v for i in range(256) for v in (255 - i,) * 3])
    assert not header(encode(image, form)).colour
    image.putpalette([v for i in range(256) for v in (255 - i, 255 - i, 254 - min(i, 254))])
    assert header(encode(image, form)).colour


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def exif(orientation):
    table = Image.Exif()
    table[0x0112] = orientation
    return table.tobytes()


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_turns_the_picture(form, orientation):
    # JPEG keeps large flat squares nearly as they are.
    tiles = np.kron(COLOURS[:2, :3], np.ones((16, 16, 1), np.uint8)) if form == "JPEG" else COLOURS
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    options = {"lossless": True} if form == "WEBP" else options
    if form == "TIFF":
        content = encode(tiles, form, tiffinfo={0x0112: orientation})
    else:
        content = encode(tiles, form, exif=exif(orientation), **options)
    expected = TURNED[orientation](tiles).astype(int)
    tolerance = 4 if form == "JPEG" else 0
    np.testing.assert_allclose(standardise(content, RGB).astype(int), expected, atol=tolerance)
    assert header(content)[:2] == (expected.shape[1], expected.shape[0])
    # An odd pixel is cut off after turning.
    square = standardise(content, Treatment(2, 3, "box"))
    side = min(expected.shape[:2])
    left, top = (expected.shape[1] - side) // 2, (expected.shape[0] - side) // 2
    middle = Image.fromarray(expected[top : top + side, left : left + side].astype(np.uint8))
    middle = np.asarray(middle.resize((2, 2), Image.Resampling.BOX))
    np.testing.assert_allclose(square.astype(int), middle.astype(int), atol=tolerance)


def test_a_tiff_is_turned_once():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    content = encode(COLOURS, "TIFF", tiffinfo={0x0112: 6, 700: xmp})
    np.testing.assert_array_equal(standardise(content, RGB), np.rot90(COLOURS, -1))
    assert header(content)[:2] == (6, 9)


def test_exif_after_the_pixels_of_a_png():
    rows = [row.tobytes() for row in COLOURS]
    content = png(9, 6, 8, 2, rows, after=chunk(b"eXIf", exif(6)[6:]))
    np.testing.assert_array_equal(standardise(content, RGB), np.rot90(COLOURS, -1))
    assert header(content)[:2] == (9, 6)  # as its docstring says


def test_broken_metadata_is_no_broken_picture():
    for junk in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM", exif(6)[:20], exif(9), exif(0)):
        np.testing.assert_array_equal(standardise(encode(COLOURS, exif=junk), RGB), COLOURS)
        assert header(encode(COLOURS, exif=junk))[:2] == (9, 6)


def profile(space, tags):
    """An ICC profile, version 4. Source: ICC.1:2010, section 7."""
    table, data = b"", b""
    for kind, value in tags.items():
        table += struct.pack(">4sII", kind, 132 + 12 * len(tags) + len(data), len(value))
        data += value.ljust(-len(value) % 4 + len(value), b"\0")
    head = struct.pack(
        ">I4sI4s4s4s12s4s4s24x12s48x",
        132 + len(table) + len(data), b"lcms", 0x04000000, b"mntr", space, b"XYZ ",
        struct.pack(">6H", 2020, 1, 1, 0, 0, 0), b"acsp", b"\0" * 4, xyz(0.9642, 1, 0.8249)[8:],
    )  # fmt: skip
    return head + struct.pack(">I", len(tags)) + table + data


def xyz(*values):
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + b"".join(
    struct.pack(">i", round(v * 65536)) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
)
# sRGB with its red and green primaries exchanged.
EXCHANGED = profile(
    b"RGB ",
    {
        b"rXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"gXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
        b"wtpt": xyz(0.9642, 1, 0.8249),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), SRGB_CURVE),
    },
)
LINEAR_GREY = profile(b"GRAY", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": b"curv\0\0\0\0\0\0\0\0"})
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_profiles_are_converted_to_srgb():
    exchanged = COLOURS[..., [1, 0, 2]].astype(int)
    for form, options in {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}.items():
        content = encode(COLOURS, form, icc_profile=EXCHANGED, **options)
        np.testing.assert_allclose(standardise(content, RGB).astype(int), exchanged, atol=2)
    content = encode(COLOURS, "JPEG", quality=100, subsampling=0, icc_profile=EXCHANGED)
    decoded = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    np.testing.assert_allclose(standardise(content, RGB), decoded[..., [1, 0, 2]], atol=2)
    # Alpha is no colour; the background is sRGB already.
    content = encode(with_alpha(COLOURS, ALPHA), icc_profile=EXCHANGED)
    expected = over(exchanged, ALPHA, (0, 40, 255)).astype(int)
    np.testing.assert_allclose(standardise(content, BLUE).astype(int), expected, atol=2)
    content = encode(QUANTISED, icc_profile=EXCHANGED)
    expected = np.asarray(QUANTISED.convert("RGB")).astype(int)[..., [1, 0, 2]]
    np.testing.assert_allclose(standardise(content, RGB).astype(int), expected, atol=2)


def test_grey_profile():
    greys = GREYS // 2 + 100  # lcms interpolates too coarsely for the steep end of a linear profile
    linear = greys / 255
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    expected = np.rint(curve * 255)[..., None]
    for content in (
        encode(greys, icc_profile=LINEAR_GREY),
        encode(greys.astype(np.uint16) * 257, icc_profile=LINEAR_GREY),
    ):
        np.testing.assert_allclose(standardise(content, GREY).astype(int), expected, atol=1)
        np.testing.assert_allclose(
            standardise(content, RGB).astype(int), expected.repeat(3, -1), atol=1
        )


def test_white_stays_white():
    # Colorimetric relative to the white of the profile, here that of a yellowish paper.
    paper = profile(b"GRAY", {b"wtpt": xyz(0.7, 0.7, 0.5), b"kTRC": b"curv\0\0\0\0\0\0\0\0"})
    content = encode(np.full((2, 2), 255, np.uint8), icc_profile=paper)
    assert standardise(content, RGB).tolist() == [[[255] * 3] * 2] * 2


@pytest.mark.parametrize(
    "junk",
    [SRGB, b"no profile", SRGB[:200], EXCHANGED[:300], LINEAR_GREY, b"\0" * 128],
)
def test_srgb_and_unusable_profiles_change_nothing(junk):
    np.testing.assert_array_equal(standardise(encode(COLOURS, icc_profile=junk), RGB), COLOURS)


def test_alpha_is_composited_before_resizing():
    # An opaque black pixel beside a transparent one that hides red, and a half-transparent one.
    edge = np.array([[[0, 0, 0, 255], [255, 0, 0, 0]], [[0, 0, 0, 51], [255, 0, 0, 0]]], np.uint8)
    result = standardise(encode(edge), Treatment(1, 3, "box"))
    mean = (0 + 255 + 204 + 255) / 4
    np.testing.assert_allclose(result[0, 0].astype(float), mean, atol=0.5)
    assert np.ptp(result) == 0


@pytest.mark.parametrize("filter_", images.FILTERS)
def test_crop_resizes_the_middle(filter_):
    for shape, box in [((40, 31), (0, 4, 31, 35)), ((31, 40), (4, 0, 35, 31))]:
        colours = rng.integers(256, size=(*shape, 3)).astype(np.uint8)
        resampling = getattr(Image.Resampling, filter_.upper())
        expected = Image.fromarray(colours).crop(box).resize((8, 8), resampling)
        result = standardise(encode(colours), Treatment(8, 3, filter_))
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(standardise_array(colours, Treatment(8, 3, filter_)), result)


def test_lanczos_and_crop_are_the_defaults():
    assert Treatment(8, 3) == Treatment(8, 3, "lanczos", "crop", (255, 255, 255), "error")
    assert (images.FITS, images.SMALL) == (
        ("crop", "pad", "pair"),
        ("error", "upscale", "pad", "skip"),
    )


def test_grey_is_resized_as_grey():
    expected = Image.fromarray(COLOURS).convert("L").crop((1, 0, 7, 6)).resize((4, 4), 1)
    np.testing.assert_array_equal(standardise(encode(COLOURS), Treatment(4, 1))[..., 0], expected)


def test_pad_keeps_everything():
    ground = (0, 40, 255)
    square = np.full((9, 9, 3), ground, np.uint8)
    square[1:7] = COLOURS
    treatment = Treatment(9, 3, fit="pad", background=ground)
    np.testing.assert_array_equal(standardise(encode(COLOURS), treatment), square)
    treatment = Treatment(5, 3, fit="pad", background=ground)
    expected = Image.fromarray(square).resize((5, 5), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(standardise(encode(COLOURS), treatment), expected)
    grey = standardise(encode(GREYS), Treatment(9, 1, fit="pad", background=ground))
    assert set(grey[[0, 7, 8]].ravel()) == {luma(np.array(ground))}
    np.testing.assert_array_equal(grey[1:7, :, 0], GREYS)
    # Its square would have 10**10 pixels.
    with pytest.raises(Bad, match=r"^100,000 x 1 pixels, too long to be padded to a square$"):
        standardise(encode(np.zeros((1, 100_000), np.uint8)), treatment)


@pytest.mark.parametrize(
    ("width", "height", "fit", "is_small"),
    [(40, 60, "crop", True), (60, 63, "pad", True), (60, 70, "crop", True), (60, 70, "pad", False),
     (64, 64, "crop", False), (64, 90, "crop", False)],
)  # fmt: skip
def test_small_pictures(width, height, fit, is_small):
    colours = rng.integers(256, size=(height, width, 3)).astype(np.uint8)
    content = encode(colours)
    results = {}
    for small in images.SMALL:
        treatment = Treatment(64, 3, fit=fit, small=small, background=(1, 2, 3))
        try:
            results[small] = standardise(content, treatment)
            assert results[small].shape == (64, 64, 3)
        except Bad as bad:
            assert str(bad) == f"{width} x {height} pixels, smaller than 64 x 64"
    assert results.keys() == ({"upscale", "pad"} if is_small else set(images.SMALL))
    if not is_small:
        assert all(np.array_equal(results["pad"], result) for result in results.values())
    elif fit == "crop":
        top, margin = (height - width) // 2, (64 - width) // 2
        square = Image.fromarray(colours[top : top + width])
        np.testing.assert_array_equal(results["upscale"], square.resize((64, 64), 1))
        expected = np.full((64, 64, 3), (1, 2, 3), np.uint8)
        expected[margin : margin + width, margin : margin + width] = square
        np.testing.assert_array_equal(results["pad"], expected)
    else:
        expected = np.full((64, 64, 3), (1, 2, 3), np.uint8)
        expected[:height, 1 : 1 + width] = colours
        np.testing.assert_array_equal(results["pad"], expected)


def test_size_0_leaves_the_size():
    assert standardise(encode(COLOURS), RGB).shape == (6, 9, 3)
    assert standardise(encode(COLOURS), GREY).shape == (6, 9, 1)


def test_arrays_are_treated_alike():
    for array in (GREYS[..., None], COLOURS, with_alpha(COLOURS, ALPHA)):
        content = encode(array.squeeze())
        for treatment in (RGB, GREY, BLUE, Treatment(4, 3), Treatment(20, 1, small="pad")):
            np.testing.assert_array_equal(
                standardise_array(array, treatment), standardise(content, treatment)
            )
    with pytest.raises(Bad, match=r"^9 x 6 pixels, smaller than 64 x 64$"):
        standardise_array(COLOURS, Treatment(64, 3))


def test_the_first_of_many():
    frames = [Image.fromarray(GREYS), Image.fromarray(255 - GREYS)]
    for form, options in {"GIF": {}, "TIFF": {}, "PNG": {}, "WEBP": {"lossless": True}}.items():
        options |= {"save_all": True, "append_images": frames[1:]}
        result = standardise(encode(frames[0], form, **options), GREY)
        np.testing.assert_array_equal(result[..., 0], GREYS)


BOMB = png(100_000, 100_000, 8, 2, [b""])
TOO_LARGE = r"^100,000 x 100,000 pixels, more than the 100 million that are allowed$"


@pytest.mark.parametrize("look", [header, lambda content: standardise(content, RGB)])
def test_bombs_are_seen_in_their_headers(look):
    with pytest.raises(Bad, match=TOO_LARGE):
        look(BOMB)
    with pytest.raises(Bad, match=r"^10,001 x 10,000 pixels, more"):
        look(png(10_001, 10_000, 1, 0, [b""]))
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\0" + b"\x0f\x27\0"
    lossless = b"VP8L" + struct.pack("<IBI", 5, 0x2F, 16382 | 9998 << 14) + bytes(7)
    lossy = (
        b"VP8 " + struct.pack("<I", 10) + bytes(3) + b"\x9d\1\x2a" + struct.pack("<HH", 16383, 9999)
    )
    for part, size in [(extended, "65,536 x 10,000"), (lossless, "16,383 x 9,999"),
                       (lossy, "16,383 x 9,999")]:  # fmt: skip
        with pytest.raises(Bad, match=f"^{size} pixels, more than the 100 million"):
            look(b"RIFF" + struct.pack("<I", 4 + len(part)) + b"WEBP" + part)
    with pytest.raises(Bad, match=r"^65,535 x 65,535 pixels, more"):
        look(encode(GREYS, "GIF")[:6] + b"\xff\xff\xff\xff" + encode(GREYS, "GIF")[10:])


def test_hostile_headers_allocate_little():
    # One pixel would be enough of an alarm; this many bytes are what 100 million may take.
    program = """
        import io, resource, struct, sys
        from PIL import Image
        from jaxgan.data.images import Bad, Treatment, standardise
        from tests.test_images import BOMB, encode, png, GREYS

        tiff = encode(GREYS, "TIFF", compression="tiff_lzw")
        hostile = [BOMB, png(9_999, 9_999, 8, 2, [b""])]
        for tag in (256, 257, 278, 279, 273):  # width, height, rows a strip, its bytes, its place
            for size in (2**31 - 1, 2**32 - 1, 99_999):
                for kind in (3, 4):
                    at = tiff.find(struct.pack("<HHI", tag, kind, 1))
                    if at >= 0:
                        entry = struct.pack("<HHII", tag, 4, 1, size)
                        hostile.append(tiff[:at] + entry + tiff[at + 12:])
        tags = [(256, 64), (257, 64), (258, 8), (259, 5), (262, 1), (277, 1), (322, 2**30),
                (323, 2**30), (324, 8), (325, 8)]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        hostile.append(b"II*\\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries)
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 2**30
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for content in hostile:
            try:
                standardise(content, Treatment(8, 3))
            except Bad:
                pass
        assert len(hostile) > 15
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 600_000, grown
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # libtiff itself writes lines there


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM"),
        (b"a text", "not a PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "not a PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM"),
        (b"P5 0 3 255\n", "cannot be decoded: "),
        (b"\x89PNG, really", "cannot be decoded: "),
        (b"II*\0" + bytes(20), "cannot be decoded: "),
    ],
)  # fmt: skip
def test_bytes_that_are_no_picture(content, reason):
    for look in (header, lambda content: standardise(content, RGB)):
        with pytest.raises(Bad) as bad:
            look(content)
        assert str(bad.value).startswith(reason)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP"])
def test_truncated(form):
    noise = rng.integers(256, size=(40, 40, 3)).astype(np.uint8)
    noise = Image.fromarray(noise)
    content = encode(noise.quantize(256) if form == "GIF" else noise, form)
    standardise(content, RGB)
    reasons = set()
    for end in (len(content) // 4, len(content) // 2, len(content) - 60):
        with pytest.raises(Bad) as bad:
            standardise(content[:end], RGB)
        reasons.add(str(bad.value))
    assert form == "WEBP" or "truncated" in reasons


def test_reasons_are_short_and_printable():
    assert str(images._bad(ValueError("a\x1b[31m\n b" + "c" * 99))) == (
        f"cannot be decoded: a [31m b{'c' * 72}"
    )
    assert str(images._bad(KeyError())) == "cannot be decoded: KeyError"
    assert str(images._bad(KeyError(320))) == "cannot be decoded: KeyError 320"
    assert str(images._bad(MemoryError())) == "needs more memory than there is"


def test_pillow_warns_in_vain():
    junk = encode(COLOURS, "JPEG", exif=exif(6)[:-4])
    large = png(9_500, 9_500, 1, 0, [bytes(1188)] * 9_500)
    small_palette = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\x80\x80")
    palette = png(2, 1, 8, 3, [b"\0\1"], small_palette)
    actions = [
        lambda: Image.open(io.BytesIO(junk)).getexif(),
        lambda: Image.open(io.BytesIO(large)),
        lambda: Image.open(io.BytesIO(palette)).convert("RGB"),
    ]
    for action, content in zip(actions, (junk, large, palette), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(Warning):
                action()
            assert header(content)
            treatment = Treatment(2, 1, filter="box", small="upscale")
            assert standardise(content, treatment).shape == (2, 2, 1)


def test_threads():
    contents = [content for content, _, _ in PLAIN.values()]
    contents.append(encode(COLOURS, exif=exif(6), icc_profile=EXCHANGED))
    expected = [standardise(content, BLUE) for content in contents]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda content: standardise(content, BLUE), contents * 20))
    for i, result in enumerate(results):
        np.testing.assert_array_equal(result, expected[i % len(contents)])


def test_pillows_settings_are_left_alone():
    program = """
        from PIL import Image, ImageFile
        before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
        from jaxgan.data.images import Treatment, standardise
        from tests.test_images import PLAIN
        for content, _, _ in PLAIN.values():
            standardise(content, Treatment(4, 3))
        assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


SEEDS = {
    "PNG": [
        encode(COLOURS, exif=exif(6)),
        encode(with_alpha(GREYS, ALPHA)),
        encode(GREYS.astype(np.uint16) * 257),
        encode(QUANTISED, transparency=3),
        encode(COLOURS, icc_profile=EXCHANGED),
    ],
    "JPEG": [
        encode(COLOURS, "JPEG", exif=exif(6)),
        encode(GREYS, "JPEG", progressive=True),
        encode(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", icc_profile=SRGB),
    ],
    "GIF": [
        encode(QUANTISED, "GIF", transparency=2),
        encode(GREYS, "GIF", save_all=True, append_images=[Image.fromarray(255 - GREYS)]),
    ],
    "TIFF": [
        encode(COLOURS, "TIFF", tiffinfo={0x0112: 6}),
        encode(COLOURS, "TIFF", compression="tiff_lzw"),
        encode(GREYS.astype(np.int32), "TIFF", compression="tiff_deflate"),
        encode(QUANTISED, "TIFF", compression="packbits"),
        encode(Image.fromarray(COLOURS).convert("YCbCr"), "TIFF", compression="jpeg"),
        encode(Image.fromarray(GREYS).convert("1"), "TIFF", compression="group4"),
    ],
    "WEBP": [
        encode(COLOURS, "WEBP", exif=exif(6), icc_profile=SRGB),
        encode(with_alpha(COLOURS, ALPHA), "WEBP", lossless=True),
    ],
    "BMP": [encode(image, "BMP") for image in (COLOURS, QUANTISED, with_alpha(COLOURS, ALPHA))],
    "PPM": [
        encode(COLOURS, "PPM"),
        b"P2 3 2 15 0 1 2 3 4 15",
        b"P5 2 1 65535 \0\1\2\3",
        b"P1 2 2 0 1 1 0",
        b"P4 2 2\n\x40\x80",
    ],
}


def repaired(content):
    """A PNG whose chunks' checksums are right, so that a reader goes on."""
    result, at = content[:8], 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        result += content[at:end] + struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return result


@pytest.mark.parametrize("form", [*SEEDS, "random"])
def test_fuzz(form):
    beginnings = st.sampled_from([b"", *(seeds[0][:12] for seeds in SEEDS.values())])
    hostile = (
        mutated(SEEDS[form]) if form in SEEDS else st.builds(bytes.__add__, beginnings, st.binary())
    )
    treatments = st.sampled_from(
        [RGB, GREY, Treatment(5, 3), Treatment(5, 1, fit="pad"), Treatment(12, 3, small="pad")]
    )

    @fuzz
    @hypothesis.given(hostile, treatments, st.booleans())
    def check(content, treatment, repair):
        content = repaired(content) if repair and content[:4] == b"\x89PNG" else content
        looked = None
        try:
            looked = header(content)
            result = standardise(content, treatment)
        except Bad as bad:
            assert 0 < len(str(bad)) < 120
            assert "annotation" not in str(bad)  # the type checker's complaint, and so a mistake
            return
        size = treatment.size
        shape = (size, size) if size else result.shape[:2]
        assert (result.dtype, result.shape) == (np.uint8, (*shape, treatment.channels))
        assert size or sorted(result.shape[:2]) == sorted(looked[:2])

    check()
