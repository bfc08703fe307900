"""The latents of given images, by optimisation.

As Karras et al. 2020 project images (StyleGAN2, https://arxiv.org/abs/1912.04958, appendix D): Adam
whose rate grows linearly for the first twentieth of the steps and falls as a cosine over the last
quarter, and noise on the latents that fades over the first three quarters, so that they explore
before they settle. The loss is the mean squared difference of pixels, and LPIPS where it is asked
for. What differs: latents are z, for there is no w here; of several starts, drawn from the prior,
the best is kept, which in z matters more; and latents stay where the prior has them: normal ones at
a length of at most the prior's (its mean and three deviations), so that they can be moved and
mixed afterwards; others within their bounds.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan.algorithms import latents
from jaxgan.metrics.lpips import lpips, to_rgb
from jaxgan.typing import Array, Float, Int, Key, Params

RATE = 0.1  # Adam's, the paper's
RISE, FALL = 0.05, 0.25  # of the steps, in which the rate rises and falls
NOISE, QUIET = 0.05, 0.75  # of the latents' length; where it has faded


class Search(NamedTuple):
    """Of n images, r starts each. All that the search changes."""

    step: Int[Array, ""]
    z: Float[Array, "n r z"]
    labels: Int[Array, "n r"]
    optimizer: Any


def learning_rate(step: Any, steps: Any) -> Float[Array, ""]:
    """Of Karras et al.: a linear rise, a fall by half a cosine."""
    t = step / steps
    fall = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.clip((1 - t) / FALL, 0, 1))
    return jnp.float32(RATE * fall * jnp.clip(t / RISE, 0, 1))


def noise_scale(step: Any, steps: Any, z_dim: int) -> Float[Array, ""]:
    """Of each number of a latent: 0.05 of a normal one's length, by the square of what is left."""
    left = jnp.maximum(0, 1 - step / steps / QUIET)
    return jnp.float32(NOISE * z_dim**0.5 * left**2)


def confined(latent: str, z: Float[Array, "*n z"]) -> Float[Array, "*n z"]:
    """The nearest latents that the prior may well give."""
    if latent != "normal":
        reach = 1.0 if latent == "uniform" else latents.TRUNCATED
        return jnp.clip(z, -reach, reach)
    # the length is close to normal, with a variance of 1/2
    longest = z.shape[-1] ** 0.5 + 3 * 0.5**0.5
    length = jnp.linalg.norm(z, axis=-1, keepdims=True)
    return z * jnp.minimum(1, longest / jnp.maximum(length, 1e-6))


def start(key: Key[Array, ""], latent: str, z_dim: int, labels: Int[Array, "n r"]) -> Search:
    """With latents of the prior."""
    n, r = labels.shape
    z = latents.draw(key, latent, (n * r, z_dim)).reshape(n, r, z_dim)
    return Search(jnp.zeros((), jnp.int32), z, labels, optax.scale_by_adam().init(z))


def distances(
    perceptual: Params | None,
    images: Float[Array, "n h w c"],
    drawn: Float[Array, "n r h w c"],
) -> Float[Array, "n r"]:
    """Mean squared differences of pixels in [-1, 1], and LPIPS with its weights."""
    images = jnp.broadcast_to(images[:, None], drawn.shape)
    squares = jnp.mean(jnp.square(images - drawn), (2, 3, 4))
    if perceptual is None:
        return squares
    flat = [to_rgb(each.reshape(-1, *each.shape[2:])) for each in (images, drawn)]
    return squares + lpips(perceptual, *flat).reshape(squares.shape)


def draw(render: Callable[[Any, Any], Array], search: Search) -> Float[Array, "n r h w c"]:
    n, r, _ = search.z.shape
    drawn = render(search.z.reshape(n * r, -1), search.labels.reshape(-1))
    return drawn.reshape(n, r, *drawn.shape[1:])


@functools.partial(jax.jit, static_argnames="latent")
def advance(
    render: Any,
    perceptual: Params | None,
    images: Float[Array, "n h w c"],
    search: Search,
    key: Key[Array, ""],
    latent: str,
    steps: Any,
    count: Any,
) -> Search:
    """The search after `count` more of its `steps`. `render`: a Partial."""
    adam, z_dim = optax.scale_by_adam(), search.z.shape[-1]

    def loss(z: Array, noise: Array) -> Array:
        # each latent's own gradient, since no distance depends on another's
        drawn = draw(render, search._replace(z=z + noise))
        return jnp.sum(distances(perceptual, images, drawn))

    def step(_: Any, now: Search) -> Search:
        noise = jax.random.normal(jax.random.fold_in(key, now.step), now.z.shape)
        slope = jax.grad(loss)(now.z, noise_scale(now.step, steps, z_dim) * noise)
        moves, optimizer = adam.update(slope, now.optimizer)
        z = confined(latent, now.z - learning_rate(now.step, steps) * moves)
        return Search(now.step + 1, z, now.labels, optimizer)

    return jax.lax.fori_loop(0, count, step, search)


def invert(
    render: Any,
    perceptual: Params | None,
    images: Float[Array, "n h w c"],
    labels: Int[Array, "n r"],
    key: Key[Array, ""],
    latent: str,
    z_dim: int,
    steps: int,
    parts: int,
) -> Iterator[Search]:
    """The search at the start and after each of as many parts of its steps, r starts with these
    labels for each image; all are one program on n r images at once."""
    of_start, of_noise = jax.random.split(key)
    search = start(of_start, latent, z_dim, labels)
    yield search
    for part in range(parts):
        count = steps * (part + 1) // parts - steps * part // parts
        given = render, perceptual, images, search, of_noise
        search = advance(*given, latent=latent, steps=steps, count=count)
        yield search


class Found(NamedTuple):
    """Of each image the best of its starts."""

    z: Float[Array, "n z"]
    labels: Int[Array, " n"]
    distance: Float[Array, " n"]  # see `distances`
    chosen: Int[Array, " n"]  # which start


@jax.jit
def best(
    render: Any, perceptual: Params | None, images: Float[Array, "n h w c"], search: Search
) -> Found:
    apart = distances(perceptual, images, draw(render, search))
    chosen, rows = jnp.argmin(apart, 1), jnp.arange(len(images))
    z, labels = search.z[rows, chosen], search.labels[rows, chosen]
    return Found(z, labels, apart[rows, chosen], chosen)
