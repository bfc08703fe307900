"""The tool for faults, at work: a few of its trials, and that it sees what it is to see."""

import argparse
import json
import shutil
import signal

import pytest

from tests import faults


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A setting, the workdir of its uninterrupted run, and what that has come to."""
    folder, flags = tmp_path_factory.mktemp("faults"), ("--config.steps=120",)
    setting = faults.Setting(folder, steps_per_call=1, flags=flags)
    return setting, *setting.reference()


def test_a_run_killed_in_a_checkpoint_ends_as_one_that_was_not(reference):
    setting, _, outcome = reference
    done = faults.trial(setting, outcome, signal.SIGKILL, faults.Moment(0, "checkpoint", 4, 0.0))
    assert done.problems == []
    assert 80 <= done.step < 120  # it goes on from 40


def test_a_run_stopped_in_an_evaluation_does_it_when_it_goes_on(reference):
    setting, _, outcome = reference
    done = faults.trial(setting, outcome, signal.SIGTERM, faults.Moment(1, "evaluation", 0, 0.0))
    assert done.problems == []
    assert (done.phase, done.step) == ("evaluation", 60)


def test_each_difference_is_seen(reference, tmp_path):
    _, straight, outcome = reference
    assert faults.differences(outcome, straight) == []
    workdir = tmp_path / "run"

    def copy():
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(straight, workdir)
        return workdir

    metrics = copy() / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    for text in (lines[:-1], [*lines, lines[-1]], [*lines[:-1], lines[-1][:-9]]):
        metrics.write_text("".join(text))
        assert faults.differences(outcome, workdir) != []
    last = json.loads(lines[-1])
    metrics.write_text("".join(lines[:-1]) + json.dumps({**last, "seconds": 1e9}) + "\n")
    assert faults.differences(outcome, workdir) == []
    metrics.write_text("".join(lines[:-1]) + json.dumps({**last, "d_loss": 0.0}) + "\n")
    assert faults.differences(outcome, workdir) == ["metrics.jsonl"]

    (copy() / "samples" / "00000040.png").unlink()
    assert faults.differences(outcome, workdir) == ["samples/00000040.png"]
    (copy() / "samples" / ".00000040.png.7.partial").touch()
    assert "files left over" in faults.differences(outcome, workdir)
    shutil.rmtree(copy() / "checkpoints" / "last" / "120")
    assert "checkpoints/last" in faults.differences(outcome, workdir)
    manifest = copy() / "checkpoints" / "last" / "80" / "manifest.json"
    manifest.unlink()
    assert "no manifest.json" in faults.differences(outcome, workdir)[0]


@pytest.mark.slow
@pytest.mark.parametrize("verb", [faults.kill, faults.stop, faults.damage, faults.disk])
def test_a_verb_finds_nothing_wrong(verb, options):
    found = verb(options)
    if found is None:
        pytest.skip("it needs the right to mount a small disk")
    assert found


@pytest.mark.slow
def test_a_run_whose_loss_is_nan_leaves_what_it_must(options, capsys):
    assert faults.nan(options)
    out = capsys.readouterr().out
    assert out.count("error: step 131: d_loss is nan") == 2
    assert "step 131: d_loss is nan; back to step 120, attempt 3" in out


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(options, capsys):
    assert faults.devices(options)
    assert capsys.readouterr().out.count("that checkpoint was written on 8 x ") == 2


@pytest.fixture
def options(tmp_path):
    """As the command line gives them."""
    return argparse.Namespace(
        folder=tmp_path,
        seed=0,
        trials=10,
        steps_per_call=1,
        cache="host",
        devices=8,
        all=False,
        jobs=1,
    )
