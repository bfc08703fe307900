"""`tfds:NAME`: what is found, what is refused, how TFDS is asked to prepare, and its reading."""

import fcntl
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download import extractor

from jaxgan.data import catalogue
from jaxgan.errors import UserError

FORMS = "is not of the form tfds:NAME, tfds:NAME/CONFIG, tfds:NAME:1.0.0 or tfds:NAME/CONFIG:1.0.0"


def place(root, folder, file_format="array_record"):
    """A version folder as `find` sees it."""
    (root / folder).mkdir(parents=True)
    info = {"fileFormat": file_format} if file_format else {}
    (root / folder / "dataset_info.json").write_text(json.dumps(info))
    return root / folder


def pretend(monkeypatch, tensorflow, run=None):
    """Pretends that TensorFlow is installed or not, and that `run` is what runs the child."""
    real = importlib.util.find_spec
    spec = SimpleNamespace() if tensorflow else None
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: spec if name == "tensorflow" else real(name)
    )

    def refuse(command, **kwargs):
        raise AssertionError(f"a child is run: {command}")

    monkeypatch.setattr(subprocess, "run", run or refuse)


def fails(name, data_dir, path=None):
    with pytest.raises(UserError) as error:
        catalogue.find(name, data_dir, path)
    return str(error.value)


def tiny_images(n, seed):
    return np.random.default_rng(seed).integers(256, size=(n, 4, 5, 1), dtype=np.uint8)


class JaxganTiny(tfds.core.GeneratorBasedBuilder):
    """40 and 8 grey images; config "b", the default, has names for its classes."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        tfds.core.BuilderConfig(name="a"),
        tfds.core.BuilderConfig(name="b"),
    )
    DEFAULT_BUILDER_CONFIG_NAME = "b"

    def _info(self):
        names = {"names": ["x", "y", "z"]} if self.builder_config.name == "b" else {}
        features = {
            "image": tfds.features.Image(shape=(4, 5, 1), dtype=np.uint8, encoding_format="png"),
            "label": tfds.features.ClassLabel(**names or {"num_classes": 3}),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(40, 0), "test": self._generate_examples(8, 1)}

    def _generate_examples(self, n, seed):
        for i, image in enumerate(tiny_images(n, seed)):
            yield i, {"image": Image.fromarray(image[..., 0]), "label": i % 3}


class JaxganExtracted(tfds.core.GeneratorBasedBuilder):
    """One image, of the colour that an archive placed by hand names."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Place colour.gz."

    def _info(self):
        features = {"image": tfds.features.Image(shape=(2, 2, 1), encoding_format="png")}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        colour = dl_manager.extract(dl_manager.manual_dir / "colour.gz")
        return {"train": self._generate_examples(int(colour.read_text()))}

    def _generate_examples(self, colour):
        yield 0, {"image": Image.new("L", (2, 2), colour)}


class JaxganExtractedToo(JaxganExtracted):
    """Another data set, whose archive is called the same."""


class JaxganBroken(JaxganExtracted):
    """Fails half-way."""

    def _split_generators(self, dl_manager):
        raise ValueError("No cow in the field:\nlook into the barn.")


def main_as_child(monkeypatch, seen):
    """Runs the child's command in this process: our builders need no TensorFlow to prepare."""

    def run(command, env, stdout, text, check, pass_fds):
        seen.append((command, env))
        assert command[:3] == [sys.executable, "-m", "jaxgan.data.catalogue"]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", command[2:])
            catalogue.main()
        return subprocess.CompletedProcess(command, 0, "")

    return run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data_dir in which config "b" of JaxganTiny is prepared, in two shards."""
    data_dir = tmp_path_factory.mktemp("prepared")
    builder = JaxganTiny(data_dir=data_dir, file_format="array_record")
    config = tfds.download.DownloadConfig(num_shards=2)
    builder.download_and_prepare(download_config=config)
    return data_dir


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc",
        "/etc",
        "mnist/..",
        "mnist/../x",
        "mnist/.config",
        "mnist/",
        "mnist/a/b",
        "mnist:",
        "mnist:1",
        "mnist:1.*.*",
        "mnist:01.0.0",
        "mnist:1.0.0/a",
        "mnist\n",
        "MNIST",
        "kaggle:mnist:1.0.0",
        "huggingface:mnist",
        "mnist/a/b=1",
        "\uff4dnist",  # fullwidth
    ],
)
def test_a_name_that_is_none_is_refused(tmp_path, monkeypatch, name):
    pretend(monkeypatch, tensorflow=True)
    assert fails(name, tmp_path / "data") == f"data.name: 'tfds:{name}' {FORMS}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", ["", "array_record"])
def test_the_newest_version_is_found(tmp_path, monkeypatch, own):
    pretend(monkeypatch, tensorflow=False)
    root = tmp_path / own
    for version in ("1.9.0", "1.10.0", "1.2.30"):
        place(root, f"mnist/{version}")
    for other in ("incomplete.ABCDEF_2.0.0", "2.0", "02.0.0", "2.0.0.bak"):
        place(root, f"mnist/{other}")
    (root / "mnist" / "3.0.0").mkdir()
    assert catalogue.find("mnist", tmp_path) == root / "mnist/1.10.0"
    assert catalogue.find("mnist:1.9.0", tmp_path) == root / "mnist/1.9.0"


def test_other_formats_are_passed_over_and_two_folders_searched(tmp_path, monkeypatch):
    pretend(monkeypatch, tensorflow=False)
    place(tmp_path, "mnist/3.0.0", "tfrecord")
    place(tmp_path, "mnist/2.0.0")
    assert catalogue.find("mnist", tmp_path) == tmp_path / "mnist/2.0.0"
    ours = place(tmp_path, "array_record/mnist/3.0.0")
    assert catalogue.find("mnist", tmp_path) == ours
    theirs = place(tmp_path, "mnist/4.0.0")
    assert catalogue.find("mnist", tmp_path) == theirs
    assert catalogue.find("mnist:2.0.0", tmp_path) == tmp_path / "mnist/2.0.0"


def test_a_config_is_the_named_one_or_the_default(tmp_path, monkeypatch):
    pretend(monkeypatch, tensorflow=False)
    named = place(tmp_path, "cifar10/rot.90-a+b/1.0.0")
    default = place(tmp_path, "cifar10/plain/1.0.0")
    assert catalogue.find("cifar10/rot.90-a+b", tmp_path) == named
    assert catalogue.find("cifar10/plain:1.0.0", tmp_path) == default
    assert fails("cifar10", tmp_path).endswith(
        "; there is only cifar10/plain:1.0.0 as array_record, "
        "cifar10/rot.90-a+b:1.0.0 as array_record"
    )
    (tmp_path / "cifar10" / ".config").mkdir()
    metadata = tmp_path / "cifar10" / ".config" / "metadata.json"
    metadata.write_text('{"default_config_name": "plain"}')
    assert catalogue.find("cifar10", tmp_path) == default
    metadata.write_text('{"default_config_name": "../cifar10/plain"}')
    assert fails("cifar10", tmp_path) == f"{metadata}: damaged: it should name the default config"


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff", "[" * 100_000])
def test_damaged_information_is_named(tmp_path, monkeypatch, content):
    pretend(monkeypatch, tensorflow=True)
    info = place(tmp_path, "mnist/1.0.0") / "dataset_info.json"
    info.write_bytes(content.encode(errors="surrogateescape"))
    assert fails("mnist", tmp_path).startswith(f"{info}: damaged: ")


def test_without_tensorflow_it_says_what_to_install(tmp_path, monkeypatch):
    pretend(monkeypatch, tensorflow=False)
    message = (
        f"data.name: tfds:mnist is not prepared as ArrayRecord under {tmp_path}, and to prepare it "
        "takes TensorFlow: pip install tensorflow, or copy a folder prepared elsewhere there"
    )
    assert fails("mnist", tmp_path) == message
    place(tmp_path, "mnist/3.0.1", None)  # by an old TFDS, which wrote nothing but TFRecord
    place(tmp_path, "array_record/mnist/2.0.0", "parquet")
    assert fails("mnist", tmp_path) == (
        f"{message}; there is only mnist:3.0.1 as tfrecord, mnist:2.0.0 as parquet"
    )
    place(tmp_path, "mnist/1.0.0")
    assert fails("mnist:3.0.1", tmp_path).endswith(
        "; there is only mnist:1.0.0 as array_record, mnist:3.0.1 as tfrecord, "
        "mnist:2.0.0 as parquet"
    )
    assert not (tmp_path / "array_record" / ".mnist.lock").exists()


def test_a_name_of_no_data_set_gets_near_ones(tmp_path, monkeypatch):
    pretend(monkeypatch, tensorflow=False)
    message = fails("cifar11", tmp_path)
    assert message.startswith("data.name: there is no 'cifar11' in the catalogue of TFDS (did you")
    assert "'cifar10'" in message
    message = fails("qqqqqq", tmp_path)
    assert message == "data.name: there is no 'qqqqqq' in the catalogue of TFDS"
    place(tmp_path, "qqqqqq/1.0.0", "tfrecord")
    assert fails("qqqqqq", tmp_path) == f"{message}; there is only qqqqqq:1.0.0 as tfrecord"
    # One that is prepared need not be in the catalogue.
    assert catalogue.find("qqqqqq", place(tmp_path, "data/qqqqqq/1.0.0").parents[1])


def test_it_is_prepared_once_and_its_leftovers_removed(tmp_path, monkeypatch):
    seen, own = [], tmp_path / "array_record"
    child = main_as_child(monkeypatch, seen)

    def run(command, **kwargs):
        assert not (own / ".jaxgan_tiny.extracted").exists()
        assert not [*(own / "jaxgan_tiny").rglob("incomplete*")]
        assert len([*own.rglob("incomplete*")]) == 2  # of the other data set
        return child(command, **kwargs)

    pretend(monkeypatch, tensorflow=True, run=run)
    for left in ("incomplete.ABC_1.0.0", "b/incomplete.ABC_1.0.0"):
        place(own, f"jaxgan_tiny/{left}")
        place(own, f"jaxgan_tiny2/{left}")
    (own / ".jaxgan_tiny.extracted" / "x").mkdir(parents=True)
    (own / "jaxgan_tiny" / ".config").mkdir()
    (own / "jaxgan_tiny" / ".config" / "incomplete.abc.metadata.json").touch()
    folder = catalogue.find("jaxgan_tiny", tmp_path)
    assert folder == own / "jaxgan_tiny/b/1.0.0"
    ((command, env),) = seen
    assert command[3:] == ["jaxgan_tiny", str(tmp_path)]
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert catalogue.find("jaxgan_tiny:1.0.0", tmp_path) == folder
    assert len(seen) == 1
    assert catalogue.find("jaxgan_tiny/a", tmp_path) == own / "jaxgan_tiny/a/1.0.0"
    assert len(seen) == 2


def test_original_files_of_one_name_are_not_taken_for_another_sets(tmp_path, monkeypatch):
    # TFDS keeps what it has extracted under the archive's name, whatever folder that lay in.
    pretend(monkeypatch, tensorflow=True, run=main_as_child(monkeypatch, []))

    def extract(self, from_path, method, to_path):
        # TFDS does this with TensorFlow.
        return shutil.copy(from_path, to_path)

    monkeypatch.setattr(extractor._Extractor, "_extract", extract)
    for name, colour in (("jaxgan_extracted", 7), ("jaxgan_extracted_too", 200)):
        originals = tmp_path / f"originals{colour}"
        originals.mkdir()
        (originals / "colour.gz").write_text(str(colour))
        folder = catalogue.find(name, tmp_path / "data", originals)
        source = catalogue.open_prepared(folder).as_data_source("train")
        assert source[0]["image"].tolist() == [[[colour]] * 2] * 2
    assert not [*(tmp_path / "data").rglob("*colour.gz")]
    assert (tmp_path / "data" / "downloads").is_dir()
    assert not (tmp_path / "data" / "array_record" / "downloads").exists()


def test_a_folder_of_originals_must_exist(tmp_path, monkeypatch):
    pretend(monkeypatch, tensorflow=True)
    assert fails("mnist", tmp_path, tmp_path / "none") == (
        f"data.path: {tmp_path / 'none'} is not a folder of original files of tfds:mnist"
    )


def test_the_child_tells_in_one_line_why_it_failed(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["catalogue", "jaxgan_broken", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        catalogue.main()
    assert exit_.value.code == 1
    out, err = capfd.readouterr()
    assert out == "ValueError: No cow in the field\n"
    assert "look into the barn." in err


@pytest.mark.parametrize(
    ("returncode", "stdout", "reason"),
    [
        (1, "ValueError: no cow\n", "ValueError: no cow"),
        (3, "", "exit code 3"),
        (-9, "", "SIGKILL"),
    ],
)
def test_a_child_that_fails_is_one_sentence(tmp_path, monkeypatch, returncode, stdout, reason):
    own = tmp_path / "array_record"

    def run(command, **kwargs):
        (own / ".mnist.extracted").mkdir()
        return subprocess.CompletedProcess(command, returncode, stdout)

    pretend(monkeypatch, tensorflow=True, run=run)
    message = fails("mnist", tmp_path)
    assert message.startswith("data.name: tfds:mnist could not be prepared with TensorFlow: ")
    assert message.endswith(reason)
    assert list(own.iterdir()) == []


def test_a_broken_folder_that_tfds_takes_for_prepared_is_named(tmp_path, monkeypatch):
    run = lambda command, **kwargs: subprocess.CompletedProcess(command, 0, "")  # noqa: E731
    pretend(monkeypatch, tensorflow=True, run=run)
    folder = tmp_path / "array_record" / "mnist"
    (folder / "3.0.1").mkdir(parents=True)
    assert fails("mnist", tmp_path) == (
        f"data.dir: TFDS took {folder} for prepared, but it is not whole: remove it, and it is "
        "made anew"
    )


def test_a_data_dir_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    pretend(monkeypatch, tensorflow=True)
    (tmp_path / "file").touch()
    message = fails("mnist", tmp_path / "file")
    assert message.startswith("data.dir: tfds:mnist cannot be prepared there: [Errno 20] Not a dir")


def test_the_lock_is_held_by_the_child_too(tmp_path, monkeypatch):
    def run(command, pass_fds, **kwargs):
        lock = tmp_path / "array_record" / ".mnist.lock"
        assert [os.readlink(f"/proc/self/fd/{fd}") for fd in pass_fds] == [str(lock)]
        with lock.open() as mine, pytest.raises(BlockingIOError):
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        place(tmp_path, "array_record/mnist/3.0.1")
        return subprocess.CompletedProcess(command, 0, "")

    pretend(monkeypatch, tensorflow=True, run=run)
    assert catalogue.find("mnist", tmp_path) == tmp_path / "array_record/mnist/3.0.1"


def test_the_second_of_two_waits_and_finds_what_the_first_made(tmp_path, monkeypatch, capfd):
    pretend(monkeypatch, tensorflow=True)  # a child would be an error
    own, found = tmp_path / "array_record", []
    own.mkdir()
    with (own / ".mnist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: found.append(catalogue.find("mnist", tmp_path)))
        second.start()
        second.join(0.2)
        assert second.is_alive()
        place(own, "mnist/3.0.1")
    second.join(10)
    assert found == [own / "mnist/3.0.1"]
    assert capfd.readouterr().err == "waiting for another process that prepares mnist\n"


def test_what_is_prepared_needs_no_code_no_network_and_no_tensorflow(prepared):
    program = """
import sys

offences = []

def watch(event, args):
    if event == "import" and args[0].split(".")[0] in ("tensorflow", "test_catalogue"):
        offences.append(args[0])
    if event == "socket.connect":
        offences.append(event)

sys.addaudithook(watch)
from pathlib import Path
import tensorflow_datasets as tfds
from jaxgan.data import catalogue
builder = catalogue.open_prepared(catalogue.find("jaxgan_tiny", Path(sys.argv[1])))
assert catalogue.layout(builder).class_names == ("x", "y", "z")
decoders = {"image": tfds.decode.SkipDecoding()}
assert len(builder.as_data_source("train", decoders=decoders).__getitems__(range(40))) == 40
assert not offences, offences
"""
    command = [sys.executable, "-W", "error", "-c", program, prepared]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout, done.returncode) == ("", "", 0)


def read(builder, split):
    decoders = {"image": tfds.decode.SkipDecoding()}
    source = builder.as_data_source(split, decoders=decoders)
    examples = source.__getitems__(range(len(source)))
    images = [np.asarray(Image.open(io.BytesIO(example["image"]))) for example in examples]
    return np.stack(images)[..., None], [example["label"] for example in examples]


def test_slices_of_a_split_are_disjoint_and_in_order(prepared):
    builder = catalogue.open_prepared(catalogue.find("jaxgan_tiny/b:1.0.0", prepared))
    expected = tiny_images(40, 0)
    np.testing.assert_array_equal(read(builder, "train")[0], expected)
    # The shards hold 20 examples each: some slices begin or end within one, some span both.
    for split, part in {
        "train[:90%]": slice(36),
        "train[90%:]": slice(36, 40),
        "train[10:30]": slice(10, 30),
        "train[-5:]": slice(35, 40),
    }.items():
        images, labels = read(builder, split)
        np.testing.assert_array_equal(images, expected[part])
        assert labels == [i % 3 for i in range(40)][part]
    np.testing.assert_array_equal(read(builder, "test")[0], tiny_images(8, 1))


SHARD = "jaxgan_tiny-train.array_record-00001-of-00002"


def cut(size):
    return lambda folder: os.truncate(folder / SHARD, size)


def replace(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / SHARD).unlink(), f"/{SHARD}: is missing; dataset_info.json"),
        # TFDS reads 20 empty records from the second of these, and raises nothing.
        *((cut(size), f"/{SHARD}: truncated or corrupt: it ") for size in (0, 65_536, 131_071)),
        (
            lambda folder: shutil.copy(folder / SHARD.replace("train", "test"), folder / SHARD),
            f"/{SHARD}: truncated or corrupt: it should hold 20 examples, and 4 can be read",
        ),
        (lambda folder: (folder / "features.json").unlink(), "/features.json: damaged: [Errno 2]"),
        (replace("features.json", "{", ""), "/features.json: damaged: Extra data"),
        (
            replace("features.json", "tensorflow_datasets.core.features.image_feature", "this"),
            "/features.json: names the class this.Image, which is not of TFDS",
        ),
        (
            replace("features.json", '"pythonClassName": "tensorflow_datasets', '"type": "this'),
            "/features.json: names the class this.core.features.",
        ),
        (
            replace("features.json", '"pythonClassName": "tens', '"python_class_name": "tense'),
            "/features.json: names the class tenseorflow_datasets.core.features.",
        ),
        (
            replace("features.json", "image_feature.Image", "image_feature.Imago"),
            ": its dataset_info.json or features.json is damaged: ValueError: Unrecognized Feature",
        ),
        (
            lambda folder: (folder / "dataset_info.json").unlink(),
            ": its dataset_info.json or features.json is damaged: DatasetInfoFileError: Could not",
        ),
        (
            replace("dataset_info.json", '"20"', '"x"'),
            ": its dataset_info.json or features.json is damaged: ParseError: Failed to parse",
        ),
        (replace("dataset_info.json", '"20"', '"30"'), ": truncated or corrupt: it should hold 30"),
        (replace("dataset_info.json", "array_record", "parquet"), ": holds no ArrayRecord files"),
        (replace("dataset_info.json", "{DATASET}", "../{DATASET}"), ", outside of it"),
    ],
)
def test_a_damaged_folder_is_refused(prepared, tmp_path, damage, message):
    folder = tmp_path / "jaxgan_tiny" / "b" / "1.0.0"
    shutil.copytree(prepared / "jaxgan_tiny" / "b" / "1.0.0", folder)
    assert catalogue.open_prepared(folder).name == "jaxgan_tiny"
    damage(folder)
    with pytest.raises(UserError) as error:
        catalogue.open_prepared(folder)
    assert str(error.value).startswith(str(folder))
    assert message in str(error.value)


def test_features_that_need_tensorflow_are_named(prepared, monkeypatch):
    def import_tensorflow(folder):  # as TFDS does for sound, for example
        raise ModuleNotFoundError("No module named 'tensorflow'")

    monkeypatch.setattr(tfds, "builder_from_directory", import_tensorflow)
    folder = prepared / "jaxgan_tiny" / "b" / "1.0.0"
    with pytest.raises(UserError) as error:
        catalogue.open_prepared(folder)
    message = f"{folder}: has features that TFDS reads with TensorFlow alone"
    assert str(error.value) == message


def test_layout_of_a_prepared_folder(prepared):
    builder = catalogue.open_prepared(prepared / "jaxgan_tiny" / "b" / "1.0.0")
    assert catalogue.layout(builder) == catalogue.Layout("image", (4, 5, 1), "label", tuple("xyz"))


def layout(supervised_keys=None, **features):
    """`catalogue.layout` of a set with these features."""

    class Described(JaxganExtracted, skip_registration=True):
        def _info(self):
            tree = tfds.features.FeaturesDict(features)
            keys = supervised_keys
            return tfds.core.DatasetInfo(builder=self, features=tree, supervised_keys=keys)

    return catalogue.layout(Described(data_dir="there"))


def image(*shape, **kwargs):
    return tfds.features.Image(shape=shape or (None, None, 3), **kwargs)


def label(n=2):
    return tfds.features.ClassLabel(num_classes=n)


@pytest.mark.parametrize(
    ("features", "keys", "image_key", "label_key"),
    [
        ({"image": image(), "label": label()}, None, "image", "label"),
        ({"edges": image(), "image": image(), "mask": image()}, None, "image", None),
        ({"picture": image(), "depth": image(4, 4, 1, dtype=np.uint16)}, None, "picture", None),
        ({"image": image(), "kind": label()}, None, "image", "kind"),
        ({"image": image(), "kind": label(), "colour": label()}, None, "image", None),
        ({"image": image(), "fine": label(), "label": label()}, None, "image", "label"),
        ({"image": image(), "fine": label(), "label": label()}, ("image", "fine"), "image", "fine"),
        ({"image": image(), "label": label()}, ("image", "image"), "image", "label"),
        ({"image": image(), "label": tfds.features.Text()}, ("image", "label"), "image", None),
        ({"image": image(), "label": tfds.features.ClassLabel()}, None, "image", None),
        ({"image": image(), "label": label()}, ({"a": "image"}, "label"), "image", "label"),
    ],
)
def test_layout_picks_the_image_and_its_label(features, keys, image_key, label_key):
    found = layout(keys, **features)
    assert (found.image_key, found.label_key) == (image_key, label_key)
    assert found.class_names == (("0", "1") if label_key else ())
    assert found.image_shape == (None, None, 3)


@pytest.mark.parametrize(
    ("features", "kinds"),
    [
        ({"left": image(), "right": image()}, "left (Image), right (Image)"),
        ({"text": tfds.features.Text(), "label": label()}, "text (Text), label (ClassLabel)"),
        ({"image": image(4, 4, 1, dtype=np.float32)}, "image (Image)"),
    ],
)
def test_layout_without_one_image_is_refused(features, kinds):
    with pytest.raises(UserError) as error:
        layout(**features)
    assert str(error.value) == (
        "there/described/1.0.0: there should be one feature of 8-bit images, or one of them called "
        f"'image'; its features are: {kinds}"
    )
