"""Metrics against brute force; `evaluate` from a run's folder to its table."""

import gzip
import json
import struct
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config, data, loop
from jaxgan.cli.main import main
from jaxgan.metrics import classifier, conditional
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


@pytest.fixture(scope="module")
def source(mini, tmp_path_factory):
    """The embedded test images as if they were the original IDX files."""
    folder = tmp_path_factory.mktemp("idx")
    images, labels = mini
    for prefix in ("train", "t10k"):
        content = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape[:3]) + images.tobytes()
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, 1))
        content = struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + labels.astype(np.uint8).tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(content)
    return folder


def test_evaluate_writes_what_it_prints(source, tmp_path, capsys):
    settings = config.tiny(config.load("configs/cgan_mlp.py", ["seed=3"]))
    assert loop.train(settings, tmp_path / "run") == 0
    arguments = ["--workdir", str(tmp_path / "run"), "--source", str(source), "--num", "40"]
    capsys.readouterr()
    assert main(["evaluate", *arguments]) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (result["step"], result["samples"]) == (settings.steps, 40)
    assert result["classifier_test_accuracy"] > 0.7
    assert len(result["accuracy"]) == len(result["diversity"]) == 10
    row = next(line for line in printed.splitlines() if line.startswith("Trouser"))
    expected = f"{result['accuracy']['Trouser']:.1%}", f"{result['diversity']['Trouser']:.1%}"
    assert row.split()[1:] == list(expected)
    assert main(["evaluate", *arguments[:4], "--num", "4"]) == 2
    assert "--num: 4 is fewer" in capsys.readouterr().err


def test_evaluate_refuses_an_unconditional_model(source, tmp_path, capsys):
    settings = config.tiny(config.load("configs/gan_mlp.py"))
    assert loop.train(settings, tmp_path / "run") == 0
    arguments = ["--workdir", str(tmp_path / "run"), "--source", str(source)]
    assert main(["evaluate", *arguments]) == 2
    assert "is unconditional" in capsys.readouterr().err


def test_evaluate_refuses_a_source_of_other_images(source, tmp_path, capsys):
    settings = config.tiny(config.load("configs/cgan_mlp.py", ["data.image_size=14"]))
    assert loop.train(settings, tmp_path / "run") == 0
    assert main(["evaluate", "--workdir", str(tmp_path / "run"), "--source", str(source)]) == 2
    assert "has images of shape (28, 28, 1) in 10 classes" in capsys.readouterr().err


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
