"""CIFAR-10 and CIFAR-100: archives and folders as they are published, and as they are damaged."""

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from jaxgan.data import cifar
from jaxgan.data.cifar import read_cifar
from jaxgan.errors import UserError

# The names of the files and the sizes are written out here, apart from the reader's.

PUBLISHED = {
    ("cifar10", "train"): [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)],
    ("cifar10", "test"): ["cifar-10-batches-bin/test_batch.bin"],
    ("cifar100", "train"): ["cifar-100-binary/train.bin"],
    ("cifar100", "test"): ["cifar-100-binary/test.bin"],
}
COUNT = {"train": 50_000, "test": 10_000}
ARCHIVE = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}


def encode(images, labels, name):
    """Record after record, byte for byte as the format's description says."""
    for image, label in zip(images, labels, strict=True):
        red, green, blue = (image[:, :, channel].tobytes() for channel in range(3))
        coarse = [label // 5] if name == "cifar100" else []
        yield bytes([*coarse, label]) + red + green + blue


def write_tar(path, members, level=1):
    """A tar archive of the members, gzipped if its name says so."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(open(path, "wb"))
        if path.suffix == ".gz":
            out = stack.enter_context(gzip.GzipFile(fileobj=out, mode="wb", compresslevel=level))
        tar = stack.enter_context(tarfile.open(fileobj=out, mode="w"))
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    return path


def random_set(name, split, classes):
    rng = np.random.default_rng(classes)
    images = np.frombuffer(rng.bytes(COUNT[split] * 3072), np.uint8).reshape(-1, 32, 32, 3)
    labels = rng.integers(classes, size=COUNT[split])
    records = list(encode(images, labels.tolist(), name))
    files = PUBLISHED[name, split]
    each = len(records) // len(files)
    contents = {file: b"".join(records[i * each : (i + 1) * each]) for i, file in enumerate(files)}
    return images, labels, contents


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_read_cifar_gives_back_what_was_encoded(tmp_path, name, classes):
    images, labels, contents = random_set(name, "train", classes)
    backwards = dict(reversed(contents.items()))
    folder = next(iter(contents)).split("/")[0]
    junk = {f"{folder}/": None, f"{folder}/readme.html": b"<html>", "train.bin": b"decoy"}
    path = write_tar(tmp_path / ARCHIVE[name], junk | backwards, level=0)
    read_images, read_labels = read_cifar(name, path, "train")
    assert np.array_equal(read_images, images) and np.array_equal(read_labels, labels)
    assert (read_images.dtype, read_labels.dtype) == (np.uint8, np.int32)
    assert os.listdir(tmp_path) == [path.name]  # nothing was extracted


@pytest.fixture(scope="module", params=["cifar10", "cifar100"])
def published(request):
    """The name of the set, and the images, the labels and the files of its test split."""
    return request.param, *random_set(request.param, "test", 10)


@pytest.mark.parametrize("how", ["gzipped tar", "tar", "unpacked", "flat", "renamed tar"])
def test_read_cifar_finds_the_files(tmp_path, published, how):
    name, images, labels, contents = published
    path = tmp_path
    if how == "gzipped tar":
        write_tar(path / ARCHIVE[name], contents, level=0)
    elif how == "tar":
        write_tar(path / ARCHIVE[name].removesuffix(".gz"), contents)
    elif how == "renamed tar":
        path = write_tar(path / "mine.gz", contents, level=0).rename(path / "mine")
    for file, content in contents.items():
        if how in ("unpacked", "flat"):
            place = path / file if how == "unpacked" else path / Path(file).name
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
    read_images, read_labels = read_cifar(name, path, "test")
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)


BATCH = "cifar-10-batches-bin/test_batch.bin"
BLACK = bytes(10_000 * 3073)


def wrong_label(label, position):
    content = bytearray(BLACK)
    content[position * 3073] = label
    return bytes(content)


def set_up(folder, **files):
    """Writes each file that is bytes, and each that is a dict as a tar archive."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_tar(path, content) if isinstance(content, dict) else path.write_bytes(content)


GZ, TAR = "cifar-10-binary.tar.gz", "cifar-10-binary.tar"
SHORTER = "shorter than as published, which is 30,730,000 bytes, 10,000 images"
LONGER = SHORTER.replace("shorter", "longer")
MISSING = f"truncated or not as published: {BATCH} is missing"
NO_TAR = "not a tar archive, or a truncated or corrupt one"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train.bin": b""},
            f": there is neither {GZ} nor {TAR}, {BATCH} or test_batch.bin in this folder",
        ),
        ({TAR: {BATCH: BLACK[:-1]}}, f"/{TAR}: {BATCH}: {SHORTER}"),
        ({GZ: {BATCH: BLACK + b"x"}}, f"/{GZ}: {BATCH}: {LONGER}"),
        ({BATCH: BLACK[:-1]}, f"/{BATCH}: {SHORTER}"),
        ({"test_batch.bin": BLACK + b"xy"}, f"/test_batch.bin: {LONGER}"),
        ({"test_batch.bin": b""}, f"/test_batch.bin: {SHORTER}"),
        ({GZ: {f"x/../{BATCH}": BLACK, "test_batch.bin": BLACK}}, f"/{GZ}: {MISSING}"),
        ({GZ: {BATCH: None}}, f"/{GZ}: {MISSING}"),
        ({TAR: b""}, f"/{TAR}: {NO_TAR}"),
        ({TAR: b"<html>" * 1000}, f"/{TAR}: {NO_TAR}"),
        ({GZ: gzip.compress(b"<html>" * 1000)}, f"/{GZ}: {NO_TAR}"),
        (
            {BATCH: wrong_label(10, position=7)},
            f"/{BATCH}: image 7 has the label 10, which should be from 0 to 9",
        ),
        (
            {TAR: {BATCH: wrong_label(255, position=9_999)}},
            f"/{TAR}: {BATCH}: image 9,999 has the label 255, which should be from 0 to 9",
        ),
    ],
)
def test_read_cifar_names_the_bad_file(tmp_path, files, message):
    set_up(tmp_path, **files)
    with pytest.raises(UserError) as error:
        read_cifar("cifar10", tmp_path, "test")
    assert str(error.value) == f"{tmp_path}{message}"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-4], "Compressed file ended before the end-of-stream marker"),
        (lambda content: content[: len(content) // 2], "Compressed file ended before the end"),
        (lambda content: content[:-8] + bytes(4) + content[-4:], "CRC check failed"),
        (lambda content: gzip.compress(b"")[:10] + b"\xff" * 20, "Error -3"),
        (lambda content: content + b"junk", "Not a gzipped file"),
    ],
)
def test_read_cifar_names_the_damaged_gzip_file(tmp_path, damage, message):
    path = write_tar(tmp_path / GZ, {BATCH: BLACK})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message) as error:
        read_cifar("cifar10", tmp_path, "test")
    assert str(error.value).startswith(f"{path}: cannot be read: ")


def test_read_cifar_names_the_truncated_tar_file(tmp_path):
    path = write_tar(tmp_path / TAR, {BATCH: BLACK})
    os.truncate(path, 20_000_000)
    with pytest.raises(UserError) as error:
        read_cifar("cifar10", tmp_path, "test")
    assert str(error.value) == f"{path}: {NO_TAR}"


def header(kind, size):
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "content",
    [
        header(tarfile.XHDTYPE, 44)
        + b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n".ljust(512, b"\0")
        + header(tarfile.REGTYPE, 512),
        header(tarfile.REGTYPE, 1 << 70) + bytes(1024),
        header(tarfile.REGTYPE, -512) + bytes(1024),
        header(tarfile.GNUTYPE_LONGNAME, 0) * 3000,
    ],
    ids=["sparse", "huge", "negative", "nested"],
)
def test_read_cifar_names_the_tar_file_with_strange_headers(tmp_path, content):
    (tmp_path / TAR).write_bytes(content + bytes(10_240))
    with pytest.raises(UserError) as error:
        read_cifar("cifar10", tmp_path, "test")
    assert str(error.value) in (f"{tmp_path / TAR}: {NO_TAR}", f"{tmp_path / TAR}: {MISSING}")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_read_cifar_follows_no_link(tmp_path, kind):
    (tmp_path / "secret").write_bytes(BLACK)
    with tarfile.open(tmp_path / TAR, "w") as tar:
        member = tarfile.TarInfo(BATCH)
        member.type, member.linkname = kind, str(tmp_path / "secret")
        tar.addfile(member)
    with pytest.raises(UserError, match=f"{MISSING}$"):
        read_cifar("cifar10", tmp_path, "test")


def test_read_cifar_unpacks_and_lists_no_more_than_there_should_be(tmp_path, monkeypatch):
    write_tar(tmp_path / GZ, {f"{i}": b"" for i in range(200)} | {BATCH: BLACK})
    with pytest.raises(UserError, match=MISSING):
        read_cifar("cifar10", tmp_path, "test")
    asked = []
    monkeypatch.setattr(cifar, "ARCHIVE_BYTES", 1_000_000)
    monkeypatch.setattr(cifar, "_read", lambda _, count: asked.append(count) or bytes(count))
    with pytest.raises(UserError) as error:
        read_cifar("cifar10", tmp_path, "test")
    assert str(error.value) == (
        f"{tmp_path / GZ}: not as published: unpacked it is larger than 1,000,000 bytes"
    )
    assert asked == [1_000_001]


def test_read_cifar_of_a_part_of_the_training_files(tmp_path):
    for i in (1, 2, 4, 5):
        (tmp_path / f"data_batch_{i}.bin").write_bytes(BLACK)
    with pytest.raises(UserError) as error:
        read_cifar("cifar10", tmp_path, "train")
    expected = f"{tmp_path}/data_batch_3.bin: cannot be read: No such file or directory"
    assert str(error.value) == expected


def test_read_cifar_of_nothing(tmp_path):
    with pytest.raises(UserError) as error:
        read_cifar("cifar10", tmp_path / "nothing", "test")
    assert str(error.value) == f"{tmp_path}/nothing: there is no such folder or file"
    with pytest.raises(UserError, match=r"data\.split: there is no 'dev'; there are: test, train"):
        read_cifar("cifar100", tmp_path, "dev")


def test_the_class_names_are_those_published():
    # The files batches.meta.txt and fine_label_names.txt hold the names, one on a line.
    def digest(class_names):
        return hashlib.sha256("\n".join(class_names).encode()).hexdigest()[:16]

    assert (len(cifar.CIFAR10_NAMES), len(cifar.CIFAR100_NAMES)) == (10, 100)
    assert digest(cifar.CIFAR10_NAMES) == "bb3914949cecedee"
    assert digest(cifar.CIFAR100_NAMES) == "fbe8ad23bbaf2496"
    assert sorted(cifar.CIFAR100_NAMES) == list(cifar.CIFAR100_NAMES)
