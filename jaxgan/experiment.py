"""From a config to what trains: the algorithm, the data, the compiled call; and back from a run.

The config stops here and in the loop: everything below takes plain arguments.
"""

import dataclasses
import importlib
import json
import math
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

import jaxgan.algorithms
import jaxgan.models
from jaxgan import data, parallel
from jaxgan.algorithms import player
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import resolve, validate
from jaxgan.errors import UserError, lookup
from jaxgan.losses import LOSSES
from jaxgan.models.layers import CHOICES
from jaxgan.penalties import PENALTIES
from jaxgan.typing import Metrics, PyTree

# Modules of the two packages that are no model and no algorithm.
_SHARED = {"layers", "player"}


def prepare(config: ConfigDict) -> tuple[ConfigDict, Any]:
    """The resolved config and its data set, opened but not read; both checked."""
    validate(config)
    settings = config.data
    dataset = data.open_set(
        settings.name, settings.split, settings.image_size, settings.dir, settings.path
    )
    sizes = dataset.num_examples, dataset.shape
    return resolve(config, *sizes, dataset.class_names, dataset.details), dataset


def build(config: ConfigDict) -> Any:
    """The algorithm that a resolved config describes."""
    model = _module(jaxgan.models, config.model.name, "model.name")
    algorithm = _module(jaxgan.algorithms, config.algorithm, "algorithm")
    shape, num_classes = tuple(config.derived.image_shape), config.derived.num_classes
    penalties = tuple(
        (name, lookup(PENALTIES, name, "penalties"), weight)
        for name, weight in config.penalties.items()
    )
    return algorithm.GAN(
        generator=_network(
            model.Generator, config, "generator", image_shape=shape, num_classes=num_classes
        ),
        discriminator=_network(
            model.Discriminator, config, "discriminator", num_classes=num_classes
        ),
        generator_optimizer=_optimizer(config, "generator"),
        discriminator_optimizer=_optimizer(config, "discriminator"),
        loss=lookup(LOSSES, config.loss, "loss"),
        penalties=penalties,
        n_critic=config.n_critic,
        batch_size=config.batch_size,
        z_dim=config.z_dim,
        num_classes=num_classes,
        ema_halflife=config.ema.halflife_kimg * 1000.0,
        ema_rampup=float(config.ema.rampup),
    )


def _module(package: ModuleType, name: str, key: str) -> ModuleType:
    names = {m.name for m in pkgutil.iter_modules(package.__path__)} - _SHARED
    full_name = lookup({n: f"{package.__name__}.{n}" for n in names}, name, key)
    return importlib.import_module(full_name)


def _optimizer(config: ConfigDict, role: str) -> optax.GradientTransformation:
    settings = config.optimizer[role]
    lookup(player.OPTIMIZERS, settings.name, f"optimizer.{role}.name")
    return player.make_optimizer(**settings)


def _network(network: type[nn.Module], config: ConfigDict, role: str, **derived: Any) -> nn.Module:
    """The network with its fields from the config's section `role`, of the defaults' types."""
    fields = {f.name: f.default for f in dataclasses.fields(network)}
    for name in ("parent", "name", *derived):
        fields.pop(name)
    chosen = {}
    for name, value in config.model[role].items():
        default = lookup(fields, name, f"model.{role} ({config.model.name})")
        chosen[name] = tuple(value) if isinstance(value, list | tuple) else value
        sizes = chosen[name] if isinstance(chosen[name], tuple) else (chosen[name],)
        positive = all(type(size) is int and size > 0 for size in sizes)
        if type(chosen[name]) is not type(default) or not (isinstance(default, str) or positive):
            raise UserError(f"model.{role}.{name}: {value!r} is not allowed; try {default!r}")
        if name in CHOICES:
            lookup(CHOICES[name], value, f"model.{role}.{name}")
    return network(**derived, **chosen)


# --------------------------------------------------------------------------------------------------
# Training


def make_feed(config: ConfigDict, dataset: Any) -> data.Feed:
    """How this process's share of the batches reaches the devices."""
    return dataset.feed(
        cache=config.data.cache,
        flip=config.data.flip,
        seed=config.seed,
        n_critic=config.n_critic,
        batch_size=config.batch_size,
        process=(jax.process_index(), jax.process_count()),
    )


def compile_call(
    algorithm: Any, mesh: Mesh, feed: data.Feed, state: PyTree, resident: PyTree, inputs: PyTree
) -> Callable:
    """`call(state, resident, inputs) -> (state, metrics)`: as many steps as `inputs` is of.

    `resident` are the feed's arrays that stay on the devices, `inputs` what the steps take beside
    them. The state is donated; metrics are means over the steps.
    """

    def call(state, resident, inputs) -> tuple[PyTree, Metrics]:
        def step(state, inputs):
            batch = feed.minibatches(resident, inputs)
            if not algorithm.num_classes:
                batch = {"image": batch["image"]}
            return algorithm.step(state, parallel.constrain_batch(batch, axis=1))

        state, metrics = jax.lax.scan(step, state, inputs)
        return state, jax.tree.map(jnp.mean, metrics)

    compiled = jax.jit(call, donate_argnums=0, out_shardings=parallel.replicated(mesh))
    return compiled.lower(state, resident, inputs).compile()


def flops_per_step(algorithm: Any, mesh: Mesh) -> float:
    """Floating-point operations of one training step on each device, as XLA counts them."""

    def flops(function: Callable, *arguments: PyTree) -> float:
        analysis = jax.jit(function).lower(*arguments).compile().cost_analysis()
        return (analysis or {}).get("flops", math.nan)  # a platform may not tell

    def shape(*sizes: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
        """An array whose batch lies before `sizes`, split over the devices."""
        sharding = parallel.split(mesh, 0)
        return jax.ShapeDtypeStruct((algorithm.batch_size, *sizes), dtype, sharding=sharding)

    k = algorithm.n_critic
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    batch = {"image": shape(*algorithm.generator.image_shape)}
    if algorithm.num_classes:
        batch["label"] = shape(dtype=jnp.int32)
    batches = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((k, *x.shape), x.dtype, sharding=parallel.split(mesh, 1)),
        batch,
    )
    step = flops(algorithm.step, state, batches)
    if k == 1:
        return step
    # XLA counts the body of a loop once, and the discriminator's updates are a loop.
    players = state.discriminator, state.generator
    return step + (k - 1) * flops(
        algorithm.update_discriminator, *players, batch, shape(algorithm.z_dim)
    )


# --------------------------------------------------------------------------------------------------
# A run's folder


def load_run(workdir: Path, step: int | None = None) -> tuple[ConfigDict, Any, PyTree]:
    """The resolved config, the algorithm and the trained state of the run in `workdir`.

    `step`: which checkpoint; None is the newest. Raises UserError where there is none.
    """
    config = read_config(workdir)
    algorithm = build(config)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])  # it may come from elsewhere
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
        jax.eval_shape(algorithm.init, jax.random.key(0)),
    )
    folder = workdir / "checkpoints"
    checkpoints = Checkpoints(folder) if folder.is_dir() else None
    if checkpoints is None or not checkpoints.steps():
        raise UserError(f"--workdir: {workdir} holds no checkpoint yet; train it for longer")
    state = checkpoints.restore(step if step is not None else checkpoints.steps()[-1], like)
    checkpoints.close()
    return config, algorithm, state


def read_config(workdir: Path) -> ConfigDict:
    """The resolved config that the run in `workdir` was started with."""
    path = workdir / "config.json"
    try:
        if not path.is_file():
            raise UserError(f"--workdir: {workdir} is not a run's folder (it has no config.json)")
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("derived"), dict):
        raise UserError(f"--workdir: {workdir} is not a run's folder (see its config.json)")
    validate(ConfigDict({k: v for k, v in settings.items() if k != "derived"}))
    return ConfigDict(settings)
