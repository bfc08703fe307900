"""From a resolved config to the algorithm that trains: names become functions and networks.

Also here: which settings make no sense together, and why.
"""

import dataclasses
import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

import jaxgan.algorithms
import jaxgan.models
from jaxgan import augment, schedules
from jaxgan.algorithms import player
from jaxgan.algorithms.terms import Classes, Regulariser
from jaxgan.algorithms.view import Augmentation, View
from jaxgan.config import flatten, with_values
from jaxgan.errors import UserError, lookup
from jaxgan.losses import CLASS_LOSSES, LOSSES, Loss
from jaxgan.models.choices import CHOICES
from jaxgan.penalties import GENERATOR_PENALTIES, PENALTIES
from jaxgan.rules import EARLIER

# Modules of the two packages that are no model and no algorithm.
_SHARED = {"choices", "conditions", "heads", "layers", "norms"}
_SHARED |= {"latents", "player", "terms", "view"}

LARGEST = 2**16  # of what a network's field may be: features, blocks


def build(config: ConfigDict, values: Mapping[str, Any] | None = None) -> Any:
    """The algorithm that a resolved config describes; with `values`, scalar arrays by their keys,
    in the place of its numbers.

    Raises UserError for a name that does not exist and for settings that make no sense together.
    """
    if values:
        config = with_values(config, {key: _held(value) for key, value in values.items()})
    model = _module(jaxgan.models, config.model.name, "model.name")
    algorithm = _module(jaxgan.algorithms, config.algorithm, "algorithm")
    shape, num_classes = tuple(config.derived.image_shape), config.derived.num_classes
    generator = _network(
        model.Generator, config, "generator", image_shape=shape, num_classes=num_classes
    )
    discriminator = _network(model.Discriminator, config, "discriminator", num_classes=num_classes)
    optimizers = [_optimizer(config, role) for role in ("generator", "discriminator")]
    _check(config, discriminator)
    unrolled = {"unrolled_steps": config.unrolled_steps} if config.algorithm == "unrolled" else {}
    return algorithm.make(
        generator=generator,
        discriminator=discriminator,
        generator_optimizer=optimizers[0],
        discriminator_optimizer=optimizers[1],
        loss=_loss(config),
        n_critic=config.n_critic,
        batch_size=config.batch_size,
        z_dim=config.z_dim,
        num_classes=num_classes,
        ema_halflife=scalar(config, config.ema.halflife_kimg, times=1000.0),
        ema_rampup=float(config.ema.rampup),
        penalties=_penalties(config, "penalties", PENALTIES),
        generator_penalties=_penalties(config, "generator_penalties", GENERATOR_PENALTIES),
        classes=_classes(config, discriminator),
        view=View(_augmentation(config), scalar(config, config.instance_noise), config.pack),
        latent=config.latent,
        accumulate=config.accumulate,
        top_k=scalar(config, config.top_k),
        simultaneous=config.updates == "simultaneous",
        dtype=jnp.dtype(config.precision),
        **unrolled,
    )


def _held(value: Any) -> schedules.Schedule:
    """As a schedule, which is how a config holds what is not known before a step."""
    return lambda step: value


def _module(package: ModuleType, name: str, key: str) -> ModuleType:
    names = {m.name for m in pkgutil.iter_modules(package.__path__)} - _SHARED
    full_name = lookup({n: f"{package.__name__}.{n}" for n in names}, name, key)
    return importlib.import_module(full_name)


def scalar(config: ConfigDict, value: Any, times: float = 1.0) -> schedules.Scalar:
    """What a number or a schedule's section of the resolved config stands for."""
    value = value.to_dict() if isinstance(value, ConfigDict) else value
    made = schedules.make(value, config.derived.images_per_step)
    if times == 1.0:
        return made
    return (lambda step: times * made(step)) if callable(made) else times * made


def _optimizer(config: ConfigDict, role: str) -> Callable[[Any], optax.GradientTransformation]:
    """The player's optimiser at a step. It is made anew in each, so that its rates are functions of
    the run's step and of nothing else."""
    settings = config.optimizer[role].to_dict()
    rates = {key: scalar(config, settings[key]) for key in ("learning_rate", "b1", "b2")}
    lookup(dict.fromkeys(player.OPTIMIZERS), settings["name"], f"optimizer.{role}.name")
    known, key = player.arguments_of(settings["name"]), f"optimizer.{role}.arguments"
    for name, value in flatten(settings["arguments"]):
        default = lookup(known, name, key)
        kinds = (bool,) if isinstance(default, bool) else (int, float)
        if type(value) not in kinds or not math.isfinite(value):
            must = "True or False" if kinds == (bool,) else "a number"
            raise UserError(f"{key}.{name}: {value!r} is not allowed; it must be {must}")

    def at_step(step: Any) -> optax.GradientTransformation:
        now = {key: schedules.at(rate, step) for key, rate in rates.items()}
        return player.make_optimizer(**{**settings, **now})

    return at_step


def _network(network: type[nn.Module], config: ConfigDict, role: str, **derived: Any) -> nn.Module:
    """The network with its fields from the config's section `role`, of the defaults' types."""
    fields = {f.name: f.default for f in dataclasses.fields(network)}
    for name in ("parent", "name", *derived):
        fields.pop(name)
    chosen = {}
    for name, value in config.model[role].items():
        default = lookup(fields, name, f"model.{role} ({config.model.name})")
        value = value.to_dict() if isinstance(value, ConfigDict) else value
        value = tuple(value) if isinstance(value, list | tuple) else value
        if type(default) is float and type(value) is int:
            value = float(value)
        sizes = value if isinstance(value, tuple) else (value,)
        kind = float if type(default) is float else int
        least = 0 if kind is float else 1
        sound = all(type(size) is kind and least <= size < LARGEST for size in sizes)
        right = isinstance(default, str | bool) or sound
        if type(value) is not type(default) or not right:
            raise UserError(f"model.{role}.{name}: {value!r} is not allowed; try {default!r}")
        if name in CHOICES[role]:
            lookup(CHOICES[role][name], value, f"model.{role}.{name}")
        chosen[name] = value
    return network(**derived, **chosen)


# --------------------------------------------------------------------------------------------------
# Objectives


def _loss(config: ConfigDict) -> Loss:
    loss = lookup(LOSSES, config.loss, "loss")
    if not config.label_smoothing:
        return loss
    if loss.smooth is None:
        able = ", ".join(sorted(name for name, each in LOSSES.items() if each.smooth))
        raise UserError(
            f"label_smoothing: the loss {config.loss} has no target to smooth; those that have: "
            f"{able}"
        )
    smooth = functools.partial(loss.smooth, smoothing=config.label_smoothing)
    return loss._replace(discriminator=smooth)


def _penalties(
    config: ConfigDict, section: str, table: Mapping[str, Callable]
) -> tuple[Regulariser, ...]:
    found = []
    for name, value in config[section].items():
        penalty = lookup(table, name, section)
        weight, every, settings = value, 1, {}
        if isinstance(value, ConfigDict) and "kind" not in value:
            settings = value.to_dict()
            weight, every = settings.pop("weight"), settings.pop("every", 1)
        known = dict(list(inspect.signature(penalty).parameters.items())[1:])
        for key, setting in settings.items():
            lookup({**known, "weight": None, "every": None}, key, f"{section}.{name}")
            if type(setting) not in (bool, int, float) or not math.isfinite(setting):
                raise UserError(f"{section}.{name}.{key}: {setting!r} is not a number")
        penalty = functools.partial(penalty, **settings)
        if weight != 0:  # with it there would be nothing but its cost
            found.append(Regulariser(name, penalty, scalar(config, weight), every))
    return tuple(found)


def _classes(config: ConfigDict, discriminator: nn.Module) -> Classes | None:
    conditioning = getattr(discriminator, "conditioning", "")
    if conditioning not in CLASS_LOSSES:
        return None
    settings, loss = config.class_loss, CLASS_LOSSES[conditioning]
    chosen = {name: settings[name] for name in loss.settings}
    loss = loss._replace(
        discriminator=functools.partial(loss.discriminator, **chosen),
        generator=functools.partial(loss.generator, **chosen),
    )
    weights = (settings.discriminator_weight, settings.generator_weight)
    return Classes(loss, *(scalar(config, weight) for weight in weights))


def _augmentation(config: ConfigDict) -> Augmentation | None:
    settings = config.augment
    if settings.policy == "none":
        return None
    names = [name.strip() for name in settings.policy.split(",")]
    for name in names:
        lookup({**augment.POLICIES, "none": None, "apa": None}, name, "augment.policy")
        if name in ("none", "apa") and len(names) > 1:
            raise UserError(f"augment.policy: {name} stands alone, not with {settings.policy!r}")
    transform = None if settings.policy == "apa" else augment.make(settings.policy)
    p = scalar(config, settings.p)
    return Augmentation(transform, p, float(settings.target), float(settings.kimg))


# --------------------------------------------------------------------------------------------------
# What makes no sense together


def _check(config: ConfigDict, discriminator: nn.Module) -> None:
    """Raises UserError for the first pair of settings that do not go together."""
    for wrong, text in _contradictions(config, discriminator):
        if wrong:
            raise UserError(text)


def _contradictions(config: ConfigDict, discriminator: nn.Module) -> list[tuple[bool, str]]:
    loss = lookup(LOSSES, config.loss, "loss")
    conditioning = getattr(discriminator, "conditioning", "")
    classifies = conditioning in CLASS_LOSSES
    augment_, optimizer = config.augment, config.optimizer.discriminator
    known = player.arguments_of(optimizer.name)
    images = len(config.derived.image_shape) > 1
    group = config.accumulate * config.pack
    many = config.seeds > 1 or bool(config.sweep)
    return [
        (
            classifies and not config.conditional,
            f"model.discriminator.conditioning: {conditioning!r} classifies images, and there are "
            f"no classes; set conditional=True",
        ),
        (
            config.batch_size % group > 0,
            f"batch_size: {config.batch_size} is not a multiple of accumulate x pack = {group}",
        ),
        (
            config.pack > 1 and config.conditional,
            "pack: images that are judged together would have labels of their own; set "
            "conditional=False or pack=1",
        ),
        (
            config.parallel.mode == "replica" and config.parallel.fsdp > 1,
            "parallel.fsdp: in a replica the state is whole; set parallel.mode=spmd",
        ),
        (
            many and (config.parallel.mode == "replica" or config.parallel.fsdp > 1),
            "seeds: the devices share the seeds; set parallel.mode=spmd and parallel.fsdp=1, or "
            "train one seed",
        ),
        (
            config.parallel.mode != "replica" and config.parallel.synchronise,
            f"parallel.synchronise: in mode {config.parallel.mode} BatchNorm is over the whole "
            f"batch already; leave it False",
        ),
        (
            config.updates == "simultaneous" and config.n_critic > 1,
            f"updates: simultaneous ones are one of each player, and n_critic is {config.n_critic}",
        ),
        (
            config.unrolled_steps > 0 and config.algorithm != "unrolled",
            f"unrolled_steps: the algorithm {config.algorithm} does not unroll; set "
            f"algorithm=unrolled",
        ),
        (
            config.unrolled_steps > 0
            and not optimizer.arguments.get("eps_root", known.get("eps_root", 1.0)),
            f"optimizer.discriminator.arguments.eps_root: unrolling differentiates the square root "
            f"in {optimizer.name}, which has no slope at 0; set it to 1e-16, say",
        ),
        *_of_minibatches(config, loss, conditioning),
        *_of_augmentation(config, loss, augment_, images),
        *_of_classes(config, conditioning),
        *_of_penalties(config, loss, discriminator, images),
    ]


def _of_minibatches(config: ConfigDict, loss: Loss, conditioning: str) -> list:
    coupled = [config.loss] if loss.couples else []
    if conditioning in CLASS_LOSSES and CLASS_LOSSES[conditioning].couples:
        coupled.append(conditioning)
    whole = {
        "top_k": config.top_k != 1,
        "unrolled_steps": config.unrolled_steps > 0,
        "penalties.dragan": "dragan" in _active(config),
    }
    undivided = coupled + [name for name, there in whole.items() if there]
    return [
        (
            config.accumulate > 1 and bool(undivided),
            f"accumulate: parts of a minibatch are no minibatch to {', '.join(undivided)}, where "
            f"what an image counts depends on the others; set accumulate=1",
        ),
        (
            config.top_k != 1 and bool(coupled),
            f"top_k: to {', '.join(coupled)} the images that are left out would still count, by "
            f"what the others are compared with; set top_k=1",
        ),
    ]


def _of_augmentation(config, loss: Loss, settings: ConfigDict, images: bool) -> list:
    used, relative = settings.policy != "none", loss.boundary is None
    _augmentation(config)  # names first
    idle = not isinstance(settings.p, ConfigDict) and settings.p == 0 and settings.target == 0
    return [
        (
            used and settings.policy != "apa" and not images,
            f"augment.policy: {settings.policy!r} changes images, and these data are points",
        ),
        (
            used and idle,
            f"augment.p: with 0, and no augment.target, {settings.policy} does nothing",
        ),
        (
            settings.target > 0 and isinstance(settings.p, ConfigDict),
            "augment.p: a schedule sets it, and augment.target adapts it; leave one of them",
        ),
        (
            not used and settings.target > 0,
            "augment.target: there is nothing to adapt while augment.policy is none",
        ),
        (
            settings.kimg != EARLIER["augment"]["kimg"] and settings.target == 0,
            "augment.kimg: it is how fast augment.target adapts p, and there is no target",
        ),
        (
            settings.target > 0 and relative,
            f"augment.target: the sign of a logit means nothing to the loss {config.loss}; give "
            f"augment.p a number or a schedule",
        ),
    ]


def _of_classes(config: ConfigDict, conditioning: str) -> list:
    rates = ("discriminator_weight", "generator_weight")
    users = {name: (*rates, *loss.settings) for name, loss in CLASS_LOSSES.items()}
    return [
        (
            config.class_loss[name] != usual and name not in users.get(conditioning, ()),
            f"class_loss.{name}: model.discriminator.conditioning={conditioning} has no use for "
            f"it; leave it at {usual}, or take one of "
            f"{', '.join(user for user in users if name in users[user])}",
        )
        for name, usual in EARLIER["class_loss"].items()
    ]


def _active(config: ConfigDict) -> set[str]:
    return {each.name for each in _penalties(config, "penalties", PENALTIES)}


def _of_penalties(config, loss: Loss, discriminator: nn.Module, images: bool) -> list:
    active = _active(config)
    moves = [name for name in ("cr", "bcr") if name in active]
    return [
        (
            bool(moves) and not images,
            f"penalties.{''.join(moves[:1])}: it shifts and flips images, and these are points",
        ),
        (
            "lecam" in active and loss.uses_real,
            f"penalties.lecam: it ties logits to values, and the loss {config.loss} leaves all of "
            f"them free to move together",
        ),
        (
            "wgan_gp" in active and getattr(discriminator, "norm", "") == "batch",
            "penalties.wgan_gp: it bounds the gradient by each image, and with "
            "model.discriminator.norm=batch a logit depends on all (Gulrajani et al. 2017, section "
            "4); take layer or none",
        ),
    ]
