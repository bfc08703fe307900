"""Random pairs of images, and functions in chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.metrics.pairs import in_chunks, mean_over_pairs, random_pairs

KEY = jax.random.key(0)


def test_pairs_are_of_different_images_and_every_pair_comes():
    first, other = (np.asarray(each) for each in random_pairs(KEY, 2000, 5))
    assert (first != other).all()
    counts = np.zeros((5, 5))
    np.add.at(counts, (first, other), 1)
    off = counts[~np.eye(5, dtype=bool)]
    assert abs(off - 100).max() < 5 * 10  # 100 each, with a deviation of 10


def test_pairs_with_labels_are_of_one_class():
    labels = np.array([2, 0, 2, 7, 0, 2, 1])  # 7 and 1 are alone
    first, other = (np.asarray(each) for each in random_pairs(KEY, 2000, 7, labels))
    assert (first != other).all()
    np.testing.assert_array_equal(labels[first], labels[other])
    assert set(first) == set(other) == {0, 1, 2, 4, 5}
    assert {(a, b) for a, b in zip(first, other, strict=True) if labels[a] == 2} == {
        (a, b) for a in (0, 2, 5) for b in (0, 2, 5) if a != b
    }


@pytest.mark.parametrize("labels", [None, np.array([0])])
def test_one_image_has_no_pairs(labels):
    with pytest.raises(ValueError, match="no pairs"):
        random_pairs(KEY, 3, 1, labels)


def test_each_image_has_a_label():
    with pytest.raises(ValueError, match="3 labels for 4 images"):
        random_pairs(KEY, 3, 4, np.zeros(3, int))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 11])
def test_chunks_are_of_one_size_and_give_each_number_once(count):
    sizes = set()

    def squares(numbers):
        sizes.add(len(numbers))
        return jnp.float32(numbers) ** 2

    np.testing.assert_array_equal(in_chunks(squares, 4, count), np.arange(count) ** 2)
    assert sizes == {min(4, count)}


def test_the_mean_over_pairs_is_of_images_of_one_class():
    images = np.uint8(np.arange(6).reshape(6, 1, 1, 1) * np.ones((6, 2, 2, 1)) * 51)

    def apart(a, b):
        return jnp.mean(jnp.abs(a - b), (1, 2, 3))

    labels = np.array([0, 0, 1, 1, 2, 3])
    found = mean_over_pairs(apart, images, KEY, labels, pairs=40, chunk=16)
    np.testing.assert_allclose(found, [0.4, 0], atol=1e-6)
    distances = [abs(i - j) * 0.4 for i in range(6) for j in range(6) if i != j]
    found = mean_over_pairs(apart, images, KEY, pairs=900)
    np.testing.assert_allclose(found.mean, np.mean(distances), atol=4 * float(found.error))
    np.testing.assert_allclose(found.error, np.std(distances) / 30, rtol=0.1)
