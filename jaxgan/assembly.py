"""From a resolved config to the algorithm that trains: names become functions and networks.

An algorithm's `make` tells by the names of its arguments which parts of the config it takes.
"""

import dataclasses
import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

import jaxgan.algorithms
import jaxgan.models
from jaxgan import augment, schedules, stylize
from jaxgan.algorithms import pairs, player
from jaxgan.algorithms.masks import MASKS
from jaxgan.algorithms.privacy import Private
from jaxgan.algorithms.terms import Classes, Regulariser
from jaxgan.algorithms.view import Augmentation, View
from jaxgan.config import flatten, with_values
from jaxgan.contradictions import FROM_IMAGES, check, source_channels
from jaxgan.data import directory_of, read_picture, to_float
from jaxgan.errors import UserError, lookup
from jaxgan.likelihoods import LIKELIHOODS, Likelihood
from jaxgan.losses import CLASS_LOSSES, LOSSES, Loss
from jaxgan.metrics.networks import lpips_weights
from jaxgan.models.choices import CHOICES
from jaxgan.ops.dense import PRODUCTS
from jaxgan.penalties import GENERATOR_PENALTIES, PENALTIES
from jaxgan.rules import PLAYERS

# Modules of the two packages that are no model and no algorithm.
_SHARED = {"choices", "conditions", "heads", "layers", "norms"}
_SHARED |= {"latents", "masks", "pairs", "player", "privacy", "terms", "view"}

# Of whose class in a model each network is, and whose section of a config its fields are.
ROLES = {
    "generator": "generator",
    "inverse": "generator",
    "encoder": "encoder",
    "discriminator": "discriminator",
    "source_discriminator": "discriminator",
}
LARGEST = 2**16  # of what a network's field may be: features, blocks


def build(config: ConfigDict, values: Mapping[str, Any] | None = None, begun: bool = False) -> Any:
    """The algorithm that a resolved config describes; with `values`, scalar arrays by their keys,
    in the place of its numbers. Where training has `begun`, the files that only its start needs are
    not read, and zeros take the place of what is in them.

    Raises UserError for a name that does not exist and for settings that make no sense together.
    """
    if values:
        config = with_values(config, {key: _held(value) for key, value in values.items()})
    model = _module(jaxgan.models, config.model.name, "model.name")
    make = _module(jaxgan.algorithms, config.algorithm, "algorithm").make
    taken = inspect.signature(make).parameters
    networks = _networks(config, model, taken)
    optimizers = {role: _optimizer(config, role) for role in PLAYERS}
    penalties = _penalties(config, "penalties", PENALTIES)
    augmentation = _augmentation(config)
    check(config, networks, taken, {each.name for each in penalties})
    arguments: dict[str, Callable[[], Any]] = {
        "generator_optimizer": lambda: optimizers["generator"],
        "discriminator_optimizer": lambda: optimizers["discriminator"],
        "loss": lambda: _loss(config),
        "n_critic": lambda: config.n_critic,
        "batch_size": lambda: config.batch_size,
        "z_dim": lambda: config.z_dim,
        "num_classes": lambda: config.derived.num_classes,
        "ema_halflife": lambda: scalar(config, config.ema.halflife_kimg, times=1000.0),
        "ema_rampup": lambda: float(config.ema.rampup),
        "penalties": lambda: penalties,
        "generator_penalties": lambda: _penalties(
            config, "generator_penalties", GENERATOR_PENALTIES
        ),
        "classes": lambda: _classes(config, networks["discriminator"]),
        "view": lambda: View(augmentation, scalar(config, config.instance_noise), config.pack),
        "latent": lambda: config.latent,
        "sample_dropout": lambda: config.sample_dropout,
        "accumulate": lambda: config.accumulate,
        "top_k": lambda: scalar(config, config.top_k),
        "private": lambda: _private(config),
        "simultaneous": lambda: config.updates == "simultaneous",
        "dtype": lambda: PRODUCTS if config.precision == PRODUCTS else jnp.dtype(config.precision),
        "unrolled_steps": lambda: config.unrolled_steps,
        **_of_sections(config, begun),
    }
    return make(**networks, **{name: arguments[name]() for name in arguments if name in taken})


def _private(config: ConfigDict) -> Private | None:
    settings = config.privacy
    return Private(float(settings.clip), float(settings.noise)) if settings.noise else None


# Weights that are an algorithm's own, and the section they are in.
WEIGHTS = {
    **dict.fromkeys(("beta", "gamma"), "vae"),
    **dict.fromkeys(("reconstruction", "adversarial"), "inpaint"),
    **dict.fromkeys(("l1", "gan", "cycle", "identity"), "translate"),
    "temperature": "text",
    **dict.fromkeys(("content", "style", "variation", "patches"), "style"),
}


def _of_sections(config: ConfigDict, begun: bool) -> dict[str, Callable[[], Any]]:
    """The arguments that are of one algorithm or two."""

    def weight(name: str) -> Callable[[], schedules.Scalar]:
        return lambda: scalar(config, config[WEIGHTS[name]][name])

    features = functools.cache(lambda: _vgg16(config))
    return {
        "likelihood": lambda: _likelihood(config),
        "bound": lambda: config.vae.bound,
        "samples": lambda: config.vae.samples,
        "layer": lambda: config.vae.layer,
        "masks": lambda: _masks(config),
        "distance": lambda: config.inpaint.distance,
        "image_shape": lambda: tuple(config.derived.image_shape),
        "source": lambda: _source(config),
        "source_channels": lambda: source_channels(config),
        "pool": lambda: config.translate.pool,
        "picture": lambda: _picture(config, begun, features),
        "features": lambda: features,
        **{name: weight(name) for name in WEIGHTS},
    }


def _networks(
    config: ConfigDict, model: ModuleType, taken: Collection[str]
) -> dict[str, nn.Module]:
    """An algorithm's networks, by their roles. Raises UserError for one that the model lacks."""
    derived: dict[str, dict[str, Any]] = _derived(config, taken)
    networks = {}
    for role, kind in ((role, ROLES[role]) for role in ROLES if role in taken):
        network: Any = getattr(model, kind.capitalize(), None)
        fields = {field.name for field in dataclasses.fields(network)} if network else set()
        special = {"given", "estimator"}
        misfit = kind == "generator" and special & fields != special & derived[role].keys()
        if not network or not fields >= derived[role].keys() or misfit:
            raise UserError(
                f"model.name: {config.model.name} is no network for the algorithm "
                f"{config.algorithm}; {_suited(taken)}"
            )
        classes = {"num_classes": config.derived.num_classes} if "num_classes" in fields else {}
        networks[role] = _network(network, config, kind, **classes, **derived[role])
    return networks


def _derived(config: ConfigDict, taken: Collection[str]) -> dict[str, dict[str, Any]]:
    """Of each role the networks' fields that follow from the data and the algorithm."""
    *sides, channels = config.derived.image_shape
    decodes, completes = "likelihood" in taken, "masks" in taken
    outputs = _likelihood(config).outputs if decodes else 1
    generator: dict[str, Any] = {"image_shape": (*sides, channels * outputs)}
    inverse: dict[str, Any] = {}
    if decodes:
        generator["output"] = "linear"
    if completes:
        generator["given"] = channels + 1
    if "source_channels" in taken:
        source = _source(config) if "source" in taken else ""
        of_source, of_target = pairs.channels(source, source_channels(config), channels)
        generator = {"image_shape": (*sides, of_target), "given": of_source}
        inverse = {"image_shape": (*sides, of_source), "given": of_target}
    if "temperature" in taken:
        generator["estimator"] = config.text.estimator
    if "picture" in taken:
        generator = {"image_shape": (*sides, 3), "given": 3}
    return {
        "generator": generator,
        "inverse": inverse,
        "encoder": {"z_dim": config.z_dim},
        "discriminator": {},
        "source_discriminator": {},
    }


def _suited(taken: Collection[str]) -> str:
    """Which networks an algorithm takes."""
    if "temperature" in taken:
        return "lstm is"
    if "encoder" in taken:
        return "mlp and dcgan are, which have an encoder"
    if set(FROM_IMAGES) & set(taken):
        return "gated, pix2pix and cyclegan are"
    return "all are but gated, pix2pix and cyclegan, which take images, and lstm, which writes"


def _source(config: ConfigDict) -> str:
    name = config.translate.source
    if name:
        lookup(pairs.SOURCES, name, "translate.source")
    return name


def _likelihood(config: ConfigDict) -> Likelihood:
    return lookup(LIKELIHOODS, config.vae.likelihood, "vae.likelihood")


def _picture(config: ConfigDict, begun: bool, features: Callable) -> Callable[[], tuple]:
    """What computes the Gram matrices of the style's picture. Raises UserError where that cannot be
    read."""
    size, path = config.style.size, config.style.image
    if begun:
        grams = tuple(np.zeros((1, width, width), np.float32) for width in stylize.WIDTHS)
        return lambda: (np.zeros((1, size, size, 3), np.float32), grams)
    if not path:
        raise UserError("style.image: name the picture whose style is to be learnt")
    pixels = read_picture("style.image", Path(path), 3, size)

    @functools.cache
    def read() -> tuple:
        with jax.ensure_compile_time_eval():  # whoever asks, in whatever program
            picture = to_float(pixels)[None]
            return picture, stylize.style_of(features(), picture)

    return read


def _vgg16(config: ConfigDict) -> Any:
    return lpips_weights(directory_of(config.data.dir) / "jaxgan_metrics")


def _masks(config: ConfigDict) -> tuple[str, ...]:
    names = tuple(name.strip() for name in config.inpaint.masks.split(","))
    for name in names:
        lookup(MASKS, name, "inpaint.masks")
    return names


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
    """The network with its fields from the config's section `role`, of the defaults' types; whole
    numbers from 1, or the field's "least", on."""
    fields = {f.name: f.default for f in dataclasses.fields(network)}
    least = {f.name: f.metadata.get("least", 1) for f in dataclasses.fields(network)}
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
        lowest = 0 if kind is float else least[name]
        sound = all(type(size) is kind and lowest <= size < LARGEST for size in sizes)
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
