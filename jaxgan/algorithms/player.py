"""One network in training: its arrays, its optimiser's update, its moving average."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxgan.errors import lookup
from jaxgan.typing import Array, Float, Params, PyTree, Stats


class Player(struct.PyTreeNode):
    """A network in training. `stats` are its variables that no gradient reaches."""

    params: Params
    stats: Stats
    opt: PyTree


class Average(struct.PyTreeNode):
    """A moving average of a player's params and stats, in buffers of its own."""

    params: Params
    stats: Stats


def create(
    module: nn.Module, optimizer: optax.GradientTransformation, key: Array, *inputs: Any
) -> Player:
    """A player with fresh variables; `inputs` are examples of the call's arguments."""
    stats = dict(module.init(key, *inputs, train=True))
    params = stats.pop("params")
    return Player(params=params, stats=stats, opt=optimizer.init(params))


def apply(
    module: nn.Module, params: Params, stats: Stats, *inputs: Any, train: bool
) -> tuple[Array, Stats]:
    """The network's output and its stats afterwards (unchanged unless `train`)."""
    variables = {"params": params, **stats}
    mutable = list(stats) if train else []
    output, updated = module.apply(variables, *inputs, train=train, mutable=mutable)
    return output, dict(updated) if train else stats


def gradient_norms(gradients: Params) -> dict[str, Float[Array, ""]]:
    """The global norm, named "", and that of each of the network's blocks, named "/BLOCK".

    They are taken before any clipping; an element that is no finite number makes its norms none.
    """
    blocks = gradients if isinstance(gradients, Mapping) else {"params": gradients}
    squares = {f"/{name}": optax.tree.norm(block, squared=True) for name, block in blocks.items()}
    norms = {"": sum(squares.values()), **squares}
    return {name: jnp.sqrt(square) for name, square in norms.items()}


def distance(ema: Average, player: Player) -> Float[Array, ""]:
    """The norm of the average's difference from the params, as a share of the params' norm."""
    moved = optax.tree.norm(optax.tree.sub(ema.params, player.params))
    return moved / jnp.maximum(optax.tree.norm(player.params), jnp.finfo(jnp.float32).tiny)


def largest_singular_value(player: Player) -> dict[str, Float[Array, ""]]:
    """Under the name "sigma" the largest of the singular values that spectral normalisation keeps
    in the stats (leaves called sigma, as Flax's SpectralNorm calls them); nothing where none is.
    """
    leaves = jax.tree_util.tree_leaves_with_path(player.stats)
    name = lambda path: str(getattr(path[-1], "key", path[-1])).rsplit("/", 1)[-1]  # noqa: E731
    values = [jnp.max(leaf) for path, leaf in leaves if name(path) == "sigma"]
    return {"sigma": jnp.max(jnp.stack(values))} if values else {}


def update(
    player: Player, optimizer: optax.GradientTransformation, gradients: Params, stats: Stats
) -> Player:
    """One step of the optimiser, and the stats of the pass that gave the gradients."""
    updates, opt = optimizer.update(gradients, player.opt, player.params)
    return Player(params=optax.apply_updates(player.params, updates), stats=stats, opt=opt)


def average(
    ema: Average,
    player: Player,
    images: Float[Array, ""],
    per_step: int,
    halflife: float,
    rampup: float,
) -> Average:
    """Exponential moving average with a half-life counted in images.

    With `rampup` the half-life is at most that fraction of the images seen (StyleGAN2's code), so
    that the first averages forget the initial weights. `per_step`: images in one step.
    """
    reached = jnp.minimum(halflife, rampup * images) if rampup else halflife
    decay = 0.5 ** (per_step / jnp.maximum(reached, 1e-8))
    mix = lambda old, new: decay * old + (1 - decay) * new  # noqa: E731
    return Average(
        params=jax.tree.map(mix, ema.params, player.params),
        stats=jax.tree.map(mix, ema.stats, player.stats),
    )


def make_optimizer(
    name: str, learning_rate: float, b1: float, b2: float, clip_norm: float
) -> optax.GradientTransformation:
    """The optimiser called `name`, after clipping gradients to the norm `clip_norm` (0: no)."""
    optimizer = lookup(OPTIMIZERS, name, "optimizer.name")(learning_rate, b1, b2)
    if clip_norm:
        return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    return optimizer


OPTIMIZERS = {
    "adam": lambda learning_rate, b1, b2: optax.adam(learning_rate, b1, b2),
    "rmsprop": lambda learning_rate, b1, b2: optax.rmsprop(learning_rate, b2, momentum=b1),
    "sgd": lambda learning_rate, b1, b2: optax.sgd(learning_rate, momentum=b1),
}
