"""`python -m jaxgan plan`: names, what is known without data, the search, the report; and, where
libtpu is installed, TPU programs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxgan import config, data
from jaxgan.cli.main import main
from jaxgan.data.known import known
from jaxgan.errors import UserError
from jaxgan.planning import chips, fit, plan, report

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / "configs" / "default.py")
SMALL = [
    "--config.model.name=mlp",
    "--config.model.generator.features=(8,)",
    "--config.model.discriminator.features=(8,)",
    "--config.steps_per_call=5",
]


@pytest.fixture(autouse=True)
def own_environment():
    """What `plan` sets for its own process ends with each test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


# --------------------------------------------------------------------------------------------------
# Topologies


def test_topologies_by_name():
    lite, two, cpu = chips.parse("v5e:2x4, v3:2x2,cpu:8")
    assert (lite.devices, two.devices, cpu.devices) == (8, 8, 8)  # v3 has two on a chip
    assert chips.options(lite) == {"chips_per_host_bounds": (2, 4, 1)}
    assert chips.options(two) == {}
    [large, twice] = chips.parse("v5e:4x4,v5p:2x2x2,v5e:4x4")
    assert chips.options(large) == {}  # several hosts
    assert twice.devices == 8
    assert chips.options(chips.parse("v4:2x2x1")[0]) == {"chip_config_name": "megacore"}


def test_chips_are_as_published():
    clocks = {name: round(chip.clock / 1e9, 2) for name, chip in chips.CHIPS.items()}
    assert clocks == {"v2": 0.7, "v3": 0.94, "v4": 1.05, "v5e": 1.5, "v5p": 1.75, "v6e": 1.75}
    for chip in chips.CHIPS.values():
        assert 0.9 * chip.hbm < chip.usable <= chip.hbm
        assert chip.source.startswith("https://")
    # All ports of a chip together, both ways, as Google's pages have it.
    both_ways = {name: 2 * chip.axes * 2 * chip.port for name, chip in chips.CHIPS.items()}
    assert {name: both_ways[name] / 1e9 for name in ("v5e", "v5p", "v6e")} == {
        "v5e": 400,
        "v5p": 1200,
        "v6e": 800,
    }


WRONG_NAMES = {
    "no shape": ("v5e", "v5e:2x4"),
    "chip": ("v5f:2x4", "'v5f'", "v5e", "v6e", "cpu"),
    "zero": ("v5e:0x4", "v5e:0x4"),
    "axes": ("v5e:2x2x2", "v5e:2x2"),
    "few axes": ("v5p:2x2", "v5p:2x2x1"),
    "many CPUs": ("cpu:2x4", "cpu:8"),
    "nothing": ("", "v5e:2x4"),
}


@pytest.mark.parametrize("text_and_named", WRONG_NAMES.values(), ids=WRONG_NAMES)
def test_a_wrong_topology_is_one_sentence(text_and_named, capsys):
    text, *named = text_and_named
    assert main(["plan", "--config", CONFIG, f"--topology={text}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: --topology")
    assert err.count("\n") == 1
    for each in named:
        assert each in err


def test_without_the_compiler_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["plan", "--config", CONFIG, "--topology=v5e:1x1"]) == 2
    assert 'pip install "jaxgan[plan]"' in capsys.readouterr().err


def test_more_fake_devices_than_there_are(capsys):
    assert main(["plan", "--config", CONFIG, "--topology=cpu:16", *SMALL]) == 2
    assert "cpu:16 takes 16 fake devices" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# Data that are not here


@pytest.mark.parametrize(
    ("arguments", "shape", "classes", "examples"),
    [
        (("cifar10",), (32, 32, 3), 10, 50_000),
        (("cifar100", "test[:50%]"), (32, 32, 3), 100, 10_000),
        (("mnist", "train", 32), (32, 32, 1), 10, 60_000),
        (("fashion_mnist_mini", "test"), (28, 28, 1), 10, 2_000),
        (("ring",), (2,), 8, 0),
        (("stacked_mnist",), (28, 28, 3), 1000, 0),
        (("tfds:oxford_flowers102", "train", 64), (64, 64, 3), 102, 0),
        (("tfds:svhn_cropped",), (32, 32, 3), 10, 0),
        (("folder", "train", 64, "", "", 7), (64, 64, 3), 7, 0),
        (("folder", "train", 64), (64, 64, 3), 0, 0),
    ],
)
def test_what_is_known_of_absent_data(arguments, shape, classes, examples):
    found = known(*arguments)
    assert (found.shape, len(found.class_names), found.num_examples) == (shape, classes, examples)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("folder",), "--config.data.image_size=64"),
        (("tfds:oxford_flowers102",), "--config.data.image_size=64"),
        (("tfds:no_such_set",), "--config.data.image_size=64"),
        (("mnits",), "'mnist'"),
        (("cifar10", "tset"), "data.split"),
        (("cifar10", "train", 0, "", "", 7), "--classes: cifar10 has 10"),
    ],
)
def test_what_is_not_known_is_asked_for(arguments, named):
    with pytest.raises(UserError, match=named.replace("(", r"\(")):
        known(*arguments)


@pytest.mark.parametrize("cache", ["device", "host", "none"])
def test_absent_images_arrive_as_present_ones_would(cache):
    settings = {"flip": True, "seed": 0, "minibatches": 2, "batch_size": 8}
    here = data.open_set("fashion_mnist_mini", "test").feed(cache=cache, **settings)
    absent = known("fashion_mnist_mini", "test")
    names = absent.class_names
    there = plan.Absent((28, 28, 1), names, 2_000).feed(cache=cache, **settings)

    def shapes(feed):
        arrays = {**feed.resident, **feed.inputs(0, 3)}
        return {name: (array.shape, array.dtype) for name, array in arrays.items()}

    assert shapes(here) == shapes(there)


# --------------------------------------------------------------------------------------------------
# The largest batch


def line(slope, start, room, calls=None, noise=0.0):
    def need(batch):
        if calls is not None:
            calls.append(batch)
        return fit.Need(int(start + slope * batch * (1 + noise * (batch % 3))), room)

    return need


@pytest.mark.parametrize("start", [8, 64, 5_000])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_largest_batch_is_found_in_few_compilations(start, noise):
    calls = []
    found = fit.largest(line(3, 100, 5_000, calls, noise), 8, start, most=2**20)
    exact = max(b for b in range(64, 3000, 64) if line(3, 100, 5_000)(b).fits)
    assert found.largest % 64 == 0  # eight on each of eight devices
    assert 0.97 * exact <= found.largest <= exact or noise
    assert found.tries[found.largest].fits
    assert found.refused == 0 or found.refused > found.largest
    assert found.refused == 0 or not found.tries[found.refused].fits
    assert len(calls) == len(set(calls)) <= 7


def test_the_search_ends_at_the_data_and_where_nothing_fits():
    found = fit.largest(line(1, 0, 10**9), 8, 64, most=1003)
    assert (found.largest, found.refused) == (960, 0)
    found = fit.largest(line(1, 0, 45), 8, 64, most=1000)
    assert (found.largest, found.refused) == (40, 48)  # five on each
    found = fit.largest(line(1, 100, 50), 8, 64, most=1000)
    assert (found.largest, found.refused) == (0, 8)
    assert "no batch fits; one of 8" in report.fitting("v5e:1x1", found, 1000)


# --------------------------------------------------------------------------------------------------
# The verb, for this machine's CPU


def planned(tmp_path, *arguments, topology="cpu:8", code=0):
    out = tmp_path / "plan.json"
    assert main(
        ["plan", "--config", CONFIG, f"--topology={topology}", f"--out={out}", *arguments]
    ) == (code)
    return json.loads(out.read_text())["plans"]


def test_a_plan_for_fake_devices(tmp_path, capsys):
    one, eight = planned(tmp_path, *SMALL, "--batch_size=32", topology="cpu:1,cpu:8")
    text = capsys.readouterr().out
    assert "compiled in" in text
    assert "not run: 5 steps in one call, batch 32, 4 on each" in text
    assert "host callbacks: none, float64: none" in text
    assert text.count("cpu:8") == 2  # the details and the table
    assert not one["collectives"]
    assert {each["devices"] for each in eight["collectives"]} == {8}
    assert one["flops"] == 8 * eight["flops"] > 0
    for found in (one, eight):
        assert found["fits"]
        assert not found["ran"]
        assert found["memory"]["donated"] >= found["memory"]["state"] * 0.99
        memory = found["memory"]
        parts = ("arguments", "outputs", "temporaries", "program", "waiting")
        assert memory["peak"] == sum(memory[part] for part in parts) - memory["donated"]
        assert "roofline" not in found
        assert (found["callbacks"], found["float64"], found["uncounted_loops"]) == ([], False, 0)
    # Gradients of all parameters are summed over the devices in each step.
    sent = sum(e["bytes"] for e in eight["collectives"] if e["kind"] == "all-reduce")
    parameters = sum(
        leaf.size
        for player in ("generator", "discriminator")
        for leaf in leaves(small_state(), player)
    )
    assert 4 * parameters <= sent <= 5 * 4 * parameters


def small_state():
    import jax

    overrides = [each.removeprefix("--config.") for each in SMALL]
    resolved, _ = plan.described(config.load(CONFIG, overrides), 0)
    return jax.eval_shape(plan.build(resolved).init, jax.random.key(0))


def leaves(state, player):
    import jax

    return jax.tree.leaves(getattr(state, player).params)


@pytest.mark.slow
def test_a_program_that_cannot_be_read_is_told_with_its_memory(tmp_path, capsys, monkeypatch):
    def unread(compiled):
        raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure\n*** Begin stack trace ***")

    monkeypatch.setattr(jax.stages.Compiled, "as_text", unread)
    [found] = planned(tmp_path, *SMALL, topology="cpu:1")
    assert found["fits"] and found["flops"] > 0 and found["memory"]["peak"] > 0
    assert "collectives" not in found
    last = capsys.readouterr().out.splitlines()[-3]
    assert (
        last
        == "  program       cannot be read, by a newer jaxlib perhaps: INTERNAL: RET_CHECK failure"
    )


def test_accumulation_needs_less_memory_and_precision_is_a_key(tmp_path):
    wide = ["--config.data.name=cifar10", "--config.model.generator.width=8"]
    wide += ["--config.model.discriminator.width=8", "--config.steps_per_call=2"]
    wide += ["--config.data.cache=none", "--batch_size=256", "--config.precision=bfloat16"]
    [whole] = planned(tmp_path, *wide, topology="cpu:1")
    [parts] = planned(tmp_path, *wide, "--config.accumulate=8", topology="cpu:1")
    assert parts["memory"]["temporaries"] < 0.5 * whole["memory"]["temporaries"]
    assert parts["flops"] == whole["flops"]
    assert not whole["data_on_device"]
    # 2 steps of 256 images of 3,072 bytes, of a label and of the step's number; twice as many wait
    assert whole["memory"]["images"] == 2 * (256 * (3072 + 4) + 4)
    assert whole["memory"]["waiting"] == 2 * whole["memory"]["images"]
    assert whole["precision"] == "bfloat16"


MISTAKES = {
    "config": (["--config=nowhere.py"], "nowhere.py"),
    "key": (["--config.stepz=3"], "stepz", "did you mean steps?"),
    "batch": (["--batch_size=12"], "batch_size: 12", "8 devices"),
    "no batch": (["--batch_size=0"], "batch_size"),
    "fewer devices": (["--config.parallel.data=4"], "parallel.data", "4", "all 8"),
    "classes": (
        ["--config.data.name=folder", "--config.data.image_size=32", "--config.conditional=True"],
        "--classes",
    ),
    "size": (["--config.data.name=folder"], "data.image_size"),
    "fit of CPUs": (["--fit"], "--fit", "name a TPU"),
    "out": (["--out=plan.txt"], "--out", "plan.txt"),
    "network": (["--config.data.image_size=27", "--config.model.name=dcgan"], "27"),
}


@pytest.mark.parametrize("given", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(given, capsys):
    arguments, *named = given
    assert main(["plan", "--config", CONFIG, "--topology=cpu:8", *SMALL[:1], *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for each in named:
        assert each in err


def test_other_verbs_take_no_keys(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["sample", "--workdir", "x", "--out", "y", "--config.steps=3"])
    assert stopped.value.code == 2
    assert "for plan and reproduce" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# TPU programs

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason='needs pip install "jaxgan[plan]"'
)
DCGAN = ["--config.model.generator.width=8", "--config.model.discriminator.width=8"]
DCGAN += ["--config.steps_per_call=5"]


@needs_libtpu
def test_a_plan_for_tpus(tmp_path, capsys):
    one, eight = planned(tmp_path, *DCGAN, "--config.conditional=True", topology="v5e:1x1,v5e:2x4")
    text = capsys.readouterr().out
    assert "8 x TPU v5 lite" in text
    assert "not run" in text
    assert (one["devices"], eight["devices"]) == (1, 8)
    assert one["collectives"] == []
    assert {each["devices"] for each in eight["collectives"]} == {8}
    assert one["flops"] == 8 * eight["flops"] > 0
    for found in (one, eight):
        assert found["fits"]
        assert found["memory"]["peak"] < 16 * 2**30
        assert found["memory"]["donated"] >= 0.99 * found["memory"]["state"]
        assert found["products"] > 10
        unusual = found["kernels"], found["callbacks"], found["float64"], found["uncounted_loops"]
        assert unusual == ([], [], False, 0)
        line = found["roofline"]
        assert line["step"] == max(line[key] for key in ("compute", "hbm", "interconnect"))
        assert 0 < found["expected"]["mfu"] < line["mfu"] <= 1
        assert found["expected"]["seconds"] > line["compute"]
        assert line["images_per_second"] == pytest.approx(64 / line["step"])
    assert eight["roofline"]["interconnect"] > 0 == one["roofline"]["interconnect"]


@needs_libtpu
def test_what_does_not_fit_a_tpu_is_a_row(tmp_path, capsys):
    huge = [*SMALL, "--config.data.name=folder", "--config.data.image_size=64"]
    [found] = planned(tmp_path, *huge, "--batch_size=2097152", topology="v5e:1x1")
    assert not found["fits"]
    assert found["needed"] > found["usable"] == int(15.75 * 2**30)
    assert "does not fit" in capsys.readouterr().out


@pytest.mark.slow
@needs_libtpu
def test_a_fit_of_tpus_is_verified(tmp_path, capsys):
    large = ["--config.data.name=folder", "--config.data.image_size=256", "--fit"]
    large += ["--config.batch_size=6000", "--config.steps_per_call=25"]
    [found] = planned(tmp_path, *SMALL[:3], *large, topology="v5e:2x4")
    batch = found["fit"]["largest"]
    assert found["batch_size"] == batch
    assert batch % 8 == 0
    assert found["fits"]
    assert 0.9 * found["usable"] < found["memory"]["peak"] <= found["usable"]
    assert found["fit"]["tries"][str(batch)]["needed"] == found["memory"]["peak"]
    for size, need in found["fit"]["tries"].items():
        assert (need["needed"] <= need["available"]) == (int(size) <= batch)
    assert f"the largest batch found to fit is {batch:,}" in capsys.readouterr().out


@needs_libtpu
def test_a_tpu_topology_that_cannot_be(capsys):
    assert main(["plan", "--config", CONFIG, "--topology=v5e:3x7", *SMALL]) == 2
    err = capsys.readouterr().err
    assert "v5e:3x7 cannot be" in err
    assert err.count("\n") == 1


@needs_libtpu
def test_a_plan_for_tpus_from_a_shell_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-m", "jaxgan", "plan", "--config", CONFIG, "--topology=v5e:1x1"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_PLAT", "XLA_", "TPU_"))}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, *SMALL],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 x TPU v5 lite" in done.stdout
    assert list(tmp_path.iterdir()) == []
