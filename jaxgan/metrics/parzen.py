"""Log-likelihood by Parzen windows, for the tables of 2014 (Goodfellow et al. 2014, section 5).

A Gaussian of width sigma on each sample is the density of the model; the figure is the mean log
density of test images, in nats, and its standard error; sigma is that of ten which is best on other
images. It says little in many dimensions (Theis et al., ICLR 2016,
https://arxiv.org/abs/1511.01844): it is here to compare with the published ones.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics.kernel import Estimate
from jaxgan.typing import Array, Float

CHUNK = 64
WIDTHS = np.logspace(-1, 0, 10)  # of pixels in [0, 1]


@jax.jit
def log_likelihood(
    samples: Float[Array | np.ndarray, "n d"],
    test: Float[Array | np.ndarray, "m d"],
    sigma: Float[Array, ""] | float,
) -> Estimate:
    """log 1/n sum_i N(x; sample_i, sigma^2 I) of the test points x."""
    n, d = samples.shape
    squares = jnp.sum(jnp.square(samples), -1)

    def of(x: Array) -> Array:
        product = jnp.matmul(samples, x, precision="highest")
        apart = jnp.maximum(squares + jnp.sum(jnp.square(x)) - 2 * product, 0)
        return jax.nn.logsumexp(-apart / (2 * sigma**2))

    found = jax.lax.map(of, test, batch_size=CHUNK)
    found = found - jnp.log(n) - d * jnp.log(sigma * jnp.sqrt(2 * jnp.pi))
    return Estimate(jnp.mean(found), jnp.std(found, ddof=1) / len(test) ** 0.5)


def choose_width(
    samples: Float[Array | np.ndarray, "n d"], validation: Float[Array | np.ndarray, "m d"]
) -> float:
    """The one of WIDTHS with the largest log-likelihood of the validation points."""
    found = [float(log_likelihood(samples, validation, width).mean) for width in WIDTHS]
    return float(WIDTHS[int(np.argmax(found))])
