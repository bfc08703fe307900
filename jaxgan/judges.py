"""What judges a generator: reference images, the networks that look at them, what may be asked.

What networks saw of reference images is kept in `<data.dir>/jaxgan_metrics`, by all that it depends
on.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxgan import data
from jaxgan.errors import UserError, lookup
from jaxgan.evaluation import Examples, Judge
from jaxgan.metrics import METRICS, classifier, metrics_of
from jaxgan.metrics.networks import Network, load, lpips_weights
from jaxgan.metrics.ssim import WINDOW
from jaxgan.references import classifier_of, open_examples

OWN = ("", "classifier")  # features by the data's classes
OF_FEATURES = frozenset({"moments", "features", "logits"})  # what a metric may need of a network
# Metrics that make sense of points.
POINTS = {"frechet", "kernel", "prdc", "modes", "sliced_wasserstein", "elbo", "importance_bound"}
SEQUENCES = {"expressions"}  # of symbols, the same


# --------------------------------------------------------------------------------------------------
# What may be asked


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a user wants to know."""

    metrics: tuple[str, ...]  # (): the usual ones of the set
    samples: int  # 0: as many as there are real images
    labelled: bool  # are the samples of classes that were asked for?
    latent: str = ""  # the generator's; "" where there is none
    split: str = ""  # see open_examples
    features: str = ""  # "": the data's own classifier, or the points
    weights: str = ""  # these and the following: see networks.load
    sha256: str = ""
    resize: str = ""
    abilities: frozenset[str] = frozenset()  # of ABILITIES: what the algorithm has
    training: bool = False  # compare the images of the section's own split, too
    prefix: str = "--"  # of keys in errors


ABILITIES = {
    "bounds": "an autoencoder (algorithm=vae)",
    "complete": "algorithm=inpaint",
    "score": "a GAN whose discriminator judges single images (algorithm=gan, pack=1)",
    "translate": "algorithm=pix2pix, cyclegan and style",
}


def abilities(algorithm: Any) -> frozenset[str]:
    """What metrics may need of an algorithm that not all have."""
    packs = getattr(getattr(algorithm, "view", None), "pack", 1) > 1  # no image has a logit
    able = {name for name in ABILITIES if hasattr(algorithm, name)}
    return frozenset(able - {"score"} if packs else able)


def latent_of(config: Any, algorithm: Any) -> str:
    """That of its generator, where it draws from latents."""
    return config.latent if hasattr(algorithm, "render") else ""


def asked_by(config: Any, algorithm: Any = None) -> Asked:
    """What evaluations in training are to tell."""
    wanted = config.evaluation
    return Asked(
        metrics_of(wanted.metrics, "evaluation.metrics"),
        samples=wanted.samples,
        labelled=config.conditional,
        latent=latent_of(config, algorithm),
        split=wanted.split or config.data.split,
        features=wanted.features,
        weights=wanted.weights,
        sha256=wanted.sha256,
        resize=wanted.resize,
        abilities=abilities(algorithm),
        training=bool(wanted.split),
        prefix="evaluation.",
    )


def plan(section: Mapping[str, Any], asked: Asked) -> Judge:
    """The judge without its networks, by a config's section `data`.

    Raises UserError for what cannot be.
    """
    cache = data.directory_of(section["dir"]) / "jaxgan_metrics"
    try:
        reference = open_examples(section, asked.split)
    except UserError as error:
        if not asked.split:
            raise
        raise UserError(str(error).replace("data.split", f"{asked.prefix}split")) from error
    trained = open_examples(section, section["split"]) if asked.training else None
    if trained and trained.identity == reference.identity:
        trained = None
    metrics = asked.metrics or _usual(reference, asked.labelled)
    judge = Judge(metrics, reference, trained, {}, None, cache)
    _refuse(judge, asked)
    return judge


def _usual(reference: Examples, labelled: bool) -> tuple[str, ...]:
    """The metrics where none are named."""
    if len(reference.shape) == 2:
        return tuple(SEQUENCES)
    of_points = len(reference.shape) == 1
    names = ["prdc", "sliced_wasserstein"] if of_points else ["frechet", "kernel", "prdc"]
    if reference.shares is not None:  # a mixture, whose modes can be counted
        names += ["modes"]
    if labelled and not of_points:
        names += ["accuracy", "diversity"]
    return tuple(names)


def plan_of(config: Any, algorithm: Any) -> Judge:
    """That of evaluations in training."""
    return plan(config.data.to_dict(), asked_by(config, algorithm))


def equip(judge: Judge, section: Mapping[str, Any], asked: Asked) -> Judge:
    """The judge with its networks, which may take a classifier's training or a download.

    Raises UserError where there are none.
    """
    networks: dict[str, Network] = {}
    of_features, own = judge.needs & OF_FEATURES, asked.features in OWN
    try:
        if "classes" in judge.needs or (own and of_features):
            networks["classifier"] = classifier_of(section, judge.reference.opened, judge.cache)
        if of_features and own:
            networks["features"] = networks["classifier"]
        elif of_features:
            of_file = asked.weights, asked.sha256, asked.resize
            networks["features"] = load(asked.features, *of_file, judge.cache)
        perceptual = lpips_weights(judge.cache) if "perceptual" in judge.needs else None
    except UserError as error:
        text = str(error)
        raise UserError(
            f"{asked.prefix}{text}" if text.startswith("features:") else text
        ) from error
    if "logits" in of_features and not networks["features"].has_logits:
        raise UserError(
            f"{asked.prefix}metrics: score takes logits of classes, and these features have none"
        )
    return dataclasses.replace(judge, networks=networks, perceptual=perceptual)


def ready(judge: Judge, config: Any) -> Judge:
    """That of evaluations in training, equipped. Raises UserError for a `best_metric` of others."""
    judge = equip(judge, config.data.to_dict(), asked_by(config))
    ordered = {name: sign for name, sign in judge.directions.items() if sign}
    lookup(ordered, config.best_metric, "best_metric")
    return judge


def _scale(sound: Mapping[str, Any] | None, pictures: Any) -> Any:
    """What spectrograms are scaled by; samples are scaled as it is asked for."""
    return sound and (sound["rate"] if pictures else sound)


def check_alike(judge: Judge, asked: Asked, images: Examples) -> None:
    """Raises UserError where images cannot be measured for having another shape or classes."""
    reference, needs = judge.reference, judge.needs
    shapes = images.shape, reference.shape
    own = asked.features in OWN and needs & OF_FEATURES
    of_pixels = own or needs & {"images", "classes"}
    if len(shapes[0]) != len(shapes[1]):
        raise UserError("--fake: one set is of points, the other of images")
    sounds = [each.identity.get("sound") for each in (images, reference)]
    if any(sounds) and _scale(sounds[0], images.pictures) != _scale(sounds[1], reference.pictures):
        raise UserError(
            "--fake: the sets' spectrograms differ in their samples a second, or in the means and "
            "deviations that they are scaled by; prepare both with the same --sound and --waves"
        )
    if shapes[0] != shapes[1] and of_pixels:
        sizes = shapes[0][:2] != shapes[1][:2]
        remedy = "resize both with --image_size, or " if sizes else ""
        raise UserError(
            f"--fake: its images are of shape {shapes[0]}, the real ones {shapes[1]}; {remedy}take "
            f"other --features, and metrics that are not of pixels"
        )
    names = images.class_names, reference.class_names
    if not needs & {"labels", "classes"} or not all(names):
        return
    if len(names[0]) != len(names[1]):
        raise UserError(f"--fake: it has {len(names[0])} classes, the real images {len(names[1])}")
    numbered = any(all(name.isdecimal() for name in each) for each in names)
    if names[0] != names[1] and not numbered:
        raise UserError(
            "--fake: its classes have other names, or another order, than the real ones"
        )


# Fewer samples than these give no figure.
LEAST = {"frechet": 2, "kernel": 2, "score": 10, "prdc": 6, "parzen": 4}
LEAST |= {"ms_ssim": 2, "lpips": 2, "cas": classifier.BATCH}
LEAST_OF_A_CLASS = {"intra_frechet": 2, "diversity": 2, "accuracy": 1}
SMALLEST = {
    "ms_ssim": WINDOW,
    "lpips": 16,
    "ppl": 16,
    "completion_lpips": 16,
}  # pixels along a side


def _refuse(judge: Judge, asked: Asked) -> None:
    """Raises UserError for the first thing that cannot be had, with the reason."""
    reference, key = judge.reference, f"{asked.prefix}metrics"
    if asked.features in OWN and (asked.weights or asked.sha256 or asked.resize):
        raise UserError(
            f"{asked.prefix}features: weights, sha256 and resize are of another network than the "
            f"data's classifier; name it"
        )
    if len(reference.shape) < 3 and asked.features:
        raise UserError(
            f"{asked.prefix}features: points are their own, and sequences have none; leave them out"
        )
    if asked.labelled and asked.latent and not reference.class_names:
        raise UserError(f"{asked.prefix}split: the run is of classes, and these images have none")
    samples = min(asked.samples or reference.count, reference.count)
    for name in judge.metrics:
        reason = _reason_against(name, judge, asked)
        classes = len(reference.class_names) if asked.labelled else 1
        least = max(LEAST.get(name, 1), LEAST_OF_A_CLASS.get(name, 0) * max(classes, 1))
        if not reason and samples < least:
            reason = f"takes {least} images or more, not {samples}"
        if reason:
            raise UserError(f"{key}: {name} {reason}; leave it out")


def _reason_against(name: str, judge: Judge, asked: Asked) -> str:
    reference, trained, needs = judge.reference, judge.training, METRICS[name].needs
    set_name = reference.identity["name"]
    kind = {1: "points", 2: "sequences"}.get(len(reference.shape), "images")
    if reference.pictures and needs & (ABILITIES.keys() | {"generate"}):
        return f"gives images to the run's own networks, and {set_name} is of sounds"
    if (name in SEQUENCES) != (kind == "sequences"):
        return (
            f"is of {'sequences' if name in SEQUENCES else 'images'}, and {set_name} is of {kind}"
        )
    if kind == "points":
        if name not in POINTS:
            return f"is of images, and {set_name} is of points"
    elif kind == "images" and min(reference.shape[:2]) < SMALLEST.get(name, 0):
        return f"takes images of {SMALLEST[name]} pixels or more"
    if needs & {"labels", "classes"} and not reference.class_names:
        return f"is of classes, and {set_name} has none"
    if "labels" in needs and not asked.labelled:
        return "is of classes, and the samples are of none"
    for ability in (needs & ABILITIES.keys()) - asked.abilities:
        return f"is of {ABILITIES[ability]}"
    if "generate" in needs and not asked.latent:
        return "is of a generator, not of images"
    if "generate" in needs and asked.latent != "normal":
        return f"is of normal latents, not {asked.latent}"
    if name == "augmentation" and trained and trained.count < classifier.BATCH:
        return f"takes {classifier.BATCH} training images or more, not {trained.count}"
    if needs & {"training", "training_images"} and (
        trained is None or _overlap(trained, reference)
    ):
        advice = " (of a set without one: data.split='train[:90%]', and here --split 'train[90%:]')"
        return (
            "takes real images that were not trained on, by another split than that of training"
            + (advice if asked.training and not asked.split else "")
        )
    return ""


def _overlap(a: Examples, b: Examples) -> bool:
    """Whether two splits of a set may have images in common: two slices are taken to have none."""
    splits = [str(each.identity.get("split", "")) for each in (a, b)]
    bases = [split.partition("[")[0] for split in splits]
    return bases[0] == bases[1] and not all("[" in split for split in splits)
