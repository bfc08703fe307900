"""Collections: folders, zips and arrays; what is passed over, what is refused, hostile bytes."""

import concurrent.futures
import io
import json
import os
import re
import struct
import warnings
import zipfile
import zlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from jaxgan.data import arrays, collection
from jaxgan.data.collection import open_collection
from jaxgan.data.idx import read_idx
from jaxgan.data.images import Bad, Treatment, standardise, standardise_array
from jaxgan.errors import UserError
from tests.mutations import fuzz, mutated

rng = np.random.default_rng(0)
PIXELS = rng.integers(256, size=(6, 5, 4, 3)).astype(np.uint8)


def png(number=0):
    file = io.BytesIO()
    Image.fromarray(PIXELS[number % 6]).save(file, "PNG")
    return file.getvalue()


def make_folder(root, names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(i))
    return root


def make_zip(root, names, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(root / "images.zip", "w", method) as archive:
        for i, name in enumerate(names):
            archive.writestr(zipfile.ZipInfo(name), png(i), method)
    return root / "images.zip"


def look(path):
    """What there is, as plain values."""
    with open_collection(path) as found:
        items = {item.name: (item.split, item.label) for item in found.items}
        assert len(items) == len(found.items)
        return items, found.class_names, found.splits, found.notes


def refused(path):
    with pytest.raises(UserError) as error, open_collection(path):
        pass
    assert "\n" not in str(error.value)
    prefix, _, message = str(error.value).partition(": ")
    assert prefix == str(path)
    return message


makers = pytest.mark.parametrize("make", [make_folder, make_zip])


@makers
def test_flat(make, tmp_path):
    path = make(tmp_path, ["b.png", "a.PNG", "10.jpg", "9.tiff"])
    items, class_names, splits, notes = look(path)
    assert list(items.items()) == [
        (n, ("train", None)) for n in ("10.jpg", "9.tiff", "a.PNG", "b.png")
    ]
    assert (class_names, splits, notes) == ((), ("train",), ())


@makers
def test_items_read_their_files(make, tmp_path):
    names = ["a/1.png", "a/2.png", "b/3.png", "b/4.png"]
    with open_collection(make(tmp_path, names)) as found:
        assert {item.name: item.read() for item in found.items} == {
            name: png(i) for i, name in enumerate(names)
        }


@makers
def test_folders_are_classes(make, tmp_path):
    names = [
        "cat/1.png",
        "cat/deep/er/2.png",
        "ant/3.png",
        "ant/4.png",
        "Bee/5.png",
        "Bee/cat/6.png",
    ]
    items, class_names, splits, notes = look(make(tmp_path, names))
    assert (class_names, splits, notes) == (("Bee", "ant", "cat"), ("train",), ())
    assert {name: label for name, (_, label) in items.items()} == {
        "cat/1.png": 2, "cat/deep/er/2.png": 2, "ant/3.png": 1, "ant/4.png": 1, "Bee/5.png": 0,
        "Bee/cat/6.png": 0,
    }  # fmt: skip


@makers
def test_splits_share_their_classes(make, tmp_path):
    names = ["Train/b/1.png", "Train/b/2.png", "Train/c/3.png", "Train/c/4.png", "val/c/5.png",
             "valid/b/6.png", "test/a/7.png", "test/a/8.png"]  # fmt: skip
    items, class_names, splits, notes = look(make(tmp_path, names))
    assert (class_names, splits, notes) == (("a", "b", "c"), ("train", "validation", "test"), ())
    assert [items[name] for name in names] == [
        ("train", 1), ("train", 1), ("train", 2), ("train", 2), ("validation", 2),
        ("validation", 1), ("test", 0), ("test", 0),
    ]  # fmt: skip


TWO = {("train", 0), ("train", 1)}


@makers
@pytest.mark.parametrize(
    ("names", "expected", "class_names"),
    [
        # One folder around all is no class, nor are two; nor is one around the splits.
        (["w/a.png", "w/b.png"], {("train", None)}, ()),
        (["v/w/a.png", "v/w/b.png"], {("train", None)}, ()),
        (["w/a/1.png", "w/a/2.png", "w/b/3.png", "w/b/4.png"], TWO, ("a", "b")),
        (["w/train/1.png", "w/test/2.png"], {("train", None), ("test", None)}, ()),
        (["train/w/1.png", "test/w/2.png"], {("train", None), ("test", None)}, ()),
        (["train/1.png"], {("train", None)}, ()),
        (["train/a/1.png", "train/a/2.png", "train/b/3.png", "train/b/4.png"], TWO, ("a", "b")),
        # A test set of one class stays one.
        (["train/a/1.png", "train/b/2.png", "train/b/3.png", "test/a/4.png"],
         {("train", 0), ("train", 1), ("test", 0)}, ("a", "b")),
        # No splits: another folder beside.
        (["train/1.png", "train/2.png", "car/3.png", "car/4.png"], TWO, ("car", "train")),
    ],
)  # fmt: skip
def test_wrapping_folders(make, tmp_path, names, expected, class_names):
    items, found_names, splits, notes = look(make(tmp_path, names))
    assert set(items.values()) == expected
    assert list(items) == sorted(names)
    assert found_names == class_names
    assert set(splits) == {split for split, _ in expected}
    assert notes == ()


@makers
@pytest.mark.parametrize(
    ("names", "beside"),
    [
        (["a/1.png", "b/2.png", "z.png", "y.png"], "y.png"),
        (["w/a/1.png", "w/0.png"], "w/0.png"),
        (["train/1.png", "test/2.png", "0.png"], "0.png"),
        (["train/a/1.png", "train/b/2.png", "test/3.png"], "test/3.png"),
    ],
)
def test_images_beside_folders(make, tmp_path, names, beside):
    assert refused(make(tmp_path, names)) == (
        f"{beside!r} lies beside folders of images; either all images should be in folders, one a "
        "class, or none"
    )


@makers
def test_other_files(make, tmp_path):
    names = ["a/1.png", "a/2.png", "b/3.png", "b/4.png", ".hidden.png", "a/.DS_Store", "Thumbs.db",
             ".git/x.png", "__MACOSX/a/._1.png", "a/Thumbs.db"]  # fmt: skip
    path = make(tmp_path, [*names, "b/read.me"])
    items, *_, notes = look(path)
    assert list(items) == names[:4]
    assert notes == ("Passed over 1 file that is no image: .me.",)
    path = make(tmp_path, [*names, *(f"b/x.{kind}" for kind in "fFedcba"), "README"])
    kinds = 8 if make is make_zip else 9  # the folder still has the one from above
    assert look(path)[3] == (
        f"Passed over {kinds} files that are no images: .a, .b, .c, .d, .e and others.",
    )
    os.remove(path / "README" if path.is_dir() else path)


@makers
def test_classes_of_one_image(make, tmp_path):
    names = ["a/1.png", "a/2.png", "b/3.png"]
    assert look(make(tmp_path, names))[3] == ("A class has one image only, class 'b': b/3.png.",)
    assert look(make(tmp_path, [*names, "c/4.png"]))[3] == (
        "2 classes have one image only, among them class 'b': b/3.png.",
    )


@makers
def test_no_images(make, tmp_path):
    expected = (
        "no images in it; files called .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff, .gif, .ppm, "
        ".pgm are looked for"
    )
    assert refused(make(tmp_path, [])) == expected
    assert refused(make(tmp_path, ["x.txt", ".y.png"])) == expected


def test_paths_of_no_kind(tmp_path):
    assert refused(tmp_path / "no.zip") == "there is no such file or folder"
    for name in ("x.tar.gz", "x.h5", "x.png", "x"):
        (tmp_path / name).write_bytes(b"x")
        assert refused(tmp_path / name) == (
            "images cannot be read from this; it should be a folder of images, a .zip of them, a "
            ".npy or a .npz"
        )


def test_symbolic_links(tmp_path):
    root = make_folder(tmp_path / "root", ["1.png"])
    make_folder(tmp_path / "elsewhere", ["2.png"])
    (root / "2.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    (root / "3.png").symlink_to(tmp_path / "nowhere")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "4.png")
    (root / "5.png").symlink_to(root / "4.png")
    with open_collection(root) as found:
        assert [item.name for item in found.items] == ["1.png", "2.png", "3.png"]
        assert found.items[1].read() == png()
        with pytest.raises(Bad, match=r"^cannot be read: No such file or directory$"):
            found.items[2].read()
        assert found.notes == ("Symbolic links to folders are not followed: 1.",)


def test_names_that_are_no_utf_8(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xe9.png", "wb") as file:
        file.write(png())
    with open_collection(tmp_path) as found:
        assert found.items[0].name == "\\xe9.png"
        assert found.items[0].read() == png()


def test_unreadable_folder(tmp_path, monkeypatch):
    make_folder(tmp_path, ["a/1.png", "b/2.png"])
    scandir = os.scandir

    def deny(folder):
        if folder == str(tmp_path / "b"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(UserError) as error, open_collection(tmp_path):
        pass
    assert str(error.value) == f"{tmp_path / 'b'}: cannot be read: Permission denied"


def test_files_that_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "MAX_BYTES", 10)
    for path in (make_folder(tmp_path, ["1.png"]), make_zip(tmp_path, ["1.png"])):
        with open_collection(path) as found:
            size = len(png())
            with pytest.raises(Bad, match=f"^a file of {size} bytes, more than the 10 allowed$"):
                found.items[0].read()


@pytest.mark.parametrize(
    "name", ["/a.png", "../a.png", "a/../../b.png", "..\\a.png", "a\\..\\..\\b.png", "\\a.png",
             "C:\\a.png", "c:a.png", "//host/a.png", "a/..", "../"]
)  # fmt: skip
def test_zip_members_that_climb(tmp_path, name):
    path = make_zip(tmp_path, ["ok.png", name])
    assert refused(path) == f"its member {name!r} points out of the archive"


def test_zip_members_with_backslashes_or_dots(tmp_path):
    path = make_zip(tmp_path, ["a\\1.png", "./a/2.png", "b//3.png", "b\\", "b/4..png"])
    assert list(look(path)[0]) == ["a/1.png", "a/2.png", "b/3.png", "b/4..png"]


def test_zip_members_twice(tmp_path):
    path = make_zip(tmp_path, ["a.png", ".\\a.png"])
    assert refused(path) == "its member '.\\\\a.png' is there twice"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("b.png", png())
        archive.writestr("b.png", png())
    assert refused(path) == "its member 'b.png' is there twice"


def test_encrypted_zip(tmp_path):
    path = make_zip(tmp_path, ["a.png"])
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert refused(path) == "its member 'a.png' is encrypted"


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\3\4" + bytes(40)])
def test_no_zip(tmp_path, content):
    for name in ("x.zip", "x.npz"):
        (tmp_path / name).write_bytes(content)
        kind = "a zip archive" if name == "x.zip" else "a .npz"
        assert refused(tmp_path / name) == f"cannot be read as {kind}: File is not a zip file"


def test_truncated_zip(tmp_path):
    path = make_zip(tmp_path, ["a.png", "b.png"])
    path.write_bytes(path.read_bytes()[:-30])
    assert refused(path) == "cannot be read as a zip archive: File is not a zip file"


def test_corrupt_zip_member(tmp_path):
    path = make_zip(tmp_path, ["a.png", "b.png"], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(png(1)) + 50] ^= 1
    path.write_bytes(content)
    with open_collection(path) as found:
        assert found.items[0].read() == png(0)
        with pytest.raises(Bad, match=r"^corrupt in its archive: Bad CRC-32 for file 'b.png'$"):
            found.items[1].read()


def test_zip_bombs(tmp_path):
    # Declared as a gigabyte; 64 MiB declared as 9 bytes; and what unpacks without a bound.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    path = tmp_path / "bomb.zip"
    for declared, reason in [
        (2**30, "a file of 1,073,741,824 bytes"),
        (9, "corrupt in its archive"),
    ]:
        sizes = struct.pack("<III", 0, len(packed), declared)
        local = b"PK\3\4" + struct.pack("<5H", 20, 0, 8, 0, 33) + sizes + struct.pack("<HH", 5, 0)
        central = b"PK\1\2" + struct.pack("<6H", 20, 20, 0, 8, 0, 33) + sizes
        central += struct.pack("<5HII", 5, 0, 0, 0, 0, 0, 0) + b"a.png"
        content = local + b"a.png" + packed
        end = struct.pack("<4HIIH", 0, 0, 1, 1, len(central), len(content), 0)
        path.write_bytes(content + central + b"PK\5\6" + end)
        with open_collection(path) as found, pytest.raises(Bad, match=f"^{reason}"):
            found.items[0].read()
    path = make_zip(tmp_path, ["a.png"], zipfile.ZIP_BZIP2)
    with open_collection(path) as found, pytest.raises(Bad) as bad:
        found.items[0].read()
    assert str(bad.value) == "compressed in its archive by another method than deflate"


def test_zip_is_read_by_threads(tmp_path):
    names = [f"{i:03}.png" for i in range(200)]
    with (
        open_collection(make_zip(tmp_path, names)) as found,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        contents = list(pool.map(lambda item: item.read(), found.items * 5))
    assert contents == [png(i) for i in range(200)] * 5


def add_listing(path, text):
    if path.is_dir():
        (path / "dataset.json").write_text(text)
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("dataset.json", text)
    return path


LISTED = ["00000/1.png", "00000/2.png", "00001/3.png", "00001/4.png"]


@makers
def test_labels_from_dataset_json(make, tmp_path):
    pairs = [[name, label] for name, label in zip(LISTED, [6, 6, 2, 2], strict=True)]
    pairs[0][0] = "00000\\1.png"
    path = add_listing(make(tmp_path, LISTED), json.dumps({"labels": [*pairs, ["gone.png", 9]]}))
    items, class_names, splits, notes = look(path)
    assert [label for _, label in items.values()] == [1, 1, 0, 0]
    assert (class_names, splits) == (("2", "6"), ("train",))
    assert notes == (
        "Labels in dataset.json for images that are not there: 1.",
        "The labels, 2 numbers from 2 to 6, are renumbered 0 to 1; the old numbers are the names "
        "of the classes.",
    )


@makers
def test_dataset_json_without_labels(make, tmp_path):
    path = add_listing(make(tmp_path, LISTED), '{"labels": null}')
    items, class_names, _, notes = look(path)
    assert set(items.values()) == {("train", None)}
    assert (class_names, notes) == ((), ())


@makers
@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"labels": 3}', '{"labels": {"ab": 1}}', "[" * 100_000,
     *(f'{{"labels": [{entry}]}}' for entry in ("3", "[3, 4]", '["1.png"]', '["1.png", 0.5]',
       '["1.png", true]', '["1.png", [0, 1]]', '["1.png", 1e999]'))],
)  # fmt: skip
def test_dataset_json_that_is_malformed(make, tmp_path, text):
    assert refused(add_listing(make(tmp_path, ["1.png"]), text)) == (
        'its dataset.json should be {"labels": [["name of a file", 3], ...]}, whole numbers for '
        "all images, or null in place of the list"
    )


@makers
def test_dataset_json_that_lacks_an_image(make, tmp_path):
    path = add_listing(make(tmp_path, LISTED), json.dumps({"labels": [[LISTED[0], 0]]}))
    assert refused(path) == "its dataset.json has no label for '00000/2.png'"


@makers
def test_dataset_json_that_repeats_an_image(make, tmp_path):
    path = add_listing(make(tmp_path, ["1.png"]), '{"labels": [["1.png", 0], ["1.png", 1]]}')
    assert refused(path) == "its dataset.json has two labels for one file"


def save(tmp_path, images, labels=None):
    """The array as .npy and .npz, or only as .npz where there are labels."""
    paths = [tmp_path / "images.npz", tmp_path / "packed.npz"]
    named = {"images": images} if labels is None else {"images": images, "labels": labels}
    np.savez(paths[0], **named)
    np.savez_compressed(paths[1], **named)
    if labels is None:
        paths.append(tmp_path / "images.npy")
        np.save(paths[-1], images)
    return paths


def pixels(path):
    with open_collection(path) as found:
        return np.stack([item.read() for item in found.items])


@pytest.mark.parametrize(
    "images",
    [PIXELS, PIXELS[..., 0], PIXELS[..., :1], np.concatenate([PIXELS, PIXELS[..., :1]], -1),
     np.asfortranarray(PIXELS)],
)  # fmt: skip
def test_arrays_of_bytes(tmp_path, images):
    expected = images[..., None] if images.ndim == 3 else images
    for path in save(tmp_path, images):
        np.testing.assert_array_equal(pixels(path), expected)
        assert pixels(path).dtype == np.uint8
        items, class_names, splits, notes = look(path)
        assert list(items.items()) == [(f"images[{i}]", ("train", None)) for i in range(6)]
        assert (class_names, splits, notes) == ((), ("train",), ())


@pytest.mark.parametrize("kind", ["i1", "<i2", ">i4", "i8", "u2", ">u4", "u8"])
def test_other_whole_numbers(tmp_path, kind):
    images = (PIXELS // 2).astype(kind)
    for path in save(tmp_path, images):
        np.testing.assert_array_equal(pixels(path), PIXELS // 2)
        assert look(path)[3] == ()
    if kind == "i1":
        return
    if "u" not in kind:
        images[3, 1, 2, 0] = -1
        for path in save(tmp_path, images):
            name = np.dtype(kind)
            assert refused_array(path) == f"{name} from -1 to 127; it should be 0 to 255, or uint16"
    if kind != "u2":
        images[3, 1, 2, 0] = 256
        for path in save(tmp_path, images):
            assert "256; it should be 0 to 255, or uint16" in refused_array(path)


def refused_array(path):
    message = refused(path)
    return message.removeprefix("images: ") if path.suffix == ".npz" else message


def test_16_bits(tmp_path):
    images = np.arange(65536, dtype=">u2").reshape(4, 128, 128)
    for path in save(tmp_path, images):
        expected = np.floor(images.astype(float) / 257 + 0.5)[..., None]
        np.testing.assert_array_equal(pixels(path), expected)
        assert look(path)[3] == ("Pixels, 16-bit numbers from 0 to 65535, are divided by 257.",)


@pytest.mark.parametrize("kind", ["f2", "f4", ">f8", "g"])
def test_floats(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(arrays, "_CHUNK_BYTES", 1)  # the range is that of all chunks together
    unit = (PIXELS / 255).astype(kind)
    unit[0, 0, 0] = [-0.0009, 1, 1.0009]
    expected = PIXELS.copy()
    expected[0, 0, 0] = [0, 255, 255]
    for path in save(tmp_path, unit):
        np.testing.assert_array_equal(pixels(path), expected)
        (note,) = look(path)[3]
        assert note.startswith("Pixels, floats from -0.000") and note.endswith("in [0, 1].")
    signed = (PIXELS / 127.5 - 1).astype(kind)
    signed[0, 0, 0], signed[5, 4, 3] = [0, 1, 1.0009], [-0.5, 0.5, -1.0009]
    expected[0, 0, 0], expected[5, 4, 3] = [128, 255, 255], [64, 191, 0]
    for path in save(tmp_path, signed):
        np.testing.assert_array_equal(pixels(path), expected)
        (note,) = look(path)[3]
        assert note.startswith("Pixels, floats from -1.000") and note.endswith("in [-1, 1].")


def test_floats_of_another_range(tmp_path):
    unit = (PIXELS.astype(float) - PIXELS.min()) / np.ptp(PIXELS)
    for images, span in [
        (unit * 255, "0 to 255"),
        (unit * 1.275, "0 to 1.275"),
        (unit - 1.5, "-1.5 to -0.5"),
    ]:
        for path in save(tmp_path, images):
            assert refused_array(path) == (
                f"floats from {span}; they should be in [0, 1] or in [-1, 1], or saved as uint8 "
                "where they are in [0, 255]"
            )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(tmp_path, value, monkeypatch):
    monkeypatch.setattr(arrays, "_CHUNK_BYTES", 2 * PIXELS[0].nbytes)
    images = (PIXELS / 255).astype(np.float32)
    images[3, 1, 2, 0] = images[4, 0, 0, 0] = value
    for path in save(tmp_path, images):
        assert refused_array(path) == f"the number at [3, 1, 2, 0] is {value}"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS.transpose(0, 3, 2, 1), "of shape (6, 3, 4, 5), has its channels first; they "
         "should be last: save images.transpose(0, 2, 3, 1)"),
        (PIXELS.reshape(6, -1), "of shape (6, 60); it should be N x H x W, or N x H x W x C with "
         "1, 3 or 4 channels"),
        (PIXELS[..., :2], "of shape (6, 5, 4, 2); it should be N x H x W, or N x H x W x C with "
         "1, 3 or 4 channels"),
        (PIXELS[:0], "of shape (0, 5, 4, 3); there are no pixels in it"),
        (PIXELS[:, :0], "of shape (6, 0, 4, 3); there are no pixels in it"),
        (PIXELS > 3, "is of bool; pixels should be uint8, or floats in [0, 1]"),
        (PIXELS * 1j, "is of complex128; pixels should be uint8, or floats in [0, 1]"),
        (PIXELS.astype("S3"), "is of |S3; pixels should be uint8, or floats in [0, 1]"),
        (PIXELS.astype(object), "holds Python objects (a pickle), which jaxgan does not load; "
         "save plain arrays"),
    ],
    ids=lambda value: value.split(";")[0] if isinstance(value, str) else "",
)  # fmt: skip
def test_arrays_that_are_refused(tmp_path, images, message):
    paths = [tmp_path / "images.npz", tmp_path / "images.npy"]
    np.savez(paths[0], images=images)
    np.save(paths[1], images)
    for path in paths:
        assert refused_array(path) == message


def test_arrays_of_too_large_images(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAX_PIXELS", 10**6)
    for path in save(tmp_path, np.zeros((1, 1, 1_000_001), np.uint8)):
        assert refused_array(path) == (
            "images of 1 x 1,000,001 pixels are larger than the 1 million pixels that are allowed"
        )


@pytest.mark.parametrize(
    ("labels", "expected", "class_names", "notes"),
    [
        ([0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2], ("0", "1", "2"), ()),
        ([7, -1, 7, -1, 30, 30], [1, 0, 1, 0, 2, 2], ("-1", "7", "30"),
         ("The labels, 3 numbers from -1 to 30, are renumbered 0 to 2; the old numbers are the "
          "names of the classes.",)),
        ([0, 0, 0, 5, 5, 5], [0, 0, 0, 1, 1, 1], ("0", "5"),
         ("The labels, 2 numbers from 0 to 5, are renumbered 0 to 1; the old numbers are the names "
          "of the classes.",)),
        ([1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1], ("1", "2"),
         ("The labels, 2 numbers from 1 to 2, are renumbered 0 to 1; the old numbers are the names "
          "of the classes.",)),
        ([0, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], ("0", "1"),
         ("A class has one image only, class '1': images[1].",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["i1", ">i8", "i4"])
def test_labels_beside_an_array(tmp_path, labels, expected, class_names, notes, kind):
    for path in save(tmp_path, PIXELS, np.array(labels, kind)):
        items, found_names, _, found_notes = look(path)
        assert [label for _, label in items.values()] == expected
        assert (found_names, found_notes) == (class_names, notes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(6), "of shape (6, 6); there should be one whole number an image: if they are "
         "one-hot, save labels.argmax(1)"),
        (np.eye(6, dtype=int), "of shape (6, 6); there should be one whole number an image: if "
         "they are one-hot, save labels.argmax(1)"),
        (np.arange(6.0), "of float64; they should be whole numbers: save labels.astype(int)"),
        (np.arange(6) > 2, "of bool; they should be whole numbers: save labels.astype(int)"),
        (np.arange(6)[:, None], "of shape (6, 1); save labels.reshape(-1)"),
        (np.array(3), "of shape (); save labels.reshape(-1)"),
        (np.arange(7), "7 labels for 6 images"),
        (np.array(["a"] * 6, object), "holds Python objects (a pickle), which jaxgan does not "
         "load; save plain arrays"),
    ],
    ids=lambda value: value[:9] if isinstance(value, str) else "",
)  # fmt: skip
def test_labels_that_are_refused(tmp_path, labels, message):
    for path in save(tmp_path, PIXELS, labels):
        assert refused(path) == f"labels: {message}"


def test_names_of_arrays(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, PIXELS)
    np.testing.assert_array_equal(pixels(path), PIXELS)
    expected = "should hold the arrays 'images' and, if there are any, 'labels'; there are: "
    np.savez(path, x_train=PIXELS, y_train=np.arange(6))
    assert refused(path) == f"{expected}'x_train', 'y_train'"
    np.savez(path, images=PIXELS, labels=np.arange(6), mean=PIXELS)
    assert refused(path) == f"{expected}'images', 'labels', 'mean'"
    np.savez(path)
    assert refused(path) == f"{expected}none"


def npy(header, data=b"", version=b"\1\0"):
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "corrupt, or not as numpy.save writes arrays"),
        (b"\x93NUMPY\1\0\xff\xff", "corrupt, or not as numpy.save writes arrays"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2)}", b"abc"),
         "truncated or corrupt: its header says (1, 2, 2) of uint8, which is 4 bytes, but 3 bytes "
         "follow"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -2, 2)}", b"abcd"),
         "of shape (-1, -2, 2); there are no pixels in it"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 99, 99)}"),
         "truncated or corrupt: its header says (9999999999, 99, 99) of float64, which is "
         "784,079,999,921,592 bytes, but 0 bytes follow"),
        (b"\x93NUMPY\7\0" + bytes(50), "corrupt, or not as numpy.save writes arrays"),
    ],
)  # fmt: skip
def test_corrupt_arrays(tmp_path, content, message):
    (tmp_path / "x.npy").write_bytes(content)
    assert refused(tmp_path / "x.npy") == message
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", content)
    assert refused(tmp_path / "x.npz") == f"images: {message}"


def test_corrupt_npz(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=np.repeat(PIXELS, 99, 0))
    content = bytearray(path.read_bytes())
    content[content.index(PIXELS[3].tobytes()) + 7] ^= 1
    path.write_bytes(content)
    assert refused(path) == ("images: truncated or corrupt: Bad CRC-32 for file 'images.npy'")
    path.write_bytes(content[:-30])
    assert refused(path) == "cannot be read as a .npz: File is not a zip file"


def test_npz_bombs(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez(path, images=PIXELS, labels=np.arange(6))
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "MAX_BYTES", 500)
        assert refused(path) == (
            "unpacks to 664 bytes, more than the 500 that are read into memory; save the images "
            "as a .npy, or as files in folders"
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("images.npy", bytes(100))
    assert refused(path) == "images: compressed by another method than numpy.savez_compressed's"


def test_headers_of_python_2(tmp_path):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1L, 2L, 2L)}"
    (tmp_path / "x.npy").write_bytes(npy(header, b"abcd"))
    assert pixels(tmp_path / "x.npy").tobytes() == b"abcd"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", npy(header, b"abcd"))
    assert pixels(tmp_path / "x.npz").tobytes() == b"abcd"


def test_unreadable_files(tmp_path, monkeypatch):
    for path in (*save(tmp_path, PIXELS), make_zip(tmp_path, ["a.png"])):
        with monkeypatch.context() as patch:

            def deny(*args, **kwargs):
                raise PermissionError(13, "Permission denied")

            patch.setattr("builtins.open", deny)
            patch.setattr(io, "open", deny)
            assert refused(path).endswith(": Permission denied")


def files_of_arrays():
    """Valid files, by their suffix, from which the fuzz tests start."""
    labels = np.arange(6, dtype=np.int16)
    contents = {".npy": [], ".npz": [], ".zip": []}
    for images in (PIXELS, PIXELS[..., 0] / 255, np.asfortranarray(PIXELS.astype(np.uint16) * 9)):
        for suffix, write in ((".npy", np.save), (".npz", np.savez)):
            file = io.BytesIO()
            write(file, images) if suffix == ".npy" else write(file, images=images, labels=labels)
            contents[suffix].append(file.getvalue())
    file = io.BytesIO()
    np.savez_compressed(file, images=PIXELS)
    contents[".npz"].append(file.getvalue())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in ("train/a/1.png", "train/b/2.png", "test/a/3.png"):
                archive.writestr(name, png())
            archive.writestr("dataset.json", json.dumps({"labels": None}))
        contents[".zip"].append(file.getvalue())
    return contents


FILES = files_of_arrays()
IDX = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + bytes(24)


@pytest.mark.parametrize("suffix", FILES)
def test_fuzz(suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / f"x{suffix}"

    @fuzz
    @hypothesis.given(st.one_of(st.binary(), *[mutated(FILES[suffix])] * 4))
    def check(content):
        path.unlink(missing_ok=True)  # one that is mapped may not be cut off
        path.write_bytes(content)
        try:
            with open_collection(path) as found:
                assert found.items and found.splits
                for item in found.items:
                    try:
                        read = item.read()
                        treat = standardise if isinstance(read, bytes) else standardise_array
                        result = treat(read, Treatment(4, 3, small="upscale"))
                        assert (result.dtype, result.shape) == (np.uint8, (4, 4, 3))
                    except Bad as bad:
                        assert "annotation" not in str(bad)
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            assert len(str(error)) < 400

    check()


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_fuzz_idx(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(IDX) + packer.flush()
    seeds = [IDX if name == "x" else packed]

    @fuzz
    @hypothesis.given(st.one_of(st.binary(), *[mutated(seeds)] * 4), st.integers(1, 3))
    def check(content, ndim):
        (folder / name).write_bytes(content)
        try:
            result = read_idx(folder, "x", ndim=ndim)
            assert (result.dtype, result.ndim) == (np.uint8, ndim)
        except UserError as error:
            assert str(error).startswith(f"{folder / name}: ")

    check()


@makers
@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["cat/train/1.png", "cat/test/2.png", "dog/train/3.png"], "cat/test and cat/train"),
        (["train/1.png", "test/2.png", "extra/3.png"], "test and train"),
        (["test/1.png", "val/2.png"], "test and val"),
        (["w/Train/1.png", "w/VALID/2.png", "w/x/3.png"], "Train and VALID"),
    ],
)
def test_splits_that_would_be_lost_are_refused(files, found, make, tmp_path):
    path = make(tmp_path, files)
    message = f"{path}: {found} look like splits, but lie below classes or beside other folders"
    with pytest.raises(UserError, match=re.escape(message)), open_collection(path):
        pass
