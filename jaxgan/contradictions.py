"""Which settings of a config make no sense together, and why."""

from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from jaxgan.algorithms import pairs, player
from jaxgan.data import sound_of
from jaxgan.errors import UserError, lookup
from jaxgan.losses import CLASS_LOSSES, LOSSES, Loss
from jaxgan.rules import EARLIER

# Of which part of an algorithm a setting is, and what it is where nobody set it.
PARTS: dict[str, tuple[str, Any]] = {
    "model.discriminator": ("discriminator", {}),
    "model.encoder": ("encoder", {}),
    "penalties": ("penalties", {}),
    "generator_penalties": ("generator_penalties", {}),
    "loss": ("loss", "nonsaturating"),
    "label_smoothing": ("loss", EARLIER["label_smoothing"]),
    "n_critic": ("n_critic", 1),
    "updates": ("simultaneous", EARLIER["updates"]),
    "latent": ("latent", EARLIER["latent"]),
    "sample_dropout": ("sample_dropout", EARLIER["sample_dropout"]),
    "top_k": ("top_k", EARLIER["top_k"]),
    "pack": ("view", EARLIER["pack"]),
    "instance_noise": ("view", EARLIER["instance_noise"]),
    "augment.policy": ("view", "none"),
    "unrolled_steps": ("unrolled_steps", EARLIER["unrolled_steps"]),
    "conditional": ("num_classes", False),
    **{
        f"{section}.{name}": (name, usual)
        for section in ("vae", "inpaint", "translate", "style", "text")
        for name, usual in EARLIER[section].items()
    },
    "style.image": ("picture", EARLIER["style"]["image"]),
    "text.estimator": ("temperature", EARLIER["text"]["estimator"]),
    "privacy.noise": ("private", EARLIER["privacy"]["noise"]),
    "style.size": ("picture", EARLIER["style"]["size"]),
}


# Parts that algorithms have whose generators start from images.
FROM_IMAGES = ("masks", "source_channels", "picture")


def source_channels(config: ConfigDict) -> int:
    """How many of the data's channels are an image to translate from; 0 where they are no pairs."""
    return config.derived.data.get("source_channels", 0)


def check(
    config: ConfigDict,
    networks: Mapping[str, nn.Module],
    taken: Collection[str],
    penalties: Collection[str],
) -> None:
    """Raises UserError for a setting of a part that the algorithm does not take, and for the first
    pair of settings that do not go together. `networks`: by their roles; `penalties`: the names of
    those that are on."""
    for key, (part, usual) in PARTS.items():
        value = config
        for name in key.split("."):
            value = value[name]
        value = value.to_dict() if isinstance(value, ConfigDict) else value
        if part not in taken and value != usual:
            raise UserError(
                f"{key}: the algorithm {config.algorithm} does not look at it; leave it at {usual}"
            )
    contradictions = _contradictions(config, networks.get("discriminator"), penalties)
    for wrong, text in [*_of_algorithm(config, networks, taken), *contradictions]:
        if wrong:
            raise UserError(text)


def _of_algorithm(
    config: ConfigDict, networks: Mapping[str, nn.Module], taken: Collection[str]
) -> list[tuple[bool, str]]:
    derived, name = config.derived, config.data.name
    conditioning = getattr(networks.get("discriminator"), "conditioning", "")
    flat = len(derived.image_shape) == 1  # points, sounds
    starts_from_images = bool(set(FROM_IMAGES) & set(taken))
    return [
        (
            conditioning in CLASS_LOSSES and "classes" not in taken,
            f"model.discriminator.conditioning: {conditioning!r} classifies images, and the "
            f"algorithm {config.algorithm} has no loss for that",
        ),
        (
            config.sample_dropout and not getattr(networks["generator"], "dropout", 0.0),
            f"sample_dropout: this generator, of {config.model.name}, drops nothing out",
        ),
        (
            starts_from_images and flat,
            f"data.name: {name} is of points or sounds, and {config.algorithm} starts from images",
        ),
        (
            starts_from_images and not derived.num_examples,
            f"data.name: {name} is drawn without end, and the algorithm {config.algorithm} shows "
            f"what it makes of a set's first images",
        ),
        (
            config.pack > 1 and sound_of(derived.data.to_dict()) is not None,
            f"pack: {name} is of sounds, which would be joined end to end; set it to 1",
        ),
        (
            config.data.flip and len(derived.image_shape) != 3,
            f"data.flip: it mirrors images, and {name} is of none; set it to False",
        ),
        (
            "likelihood" in taken and flat and config.vae.likelihood != "gaussian",
            f"vae.likelihood: {name} is of real numbers, not pixels; set it to gaussian",
        ),
        (
            (len(derived.image_shape) == 2) != ("temperature" in taken),
            f"data.name: the algorithm gumbel writes sequences of symbols, such as grammar is of, "
            f"and others do not; this is {config.algorithm} on {name}",
        ),
        (
            "picture" in taken and derived.image_shape[-1] != 3,
            f"data.name: the images of {name} are not in colour, and what {config.algorithm} draws "
            f"is; prepare them with --channels rgb",
        ),
        *_of_translation(config, taken),
    ]


def _of_translation(config: ConfigDict, taken: Collection[str]) -> list[tuple[bool, str]]:
    derived, name, translate = config.derived, config.data.name, config.translate
    of_source, channels = source_channels(config), derived.image_shape[-1]
    computes = "source" in taken
    return [
        (
            of_source > 0 and "source_channels" not in taken,
            f"data.name: {name} is of pairs of images, and the algorithm {config.algorithm} takes "
            f"single ones; pix2pix and cyclegan translate",
        ),
        (
            computes and not of_source and not translate.source,
            f"translate.source: {name} is of single images; say what of them is given: "
            f"{', '.join(pairs.SOURCES)}; or prepare pairs, which lie side by side in a picture, "
            f"with --fit pair",
        ),
        (
            computes and of_source > 0 and translate.source != "",
            f"translate.source: {name} is of pairs already; leave it empty",
        ),
        (
            translate.source == "small" and any(side % 4 for side in derived.image_shape[:2]),
            f"translate.source: small is a quarter of the size, and "
            f"{derived.image_shape[0]} is no multiple of 4",
        ),
        (
            "cycle" in taken and not of_source,
            f"data.name: {name} is one set, and cyclegan translates between two, as "
            f"unpaired:mnist,fashion_mnist",
        ),
        (
            translate.identity != 0 and 2 * of_source != channels,
            f"translate.identity: sources have {of_source} channels and targets "
            f"{channels - of_source}, so none is an image of the other kind; set it to 0",
        ),
        (
            "pool" in taken and translate.pool > 0 and config.parallel.mode == "replica",
            "translate.pool: replicas would each have a history of their own; set it to 0, or "
            "parallel.mode=spmd",
        ),
    ]


def _contradictions(
    config: ConfigDict, discriminator: nn.Module | None, penalties: Collection[str]
) -> list[tuple[bool, str]]:
    loss = lookup(LOSSES, config.loss, "loss")
    conditioning = getattr(discriminator, "conditioning", "")
    classifies = conditioning in CLASS_LOSSES
    augment_ = config.augment
    images = len(config.derived.image_shape) == 3
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
            config.vae.bound == "iwae" and config.vae.beta != 1,
            "vae.beta: it weighs the divergence, which vae.bound=iwae has not apart; set it to 1",
        ),
        *_of_unrolling(config),
        *_of_minibatches(config, loss, conditioning, penalties),
        *_of_privacy(config, loss, conditioning, penalties),
        *_of_augmentation(config, loss, augment_, images),
        *_of_classes(config, conditioning),
        *_of_penalties(config, loss, discriminator, images, penalties),
    ]


def _of_unrolling(config: ConfigDict) -> list:
    known = player.arguments_of(config.optimizer.discriminator.name)
    optimizer, unrolled = config.optimizer.discriminator, config.unrolled_steps > 0
    return [
        (
            unrolled and not optimizer.arguments.get("eps_root", known.get("eps_root", 1.0)),
            f"optimizer.discriminator.arguments.eps_root: unrolling differentiates the square root "
            f"in {optimizer.name}, which has no slope at 0; set it to 1e-16, say",
        ),
        (
            unrolled and "eps_root" in known and config.precision != "float32",
            f"precision: unrolling differentiates the square root in {optimizer.name}, whose slope "
            f"is huge where rounding makes a gradient 0; set it to float32",
        ),
    ]


def _of_minibatches(
    config: ConfigDict, loss: Loss, conditioning: str, penalties: Collection[str]
) -> list:
    coupled = [config.loss] if loss.couples else []
    if conditioning in CLASS_LOSSES and CLASS_LOSSES[conditioning].couples:
        coupled.append(conditioning)
    whole = {
        "top_k": config.top_k != 1,
        "unrolled_steps": config.unrolled_steps > 0,
        "penalties.dragan": "dragan" in penalties,
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


def _of_privacy(
    config: ConfigDict, loss: Loss, conditioning: str, penalties: Collection[str]
) -> list:
    private = config.privacy.noise > 0
    classes = CLASS_LOSSES.get(conditioning)
    seen = {
        f"loss={config.loss}": loss.couples or loss.uses_real,
        f"model.discriminator.conditioning={conditioning}": bool(classes and classes.couples),
        "accumulate": config.accumulate > 1,
        "pack": config.pack > 1,
        "unrolled_steps": config.unrolled_steps > 0,
        "augment.target": config.augment.target > 0,
        "augment.policy=apa": config.augment.policy == "apa",
        "parallel.mode=replica": config.parallel.mode == "replica",
        **{f"penalties.{name}": name in penalties for name in ("lecam", "dragan", "zcr")},
    }
    others = [name for name, there in seen.items() if there]
    idle = [name for name in ("clip", "delta") if config.privacy[name] != EARLIER["privacy"][name]]
    return [
        (
            bool(idle) and not private,
            f"privacy.{''.join(idle[:1])}: without privacy.noise nothing is private; set that, too",
        ),
        (
            private and not config.derived.num_examples,
            f"privacy.noise: {config.data.name} is drawn without end, and nobody's",
        ),
        (
            private and bool(others),
            f"privacy.noise: each real image is to touch its own gradient alone, once; that does "
            f"not go with {', '.join(others)}",
        ),
    ]


def _of_augmentation(config, loss: Loss, settings: ConfigDict, images: bool) -> list:
    used, relative = settings.policy != "none", loss.boundary is None
    idle = not isinstance(settings.p, ConfigDict) and settings.p == 0 and settings.target == 0
    return [
        (
            used and settings.policy != "apa" and not images,
            f"augment.policy: {settings.policy!r} changes images, and these data are none",
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


def _of_penalties(
    config: ConfigDict,
    loss: Loss,
    discriminator: nn.Module | None,
    images: bool,
    penalties: Collection[str],
) -> list:
    moves = [name for name in ("cr", "bcr") if name in penalties]
    return [
        (
            bool(moves) and not images,
            f"penalties.{''.join(moves[:1])}: it shifts and flips images, and these are none",
        ),
        (
            "lecam" in penalties and loss.uses_real,
            f"penalties.lecam: it ties logits to values, and the loss {config.loss} leaves all of "
            f"them free to move together",
        ),
        (
            "wgan_gp" in penalties and getattr(discriminator, "norm", "") == "batch",
            "penalties.wgan_gp: it bounds the gradient by each image, and with "
            "model.discriminator.norm=batch a logit depends on all (Gulrajani et al. 2017, section "
            "4); take layer or none",
        ),
    ]
