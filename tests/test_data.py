"""Data: the embedded set against its source, the order of examples, and the pixels' conversion."""

import gzip
import hashlib
import io
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

from jaxgan import data
from jaxgan.data import builders
from jaxgan.data.idx import read_idx
from jaxgan.errors import UserError

SOURCE = Path(os.environ.get("JAXGAN_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
needs_source = pytest.mark.skipif(
    not any(SOURCE.glob("train-images-idx3-ubyte*")),
    reason="needs Fashion-MNIST: Debian's dataset-fashion-mnist, or JAXGAN_FASHION_MNIST",
)
COMMITTED = Path(data.__file__).parent / "fashion_mnist_mini"

# Of the split: examples a class, sha256 of its images and of its labels as little-endian int32.
SPLITS = {
    "train": (
        1000,
        "e1427044c614fabc29feeff0f27e6b68f88a9ee2f2cfe7d783b9157159864883",
        "75a1a61f7a0455def204a6cb79ecf6ef76aa436c18c6860c4c77b0f46b0ac50b",
    ),
    "test": (
        200,
        "96315b1732ab731e68b8def3c284f34b605f7deb7a61e683c7d786265c827c83",
        "306fe07077dd1527c5b03487629049b319ec185fa6fa8e7b7548e87de93fd7f0",
    ),
}


@pytest.mark.parametrize("split", SPLITS)
def test_fashion_mnist_mini_is_what_it_was(split):
    per_class, images_sha256, labels_sha256 = SPLITS[split]
    dataset = data.load("fashion_mnist_mini", split)
    assert dataset.images.shape == (10 * per_class, 28, 28, 1)
    assert (dataset.images.dtype, dataset.labels.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(np.bincount(dataset.labels), [per_class] * 10)
    assert hashlib.sha256(dataset.images.tobytes()).hexdigest() == images_sha256
    assert hashlib.sha256(dataset.labels.astype("<i4").tobytes()).hexdigest() == labels_sha256


def test_dataset_describes_itself():
    dataset = data.load("fashion_mnist_mini", "test")
    assert (dataset.num_classes, dataset.channels, dataset.image_size) == (10, 1, 28)
    assert (dataset.class_names[0], dataset.class_names[9]) == ("T-shirt/top", "Ankle boot")
    unlabelled = data.Dataset(np.zeros((2, 8, 8, 3), np.uint8), None, ())
    assert (unlabelled.num_classes, unlabelled.channels, unlabelled.image_size) == (0, 3, 8)


def read_original(name, header):
    """The flat bytes after the header: a reader independent of the builder's."""
    raw, zipped = SOURCE / name, SOURCE / f"{name}.gz"
    content = raw.read_bytes() if raw.exists() else gzip.decompress(zipped.read_bytes())
    return np.frombuffer(content, np.uint8, offset=header)


@needs_source
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_fashion_mnist_mini_is_the_first_of_each_class_of_the_original(split, prefix):
    images = read_original(f"{prefix}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
    labels = read_original(f"{prefix}-labels-idx1-ubyte", 8)
    seen, chosen = [0] * 10, []
    for i, label in enumerate(labels):
        seen[label] += 1
        if seen[label] <= SPLITS[split][0]:
            chosen.append(i)
    dataset = data.load("fashion_mnist_mini", split)
    np.testing.assert_array_equal(dataset.images, images[chosen])
    np.testing.assert_array_equal(dataset.labels, labels[chosen])


def test_writer_orders_the_features_of_an_example(tmp_path):
    # Otherwise protobuf orders them by a hash that differs between processes.
    keys = [f"key{i}" for i in range(8)]
    features = {key: tf_feature_pb2.Feature() for key in reversed(keys)}
    example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=features))
    writer = builders.ReproducibleWriter(tfds.core.FileFormat.ARRAY_RECORD)
    writer.write(tmp_path / "records", [(0, example.SerializeToString())])
    record = array_record_module.ArrayRecordReader(str(tmp_path / "records")).read([0])[0]
    assert re.findall(r"key\d", record.decode()) == keys


@needs_source
def test_prepare_makes_the_committed_bytes(tmp_path):
    command = [sys.executable, "-m", "jaxgan.data.builders"]
    subprocess.run([*command, "--source", SOURCE, "--out", tmp_path / "mini"], check=True)
    made = {path.name: path.read_bytes() for path in (tmp_path / "mini").iterdir()}
    assert made == {path.name: path.read_bytes() for path in COMMITTED.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_load_needs_no_tensorflow_no_network_and_is_silent():
    program = """
import sys
from absl import logging

offences = []

def watch(event, args):
    if event == "import" and args[0].split(".")[0] == "tensorflow" or event == "socket.connect":
        offences.append((event, args[0]))

sys.addaudithook(watch)
import jaxgan.data
assert "tensorflow_datasets" not in sys.modules
logging.set_verbosity(logging.INFO)
assert len(jaxgan.data.load("fashion_mnist_mini", "test").images) == 2000
assert "tensorflow_datasets" in sys.modules
assert logging.get_verbosity() == logging.INFO
assert not offences, offences
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout, done.returncode) == ("", "", 0)


def test_load_resizes_with_antialiased_lanczos():
    native = data.load("fashion_mnist_mini", "test").images
    small = data.load("fashion_mnist_mini", "test", image_size=7).images
    assert small.shape == (2000, 7, 7, 1)
    expected = Image.fromarray(native[3, ..., 0]).resize((7, 7), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(small[3, ..., 0], np.asarray(expected))
    same = data.load("fashion_mnist_mini", "test", image_size=28).images
    np.testing.assert_array_equal(same, native)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        (
            "minst",
            "train",
            "data.name: there is no 'minst' (did you mean 'mnist'?); there are: cifar10, cifar100, "
            "fashion_mnist, fashion_mnist_mini, folder, grammar, grid, mnist, ring, stacked_mnist, "
            "swiss_roll",
        ),
        (
            "tdfs:celeb_a",
            "train",
            "data.name: there is no 'tdfs' (did you mean 'tfds'?); there are: stacked, tfds, "
            "unpaired",
        ),
        (
            "fashion_mnist_mini",
            "trian",
            "data.split: there is no 'trian' (did you mean 'train'?); there are: test, train",
        ),
    ],
)
def test_load_names_what_exists(name, split, message):
    with pytest.raises(UserError) as error:
        data.load(name, split)
    assert str(error.value) == message


def test_encode_png_is_read_back_by_pillow():
    rng = np.random.default_rng(0)
    # Few grey levels make ties between neighbours, many make differences that wrap around.
    for levels, shape in [(2, (28, 28)), (4, (1, 9)), (256, (28, 28)), (256, (9, 1))]:
        image = (rng.integers(levels, size=shape) * (255 // (levels - 1))).astype(np.uint8)
        decoded = np.asarray(Image.open(io.BytesIO(builders.encode_png(image))))
        np.testing.assert_array_equal(decoded, image)


IDX = struct.pack(">4B2I", 0, 0, 8, 2, 2, 3) + bytes(range(6))


@pytest.mark.parametrize(("name", "content"), [("x", IDX), ("x.gz", gzip.compress(IDX, mtime=0))])
def test_read_idx(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(read_idx(tmp_path, "x", ndim=2), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("y", IDX, "there is neither x nor x.gz"),
        ("x", b"", "should begin with 00000802, not with ''"),
        ("x", IDX[:2] + b"\x0d" + IDX[3:], "should begin with 00000802, not with '00000d02'"),
        ("x", IDX[:3] + b"\3" + IDX[4:], "should begin with 00000802, not with '00000803'"),
        ("x", IDX[:9], "truncated: it ends within its header"),
        ("x", IDX[:-1], r"its header says \(2, 3\), which is 6 bytes, but 5 bytes follow"),
        ("x", IDX + b"\0", "but more follow"),
        ("x.gz", IDX, "cannot be read: Not a gzipped file"),
        ("x.gz", gzip.compress(IDX, mtime=0)[:-9], "cannot be read: Compressed file ended"),
        ("x.gz", gzip.compress(IDX, mtime=0)[:-8] + bytes(8), "cannot be read: CRC check failed"),
        ("x.gz", gzip.compress(IDX, mtime=0)[:10] + b"\xff" * 20, "cannot be read: Error -3"),
    ],
)
def test_read_idx_names_the_bad_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_idx(tmp_path, "x", ndim=2)
    place = tmp_path if name == "y" else tmp_path / name
    assert str(error.value).startswith(f"{place}: ")


def test_prepare_leaves_nothing_of_a_source_that_is_not_fashion_mnist(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(UserError, match="neither train-images-idx3-ubyte nor"):
        builders.prepare(source, tmp_path / "mini")
    images = struct.pack(">4B3I", 0, 0, 8, 3, 2, 28, 28) + bytes(2 * 28 * 28)
    (source / "train-images-idx3-ubyte").write_bytes(images)
    (source / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI2B", 0, 0, 8, 1, 2, 0, 9))
    with pytest.raises(UserError, match="at least 1000 of each class"):
        builders.prepare(source, tmp_path / "mini")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_prepare_command_replaces_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").write_text("kept")
    arguments = ["builders", "--source", str(SOURCE), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as exit_:
        builders.main()
    assert exit_.value.code == 2
    assert capsys.readouterr().err == f"--out: {tmp_path} exists; name a folder that does not\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_indices_are_a_fresh_permutation_each_epoch():
    epochs = data.indices(seed=5, start=0, count=4 * 97, size=97).reshape(4, 97)
    assert epochs.dtype == np.int32
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(97))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other_seed = data.indices(seed=6, start=0, count=97, size=97)
    assert (other_seed != epochs[0]).any()


@pytest.mark.parametrize(
    ("start", "count"), [(0, 3), (7, 3), (9, 1), (8, 5), (10, 10), (3, 40), (5, 0)]
)
def test_indices_anywhere_are_a_slice_of_the_long_stream(start, count):
    stream = data.indices(seed=2, start=0, count=60, size=10)
    part = data.indices(seed=2, start=start, count=count, size=10)
    np.testing.assert_array_equal(part, stream[start : start + count])


def test_indices_are_safe_from_their_reader():
    first = data.indices(seed=3, start=0, count=8, size=8)
    expected = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(data.indices(seed=3, start=0, count=8, size=8), expected)


def test_indices_never_change():
    # A resumed run, and any old result, depends on these values.
    assert data.indices(0, 0, 8, 10_000).tolist() == [
        7552, 9232, 5820, 9334, 1926, 3556, 4845, 8703,
    ]  # fmt: skip
    assert data.indices(2**63, 9_996, 8, 10_000).tolist() == [
        4813, 2878, 1167, 4518, 6227, 3622, 7614, 520,
    ]  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_pixels_go_to_float_and_back(wrap):
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    floats = wrap(data.to_float)(pixels)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats.ravel(), np.linspace(-1, 1, 256), atol=1e-6)
    # Exactly: XLA divides by 127.5 through its reciprocal, and x / 127.5 - 1 would end above 1.
    assert (floats.min(), floats.max()) == (-1, 1)
    np.testing.assert_array_equal(floats.ravel(), -floats.ravel()[::-1])
    back = wrap(data.to_uint8)(floats)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pixels)


def test_to_uint8_clips_and_rounds_to_the_nearest():
    floats = np.array([-7.0, -1.0, 0.3 / 127.5 - 1, 0.7 / 127.5 - 1, 1.0, 7.0], np.float32)
    np.testing.assert_array_equal(data.to_uint8(floats), [0, 0, 0, 1, 255, 255])
