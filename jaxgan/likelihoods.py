"""What a decoder's output says of an image: LIKELIHOODS by name, of images in [-1, 1].

    bernoulli  each number is black or white, and the output is its logit (Kingma and Welling 2014,
               appendix C.1). Grey ones are drawn black or white anew each time, with their
               brightness as the probability (Salakhutdinov and Murray 2008), so that it is a
               likelihood of data that exist.
    gaussian   a normal density with a mean and a log standard deviation for each number (the same,
               appendix C.2). Since images have 256 levels it has no bound by itself: the deviation
               is at least e^-4, two levels.
    logistic   the probability of the level, one of 256, by a logistic distribution with a mean and
               a log scale for each number; the two outer levels have the tails (Kingma et al. 2016,
               https://arxiv.org/abs/1606.04934, section 5.2)

All are in nats. Where there are two outputs for a number, they lie one after the other along the
last axis: all means, then all scales.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float

LEAST_LOG_DEVIATION = -4.0
LEAST_LOG_SCALE = -7.0  # as in PixelCNN++'s code (Salimans et al. 2017)
HALF_LEVEL = 1 / 255  # of 256 levels between -1 and 1


class Likelihood(NamedTuple):
    outputs: int  # of the decoder, for each of the image's numbers
    # (images, numbers drawn uniformly from [0, 1)) -> the images that it is the likelihood of
    observed: Callable[[Float[Array, "b ..."], Float[Array, "b ..."]], Float[Array, "b ..."]]
    # (images, output) -> nats of each
    log_prob: Callable[[Float[Array, "b ..."], Float[Array, "b ..."]], Float[Array, " b"]]
    mean: Callable[[Float[Array, "b ..."]], Float[Array, "b ..."]]  # output -> images


def _sum(x: Array) -> Array:
    return jnp.sum(x, range(1, x.ndim))


def _as_they_are(images: Array, uniform: Array) -> Array:
    return images


def _black_or_white(images: Array, uniform: Array) -> Array:
    return jnp.where(uniform < (images + 1) / 2, 1.0, -1.0)


def _bernoulli(x: Array, logits: Array) -> Array:
    return _sum((x + 1) / 2 * logits - jax.nn.softplus(logits))


def _gaussian(x: Array, output: Array) -> Array:
    mean, log_deviation = jnp.split(output, 2, -1)
    log_deviation = jnp.maximum(log_deviation, LEAST_LOG_DEVIATION)
    scaled = (x - mean) * jnp.exp(-log_deviation)
    return _sum(-0.5 * (scaled**2 + math.log(2 * math.pi)) - log_deviation)


def _logistic(x: Array, output: Array) -> Array:
    mean, log_scale = jnp.split(output, 2, -1)
    scale = jnp.exp(jnp.maximum(log_scale, LEAST_LOG_SCALE))
    above, below = ((x - mean + side * HALF_LEVEL) / scale for side in (1, -1))
    # log(sigmoid(above) - sigmoid(below)), in which no large number meets another:
    # = -softplus(-above) - softplus(below) + log(1 - exp(below - above))
    inner = -jax.nn.softplus(-above) - jax.nn.softplus(below)
    inner += jnp.log(-jnp.expm1(-2 * HALF_LEVEL / scale))
    # sigmoid(above) below the darkest level, 1 - sigmoid(below) above the brightest
    darkest, brightest = x < -1 + HALF_LEVEL, x > 1 - HALF_LEVEL
    outer = jnp.where(darkest, -jax.nn.softplus(-above), -jax.nn.softplus(below))
    return _sum(jnp.where(darkest | brightest, outer, inner))


def _first_half(output: Array) -> Array:
    return jnp.split(output, 2, -1)[0]


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(
        1, _black_or_white, _bernoulli, lambda logits: 2 * jax.nn.sigmoid(logits) - 1
    ),
    "gaussian": Likelihood(2, _as_they_are, _gaussian, _first_half),
    "logistic": Likelihood(2, _as_they_are, _logistic, _first_half),
}
