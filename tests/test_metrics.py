"""Metrics against brute force; `evaluate` from a run's folder to its table."""

import gzip
import json
import struct
from itertools import permutations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxgan import config, data, experiment, loop
from jaxgan.cli import sample
from jaxgan.cli.main import main
from jaxgan.metrics import classifier, conditional
from jaxgan.metrics.coverage import coverage_and_density
from jaxgan.metrics.diversity import diversity
from jaxgan.metrics.sliced import project, sliced_wasserstein


def test_accuracy_is_the_share_of_each_class():
    logits = jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [5.0, 0.0, 4.0], [0.0, 0.0, 1.0]])
    accuracy = conditional.accuracy(logits, jnp.array([0, 0, 0, 2]), 3)
    np.testing.assert_allclose(accuracy, [2 / 3, np.nan, 1.0], rtol=1e-6)


def test_mean_pairwise_distance_equals_brute_force():
    images = np.random.default_rng(0).normal(size=(7, 3, 4, 2)).astype(np.float32)
    pairs = [np.linalg.norm(images[i] - images[j]) for i in range(7) for j in range(7) if i != j]
    distance = conditional.mean_pairwise_distance(jnp.asarray(images))
    np.testing.assert_allclose(distance, np.mean(pairs), rtol=1e-5)
    same = jnp.broadcast_to(jnp.asarray(images[:1]), images.shape)
    assert conditional.mean_pairwise_distance(same) < 1e-2


@pytest.fixture(scope="module")
def mini():
    dataset = data.load("fashion_mnist_mini", "test")
    return dataset.images, dataset.labels


def test_classifier_learns(mini):
    images, labels = data.to_float(mini[0]), jnp.asarray(mini[1])
    network = classifier.Classifier(10, features=(8, 16))
    seen = images[:1000], labels[:1000], jax.random.key(0)
    params = classifier.train(network, *seen, epochs=4)
    logits = classifier.predict(network, params, images)
    assert logits.shape == (2000, 10)
    right = logits.argmax(-1) == mini[1]
    assert right[1000:].mean() > 0.6  # chance is 0.1
    features = classifier.features(network, params, images)
    assert features.shape == (2000, 256)
    assert features.min() == 0 < features.max()
    last = params["params"]["Dense_1"]
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"][None], logits, atol=1e-3)


@pytest.fixture(scope="module")
def source(mini, tmp_path_factory):
    """The embedded test images as if they were the original IDX files: 1,600 to train, 400 not."""
    folder = tmp_path_factory.mktemp("idx")
    for prefix, part in {"train": slice(1600), "t10k": slice(1600, None)}.items():
        images, labels = mini[0][part], mini[1][part]
        content = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape[:3]) + images.tobytes()
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, 1))
        content = struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + labels.astype(np.uint8).tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unconditional") / "run"
    settings = config.tiny(config.load("configs/gan_mlp.py", ["data.split=test"]))
    assert loop.train(settings, workdir) == 0
    return workdir


def test_evaluate_writes_what_it_prints(source, unconditional, tmp_path, capsys):
    settings = config.tiny(config.load("configs/cgan_mlp.py", ["seed=3"]))
    assert loop.train(settings, tmp_path / "run") == 0
    runs = [str(tmp_path / "run"), str(unconditional)]
    arguments = ["--source", str(source), "--workdir", *runs, "--num", "40"]
    capsys.readouterr()
    assert main(["evaluate", *arguments]) == 0
    printed, warned = capsys.readouterr()
    assert warned.startswith(f"warning: the run in {runs[1]} was trained on data.split=test")
    assert warned.count("warning") == 1
    result, of_plain = (json.loads(Path(run, "evaluation.json").read_text()) for run in runs)
    assert (result["step"], result["samples"]) == (settings.steps, 40)
    assert result["classifier_test_accuracy"] > 0.7
    assert len(result["accuracy"]) == len(result["diversity"]) == 10
    row = next(line for line in printed.splitlines() if line.startswith("Trouser"))
    expected = f"{result['accuracy']['Trouser']:.1%}", f"{result['diversity']['Trouser']:.1%}"
    assert row.split()[1:] == list(expected)
    classes = {"accuracy", "diversity"}
    assert set(of_plain) == set(result) - classes == set(result) ^ classes
    for run, figures in zip(runs, (result, of_plain), strict=True):
        row = next(line for line in printed.splitlines()[-2:] if line.startswith(run))
        coverage, density = f"{figures['coverage']:.1%}", f"{figures['density']:.2f}"
        assert row.split()[1:] == [coverage, density, f"{figures['real_coverage']:.1%}"]
        assert figures["statistics"] == "running"
        assert figures["coverage"] < 0.3 < 0.7 < figures["real_coverage"]  # 4 steps, and 0.97
    for num, reason in {
        "4": "is fewer than two images a class",
        "401": "is more than the 400 test images",
        "2001": "is more than the 2,000 images that the run in",
    }.items():
        assert main(["evaluate", *arguments[:-1], num]) == 2
        assert f"--num: {int(num):,} {reason}" in capsys.readouterr().err


def test_evaluate_measures_by_the_test_images(source, mini, unconditional, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (60, 28, 28, 1)).astype(np.uint8)
    drawn, asked = np.concatenate([mini[0][:40], noise]), []
    network = classifier.Classifier(10)
    params = network.init(jax.random.key(5), jnp.zeros((1, 28, 28, 1)))
    monkeypatch.setattr(classifier, "train", lambda *_: params)
    monkeypatch.setattr(sample, "draw", lambda *_, **named: asked.append(named) or drawn)
    arguments = ["--workdir", str(unconditional), "--source", str(source), "--num", "100"]
    assert main(["evaluate", *arguments, "--statistics", "batch"]) == 0
    assert asked == [{"statistics": "batch"}]
    result = json.loads((unconditional / "evaluation.json").read_text())
    assert result["statistics"] == "batch"

    def features(images):
        chosen = np.random.default_rng(0).permutation(len(images))[:100]
        return classifier.features(network, params, data.to_float(images[chosen]))

    held_out, of_drawn = features(mini[0][1600:]), features(drawn)  # no order is in the drawn ones
    of_train = features(mini[0])  # this run's data
    found = result["coverage"], result["density"]
    np.testing.assert_allclose(found, one_by_one(held_out, of_drawn, 5), rtol=1e-5)
    assert 0.1 < result["coverage"] < 0.9
    np.testing.assert_allclose(result["real_coverage"], one_by_one(held_out, of_train, 5)[0])


def test_evaluate_refuses_points_and_too_few_samples(tmp_path, monkeypatch, capsys):
    derived = {"image_shape": [2], "num_classes": 0, "num_examples": 0}
    run = ConfigDict({"derived": derived}), None, None
    monkeypatch.setattr(experiment, "load_run", lambda _: run)
    arguments = ["evaluate", "--workdir", "ring", "--source", str(tmp_path)]
    assert main(arguments) == 2
    assert "--workdir: the run in ring is of points" in capsys.readouterr().err
    run[0].derived.image_shape = [28, 28, 1]
    assert main([*arguments, "--num", "5"]) == 2
    assert "--num: 5 is fewer than 6 images" in capsys.readouterr().err


def test_evaluate_refuses_a_source_of_other_images(source, tmp_path, capsys):
    settings = config.tiny(config.load("configs/cgan_mlp.py", ["data.image_size=14"]))
    assert loop.train(settings, tmp_path / "run") == 0
    assert main(["evaluate", "--workdir", str(tmp_path / "run"), "--source", str(source)]) == 2
    assert "has images of shape (28, 28, 1) in 10 classes" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# Coverage and density


def one_by_one(real, fake, k):
    """Coverage and density as they are defined, in float64."""
    real, fake = np.float64(real), np.float64(fake)
    covered, held = 0, 0
    for i, center in enumerate(real):
        others = sorted(np.linalg.norm(center - x) for j, x in enumerate(real) if j != i)
        inside = sum(np.linalg.norm(center - x) < others[k - 1] for x in fake)
        covered, held = covered + (inside > 0), held + inside
    return covered / len(real), held / (k * len(fake))


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("k", [1, 5])
def test_coverage_and_density_against_one_by_one(k):
    real, fake = normal(0, 300, 6) + 50, 1.3 * normal(1, 170, 6) + 50.5  # more than one chunk
    found = coverage_and_density(real, fake, k)
    np.testing.assert_allclose(found, one_by_one(real, fake, k), rtol=1e-5)
    swapped = coverage_and_density(fake, real, k)
    assert np.abs(np.subtract(found, swapped)).min() > 0.02


def test_coverage_by_hand():
    # The second of the others is at 3, 2, 2, 4, 6. The first fake image lies in the ball of 0, the
    # second in those of 3, 5 and 9.
    real = jnp.array([[0.0], [1.0], [3.0], [5.0], [9.0]])
    fake = jnp.array([[-2.5], [3.5]])
    np.testing.assert_allclose(coverage_and_density(real, fake, 2), (4 / 5, 4 / (2 * 2)))
    np.testing.assert_allclose(coverage_and_density(real, real[4:] + 3, 2), (1 / 5, 1 / 2))


def test_identical_sets_are_covered():
    real = normal(0, 400, 8)
    np.testing.assert_allclose(coverage_and_density(real, real), (1, 1), rtol=1e-6)


def test_a_collapsed_generator_is_dense_and_covers_little():
    real = normal(0, 500, 6)
    found = coverage_and_density(real, 1e-3 * normal(1, 500, 6))  # in the middle
    assert found.coverage < 0.05
    assert found.density > 1.5
    np.testing.assert_allclose(found.coverage, found.density * 5 / 500, rtol=0.2)  # same few balls


def test_a_lost_mode_is_not_covered():
    real = normal(0, 500, 2)
    both = jnp.concatenate([real - 40, real])
    np.testing.assert_allclose(coverage_and_density(both, real), (0.5, 1), rtol=0.1)
    np.testing.assert_allclose(coverage_and_density(real, both), (1, 0.5), rtol=0.1)


def test_samples_of_one_distribution_are_covered_as_lemma_2_says():
    n, m, k, repeats = 40, 20, 3, 400
    real, fake = normal(0, repeats, n, 4), normal(1, repeats, m, 4)
    of_each = jax.vmap(lambda real, fake: coverage_and_density(real, fake, k))(real, fake)
    missed = np.prod([(n - i) / (m + n - i) for i in range(1, k + 1)])
    expected = 1 - missed, 1.0
    error = np.std(of_each, 1) / np.sqrt(repeats)
    assert error.max() < 0.02
    np.testing.assert_array_less(np.abs(np.mean(of_each, 1) - expected), 4 * error)


@pytest.mark.parametrize("k", [0, 8])
def test_coverage_needs_k_other_images(k):
    with pytest.raises(ValueError, match=f"k: {k} is not within 1 to 7"):
        coverage_and_density(normal(0, 8, 2), normal(1, 8, 2), k)


# --------------------------------------------------------------------------------------------------
# Cheap signs: diversity within classes, sliced Wasserstein distance


def test_diversity_is_the_pooled_deviation_within_classes():
    random = np.random.default_rng(0)
    points = random.normal(size=(12, 2)).astype(np.float32)
    labels = np.array([0, 1, 2] * 4, np.int32)
    groups = [points[labels == label] for label in range(3)]
    squares = sum(np.sum((group - group.mean(0)) ** 2) for group in groups)
    expected = np.sqrt(squares / (12 - 3) / 2)
    np.testing.assert_allclose(
        diversity(jnp.asarray(points), jnp.asarray(labels)), expected, rtol=1e-5
    )
    whole = np.sqrt(np.mean(points.var(0, ddof=1)))
    np.testing.assert_allclose(diversity(jnp.asarray(points)), whole, rtol=1e-5)


def test_diversity_does_not_depend_on_how_many_there_are_of_a_class():
    random = np.random.default_rng(1)
    images = random.normal(size=(4096, 2)).astype(np.float32) * 0.3
    for classes in (1, 10, 1000):
        labels = random.integers(0, classes, 4096).astype(np.int32)
        shifted = images + 5 * labels[:, None].astype(np.float32)
        np.testing.assert_allclose(
            diversity(jnp.asarray(shifted), jnp.asarray(labels)), 0.3, rtol=0.05
        )


@pytest.mark.parametrize("size, pooled", [(8, 8), (28, 7), (64, 8), (100, 7)])
def test_diversity_is_of_pictures_of_at_most_eight_pixels(size, pooled):
    random = np.random.default_rng(2)
    images = random.normal(size=(16, size, size, 3)).astype(np.float32)
    square = -(-size // 8)
    used = images[:, : pooled * square, : pooled * square]
    means = used.reshape(16, pooled, square, pooled, square, 3).mean((2, 4)).reshape(16, -1)
    expected = np.sqrt(np.mean(means.var(0, ddof=1)))
    np.testing.assert_allclose(diversity(jnp.asarray(images)), expected, rtol=1e-4)


def test_a_collapsed_batch_has_no_diversity():
    images = jax.random.normal(jax.random.key(3), (8, 28, 28, 1))
    assert diversity(jnp.repeat(images[:1], 8, 0)) < 1e-6
    assert diversity(images) > 0.1
    assert diversity(images, jnp.arange(8)) < 1e-6  # each has a class to itself


def test_sliced_wasserstein_of_a_shift():
    key, d = jax.random.key(0), 300
    real = jax.random.normal(jax.random.key(1), (500, d))
    shift = jnp.zeros(d).at[3].set(4.0).at[7].set(3.0)
    distance = sliced_wasserstein(project(key, real), project(key, real + shift[None]))
    np.testing.assert_allclose(distance, 5 / np.sqrt(d), rtol=0.15)  # 256 random directions
    assert sliced_wasserstein(project(key, real), project(key, real[::-1])) == 0


def test_sliced_wasserstein_of_gaussians_of_other_widths():
    key = jax.random.key(0)
    narrow, wide = (jax.random.normal(jax.random.key(n), (20_000, 4)) * n for n in (1, 3))
    distance = sliced_wasserstein(project(key, narrow), project(key, wide))
    np.testing.assert_allclose(distance, 2.0, rtol=0.02)  # W_2 of N(0, 1) and N(0, 9)


def test_sliced_wasserstein_against_pairs_found_one_by_one():
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(2, 5, 3)).astype(np.float32)
    least = [
        min(np.mean((real[:, p] - fake[list(order), p]) ** 2) for order in permutations(range(5)))
        for p in range(3)
    ]
    np.testing.assert_allclose(
        sliced_wasserstein(*map(jnp.asarray, (real, fake))), np.sqrt(np.mean(least)), rtol=1e-5
    )
