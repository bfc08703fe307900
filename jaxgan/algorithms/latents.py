"""The latents of generators, and the statistics that a trained one samples with."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import parallel
from jaxgan.algorithms import player
from jaxgan.typing import Array, Float, Key, Labels, Stats

TRUNCATED = 2.0  # where training truncates


def draw(
    key: Key[Array, ""], latent: str, shape: tuple[int, int], truncation: float | None = None
) -> Float[Array, "b z"]:
    """Latents of the distribution `latent`: standard normal; uniform on (-1, 1); or normal, drawn
    anew until each number lies within -2 to 2. With `truncation` all lie within that."""
    if latent == "uniform":
        reach = 1.0 if truncation is None else min(truncation, 1.0)
        flat = lambda key, shape: jax.random.uniform(key, shape, float, -reach, reach)  # noqa: E731
        return parallel.draw(flat, key, shape)
    if latent == "truncated":
        truncation = min(truncation or TRUNCATED, TRUNCATED)
    if truncation is None:
        return parallel.draw(jax.random.normal, key, shape)
    cut = lambda key, shape: jax.random.truncated_normal(key, -truncation, truncation, shape)  # noqa: E731
    return parallel.draw(cut, key, shape)


def render(
    algorithm: Any,
    state: Any,
    z: Float[Array, "b z"],
    labels: Labels,
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "b ..."]:
    """What the algorithm's generator makes of latents, by the averages; with a `key` it drops out
    what it does in training."""
    inputs, ema = (z, labels if algorithm.num_classes else None), state.ema
    how = {"train": train, "dtype": algorithm.dtype, "key": key}
    return player.apply(algorithm.generator, ema.params, ema.stats, *inputs, **how)[0]


def with_standing_statistics(
    algorithm: Any, state: Any, key: Key[Array, ""], passes: int = 16
) -> Any:
    """The state whose generator's average has standing statistics, of batches of the algorithm's
    latents with uniform labels."""
    if "batch_stats" not in state.ema.stats:
        return state
    count, classes = algorithm.batch_size, algorithm.num_classes

    def moved(moments: Stats, key: Key[Array, ""]) -> Stats:
        z_key, label_key = jax.random.split(key)
        z = draw(z_key, algorithm.latent, (count, algorithm.z_dim))
        labels = jax.random.randint(label_key, (count,), 0, max(classes, 1))
        inputs = z, labels if classes else None
        stats = {**state.ema.stats, "batch_stats": moments}
        return player.apply(
            algorithm.generator,
            state.ema.params,
            stats,
            *inputs,
            train=True,
            dtype=algorithm.dtype,
        )[1]["batch_stats"]

    moments = standing_statistics(moved, state.ema.stats["batch_stats"], key, passes)
    stats = {**state.ema.stats, "batch_stats": moments}
    return state.replace(ema=state.ema.replace(stats=stats))


def standing_statistics(
    moved: Callable[[Stats, Key[Array, ""]], Stats],
    moments: Stats,
    key: Key[Array, ""],
    passes: int,
) -> Stats:
    """Standing statistics (Brock et al. 2019, appendix B): BatchNorm's moments, averaged over
    `passes` batches.

    `moved(moments, key)`: the running moments after a batch of the latents that `key` gives.
    """

    def of_a_batch(number):
        # A running moment moves from m to decay m + (1 - decay) batch. Where it gets to from 0 and
        # from 1 tells the batch's, whatever the decay.
        here = jax.random.fold_in(key, number)
        from_0 = moved(jax.tree.map(jnp.zeros_like, moments), here)
        from_1 = moved(jax.tree.map(jnp.ones_like, moments), here)
        return jax.tree.map(lambda a, b: a / (1 - (b - a)), from_0, from_1)

    return jax.tree.map(lambda x: jnp.mean(x, 0), jax.lax.map(of_a_batch, jnp.arange(passes)))
