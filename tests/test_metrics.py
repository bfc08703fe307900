"""Metrics against brute force; `evaluate` from a run's folder to its table."""

import gzip
import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config, data, loop
from jaxgan.cli.main import main
from jaxgan.metrics import classifier, conditional


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
