"""Sets by name: the originals, prepared folders, what is damaged, and how a split is read."""

import dataclasses
import gzip
import hashlib
import io
import os
import shutil
import struct
import tarfile
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxgan import data
from jaxgan.data import cifar, download, originals
from jaxgan.data.writing import Example, write_set
from jaxgan.errors import UserError

# The folders of the published files, and what is known of them: examples of each class, and the
# SHA-256 of the images' bytes followed by the labels' as little-endian int32.
FASHION_MNIST = Path(os.environ.get("JAXGAN_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
MNIST = Path(os.environ.get("JAXGAN_MNIST", "nowhere"))
PUBLISHED = {
    "fashion_mnist": (
        FASHION_MNIST,
        {
            "train": (
                [6000] * 10,
                "c7d8cfe8172756709eda8bbe8b201cb44f70785b4cd9974a82408b36cc1f72e4",
            ),
            "test": (
                [1000] * 10,
                "2589de149ea70a51076dfb7116c581fbd9b4c7b39b8e9c9f19ec089d65d659b8",
            ),
        },
    ),
    "mnist": (
        MNIST,
        {
            "train": (
                [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
                "6a364e333ea1f8ab86e4d641d64a8cf8d8644433f54b0a78e32c2b9e143672d0",
            ),
            "test": (
                [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
                "45a60edfded3b2bb860a7fd195c83431011e7f04318268b4f2de30030af9444e",
            ),
        },
    ),
}
PREFIX = {"train": "train", "test": "t10k"}


def picture(number, height=8, width=8, channels=3):
    """Pixels of their own for each number."""
    rng = np.random.default_rng(number)
    return rng.integers(256, size=(height, width, channels), dtype=np.uint8)


def pictures(count, *shape, start=0):
    return np.stack([picture(start + i, *shape) for i in range(count)])


def to_image(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def make_set(folder, images, labels=None, class_names=(), metadata=None, **more):
    """A prepared set with a split "train", and others of (images, labels)."""
    pairs = {"train": (images, labels), **more}
    write_set(
        folder,
        metadata or {},
        name="mine",
        splits={
            split: [
                Example(image, None if labels is None else int(label))
                for image, label in zip(images, range(10**6) if labels is None else labels)  # noqa: B905
            ]
            for split, (images, labels) in pairs.items()
        },
        shape=images.shape[1:],
        class_names=class_names,
    )
    return folder


def names(folder):
    """What is in a folder, but for locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def fails(*arguments, **more):
    with pytest.raises(UserError) as error:
        data.load(*arguments, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


# --------------------------------------------------------------------------------------------------
# Original files


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request, tmp_path_factory):
    """Name, data_dir, folder of the original files and what is known, prepared from them."""
    source, known = PUBLISHED[request.param]
    if not any(source.glob("train-images-idx3-ubyte*")):
        variable = f"JAXGAN_{request.param.upper()}"
        pytest.skip(f"needs the files of {request.param}: name their folder with {variable}")
    data_dir = tmp_path_factory.mktemp(request.param)
    data.open_set(request.param, data_dir=str(data_dir), path=str(source))
    return request.param, data_dir, source, known


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_published_set_is_as_published(published, split):
    name, data_dir, source, known = published
    counts, digest = known[split]
    found = data.load(name, split, data_dir=str(data_dir))
    assert np.bincount(found.labels).tolist() == counts
    content = found.images.tobytes() + found.labels.astype("<i4").tobytes()
    assert hashlib.sha256(content).hexdigest() == digest
    images = gzip.decompress((source / f"{PREFIX[split]}-images-idx3-ubyte.gz").read_bytes())
    assert found.images.tobytes() == images[16:]  # in the order of the files
    labels = gzip.decompress((source / f"{PREFIX[split]}-labels-idx1-ubyte.gz").read_bytes())
    np.testing.assert_array_equal(found.labels, np.frombuffer(labels, np.uint8, offset=8))
    assert (found.labels.dtype, len(found.class_names)) == (np.int32, 10)


def test_a_published_set_has_a_folder_of_its_own(published):
    name, data_dir, *_ = published
    assert names(data_dir) == [f"jaxgan_{name}"]
    assert names(data_dir / f"jaxgan_{name}") == ["1.0.0"]


def idx(folder, sizes=(30, 10), name="mnist", raw=True):
    """A set of a few random digits, in the four files; and its arrays."""
    folder.mkdir(exist_ok=True)
    arrays = {}
    for (split, prefix), size in zip(PREFIX.items(), sizes, strict=True):
        images, labels = pictures(size, 28, 28, 1, start=len(prefix)), np.arange(size) % 10
        arrays[split] = images, labels
        for kind, array, header in [
            ("images-idx3", images, struct.pack(">4B3I", 0, 0, 8, 3, size, 28, 28)),
            ("labels-idx1", labels.astype(np.uint8), struct.pack(">4BI", 0, 0, 8, 1, size)),
        ]:
            content = header + array.tobytes()
            path = folder / f"{prefix}-{kind}-ubyte{'' if raw else '.gz'}"
            path.write_bytes(content if raw else gzip.compress(content, mtime=0))
    return arrays


def publish(monkeypatch, name, arrays, with_checksums=True):
    """Pretends that these arrays are what was published."""
    num_classes = len(originals.ORIGINALS[name].class_names)
    original = dataclasses.replace(
        originals.ORIGINALS[name],
        per_class={
            split: tuple(np.bincount(labels, minlength=num_classes).tolist())
            for split, (_, labels) in arrays.items()
        },
        sha256={
            split: hashlib.sha256(i.tobytes() + n.astype("<i4").tobytes()).hexdigest()
            for split, (i, n) in arrays.items()
            if with_checksums
        },
    )
    monkeypatch.setitem(originals.ORIGINALS, name, original)


@pytest.mark.parametrize("raw", [True, False])
def test_originals_are_read_from_the_users_folder(raw, tmp_path, monkeypatch):
    arrays = idx(tmp_path / "files", raw=raw)
    publish(monkeypatch, "mnist", arrays)
    monkeypatch.setattr(download, "fetch", lambda *_: pytest.fail("downloads"))
    for split, (images, labels) in arrays.items():
        found = data.load("mnist", split, 0, str(tmp_path / "data"), str(tmp_path / "files"))
        np.testing.assert_array_equal(found.images, images)
        np.testing.assert_array_equal(found.labels, labels)
    for path in (tmp_path / "files").iterdir():
        path.unlink()
    again = data.load("mnist", "test", data_dir=str(tmp_path / "data"))
    np.testing.assert_array_equal(again.images, arrays["test"][0])


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_files_that_are_not_as_published_are_refused(name, tmp_path):
    idx(tmp_path / "files")
    message = fails(name, "test", 0, str(tmp_path / "data"), str(tmp_path / "files"))
    title = originals.ORIGINALS[name].title
    assert message.startswith(f"{tmp_path / 'files'}: its train images are not those of {title} as")
    assert message.endswith("for a set of your own choose data.name=folder")
    assert list((tmp_path / "data").rglob("*.array_record*")) == []
    assert names(tmp_path / "data" / f"jaxgan_{name}") == []


@pytest.mark.parametrize(
    ("file", "split"),
    [("train-images-idx3-ubyte", "train"), ("t10k-labels-idx1-ubyte", "test")],
)
def test_one_wrong_byte_is_refused(file, split, tmp_path, monkeypatch):
    publish(monkeypatch, "mnist", idx(tmp_path / "files"))
    content = bytearray((tmp_path / "files" / file).read_bytes())
    if split == "test":  # as many of each class, in another order
        content[-1], content[-2] = content[-2], content[-1]
    else:
        content[-1] ^= 1
    (tmp_path / "files" / file).write_bytes(content)
    message = fails("mnist", "train", 0, str(tmp_path / "data"), str(tmp_path / "files"))
    assert f"its {split} images are not those of MNIST as published" in message
    assert names(tmp_path / "data" / "jaxgan_mnist") == []


def test_other_counts_are_refused_where_no_checksum_is_known(tmp_path, monkeypatch):
    arrays = idx(tmp_path / "files")
    publish(monkeypatch, "mnist", arrays, with_checksums=False)
    monkeypatch.setitem(download.FILES, "mnist", ())
    idx(tmp_path / "others", (31, 10))
    message = fails("mnist", "train", 0, str(tmp_path / "data"), str(tmp_path / "others"))
    assert "its train images are not those of MNIST as published" in message
    data.load("mnist", "train", 0, str(tmp_path / "data"), str(tmp_path / "files"))


def test_missing_files_are_named(tmp_path):
    (tmp_path / "files").mkdir()
    message = fails("mnist", "train", 0, str(tmp_path / "data"), str(tmp_path / "files"))
    assert message.startswith(f"{tmp_path / 'files'}: there is neither train-images-idx3-ubyte nor")


def test_without_a_path_originals_are_downloaded(tmp_path, monkeypatch, capsys):
    arrays = idx(tmp_path / "server", raw=False)
    publish(monkeypatch, "fashion_mnist", arrays)
    asked = []

    def fetch(file, folder):
        asked.append((file, folder))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes((tmp_path / "server" / file.name).read_bytes())

    monkeypatch.setattr(download, "fetch", fetch)
    found = data.load("fashion_mnist", "test", data_dir=str(tmp_path / "data"))
    np.testing.assert_array_equal(found.images, arrays["test"][0])
    folder = tmp_path / "data" / "downloads" / "jaxgan_fashion_mnist"
    assert asked == [(file, folder) for file in download.FILES["fashion_mnist"]]
    assert len(asked) == 4
    line = "fashion_mnist: 4 files of 31 MB, from http://fashion-mnist.s3-website"
    assert capsys.readouterr().err.startswith(line)
    data.load("fashion_mnist", "train", data_dir=str(tmp_path / "data"))
    assert len(asked) == 4


def test_a_download_that_fails_leaves_no_set(tmp_path, monkeypatch):
    def fetch(file, folder):
        raise UserError(f"{file.name}: cannot be downloaded")

    monkeypatch.setattr(download, "fetch", fetch)
    message = fails("mnist", data_dir=str(tmp_path))
    assert message == "train-images-idx3-ubyte.gz: cannot be downloaded"
    assert names(tmp_path / "jaxgan_mnist") == []


CIFAR_FOLDER = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}
CIFAR_FILES = {
    "cifar10": {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
    "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}


@pytest.fixture(params=["cifar10", "cifar100"])
def small_cifar(request, tmp_path, monkeypatch):
    """Name, archive and arrays of a CIFAR of 50 and 10 images, which count as published."""
    name, arrays, contents = request.param, {}, {}
    for split, size in {"train": 50, "test": 10}.items():
        images = pictures(size, 32, 32, start=size)
        labels = (np.arange(size) * 7 % len(originals.ORIGINALS[name].class_names)).astype(np.int32)
        arrays[split] = images, labels
        coarse = [3] if name == "cifar100" else []
        records = [
            bytes([*coarse, label]) + image.transpose(2, 0, 1).tobytes()
            for image, label in zip(images, labels.tolist(), strict=True)
        ]
        files = CIFAR_FILES[name][split]
        each = size // len(files)
        for i, file in enumerate(files):
            content = b"".join(records[i * each : (i + 1) * each])
            contents[f"{CIFAR_FOLDER[name]}/{file}"] = content
    file = download.FILES[name][0]
    (tmp_path / "files").mkdir()
    archive = tmp_path / "files" / file.name
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for member, content in contents.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(download.FILES, name, (file._replace(sha256=digest),))
    monkeypatch.setattr(cifar, "RECORDS", {"train": 50, "test": 10})
    publish(monkeypatch, name, arrays, with_checksums=False)
    return name, archive, arrays


@pytest.mark.parametrize("how", ["folder", "archive", "unpacked", "download"])
def test_cifar_is_prepared(how, small_cifar, tmp_path, monkeypatch):
    name, archive, arrays = small_cifar
    path = {"folder": archive.parent, "archive": archive, "unpacked": tmp_path / "unpacked"}.get(
        how
    )
    if how == "unpacked":
        with tarfile.open(archive) as tar:
            tar.extractall(path, filter="data")
    if how == "download":

        def fetch(file, folder):
            folder.mkdir(parents=True)
            (folder / file.name).write_bytes(archive.read_bytes())

        monkeypatch.setattr(download, "fetch", fetch)
    for split, (images, labels) in arrays.items():
        found = data.load(name, split, 0, str(tmp_path / "data"), str(path or ""))
        np.testing.assert_array_equal(found.images, images)
        np.testing.assert_array_equal(found.labels, labels)
        assert found.class_names == originals.ORIGINALS[name].class_names


@pytest.mark.parametrize("named", ["folder", "archive"])
def test_another_cifar_archive_is_refused(named, small_cifar, tmp_path):
    name, archive, _ = small_cifar
    content = bytearray(archive.read_bytes())
    content[4] ^= 1  # the time at which it was packed: what it holds is the same
    archive.write_bytes(content)
    path = archive if named == "archive" else archive.parent
    message = fails(name, "train", 0, str(tmp_path / "data"), str(path))
    assert message.startswith(f"{archive}: not {archive.name} as published: its SHA-256 is ")
    assert names(tmp_path / "data" / f"jaxgan_{name}") == []


# --------------------------------------------------------------------------------------------------
# Opening


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A prepared set of 30 and 5 images of 8 x 8 pixels; 3 classes."""
    folder = tmp_path_factory.mktemp("mine") / "set"
    test = pictures(5, start=100), np.arange(5) % 3
    metadata = {"content": "abc", "filter": "box", "fit": "pad", "source": "photos"}
    return make_set(folder, pictures(30), np.arange(30) % 3, ("a", "b", "c"), metadata, test=test)


@pytest.fixture
def copied(mine, tmp_path):
    """A copy of it, to be damaged."""
    (tmp_path / "copy").mkdir()
    for path in mine.iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("split", "chosen"),
    [
        ("train", slice(30)),
        ("test", slice(100, 105)),
        ("train[:50%]", slice(15)),
        ("train[50%:]", slice(15, 30)),
        ("train[:7]", slice(7)),
        ("train[-1:]", slice(29, 30)),
        ("test[1:3]", slice(101, 103)),
    ],
)
def test_splits_and_slices(split, chosen, mine):
    numbers = range(130)[chosen]
    found = data.open_set("folder", split, path=str(mine))
    assert (found.num_examples, found.shape) == (len(numbers), (8, 8, 3))
    loaded = found.load()
    np.testing.assert_array_equal(loaded.images, [picture(n) for n in numbers])
    assert loaded.labels.tolist() == [n % 100 % 3 for n in numbers]
    assert (loaded.labels.dtype, loaded.class_names) == (np.int32, ("a", "b", "c"))


def test_details_say_how_pixels_came_about(mine):
    found = data.open_set("folder", path=str(mine))
    assert found.details == {"content": ANY, "filter": "box", "fit": "pad"}
    assert data.open_set("fashion_mnist_mini").details == {"content": ANY}


@pytest.mark.parametrize("size", [5, 12])
def test_images_are_resized_at_reading(size, mine):
    found = data.open_set("folder", image_size=size, path=str(mine))
    resized = f"to {size} by lanczos"
    assert found.details == {"content": ANY, "filter": "box", "fit": "pad", "resized": resized}
    assert found.shape == (size, size, 3)
    for n, image in enumerate(found.load().images):
        expected = to_image(picture(n)).resize((size, size), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(image, np.asarray(expected))


def test_grey_images_are_resized_at_reading():
    found = data.open_set("fashion_mnist_mini", "test[:3]", 32)
    assert found.shape == (32, 32, 1)
    assert found.details == {"content": ANY, "resized": "to 32 by lanczos"}
    small = data.load("fashion_mnist_mini", "test[:3]").images
    for image, before in zip(found.load().images, small, strict=True):
        expected = to_image(before).resize((32, 32), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(image[..., 0], np.asarray(expected))


def test_load_gives_what_read_gives_one_by_one(tmp_path):
    labels = np.random.default_rng(0).integers(4, size=1100)
    folder = make_set(tmp_path / "set", pictures(1100, 4, 4, 1), labels, ("a", "b", "c", "d"))
    found = data.open_set("folder", path=str(folder))
    loaded = found.load()
    np.testing.assert_array_equal(loaded.labels, labels)
    for i in [*range(0, 1100, 97), 511, 512, 1099]:
        image, label = found.read(np.array([i]))
        np.testing.assert_array_equal(image[0], loaded.images[i])
        np.testing.assert_array_equal(image[0], picture(i, 4, 4, 1))
        assert label == loaded.labels[i]
    images, chosen = found.read(np.array([7, 1000, 7]))
    np.testing.assert_array_equal(images, loaded.images[[7, 1000, 7]])
    np.testing.assert_array_equal(chosen, labels[[7, 1000, 7]])


def test_sets_without_labels(tmp_path):
    folder = make_set(tmp_path / "set", pictures(4))
    found = data.open_set("folder", path=str(folder))
    images, labels = found.read(np.arange(4))
    np.testing.assert_array_equal(images, pictures(4))
    assert labels is None and found.load().labels is None and found.class_names == ()


class OddSet(tfds.core.GeneratorBasedBuilder):
    """Three images as TFDS's users may have them, of other shapes than this room makes."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, shape, **kwargs):
        self.shape = shape
        super().__init__(**kwargs)

    def _info(self):
        feature = tfds.features.Image(shape=self.shape, encoding_format="png")
        features = tfds.features.FeaturesDict({"picture": feature})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            file = io.BytesIO()
            to_image(picture(i, *(size or 6 + i for size in self.shape))).save(file, "PNG")
            yield i, {"picture": file.getvalue()}


def odd_set(folder, shape):
    builder = OddSet(shape, data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((6, 9, 3), "are 9 x 6 pixels; set it"), ((None, None, 1), "are of different sizes; set it")],
)
def test_images_that_are_no_equal_squares_need_a_size(shape, said, tmp_path):
    folder = odd_set(tmp_path, shape)
    message = fails("folder", path=str(folder))
    assert message == f"data.image_size: the images of {folder} {said}"
    images = data.load("folder", image_size=6, path=str(folder)).images
    for i, image in enumerate(images):
        pixels = picture(i, shape[0] or 6 + i, shape[1] or 6 + i, shape[2])
        left = (pixels.shape[1] - pixels.shape[0]) // 2
        side = pixels.shape[0]
        expected = to_image(pixels).crop((left, 0, left + side, side))
        expected = np.asarray(expected.resize((6, 6), Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(image, expected.reshape(6, 6, -1))


def test_images_with_alpha_are_laid_on_white(tmp_path):
    found = data.load("folder", path=str(odd_set(tmp_path, (6, 6, 4))))
    assert found.images.shape == (3, 6, 6, 3)
    for i, image in enumerate(found.images):
        pixels = picture(i, 6, 6, 4).astype(float)
        alpha = pixels[..., 3:] / 255
        expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
        np.testing.assert_allclose(image, expected, atol=1)


def test_the_default_data_dir_is_that_of_tfds(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    np.save(tmp_path / "x.npy", pictures(3))
    found = data.open_set("folder", path=str(tmp_path / "x.npy"))
    assert found.folder.parent == tmp_path / "tfds" / "jaxgan_folder"


def test_a_tilde_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", pictures(3))
    found = data.open_set("folder", data_dir="~/data", path="~/x.npy")
    assert found.folder.parent == tmp_path / "data" / "jaxgan_folder"


def test_a_folder_of_pictures_is_prepared_and_opened(tmp_path):
    np.savez(tmp_path / "x.npz", images=pictures(6, 10, 10), labels=[0, 1] * 3)
    found = data.open_set("folder", "train[:4]", 5, str(tmp_path / "data"), str(tmp_path / "x.npz"))
    assert (found.num_examples, found.shape, found.class_names) == (4, (5, 5, 3), ("0", "1"))
    assert found.details["filter"] == "lanczos" and len(found.details["content"]) == 16
    order = data.indices(0, 0, 6, 6)[:4]
    expected = [
        np.asarray(to_image(picture(i, 10, 10)).resize((5, 5), Image.Resampling.LANCZOS))
        for i in order
    ]
    np.testing.assert_array_equal(found.load().images, expected)


# The name, split and path ("SET": a prepared set; "NO": nothing), and what is said.
MISTAKES = {
    "family": ("tdfs:mnist", "train", "", "data.name: there is no 'tdfs' (did you mean 'tfds'?)"),
    "path": ("folder", "train", "NO", "data.path: there is no "),
    "path of another": ("mnist", "train", "NO", "data.path: there is no "),
    "no path": ("folder", "train", "", "data.path: name the folder, .zip, .npy or .npz file of"),
    "embedded": (
        "fashion_mnist_mini",
        "train",
        "SET",
        "data.path: fashion_mnist_mini comes with the package and reads no files",
    ),
    "split": (
        "folder",
        "trian",
        "SET",
        "data.split: there is no 'trian' (did you mean 'train'?); there are: test, train",
    ),
    "no split": ("folder", "", "SET", "data.split: there is no ''; there are: test, train"),
    "slice": ("folder", "train[:x]", "SET", "data.split: 'train[:x]' cannot be had: "),
    "open slice": ("folder", "train[", "SET", "data.split: 'train[' cannot be had: "),
    "stride": ("folder", "train[::2]", "SET", "data.split: 'train[::2]' cannot be had: "),
    "empty slice": (
        "folder",
        "train[:1%]",
        "SET",
        "data.split: 'train[:1%]' cannot be had: there are no examples in it",
    ),
    "points": ("ring", "train", "", "data.name: ring is drawn without end; it has no images"),
    "points of a path": ("ring", "train", "SET", "data.image_size, data.path, data.split: ring"),
    "a family alone": ("stacked:", "train", "", "data.name: stacked: lacks the set's name, as in"),
    "stacked points": ("stacked:ring", "train", "", "data.name: stacked:ring: ring is no set of"),
    "stacked": (
        "stacked:fashion_mnist_mini",
        "test",
        "",
        "data.name: stacked:fashion_mnist_mini is drawn without end; it has no images to load",
    ),
    "stacked colours": ("stacked:folder", "train", "SET", "data.name: a stacked set is made of"),
    "no catalogue name": ("tfds:", "train", "", "data.name: "),
}


@pytest.mark.parametrize(("name", "split", "path", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(name, split, path, said, mine, tmp_path):
    path = {"SET": str(mine), "NO": str(tmp_path / "nowhere")}.get(path, path)
    assert fails(name, split, 0, str(tmp_path), path).startswith(said)


def test_a_stacked_set_is_made_over_any_grey_one(tmp_path):
    images = pictures(6, 8, 8, 1)
    folder = make_set(tmp_path / "set", images, np.arange(6) % 2, ("a", "b"))
    found = data.open_set("stacked:folder", path=str(folder))
    assert isinstance(found, data.Stacked) and found.shape == (8, 8, 3)
    np.testing.assert_array_equal(found.images, images[..., 0])
    assert found.class_names[:3] == ("aaa", "aab", "aba")


# --------------------------------------------------------------------------------------------------
# Damaged sets


def shard(folder):
    return folder / "mine-train.array_record-00000-of-00001"


def reads_well_or_says_so(folder):
    """Whether the set can be read, and is then as it was; UserError is the only other way."""
    try:
        found = data.load("folder", path=str(folder))
    except UserError as error:
        assert str(error).startswith(str(folder)) and "\n" not in str(error)
        return False
    np.testing.assert_array_equal(found.images, pictures(30))
    np.testing.assert_array_equal(found.labels, np.arange(30) % 3)
    return True


def test_a_flipped_byte_never_gives_a_wrong_image(copied):
    content = shard(copied).read_bytes()
    used = np.flatnonzero(np.frombuffer(content, np.uint8))
    chosen = np.random.default_rng(0).choice(used, 60, replace=False)
    outcomes = []
    for position in [*used[:8], *chosen, *used[-8:]]:
        damaged = bytearray(content)
        damaged[position] ^= 16
        shard(copied).write_bytes(damaged)
        outcomes.append(reads_well_or_says_so(copied))
    assert outcomes.count(False) > 40  # the others were of no use


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.5, 0.51, 0.99])
def test_a_truncated_shard_is_named(kept, copied):
    content = shard(copied).read_bytes()
    shard(copied).write_bytes(content[: int(kept * len(content))])
    message = fails("folder", path=str(copied))
    assert message.startswith(f"{shard(copied)}: truncated or corrupt: it should hold 30 examples")


def test_a_missing_shard_is_named(copied):
    shard(copied).unlink()
    assert fails("folder", path=str(copied)).startswith(f"{shard(copied)}: is missing")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "metadata.json"])
@pytest.mark.parametrize("content", [b"", b"{", b'{"a": ', b"\xff\xfe", b"null!"])
def test_a_broken_json_file_is_named(name, content, copied):
    (copied / name).write_bytes(content)
    message = fails("folder", path=str(copied))
    assert message.startswith(str(copied)) and name in message and "damaged" in message


@pytest.mark.parametrize("content", ["a\n", "a\nb\n"])
def test_names_of_too_few_classes(content, copied):
    (copied / "label.labels.txt").write_text(content)
    message = fails("folder", path=str(copied))
    assert message == f"{copied}: damaged: labels 0 to 2 of {len(content.split())} classes"


def test_a_set_whose_numbers_were_changed(copied):
    info = (copied / "dataset_info.json").read_text()
    assert info.count('"30"') == 1
    (copied / "dataset_info.json").write_text(info.replace('"30"', '"29"'))
    message = fails("folder", path=str(copied))
    assert message.endswith("it should hold 29 examples, and 30 can be read")


def test_withheld_labels_are_no_labels(tmp_path):
    hidden = (pictures(4, 6, 6, 1), [-1] * 4)
    mixed = (pictures(3, 6, 6, 1), [0, -1, 1])
    folder = tmp_path / "set"
    make_set(folder, pictures(4, 6, 6, 1), [0, 1, 0, 1], ("a", "b"), hidden=hidden, mixed=mixed)
    assert data.load("folder", path=str(folder)).labels.tolist() == [0, 1, 0, 1]
    withheld = data.load("folder", "hidden", path=str(folder))
    assert (withheld.labels, withheld.class_names) == (None, ())
    assert fails("folder", "mixed", path=str(folder)).endswith("labels -1 to 1 of 2 classes")


def test_sets_of_other_builders_are_told_apart(tmp_path):
    details = []
    for number in (0, 1):
        folder = tmp_path / str(number)
        make_set(folder, pictures(5, 6, 6, 1) ^ number, [0, 1, 0, 1, 0], ("a", "b"))
        details.append(data.open_set("folder", path=str(folder)).details)
        shutil.copytree(folder, tmp_path / "elsewhere" / str(number))
        moved = data.open_set("folder", path=str(tmp_path / "elsewhere" / str(number)))
        assert moved.details == details[-1]
    assert details[0] != details[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [("path", "~nobody-of-this-name/x"), ("path", "x" * 5000), ("data_dir", "~nobodyx")],
)
def test_places_that_cannot_be(key, value):
    assert fails("folder", **{"path": "", key: value}).startswith("data.path")
