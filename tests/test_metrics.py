"""Metrics against brute force."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data
from jaxgan.metrics import classifier, conditional
from jaxgan.metrics.diversity import diversity
from jaxgan.metrics.neighbours import held
from jaxgan.metrics.sliced import project, sliced_wasserstein


def test_accuracy_is_the_share_of_each_class():
    accuracy = conditional.accuracy(jnp.array([0, 1, 0, 2]), jnp.array([0, 0, 0, 2]), 3)
    np.testing.assert_allclose(accuracy, [2 / 3, np.nan, 1.0], rtol=1e-6)


def test_mean_pairwise_distances_equal_brute_force():
    images = np.random.default_rng(0).normal(size=(9, 3, 4, 2)).astype(np.float32)
    labels = jnp.array([0, 2, 0, 0, 3, 2, 2, 0, 2])  # none of 1, one of 3
    found = conditional.mean_pairwise_distances(jnp.asarray(images), labels, 4)
    for label in (0, 2):
        own = images[np.asarray(labels) == label]
        pairs = [np.linalg.norm(a - b) for i, a in enumerate(own) for b in own[:i]]
        np.testing.assert_allclose(found[label], np.mean(pairs), rtol=1e-5)
    assert np.isnan(found[1]) and np.isnan(found[3])
    same = jnp.broadcast_to(jnp.asarray(images[:1]), images.shape)
    assert conditional.mean_pairwise_distances(same, jnp.zeros(9, int), 1) < 1e-2


@pytest.fixture(scope="module")
def mini():
    dataset = data.load("fashion_mnist_mini", "test")
    return dataset.images, dataset.labels


def test_classifier_learns(mini):
    images, labels = mini
    network = classifier.Classifier(10, features=(8, 16))
    params = classifier.train(network, images[:1000], labels[:1000], jax.random.key(0), epochs=4)
    right = classifier.accuracy(network, params, images[1000:], labels[1000:])
    assert right > 0.6  # chance is 0.1
    features, logits = network.apply(params, data.to_float(images[:100]))
    np.testing.assert_allclose(right, 0.7, atol=0.15)
    assert features.shape == (100, 256) and features.min() == 0 < features.max()
    last = params["params"]["Dense_1"]
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"][None], logits, atol=1e-3)


def test_large_images_are_averaged_for_the_classifier():
    network, images = classifier.Classifier(3), normal(0, 2, 128, 128, 1)
    params = network.init(jax.random.key(0), images)
    small = images.reshape(2, 64, 2, 64, 2, 1).mean((2, 4))
    found = network.apply(params, images)[1], network.apply(params, small)[1]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


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
    found = held(real, fake, k)
    np.testing.assert_allclose(
        (found.coverage, found.density), one_by_one(real, fake, k), rtol=1e-5
    )
    swapped = held(fake, real, k)
    assert np.abs(np.subtract(found, swapped)).min() > 0.02
    np.testing.assert_allclose((found.precision, found.recall), (swapped.recall, swapped.precision))


def test_coverage_by_hand():
    # The second of the others is at 3, 2, 2, 4, 6. The first fake image lies in the ball of 0, the
    # second in those of 3, 5 and 9, the third in none; theirs reach to 43.5, 37.5 and 43.5 - 1.
    real = jnp.array([[0.0], [1.0], [3.0], [5.0], [9.0]])
    fake = jnp.array([[-2.5], [3.5], [41.0]])
    np.testing.assert_allclose(held(real, fake, 2), (2 / 3, 1, 4 / (2 * 3), 4 / 5))


def test_identical_sets_are_covered():
    real = normal(0, 400, 8)
    np.testing.assert_allclose(held(real, real), (1, 1, 1, 1), rtol=1e-6)


def test_a_collapsed_generator_is_dense_and_covers_little():
    real = normal(0, 500, 6)
    found = held(real, 1e-3 * normal(1, 500, 6))  # in the middle
    assert found.coverage < 0.05
    assert found.density > 1.5
    np.testing.assert_allclose(found.coverage, found.density * 5 / 500, rtol=0.2)  # same few balls


def test_a_lost_mode_is_not_covered():
    real = normal(0, 500, 2)
    both = jnp.concatenate([real - 40, real])
    lost, added = held(both, real), held(real, both)
    np.testing.assert_allclose((lost.precision, lost.recall), (1, 0.5), rtol=0.1)
    np.testing.assert_allclose((lost.coverage, lost.density), (0.5, 1), rtol=0.1)
    np.testing.assert_allclose((added.precision, added.recall), (0.5, 1), rtol=0.1)
    np.testing.assert_allclose((added.coverage, added.density), (1, 0.5), rtol=0.1)


def test_samples_of_one_distribution_are_covered_as_lemma_2_says():
    n, m, k, repeats = 40, 20, 3, 400
    real, fake = normal(0, repeats, n, 4), normal(1, repeats, m, 4)
    found = jax.vmap(lambda real, fake: held(real, fake, k))(real, fake)
    of_each = found.coverage, found.density
    missed = np.prod([(n - i) / (m + n - i) for i in range(1, k + 1)])
    expected = 1 - missed, 1.0
    error = np.std(of_each, 1) / np.sqrt(repeats)
    assert error.max() < 0.02
    np.testing.assert_array_less(np.abs(np.mean(of_each, 1) - expected), 4 * error)


@pytest.mark.parametrize("k", [0, 8])
def test_coverage_needs_k_other_images(k):
    with pytest.raises(ValueError, match=f"k: {k} is not within 1 to 7"):
        held(normal(0, 8, 2), normal(1, 8, 2), k)


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
