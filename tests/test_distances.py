"""Distances between sets of features, against closed forms and other implementations."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d

from jaxgan.metrics import modes as modes_
from jaxgan.metrics.frechet import Moments, frechet, join, moments
from jaxgan.metrics.kernel import kernel_distance, squared_discrepancy
from jaxgan.metrics.neighbours import held, nearest
from jaxgan.metrics.parzen import log_likelihood
from jaxgan.metrics.score import classifier_score
from jaxgan.metrics.spectrum import compare, power_spectrum
from jaxgan.metrics.ssim import ms_ssim
from tests.golden import features

GOLDEN = Path(__file__).parent / "golden"
random = np.random.default_rng


def gaussian(mean, covariance):
    """Moments of a Gaussian that is known."""
    return Moments(2, np.asarray(mean, float), np.asarray(covariance, float))


# --------------------------------------------------------------------------------------------------
# Fréchet distance


@pytest.mark.parametrize("size", [2, 64, 2048])
def test_frechet_of_gaussians_with_the_same_axes(size):
    # Covariances that commute: |m1 - m2|^2 + sum (s1 - s2)^2
    axes, _ = np.linalg.qr(random(0).normal(size=(size, size)))
    a, b = random(1).uniform(0.1, 3, (2, size))
    mean = random(2).normal(size=size)
    first = gaussian(np.zeros(size), axes * a**2 @ axes.T)
    second = gaussian(mean, axes * b**2 @ axes.T)
    expected = mean @ mean + np.sum((a - b) ** 2)
    np.testing.assert_allclose(frechet(first, second), expected, rtol=1e-10)
    if size < 2048:
        assert frechet(first, first) < 1e-9 * size


@pytest.mark.parametrize("size", [2, 64, 512])
def test_frechet_of_any_two_gaussians(size):
    # B A B^T against A: tr (A C)^(1/2) by the eigenvalues of the product, which is not symmetric
    a, b = random(3).normal(size=(2, size, 2 * size)) / math.sqrt(size)
    first, second = a @ a.T, b @ b.T
    root = np.sqrt(np.linalg.eigvals(first @ second).real).sum()
    expected = np.trace(first) + np.trace(second) - 2 * root
    found = frechet(gaussian(np.zeros(size), first), gaussian(np.zeros(size), second))
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_frechet_of_singular_covariances():
    # Of rank r in d dimensions, in the same subspace: the distance there. Naive roots lose it.
    size, rank = 2048, 20
    basis, _ = np.linalg.qr(random(4).normal(size=(size, rank)))
    a, b = random(5).uniform(0.5, 2, (2, rank))
    first, second = (gaussian(np.zeros(size), basis * s**2 @ basis.T) for s in (a, b))
    np.testing.assert_allclose(frechet(first, second), np.sum((a - b) ** 2), rtol=1e-9)


def test_frechet_of_fewer_samples_than_dimensions():
    # tr (C1 C2)^(1/2) is the sum of the singular values of X Y^T / sqrt((n - 1) (m - 1))
    x, y = random(6).normal(size=(50, 300)), 2 * random(7).normal(size=(40, 300)) + 1
    centred = [each - each.mean(0) for each in (x, y)]
    crossing = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) - 2 * crossing / math.sqrt(49 * 39)
    expected += np.sum(centred[0] ** 2) / 49 + np.sum(centred[1] ** 2) / 39
    found = frechet(moments(np.float32(x)), moments(np.float32(y)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_streamed_moments_are_those_of_all():
    # Far from 0, where the mean of squares less the square of the mean would lose all digits.
    features = np.float32(1e4 + random(8).normal(size=(90, 7)))
    joined = moments(features[:50])
    joined = join(joined, moments(features[50:52]))
    joined = join(joined, moments(features[52:]))
    exact = np.float64(features)
    assert joined.number == 90
    np.testing.assert_allclose(joined.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(joined.covariance, np.cov(exact.T), rtol=1e-9)
    with pytest.raises(ValueError, match="two features or more, not 1"):
        moments(features[:1]).covariance  # noqa: B018


# --------------------------------------------------------------------------------------------------
# Others' numbers, see golden/make_metrics.py


@pytest.fixture(scope="module")
def others():
    return json.loads((GOLDEN / "metrics.json").read_text())


@pytest.mark.parametrize("number", [None, features.FEW], ids=["many", "fewer than dimensions"])
def test_frechet_is_torch_fidelitys_and_clean_fids(number, others):
    real, fake, _ = features.draw()
    found = frechet(moments(real[:number]), moments(fake[:number]))
    for name, value in others["frechet" if number is None else "frechet of few"].items():
        np.testing.assert_allclose(found, value, rtol=1e-7, err_msg=name)


def test_the_discrepancy_is_torch_fidelitys_and_clean_fids(others):
    real, fake, _ = features.draw()
    found = squared_discrepancy(jnp.float32(real), jnp.float32(fake))
    for name, value in others["kernel"].items():
        np.testing.assert_allclose(found, value, rtol=1e-5, err_msg=name)


def test_neighbours_are_torch_fidelitys_and_prdcs(others):
    real, fake, _ = map(jnp.float32, features.draw())
    for name, values in others["neighbours"].items():
        found = held(real, fake, int(name[-1]))._asdict()
        for value, expected in values.items():
            np.testing.assert_allclose(found[value], expected, rtol=1e-6, err_msg=f"{name} {value}")


def test_the_score_is_torch_fidelitys(others):
    found = classifier_score(jnp.float32(features.draw()[2]))
    np.testing.assert_allclose(found.mean, others["score"]["torch-fidelity"], rtol=1e-6)
    of_splits = others["score"]["of the splits"]  # their deviation, with 10 below the line
    np.testing.assert_allclose(found.error, of_splits / math.sqrt(9), rtol=1e-5)


# --------------------------------------------------------------------------------------------------
# Kernel distance, score


def test_the_discrepancy_by_loops():
    x, y = random(9).normal(size=(6, 4)), random(10).normal(size=(5, 4)) + 0.5
    k = lambda a, b: (a @ b / 4 + 1) ** 3  # noqa: E731
    within = [
        np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
        for s in (x, y)
    ]
    between = np.mean([k(a, b) for a in x for b in y])
    found = squared_discrepancy(jnp.float32(x), jnp.float32(y))
    np.testing.assert_allclose(found, sum(within) - 2 * between, rtol=1e-4)


def test_the_kernel_distance_of_one_distribution_is_nothing():
    x, y = jnp.float32(random(11).normal(size=(2, 2000, 16)))
    same = kernel_distance(x, y, jax.random.key(0), subsets=50, size=200)
    assert abs(same.mean) < 4 * same.error
    far = [
        kernel_distance(x, y + shift, jax.random.key(0), subsets=20).mean for shift in (0.1, 0.3)
    ]
    assert 10 * same.error < far[0] < far[1]


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("size", [100, 300])
def test_the_kernel_distances_error_is_that_of_repeats(shift, size):
    found = []
    for n in range(60):
        x, y = jnp.float32(random(100 + n).normal(size=(2, 300, 8)))
        found.append(kernel_distance(x, y + shift, jax.random.key(n), subsets=20, size=size))
    means, errors = np.array(found).T
    # 60 repeats know the deviation to 9 %.
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2)), np.std(means), rtol=0.3)


def test_scores_ends():
    sure = 50 * jnp.eye(4)[jnp.arange(40) % 4]
    np.testing.assert_allclose(classifier_score(sure, splits=2).mean, 4, rtol=1e-5)
    alike = jnp.broadcast_to(jnp.float32([[3, 1, 0, 2]]), (40, 4))
    np.testing.assert_allclose(classifier_score(alike).mean, 1, rtol=1e-5)


def test_score_by_hand():
    logits = random(12).normal(size=(6, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = [np.exp(np.mean(np.sum(q * np.log(q / q.mean(0)), 1))) for q in (p[:3], p[3:])]
    found = classifier_score(jnp.float32(logits), splits=2)
    np.testing.assert_allclose(found.mean, np.mean(scores), rtol=1e-5)
    np.testing.assert_allclose(found.error, np.std(scores, ddof=1) / math.sqrt(2), rtol=1e-4)


# --------------------------------------------------------------------------------------------------
# Neighbours


@pytest.mark.parametrize("k", [1, 3])
def test_all_four_one_by_one(k):
    real, fake = random(13).normal(size=(40, 3)), 0.7 * random(14).normal(size=(30, 3)) + 0.3
    apart = lambda a, b: np.linalg.norm(a[:, None] - b[None], axis=2)  # noqa: E731
    radius = lambda a: np.sort(apart(a, a), 1)[:, k]  # noqa: E731
    in_real = apart(fake, real) < radius(real)[None]
    in_fake = apart(real, fake) < radius(fake)[None]
    found = held(jnp.float32(real), jnp.float32(fake), k)
    np.testing.assert_allclose(found.precision, in_real.any(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(found.recall, in_fake.any(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(found.density, in_real.sum() / (k * 30), rtol=1e-6)
    np.testing.assert_allclose(found.coverage, in_real.any(0).mean(), rtol=1e-6)
    assert found.precision != found.recall


def test_a_collapsed_generator_is_precise_and_recalls_little():
    real = jnp.float32(random(15).normal(size=(500, 2)))
    fake = 0.05 * jnp.float32(random(16).normal(size=(500, 2)))
    found = held(real, fake)
    assert found.precision == 1 and found.recall < 0.05
    turned = held(fake, real)  # scattered over all, mostly far from a narrow reality
    assert turned.precision < 0.05 and turned.recall == 1


def test_the_nearest_training_image_is_found():
    training = jnp.float32(random(17).normal(size=(300, 8)))
    copies = training[jnp.array([5, 200])] + 1e-3
    distances, numbers = nearest(copies, training)
    np.testing.assert_array_equal(numbers, [5, 200])
    np.testing.assert_allclose(distances, 1e-3 * math.sqrt(8), rtol=1e-2)


# --------------------------------------------------------------------------------------------------
# Images


def test_the_spectrum_of_a_wave_is_at_its_frequency():
    wave = np.cos(2 * np.pi * 3 * np.arange(16) / 16)
    images = jnp.float32(np.broadcast_to(wave[None, None, :, None], (2, 16, 16, 1)))
    power = power_spectrum(images)
    assert power.shape == (2, 12)
    assert np.argmax(power[0]) == 3
    # Two of the frequencies of that ring have (1/2)^2 each.
    along = np.fft.fftfreq(16) * 16
    ring = np.rint(np.hypot(along[:, None], along[None])) == 3
    np.testing.assert_allclose(power[0, 3], 0.5 / ring.sum(), rtol=1e-4)
    assert np.delete(np.asarray(power[0]), 3).max() < 1e-10


def test_a_checkerboard_is_far_in_the_spectrum():
    images = jnp.float32(random(18).normal(size=(50, 16, 16, 1)))
    board = jnp.float32(np.indices((16, 16)).sum(0) % 2 * 2 - 1).reshape(1, 16, 16, 1)
    near, far = (
        compare(*map(power_spectrum, (images[:25], images[25:] + amount * board)))
        for amount in (0.0, 2.0)
    )
    assert near.distance < 1 < 5 < far.distance  # dB
    np.testing.assert_allclose(far.real, near.real, rtol=1e-5)
    assert np.argmax(far.fake - far.real) == 11  # the corner
    gap = np.sqrt(np.mean((np.asarray(far.fake) - np.asarray(far.real)) ** 2))
    np.testing.assert_allclose(far.distance, gap, rtol=1e-5)


def test_ms_ssim_by_hand():
    # Wang et al. 2004, equations 6 to 13, in float64 by scipy, of pixels in [0, 1].
    a, b = random(24).uniform(size=(2, 30, 30)) * [[[0.3]], [[0.4]]] + 0.4  # near grey
    found = ms_ssim(*(jnp.float32(2 * x - 1)[None, :, :, None] for x in (a, b)))
    line = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    window = np.outer(line, line) / line.sum() ** 2
    product, weights = 1.0, np.array([0.0448, 0.2856]) / (0.0448 + 0.2856)
    for scale, weight in enumerate(weights):
        blurred = lambda x: convolve2d(x, window, "valid")  # noqa: E731
        means = blurred(a), blurred(b)
        variances = blurred(a * a) - means[0] ** 2, blurred(b * b) - means[1] ** 2
        structure = 2 * (blurred(a * b) - means[0] * means[1]) + 0.03**2
        structure /= sum(variances) + 0.03**2
        luminance = (2 * means[0] * means[1] + 0.01**2) / (means[0] ** 2 + means[1] ** 2 + 0.01**2)
        product *= np.mean(structure * luminance if scale == 1 else structure) ** weight
        if scale == 0:
            a, b = (x.reshape(15, 2, 15, 2).mean((1, 3)) for x in (a, b))
    np.testing.assert_allclose(found, [product], rtol=1e-4)


def test_ms_ssim_of_the_same_is_one_and_falls_with_noise():
    a = jnp.float32(random(19).uniform(-1, 1, (4, 48, 48, 3)))
    noise = jnp.float32(random(20).normal(size=a.shape))
    found = [ms_ssim(a, a + amount * noise) for amount in (0.0, 0.1, 0.5)]
    np.testing.assert_allclose(found[0], 1, rtol=1e-5)
    assert (found[0] > found[1]).all() and (found[1] > found[2]).all()
    with pytest.raises(ValueError, match="8 pixels"):
        ms_ssim(a[:, :8, :8], a[:, :8, :8])


def test_parzen_windows_by_hand():
    samples, test, sigma = random(21).normal(size=(5, 3)), random(22).normal(size=(4, 3)), 0.4
    squares = np.sum((test[:, None] - samples[None]) ** 2, 2)
    density = np.exp(-squares / (2 * sigma**2)) / (2 * np.pi * sigma**2) ** 1.5
    logs = np.log(density.mean(1))
    found = log_likelihood(jnp.float32(samples), jnp.float32(test), sigma)
    np.testing.assert_allclose(found.mean, logs.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.error, logs.std(ddof=1) / 2, rtol=1e-4)


# --------------------------------------------------------------------------------------------------
# Modes


def test_modes_by_hand():
    found = modes_.modes(np.array([0, 0, 0, 2, -1, 7]), 4)
    assert found.covered == 2
    expected = 0.75 * math.log(0.75 * 4) + 0.25 * math.log(0.25 * 4)
    np.testing.assert_allclose(found.reverse_kl, expected)
    assert (found.floor, found.counted) == (3 / 8, 4 / 6)
    assert math.isnan(modes_.modes(np.array([-1]), 4).reverse_kl)
    shares = np.array([0.5, 0.5, 0, 0])
    np.testing.assert_allclose(modes_.modes(np.array([0, 1]), 4, shares).floor, math.log(2) + 1 / 4)


def test_the_floor_is_what_the_data_themselves_have():
    # Stacked MNIST's protocol: 1,000 modes, 26,000 samples
    labels = random(23).integers(0, 1000, (20, 26_000))
    found = [modes_.modes(each, 1000) for each in labels]
    np.testing.assert_allclose(np.mean([f.reverse_kl for f in found]), found[0].floor, rtol=0.03)
    assert found[0].floor == 999 / 52_000


def test_the_floor_of_stacked_mnist():
    # Of its 70,000 digits; A perfect generator has about 0.0235 at 26,000.
    digits = np.array([6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]) / 70_000
    shares = np.einsum("i,j,k->ijk", digits, digits, digits).ravel()
    labels = random(25).choice(1000, 26_000, p=shares)
    found = modes_.modes(labels, 1000, shares)
    np.testing.assert_allclose(found.floor, 0.0235, atol=2e-4)
    np.testing.assert_allclose(found.floor - 999 / 52_000, 0.0043, atol=1e-4)
    assert abs(found.reverse_kl - found.floor) < 4 * math.sqrt(2 * 999) / 52_000


def test_the_nearest_mean_within_reach():
    means = jnp.float32([[0, 0], [1, 0]])
    points = jnp.float32([[0.1, 0], [0.8, 0.1], [0.5, 5]])
    np.testing.assert_array_equal(modes_.nearest_mean(points, means, 0.3), [0, 1, -1])
