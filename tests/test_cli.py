"""The front doors: every mistake is one sentence and exit code 2; and what `sample` draws."""

import functools
import io
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image

import train
from jaxgan import cli, config, data, experiment, loop, parallel, writer
from jaxgan.cli.main import main

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / "configs" / "default.py")


def trained(workdir, conditional):
    settings = config.load(CONFIG, ["model.name=mlp", "data.split=test"])
    settings.model.generator = {"features": (8,)}
    settings.model.discriminator = {"features": (8,)}
    settings.conditional = conditional
    settings = config.tiny(settings)
    assert loop.train(settings, workdir) == 0
    return workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a conditional model with checkpoints of steps 2 and 4."""
    return trained(tmp_path_factory.mktemp("conditional") / "run", conditional=True)


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("unconditional") / "run", conditional=False)


def one_sentence(capsys, *named):
    """The last call wrote one line, about all of `named`, to stderr, and nothing to stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for text in named:
        assert text in err
    return True


# --------------------------------------------------------------------------------------------------
# train.py


def run_train(monkeypatch, *arguments):
    """What `python train.py ARGUMENTS` does, in this process."""
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    for name in ("config", "workdir", "dry_run"):
        flags.FLAGS[name].unparse()  # forget the call before
    return cli.run(train.main)


# What is said after `--config configs/default.py`, and what the sentence must name.
MISTAKES = {
    "unknown flag": (["--workdirr=x"], "workdirr", "Did you mean: workdir"),
    "flag of another type": (["--dry_run=maybe"], "dry_run", "maybe"),
    "stray argument": (["steps=100"], "'steps=100'", "--config configs/cgan.py"),
    "unknown key": (["--config.stepz=3"], "stepz", "did you mean steps?"),
    "unknown nested key": (
        ["--config.optimizer.generator.learningrate=1"],
        "optimizer.generator.learningrate",
        "did you mean optimizer.generator.learning_rate?",
    ),
    "no value": (["--config.steps"], "steps", "value is missing"),
    "wrong type": (["--config.steps=many"], "steps", "'many'", "a whole number at least 1"),
    "wrong cadence": (["--config.log_every=7"], "log_every", "7", "steps_per_call"),
    "model": (["--config.model.name=dcgam"], "model.name", "'dcgam'", "dcgan", "mlp"),
    "no model": (["--config.model.name=layers"], "model.name", "'layers'", "dcgan", "mlp"),
    "loss": (["--config.loss=hing"], "loss", "'hing'", "'hinge'", "least_squares"),
    "data set": (["--config.data.name=mnits"], "data.name", "'mnits'", "fashion_mnist_mini"),
    "split": (["--config.data.split=tset"], "data.split", "'tset'", "test", "train"),
    "penalty": (["--config.penalties.r7=1"], "penalties", "'r7'", "r1"),
    "penalty's weight": (["--config.penalties.r1=x"], "penalties.r1", "'x'", "a number"),
    "optimizer": (
        ["--config.optimizer.generator.name=adm"],
        "optimizer.generator.name",
        "'adm'",
        "'adam'",
        "rmsprop",
    ),
    "algorithm": (["--config.algorithm=gam"], "algorithm", "'gam'", "'gan'"),
    "no algorithm": (["--config.algorithm=player"], "algorithm", "'player'", "gan"),
    "field": (["--config.model.generator.widht=8"], "model.generator", "'widht'", "'width'"),
    "derived field": (["--config.model.generator.num_classes=8"], "generator", "'num_classes'"),
    "field's type": (["--config.model.generator.width=x"], "model.generator.width", "'x'"),
    "image size": (["--config.data.image_size=27"], "data.image_size", "27", "28", "32"),
    "batch size": (["--config.batch_size=16384"], "batch_size", "16,384", "10,000"),
    "devices": (["--config.parallel.data=999"], "parallel.data", "999"),
    "indivisible": (["--config.parallel.data=3"], "batch_size", "3 devices", "parallel.data"),
}


@pytest.mark.parametrize(
    ("arguments", "named"), [(m[0], m[1:]) for m in MISTAKES.values()], ids=MISTAKES
)
def test_a_mistake_in_training_is_one_sentence(arguments, named, monkeypatch, capsys, tmp_path):
    arguments = ["--config", CONFIG, "--workdir", tmp_path / "run", *arguments]
    assert run_train(monkeypatch, *arguments) == 2
    assert one_sentence(capsys, *named)
    assert not (tmp_path / "run").exists()


def test_training_needs_a_config(monkeypatch, capsys, tmp_path):
    assert run_train(monkeypatch, "--workdir", tmp_path / "run") == 2
    assert one_sentence(capsys, "--config is missing", "python train.py --config configs/cgan.py")


def test_a_misspelt_config_file(monkeypatch, capsys, tmp_path):
    assert run_train(monkeypatch, "--config", CONFIG.replace("default", "defualt")) == 2
    assert one_sentence(capsys, "defualt.py", f"did you mean {CONFIG}?")
    assert run_train(monkeypatch, "--config", tmp_path / "absent.py") == 2
    assert one_sentence(capsys, f"there is no file {tmp_path / 'absent.py'}")


def test_a_workdir_that_cannot_be(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        assert run_train(monkeypatch, "--config", CONFIG, "--workdir", workdir) == 2
        assert one_sentence(capsys, "--workdir", str(workdir), "cannot be")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_workdir_with_other_files_is_left_alone(monkeypatch, capsys, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    assert run_train(monkeypatch, "--config", CONFIG, "--workdir", tmp_path) == 2
    assert one_sentence(capsys, "--workdir", str(tmp_path), "other files")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("text", ["{", "[]", '{"architectures": ["x"]}'])
def test_a_config_json_of_another_kind_is_left_alone(text, monkeypatch, capsys, tmp_path):
    (tmp_path / "config.json").write_text(text)
    assert run_train(monkeypatch, "--config", CONFIG, "--workdir", tmp_path) == 2
    assert one_sentence(capsys, str(tmp_path), "config.json")
    assert (tmp_path / "config.json").read_text() == text


def test_a_run_with_other_settings(run, monkeypatch, capsys):
    before = (run / "config.json").read_bytes()
    assert run_train(monkeypatch, "--config", CONFIG, "--workdir", run) == 2
    assert one_sentence(capsys, str(run), "model.name (mlp there, dcgan here)", "batch_size (8")
    assert (run / "config.json").read_bytes() == before


def test_the_default_workdir_is_named_after_the_config(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(loop, "train", lambda *arguments: calls.append(arguments) or 0)
    assert run_train(monkeypatch, "--config", CONFIG, "--config.steps", "7") == 0
    assert run_train(monkeypatch, f"--config={CONFIG}", "--workdir=w", "--dry_run") == 0
    (settings, *first), (_, *second) = calls
    assert settings.steps == 7
    assert (first, second) == ([Path("runs/default"), False], [Path("w"), True])


def test_train_py_exits_with_2(tmp_path):
    command = [sys.executable, ROOT / "train.py", "--config", CONFIG, "--config.stepz=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: stepz: there is no such key; did you mean steps?\n"
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch):
    def command():
        raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert cli.run(command) == 0


# --------------------------------------------------------------------------------------------------
# Help

HELPS = {
    "train.py --help": ["--config configs/cgan.py", "--workdir", "--dry_run", "configs/default.py"],
    "jaxgan --help": ["python -m jaxgan", "sample", "Draw images", "train.py"],
    "jaxgan sample --help": ["--num", "--labels", "--truncation", "python -m jaxgan sample"],
    "jaxgan evaluate --help": ["--real", "--statistics", "frechet", "python -m jaxgan evaluate"],
}


@pytest.mark.parametrize(("command", "phrases"), HELPS.items(), ids=HELPS)
def test_help_reads_well_and_answers_at_once(command, phrases):
    module, *arguments = command.split()
    code = f"""
import runpy, sys
sys.argv = {[module, *arguments]}
try:
    runpy.run_module({module.removesuffix(".py")!r}, run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
print(sorted({{"jax", "numpy", "tensorflow_datasets"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    for phrase in phrases:
        assert phrase in done.stdout
    assert done.stderr == "[]\n"


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("jaxgan 0.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--workdir", "a", "--out", "b.png", "--label", "3", "--sead=3"],
            "--sead (did you mean --seed?)",
        ),
        (["--wrokdir", "a", "--out", "b.png"], "--wrokdir (did you mean --workdir?)"),
        (["--workdir", "a", "--out", "b.png", "--zzz"], "--zzz\n"),
    ],
)
def test_a_misspelt_flag_of_a_verb(words, told, capsys):
    with pytest.raises(SystemExit) as end:
        main(["sample", *words])
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert "sample [-h]" in err and f"unrecognized arguments: {told}" in err


# --------------------------------------------------------------------------------------------------
# python -m jaxgan sample


def sample(workdir, out, *arguments):
    return main(["sample", "--workdir", str(workdir), "--out", str(out), *map(str, arguments)])


def draw(workdir, folder, *arguments):
    out = folder / "drawn.npy"
    assert sample(workdir, out, *arguments) == 0
    return np.load(out)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--num", 0], ["--num", "0"]),
        (["--num", -3], ["--num", "-3"]),
        (["--seed", -1], ["--seed", "-1"]),
        (["--truncation", 0], ["--truncation", "0"]),
        (["--truncation", "nan"], ["--truncation", "nan"]),
        (["--step", 3], ["step 3", "2, 4"]),
        (["--step", -1], ["step -1", "2, 4"]),
        (["--labels", "10"], ["--labels", "'10'", "0 T-shirt/top", "9 Ankle boot"]),
        (["--labels", "3,-1"], ["--labels", "'-1'"]),
        (["--labels", "3,,4"], ["--labels", "''"]),
        (["--labels", "Hat"], ["--labels", "'Hat'", "8 Bag"]),
        (["--labels", "²"], ["--labels", "'²'"]),
    ],
)
def test_a_mistake_in_sampling_is_one_sentence(arguments, named, run, tmp_path, capsys):
    assert sample(run, tmp_path / "a.npy", *arguments) == 2
    assert one_sentence(capsys, *named)
    assert list(tmp_path.iterdir()) == []


def test_labels_for_an_unconditional_model(unconditional, tmp_path, capsys):
    assert sample(unconditional, tmp_path / "a.npy", "--labels", 3) == 2
    assert one_sentence(capsys, "--labels", "unconditional")


def test_a_folder_without_a_checkpoint(run, tmp_path, capsys):
    workdir = tmp_path / "run"
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / "config.json").write_bytes((run / "config.json").read_bytes())
    assert sample(workdir, tmp_path / "a.npy") == 2
    assert one_sentence(capsys, "--workdir", str(workdir), "no checkpoint")
    (workdir / "checkpoints").rmdir()
    assert sample(workdir, tmp_path / "a.npy") == 2
    assert one_sentence(capsys, "--workdir", str(workdir), "no checkpoint")


def test_a_folder_that_is_no_run(tmp_path, capsys):
    for workdir in (tmp_path, tmp_path / "absent"):
        assert sample(workdir, tmp_path / "a.npy") == 2
        assert one_sentence(capsys, "--workdir", str(workdir), "config.json")
    (tmp_path / "config.json").write_text('{"architectures": ["x"]}')
    assert sample(tmp_path, tmp_path / "a.npy") == 2
    assert one_sentence(capsys, "--workdir", str(tmp_path), "config.json")


def test_places_that_are_no_place_for_images(run, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("mine")
    for name, reason in {
        "a.jpg": "neither .png, .npy, .npz or .txt",
        "full": "exists already",
        "file": "exists already",
        "folder.png": "is a folder",
        "file/a.png": "cannot be made",
    }.items():
        assert sample(run, tmp_path / name, "--num", 1) == 2
        assert one_sentence(capsys, "--out", reason)
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "mine"


STATISTICS = ["sample", "--workdir", "w", "--out", "o.png", "--statistics", "moving"]


@pytest.mark.parametrize(
    "arguments", [[], ["smple"], ["sample"], ["sample", "--num", "x"], STATISTICS]
)
def test_a_wrong_command_line_tells_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    usage, *_, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: python -m jaxgan")
    assert "error: " in error


def test_a_grid_is_as_square_as_can_be(run, tmp_path, capsys):
    assert sample(run, tmp_path / "new" / "grid.png", "--num", 5) == 0
    assert capsys.readouterr().out == f"5 images of step 4: {tmp_path / 'new' / 'grid.png'}\n"
    with Image.open(tmp_path / "new" / "grid.png") as picture:
        assert (picture.size, picture.mode) == ((2 + 3 * 30, 2 + 2 * 30), "L")


def test_arrays(run, unconditional, tmp_path):
    images = draw(run, tmp_path, "--num", 12)
    assert (images.shape, images.dtype) == ((12, 28, 28, 1), np.uint8)
    assert images.std() > 0
    assert sample(run, tmp_path / "a.npz", "--num", 12) == 0
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["images"], images)
        np.testing.assert_array_equal(file["labels"], [*range(10), 0, 1])  # all classes in turn
    assert sample(unconditional, tmp_path / "a.npz", "--num", 2) == 0
    with np.load(tmp_path / "a.npz") as file:
        assert file.files == ["images"]


def test_a_folder_of_pictures(run, tmp_path):
    images = draw(run, tmp_path, "--num", 2, "--labels", "7,1")
    assert sample(run, tmp_path / "folder", "--num", 2, "--labels", "7,1") == 0
    names = ["00000_class7.png", "00001_class1.png"]
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == names
    for name, image in zip(names, images, strict=True):
        with Image.open(tmp_path / "folder" / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image[..., 0])


def test_a_folder_is_there_whole_or_not_at_all(run, tmp_path, monkeypatch, capsys):
    one = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *_: one)
    images = draw(run, tmp_path, "--num", 70)  # two batches
    (tmp_path / "folder").mkdir()  # which is empty
    assert sample(run, tmp_path / "folder", "--num", 70) == 0
    paths = sorted((tmp_path / "folder").iterdir())
    assert [path.name for path in paths] == [f"{n:05d}_class{n % 10}.png" for n in range(70)]
    for path, image in zip(paths, images, strict=True):
        with Image.open(path) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image[..., 0])
    save, saved = writer.save_png, []

    def interrupted(error, path, image):
        if len(saved) == 66:
            raise error
        saved.append(path)
        save(path, image)

    for error, code in ((KeyboardInterrupt(), 130), (OSError(28, "No space left"), 2)):
        monkeypatch.setattr(writer, "save_png", functools.partial(interrupted, error))
        saved.clear()
        capsys.readouterr()
        assert sample(run, tmp_path / "other", "--num", 70) == code
        assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.npy", "folder"]
    assert one_sentence(capsys, str(tmp_path / "other"), "No space left")


def test_the_devices_share_the_chunks(run, tmp_path, monkeypatch):
    meshes = []
    make = parallel.mesh_of
    monkeypatch.setattr(
        parallel, "mesh_of", lambda *given: meshes.append(make(*given)) or meshes[-1]
    )
    many = draw(run, tmp_path, "--num", 200)
    assert meshes[-1].size == 4  # chunks of 64
    monkeypatch.setattr(jax, "devices", lambda *_: jax.local_devices()[:1])
    np.testing.assert_array_equal(draw(run, tmp_path, "--num", 200), many)
    assert meshes[-1].size == 1


def test_the_seed_fixes_the_pixels(run, tmp_path):
    few = draw(run, tmp_path, "--num", 5, "--labels", 0, "--seed", 3)
    again = draw(run, tmp_path, "--num", 5, "--labels", 0, "--seed", 3)
    np.testing.assert_array_equal(again, few)
    many = draw(run, tmp_path, "--num", 130, "--labels", 0, "--seed", 3)  # three chunks
    np.testing.assert_array_equal(many[:5], few)
    assert len(np.unique(many, axis=0)) == 130
    assert (draw(run, tmp_path, "--num", 5, "--labels", 0, "--seed", 4) != few).any()


def test_labels_by_number_and_by_name(run, tmp_path):
    numbers = draw(run, tmp_path, "--num", 6, "--labels", "8,3")
    np.testing.assert_array_equal(draw(run, tmp_path, "--num", 6, "--labels", "Bag,Dress"), numbers)
    assert (draw(run, tmp_path, "--num", 6, "--labels", "3,8") != numbers).any()


def test_truncation_and_step_change_the_images(run, tmp_path):
    plain = draw(run, tmp_path, "--num", 20, "--labels", 0)
    narrow = draw(run, tmp_path, "--num", 20, "--labels", 0, "--truncation", 0.01)
    assert narrow.std(axis=0).mean() < 0.2 * plain.std(axis=0).mean()  # nearly one image
    np.testing.assert_array_equal(
        draw(run, tmp_path, "--num", 20, "--labels", 0, "--step", 4), plain
    )
    assert (draw(run, tmp_path, "--num", 20, "--labels", 0, "--step", 2) != plain).any()


def test_statistics_of_batches(run, tmp_path):
    few = draw(run, tmp_path, "--num", 3, "--statistics", "batch")
    many = draw(run, tmp_path, "--num", 70, "--statistics", "batch")  # two chunks
    np.testing.assert_array_equal(many[:3], few)
    _, algorithm, state = experiment.load_run(run)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 4), 1)
    classes = np.resize(np.arange(10, dtype=np.int32), 128)[64:]  # in turn, also where they pad
    images = data.to_uint8(algorithm.sample(state, key, jax.numpy.asarray(classes), train=True))
    np.testing.assert_allclose(many[64:], images[:6], atol=1)  # compiled otherwise
    assert (draw(run, tmp_path, "--num", 3, "--statistics", "running") != few).any()


def test_standing_statistics(run, tmp_path, monkeypatch):
    running = draw(run, tmp_path, "--num", 3)
    standing = draw(run, tmp_path, "--num", 3, "--statistics", "standing")
    assert (standing != draw(run, tmp_path, "--num", 3, "--statistics", "batch")).any()
    settings, algorithm, state = experiment.load_run(run)
    key = jax.random.fold_in(jax.random.key(0), 7)
    moved = settings, algorithm, algorithm.with_standing_statistics(state, key)
    monkeypatch.setattr(experiment, "load_run", lambda *_: moved)
    np.testing.assert_allclose(draw(run, tmp_path, "--num", 3), standing, atol=1)
    assert np.abs(standing.astype(int) - running).max() > 1


def test_images_come_from_the_averaged_weights(run, tmp_path, monkeypatch):
    images = draw(run, tmp_path, "--num", 3)
    settings, algorithm, state = experiment.load_run(run)
    zeros = jax.tree.map(jax.numpy.zeros_like, (state.generator.params, state.generator.stats))
    generator = state.generator.replace(params=zeros[0], stats=zeros[1])
    without = (settings, algorithm, state.replace(generator=generator))
    monkeypatch.setattr(experiment, "load_run", lambda *_: without)
    np.testing.assert_array_equal(draw(run, tmp_path, "--num", 3), images)


def test_another_machine_with_one_device_draws_the_same(run, tmp_path):
    images = draw(run, tmp_path, "--num", 3)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    command = [sys.executable, "-m", "jaxgan", "sample", "--workdir", run, "--num", "3"]
    command += ["--out", tmp_path / "other.npy"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "other.npy"), images)


@pytest.mark.parametrize(
    "environment, kept",
    [
        ({"XDG_CACHE_HOME": "{}/caches"}, "caches/jaxgan/compiled"),
        ({"HOME": "{}"}, ".cache/jaxgan/compiled"),
        ({"JAX_COMPILATION_CACHE_DIR": "{}/mine"}, "mine"),
        ({"JAX_COMPILATION_CACHE_DIR": ""}, None),
        ({"XDG_CACHE_HOME": "/proc/no-such"}, None),  # nothing may be written there
    ],
)
def test_compiled_programs_are_kept_where_the_user_wants_them(environment, kept, tmp_path):
    unset = {"JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"}
    inherited = {key: value for key, value in os.environ.items() if key not in unset}
    asked = {key: value.format(tmp_path) for key, value in environment.items()}
    code = (
        "from jaxgan import cli; cli.keep_compiled(); import jax\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "jax.jit(lambda x: x + 1)(1.0)"
    )
    for _ in range(2):  # a second start finds what is there
        subprocess.run([sys.executable, "-c", code], env=inherited | asked, cwd=ROOT, check=True)
    programs = [path for path in tmp_path.rglob("jit*") if path.is_file()]
    assert all(kept and path.is_relative_to(tmp_path / kept) for path in programs)
    assert bool(programs) == bool(kept)
