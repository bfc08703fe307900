"""Evaluations: what is seen of sets and samples, the same on any devices; caches; the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config, data, evaluation, experiment, judges, loop, parallel, references
from jaxgan.cli.main import main
from jaxgan.sampler import Sampler

ROOT = Path(__file__).parents[1]
SECTION = {"name": "fashion_mnist_mini", "dir": "", "path": "", "split": "train", "image_size": 0}
ALL = ("frechet", "kernel", "score", "prdc", "accuracy", "diversity", "sliced_wasserstein")


def mesh_of(count):
    return parallel.mesh_of(jax.devices()[:count])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A conditional run of a few steps."""
    workdir = tmp_path_factory.mktemp("conditional") / "run"
    settings = config.tiny(config.load("configs/cgan_mlp.py", ["seed=3", "data.split=train[:500]"]))
    assert loop.train(settings, workdir) == 0
    return workdir


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Nothing is kept from one test to the next."""
    folder = tmp_path / "sets"
    monkeypatch.setattr("jaxgan.data.directory_of", lambda data_dir="": folder)
    return folder / "jaxgan_metrics"


def judge(metrics=ALL, samples=200, split="test[:300]", section=SECTION, **settings):
    asked = judges.Asked(metrics, samples, True, split=split, **settings)
    return judges.equip(judges.plan(section, asked), section, asked)


def figures(found):
    return {name: evaluation.number(value) for name, value in found.items()}


# --------------------------------------------------------------------------------------------------
# On any devices


def of_run(workdir, mesh, samples=200):
    """What `evaluate` computes of the run's samples and of training images."""
    _, algorithm, state = experiment.load_run(workdir)
    with jax.set_mesh(mesh):
        trial = evaluation.Trial(judge(samples=samples), mesh, samples)
        found = trial.of_state(Sampler(algorithm, mesh), state, 1)
        training = references.open_examples(SECTION, "train[:150]")
        return figures(found), figures(trial.of_images(training, "", labelled=True))


def test_eight_devices_see_what_one_sees(run, cache, tmp_path, monkeypatch):
    one = of_run(run, mesh_of(1))
    monkeypatch.setattr("jaxgan.data.directory_of", lambda data_dir="": tmp_path / "others")
    eight = of_run(run, mesh_of(8))
    for a, b in zip(one, eight, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=1e-6, err_msg=name)


TWO_PROCESSES = """
import json, sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
assert jax.device_count() == 8 and jax.local_device_count() == 4
from pathlib import Path
from jaxgan import data, parallel
data.directory_of = lambda data_dir="": Path(sys.argv[4])
from tests.test_evaluation import of_run
print(json.dumps(of_run(Path(sys.argv[3]), parallel.whole_mesh())))
"""


@pytest.mark.slow
def test_two_processes_see_what_one_sees(run, cache, tmp_path, unused_port):
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    env["PYTHONPATH"] = str(ROOT)
    arguments = [sys.executable, "-c", TWO_PROCESSES, f"localhost:{unused_port}"]
    children = [
        subprocess.Popen(
            [*arguments, str(number), str(run), str(tmp_path / "others")],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    ended = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], ended
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in ended)
    assert first == second
    for a, b in zip(of_run(run, mesh_of(1)), first, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=1e-6, err_msg=name)


# --------------------------------------------------------------------------------------------------
# What is seen


def trial(metrics, samples=100, **settings):
    mesh = mesh_of(1)
    return evaluation.Trial(judge(metrics, samples, **settings), mesh, samples)


def test_what_was_seen_is_kept_and_what_is_damaged_seen_again(cache, capsys):
    first = trial(("prdc", "frechet", "sliced_wasserstein")).real
    (path,) = cache.glob("seen-*.npz")
    written = path.read_bytes()
    again = trial(("prdc", "frechet", "sliced_wasserstein")).real
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert path.read_bytes() == written and capsys.readouterr().err == ""
    path.write_bytes(written[:-1000])
    third = trial(("prdc", "frechet", "sliced_wasserstein")).real
    np.testing.assert_array_equal(third.features, first.features)
    assert f"warning: {path} is damaged" in capsys.readouterr().err
    with np.load(path) as file:
        assert "images" not in file and len(file["features"]) == 300
    trial(("prdc",), split="test[:200]")  # of other images
    trial(("accuracy",))  # of other needs
    assert len(list(cache.glob("seen-*.npz"))) == 3


def test_pixels_are_kept_of_no_more_real_images_than_samples(cache):
    seen = trial(("frechet", "sliced_wasserstein"), samples=50).real
    assert (len(seen.images), seen.number, len(seen.labels)) == (50, 300, 300)
    examples = references.open_examples(SECTION, "test[:300]")
    images, labels = examples.read(examples.order)
    np.testing.assert_array_equal(seen.images, images[:50])
    np.testing.assert_array_equal(seen.labels, labels)
    np.testing.assert_allclose(seen.moments.number, 300)


def test_moments_are_of_all_batches(cache, monkeypatch):
    monkeypatch.setattr(evaluation, "ROWS", 100)
    seen = trial(("frechet", "prdc")).real
    np.testing.assert_allclose(seen.moments.mean, np.mean(seen.features, 0, np.float64), rtol=1e-9)
    expected = np.cov(seen.features.T.astype(float))
    np.testing.assert_allclose(seen.moments.covariance, expected, rtol=1e-6, atol=1e-9)


def test_what_was_seen_of_others_is_not_taken(cache):
    """By points with other means, and of another split of stacked images."""
    ring, grid = ({**SECTION, "name": name} for name in ("ring", "grid"))
    of_grid = references.open_examples(grid, "")
    for section, counted in ((grid, 0.98), (ring, 0.0)):
        made = evaluation.Trial(judge(("modes",), 0, "", section), mesh_of(1))
        found = figures(made.of_images(of_grid, "", labelled=True))
        np.testing.assert_allclose(found["counted"], counted, atol=0.02)
    stacked = {**SECTION, "name": "stacked:fashion_mnist_mini"}
    few, many = (references.open_examples(stacked, split) for split in ("test[:50]", "test"))
    assert few.identity != many.identity


def test_labels_that_do_not_count_are_left_out(cache):
    made = trial(("diversity", "ms_ssim"))
    images = references.open_examples(SECTION, "train[:200]")
    of_classes, of_all = (
        made.of_images(images, "", labelled=labelled, keep=False) for labelled in (True, False)
    )
    assert of_classes["diversity"].shape == (10,) and of_all["diversity"].shape == ()
    assert of_classes["ms_ssim"].mean > of_all["ms_ssim"].mean + 0.05  # a class is more alike


def test_of_classes_without_images_no_figure_is_made_up():
    found = [{"accuracy": np.array([0.5, np.nan, 0.7])}, {"accuracy": np.array([0.6, np.nan, 0.8])}]
    entry = evaluation.summary(found, ("a", "b", "c"))["accuracy"]
    np.testing.assert_allclose(entry["value"], 0.65)
    assert entry["of_each_class"]["b"] is None and entry["classes"] == 2
    assert json.dumps(entry, allow_nan=False)
    none = evaluation.summary([{"kernel": evaluation.Estimate(1.0, np.nan)}], ())["kernel"]
    assert (none["value"], none["standard_error"]) == (1.0, None)


def test_samples_are_those_of_a_longer_series_and_of_their_labels(run):
    _, algorithm, state = experiment.load_run(run)

    def drawn(count, mesh):
        sampler = Sampler(algorithm, mesh)
        with jax.set_mesh(mesh):
            batches = sampler.draw(state, np.arange(10), count, 5)
            return np.int32(np.concatenate([np.asarray(batch) for batch in batches]))

    long = drawn(200, mesh_of(1))
    np.testing.assert_allclose(drawn(70, mesh_of(1))[:70], long[:70], atol=1)
    np.testing.assert_allclose(drawn(200, mesh_of(8))[:200], long[:200], atol=1)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 4), 1)
    expected = algorithm.sample(state, key, jnp.arange(64, 128) % 10)
    np.testing.assert_allclose(long[64:128], np.int32(data.to_uint8(expected)), atol=1)
    assert (long[:64] != long[64:128]).any()
    of_batches = Sampler(algorithm, mesh_of(1), statistics="batch")
    short, long = (
        np.concatenate([np.asarray(x) for x in of_batches.draw(state, np.arange(10), count, 5)])
        for count in (69, 128)
    )
    np.testing.assert_array_equal(short, long)


# --------------------------------------------------------------------------------------------------
# Modes


@pytest.mark.parametrize(
    ("name", "modes"), [("ring", 8), pytest.param("grid", 25, marks=pytest.mark.slow)]
)
def test_points_of_the_data_are_within_three_deviations(name, modes, cache):
    section = {**SECTION, "name": name}
    made = judge(("modes", "prdc"), 0, "", section)
    examples = references.open_examples(section, "")
    found = figures(evaluation.Trial(made, mesh_of(1)).of_images(examples, "", labelled=True))
    count = found["counted"] * 10_000
    np.testing.assert_allclose(found["counted"], 1 - np.exp(-4.5), atol=4e-3)  # in the plane
    assert found["modes"] == modes and found["coverage"] > 0.999  # distances round
    np.testing.assert_allclose(found["reverse_kl_floor"], (modes - 1) / (2 * count))
    assert found["reverse_kl"] < 3 * found["reverse_kl_floor"]


def test_stacked_images_have_the_modes_of_their_channels(cache):
    section = {**SECTION, "name": "stacked:fashion_mnist_mini"}
    made = judge(("modes", "accuracy", "frechet"), 0, "", section)
    network = made.networks["classifier"]
    examples = references.open_examples(section, "")
    opened = examples.opened
    assert examples.count == 10_000 and len(examples.class_names) == 1000
    images, labels = examples.read(np.arange(200))
    params = jax.tree.map(jnp.asarray, network.params)
    outputs = network.apply(params, jnp.asarray(images))
    assert outputs.features.shape == (200, 3 * 256) and not network.has_logits
    right = np.asarray(network.classes(outputs)) == labels
    assert right.mean() > 0.6  # of three images 0.915 ** 3
    first = network.apply(params, jnp.asarray(np.repeat(images[..., :1], 3, -1)))
    np.testing.assert_array_equal(np.asarray(network.classes(first)) % 111, 0)  # aaa = 111 a
    np.testing.assert_allclose(opened.shares.sum(), 1)
    np.testing.assert_allclose(opened.shares, 1 / 1000)  # this set's classes are of one size
    unequal = data.Stacked(opened.images[:300], opened.labels[:300], opened.class_names, {})
    expected = np.bincount(opened.labels[:300], minlength=10) / 300
    np.testing.assert_allclose(unequal.shares[234], np.prod(expected[[2, 3, 4]]))


# --------------------------------------------------------------------------------------------------
# The command


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def entries(path):
    return json.loads(Path(path).read_text())


def test_evaluate_writes_what_it_prints(run, cache, tmp_path, capsys):
    file = run / "evaluation.json"
    usual = "--workdir", run, "--samples", 60, "--split", "test[:200]"
    assert evaluate(*usual, "--metrics", "frechet,prdc,accuracy,spectrum", "--seeds", 2) == 0
    printed = capsys.readouterr().out
    (entry,) = entries(file)
    assert (entry["step"], entry["samples"], entry["sample_seeds"]) == (4, 60, 2)
    assert entry["statistics"] == "running" and entry["weights"] == "averaged (EMA)"
    assert entry["matmul_precision"] == "the device's own" and "cpu" in entry["device"]
    protocol = entry["protocol"]
    assert protocol["reference"]["split"] == "test[:200]" and protocol["reference"]["count"] == 200
    assert protocol["features"]["classifier_test_accuracy"] > 0.9
    assert len(protocol["features"]["weights_sha256"]) == 64
    samples, training = entry["figures"].values()
    assert set(samples) == {
        "frechet", "precision", "recall", "density", "coverage", "accuracy", "spectrum"
    }  # fmt: skip
    assert (
        samples["accuracy"]["of_each_class"].keys() == training["accuracy"]["of_each_class"].keys()
    )
    curves = [np.array(samples["spectrum"][f"decibels_{of}"]) for of in ("real", "fake")]
    assert curves[0].shape == (21,)  # radii of 28 x 28 pixels
    gap = np.sqrt(np.mean((curves[1] - curves[0]) ** 2))
    np.testing.assert_allclose(gap, samples["spectrum"]["value"], rtol=0.05)
    assert training["coverage"]["value"] > 0.5 > samples["coverage"]["value"]
    values = samples["frechet"]["of_each_seed"]
    np.testing.assert_allclose(samples["frechet"]["value"], np.mean(values))
    error = np.std(values, ddof=1) / np.sqrt(2)
    np.testing.assert_allclose(samples["frechet"]["standard_error"], error)
    row = next(line for line in printed.splitlines() if line.startswith("frechet"))
    assert row.split()[1:4] == [f"{np.mean(values):.4g}", "±", f"{error:.1g}"]
    assert row.endswith("less is better") and "60 training images" in printed
    assert "Trouser" in printed and str(file) in printed
    # The same once more takes its place, another protocol stands beside it.
    assert evaluate(*usual, "--metrics", "frechet,prdc,accuracy,spectrum", "--seeds", 2) == 0
    assert entries(file) == [entry]
    assert evaluate(*usual, "--metrics", "frechet", "--seeds", 1, "--statistics", "batch") == 0
    both = entries(file)
    assert both[0] == entry and both[1]["statistics"] == "batch"
    assert both[1]["figures"]["samples"]["frechet"]["standard_error"] is None


def test_the_modes_of_a_mixture_are_counted_unasked(cache, tmp_path):
    settings = config.tiny(config.load("configs/ring.py", []))
    assert loop.train(settings, tmp_path / "ring") == 0
    assert evaluate("--workdir", tmp_path / "ring", "--samples", 40, "--seeds", 1) == 0
    (entry,) = entries(tmp_path / "ring" / "evaluation.json")
    assert {"modes", "reverse_kl", "coverage"} <= entry["figures"]["samples"].keys()


@pytest.mark.parametrize(
    "name, shape, usual",
    [
        ("grid", (2,), "prdc,sliced_wasserstein,modes"),
        ("swiss_roll", (2,), "prdc,sliced_wasserstein"),
        ("stacked:fashion_mnist_mini", (28, 28, 3), "frechet,kernel,prdc,modes"),
        ("fashion_mnist_mini", (28, 28, 1), "frechet,kernel,prdc"),
    ],
)
def test_modes_are_counted_unasked_of_sets_that_have_some(name, shape, usual):
    planned = judges.plan({**SECTION, "name": name}, judges.Asked((), 100, False))
    assert planned.reference.shape == shape
    assert planned.metrics == tuple(usual.split(","))


def test_two_sets_are_compared_without_a_run(cache, tmp_path, capsys):
    images, labels = data.load("fashion_mnist_mini", "test[:200]").images, None
    labels = data.load("fashion_mnist_mini", "test[:200]").labels
    np.savez(tmp_path / "fake.npz", images=images, labels=labels)
    sets = "--real", "fashion_mnist_mini@test[:200]", "--fake", tmp_path / "fake.npz"
    metrics = "frechet,prdc,kernel,accuracy,sliced_wasserstein"
    assert evaluate(*sets, "--metrics", metrics, "--out", tmp_path / "out.json") == 0
    found = {
        k: v["value"] for k, v in entries(tmp_path / "out.json")[0]["figures"]["images"].items()
    }
    assert found["frechet"] < 1e-6 and found["sliced_wasserstein"] < 1e-6
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert found["accuracy"] > 0.85
    assert "frechet" in capsys.readouterr().out
    noise = np.random.default_rng(0).integers(0, 256, images.shape).astype(np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    sets = "--real", "fashion_mnist_mini@test[:200]", "--fake", tmp_path / "noise.npy"
    assert evaluate(*sets, "--metrics", "frechet,prdc", "--out", tmp_path / "out.json") == 0
    far = {k: v["value"] for k, v in entries(tmp_path / "out.json")[1]["figures"]["images"].items()}
    assert far["frechet"] > 10 and far["coverage"] < 0.1


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ("", "--workdir: name a run's folder, or instead two sets"),
        ("--workdir {run} --real mnist --fake mnist", "--workdir: name a run's folder, or instead"),
        ("--real fashion_mnist_mini", "--real, --fake: both are needed"),
        ("--workdir nowhere", "--workdir: nowhere is not a run's folder"),
        ("--workdir {run} --metrics fid", "--metrics: there is no 'fid'"),
        ("--workdir {run} --metrics ,", "--metrics: no metric is named"),
        ("--workdir {run} --seeds 0", "--seeds: 0 is not a number of seeds"),
        ("--workdir {run} --seed -1", "--seed: -1 is not within 0"),
        ("--workdir {run} --samples -5", "--samples: -5 is not a number of images"),
        ("--workdir {run} --samples 5 --metrics prdc", "prdc takes 6 images or more, not 5"),
        ("--workdir {run} --samples 15 --metrics diversity", "diversity takes 20 images or more"),
        ("--workdir {run} --split nowhere", "--split: there is no 'nowhere'"),
        ("--workdir {run} --split train[:500] --metrics nearest", "were not trained on"),
        ("--workdir {run} --split train --metrics nearest", "were not trained on"),
        ("--workdir {run} --out a.json", "--out: is for --real and --fake"),
        (
            "--workdir {run} --weights a.pth",
            "--features: weights, sha256 and resize are of",
        ),
        ("--workdir {run} --metrics cas --samples 100", "cas takes 128 images or more, not 100"),
        ("--real ring --fake ring --seeds 2", "--seeds: is of a run's samples"),
        ("--real ring --fake ring --split test", "write --real SET@SPLIT"),
        ("--real ring --fake fashion_mnist_mini --metrics prdc", "one set is of points"),
        ("--real ring --fake ring --samples 10001", "more than the 10,000 images of --fake"),
        ("--workdir {run} --features dinov2_vitl14", "dinov2_vitl14 needs its weights"),
        ("--workdir {run} --features vgg16 --weights none.pth", "there is no file none.pth"),
        (
            "--workdir {run} --features vgg16 --weights https://example.com/vgg.pth",
            "the SHA-256 of https://example.com/vgg.pth is missing",
        ),
        (
            "--real fashion_mnist_mini --fake fashion_mnist_mini --metrics ppl",
            "ppl is of a generator, not of images",
        ),
        (
            "--real ring --fake ring --metrics ms_ssim",
            "ms_ssim is of images, and ring is of points",
        ),
        ("--real swiss_roll --fake ring --metrics modes", "swiss_roll has none"),
        (
            "--real nothing --fake nothing",
            "--real: nothing is neither a file or folder nor",
        ),
        ("--real ring --fake ring --features vgg16", "--features: points are their own"),
        ("--real ring --fake ring --out out.txt", "--out: out.txt is not a .json file"),
    ],
)
def test_mistakes_are_told_in_one_sentence(arguments, reason, run, cache, capsys):
    assert evaluate(*arguments.format(run=run).split()) == 2
    error = capsys.readouterr().err
    assert reason in error and error.startswith("error: ") and error.count("\n") == 1


def test_a_file_that_is_no_list_of_evaluations_is_left_alone(run, cache, tmp_path, capsys):
    out = tmp_path / "out.json"
    out.write_text('{"mine": 1}')
    sets = "--real", "ring", "--fake", "grid", "--metrics", "sliced_wasserstein"
    assert evaluate(*sets, "--out", out) == 2
    assert f"{out}: cannot be added to" in capsys.readouterr().err
    assert out.read_text() == '{"mine": 1}'
