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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

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
    pairs,
    parzen,
    path_length,
    score,
    sliced,
    spectrum,
    ssim,
)
from jaxgan.metrics.frechet import Moments
from jaxgan.metrics.kernel import Estimate
from jaxgan.metrics.spectrum import Spectra
from jaxgan.typing import Array, Key, PyTree

NEIGHBOURS = 5
PAIRS = 1000  # of images, for LPIPS and MS-SSIM
LARGEST_PATHS = 10_000  # for the perceptual path length
CHUNK = 250  # images whose pixels are looked at in one call
LATENTS = 5_000  # of an image, for its importance-weighted bound (Burda et al. 2016)
LARGEST_FILL = 10_000  # training images that a hole may be filled from
ACTIVE = 0.01  # the variance over images of an active latent dimension's mean (the same)


class Seen(NamedTuple):
    """What was seen of a set of images, on the host; None what no metric asked for."""

    number: int  # of images whose features were seen
    labels: Any = None  # int32 n: what was asked for, or the data set's
    images: Any = None  # uint8 m h w c, float32 points m 2 or sequences; m of these first ones
    moments: Any = None  # frechet.Moments of the features
    features: Any = None  # float32 n d
    logits: Any = None  # float32 n c, of the network whose features they are
    classes: Any = None  # int32 n, by the classifier of the data set


class Scene(NamedTuple):
    """What a metric may know beside real and fake images."""

    key: Key[Array, ""]
    class_names: tuple[str, ...] = ()
    shares: Any = None  # float64 c, of the classes in the data; None: as in the real images
    training: Any = None  # Seen, of the images that the generator was trained on
    perceptual: PyTree = None  # the weights of LPIPS
    generate: Any = None  # (z b d, labels b) -> images b h w c in [-1, 1]
    z_dim: int = 0
    complete: Any = None  # (key, images b h w c) -> (with holes filled, masks b h w 1)
    training_images: Any = None  # uint8 n h w c, of those trained on
    bounds: Any = None  # (key, images b h w c, labels b, samples) -> VAE.bounds of these


class Metric(NamedTuple):
    needs: frozenset[str]  # fields of Seen, and of Scene
    values: dict[str, int]
    measure: Callable[[Seen, Seen, Scene], dict[str, Any]]  # (real, fake, scene)


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


def _agreement(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    # The n-th image was made of the n-th real example, whose class it may have kept.
    labels, classes = real.labels[: fake.number], len(scene.class_names)
    return conditional.agreement(fake.classes, labels, classes)._asdict()


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


def _ppl(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    count = min(fake.number, LARGEST_PATHS)
    keys = jax.random.split(scene.key, 3)
    first, last = (jax.random.normal(key, (count, scene.z_dim)) for key in keys[:2])
    t = jax.random.uniform(keys[2], (count,))
    labels = np.zeros(count, np.int32) if fake.labels is None else fake.labels[:count]
    generate = Partial(_rgb_of, scene.generate)
    ways = scene.perceptual, generate, first, last, t, jnp.asarray(labels)
    return {"ppl": path_length.perceptual_path_length(*ways)}


def _rgb_of(generate: Callable[..., Array], *inputs: Array) -> Array:
    return lpips.to_rgb(generate(*inputs))


def _sliced(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    count = min(len(real.images), len(fake.images))
    seen = [_of_pixels(_project, each, scene.key)[:count] for each in (real, fake)]
    return {"sliced_wasserstein": sliced.sliced_wasserstein(*map(jnp.asarray, seen))}


def _spectrum(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    spectra = [jnp.asarray(_of_pixels(_spectra, each)) for each in (real, fake)]
    return {"spectrum": spectrum.compare(*spectra)}


def _parzen(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    rows = [_of_pixels(_in_unit, each) for each in (real, fake)]
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


def _elbo(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    found = _bounds(real, scene, 1, CHUNK)
    active = np.var(found["mean"].astype(np.float64), 0) > ACTIVE
    return {"elbo": found["elbo"].mean(), "active_units": active.sum()}


def _importance_bound(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    # Of few images at once: 100 latents of each are decoded together
    return {"importance_bound": _bounds(real, scene, LATENTS, 50)["importance_bound"].mean()}


def _completion(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    training = scene.training_images[:LARGEST_FILL]
    of_run = scene.complete, scene.key, real.images, training
    return completion.of_holes(completion.measures, *of_run)


def _completion_lpips(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    def measures(images: Array, filled: Array, mask: Array) -> dict[str, Array]:
        a, b = lpips.to_rgb(images), lpips.to_rgb(filled)
        return {"lpips": lpips.lpips_within(scene.perceptual, a, b, mask)}

    training = scene.training_images[:LARGEST_FILL]
    return completion.of_holes(measures, scene.complete, scene.key, real.images, training)


def _bounds(real: Seen, scene: Scene, samples: int, size: int) -> dict[str, np.ndarray]:
    """What the model under trial knows of the real images, `size` of them at a time."""
    count = len(real.images)
    labels = np.zeros(count, np.int32) if real.labels is None else real.labels[:count]
    chunks = []
    for first in range(0, count, size):
        chosen = np.arange(first, first + size) % count  # the last chunk is filled up
        key = jax.random.fold_in(scene.key, first)
        images = _float(real.images[chosen])
        found = scene.bounds(key, images, jnp.asarray(labels[chosen]), samples)
        chunks.append({name: np.asarray(value) for name, value in found.items()})
    return {name: np.concatenate([each[name] for each in chunks])[:count] for name in chunks[0]}


def _float(images: np.ndarray) -> Array:
    return to_float(images) if images.ndim == 4 else jnp.asarray(images)


_spectra = jax.jit(spectrum.power_spectrum)


@jax.jit
def _project(images: Array, key: Array) -> Array:
    return sliced.project(key, images)


@jax.jit
def _in_unit(images: Array) -> Array:
    return (images.reshape(len(images), -1) + 1) / 2


def _of_pixels(function: Callable[..., Array], seen: Seen, *arguments: Array) -> np.ndarray:
    """`function` of the set's images as floats, some at a time."""
    chunks = [seen.images[i : i + CHUNK] for i in range(0, len(seen.images), CHUNK)]
    return np.concatenate([np.asarray(function(_float(each), *arguments)) for each in chunks])


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
    "agreement": _metric("classes translate", {"agreement": 1, "agreement_renamed": 0}, _agreement),
    "cas": _metric("images labels", {"cas": 1}, _cas),
    "diversity": _metric("images", {"diversity": 0}, _diversity),
    "ms_ssim": _metric("images", {"ms_ssim": 0}, _ms_ssim),
    "lpips": _metric("images perceptual", {"lpips": 0}, _lpips),
    "ppl": _metric("perceptual generate", {"ppl": -1}, _ppl),
    "sliced_wasserstein": _metric("images", {"sliced_wasserstein": -1}, _sliced),
    "spectrum": _metric("images", {"spectrum": -1}, _spectrum),
    "parzen": _metric("images", {"parzen": 1, "parzen_width": 0}, _parzen),
    "completion": _metric(
        "images complete training_images", completion.values(psnr=1, ssim=1, l1=-1), _completion
    ),
    "completion_lpips": _metric(
        "images complete training_images perceptual", completion.values(lpips=-1), _completion_lpips
    ),
    "expressions": _metric(
        "images", {"valid": 1, "distinct": 0, "novel": 0, "length_distance": -1}, _expressions
    ),
    "elbo": _metric("images bounds", {"elbo": 1, "active_units": 0}, _elbo),
    "importance_bound": _metric("images bounds", {"importance_bound": 1}, _importance_bound),
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
    "ppl": {"space": "z", "epsilon": "to 0", "paths": "full", "at_most": LARGEST_PATHS},
    "sliced_wasserstein": {"directions": 256},
    "completion": {"fills": f"of up to {LARGEST_FILL:,} training images"},
    "completion_lpips": {"network": "vgg16, version 0.1, weighted by the hole in each layer"},
    "elbo": {"latents": 1, "active": f"variance of the mean above {ACTIVE}"},
    "importance_bound": {"latents": LATENTS},
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
