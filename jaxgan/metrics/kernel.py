"""Kernel distance: the squared maximum mean discrepancy with a cubic polynomial kernel.

Bińkowski et al., ICLR 2018 (https://arxiv.org/abs/1801.01401), section 4, where the features are
InceptionV3's and the distance is called KID. Unlike Fréchet's it has no bias: of two sets of one
distribution it is 0 on average, and may be below.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float, Key


class Estimate(NamedTuple):
    mean: Float[Array, ""]
    error: Float[Array, ""]  # its standard error


def polynomial(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    # Bińkowski et al. 2018, equation 4: (x . y / d + 1)^3
    return (jnp.matmul(x, y.T, precision="highest") / x.shape[1] + 1) ** 3


def squared_discrepancy(real: Float[Array, "n d"], fake: Float[Array, "m d"]) -> Float[Array, ""]:
    # Gretton et al. 2012, equation 3, the unbiased estimate
    of_real, of_fake, between = _kernels(real, fake)
    n, m = len(real), len(fake)
    within_real = (jnp.sum(of_real) - jnp.trace(of_real)) / (n * (n - 1))
    within_fake = (jnp.sum(of_fake) - jnp.trace(of_fake)) / (m * (m - 1))
    return within_real + within_fake - 2 * jnp.mean(between)


@functools.partial(jax.jit, static_argnames=("subsets", "size"))
def kernel_distance(
    real: Float[Array, "n d"],
    fake: Float[Array, "m d"],
    key: Key[Array, ""],
    subsets: int = 100,
    size: int = 1000,
) -> Estimate:
    """The mean over random subsets of `size` real and as many fake features, and its error.

    Subsets overlap, so their deviation does not tell that of the mean. The error is that of the
    estimate from all features, and of the choice of subsets, by the U statistic's variance.
    """
    count = min(len(real), len(fake))
    size = min(size, count)

    def of_subset(key: Array) -> tuple[Array, Array, Array]:
        x, y = (
            each[jax.random.choice(jax.random.fold_in(key, i), len(each), (size,), replace=False)]
            for i, each in enumerate((real, fake))
        )
        return squared_discrepancy(x, y), *_variances(x, y)

    values, first, second = jax.lax.map(of_subset, jax.random.split(key, subsets))
    first, second = jnp.maximum(jnp.mean(first), 0), jnp.mean(second)
    # Hoeffding 1948: of n pairs the variance is about 4 first / n + 2 second / n^2.
    of_all, of_one = (4 * first / n + 2 * second / n**2 for n in (count, size))
    return Estimate(jnp.mean(values), jnp.sqrt(of_all + (of_one - of_all) / subsets))


def _variances(real: Float[Array, "n d"], fake: Float[Array, "n d"]) -> tuple[Array, Array]:
    """Of h(i, j) = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i), which the estimate is the
    mean of: the variance of its mean over j, unbiased, and its own."""
    of_real, of_fake, between = _kernels(real, fake)
    n = len(real)
    apart = 1 - jnp.eye(n)
    h = (of_real + of_fake - between - between.T) * apart
    mean = jnp.sum(h) / (n * (n - 1))
    second = jnp.sum(jnp.square(h - mean) * apart) / (n * (n - 1))
    rows = jnp.sum(h, 1) / (n - 1)
    return jnp.var(rows, ddof=1) - second / (n - 1), second


def _kernels(real: Float[Array, "n d"], fake: Float[Array, "m d"]) -> tuple[Array, Array, Array]:
    """Those within and between the sets, less a constant, which cancels: so less is lost to the
    rounding of sums."""
    middle = (jnp.mean(real, 0, keepdims=True) + jnp.mean(fake, 0, keepdims=True)) / 2
    usual = polynomial(middle, middle)
    pairs = (real, real), (fake, fake), (real, fake)
    of_real, of_fake, between = (polynomial(*each) - usual for each in pairs)
    return of_real, of_fake, between
