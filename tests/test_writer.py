"""What a run writes: grids, whole files or none, metrics that survive a kill, and the progress."""

import io
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from jaxgan import writer
from jaxgan.errors import UserError


def line(step, **more):
    values = {"d_loss": 1.0, "g_loss": 0.5, "real_logit": 0.1, "fake_logit": -0.1}
    return {"step": step, "seconds": step / 10, **values, **more}


def test_grid_layout():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 3), np.uint8)
    grid = writer.grid(images, columns=2)
    assert grid.shape == (2 + 3 * (3 + 2), 2 + 2 * (4 + 2), 3)
    expected = np.zeros_like(grid)
    for number, (top, left) in enumerate([(2, 2), (2, 8), (7, 2), (7, 8), (12, 2)], start=1):
        expected[top : top + 3, left : left + 4] = number
    np.testing.assert_array_equal(grid, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_pixels(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    writer.write_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == {1: "L", 3: "RGB"}[channels]
        np.testing.assert_array_equal(np.asarray(file).reshape(image.shape), image)


def test_a_json_file_is_readable(tmp_path):
    writer.write_json(tmp_path / "a.json", {"a": [1, 2.5, "x"]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"a": [1, 2.5, "x"]}
    assert text.endswith("}\n")


def fail_after_some_bytes(path):
    with writer.whole_file(path) as partial:
        partial.write_bytes(b"half of")
        raise RuntimeError("killed")


def fail_to_serialise(path):
    writer.write_json(path, object())


@pytest.mark.parametrize("fail", [fail_after_some_bytes, fail_to_serialise])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, fail):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises((RuntimeError, TypeError)):
        fail(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_png_that_fails_midway_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    image = np.zeros((2, 2, 1), np.uint8)
    writer.write_png(path, image)
    before = path.read_bytes()

    def save(self, file, format):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(UserError, match=r"a\.png: cannot be written: No space left on device"):
        writer.write_png(path, image + 1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_named(tmp_path):
    path = tmp_path / "absent" / "a.json"
    with pytest.raises(UserError, match=re.escape(f"{path}: cannot be written: No such file")):
        writer.write_json(path, {})


# --------------------------------------------------------------------------------------------------
# Metrics


def test_metrics_are_there_at_once_and_in_order(tmp_path):
    output = writer.Writer(tmp_path, step=0)
    assert output.lines == []
    for step in (1, 2):
        output.metrics(line(step))
        assert writer.read_metrics(tmp_path)[-1] == line(step)  # before close
    output.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(text) for text in lines] == [line(1), line(2)]


def test_resuming_drops_later_lines_and_a_torn_one(tmp_path):
    whole = "".join(json.dumps(line(step)) + "\n" for step in (2, 4, 6))
    (tmp_path / "metrics.jsonl").write_text(whole + json.dumps(line(8))[:-9])
    assert [each["step"] for each in writer.read_metrics(tmp_path)] == [2, 4, 6]
    output = writer.Writer(tmp_path, step=4)
    assert output.lines == [line(2), line(4)]
    output.metrics(line(6, d_loss=9.0))
    output.close()
    assert writer.read_metrics(tmp_path) == [line(2), line(4), line(6, d_loss=9.0)]
    assert "\n\n" not in (tmp_path / "metrics.jsonl").read_text()


def test_what_is_no_number_is_null(tmp_path):
    output = writer.Writer(tmp_path, step=0)
    output.metrics(line(1, d_loss=None))
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.metrics(line(2, d_loss=float("nan")))
    output.close()
    assert [read["d_loss"] for read in writer.read_metrics(tmp_path)] == [None]
    assert writer.write_curves(tmp_path)


def test_long_labels_fit_on_the_curves(tmp_path):
    losses = {"d_loss": -300_000.0, "real_logit": -0.0003}
    for step, norm in (1, 1.0), (2, 1.1):
        values = {name: step * value for name, value in losses.items()}
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **values, "g_gradient_norm": norm}) + "\n")
    picture = np.asarray(Image.open(writer.write_curves(tmp_path)).convert("L"))
    edges = picture[:3], picture[-3:], picture[:, :3], picture[:, -3:]
    assert picture.min() < 100 and all((edge == 255).all() for edge in edges)


def test_lines_that_are_none_are_passed_over(tmp_path):
    torn = [b"\xff\x00", b"[" * 100_000, b"12", b'{"kimg": 1}', b'{"step": "7"}', b""]
    lines = [json.dumps(line(step)).encode() for step in (1, 2, 2, 3)]
    (tmp_path / "metrics.jsonl").write_bytes(
        b"\n".join([lines[0], *torn, *lines[1:], lines[3][:9]])
    )
    writer.Writer(tmp_path, step=9).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"\n".join([*lines[:2], lines[3], b""])


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    (tmp_path / "samples").mkdir()
    left = [tmp_path / ".metrics.jsonl.123.partial", tmp_path / "samples" / ".1.png.9.partial"]
    for path in [*left, tmp_path / ".mine"]:
        path.touch()
    writer.Writer(tmp_path, step=0).close()
    assert not any(path.exists() for path in left)
    assert (tmp_path / ".mine").exists()


def test_no_metrics_yet(tmp_path):
    assert writer.read_metrics(tmp_path) == []
    assert writer.write_curves(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_samples_are_named_by_step(tmp_path):
    output = writer.Writer(tmp_path, step=0)
    picture = np.full((4, 6, 1), 7, np.uint8)
    output.samples(1000, {"": picture})
    output.samples(2000, {"seed0 a=1": picture, "seed1 a=1": picture})
    output.close()
    names = "00001000.png", "00002000_seed0_a=1.png", "00002000_seed1_a=1.png"
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {*names}
    for name in names:
        with Image.open(tmp_path / "samples" / name) as file:
            assert file.size == (6, 4)


@pytest.mark.parametrize(
    "told, rows",
    [
        ((), 1),
        (("real_logit", "d_accuracy", "g_gradient_norm"), 2),
        (("loss", "reconstruction", "kl", "e_gradient_norm"), 3),
    ],
)
def test_curves_are_a_picture_of_what_is_told(tmp_path, told, rows):
    also = dict.fromkeys(told, 1.0)
    lines = [json.dumps({**line(step), **also}) + "\n" for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    assert writer.write_curves(tmp_path) == tmp_path / "curves.png"
    with Image.open(tmp_path / "curves.png") as file:
        assert file.format == "PNG"
        assert file.size == (1200, 450 * rows)
        assert len(np.unique(np.asarray(file))) > 50  # something is drawn


# --------------------------------------------------------------------------------------------------
# Progress


VALUES = line(50, images_per_second=1234.4)


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys):
    progress = writer.Progress(0, 100)
    progress.say("compiled")
    progress.update(50)
    progress.metrics(VALUES, seconds_left=90.0)
    progress.close()
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "compiled",
        "step      50  d_loss 1.000  g_loss 0.500  1,234 images/s  1.5 min left",
    ]


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = writer.Progress(25, 100)
    progress.say("compiled")
    progress.update(50)
    progress.metrics(VALUES, seconds_left=90.0)
    progress.close()
    shown = terminal.getvalue()
    assert "compiled\n" in shown
    assert re.search(r" 25%\|.*25/100 \[", shown)
    assert re.search(r" 50%\|.*50/100 \[.*<.*d_loss 1\.000, g_loss 0\.500, 1,234 images/s", shown)
    assert capsys.readouterr().out == ""


def test_progress_trains_on_without_a_reader(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    progress = writer.Progress(0, 10)
    progress.say("to nobody")
    assert not isinstance(sys.stdout, Closed)
    progress.say("again")
    sys.stdout.close()
