"""Boards: what gets to TensorBoard and to Weights & Biases is what the run's own files have."""

import importlib.util
import json
import re

import numpy as np
import pytest
import wandb
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.record_writer import masked_crc32c
from wandb.proto.wandb_internal_pb2 import Record

from jaxgan import boards, config, experiment, loop, writer
from jaxgan.errors import UserError

SETTINGS = {"loss": "hinge", "batch_size": 8, "data.flip": True, "penalties.r1": {"kind": "linear"}}
IMAGE = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def events(folder):
    """Of TensorBoard's files there: the summaries' values, with their steps."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            body = data[12 : 12 + size]
            check = int.from_bytes(data[12 + size : 16 + size], "little")
            assert check == masked_crc32c(body)
            event = Event.FromString(body)
            yield from ((value, event.step) for value in event.summary.value)
            data = data[16 + size :]


def small(**changes):
    overrides = [f"{key}={value}" for key, value in changes.items()]
    return config.tiny(config.load("configs/dcgan.py", overrides))


def test_tensorboard_has_settings_numbers_and_pictures(tmp_path):
    board = boards.TensorBoard(tmp_path, 0, SETTINGS)
    board.scalars({"g_loss": 0.5, "d_gradient_norm/Conv_0": 2.0}, 3)
    board.scalars({"g_loss": 0.25}, 6)
    board.picture("samples", IMAGE, 6)
    board.close()
    found = [(value.tag, step, value) for value, step in events(tmp_path)]
    numbers = [(tag, step, value.simple_value) for tag, step, value in found if "loss" in tag]
    assert numbers == [("g_loss", 3, 0.5), ("g_loss", 6, 0.25)]
    assert [(tag, step) for tag, step, _ in found if tag == "samples"] == [("samples", 6)]
    told = {
        tag.rpartition("/")[2]: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for tag, _, value in found
        if tag.startswith("_hparams_/")
    }
    begun = told["session_start_info"].session_start_info.hparams
    assert begun["loss"].string_value == "hinge"
    assert begun["batch_size"].number_value == 8
    assert begun["data.flip"].bool_value is True
    assert begun["penalties.r1"].string_value == "{'kind': 'linear'}"
    measured = [info.name.tag for info in told["experiment"].experiment.metric_infos]
    assert measured == ["g_loss"]  # but for the blocks


def records(workdir):
    """What the starts of a run have left for `wandb sync`, in turn: LevelDB's log format after a
    head of 7 bytes, in blocks of 32 KiB, of pieces with a checksum, a length and a kind."""
    for path in sorted((workdir / "wandb").glob("offline-run-*/run-*.wandb")):
        data, at, record = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if (left := 2**15 - at % 2**15) < 7:
                at += left
                continue
            size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
            record += data[at + 7 : at + 7 + size]
            at += 7 + size
            if kind in (1, 4):  # whole, or the last piece
                yield Record.FromString(record)
                record = b""


def test_weights_and_biases_offline_has_a_run_of_two_starts(tmp_path):
    workdir = tmp_path / "mine"
    for steps in (2, 4):
        given = small(**{"wandb.project": "gans", "wandb.mode": "offline"})
        given.steps, given.evaluate_every = steps, 0
        assert loop.train(given, workdir) == 0
    there = list(records(workdir))
    runs = [record.run for record in there if record.HasField("run")]
    assert {(run.project, run.display_name) for run in runs} == {("gans", "mine")}
    assert len({run.run_id for run in runs}) == 1  # two parts of one
    settings = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert settings["batch_size"] == 8 and "derived.kimg" not in settings
    logged = [
        {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in record.history.item
        }
        for record in there
        if record.HasField("history")
    ]
    lines = writer.read_metrics(workdir)
    assert [line["g_loss"] for line in logged if "g_loss" in line] == [
        pytest.approx(line["g_loss"]) for line in lines
    ]
    pictures = [line["_step"] for line in logged if "samples/path" in line]
    assert pictures == [line["step"] for line in lines] == [2, 4]
    assert list((workdir / "wandb").glob("offline-run-*/files/media/images/samples*.png"))


def test_weights_and_biases_that_is_not_there_is_asked_for_before_the_data(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape('pip install "jaxgan[wandb]"')):
        experiment.prepare(small(**{"wandb.project": "gans", "data.name": "absent"}))


def test_weights_and_biases_that_refuses_is_one_sentence(tmp_path, monkeypatch):
    def refuse(**given):
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login`.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match=r"^wandb.project: gans cannot .* No API key") as caught:
        boards.WeightsAndBiases(tmp_path, "mine", "gans", "online", SETTINGS)
    assert "\n" not in str(caught.value)
