"""Many runs in one program: each is its own run, whatever the way and the devices."""

import json

import jax
import numpy as np
import pytest
from flax import struct
from ml_collections import ConfigDict

from configs import dcgan, gan_mlp, ring
from jaxgan import experiment, loop, parallel, programs, seeds
from jaxgan.cli.main import main
from jaxgan.config import tiny, validate, with_values
from jaxgan.errors import UserError


def of(module, **changes):
    config = tiny(module.get_config())
    config.steps, config.evaluate_every = 6, 0
    config.parallel.data = 1
    config.log_every = config.sample_every = config.checkpoint_every = 6
    return with_values(config, {key.replace("__", "."): value for key, value in changes.items()})


def trained(config, workdir):
    assert loop.train(config, workdir) == 0
    return experiment.load_run(workdir)[2]


def params(state):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.ema.params)])


def lines(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


def run(config):
    """The state and the metrics after six steps in one call."""
    config, dataset = experiment.prepare(config)
    algorithm, mesh = experiment.build(config), experiment.make_mesh(config)
    with jax.set_mesh(mesh):
        feed = experiment.make_feed(config, algorithm, dataset)
        inputs = parallel.place(mesh, feed.inputs(0, 6), **programs.axes(feed))
        resident = parallel.place(mesh, feed.resident)
        state = programs.initial_state(config, algorithm, mesh)
        start = params(state)
        of_call = config, algorithm, mesh, feed, state, resident, inputs
        state, metrics = programs.compile_call(*of_call)(state, resident, inputs, None)
        return start, state, jax.device_get(metrics)


ALONE = {}


@pytest.mark.parametrize(
    ("module", "way", "devices"),
    [
        (gan_mlp, "vmap", 1),
        pytest.param(gan_mlp, "map", 1, marks=pytest.mark.slow),
        pytest.param(dcgan, "map", 1, marks=pytest.mark.slow),
        pytest.param(gan_mlp, "vmap", 2, marks=pytest.mark.slow),
        (dcgan, "map", 4),
        (gan_mlp, "vmap", 8),
    ],
)
def test_each_seed_is_its_own_run(module, way, devices):
    several = of(module, seed=3, seeds=4, parallel__seeds=way, parallel__data=devices)
    _, state, metrics = run(several)
    number = 2
    if module not in ALONE:
        ALONE[module] = run(of(module, seed=3 + number))
    start, alone, theirs = ALONE[module]
    own = seeds.member_of(state, number)
    apart, moved = np.abs(params(own) - params(alone)).max(), np.abs(params(alone) - start).max()
    assert moved > 1e-4
    assert apart < (1e-5 if way == "map" else 1e-3) * moved
    for name, values in theirs.items():
        np.testing.assert_allclose(metrics[name][:, number], values, rtol=1e-3, atol=1e-5)
    assert np.abs(params(seeds.member_of(state, 1)) - params(own)).max() > 1e-3


def test_swept_numbers_train_as_if_they_were_alone(tmp_path):
    of_rate = {"generator": {"learning_rate": (1e-4, 1e-2)}}
    sweep = ConfigDict({"penalties": {"r1": (0.0, 10.0)}, "optimizer": of_rate})
    trained(of(ring, seeds=2, sweep=sweep), tmp_path / "all")
    found = []
    for number, (r1, rate, seed) in enumerate(
        (r1, rate, seed) for rate in (1e-4, 1e-2) for r1 in (0.0, 10.0) for seed in (0, 1)
    ):
        config, _, state = experiment.load_run(tmp_path / "all", member=number)
        assert (config.penalties.r1, config.seed) == (r1, seed)
        assert config.optimizer.generator.learning_rate == rate
        found.append(params(state))
    config = of(ring, seed=1, penalties__r1=10.0, optimizer__generator__learning_rate=1e-2)
    np.testing.assert_allclose(params(trained(config, tmp_path / "one")), found[-1], atol=1e-5)
    apart = [np.abs(a - b).max() for a in found for b in found if a is not b]
    assert min(apart) > 1e-5
    names = {path.name for path in (tmp_path / "all" / "samples").glob("00000006_*")}
    wanted = "00000006_seed1_optimizer.generator.learning_rate=0.01_penalties.r1=10.0.png"
    assert len(names) == 8
    assert wanted in names


def test_a_stopped_run_of_several_goes_on_to_the_bit(tmp_path):
    config = of(gan_mlp, seeds=3)
    whole = trained(config, tmp_path / "whole")
    trained(of(gan_mlp, seeds=3, steps=2), tmp_path / "parts")
    parts = trained(config, tmp_path / "parts")
    assert np.array_equal(params(whole), params(parts))
    assert [line["step"] for line in lines(tmp_path / "parts")] == [2, 6]


def test_evaluation_and_curves_of_several(tmp_path):
    config = of(ring, seeds=3, evaluate_every=6, best_metric="sliced_wasserstein")
    config.evaluation.metrics = "modes,sliced_wasserstein"
    config.parallel.data = 6  # each seed has two devices
    trained(config, tmp_path / "run")
    config.steps = 8
    trained(config, tmp_path / "run")
    last = lines(tmp_path / "run")[-1]
    assert len(last["seeds"]["modes"]) == 3
    assert last["modes"] == pytest.approx(np.mean(last["seeds"]["modes"]))
    assert (tmp_path / "run" / "curves.png").stat().st_size > 10_000
    assert (tmp_path / "run" / "checkpoints" / "best").is_dir()


def test_one_broken_seed_is_skipped_and_named(tmp_path, capsys):
    of_rate = {"discriminator": {"learning_rate": (1e-3, 1e30)}}
    sweep = ConfigDict({"optimizer": of_rate})
    broken = of(gan_mlp, sweep=sweep, on_nonfinite="skip", nonfinite_attempts=100)
    good = of(gan_mlp, optimizer__discriminator__learning_rate=1e-3)
    trained(broken, tmp_path / "all")
    assert "seed0 optimizer.discriminator.learning_rate=1e+30: " in capsys.readouterr().out
    alone = params(trained(good, tmp_path / "one"))
    np.testing.assert_allclose(params(experiment.load_run(tmp_path / "all")[2]), alone, atol=1e-6)
    assert lines(tmp_path / "all")[-1]["skipped"] > 0
    with pytest.raises(UserError, match=r"step \d: seed0 optim.*=1e\+30: "):
        loop.train(of(gan_mlp, sweep=sweep), tmp_path / "stop")
    again = of(gan_mlp, sweep=sweep, on_nonfinite="restore", nonfinite_attempts=1)
    with pytest.raises(UserError, match=r"seed0 optim.*=1e\+30: .*after 1 attempt"):
        loop.train(again, tmp_path / "restore")


def test_verbs_take_a_member(tmp_path, capsys):
    trained(of(ring, seeds=2), tmp_path / "run")
    draw = ["sample", "--workdir", str(tmp_path / "run"), "--num", "8", "--out"]
    for member in ("0", "1"):
        assert main([*draw, str(tmp_path / f"{member}.npy"), "--member", member]) == 0
    first, second = (np.load(tmp_path / f"{member}.npy") for member in ("0", "1"))
    assert np.abs(first - second).max() > 1e-3
    measure = ["evaluate", "--workdir", str(tmp_path / "run"), "--samples", "64", "--seeds", "1"]
    assert main([*measure, "--metrics", "modes", "--member", "1"]) == 0  # on all devices
    assert main([*draw, str(tmp_path / "x.npy"), "--member", "2"]) == 2
    assert "--member: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seeds": 0}, "seeds: 0 is not allowed"),
        ({"seeds": 2, "parallel__mode": "replica"}, "seeds: the devices share the seeds"),
        ({"sweep": {"n_critic": (1, 2)}}, "sweep: n_critic cannot be swept"),
        ({"sweep": {"augment": {"p": (0.1, 0.2)}}}, "sweep: augment.p cannot be swept"),
        (
            {"sweep": {"penalties": {"r1": 3.0}}},
            "sweep: penalties.r1 takes a list of different numbers",
        ),
        ({"sweep": {"penalties": {"r1": (1.0, 1.0)}}}, "sweep: penalties.r1 takes a list"),
        ({"sweep": {"penalties": {"r1": ([1.0], 2.0)}}}, "sweep: penalties.r1: .1.0. is not"),
        ({"sweep": {"penalties": {"r1": {"every": (1, 2)}}}}, "sweep: penalties.r1.every cannot"),
        ({"sweep": {"penalties": {"r11": (1.0, 2.0)}}}, "penalties: there is no 'r11'"),
        ({"seed": 2**32 - 1, "seeds": 2}, "seed: with seeds=2 it is at most"),
        ({"sweep": {"penalties": {"r1": (-1.0, 1.0)}}}, "sweep: penalties.r1: -1.0 is not allowed"),
    ],
)
def test_mistakes(tmp_path, changes, text):
    changes = {k: ConfigDict(v) if isinstance(v, dict) else v for k, v in changes.items()}
    config = of(gan_mlp, **changes)
    with pytest.raises(UserError, match=text):
        validate(config)
        loop.train(config, tmp_path)


def test_members_are_all_combinations():
    found = seeds.members(5, 2, {"a.b": (1.0, 2.0)})
    assert [member.name for member in found] == [
        "seed5 a.b=1.0",
        "seed6 a.b=1.0",
        "seed5 a.b=2.0",
        "seed6 a.b=2.0",
    ]
    assert [member.name for member in seeds.members(0, 1, {})] == ["seed0"]


def test_after_a_fault_one_member_gets_another_key():
    class State(struct.PyTreeNode):
        key: jax.Array

    keys = jax.random.split(jax.random.key(0), 3)
    data = lambda state: np.asarray(jax.random.key_data(state.key))  # noqa: E731
    moved = data(seeds.with_other_keys(State(keys), 2, 1))
    before = data(State(keys))
    assert np.array_equal(moved[[0, 2]], before[[0, 2]])
    own = jax.random.fold_in(keys[1], 2)
    assert np.array_equal(moved[1], jax.random.key_data(own))
    assert not np.any(np.all(data(seeds.with_other_keys(State(keys), 2, None)) == before, 1))
    alone = data(seeds.with_other_keys(State(keys[1]), 2, 0))
    assert np.array_equal(alone, jax.random.key_data(own))
