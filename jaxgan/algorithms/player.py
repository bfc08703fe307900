"""One network in training: its arrays, its optimiser's update, its moving average."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxgan import parallel, schedules
from jaxgan.errors import lookup
from jaxgan.losses import Loss, accuracy
from jaxgan.ops.dense import computing
from jaxgan.typing import Array, Batch, Float, Metrics, Params, PyTree, Stats

DROPOUT = 2**20  # the stream of a key, beyond all others'


class Player(struct.PyTreeNode):
    """A network in training. `stats` are its variables that no gradient reaches."""

    params: Params
    stats: Stats
    opt: PyTree


class Average(struct.PyTreeNode):
    """A moving average of a player's params and stats, in buffers of its own."""

    params: Params
    stats: Stats


class Game(struct.PyTreeNode):
    """All that training changes, of two networks that play against each other."""

    step: Any  # int32 scalar
    key: Any  # a typed key, never split
    generator: Player
    discriminator: Player
    ema: Average  # of the generator


def players(state: Any) -> dict[str, Player]:
    """The networks of an algorithm's state that train, by their roles."""
    there = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: each for name, each in there.items() if isinstance(each, Player)}


def copied(player: Player) -> Average:
    """The average at the start."""
    return jax.tree.map(jnp.copy, Average(params=player.params, stats=player.stats))


def create(
    module: nn.Module, optimizer: optax.GradientTransformation, key: Array, *inputs: Any
) -> Player:
    """A player with fresh variables; `inputs` are examples of the call's arguments."""
    stats = dict(module.init(key, *inputs, train=True))
    params = stats.pop("params")
    return Player(params=params, stats=stats, opt=optimizer.init(params))


def apply(
    module: nn.Module,
    params: Params,
    stats: Stats,
    *inputs: Any,
    train: bool,
    dtype: Any = jnp.float32,
    key: Array | None = None,
) -> tuple[Any, Stats]:
    """The network's output and its stats afterwards (unchanged unless `train`).

    Without a `key` nothing is dropped out; with one it is by a stream of its own.
    It computes in `dtype` (or PRODUCTS, see ops/dense.py), from float32 and to float32. Stats stay
    float32, and layers reduce in it what needs it: moments, singular values, softmax, logits.
    """
    mutable = list(stats) if train else []
    rngs = {} if key is None else {"dropout": jax.random.fold_in(key, DROPOUT)}
    with computing(dtype) as dtype:
        variables = {"params": _cast(parallel.gathered(params), dtype), **stats}
        inputs = _cast(inputs, dtype)
        output, updated = module.apply(variables, *inputs, train=train, mutable=mutable, rngs=rngs)
    return _cast(output, jnp.float32), _cast(dict(updated), jnp.float32) if train else stats


def apply_with_features(
    layer: str, module: nn.Module, params: Params, stats: Stats, *inputs: Any, dtype: Any, key: Any
) -> tuple[Any, Float[Array, "b ..."], Stats]:
    """As `apply` in train mode, with the output of one of the network's layers, which is named as
    its params are, beside its own."""
    how: dict[str, Any] = {
        "mutable": [*stats, "intermediates"],
        "capture_intermediates": lambda each, method: each.name == layer,
        "rngs": {"dropout": jax.random.fold_in(key, DROPOUT)},
    }
    with computing(dtype) as dtype:
        variables = {"params": _cast(parallel.gathered(params), dtype), **stats}
        output, updated = module.apply(variables, *_cast(inputs, dtype), train=True, **how)
    updated = dict(updated)
    (features,) = updated.pop("intermediates")[layer]["__call__"]
    return (*_cast((output, features), jnp.float32), _cast(updated, jnp.float32))


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    is_float = lambda x: jnp.issubdtype(x.dtype, jnp.floating)  # noqa: E731
    return jax.tree.map(lambda x: x.astype(dtype) if is_float(x) else x, tree)


def parts(minibatch: Batch, key: Array, count: int, pack: int = 1) -> Batch:
    """The minibatch and its key, or `count` parts of it along a new first axis.

    Packs of `pack` examples stay together, and each device keeps its share: of n parts, part i has
    the packs i, i + n, i + 2n ...
    """
    if count == 1:
        return {**minibatch, "key": key}

    def split(x: Array) -> Array:
        packs = x.reshape(-1, count, pack, *x.shape[1:])
        return packs.swapaxes(0, 1).reshape(count, -1, *x.shape[1:])

    return {**jax.tree.map(split, minibatch), "key": jax.random.split(key, count)}


def gradients(
    objective: Callable, params: Params, stats: Stats, parts: PyTree, count: int
) -> tuple[Any, ...]:
    """The gradient of the mean loss over `count` parts of a minibatch, one part after another.

    `objective(params, stats, part)` gives (loss, (stats, metrics)); `parts` has them along its
    first axis, or is the only one where `count` is 1. Stats go from part to part; metrics are
    means. All are averaged over replicas, if there are any. What an objective gives behind the
    metrics is of its part's examples, and comes back of all, part by part.
    """
    of_part = jax.grad(objective, has_aux=True)
    params = parallel.gathered(params)
    if count == 1:
        gradient, (stats, metrics, *made) = of_part(params, stats, parts)
        found = parallel.scattered(gradient), stats, metrics
        return (*parallel.mean_over_replicas(found), *made)

    def add(carry, part):
        total, stats = carry
        gradient, (stats, *found) = of_part(params, stats, part)
        return (optax.tree.add(total, gradient), stats), found

    start = optax.tree.zeros_like(params), stats
    (total, stats), (metrics, *made) = jax.lax.scan(add, start, parts)
    mean = jax.tree.map(lambda x: jnp.mean(x, 0), metrics)
    gradient = parallel.scattered(optax.tree.scale(1 / count, total))
    made = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made)
    return (*parallel.mean_over_replicas((gradient, stats, mean)), *made)


def updated(
    algorithm: Any, state: Any, role: str, minibatch: Batch, key: Array, objective: Callable
) -> tuple[Player, Metrics]:
    """The state's network of that role after an update by `minibatch`, with the metrics.

    `objective(params, stats, state, part)` gives (loss, (stats, metrics)). The discriminators have
    the discriminator's optimiser, the others the generator's.
    """
    old, of = getattr(state, role), "discriminator" if "discriminator" in role else "generator"
    gradient, stats, metrics = gradients(
        lambda params, stats, part: objective(params, stats, state, part),
        old.params,
        old.stats,
        parts(minibatch, key, algorithm.accumulate),
        algorithm.accumulate,
    )
    optimizer = getattr(algorithm, f"{of}_optimizer")(state.step)
    return update(old, optimizer, gradient, stats), metrics | gradient_norms(role, gradient)


def judged(
    loss: Loss, real_logits: Float[Array, " n"], fake_logits: Float[Array, " n"]
) -> tuple[Float[Array, ""], Metrics]:
    """The discriminator's loss, and what is told of it."""
    mean = jnp.mean(loss.discriminator(real_logits, fake_logits))
    return mean, {
        "d_loss": mean,
        "real_logit": jnp.mean(real_logits),
        "fake_logit": jnp.mean(fake_logits),
        "d_accuracy": accuracy(loss, real_logits, fake_logits),
    }


def fooled(loss: Loss, judge: Callable[[Array], Array], fake: Array, real: Array) -> Any:
    """The generator's adversarial loss of fake images, with `judge` from images to logits."""
    logits = judge(fake)
    return jnp.mean(loss.generator(logits, judge(real) if loss.uses_real else logits))


def begin(algorithm: Any, key: Array, of_generator: Array, of_discriminator: Array) -> Game:
    """The game at the start, of two networks that take images like these, and no labels."""
    g_key, d_key, state_key = (jax.random.fold_in(key, n) for n in range(3))
    at_start = jnp.zeros((), jnp.int32)
    optimizers = (
        algorithm.generator_optimizer(at_start),
        algorithm.discriminator_optimizer(at_start),
    )
    generator = create(algorithm.generator, optimizers[0], g_key, of_generator, None)
    discriminator = create(algorithm.discriminator, optimizers[1], d_key, of_discriminator, None)
    return Game(at_start, state_key, generator, discriminator, copied(generator))


def alternate(algorithm: Any, state: Game, minibatch: Batch) -> tuple[Game, Metrics]:
    """The game after an update of the discriminator, then one of the generator through it, both by
    one minibatch; by the algorithm's `discriminator_loss` and `generator_loss`. Of the generator
    alone where the algorithm's `plays` says that there is no game."""
    key = jax.random.fold_in(state.key, state.step)
    roles = ("discriminator", "generator") if algorithm.plays else ("generator",)
    metrics: Metrics = {}
    for stream, role in enumerate(roles):
        of_role = jax.random.fold_in(key, stream), getattr(algorithm, f"{role}_loss")
        new, found = updated(algorithm, state, role, minibatch, *of_role)
        state, metrics = state.replace(**{role: new}), metrics | found
    ema = next_average(algorithm, state.step, state.ema, state.generator)
    return state.replace(step=state.step + 1, ema=ema), metrics


def gradient_norms(role: str, gradients: Params) -> Metrics:
    """The global norm, named by the role, "d_gradient_norm", and those of the network's blocks,
    "d_gradient_norm/BLOCK".

    They are taken before any clipping; an element that is no finite number makes its norms none.
    """
    blocks = gradients if isinstance(gradients, Mapping) else {"params": gradients}
    squares = {f"/{name}": optax.tree.norm(block, squared=True) for name, block in blocks.items()}
    norms = {"": sum(squares.values()), **squares}
    return {f"{role[0]}_gradient_norm{name}": jnp.sqrt(x) for name, x in norms.items()}


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


def health(state: Any) -> Metrics:
    """What an algorithm's state alone tells: how far the average is from the generator's params,
    and each network's largest singular value where spectral normalisation keeps it, as "d_sigma".
    """
    sigmas = {
        f"{role[0]}_{name}": value
        for role, each in players(state).items()
        for name, value in largest_singular_value(each).items()
    }
    return {"ema_distance": distance(state.ema, state.generator), **sigmas}


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
    halflife: float | Float[Array, ""],
    rampup: float,
) -> Average:
    """Exponential moving average with a half-life counted in images.

    With `rampup` the half-life is at most that fraction of the images seen (StyleGAN2's code), so
    that the first averages forget the initial weights. `per_step`: images in one step.
    """
    if isinstance(halflife, float) and halflife == 0:  # no average: nothing of the old is read
        return Average(params=player.params, stats=player.stats)
    reached = jnp.minimum(halflife, rampup * images) if rampup else halflife
    decay = 0.5 ** (per_step / jnp.maximum(reached, 1e-8))
    mix = lambda old, new: decay * old + (1 - decay) * new  # noqa: E731
    return Average(
        params=jax.tree.map(mix, ema.params, player.params),
        stats=jax.tree.map(mix, ema.stats, player.stats),
    )


def next_average(algorithm: Any, step: Any, ema: Average, player: Player) -> Average:
    """The average after the algorithm's step number `step`, by its half-life and rampup."""
    per_step = algorithm.n_critic * algorithm.batch_size
    return average(
        ema,
        player,
        images=step.astype(jnp.float32) * per_step,
        per_step=per_step,
        halflife=schedules.at(algorithm.ema_halflife, step),
        rampup=algorithm.ema_rampup,
    )


# --------------------------------------------------------------------------------------------------
# Optimisers

# Those of optax that take a gradient and no more, and whose rate may change from step to step.
# fmt: off
OPTIMIZERS = (
    "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan",
    "amsgrad", "fromage", "lamb", "lars", "lion", "nadam", "nadamw", "novograd",
    "optimistic_adam_v2", "optimistic_gradient_descent", "radam", "rmsprop", "sgd",
    "sign_sgd", "signum", "sm3", "yogi",
)
# fmt: on
# What b1 and b2 are called there, where it is something else.
NAMES = {
    "rmsprop": {"b1": "momentum", "b2": "decay"},
    "sgd": {"b1": "momentum"},
    "signum": {"b1": "beta"},
    "lars": {"b1": "momentum"},
}


def arguments_of(name: str) -> dict[str, bool | int | float]:
    """The optimiser's arguments that are numbers or switches, but for its rates, with defaults."""
    parameters = inspect.signature(getattr(optax, name)).parameters
    rates = {"learning_rate", "b1", "b2", *NAMES.get(name, {}).values()}
    return {
        key: parameter.default
        for key, parameter in parameters.items()
        if key not in rates and isinstance(parameter.default, bool | int | float)
    }


def make_optimizer(
    name: str,
    learning_rate: Any,
    b1: Any,
    b2: Any,
    clip_norm: float = 0.0,
    clip_value: float = 0.0,
    clip_weights: float = 0.0,
    arguments: Mapping[str, Any] | None = None,
) -> optax.GradientTransformation:
    """optax's optimiser called `name`, with `arguments` beside the rates if it takes them.

    Gradients are clipped before it, to `clip_value` each and then to the global norm `clip_norm`,
    and weights after it to `clip_weights` (0: no). The rates may be arrays, such as a schedule's
    values at a step: the optimiser may be made anew in each step, for its state is the same as with
    numbers. Raises UserError for a name that does not exist.
    """
    lookup(dict.fromkeys(OPTIMIZERS), name, "optimizer.name")
    make = getattr(optax, name)
    known = inspect.signature(make).parameters
    rates = {NAMES.get(name, {}).get(key, key): value for key, value in (("b1", b1), ("b2", b2))}
    chosen = {key: value for key, value in rates.items() if key in known}
    chain = [make(learning_rate, **chosen, **(arguments or {}))]
    if clip_norm:
        chain.insert(0, optax.clip_by_global_norm(clip_norm))
    if clip_value:
        chain.insert(0, optax.clip(clip_value))
    if clip_weights:
        chain.append(_clip_weights(clip_weights))
    return chain[0] if len(chain) == 1 else optax.chain(*chain)


def _clip_weights(largest: float) -> optax.GradientTransformation:
    # Arjovsky et al. 2017, algorithm 1: w <- clip(w, -c, c) after each update
    def update(updates, state, params):
        clip = lambda u, w: jnp.clip(w + u, -largest, largest) - w  # noqa: E731
        return jax.tree.map(clip, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def mean_or_first_broken(metrics: dict[str, Float[Array, " k"]]) -> Metrics:
    """The means over k updates; or where one has a number that is not finite, the first such
    update's own numbers, for what it breaks in the later ones would hide where it began."""
    broken = jnp.any(~jnp.isfinite(jnp.stack(list(metrics.values()))), axis=0)
    first = jnp.argmax(broken)
    return {
        name: jnp.where(jnp.any(broken), values[first], jnp.mean(values))
        for name, values in metrics.items()
    }
