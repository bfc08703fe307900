"""Perceptual path length: how fast images change, to the eye, on the way between two latents.

Karras et al. 2019 (https://arxiv.org/abs/1812.04948), section 4.1: the mean of
d(G(z(t)), G(z(t + e))) / e^2 where d is LPIPS by VGG16, z(t) the spherical interpolation between
two latents, and e = 1e-4. The less, the smoother.

Here e goes to 0. LPIPS is quadratic between images that are close, so the limit is the squared
length of the derivative of its weighted activations. It has no step to choose and none of the
cancellation of images that differ in their fifth digit. Of a random generator of 64 pixels, on a
mean of 2.3 to 2.9 over 24 to 32 ways, with the network's true weights:

    published quotient, float64     0.1 % off the limit to either side, up to 1 % of one way: the
                                    kinks of ReLU and of the maxima that lie within a step
    limit, float32                  0.004 % or less off that of float64
    quotient of images as uint8     120 times the limit: it is rounding that is measured

Otherwise as in the authors' code: t is uniform for their "full" and 0 for "end"; images of 512
pixels and more are averaged over squares, to 256 where their size is a multiple of that; the
lowest and the highest percent of the values are left out. Faces are not cropped. Their generator
divides latents by their norm; others do not, so here directions are interpolated spherically and
norms linearly, which for theirs is the same.

torch-fidelity's defaults measure something else: lines instead of circles, t = 0, images as uint8,
resized to 64 pixels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxgan.metrics.kernel import Estimate
from jaxgan.metrics.lpips import squared_speed
from jaxgan.metrics.pairs import in_chunks
from jaxgan.typing import Array, Float, Int, Params

LARGEST = 256  # pixels along a side that are not averaged
DROPPED = 1  # percent of the values at either end
CHUNK = 8  # latents at once

Generate = Callable[[Array, Array | None], Array]


def perceptual_path_length(
    params: Params,
    generate: Generate,
    first: Float[Array, "n z"],
    last: Float[Array, "n z"],
    t: Float[Array, " n"],
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
) -> Estimate:
    """The path length, and its standard error, of the ways from `first` to `last` at the times `t`.

    `params` are what `vgg16.convert` returns. `generate(z, labels)` makes images b h w 3 in [-1, 1]
    of normal latents, each of its own alone; where it is a `jax.tree_util.Partial` its arrays are
    arguments of the compiled program, not constants in it. It has to be differentiable twice.
    """
    if not isinstance(generate, Partial):
        generate = Partial(generate)

    def of_numbers(at: Int[np.ndarray, " chunk"]) -> Array:
        of = None if labels is None else labels[at]
        return squared_length(params, generate, first[at], last[at], t[at], of)

    return trimmed_mean(in_chunks(of_numbers, CHUNK, len(t)))


@jax.jit
def squared_length(
    params: Params,
    generate: Partial,
    first: Float[Array, "b z"],
    last: Float[Array, "b z"],
    t: Float[Array, " b"],
    labels: Int[Array, " b"] | None,
) -> Float[Array, " b"]:
    """The limit of d(G(z(t)), G(z(t + e))) / e^2 at each t."""

    def path(t):
        return _shrunk(generate(_between(first, last, t), labels))

    # d path / dt by two reverse passes, as ops/conv.py has no forward one: u -> u . dpath / dt is
    # linear in u, and the transpose of that takes 1 to the derivative.
    images, pull = jax.vjp(path, t)
    _, push = jax.vjp(lambda u: pull(u)[0], jnp.zeros_like(images))
    (velocity,) = push(jnp.ones_like(t))
    return squared_speed(params, images, velocity)


def trimmed_mean(values: Float[np.ndarray, " n"]) -> Estimate:
    """The mean without the lowest and the highest percent, and its standard error.

    As numpy's percentiles "lower" and "higher" bound them, so of few values none is dropped. The
    error is Tukey and McLaughlin's (1963): the deviation of all values, with those outside moved to
    the bounds, over the share that is kept.
    """
    values = np.asarray(values, np.float64)
    low = np.percentile(values, DROPPED, method="lower")
    high = np.percentile(values, 100 - DROPPED, method="higher")
    kept = values[(low <= values) & (values <= high)]
    deviation = np.std(np.clip(values, low, high), ddof=1)
    error = deviation / (len(kept) / len(values)) / len(values) ** 0.5
    return Estimate(jnp.float32(kept.mean()), jnp.float32(error))


def _between(
    first: Float[Array, "b z"], last: Float[Array, "b z"], t: Float[Array, " b"]
) -> Float[Array, "b z"]:
    t = t[:, None]
    norms = [jnp.linalg.norm(z, axis=-1, keepdims=True) for z in (first, last)]
    a, b = first / norms[0], last / norms[1]
    angle = jnp.arccos(jnp.sum(a * b, -1, keepdims=True))
    direction = (jnp.sin((1 - t) * angle) * a + jnp.sin(t * angle) * b) / jnp.sin(angle)
    return ((1 - t) * norms[0] + t * norms[1]) * direction


def _shrunk(images: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 3"]:
    """Means over squares, of as many pixels a side as the height has whole 256s.

    Where the size is no multiple of that, the last pixels are left out.
    """
    b, h, w, c = images.shape
    size = max(h // LARGEST, 1)
    rows, columns = h // size, w // size
    cut = images[:, : rows * size, : columns * size]
    return cut.reshape(b, rows, size, columns, size, c).mean((2, 4))
