"""Whole runs at tiny size: every config, and runs that are stopped, killed and taken up again."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import config, experiment, loop, writer
from jaxgan.checkpoint import Checkpoints
from jaxgan.cli.main import main
from jaxgan.errors import UserError
from tests.harmed import CONFIG_FILE

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
KEYS = ["step", "kimg", "seconds", "d_loss", "g_loss", "real_logit", "fake_logit"]
KEYS += ["d_accuracy", "real_diversity", "fake_diversity", "d_gradient_norm", "g_gradient_norm"]
KEYS += ["ema_distance", "images_per_second", "data_wait"]
TIMES = {"seconds", "images_per_second", "data_wait"}


def small(*overrides):
    """Networks that compile fast: 8 steps, 2 in a call, a checkpoint every 4."""
    settings = config.load(ROOT / "configs" / "default.py", ["model.name=mlp", "data.split=test"])
    settings.model.generator = {"features": (8,)}
    settings.model.discriminator = {"features": (8,)}
    settings = config.tiny(settings)
    settings.steps, settings.checkpoint_every = 8, 4
    for override in overrides:
        config._override(settings, *override.split("=", 1))
    return settings


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of `small()`, trained."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert loop.train(small(), workdir) == 0
    return workdir


def contents(folder):
    """Every file's bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def arrays(workdir, step=None):
    """The trained state's leaves by name, as numpy arrays."""
    _, _, state = experiment.load_run(workdir, step)
    state = state.replace(key=jax.random.key_data(state.key))
    leaves = jax.tree.leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same_run(a, b):
    """The states and all that was written are equal to the bit, except times."""
    left, right = arrays(a), arrays(b)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].tobytes() == right[name].tobytes(), name
    timeless = [
        [{k: v for k, v in line.items() if k not in TIMES} for line in writer.read_metrics(run)]
        for run in (a, b)
    ]
    assert timeless[0] == timeless[1]
    assert contents(a / "samples") == contents(b / "samples")
    assert (a / "config.json").read_bytes() == (b / "config.json").read_bytes()


@contextlib.contextmanager
def power_cut(step):
    """A run inside dies when it is about to write the samples of `step`."""
    write = writer.Writer.samples

    def samples(self, at, image):
        if at == step:
            self.close()
            raise KeyboardInterrupt("power cut")
        return write(self, at, image)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt, match="power cut"):
        patch.setattr(writer.Writer, "samples", samples)
        yield


# --------------------------------------------------------------------------------------------------
# Every config


RESUMED = {"cgan", "gan_mlp", "ring"}  # with classes, without, points
# Papers' data are not here: the embedded images take their place, at their size.
SIZES = {"sngan_cifar10": 32, "r3gan_cifar10": 32, "r3gan_ffhq64": 64, "r3gan_ffhq256": 64}
SIZES |= dict.fromkeys(("sagan_imagenet128", "sngan_imagenet128", "biggan_imagenet128"), 128)


def tiny(path):
    settings = config.tiny(config.load(path))
    if settings.model.name == "dcgan":  # also where the file leaves it at the model's own width
        settings.model.generator.width = settings.model.discriminator.width = 4
    if path.stem in SIZES:
        settings.data.name, settings.data.image_size = "fashion_mnist_mini", SIZES[path.stem]
        settings.data.split = "test[:64]"
    if settings.model.name == "biggan":  # which cuts z into six parts
        settings.z_dim = 12
    if path.stem == "cyclegan":
        settings.data.name = "unpaired:fashion_mnist_mini,fashion_mnist_mini"
        settings.data.split, settings.model.generator.blocks = "test[:64]", 1
    if settings.data.name == "stacked_mnist":
        settings.data.name = "stacked:fashion_mnist_mini"
    if path.stem == "r3gan_ffhq256":  # eight fake devices draw 64 images each: its first stages
        for network in (settings.model.generator, settings.model.discriminator):
            network.widths, network.cardinalities = (8,) * 5, (2,) * 5
    return settings


# Minutes to compile, or networks that another config has too.
LONG = {
    *SIZES,
    "sngan",
    "tacgan",
    "contragan",
    "reacgan",
    "diffaug",
    "vaegan",
    "cyclegan",
    "gumbel",
}
LONG |= {"sagan", "sngan_projection", "ada", "relativistic", "dragan", "acgan"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=() if p.stem.startswith("sngan") else pytest.mark.slow)
        for p in CONFIGS
        if p.stem in SIZES
    ],
    ids=lambda p: p.stem,
)
def test_a_papers_own_setting_fits_together(path):
    settings = config.load(path)
    size = {"r3gan_ffhq256": 256}.get(path.stem, SIZES[path.stem])
    classes = tuple(map(str, range(10))) if settings.conditional else ()
    algorithm = experiment.build(config.resolve(settings, 50_000, (size, size, 3), classes, {}))
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    shape = algorithm.minibatches, settings.batch_size
    batch = {"image": jax.ShapeDtypeStruct((*shape, size, size, 3), "float32")}
    if classes:
        batch["label"] = jax.ShapeDtypeStruct(shape, "int32")
    assert jax.eval_shape(algorithm.step, state, batch)[0] == state


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=pytest.mark.slow if p.stem in LONG else ())
        for p in CONFIGS
        # Those two take files: VGG16 and sounds; tests/test_style.py and test_sounds.py train them.
        if p.stem not in {*RESUMED, "style", "wavegan"}
    ],
    ids=lambda p: p.stem,
)
def test_config_trains_and_samples(path, tmp_path):
    settings, workdir = tiny(path), tmp_path / "run"
    settings.evaluate_every, settings.log_every = 0, 4
    settings.sample_every = settings.checkpoint_every = 4
    assert loop.train(settings, workdir) == 0
    [line] = writer.read_metrics(workdir)
    assert np.isfinite(list(line.values())).all()
    assert {*settings.penalties} <= set(line)
    with Image.open(workdir / "samples" / "00000004.png") as picture:
        assert np.asarray(picture).std() > 0


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem in RESUMED], ids=lambda p: p.stem)
def test_config_trains_resumes_and_samples(path, tmp_path, capsys):
    settings, workdir = tiny(path), tmp_path / "run"
    assert loop.train(settings, workdir) == 0
    settings.steps = 6
    assert loop.train(settings, workdir) == 0
    assert "going on from step 4 of 6" in capsys.readouterr().out

    there = {path.name for path in workdir.iterdir() if "tfevents" not in path.name}
    files = {"config.json", "metrics.jsonl", "history.jsonl", "curves.png", "report.html"}
    assert there == files | {"samples", "checkpoints"}
    assert list(workdir.glob("events.out.tfevents.*"))
    resolved = json.loads((workdir / "config.json").read_text())
    examples = 0 if settings.data.name == "ring" else 512  # drawn without end
    assert (resolved["steps"], resolved["derived"]["num_examples"]) == (6, examples)
    assert resolved["derived"]["kimg"] == 6 * 8 * settings.n_critic / 1000

    lines = writer.read_metrics(workdir)
    assert [line["step"] for line in lines] == [2, 4, 6]
    for line in lines:
        evaluated = {"sliced_wasserstein"} if line["step"] in (4, 6) else set()
        assert set(line) == {*KEYS, *settings.penalties, *evaluated}
        assert np.isfinite(list(line.values())).all()
        assert line["kimg"] == line["step"] * 8 * settings.n_critic / 1000
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)

    rows, columns = (10, 10) if settings.conditional else (8, 8)
    points = settings.data.name == "ring"
    size = settings.data.image_size or 28
    plot = (500, 500) if points else (2 + columns * (size + 2), 2 + rows * (size + 2))
    for step in (2, 4, 6):
        with Image.open(workdir / "samples" / f"{step:08d}.png") as picture:
            assert picture.size == plot
    folders = {
        path.name: sorted(step.name for step in path.iterdir())
        for path in (workdir / "checkpoints").iterdir()
    }
    best = min(lines[1:], key=lambda line: line["sliced_wasserstein"])
    assert folders == {"last": ["2", "4", "6"], "best": [str(best["step"])]}

    out = tmp_path / "samples.npy"
    assert main(["sample", "--workdir", str(workdir), "--num", "3", "--out", str(out)]) == 0
    images = np.load(out)
    shape, dtype = ((3, 2), np.float32) if points else ((3, size, size), np.uint8)
    assert (images.shape[:3], images.dtype) == (shape, dtype)
    assert images.std() > 0


def test_a_row_of_the_grid_is_a_class(tmp_path):
    settings = small("conditional=True", "steps=2")
    assert loop.train(settings, tmp_path / "run") == 0
    resolved, algorithm, state = experiment.load_run(tmp_path / "run")
    key = jax.random.fold_in(jax.random.key(settings.seed), 3)
    labels = np.repeat(np.arange(10, dtype=np.int32), 10)
    images = np.asarray(algorithm.sample(state, key, jax.numpy.asarray(labels)))
    with Image.open(tmp_path / "run" / "samples" / "00000002.png") as picture:
        pixels = np.asarray(picture)
    for row, column in ((0, 0), (3, 7), (9, 9)):
        top, left = 2 + row * 30, 2 + column * 30
        shown = pixels[top : top + 28, left : left + 28] / 127.5 - 1
        np.testing.assert_allclose(shown, images[10 * row + column, ..., 0], atol=0.01)
    assert resolved.derived.class_names[0] == "T-shirt/top"


# --------------------------------------------------------------------------------------------------
# Stopped and taken up again


def test_a_finished_run_says_so_and_changes_nothing(finished, capsys):
    before = contents(finished)
    assert loop.train(small(), finished) == 0
    assert "This run is finished: 8 steps." in capsys.readouterr().out
    assert contents(finished) == before


def test_learning_that_ends_before_the_steps_is_told(tmp_path, capsys):
    rate = "{'kind': 'linear', 'start': 1e-3, 'end': 0.0, 'steps': 8}"
    rest = "optimizer.generator.learning_rate"
    for steps, idle in ((8, []), (10, [rest])):
        settings = small(f"{rest}={rate}", f"steps={steps}")
        loop.train(settings, tmp_path / "run", dry_run=True)
        warning = f"warning: {rest}: 0 before these steps are over"
        assert (warning in capsys.readouterr().out) == bool(idle)
        resolved, _ = experiment.prepare(settings)
        assert experiment.at_rest(resolved, steps - 1) == idle
    assert experiment.at_rest(resolved, 8) == [rest]


def test_epochs_count_the_generators_own_minibatches(tmp_path, capsys):
    for loss, epochs in (("hinge", "0.6"), ("relativistic_paired", "1.3")):
        settings = small("data.split=test[:50]", "steps=4", f"loss={loss}")
        loop.train(settings, tmp_path / "run", dry_run=True)
        assert f"4 steps of 8 images, {epochs} epochs" in capsys.readouterr().out


@pytest.mark.parametrize("steps", [8, 9])  # 9: steps_per_call does not divide it
def test_a_killed_run_ends_as_one_that_was_not(steps, finished, tmp_path, capsys):
    settings, straight, killed = small(f"steps={steps}"), finished, tmp_path / "killed"
    if steps != 8:
        straight = tmp_path / "straight"
        assert loop.train(settings, straight) == 0
    with power_cut(6):
        loop.train(settings, killed)
    assert [line["step"] for line in writer.read_metrics(killed)] == [2, 4]
    with open(killed / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "d_loss": 0}\n{"step": 8, "kim')
    assert loop.train(settings, killed) == 0
    assert f"going on from step 4 of {steps}" in capsys.readouterr().out
    assert_same_run(straight, killed)


def test_all_that_changes_is_in_the_checkpoint(tmp_path):
    """What other codebases begin anew when they go on: ADA's p, the ramp of the average, top-k,
    schedules, the optimiser, the latents."""
    changing = [
        *("augment.policy=flip", "augment.target=0.01", "augment.kimg=0.05", "penalties.lecam=0.1"),
        "optimizer.discriminator.learning_rate=0.02",  # so that it soon knows real images
        "optimizer.generator.learning_rate={'kind':'linear','start':1e-3,'end':0.0,'steps':8}",
        "ema.halflife_kimg={'kind':'cosine','start':0.1,'end':0.5,'kimg':0.05}",
        "top_k={'kind':'steps','values':(1.0,0.5),'steps':(5,)}",
        "penalties.r1={'weight':0.1,'every':3}",
    ]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert loop.train(small(*changing), straight) == 0
    with power_cut(6):
        loop.train(small(*changing), killed)
    assert loop.train(small(*changing), killed) == 0
    assert_same_run(straight, killed)
    at_4, at_8 = arrays(straight, 4), arrays(straight)
    for name in ("augment_p", "real_anchor", "fake_anchor"):
        key = f".memory['{name}']"
        assert at_4[key] != 0 and at_4[key] != at_8[key]


def test_a_run_killed_before_its_first_checkpoint_begins_again(finished, tmp_path):
    with power_cut(2):
        loop.train(small(), tmp_path / "run")
    assert loop.train(small(), tmp_path / "run") == 0
    assert_same_run(finished, tmp_path / "run")


def test_more_steps_continue_as_if_asked_for_at_once(finished, tmp_path):
    workdir = tmp_path / "run"
    assert loop.train(small("steps=4", "checkpoint_every=2"), workdir) == 0
    assert loop.train(small(), workdir) == 0
    assert_same_run(finished, workdir)


def test_another_seed_is_another_run(finished, tmp_path):
    assert loop.train(small("seed=1", "steps=2"), tmp_path / "run") == 0
    first, other = (writer.read_metrics(run)[0] for run in (finished, tmp_path / "run"))
    assert first["d_loss"] != other["d_loss"]


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_steps_per_call_changes_no_result(steps_per_call, finished, tmp_path):
    settings = small(f"steps_per_call={steps_per_call}")
    for key in ("log_every", "sample_every", "checkpoint_every"):
        settings[key] = 4
    assert loop.train(settings, tmp_path / "run") == 0
    there, here = arrays(finished), arrays(tmp_path / "run")
    for name in there:
        np.testing.assert_allclose(here[name], there[name], rtol=2e-4, atol=2e-6, err_msg=name)


@pytest.fixture
def train(tmp_path):
    """Starts train.py in a process of its own; its workdir is tmp_path / "run"."""
    (tmp_path / "small.py").write_text(CONFIG_FILE)
    few = [f"--config.{what}_every=200" for what in ("log", "sample", "checkpoint")]
    processes = []

    def start(steps):
        command = [sys.executable, "-u", ROOT / "train.py", "--config", tmp_path / "small.py"]
        command += ["--workdir", tmp_path / "run", f"--config.steps={steps}", *few]
        command += ["--config.evaluate_every=0", "--config.steps_per_call=2"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=dict(os.environ), **pipes))
        return processes[-1]

    yield start
    for process in processes:
        with process:
            process.kill()


def wait_for(process, pattern):
    for line in process.stdout:
        if re.search(pattern, line):
            return
    raise AssertionError(f"it ended without {pattern!r}: {process.stderr.read()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_cleanly_and_the_run_goes_on(train, tmp_path, number):
    process = train(steps=10_000_000)
    wait_for(process, r"^step ")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "stopping after the steps at hand" in err
    assert "Traceback" not in err
    stopped = re.search(r"stopped after step ([\d,]+); the checkpoint is written\.\n(.*)", out)
    assert stopped
    assert stopped[2] == "The same command again goes on from there."
    step = int(stopped[1].replace(",", ""))
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints" / "last")
    assert checkpoints.steps()[-1] == step
    checkpoints.close()
    assert (tmp_path / "run" / "curves.png").exists() == (step >= 200)
    if number == signal.SIGINT:  # once is enough: it is slow
        out, err = train(steps=step + 2).communicate(timeout=120)
        assert f"going on from step {step:,} of {step + 2:,}" in out, err
        assert f"next: python -m jaxgan sample --workdir {tmp_path / 'run'}" in out


@pytest.mark.slow
def test_a_run_killed_by_force_ends_as_one_that_was_not(train, tmp_path):
    process = train(steps=3000)
    wait_for(process, r"^step +1,[24]00 ")
    process.kill()
    process.communicate()
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints" / "last")
    assert 0 < checkpoints.steps()[-1] < 3000
    checkpoints.close()
    out, err = train(steps=3000).communicate(timeout=300)
    assert "going on from step" in out, err
    (tmp_path / "run").rename(tmp_path / "killed")
    assert train(steps=3000).wait(timeout=300) == 0
    assert_same_run(tmp_path / "run", tmp_path / "killed")


# --------------------------------------------------------------------------------------------------
# Other settings


def test_other_settings_for_a_run_are_listed(finished):
    before = contents(finished)
    overrides = ["seed=5", "optimizer.generator.b1=0.25", "penalties.r1=0.5", "steps=99"]
    with pytest.raises(UserError) as error:
        loop.train(small(*overrides), finished)
    text = str(error.value)
    for listed in (
        "seed (0 there, 5 here)",
        "optimizer.generator.b1 (0.5 there, 0.25 here)",
        "penalties.r1 (None there, 0.5 here)",
    ):
        assert listed in text
    assert text.count(" there, ") == 3  # no other key, not even steps
    assert contents(finished) == before


def test_cadence_may_change(tmp_path, capsys):
    workdir = tmp_path / "run"
    assert loop.train(small("steps=4"), workdir) == 0
    cadence = ["log_every=4", "sample_every=6", "checkpoint_every=2", "keep_checkpoints=1"]
    assert loop.train(small(*cadence), workdir) == 0
    assert "going on from step 4 of 8" in capsys.readouterr().out
    assert [line["step"] for line in writer.read_metrics(workdir)] == [2, 4, 8]
    samples = sorted(path.name for path in (workdir / "samples").iterdir())
    assert samples == [f"{step:08d}.png" for step in (2, 4, 6, 8)]
    assert [path.name for path in (workdir / "checkpoints" / "last").iterdir()] == ["8"]
    assert json.loads((workdir / "config.json").read_text())["log_every"] == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.discriminator.norm=bach", "norm: there is no 'bach' .did you mean 'batch'"),
        ("model.generator.features=8", r"model\.generator\.features: 8 is not allowed"),
        ("model.generator.norm=3", r"model\.generator\.norm: 3 is not allowed"),
        ("penalties.r3=1", "penalties: there is no 'r3'; there are: "),
    ],
)
def test_an_impossible_network_leaves_no_folder(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        loop.train(small(override), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_and_writes_nothing(tmp_path, capsys):
    settings = small("conditional=True", "n_critic=2")
    assert loop.train(settings, tmp_path / "run", dry_run=True) == 0
    out = capsys.readouterr().out
    printed, rest = json.JSONDecoder().raw_decode(out)
    assert (printed["batch_size"], printed["derived"]["images_per_step"]) == (8, 16)
    # z and the label's embedding 8 + 50, BatchNorm's 2 x 8; pixels and embedding 784 + 50
    generator = 10 * 50 + 58 * 8 + 16 + 8 * 784 + 784
    discriminator = 10 * 50 + 834 * 8 + 8 + 8 + 1
    assert f"generator {generator:,} parameters, discriminator {discriminator:,}\n" in out[rest:]
    assert float(re.search(r"one step: ([\d.]+) GFLOP on each device", out)[1]) >= 0
    size = r"it takes ([\d,.]+) MiB on each device \(([\d.]+) of \D+, ([\d.]+) of \D+, ([\d.]+) of"
    total, *parts = (float(each.replace(",", "")) for each in re.search(size, out).groups())
    assert abs(total - sum(parts)) < 0.2
    state = 4 * (4 * generator + 3 * discriminator) / 2**20  # weights, Adam's moments, the average
    assert abs(parts[0] - state) < 0.1
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_losses_are_no_numbers_stops(tmp_path):
    settings = small("optimizer.discriminator.learning_rate=1e30", "loss=least_squares")
    with pytest.raises(UserError, match=r"^step \d+: \w+ is (nan|-?inf); .*learning_rate"):
        loop.train(settings, tmp_path / "run")
    assert not any((tmp_path / "run" / "checkpoints" / "last").iterdir())
    assert writer.read_metrics(tmp_path / "run") == []
