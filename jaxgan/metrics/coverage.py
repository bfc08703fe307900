"""Coverage and density: how much of the real variety samples reach, and how real they are.

Naeem et al., ICML 2020, "Reliable fidelity and diversity metrics for generative models"
(https://arxiv.org/abs/2002.09797), equations 4 and 5. Around each real image lies a ball that
reaches to the k-th nearest other real one; what samples do is told by the balls that hold them.

Both depend on the features, on k and on the numbers of images: compare only like with like. A ball
is open, as in the authors' code, so what lies at the k-th neighbour's distance is outside.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float

CHUNK = 256  # balls at once: 20 MB of distances to 10,000 real and 10,000 fake images


class Held(NamedTuple):
    coverage: Float[Array, ""]  # 0 to 1
    density: Float[Array, ""]  # 0 and up


@functools.partial(jax.jit, static_argnames="k")
def coverage_and_density(real: Float[Array, "n d"], fake: Float[Array, "m d"], k: int = 5) -> Held:
    """Of the features of real and of fake images, in this order; they play different parts.

    Coverage is the share of balls that hold a fake image. Of two samples of one distribution it is
    1 - (n-1)...(n-k) / ((m+n-1)...(m+n-k)) on average (lemma 2): 0.97 with m = n and k = 5. Density
    is how many balls hold a fake image on average, over k: 1 on average of one distribution, more
    where fake images keep to the midst of real ones. Raises ValueError unless 1 <= k < n.
    """
    if not 1 <= k < len(real):
        raise ValueError(f"k: {k} is not within 1 to {len(real) - 1}, of {len(real)} real images")
    # Distances stay as they are, and the less is cancelled below, the closer all are to 0.
    center = jnp.mean(real, 0, keepdims=True)
    real, fake = real - center, fake - center
    to_real, to_fake = _square_distances_to(real), _square_distances_to(fake)

    def ball(number: Array) -> Array:
        """How many fake images it holds."""
        left = to_real(real[number]).at[number].set(jnp.inf)  # it is no neighbour of itself
        for _ in range(k - 1):  # top_k would take ten times as long on a CPU
            left = left.at[jnp.argmin(left)].set(jnp.inf)
        return jnp.sum(to_fake(real[number]) < jnp.min(left))

    held = jax.lax.map(ball, jnp.arange(len(real)), batch_size=CHUNK).astype(jnp.float32)
    return Held(jnp.mean(held > 0), jnp.mean(held) * len(real) / (k * len(fake)))


def _square_distances_to(points: Float[Array, "n d"]):
    """A function from one point to its squared distances; of many at once it is one product."""
    squares = jnp.sum(jnp.square(points), -1)

    def square_distances(point: Float[Array, " d"]) -> Float[Array, " n"]:
        product = jnp.matmul(points, point, precision=jax.lax.Precision.HIGHEST)
        return squares + jnp.sum(jnp.square(point)) - 2 * product

    return square_distances
