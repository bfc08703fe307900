"""Likelihoods of images, against SciPy's distributions and sums over all that is possible."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxgan.likelihoods import LEAST_LOG_DEVIATION, LEAST_LOG_SCALE, LIKELIHOODS

SHAPE = (5, 2, 3, 1)
LEVELS = np.linspace(-1, 1, 256)


def output(channels, spread=1.0):
    return spread * np.random.default_rng(0).normal(size=(*SHAPE[:3], channels)).astype(np.float32)


def images():
    return jnp.float32(np.random.default_rng(1).choice(LEVELS, SHAPE))


def test_bernoulli_is_the_probability_of_black_and_white():
    likelihood, logits = LIKELIHOODS["bernoulli"], output(1, 3.0)
    x = np.where(images() > 0, 1.0, -1.0)
    expected = stats.bernoulli.logpmf(x > 0, special.expit(np.float64(logits))).sum((1, 2, 3))
    found = likelihood.log_prob(jnp.float32(x), jnp.float32(logits))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    means = (likelihood.mean(jnp.float32(logits)) + 1) / 2
    np.testing.assert_allclose(means, special.expit(logits), rtol=1e-5)


def test_grey_is_drawn_black_or_white_by_its_brightness():
    grey = jnp.broadcast_to(jnp.float32([-1.0, -0.5, 0.4, 1.0]), (20_000, 4))
    drawn = LIKELIHOODS["bernoulli"].observed(
        grey, jax.random.uniform(jax.random.key(0), (20_000, 4))
    )
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    # The standard error of a mean of +-1 is at most 1 / sqrt(20,000) = 0.007.
    np.testing.assert_allclose(drawn.mean(0), grey[0], atol=0.03)
    assert (drawn[:, 0] == -1).all() and (drawn[:, 3] == 1).all()


def test_gaussian_is_the_density_with_its_least_deviation():
    given = output(2, 3.0)
    given[0, 0, 0, 1] = -100.0  # a deviation that would be 0
    mean, log_deviation = np.split(np.float64(given), 2, -1)
    deviation = np.exp(np.maximum(log_deviation, LEAST_LOG_DEVIATION))
    expected = stats.norm.logpdf(images(), mean, deviation).sum((1, 2, 3))
    found = LIKELIHOODS["gaussian"].log_prob(images(), jnp.float32(given))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_array_equal(LIKELIHOODS["gaussian"].mean(jnp.float32(given)), given[..., :1])


def of_levels(mean, log_scale):
    """log p of each of the 256 levels."""
    given = jnp.broadcast_to(jnp.float32([mean, log_scale]), (256, 1, 1, 2))
    return LIKELIHOODS["logistic"].log_prob(jnp.float32(LEVELS)[:, None, None, None], given)


@pytest.mark.parametrize("mean", [-1.3, -1.0, 0.1, 0.999])
@pytest.mark.parametrize("log_scale", [-9.0, -7.0, -4.0, -1.0, 2.0])
def test_logistic_gives_all_levels_together_the_probability_1(mean, log_scale):
    found = np.float64(of_levels(mean, log_scale))
    np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-4)
    scale = np.exp(max(log_scale, LEAST_LOG_SCALE))
    edges = np.concatenate([[-np.inf], (LEVELS[1:] + LEVELS[:-1]) / 2, [np.inf]])
    expected = np.diff(special.expit((edges - mean) / scale))
    there = expected > 1e-10  # beyond it float64's own differences are none
    np.testing.assert_allclose(np.exp(found[there]), expected[there], rtol=2e-3)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_are_finite_far_from_the_image(name):
    likelihood = LIKELIHOODS[name]
    for scale in (0.0, 30.0, -30.0):
        given = jnp.full((*SHAPE[:3], likelihood.outputs), scale)
        x = jnp.where(images() > 0, 1.0, -1.0)
        value, slope = jax.value_and_grad(lambda y, x=x: likelihood.log_prob(x, y).sum())(given)
        assert np.isfinite(value) and np.isfinite(slope).all()
