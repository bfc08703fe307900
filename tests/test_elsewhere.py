"""Workdirs and data at gs://, here a file system in this process's memory under that name."""

import json
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from jaxgan import config as configs
from jaxgan import data, loop
from jaxgan.checkpoint import Checkpoints, Damaged
from jaxgan.data.elsewhere import fetched
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at


class Bucket(MemoryFileSystem):
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("gs:/"))


@pytest.fixture
def bucket(monkeypatch):
    there = Bucket()
    monkeypatch.setattr(backend._FileSystemSpecBackend, "_get_filesystem", lambda *_: there)
    yield there
    Bucket.store.clear()


def test_a_name_is_a_folder_of_this_machine_or_one_of_epath(bucket, tmp_path):
    assert folder_at(tmp_path) == tmp_path
    there = folder_at("gs://bucket/run")
    assert str(there) == "gs://bucket/run" and not there.exists()


def test_what_nothing_opens_is_the_users_error():
    with pytest.raises(UserError, match=r"^nowhere://run: cannot be opened"):
        folder_at("nowhere://run")


def test_data_elsewhere_are_copied_once_and_anew_when_they_change(bucket, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    bucket.pipe("/bucket/set/images.npy", (tmp_path / "images.npy").read_bytes())
    one = data.open_set("folder", "train", 0, str(tmp_path), "gs://bucket/set/images.npy")
    assert one.num_examples == 16
    copy = fetched("gs://bucket/set/images.npy", tmp_path)
    times = copy.stat().st_mtime_ns
    assert fetched("gs://bucket/set/images.npy", tmp_path).stat().st_mtime_ns == times
    bucket.pipe("/bucket/set/images.npy", b"more" * 1000)
    assert fetched("gs://bucket/set/images.npy", tmp_path) != copy
    folder = fetched("gs://bucket/set", tmp_path)
    assert [path.name for path in folder.iterdir()] == ["images.npy"]
    with pytest.raises(UserError, match=r"^data\.path: there is no gs://bucket/absent"):
        fetched("gs://bucket/absent", tmp_path)


def test_a_run_elsewhere_has_its_small_files_there(bucket, tmp_path, monkeypatch):
    # The arrays would be TensorStore's to write, which knows no bucket of this process's memory.
    class Local(Checkpoints):
        def __init__(self, folder, *others):
            super().__init__(tmp_path / folder.name, *others)

    monkeypatch.setattr(loop, "Checkpoints", Local)
    home = folder_at("gs://bucket/run")

    def train(steps):
        config = configs.tiny(configs.load("configs/gan_mlp.py"))
        config.steps, config.evaluate_every = steps, 0
        assert loop.train(config, home) == 0
        lines = (home / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["step"] for line in lines]

    assert train(4) == [2, 4]
    assert train(8) == [2, 4, 6, 8]
    assert json.loads((home / "config.json").read_text())["steps"] == 8
    names = {path.split("/bucket/run/")[1] for path in bucket.find("/bucket/run")}
    assert {"curves.png", "report.html", "history.jsonl"} | {
        f"samples/{step:08d}.png" for step in (4, 8)
    } <= names


def test_checkpoints_are_written_and_checked_through_epath(tmp_path):
    state = {"w": jnp.arange(8.0)}
    folder = epath.Path(tmp_path) / "last"
    writer = Checkpoints(folder, keep=2)
    for step in (1, 2, 3):
        writer.save(step, state, note="mine")
    writer.wait()
    assert writer.steps() == [2, 3]
    restored = writer.newest(state)
    np.testing.assert_array_equal(restored.state["w"], state["w"])
    assert restored.info["note"] == "mine"
    manifest = folder / "3" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("mine", "ours"))
    with pytest.raises(Damaged, match="does not agree with its own checksum"):
        writer.info(3)
    writer.close()
