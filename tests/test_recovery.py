"""What a run survives, in one process: numbers that are none, damage, stops, another device count.

Kills are in test_faults.py.
"""

import contextlib
import dataclasses
import itertools
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxgan import experiment, loop, programs, writer
from jaxgan.algorithms.gan import GAN
from jaxgan.checkpoint import Checkpoints
from jaxgan.cli.main import main
from jaxgan.errors import UserError
from tests.test_train import arrays, assert_same_run, contents, finished, small

__all__ = ["finished"]  # the fixture


def history(workdir):
    return [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]


def steps(workdir, kind="last"):
    return sorted(int(path.name) for path in (workdir / "checkpoints" / kind).iterdir())


# --------------------------------------------------------------------------------------------------
# Numbers that are none


@pytest.fixture
def broken_at(monkeypatch):
    """A function that makes the discriminator's loss NaN at a step, where the key is a given one if
    that is told; `gradient` leaves the loss's value as it is."""
    step = GAN.step

    def install(number, key=None, gradient=False):
        def broken_step(self, state, batch):
            here = jnp.any(state.step == number)
            if key is not None:
                here &= jnp.all(jax.random.key_data(state.key) == jax.random.key_data(key))
            original = self.loss.discriminator

            def discriminator(real, fake):
                if gradient:  # the slope of the root is infinite at 0, and 0 x inf is NaN
                    nothing = jnp.sqrt(jnp.where(here, jnp.sum(real - real), 1.0))
                    return original(real, fake) + nothing - jax.lax.stop_gradient(nothing)
                return original(real, fake) + jnp.where(here, jnp.nan, 0.0)

            loss = self.loss._replace(discriminator=discriminator)
            return step(dataclasses.replace(self, loss=loss), state, batch)

        monkeypatch.setattr(GAN, "step", broken_step)

    return install


def assert_finite(workdir):
    for name, leaf in arrays(workdir).items():
        assert np.isfinite(leaf).all(), name


@pytest.mark.parametrize("gradient", [False, True])
def test_a_loss_or_gradient_that_is_none_stops_the_run(gradient, broken_at, tmp_path):
    broken_at(6, gradient=gradient)  # the seventh step
    what = "the gradient of the discriminator is not finite in" if gradient else "d_loss is nan"
    with pytest.raises(
        UserError, match=f"^step 7: {what}.*; the last good checkpoint is of step 4; "
    ):
        loop.train(small(), tmp_path / "run")
    assert steps(tmp_path / "run") == [4]
    assert_finite(tmp_path / "run")
    assert [line["step"] for line in writer.read_metrics(tmp_path / "run")] == [2, 4, 6]


def assert_close(a, b):
    """Equal but for the order of additions, which another program or device count may change."""
    there, here = arrays(a), arrays(b)
    for name in there:
        np.testing.assert_allclose(here[name], there[name], rtol=2e-4, atol=2e-6, err_msg=name)


def test_where_nothing_broke_skipping_changes_nothing(finished, tmp_path):
    assert loop.train(small("on_nonfinite=skip"), tmp_path / "run") == 0
    assert_close(finished, tmp_path / "run")
    assert [line["skipped"] for line in writer.read_metrics(tmp_path / "run")] == [0] * 4


def test_a_step_is_skipped(finished, broken_at, tmp_path, capsys):
    broken_at(6)
    assert loop.train(small("on_nonfinite=skip"), tmp_path / "run") == 0
    assert "step 7: d_loss is nan; skipped, 1 so far" in capsys.readouterr().out
    assert_finite(tmp_path / "run")
    here, there = arrays(tmp_path / "run"), arrays(finished)
    assert here[".step"] == 8
    assert any(np.any(here[name] != there[name]) for name in here)
    lines = writer.read_metrics(tmp_path / "run")
    assert [line["skipped"] for line in lines] == [0, 0, 0, 1]
    assert np.isfinite([line["d_loss"] for line in lines]).all()
    (skipped,) = [event for event in history(tmp_path / "run") if event["event"] == "skipped"]
    assert skipped["reason"] == "step 7: d_loss is nan"


def test_a_skipped_step_changes_only_the_steps_number(broken_at, tmp_path):
    broken_at(5)
    settings = small("on_nonfinite=skip", "steps_per_call=1", "checkpoint_every=1", "steps=6")
    assert loop.train(settings, tmp_path / "run") == 0
    before, after = (arrays(tmp_path / "run", step) for step in (5, 6))
    assert {name for name in before if np.any(before[name] != after[name])} == {".step"}
    last = writer.read_metrics(tmp_path / "run")[-1]
    assert (last["step"], last["skipped"]) == (6, 1)
    assert last["d_loss"] is None  # no step of that call was good


def test_too_many_skipped_steps_stop_the_run(broken_at, tmp_path):
    broken_at(jnp.arange(4, 8))  # an array: any of them
    with pytest.raises(
        UserError, match=r"^step 7: .*, after 2 skipped steps; .*on_nonfinite=restore"
    ):
        loop.train(small("on_nonfinite=skip", "nonfinite_attempts=3"), tmp_path / "run")


def first_key(settings):
    resolved, _ = experiment.prepare(settings)
    return experiment.build(resolved).init(jax.random.key(settings.seed)).key


def test_a_checkpoint_is_restored_and_other_latents_drawn(finished, broken_at, tmp_path, capsys):
    settings = small("on_nonfinite=restore")
    broken_at(6, key=first_key(settings))
    assert loop.train(settings, tmp_path / "run") == 0
    assert "step 7: d_loss is nan; back to step 4, attempt 1" in capsys.readouterr().out
    assert_finite(tmp_path / "run")
    lines, straight = (writer.read_metrics(run) for run in (tmp_path / "run", finished))
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert [a["d_loss"] == b["d_loss"] for a, b in zip(lines, straight, strict=True)] == (
        [True, True, False, False]
    )
    key = jax.random.fold_in(first_key(settings), 1)
    np.testing.assert_array_equal(arrays(tmp_path / "run")[".key"], jax.random.key_data(key))
    manifest = Checkpoints(tmp_path / "run" / "checkpoints" / "last")
    assert [manifest.info(step)["attempts"] for step in (4, 8)] == [0, 1]
    manifest.close()


def test_restoring_ends_after_so_many_attempts(broken_at, tmp_path, capsys):
    broken_at(6)
    with pytest.raises(UserError, match=r"^step 7: d_loss is nan, after 2 attempts; .* step 4; "):
        loop.train(small("on_nonfinite=restore", "nonfinite_attempts=2"), tmp_path / "run")
    assert capsys.readouterr().out.count("back to step 4") == 2
    assert steps(tmp_path / "run") == [4]


def test_a_state_that_is_not_finite_is_not_saved(monkeypatch, tmp_path):
    step = GAN.step

    def broken_step(self, state, batch):  # losses and gradients stay finite to the end
        state, metrics = step(self, state, batch)
        opt = jax.tree.map(
            lambda x: jnp.where(state.step == 8, jnp.inf, x), state.discriminator.opt
        )
        return state.replace(discriminator=state.discriminator.replace(opt=opt)), metrics

    monkeypatch.setattr(GAN, "step", broken_step)
    settings = small()
    for role in ("generator", "discriminator"):  # whose optimiser has floats only
        settings.optimizer[role].name = "sgd"
    with pytest.raises(
        UserError, match=r"^step 8: discriminator/opt/.* is not finite; .* step 4; "
    ):
        loop.train(settings, tmp_path / "run")
    assert steps(tmp_path / "run") == [4]


def test_a_stop_does_not_change_where_a_restored_run_goes_back_to(broken_at, tmp_path, capsys):
    settings = small("on_nonfinite=restore")
    broken_at(6, key=first_key(settings))
    assert loop.train(settings, tmp_path / "straight") == 0
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.signals, "caught", lambda: _caught([15]))
        patch.setattr(loop._Training, "to_the_end", stopped_at(6))
        assert loop.train(settings, tmp_path / "run") == 128 + 15
    assert steps(tmp_path / "run") == [4, 6]
    assert loop.train(settings, tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "going on from step 6" in out
    assert "back to step 4, attempt 1" in out
    assert_same_run(tmp_path / "straight", tmp_path / "run")


def test_the_first_of_several_critic_updates_that_breaks_is_told(broken_at, tmp_path):
    broken_at(6, gradient=True)
    with pytest.raises(
        UserError, match=r"^step 7: the gradient of the discriminator is not finite"
    ):
        loop.train(small("n_critic=3"), tmp_path / "run")


# --------------------------------------------------------------------------------------------------
# Damage, stops, the best checkpoint


@pytest.fixture
def cut(tmp_path):
    """The workdir of `small()` trained to step 6, with checkpoints of 2, 4 and 6."""
    assert loop.train(small("steps=6", "checkpoint_every=2"), tmp_path / "run") == 0
    return tmp_path / "run"


def damage(folder):
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)


def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(finished, cut, capsys):
    damage(cut / "checkpoints" / "last" / "6")
    assert main(["sample", "--workdir", str(cut), "--num", "1", "--out", f"{cut}.npy"]) == 0
    captured = capsys.readouterr()
    assert re.search(r"^warning: \S+last/6: the file \S+ is not as it was saved; ", captured.err)
    assert "1 images of step 4" in captured.out
    assert loop.train(small(), cut) == 0
    out = capsys.readouterr().out
    moved = cut.resolve() / "checkpoints" / "damaged" / "last-6"
    assert re.search(
        rf"^damaged: \S+last/6: the file .* as it was saved; moved to {moved}$", out, re.M
    )
    assert "going on from step 4 of 8" in out
    assert moved.is_dir()
    assert_same_run(finished, cut)
    assert [e["step"] for e in history(cut) if e["event"] == "damaged"] == [6]


def test_where_all_are_damaged_nothing_is_changed(cut):
    for folder in (cut / "checkpoints" / "last").iterdir():
        damage(folder)
    before = contents(cut)
    with pytest.raises(UserError, match=r"no checkpoint is whole; nothing was changed: .*last/6: "):
        loop.train(small(), cut)
    assert contents(cut) == before


@pytest.mark.parametrize("at", [4, 8])
def test_a_stop_does_not_wait_for_an_evaluation(at, finished, tmp_path, monkeypatch, capsys):
    received = []
    evaluation = programs.make_evaluation

    def make_evaluation(*arguments):
        evaluate = evaluation(*arguments)

        def evaluate_until(state, stopped):
            if int(state.step) == at:
                received.append(15)
            return evaluate(state, stopped)

        return evaluate_until

    with monkeypatch.context() as patch:
        patch.setattr(programs, "make_evaluation", make_evaluation)
        patch.setattr(loop.signals, "caught", lambda: _caught(received))
        assert loop.train(small(), tmp_path / "run") == 128 + 15
        assert f"stopped after step {at}; the checkpoint is written." in capsys.readouterr().out
        assert steps(tmp_path / "run")[-1] == at
        assert writer.read_metrics(tmp_path / "run")[-1]["step"] == at - 2
        received.clear()
    assert loop.train(small(), tmp_path / "run") == 0
    assert_same_run(finished, tmp_path / "run")
    assert loop.train(small(), tmp_path / "run") == 0
    assert "This run is finished" in capsys.readouterr().out


def stopped_at(step):
    """Training that a signal stops after that step."""
    to_the_end = loop._Training.to_the_end

    def train(self):
        self.run.stopped = programs.Stop(lambda: 15 if self.step >= step else 0, self.run.mesh)
        return to_the_end(self)

    return train


def _caught(received):
    return contextlib.nullcontext(lambda: received[0] if received else 0)


def test_the_best_checkpoint_is_that_of_the_least_distance(tmp_path, monkeypatch, capsys):
    scores = {2: 3.0, 4: 1.0, 6: float("nan"), 8: 2.0}

    def make_evaluation(*arguments):
        return lambda state, stopped: [{"sliced_wasserstein": scores[int(state.step)]}]

    monkeypatch.setattr(programs, "make_evaluation", make_evaluation)
    seen = []
    for last in (2, 4, 6, 8):
        assert loop.train(small(f"steps={last}", "evaluate_every=2"), tmp_path / "run") == 0
        seen += steps(tmp_path / "run", "best")
    assert seen == [2, 4, 4, 4]
    written = [line["sliced_wasserstein"] for line in writer.read_metrics(tmp_path / "run")]
    assert written == [3.0, 1.0, None, 2.0]
    out = str(tmp_path / "a.npy")
    command = ["sample", "--workdir", str(tmp_path / "run"), "--num", "1", "--out", out]
    assert main([*command, "--step", "best"]) == 0
    assert "1 images of step 4" in capsys.readouterr().out


def test_of_coverage_the_best_is_the_most(tmp_path, monkeypatch):
    scores = {2: 0.3, 4: 0.7, 6: 0.5, 8: 0.6}

    def make_evaluation(*arguments):
        return lambda state, stopped: [{"coverage": scores[int(state.step)]}]

    monkeypatch.setattr(programs, "make_evaluation", make_evaluation)
    settings = "evaluation.metrics=prdc", "best_metric=coverage", "evaluate_every=2"
    assert loop.train(small(*settings), tmp_path / "run") == 0
    assert steps(tmp_path / "run", "best") == [4]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("best_metric=coverage",), "best_metric: there is no 'coverage'"),
        (("evaluation.metrics=prdc", "best_metric=density"), "best_metric: there is no 'density'"),
        (("evaluation.metrics=prdc,frechett",), "evaluation.metrics: there is no 'frechett'"),
        (("evaluation.metrics=cas", "best_metric=cas"), "cas is of classes, and the samples are"),
    ],
)
def test_evaluations_that_cannot_be_are_refused_first(settings, reason, tmp_path):
    with pytest.raises(UserError, match=reason):
        loop.train(small(*settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_best_is_that_of_the_path_the_run_is_on(cut, monkeypatch):
    """`cut` has been at step 4 once; it goes there again."""
    manifest = cut / "checkpoints" / "best" / "4" / "manifest.json"

    def again_from_2():
        (cut / "checkpoints" / "last" / "4").rename(cut / "gone")
        shutil.rmtree(cut / "gone")
        assert loop.train(small("steps=4", "checkpoint_every=2"), cut) == 0
        return json.loads(manifest.read_text())["content"]["info"]["value"]

    shutil.rmtree(cut / "checkpoints" / "last" / "6")
    if not manifest.exists():  # step 6 was better: what it is is known at 4 only when it is gone
        shutil.rmtree(cut / "checkpoints" / "best")
    value = again_from_2()
    assert value == writer.read_metrics(cut)[-1]["sliced_wasserstein"]
    written = manifest.stat().st_mtime_ns
    assert again_from_2() == value
    assert manifest.stat().st_mtime_ns == written  # the same: left where it is
    worse = [{"sliced_wasserstein": value + 1}]
    monkeypatch.setattr(programs, "make_evaluation", lambda *_: lambda state, stopped: worse)
    assert again_from_2() == value + 1


def test_a_run_without_evaluations_has_no_best(tmp_path, capsys):
    assert loop.train(small("evaluate_every=0", "steps=2"), tmp_path / "run") == 0
    assert not (tmp_path / "run" / "checkpoints" / "best").exists()
    command = ["sample", "--workdir", str(tmp_path / "run"), "--out", str(tmp_path / "a.png")]
    assert main([*command, "--step", "best"]) == 2
    assert "best holds no checkpoint; train the run with evaluate_every" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# Other settings, other devices


def test_changed_settings_are_told_and_recorded(cut, capsys):
    assert loop.train(small("checkpoint_every=2"), cut) == 0
    assert "steps was 6 and is 8 from here on" in capsys.readouterr().out
    started = [event for event in history(cut) if event["event"] == "start"]
    assert [event["step"] for event in started] == [0, 6]
    assert started[0]["changed"] == {}
    assert started[1]["changed"]["steps"] == [6, 8]
    assert [event["event"] for event in history(cut)] == ["start", "finished"] * 2
    assert all(2**25 < event["peak_memory"] < 2**40 for event in history(cut)[1::2])  # bytes


def test_another_number_of_devices_goes_on_and_says_so(finished, tmp_path, capsys):
    for last, devices in ((4, 8), (6, 1), (8, 8)):
        settings = small(f"steps={last}", f"parallel.data={devices}", "checkpoint_every=2")
        assert loop.train(settings, tmp_path / "run") == 0
    out = capsys.readouterr().out
    for there, here in ((8, 1), (1, 8)):
        pattern = rf"written on {there} x cpu with jax \S+, this is {here} x cpu .*not to the bit"
        assert re.search(pattern, out)
    assert_close(finished, tmp_path / "run")


def test_a_second_process_is_refused(finished, tmp_path):
    from jaxgan import workdir

    before = contents(finished)
    with workdir.held(finished), pytest.raises(UserError, match=r"in use by process \d+ on "):
        loop.train(small(), finished)
    assert contents(finished) == before


def test_a_run_whose_checkpoints_are_gone_is_not_begun_again(cut, tmp_path):
    (cut / "checkpoints").rename(tmp_path / "elsewhere")
    before = contents(cut)
    with pytest.raises(
        UserError, match=r"last holds no checkpoint, though the run got to step 6; "
    ):
        loop.train(small("checkpoint_every=2"), cut)
    after = contents(cut)
    assert after == before
    shutil.rmtree(cut / "checkpoints")
    (tmp_path / "elsewhere").rename(cut / "checkpoints")
    assert loop.train(small(), cut) == 0


def test_an_earlier_versions_run_is_left_as_it_is(cut):
    for folder in (cut / "checkpoints" / "last").iterdir():
        folder.rename(cut / "checkpoints" / folder.name)
    resolved = json.loads((cut / "config.json").read_text())
    for key in ("best_metric", "on_nonfinite", "nonfinite_attempts"):
        del resolved[key]
    (cut / "config.json").write_text(json.dumps(resolved))
    before = contents(cut)
    with pytest.raises(UserError, match="holds an earlier version's checkpoints"):
        loop.train(small(), cut)
    assert contents(cut) == before


def test_a_damaged_config_is_named(cut, capsys):
    resolved = json.loads((cut / "config.json").read_text())
    for broken, named in (
        ({**resolved, "derived": {}}, "is not a run's folder"),
        ({**resolved, "seed": -1}, "another version's: seed: -1 is not allowed"),
        ({k: v for k, v in resolved.items() if k != "loss"}, "loss: this key is missing"),
    ):
        (cut / "config.json").write_text(json.dumps(broken))
        with pytest.raises(UserError, match=named):
            loop.train(small(), cut)
        assert main(["sample", "--workdir", str(cut), "--out", f"{cut}.npy"]) == 2
        assert named in capsys.readouterr().err


@pytest.mark.parametrize("step", range(9))
@pytest.mark.parametrize("steps_per_call", [1, 2, 3, 5, 20])
def test_the_programs_are_those_that_the_calls_take(step, steps_per_call):
    for steps in range(1, 17):
        settings = ConfigDict({"steps": steps, "steps_per_call": steps_per_call})
        calls = {count for _, count in programs.calls(settings, step)}
        assert programs.counts(settings, step) == calls or step > steps


def test_a_long_run_begins_as_soon_as_a_short_one(monkeypatch):
    """Which programs it takes is not found out by going through its calls."""
    calls = programs.calls
    monkeypatch.setattr(programs, "calls", lambda *where: itertools.islice(calls(*where), 3))
    settings = ConfigDict({"steps": 10**9 + 7, "steps_per_call": 20})
    assert programs.counts(settings, 5) == {15, 20, 7}


def test_an_unknown_metric_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"^best_metric: there is no 'fid'"):
        loop.train(small("best_metric=fid"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_lines_are_on_the_disk_before_the_checkpoint_that_follows_them(tmp_path, monkeypatch):
    order, save = [], Checkpoints.save
    monkeypatch.setattr(writer.Writer, "sync", lambda self: order.append(self.lines[-1]["step"]))
    monkeypatch.setattr(
        Checkpoints,
        "save",
        lambda self, step, *a, **k: order.append(-step) or save(self, step, *a, **k),
    )
    assert loop.train(small("evaluate_every=0"), tmp_path / "run") == 0
    assert order == [4, -4, 8, -8]
