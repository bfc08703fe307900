"""Each metric moves the right way, and the further the worse the images are."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import data, evaluation, parallel, references
from jaxgan.metrics import METRICS, Scene

SECTION = {"name": "fashion_mnist_mini", "dir": "", "path": "", "split": "train", "image_size": 0}
IMAGES = 600  # of each set
# Of images alone, with weights that are here.
NAMES = [name for name, each in METRICS.items() if not each.needs & {"perceptual", "bounds"}]
NEEDS = frozenset().union(*(METRICS[name].needs for name in NAMES))


@pytest.fixture(scope="module")
def sets():
    """A function that measures images against 600 others, after training on 600 more."""
    train = data.load("fashion_mnist_mini", "train")
    test = data.load("fashion_mnist_mini", "test")
    network = references.classifier_of(SECTION, train, Path())
    mesh = parallel.mesh_of(jax.devices()[:1])
    examiner = evaluation.Examiner({"features": network, "classifier": network}, mesh)

    def see(images, labels):
        def read(numbers):
            return images[numbers], labels[numbers]

        count = len(images)
        examples = evaluation.Examples(count, count, (28, 28, 1), train.class_names, read, {})
        return examiner.examples(examples, NEEDS, "")

    trained, held_out = (
        (each.images[first : first + IMAGES], each.labels[first : first + IMAGES])
        for each, first in ((train, 0), (test, 0))
    )
    scene = Scene(jax.random.key(0), train.class_names, training=see(*trained))
    real = see(*held_out)

    def measure(images, labels, wanted):
        fake, values = see(images, labels), {}
        for name in NAMES:
            if wanted & METRICS[name].values.keys():
                values |= METRICS[name].measure(real, fake, scene)
        return {name: evaluation.number(value) for name, value in values.items()}

    honest = train.images[IMAGES : 2 * IMAGES], train.labels[IMAGES : 2 * IMAGES]
    return measure, honest, trained


def noisy(images, labels, amount):
    noise = np.random.default_rng(0).normal(0, amount, images.shape)
    return np.uint8(np.clip(images + noise, 0, 255)), labels


def shifted(images, labels, amount):
    return np.uint8(np.clip(np.int32(images) + amount, 0, 255)), labels


def without_classes(images, labels, amount):
    kept = labels >= amount
    return np.resize(images[kept], images.shape), np.resize(labels[kept], labels.shape)


def collapsed(images, labels, amount):
    few = IMAGES // amount
    return np.resize(images[:few], images.shape), np.resize(labels[:few], labels.shape)


# What worsens images, how far, and which way each value goes.
WORSE = {
    noisy: (
        (0, 40, 90),
        "frechet intra_frechet kernel sliced_wasserstein spectrum nearest_ratio",
        "precision density coverage recall accuracy parzen nearer_than_held_out",
    ),
    shifted: ((0, 30, 80), "frechet intra_frechet kernel sliced_wasserstein", "coverage parzen"),
    without_classes: (
        (0, 3, 8),
        "frechet kernel sliced_wasserstein spectrum reverse_kl",
        "recall coverage score cas modes parzen",
    ),
    collapsed: (
        (1, 10, 60),
        "frechet kernel sliced_wasserstein ms_ssim",
        "coverage diversity parzen cas",
    ),
}


@pytest.mark.parametrize("worsen", WORSE, ids=lambda f: f.__name__)
def test_worse_images_have_worse_figures(sets, worsen):
    measure, honest, _ = sets
    amounts, rising, falling = WORSE[worsen]
    wanted = {*rising.split(), *falling.split(), "accuracy"}
    found = [measure(*worsen(*honest, amount), wanted) for amount in amounts]
    told = "\n".join(f"{name}: {[each[name] for each in found]}" for name in found[0])
    for name in rising.split():
        assert found[0][name] < found[1][name] < found[2][name], f"{name} does not rise\n{told}"
    for name in falling.split():
        assert found[0][name] > found[1][name] > found[2][name], f"{name} does not fall\n{told}"
    if worsen is collapsed:  # each image is as good as before
        assert (
            found[2]["precision"] > 0.8 and found[2]["recall"] < 0.1 and found[2]["accuracy"] > 0.8
        )


def test_copies_of_training_images_are_found_out(sets):
    measure, (images, labels), (copies, of_copies) = sets
    found = []
    for share in (0.0, 0.4, 1.0):
        few = int(share * IMAGES)
        mixed = np.concatenate([copies[:few], images[few:]])
        of_mixed = np.concatenate([of_copies[:few], labels[few:]])
        found.append(measure(mixed, of_mixed, {"frechet", "nearest_ratio"}))
    nearer = [each["nearer_than_held_out"] for each in found]
    np.testing.assert_allclose(nearer[0], 0.5, atol=0.06)
    np.testing.assert_allclose(nearer, [nearer[0], 0.4 + 0.6 * nearer[0], 1], atol=0.03)
    assert found[0]["nearest_ratio"] > 0.9 and found[2]["nearest_ratio"] == 0
    assert found[2]["frechet"] < 1.5 * found[0]["frechet"]  # which does not see it
