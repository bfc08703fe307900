"""Preparing folders, zips and arrays: what is made, what is refused, what a failure leaves."""

import errno
import io
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

import train
from jaxgan import cli, config, data, loop
from jaxgan.cli.main import main
from jaxgan.data import prepare, writing
from jaxgan.data.prepare import Options, prepare_cached
from jaxgan.data.writing import Example, in_threads, once, write_set
from jaxgan.errors import UserError

ROOT = Path(__file__).parents[1]


def picture(number, height=12, width=16, channels=3):
    """Pixels of their own for each number."""
    rng = np.random.default_rng(number)
    return rng.integers(256, size=(height, width, channels), dtype=np.uint8)


def to_image(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def png(number=0, *shape):
    file = io.BytesIO()
    to_image(picture(number, *shape)).save(file, "PNG")
    return file.getvalue()


def write(folder, files):
    """The folder, with files of these names and bytes; a number stands for its picture."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(content) if isinstance(content, int) else content)
    return folder


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, png(content) if isinstance(content, int) else content)
    return path


def many(count, folder="", start=0):
    return {f"{folder}{i:03}.png": start + i for i in range(count)}


def classes(each=6):
    return many(each, "cat/") | many(each, "dog/", 100) | many(each, "hen/", 200)


def run(source, out, *arguments):
    return main(["prepare", "--source", str(source), "--out", str(out), *map(str, arguments)])


def made(source, out, *arguments):
    """What the command made: its metadata and the splits."""
    assert run(source, out, *arguments) == 0
    metadata = json.loads((out / "metadata.json").read_text())
    return metadata, {split: data.load("folder", split, path=str(out)) for split in splits(out)}


def splits(folder):
    return [s["name"] for s in json.loads((folder / "dataset_info.json").read_text())["splits"]]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def rows(images):
    return sorted(image.tobytes() for image in images)


def one_sentence(capsys, *named):
    out, err = capsys.readouterr()
    assert all(line.startswith(("looking at ", "preparing ")) for line in out.splitlines())
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for text in named:
        assert text in err
    return True


# --------------------------------------------------------------------------------------------------
# What is made

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}
SHAPES = [(12, 16), (16, 13), (21, 20), (30, 9), (8, 8), (19, 19)]


@pytest.mark.parametrize("name", FILTERS)
def test_pictures_are_cropped_at_the_centre_and_resized_as_pillow_does(name, tmp_path):
    files = {f"{i}.png": png(i, *shape) for i, shape in enumerate(SHAPES)}
    source = write(tmp_path / "source", files)
    arguments = [] if name == "lanczos" else ["--filter", name]
    metadata, found = made(source, tmp_path / "out", "--image_size", 8, *arguments)
    expected = []
    for i, (height, width) in enumerate(SHAPES):
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        image = to_image(picture(i, height, width)).crop((left, top, left + side, top + side))
        expected.append(np.asarray(image.resize((8, 8), FILTERS[name])))
    assert rows(found["train"].images) == rows(expected)
    assert found["train"].labels is None
    assert (metadata["filter"], metadata["fit"], metadata["image_size"]) == (name, "crop", 8)


def test_pictures_are_padded_with_the_background(tmp_path):
    source = write(tmp_path / "source", {"a.png": png(0, 8, 16), "b.png": png(1, 16, 12)})
    arguments = ["--image_size", "8", "--fit", "pad", "--background", "#102030"]
    metadata, found = made(source, tmp_path / "out", *arguments)
    wide, high = (np.full((16, 16, 3), (16, 32, 48), np.uint8) for _ in range(2))
    wide[4:12], high[:, 2:14] = picture(0, 8, 16), picture(1, 16, 12)
    expected = [to_image(i).resize((8, 8), Image.Resampling.LANCZOS) for i in (wide, high)]
    assert rows(found["train"].images) == rows(map(np.asarray, expected))
    assert (metadata["fit"], metadata["background"]) == ("pad", [16, 32, 48])


def test_squares_of_one_size_stay_as_they_are(tmp_path):
    pixels = np.stack([picture(i, 8, 8) for i in range(5)])
    np.save(tmp_path / "images.npy", pixels)
    _, found = made(tmp_path / "images.npy", tmp_path / "out")
    assert rows(found["train"].images) == rows(pixels)


def test_classes_are_the_folders(tmp_path):
    source = write(tmp_path / "source", classes())
    metadata, found = made(source, tmp_path / "out", "--image_size", 12)
    assert found["train"].class_names == ("cat", "dog", "hen")
    crop = {to_image(picture(n)).crop((2, 0, 14, 12)).tobytes(): n // 100 for n in range(300)}
    assert [crop[image.tobytes()] for image in found["train"].images] == list(found["train"].labels)
    assert metadata["images"] == {"train": {"cat": 6, "dog": 6, "hen": 6}}


def test_the_order_is_shuffled_and_always_the_same(tmp_path):
    pixels = np.stack([picture(i, 4, 4) for i in range(40)])
    np.savez(tmp_path / "images.npz", images=pixels, labels=np.repeat(range(4), 10))
    _, found = made(tmp_path / "images.npz", tmp_path / "a")
    order = data.indices(seed=0, start=0, count=40, size=40)
    np.testing.assert_array_equal(found["train"].images, pixels[order])
    np.testing.assert_array_equal(found["train"].labels, order // 10)
    made(tmp_path / "images.npz", tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


SLICES = ("train[:90%]", "train[90%:]")


def test_slices_are_disjoint_and_have_all_classes(tmp_path):
    files = {f"{c}/{i:02}.png": png(100 * c + i, 4, 4) for c in range(3) for i in range(60)}
    source = write(tmp_path / "source", files)
    made(source, tmp_path / "out")
    parts = [data.load("folder", s, path=str(tmp_path / "out")) for s in SLICES]
    assert [len(part.images) for part in parts] == [162, 18]
    assert [set(part.labels) for part in parts] == [{0, 1, 2}] * 2
    joined = [*parts[0].images, *parts[1].images]
    assert rows(joined) == rows(picture(100 * c + i, 4, 4) for c in range(3) for i in range(60))


def test_splits_do_not_leak(tmp_path):
    files = classes(4)
    numbers = {"train": 0, "test": 1000, "val": 2000}
    files = {f"{s}/{name}": n + start for s, start in numbers.items() for name, n in files.items()}
    source = write(tmp_path / "source", files)
    _, found = made(source, tmp_path / "out", "--image_size", 12)
    assert list(found) == ["train", "validation", "test"]
    for split, start in [("train", 0), ("test", 1000), ("validation", 2000)]:
        expected = [to_image(picture(n + start)).crop((2, 0, 14, 12)) for n in classes(4).values()]
        assert rows(found[split].images) == rows(map(np.asarray, expected))
        assert sorted(found[split].labels) == [0] * 4 + [1] * 4 + [2] * 4


def test_metadata_says_what_was_done(tmp_path):
    files = {
        **{f"train/{n}": c for n, c in many(9, "cat/").items()},
        "train/cat/again.png": 0,
        "train/cat/large.png": png(7, 40, 30),
        "train/dog/a.png": 1,  # as cat/001.png
        "train/dog/b.png": 50,
        "test/dog/c.png": 50,  # as train's
        "test/dog/d.png": png(9, 12, 12),
        "readme.txt": b"of no use",
    }
    source = write(tmp_path / "Some Pictures", files)
    metadata, _ = made(source, tmp_path / "out", "--image_size", 12)
    groups = {frozenset(group) for group in metadata.pop("duplicates")}
    assert groups == {
        frozenset({"train/cat/000.png", "train/cat/again.png"}),
        frozenset({"train/cat/001.png", "train/dog/a.png"}),
        frozenset({"train/dog/b.png", "test/dog/c.png"}),
    }
    assert len(metadata.pop("content")) == 16
    assert metadata.pop("pillow") == Image.__version__
    assert metadata == {
        "source": "Some Pictures",
        "image_size": 12,
        "channels": 3,
        "filter": "lanczos",
        "fit": "crop",
        "background": [255, 255, 255],
        "small": "error",
        "sizes": {"smallest": [12, 12], "median": [16, 12], "largest": [30, 40]},
        "classes": ["cat", "dog"],
        "images": {"train": {"cat": 11, "dog": 2}, "test": {"dog": 2}},
        "skipped": [],
        "duplicates_across_splits": 1,
        "duplicates_across_classes": 1,
        "notes": ["Passed over 1 file that is no image: .txt."],
    }


def test_the_table_that_people_read(tmp_path, capsys):
    files = classes(3) | {"cat/again.png": 1, "hen/again.png": 101}
    source = write(tmp_path / "source", files | {"dog/small.png": png(3, 9, 9)})
    out = tmp_path / "out"
    assert run(source, out, "--image_size", 10, "--small", "skip", "--channels", "grey") == 0
    printed, err = capsys.readouterr()
    assert err == ""
    table = """\
looking at source: 12 images
preparing source: 11 images
class                          train
cat                                4
dog                                3
hen                                4
images                            11
sizes: smallest 9 x 9, median 16 x 12, largest 16 x 12 pixels
made: 10 x 10 grey, filter lanczos, fit crop, small ones: skip, Pillow PILLOW
duplicates: 2 images show what another one does, 1 of them in another class, 0 in another split; \
all are kept
skipped: 1
  dog/small.png: 9 x 9 pixels

look at OUT/contact_sheet.png; to train on it:
python train.py --config configs/cgan.py --workdir runs/out --config.data.name=folder \
--config.data.path=OUT
(with as few as 11 images see docs/guides/images.md: augmentation)
"""
    assert printed == table.replace("OUT", str(out)).replace("PILLOW", Image.__version__)


def test_the_contact_sheet_has_a_row_for_each_class(tmp_path):
    source = write(tmp_path / "source", classes(14))
    _, found = made(source, tmp_path / "out", "--image_size", 8)
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert (sheet.size, sheet.mode) == ((150 + 12 * 68, 3 * 68), "RGB")
        for label in range(3):
            chosen = found["train"].images[found["train"].labels == label]
            for column in (0, 11):
                left, top = 150 + column * 68 + 2, label * 68 + 2
                tile = sheet.crop((left, top, left + 64, top + 64))
                assert tile.tobytes() == to_image(chosen[column]).resize((64, 64)).tobytes()
            name = np.asarray(sheet.crop((0, label * 68, 150, label * 68 + 68)))
            assert (name < 128).any() and name.mean() > 240


def test_the_contact_sheet_of_grey_images_without_classes(tmp_path):
    np.save(tmp_path / "images.npy", np.stack([picture(i, 4, 4, 1) for i in range(150)]))
    _, found = made(tmp_path / "images.npy", tmp_path / "out")
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.size == (12 * 68, 12 * 68)
        tile = sheet.crop((2 + 68, 2 + 68, 66 + 68, 66 + 68))
        expected = to_image(found["train"].images[13]).convert("RGB").resize((64, 64))
        assert tile.tobytes() == expected.tobytes()


def grey_and_colour(folder):
    return write(folder, {"grey.png": png(0, 8, 8, 1), "colour.png": png(1, 8, 8, 3)})


def test_one_colour_picture_makes_all_rgb(tmp_path):
    _, found = made(grey_and_colour(tmp_path / "source"), tmp_path / "out")
    expected = [np.repeat(picture(0, 8, 8, 1), 3, -1), picture(1, 8, 8)]
    assert rows(found["train"].images) == rows(expected)
    assert found["train"].images.shape == (2, 8, 8, 3)


def test_grey_that_is_asked_for_is_one_channel(tmp_path):
    source = grey_and_colour(tmp_path / "source")
    metadata, found = made(source, tmp_path / "out", "--channels", "grey")
    expected = [picture(0, 8, 8, 1), np.asarray(to_image(picture(1, 8, 8)).convert("L"))]
    assert rows(found["train"].images) == rows(expected)
    assert (found["train"].channels, metadata["channels"]) == (1, 1)


@pytest.mark.parametrize(("channels", "count"), [("auto", 1), ("rgb", 3)])
def test_grey_pictures_have_one_channel_unless_three_are_asked_for(channels, count, tmp_path):
    source = write(tmp_path / "source", {"a.png": png(0, 8, 8, 1)})
    _, found = made(source, tmp_path / "out", "--channels", channels)
    expected = np.repeat(picture(0, 8, 8, 1), count, axis=-1)
    np.testing.assert_array_equal(found["train"].images, expected[None])


def test_labels_that_are_not_consecutive_are_renumbered_and_said_to_be(tmp_path, capsys):
    pixels = np.stack([picture(i, 4, 4, 1) for i in range(6)])
    np.savez(tmp_path / "images.npz", images=pixels, labels=[9, 2, 5, 2, 9, 5])
    metadata, found = made(tmp_path / "images.npz", tmp_path / "out")
    train = found["train"]
    assert train.class_names == ("2", "5", "9")
    expected = {pixels[i].tobytes(): label for i, label in enumerate([2, 0, 1, 0, 2, 1])}
    assert [expected[image.tobytes()] for image in train.images] == list(train.labels)
    note = "The labels, 3 numbers from 2 to 9, are renumbered 0 to 2; "
    assert metadata["notes"][0].startswith(note)
    assert f"\n{note}" in capsys.readouterr().out


def test_a_class_of_one_image_is_noted(tmp_path, capsys):
    files = many(3, "cat/") | {"dog/rex.png": 7}
    metadata, _ = made(write(tmp_path / "source", files), tmp_path / "out", "--image_size", 8)
    note = "A class has one image only, class 'dog': dog/rex.png."
    assert metadata["notes"] == [note]
    assert f"\n{note}\n" in capsys.readouterr().out


@pytest.mark.parametrize("small", ["upscale", "pad", "skip"])
def test_small_images_are_treated_as_asked(small, tmp_path):
    source = write(tmp_path / "source", {"small.png": png(0, 4, 6), "large.png": png(1, 8, 8)})
    arguments = ["--image_size", 8, "--small", small, "--background", "#f00"]
    metadata, found = made(source, tmp_path / "out", *arguments)
    square = picture(0, 4, 6)[:, 1:5]
    padded = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    padded[2:6, 2:6] = square
    expected = {
        "upscale": [np.asarray(to_image(square).resize((8, 8), Image.Resampling.LANCZOS))],
        "pad": [padded],
        "skip": [],
    }[small]
    assert rows(found["train"].images) == rows([*expected, picture(1, 8, 8)])
    assert metadata["skipped"] == ([["small.png", "6 x 4 pixels"]] if small == "skip" else [])
    assert metadata["small"] == small


def test_what_counts_as_small_depends_on_the_fit(tmp_path, capsys):
    source = write(tmp_path / "source", many(2))  # 16 x 12
    assert run(source, tmp_path / "a", "--image_size", 14) == 2
    assert one_sentence(capsys, "2 of 2 images are smaller than 14 x 14")
    metadata, found = made(source, tmp_path / "b", "--image_size", 14, "--fit", "pad")
    assert found["train"].images.shape == (2, 14, 14, 3) and metadata["skipped"] == []


# --------------------------------------------------------------------------------------------------
# What is refused


def huge_png():
    """A PNG that says that it is 100,000 pixels wide and high."""
    header = b"IHDR" + struct.pack(">2I5B", 100_000, 100_000, 8, 2, 0, 0, 0)
    rest = struct.pack(">I", zlib.crc32(header)) + png()[33:]
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + rest


def truncated_png():
    return png()[:-200]


def truncated_zip(folder):
    path = write_zip(folder / "images.zip", many(20))
    path.write_bytes(path.read_bytes()[:-100])
    return path


def corrupt_zip(folder):
    path = write_zip(folder / "images.zip", many(20))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT", len(content) // 2) + 50] ^= 1
    path.write_bytes(content)
    return path


def dangling(folder):
    folder.mkdir()
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    return folder


def labelled(folder, labels):
    np.savez(folder / "images.npz", images=np.zeros((3, 4, 4), np.uint8), labels=labels)
    return folder / "images.npz"


# The source, further arguments, and what the sentence must name.
REFUSED = {
    "a truncated zip": (truncated_zip, [], "images.zip", "cannot be read as a zip archive"),
    "a corrupt member": (corrupt_zip, [], "1 of 20 images", ".png: corrupt in its archive", "1 %"),
    "no zip": (
        lambda d: write(d, {"images.zip": b"PK\3\4 no"}) / "images.zip",
        [],
        "images.zip: cannot be read as a zip archive",
    ),
    "a climbing zip": (
        lambda d: write_zip(d / "images.zip", {"a.png": 0, "../../evil.png": 1}),
        [],
        "images.zip: its member '../../evil.png' points out of the archive",
    ),
    "junk": (lambda d: write(d / "in", {"bad.png": b"junk"}), [], "bad.png: not a PNG", "1 of 1"),
    "a truncated image": (
        lambda d: write(d / "in", {"bad.png": truncated_png()}),
        ["--image_size=8"],
        "bad.png: truncated",
        "1 of 1 images cannot be used, more than 1 %",
    ),
    "more than one in a hundred": (
        lambda d: write(d / "in", many(148) | {"x.png": b"junk", "y.png": truncated_png()}),
        ["--image_size=8"],
        "2 of 150 images cannot be used, more than 1 %: x.png: not a PNG",
        "y.png: truncated",
    ),
    "a huge image": (
        lambda d: write(d / "in", {"huge.png": huge_png()}),
        [],
        "huge.png: 100,000 x 100,000 pixels, more than the 100 million that are allowed",
    ),
    "an unreadable file": (lambda d: dangling(d / "in"), [], "gone.png: cannot be read: No such"),
    "an empty folder": (lambda d: write(d / "in", {"empty/.keep": b""}), [], "in: no images in it"),
    "no images": (lambda d: write(d / "in", {"a.txt": b"text"}), [], "in: no images in it"),
    "nothing": (lambda d: d / "absent", [], "absent: there is no such file or folder"),
    "another kind": (
        lambda d: write(d, {"in.tar": b"tar"}) / "in.tar",
        [],
        "in.tar: images cannot be read from this; it should be a folder of images, a .zip",
    ),
    "labels for others": (lambda d: labelled(d, [0, 1]), [], "images.npz", "2 labels for 3 images"),
    "small images": (
        lambda d: write(d / "in", many(3) | {"tiny.png": png(3, 10, 11)}),
        ["--image_size", "12"],
        "tiny.png is 11 x 10 pixels, and 1 of 4 images are smaller than 12 x 12; take a smaller",
        "--small upscale, pad or skip",
    ),
    "small when padded": (
        lambda d: write(d / "in", many(3)),
        ["--image_size", "17", "--fit", "pad"],
        "000.png is 16 x 12 pixels, and 3 of 3 images are smaller than 17 x 17",
    ),
    "all small": (
        lambda d: write(d / "in", many(3)),
        ["--image_size=13", "--small=skip"],
        "in: no image is left of 3; all are too small",
    ),
    "no squares": (
        lambda d: write(d / "in", many(3)),
        [],
        "in: its images are 16 x 12 pixels, no equal squares",
        "image_size",
    ),
    "squares of two sizes": (
        lambda d: write(d / "in", {"a.png": png(0, 8, 8), "b.png": png(0, 9, 9)}),
        [],
        "8 x 8 to 9 x 9 pixels, no equal squares",
    ),
    "a split of which nothing is left": (
        lambda d: write(d / "in", many(150, "train/") | {"test/x.png": truncated_png()}),
        ["--image_size=8"],
        "in: no image of its split 'test' can be used: test/x.png: truncated",
    ),
    "a class of two lines": (
        lambda d: write(d / "in", many(2, "cat/") | many(2, "big\ndog/")),
        ["--image_size=8"],
        r"in: the name of the class 'big\ndog' begins or ends with a space or has more than one",
    ),
    "a class that ends with a space": (
        lambda d: write(d / "in", many(2, "cat/") | many(2, "dog /")),
        ["--image_size=8"],
        "the name of the class 'dog ' begins or ends with a space",
    ),
    **{
        f"{option}": (
            lambda d: write(d / "in", many(1)),
            [f"--{option}={value}"],
            f"--{option}: there is no '{value}' (did you mean '{meant}'?); there are: ",
        )
        for option, value, meant in [
            ("filter", "lancsoz", "lanczos"),
            ("fit", "corp", "crop"),
            ("small", "upscaled", "upscale"),
            ("channels", "gray", "grey"),
        ]
    },
    "background": (
        lambda d: write(d / "in", many(1)),
        ["--background=whit"],
        "--background: 'whit' is no colour; try white or '#80c0ff'",
    ),
    "negative": (lambda d: d, ["--image_size=-1"], "--image_size: -1 is not within 0 to 4,096"),
    "too large": (lambda d: d, ["--image_size=4097"], "--image_size: 4097 is not within 0 to"),
    "named": (lambda d: d, ["--name=mnist", "--image_size=-1"], "--image_size: -1 is not within"),
    "a name": (lambda d: d, ["--name=mnits"], "data.name: there is no 'mnits'", "'mnist'"),
    "points": (lambda d: "", ["--name=ring"], "--name: ring is drawn as it trains"),
}


@pytest.mark.parametrize(
    ("make", "arguments", "named"), [(m[0], m[1], m[2:]) for m in REFUSED.values()], ids=REFUSED
)
def test_a_bad_source_is_one_sentence(make, arguments, named, tmp_path, capsys):
    (tmp_path / "made").mkdir()
    source = make(tmp_path)
    if source == "":
        assert main(["prepare", "--out", str(tmp_path / "made" / "out"), *arguments]) == 2
    else:
        assert run(source, tmp_path / "made" / "out", *arguments) == 2
    assert one_sentence(capsys, *named)
    assert names(tmp_path / "made") == []
    assert not (tmp_path.parent / "evil.png").exists()


# What is left of the good ones is the same, whatever is wrong with the one.
UNUSABLE = {
    "junk": (b"\x89PNG junk", "cannot be decoded"),
    "truncated": (truncated_png(), "truncated"),
    "empty": (b"", "not a PNG"),
    "huge": (huge_png(), "100,000 x 100,000 pixels, more than"),
    "unreadable": (None, "cannot be read: No such file"),
}


@pytest.mark.parametrize(("content", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_one_in_a_hundred_is_skipped_and_listed(content, reason, tmp_path, capsys):
    source = write(tmp_path / "source", many(99))
    if content is None:
        (source / "050_bad.png").symlink_to("nowhere")
    else:
        write(source, {"050_bad.png": content})
    metadata, found = made(source, tmp_path / "out", "--image_size", 8)
    assert len(found["train"].images) == 99
    assert metadata["images"] == {"train": {"": 99}}
    ((name, why),) = metadata["skipped"]
    assert name == "050_bad.png" and reason in why
    assert f"skipped: 1\n  050_bad.png: {why}\n" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["folder", "empty folder", "file"])
def test_what_is_there_is_never_replaced(what, tmp_path, capsys):
    source = write(tmp_path / "source", many(2))
    out = tmp_path / "out"
    out.write_text("mine") if what == "file" else out.mkdir()
    if what == "folder":
        (out / "letter.txt").write_text("mine")
    assert run(source, out, "--image_size", 8) == 2
    assert one_sentence(capsys, f"--out: {out} exists; name a folder that does not")
    assert (out.read_text() == "mine") if what == "file" else len(list(out.iterdir())) < 2


@pytest.mark.parametrize("missing", ["--source", "--out"])
def test_source_and_out_are_needed(missing, tmp_path, capsys):
    given = {"--source": tmp_path, "--out": tmp_path / "out"}
    del given[missing]
    assert main(["prepare", *itertools.chain(*((k, str(v)) for k, v in given.items()))]) == 2
    assert one_sentence(capsys, "--source and --out: name what holds the images")


def test_a_place_that_cannot_be(tmp_path, capsys):
    source = write(tmp_path / "source", many(2))
    (tmp_path / "file").write_text("mine")
    assert run(source, tmp_path / "file" / "out", "--image_size", 8) == 2
    assert one_sentence(capsys, f"{tmp_path / 'file' / 'out'}: cannot be written: ")
    assert (tmp_path / "file").read_text() == "mine"


# --------------------------------------------------------------------------------------------------
# A full disk, and preparations that are stopped


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


FULL = {
    "as images are written": (writing, "_encode"),
    "as the sheet is drawn": (prepare.ContactSheet, "save"),
    "as files are flushed": (os, "fsync"),
    "as the folder is named": (os, "rename"),
}


@pytest.mark.parametrize(("place", "name"), FULL.values(), ids=FULL)
def test_a_full_disk_leaves_nothing(place, name, tmp_path, capsys, monkeypatch):
    source = write(tmp_path / "source", many(5))
    (tmp_path / "made").mkdir()
    out = tmp_path / "made" / "out"
    with monkeypatch.context() as patch:
        patch.setattr(place, name, full_disk)
        assert run(source, out, "--image_size", 8) == 2
    assert one_sentence(capsys, f"{out}: cannot be written: no space is left on the disk; nothing")
    assert names(tmp_path / "made") == []
    assert run(source, out, "--image_size", 8) == 0


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of so many KiB, or gives the mounted one another size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = []

    def mount(kibibytes):
        options = f"size={kibibytes}k" + ",remount" * bool(mounted)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs the right to mount a small disk")
        mounted.append(disk)
        return disk

    yield mount
    if mounted:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_real_disk_that_fills_up(small_disk, tmp_path, capsys):
    pixels = np.stack([picture(i, 32, 32) for i in range(200)])  # 600 KB that do not shrink
    np.save(tmp_path / "images.npy", pixels)
    for kibibytes in (8, 300, 700):
        out = small_disk(kibibytes) / "out"
        assert run(tmp_path / "images.npy", out) == 2
        assert one_sentence(capsys, f"{out}: cannot be written: no space is left on the disk;")
        assert names(out.parent) == []
    _, found = made(tmp_path / "images.npy", small_disk(8_000) / "out")
    assert rows(found["train"].images) == rows(pixels)


# The command in a process of its own, which says when it is half-way and waits there.
CHILD = """
import sys, time
from pathlib import Path
from jaxgan.cli.main import main
from jaxgan.data import writing

here = Path(sys.argv[1])
encode = writing._encode
count = 0

def slow(example):
    global count
    count += 1
    if count == 20:
        with open(here / "half-way", "a") as file:
            file.write("x")
        while not (here / "go").exists():
            time.sleep(0.02)
    return encode(example)

writing._encode = slow
sys.exit(main(["prepare", *sys.argv[2:]]))
"""


def start(folder, *arguments):
    command = [sys.executable, "-c", CHILD, str(folder), *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=env, text=True, **pipes)


def wait_for(condition, *children):
    deadline = time.monotonic() + 60
    while not condition():
        ended = [child.returncode for child in children if child.poll() is not None]
        if ended or time.monotonic() > deadline:
            for child in children:
                child.kill()
            pytest.fail(f"a child ended with {ended}" if ended else "waited in vain")
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda s: s.name)
def test_a_stopped_preparation_does_no_harm(number, tmp_path, capsys):
    source = write(tmp_path / "source", classes(30))
    place = tmp_path / "made"
    place.mkdir()
    arguments = ["--source", source, "--out", place / "out", "--image_size", 12]
    with start(tmp_path, *arguments) as child:
        wait_for((tmp_path / "half-way").exists, child)
        assert list((place / ".out.partial").iterdir())
        child.send_signal(number)
        if number == signal.SIGINT:
            (tmp_path / "go").touch()  # the thread that waits is waited for
        out, err = child.communicate()
    assert out.splitlines()[:1] == ["looking at source: 90 images"]
    if number == signal.SIGINT:
        assert (child.returncode, err) == (130, "stopped at once\n")
        assert names(place) == []
    else:
        assert names(place) == [
            ".out.lock",
            ".out.partial",
        ]  # not what a later run would take for whole
    assert run(source, place / "out", "--image_size", 12) == 0
    assert names(place) == ["out"]
    assert run(source, tmp_path / "undisturbed", "--image_size", 12) == 0
    assert contents(place / "out") == contents(tmp_path / "undisturbed")


def test_of_two_at_once_one_waits(tmp_path):
    source = write(tmp_path / "source", classes(30))
    place = tmp_path / "made"
    place.mkdir()
    arguments = ["--source", source, "--out", place / "out", "--image_size", 12]
    lines = []
    with start(tmp_path, *arguments) as first, start(tmp_path, *arguments) as second:
        readers = [
            threading.Thread(target=lambda child=child: lines.extend(child.stderr))
            for child in (first, second)
        ]
        for reader in readers:
            reader.start()
        wait_for(lambda: lines and (tmp_path / "half-way").exists(), first, second)
        (tmp_path / "go").touch()
        for reader in readers:
            reader.join()
        tables = [child.stdout.read().partition("class ")[2] for child in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert lines == ["waiting for another process that prepares out\n"]
    assert tables[0] == tables[1] and "images                            90" in tables[0]
    assert (tmp_path / "half-way").read_text() == "x"  # one prepared it
    assert names(place) == ["out"]
    assert len(data.load("folder", path=str(place / "out")).images) == 90


# --------------------------------------------------------------------------------------------------
# writing.once, write_set and in_threads


def test_once_makes_a_folder_once(tmp_path):
    def make(folder):
        folder.mkdir()
        (folder / "file").write_text("whole")

    once(tmp_path / "new" / "set", make)
    once(tmp_path / "new" / "set", lambda folder: pytest.fail("made again"))
    assert os.listdir(tmp_path / "new") == ["set"]  # nothing is written: it may be read-only
    assert (tmp_path / "new" / "set" / "file").read_text() == "whole"


def test_once_removes_what_a_killed_run_left(tmp_path):
    write(tmp_path / ".set.partial", {"set/old": b"half", "set.tfds/older": b"half"})

    def make(folder):
        assert not folder.exists() and list(folder.parent.iterdir()) == []
        folder.mkdir()

    once(tmp_path / "set", make)
    assert names(tmp_path) == ["set"] and names(tmp_path / "set") == []


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (ValueError("a bug"), ValueError, "^a bug$"),
        (UserError("a mistake"), UserError, "^a mistake$"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        (OSError(errno.EIO, "Input/output error"), UserError, "set: cannot be written: .*Input/ou"),
        (RuntimeError("x: No space left on device"), UserError, "no space is left on the disk; no"),
    ],
)
def test_an_error_while_a_folder_is_made_leaves_nothing(raised, error, message, tmp_path):
    def make(folder):
        folder.mkdir()
        (folder / "file").write_text("half")
        raise raised

    with pytest.raises(error, match=message) as caught:
        once(tmp_path / "set", make)
    assert error is UserError or caught.value is raised
    assert names(tmp_path) == []


def test_sets_may_lack_labels_and_have_metadata(tmp_path):
    examples = [Example(picture(i, 4, 4), None) for i in range(3)]
    metadata = {"late": 0}

    def late():
        yield from examples
        metadata["late"] = 1

    write_set(
        tmp_path / "set", metadata, name="x", splits={"train": late()}, shape=(4, 4, 3),
        class_names=(),
    )  # fmt: skip
    assert names(tmp_path) == ["set"]
    assert json.loads((tmp_path / "set" / "metadata.json").read_text()) == {"late": 1}
    found = data.load("folder", path=str(tmp_path / "set"))
    np.testing.assert_array_equal(found.images, [example.image for example in examples])


def test_threads_keep_the_order(monkeypatch):
    monkeypatch.setattr(writing, "cores", lambda: 4)
    delays = np.random.default_rng(0).uniform(0, 0.004, 100)
    running, most = [], []

    def work(i):
        running.append(i)
        most.append(len(running))
        time.sleep(delays[i])
        running.remove(i)
        return -i

    assert list(in_threads(work, range(100))) == [-i for i in range(100)]
    assert 1 < max(most) <= 4


def test_threads_take_no_more_than_they_need(monkeypatch):
    monkeypatch.setattr(writing, "cores", lambda: 2)
    taken = []

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield i

    results = in_threads(lambda i: i, endless())
    for i in range(50):
        assert next(results) == i
        assert len(taken) <= i + 1 + 16
    results.close()
    assert len(taken) <= 50 + 16


def test_an_error_in_a_thread_surfaces_and_cancels_the_rest(monkeypatch):
    monkeypatch.setattr(writing, "cores", lambda: 2)
    done = []

    def work(i):
        if i == 3:
            raise KeyError("three")
        time.sleep(0.01)
        done.append(i)
        return i

    seen = []
    with pytest.raises(KeyError, match="three"):
        for result in in_threads(work, range(1000)):
            seen.append(result)
    assert seen == [0, 1, 2]
    assert len(done) < 12  # of the 19 that were asked for by then


# --------------------------------------------------------------------------------------------------
# The cache of data.name=folder

EIGHT = Options(image_size=8)


@pytest.fixture
def counted(monkeypatch):
    """The folders that were written."""
    calls = []
    real = prepare._write

    def counting(path, folder, scan):
        calls.append(folder)
        real(path, folder, scan)

    monkeypatch.setattr(prepare, "_write", counting)
    return calls


def test_the_second_call_reads_no_picture(tmp_path, counted, monkeypatch):
    source = write(tmp_path / "My Pictures!", classes(3))
    folder = prepare_cached(source, tmp_path / "data", EIGHT)
    assert folder.parent == tmp_path / "data" / "jaxgan_folder"
    assert folder.name.startswith("my_pictures-")
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "open_collection", lambda path: pytest.fail("opened"))
        assert prepare_cached(source, tmp_path / "data", EIGHT) == folder
    assert len(counted) == 1
    assert names(folder.parent) == [".known", folder.name]


def test_the_same_content_is_known_wherever_it_lies(tmp_path, counted):
    source = write(tmp_path / "a" / "pictures", classes(3))
    folder = prepare_cached(source, tmp_path / "data", EIGHT)
    copy = shutil.copytree(source, tmp_path / "b" / "pictures", copy_function=shutil.copyfile)
    for i, path in enumerate(sorted(copy.rglob("*.png"))):
        os.utime(path, ns=(i, i))
    assert prepare_cached(copy, tmp_path / "data", EIGHT) == folder
    assert prepare_cached(copy, tmp_path / "data", EIGHT) == folder
    os.utime(source / "cat" / "000.png", ns=(1, 1))
    assert prepare_cached(source, tmp_path / "data", EIGHT) == folder
    assert len(counted) == 1


def one_pixel(source):
    path = source / "cat" / "000.png"
    pixels, times = picture(0), path.stat()
    pixels[0, 0, 0] ^= 1
    to_image(pixels).save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))


CHANGES = {
    "a pixel": one_pixel,
    "a file more": lambda source: write(source, {"hen/more.png": 7}),
    "a file less": lambda source: (source / "hen" / "000.png").unlink(),
    "a label": lambda source: (source / "hen" / "000.png").rename(source / "cat" / "x.png"),
    "a class's name": lambda source: (source / "hen").rename(source / "owl"),
    "a split": lambda source: shutil.move(
        shutil.copytree(source, source / "test"), source / "train"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_content_is_another_set(change, tmp_path, counted):
    source = write(tmp_path / "pictures", classes(3))
    folder = prepare_cached(source, tmp_path / "data", EIGHT)
    before = contents(folder)
    change(source)
    other = prepare_cached(source, tmp_path / "data", EIGHT)
    assert other != folder and len(counted) == 2
    assert contents(folder) == before
    assert contents(other)["metadata.json"] != before["metadata.json"]


def test_labels_in_an_archive_count_as_content(tmp_path):
    folders = set()
    for labels in ([0, 1, 1], [0, 0, 1], [0, 5, 5]):
        np.savez(tmp_path / "x.npz", images=np.zeros((3, 8, 8), np.uint8), labels=labels)
        os.utime(tmp_path / "x.npz", ns=(len(folders),) * 2)
        folders.add(prepare_cached(tmp_path / "x.npz", tmp_path / "data", EIGHT))
    assert len(folders) == 3


@pytest.mark.parametrize(
    "options",
    [
        Options(9),
        Options(8, channels="grey"),
        Options(8, filter="box"),
        Options(8, fit="pad"),
        Options(8, background=(0, 0, 0)),
        Options(8, small="skip"),
    ],
    ids=str,
)
def test_other_options_are_another_set(options, tmp_path):
    source = write(tmp_path / "pictures", many(2))
    folders = {prepare_cached(source, tmp_path / "data", o) for o in (EIGHT, options, EIGHT)}
    assert len(folders) == 2


def test_a_set_that_was_deleted_is_made_again(tmp_path, counted):
    source = write(tmp_path / "pictures", many(2))
    folder = prepare_cached(source, tmp_path / "data", EIGHT)
    before = contents(folder)
    shutil.rmtree(folder)
    assert prepare_cached(source, tmp_path / "data", EIGHT) == folder
    assert contents(folder) == before and len(counted) == 2


@pytest.mark.parametrize("text", ["", "gone-0123456789abcdef"])
def test_what_the_cache_knows_is_not_trusted(text, tmp_path, counted):
    source = write(tmp_path / "pictures", many(2))
    folder = prepare_cached(source, tmp_path / "data", EIGHT)
    (known,) = (folder.parent / ".known").iterdir()
    known.write_text(text)
    assert prepare_cached(source, tmp_path / "data", EIGHT) == folder
    assert known.read_text() == folder.name and len(counted) == 1


def test_a_cache_that_cannot_note_what_it_knows(tmp_path):
    source = write(tmp_path / "pictures", many(2))
    folder = tmp_path / "data" / "jaxgan_folder"
    write(folder, {".known": b"no folder"})
    made = prepare_cached(source, tmp_path / "data", EIGHT)
    assert prepare_cached(source, tmp_path / "data", EIGHT) == made
    assert names(folder) == [".known", made.name]


def test_a_bad_folder_leaves_no_set(tmp_path):
    source = write(tmp_path / "pictures", {"a.png": truncated_png()})
    with pytest.raises(UserError, match=r"a\.png: truncated"):
        prepare_cached(source, tmp_path / "data", Options(8))
    assert names(tmp_path / "data" / "jaxgan_folder") == []


def test_a_long_name_is_cut(tmp_path):
    source = write(tmp_path / ("long " * 50), many(2))
    folder = prepare_cached(source, tmp_path / "data", EIGHT)
    assert folder.name.startswith("long_long_") and len(folder.name) < 60


# --------------------------------------------------------------------------------------------------
# Training on a folder


def settings_for(tmp_path):
    return [
        "data.name=folder",
        f"data.path={tmp_path / 'pictures'}",
        f"data.dir={tmp_path / 'data'}",
        "data.image_size=16",
    ]


def test_dry_run_tells_how_the_images_were_made(tmp_path, monkeypatch, capsys):
    write(tmp_path / "pictures", {f"{i}.png": png(i, 20, 16) for i in range(64)})
    overrides = [f"--config.{setting}" for setting in settings_for(tmp_path)]
    command = ["train.py", "--config", str(ROOT / "configs" / "default.py"), *overrides]
    command += ["--workdir", str(tmp_path / "run"), "--dry_run", "--config.model.name=mlp"]
    monkeypatch.setattr(sys, "argv", command)
    for name in ("config", "workdir", "dry_run"):
        flags.FLAGS[name].unparse()  # forget other tests' calls
    assert cli.run(train.main) == 0
    out, _ = capsys.readouterr()
    assert "data: folder train, 64 images of 16 x 16 x 3, content " in out
    assert ", filter lanczos, fit crop\n" in out
    assert not (tmp_path / "run").exists()


def test_training_on_a_folder_resumes_and_refuses_other_images(tmp_path, capsys):
    files = {name: png(number, 18, 16) for name, number in classes(8).items()}
    source = write(tmp_path / "pictures", files)
    settings = config.tiny(config.load(ROOT / "configs" / "cgan.py", settings_for(tmp_path)))
    assert loop.train(settings, tmp_path / "run") == 0
    settings.steps = 6
    assert loop.train(settings, tmp_path / "run") == 0
    assert "going on from step 4 of 6" in capsys.readouterr().out
    out = tmp_path / "drawn.npz"
    arguments = ["--workdir", str(tmp_path / "run"), "--out", str(out), "--labels", "dog,hen"]
    assert main(["sample", *arguments, "--num", "2"]) == 0
    with np.load(out) as drawn:
        assert drawn["images"].shape == (2, 16, 16, 3)
        assert drawn["labels"].tolist() == [1, 2]
    write(source, {"cat/000.png": png(12345, 18, 16)})
    settings.steps = 8
    with pytest.raises(UserError, match=r"other settings: derived\.data\.content \(\w+ there, \w+"):
        loop.train(settings, tmp_path / "run")


# --------------------------------------------------------------------------------------------------
# What is told apart


def test_the_same_bytes_of_another_shape_are_another_set(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(70, 16, 16), dtype=np.uint8)
    for name, shape in (("a", (70, 8, 8, 4)), ("b", (70, 16, 16))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "im.npy", pixels.reshape(shape))
    found = [
        data.open_set("folder", "train", 0, str(tmp_path / "dd"), str(tmp_path / name / "im.npy"))
        for name in ("a", "b")
    ]
    assert [each.shape for each in found] == [(8, 8, 3), (16, 16, 1)]


@pytest.mark.parametrize(
    "arguments",
    [("--background", "black"), ("--small", "pad"), ("--fit", "pad"), ("--filter", "box")],
)
def test_a_run_knows_its_pixels_whatever_changed_them(arguments, tmp_path):
    source = write(tmp_path / "source", many(3))
    details = []
    for out, options in (("a", ("--small", "upscale")), ("b", ("--small", "upscale", *arguments))):
        made(source, tmp_path / out, "--image_size", 14, *options)
        details.append(data.open_set("folder", path=str(tmp_path / out)).details)
    assert details[0]["content"] != details[1]["content"]
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert data.open_set("folder", path=str(tmp_path / "copy")).details == details[0]


def test_a_set_of_other_images_that_was_made_meanwhile_is_not_taken_for_ones_own(tmp_path):
    one, two = write(tmp_path / "one", many(3)), write(tmp_path / "two", many(3, start=9))
    options = Options(image_size=8)
    metadata = prepare.prepare(one, tmp_path / "out", options)
    assert prepare.prepare(one, tmp_path / "out", options) == metadata
    with pytest.raises(UserError, match="another process has made it meanwhile, of other images"):
        prepare.prepare(two, tmp_path / "out", options)


def test_pictures_that_change_while_they_are_prepared(tmp_path, monkeypatch):
    source = write(tmp_path / "source", many(3))
    write_all = prepare._write

    def change(*arguments):
        write(source, {"001.png": 77})
        write_all(*arguments)

    monkeypatch.setattr(prepare, "_write", change)
    with pytest.raises(UserError, match=r"001\.png has changed meanwhile; start again"):
        prepare.prepare(source, tmp_path / "out", Options(image_size=8))
    assert names(tmp_path) == ["source"]


def test_what_is_prepared_is_no_source(tmp_path, capsys):
    source = write(tmp_path / "source", many(3))
    made(source, tmp_path / "out", "--image_size", 8)
    capsys.readouterr()
    assert run(tmp_path / "out", tmp_path / "again", "--image_size", 4) == 2
    assert one_sentence(capsys, "out: is prepared already; train on it with data.name=folder")
    made(source, source / "inside", "--image_size", 8)
    metadata, found = made(source, tmp_path / "again", "--image_size", 8)
    assert len(found["train"].images) == 3
    assert metadata["notes"] == ["Prepared data sets are passed over: 1."]


def test_a_class_without_training_images_is_named(tmp_path, capsys):
    files = many(6, "train/cat/") | many(6, "test/cat/", 10) | many(2, "test/hen/", 20)
    metadata, _ = made(write(tmp_path / "source", files), tmp_path / "out", "--image_size", 8)
    assert metadata["notes"] == ["Class 'hen' has no training image."]
    table = capsys.readouterr().out
    assert any(line.split() == ["hen", "0", "2"] for line in table.splitlines())


def test_a_first_use_says_what_it_made_and_a_second_one_nothing(tmp_path, capsys):
    source = write(tmp_path / "source", many(199) | {"bad.png": b"no image"})
    folder = prepare_cached(source, tmp_path / "dd", Options(image_size=8))
    said = capsys.readouterr().out
    assert "skipped: 1" in said and "bad.png: " in said
    assert str(folder / "contact_sheet.png") in said
    assert prepare_cached(source, tmp_path / "dd", Options(image_size=8)) == folder
    assert capsys.readouterr().out == ""


def test_the_cache_is_swept_of_what_killed_runs_left(tmp_path):
    root = tmp_path / "dd" / "jaxgan_folder"
    for name in ("old", "busy"):
        (root / f".{name}.partial" / "set").mkdir(parents=True)
    with writing.locked(root / ".busy.lock"):
        prepare_cached(write(tmp_path / "source", many(3)), tmp_path / "dd", Options(image_size=8))
        assert not (root / ".old.partial").exists()
        assert (root / ".busy.partial" / "set").exists()
    assert not list(root.glob(".*.lock"))


@pytest.mark.parametrize("option", ["filter", "fit", "small", "channels", "background"])
def test_what_a_published_set_cannot_have_is_refused(option, tmp_path, capsys):
    arguments = ["prepare", "--name", "mnist", "--out", str(tmp_path / "dd"), f"--{option}", "x"]
    assert main(arguments) == 2
    assert one_sentence(capsys, f"--{option}: mnist is kept as published; leave it out")
    assert names(tmp_path) == []
