"""What samples are judged by: METRICS by name, each a function of two sets of images.

A metric says what it must see of them, and what its values are: the key is the value's name, the
number 1 where more is better, -1 where less is, 0 where neither is. A value is a number, a number
for each class, an Estimate with the error of its own subsets, or Spectra with a distance and two
curves. Settings are those of the papers, so that one name is one protocol; SETTINGS has them for
the record. One k serves all four of `prdc`, the 5 of Naeem et al.; Kynkäänniemi et al. take 3 for
precision and recall.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data import to_float
from jaxgan.errors import UserError, lookup
from jaxgan.metrics import (
    classifier,
    completion,
    conditional,
    expressions,
    frechet,
    kernel,
    lpips,
    modes,
    neighbours,
    of_runs,
    pairs,
    parzen,
    score,
    sliced,
    spectrum,
    ssim,
)
from jaxgan.metrics.frechet import Moments
from jaxgan.metrics.kernel import Estimate
from jaxgan.metrics.seen import Metric, Scene, Seen, in_unit, of_pixels
from jaxgan.metrics.spectrum import Spectra
from jaxgan.typing import Array

NEIGHBOURS = 5
PAIRS = 1000  # of images, for LPIPS and MS-SSIM


def _frechet(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    return {"frechet": frechet.frechet(real.moments, fake.moments)}


def _intra_frechet(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    # Miyato and Koyama, ICLR 2018 (https://arxiv.org/abs/1802.05637), section 5: of each class
    def of_class(number: int) -> float:
        features = [each.features[each.labels == number] for each in (real, fake)]
        if min(map(len, features)) < 2:
            return math.nan
        return frechet.frechet(*map(frechet.moments, features))

    return {"intra_frechet": np.array([of_class(n) for n in range(len(scene.class_names))])}


def _kernel(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    features = map(jnp.asarray, (real.features, fake.features))
    return {"kernel": kernel.kernel_distance(*features, scene.key)}


def _score(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    order = np.asarray(jax.random.permutation(scene.key, fake.number))
    return {"score": score.classifier_score(jnp.asarray(fake.logits[order]))}


def _prdc(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    # As many of each, since all four depend on the numbers.
    count = min(real.number, fake.number)
    features = (jnp.asarray(each.features[:count]) for each in (real, fake))
    return neighbours.held(*features, NEIGHBOURS)._asdict()


def _nearest(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    training = jnp.asarray(scene.training.features)
    samples, held_out = (
        neighbours.nearest(jnp.asarray(each.features), training).distances for each in (fake, real)
    )
    ratio = jnp.median(samples) / jnp.median(held_out)
    return {"nearest_ratio": ratio, "nearer_than_held_out": neighbours.nearer(samples, held_out)}


def _accuracy(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    found, labels = jnp.asarray(fake.classes), jnp.asarray(fake.labels)
    return {"accuracy": conditional.accuracy(found, labels, len(scene.class_names))}


def _expressions(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    return expressions.measures(fake.images)


def _cas(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    # Ravuri and Vinyals, NeurIPS 2019 (https://arxiv.org/abs/1905.10887): train on samples, test on
    # real images. Its converse, train on real images and test on samples, is `accuracy`.
    network = classifier.Classifier(len(scene.class_names))
    params = classifier.train(network, fake.images, fake.labels, scene.key)
    of_real = real.images, real.labels[: len(real.images)]
    return {"cas": classifier.accuracy(network, params, *of_real)}


def _diversity(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    """The mean pairwise distance of pixels, of that between real images; of each class, where both
    are of classes."""
    of_classes = real.labels is not None and fake.labels is not None

    def of(each: Seen) -> Array:
        count = len(each.images)
        labels = each.labels[:count] if of_classes else np.zeros(count, np.int32)
        classes = len(scene.class_names) if of_classes else 1
        images = to_float(each.images)
        return conditional.mean_pairwise_distances(images, jnp.asarray(labels), classes)

    ratios = of(fake) / of(real)
    return {"diversity": ratios if of_classes else ratios[0]}


def _ms_ssim(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    of_pairs = fake.images, scene.key, fake.labels, PAIRS
    return {"ms_ssim": pairs.mean_over_pairs(ssim.ms_ssim, *of_pairs)}


def _lpips(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    def compare(a: Array, b: Array) -> Array:
        return lpips.lpips(scene.perceptual, lpips.to_rgb(a), lpips.to_rgb(b))

    return {"lpips": pairs.mean_over_pairs(compare, fake.images, scene.key, fake.labels, PAIRS)}


def _sliced(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    count = min(len(real.images), len(fake.images))
    seen = [of_pixels(_project, each, scene.key)[:count] for each in (real, fake)]
    return {"sliced_wasserstein": sliced.sliced_wasserstein(*map(jnp.asarray, seen))}


def _spectrum(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    spectra = [jnp.asarray(of_pixels(_spectra, each)) for each in (real, fake)]
    return {"spectrum": spectrum.compare(*spectra)}


def _parzen(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    rows = [of_pixels(in_unit, each) for each in (real, fake)]
    validation, test = np.split(rows[0], [min(1000, len(rows[0]) // 2)])
    width = parzen.choose_width(rows[1], validation)
    return {"parzen": parzen.log_likelihood(rows[1], test, width), "parzen_width": width}


def _modes(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    count, shares = len(scene.class_names), scene.shares
    if shares is None:
        shares = np.bincount(real.labels, minlength=count) / len(real.labels)
    found = modes.modes(fake.classes, count, shares)
    return {
        "modes": found.covered,
        "reverse_kl": found.reverse_kl,
        "reverse_kl_floor": found.floor,
        "counted": found.counted,
    }


_spectra = jax.jit(spectrum.power_spectrum)


@jax.jit
def _project(images: Array, key: Array) -> Array:
    return sliced.project(key, images)


def _metric(needs: str, values: dict[str, int], measure: Callable) -> Metric:
    return Metric(frozenset(needs.split()), values, measure)


METRICS: dict[str, Metric] = {
    "frechet": _metric("moments", {"frechet": -1}, _frechet),
    "intra_frechet": _metric("features labels", {"intra_frechet": -1}, _intra_frechet),
    "kernel": _metric("features", {"kernel": -1}, _kernel),
    "score": _metric("logits", {"score": 1}, _score),
    "prdc": _metric("features", {"precision": 1, "recall": 1, "density": 0, "coverage": 1}, _prdc),
    "nearest": _metric(
        "features training", {"nearest_ratio": 0, "nearer_than_held_out": 0}, _nearest
    ),
    "accuracy": _metric("classes labels", {"accuracy": 1}, _accuracy),
    "agreement": _metric(
        "classes translate", {"agreement": 1, "agreement_renamed": 0}, of_runs.agreement
    ),
    "cas": _metric("images labels", {"cas": 1}, _cas),
    "augmentation": _metric(
        "images labels training_images",
        {"accuracy_of_real": 0, "accuracy_augmented": 1},
        of_runs.augmentation,
    ),
    "membership": _metric(
        "images score training_images",
        {"membership_by_logits": -1, "membership_by_samples": -1},
        of_runs.membership,
    ),
    "diversity": _metric("images", {"diversity": 0}, _diversity),
    "ms_ssim": _metric("images", {"ms_ssim": 0}, _ms_ssim),
    "lpips": _metric("images perceptual", {"lpips": 0}, _lpips),
    "ppl": _metric("perceptual generate", {"ppl": -1}, of_runs.ppl),
    "sliced_wasserstein": _metric("images", {"sliced_wasserstein": -1}, _sliced),
    "spectrum": _metric("images", {"spectrum": -1}, _spectrum),
    "parzen": _metric("images", {"parzen": 1, "parzen_width": 0}, _parzen),
    "completion": _metric(
        "images complete training_images",
        completion.values(psnr=1, ssim=1, l1=-1),
        of_runs.hole_completion,
    ),
    "completion_lpips": _metric(
        "images complete training_images perceptual",
        completion.values(lpips=-1),
        of_runs.completion_lpips,
    ),
    "expressions": _metric(
        "images", {"valid": 1, "distinct": 0, "novel": 0, "length_distance": -1}, _expressions
    ),
    "elbo": _metric("images bounds", {"elbo": 1, "active_units": 0}, of_runs.elbo),
    "importance_bound": _metric("images bounds", {"importance_bound": 1}, of_runs.importance_bound),
    "modes": _metric(
        "classes", {"modes": 1, "reverse_kl": -1, "reverse_kl_floor": 0, "counted": 0}, _modes
    ),
}


def metrics_of(text: str, key: str) -> tuple[str, ...]:
    """The metrics of a list with commas. Raises UserError, with `key`, for one that is none."""
    names = tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    for name in names:
        lookup(METRICS, name, key)
    if not names:
        raise UserError(f"{key}: no metric is named; there are: {', '.join(METRICS)}")
    return names


# What values are called in InceptionV3's features, with the weights that were published, and never
# else.
INCEPTION = {"frechet": "fid", "intra_frechet": "intra_fid", "kernel": "kid", "score": "is"}

# What the names alone do not say, for the record beside each value.
SETTINGS: dict[str, dict[str, Any]] = {
    "kernel": {
        "kernel": "(x.y / d + 1)^3",
        "subsets": 100,
        "subset_size": "1,000 or all",
    },
    "score": {"splits": 10},
    "prdc": {"k": NEIGHBOURS, "counts": "the fewer of real and fake images, of both"},
    "cas": {"epochs": classifier.EPOCHS, "batch_size": classifier.BATCH},
    "ms_ssim": {"pairs": PAIRS},
    "lpips": {"pairs": PAIRS, "network": "vgg16, version 0.1"},
    "ppl": {"space": "z", "epsilon": "to 0", "paths": "full", "at_most": of_runs.LARGEST_PATHS},
    "sliced_wasserstein": {"directions": 256},
    "augmentation": {
        "training_images": f"up to {of_runs.LARGEST_TRAINING:,}",
        "updates": of_runs.UPDATES,
        "batch_size": classifier.BATCH,
    },
    "membership": {"chance": 0.5, "distance": "of pixels"},
    "completion": {"fills": f"of up to {of_runs.LARGEST_TRAINING:,} training images"},
    "completion_lpips": {"network": "vgg16, version 0.1, weighted by the hole in each layer"},
    "elbo": {"latents": 1, "active": f"variance of the mean above {of_runs.ACTIVE}"},
    "importance_bound": {"latents": of_runs.LATENTS},
    "parzen": {
        "pixels": "in [0, 1]",
        "width": "the best of 10 on up to 1,000 real images",
    },
}

__all__ = [
    "INCEPTION",
    "METRICS",
    "SETTINGS",
    "Estimate",
    "Metric",
    "Moments",
    "Scene",
    "Seen",
    "Spectra",
    "metrics_of",
]
