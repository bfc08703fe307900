"""Metrics of more than samples: of the model that drew them, or of the images that it learnt from.

See METRICS in the package, which names them, with their values.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxgan.metrics import classifier, completion, conditional, lpips, neighbours, path_length
from jaxgan.metrics.seen import CHUNK, Scene, Seen, as_floats, in_unit, of_pixels
from jaxgan.typing import Array

LARGEST_PATHS = 10_000  # for the perceptual path length
LATENTS = 5_000  # of an image, for its importance-weighted bound (Burda et al. 2016)
LARGEST_TRAINING = 10_000  # training images that a metric looks at themselves
UPDATES = 2_000  # of a classifier, at least, whatever it is trained on
ACTIVE = 0.01  # the variance over images of an active latent dimension's mean (the same)


def agreement(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    # The n-th image was made of the n-th real example, whose class it may have kept.
    labels, classes = real.labels[: fake.number], len(scene.class_names)
    return conditional.agreement(fake.classes, labels, classes)._asdict()


def augmentation(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    images, labels = scene.training_images, scene.training_labels
    network = classifier.Classifier(len(scene.class_names))
    found = {}
    for name, more in (("accuracy_of_real", 0), ("accuracy_augmented", len(fake.images))):
        every = np.concatenate([images, fake.images[:more]])
        of_every = np.concatenate([labels, fake.labels[:more]])
        epochs = -(-UPDATES // max(len(every) // classifier.BATCH, 1))
        params = classifier.train(network, every, of_every, scene.key, epochs)
        of_real = real.images, real.labels[: len(real.images)]
        found[name] = classifier.accuracy(network, params, *of_real)
    return found


def membership(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    # Hayes et al., PETS 2019 (https://arxiv.org/abs/1705.07663): what the discriminator takes for
    # real it was trained on. Chen et al., CCS 2020 (https://arxiv.org/abs/1909.03935): a sample is
    # near to what the generator was trained on.
    count = min(len(real.images), len(scene.training_images))
    logits, distances = [], []
    samples = jnp.asarray(of_pixels(in_unit, fake))
    for images, labels in (
        (scene.training_images[:count], scene.training_labels),
        (real.images[:count], real.labels),
    ):
        labels = np.zeros(count, np.int32) if labels is None else labels[:count]
        logits.append(_scores(scene.score, images, labels))
        rows = jnp.asarray(of_pixels(in_unit, Seen(count, images=images)))
        distances.append(neighbours.nearest(rows, samples).distances)
    return {
        "membership_by_logits": neighbours.nearer(-logits[0], -logits[1]),
        "membership_by_samples": neighbours.nearer(*distances),
    }


def _scores(score: Callable[..., Array], images: np.ndarray, labels: np.ndarray) -> Array:
    chunks = []
    for first in range(0, len(images), CHUNK):
        chosen = np.arange(first, first + CHUNK) % len(images)  # the last chunk is filled up
        chunks.append(np.asarray(score(as_floats(images[chosen]), jnp.asarray(labels[chosen]))))
    return jnp.asarray(np.concatenate(chunks)[: len(images)])


def ppl(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
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


def elbo(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    found = _bounds(real, scene, 1, CHUNK)
    active = np.var(found["mean"].astype(np.float64), 0) > ACTIVE
    return {"elbo": found["elbo"].mean(), "active_units": active.sum()}


def importance_bound(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    # Of few images at once: 100 latents of each are decoded together
    return {"importance_bound": _bounds(real, scene, LATENTS, 50)["importance_bound"].mean()}


def hole_completion(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    of_run = scene.complete, scene.key, real.images, scene.training_images
    return completion.of_holes(completion.measures, *of_run)


def completion_lpips(real: Seen, fake: Seen, scene: Scene) -> dict[str, Any]:
    def measures(images: Array, filled: Array, mask: Array) -> dict[str, Array]:
        a, b = lpips.to_rgb(images), lpips.to_rgb(filled)
        return {"lpips": lpips.lpips_within(scene.perceptual, a, b, mask)}

    of_run = scene.complete, scene.key, real.images, scene.training_images
    return completion.of_holes(measures, *of_run)


def _bounds(real: Seen, scene: Scene, samples: int, size: int) -> dict[str, np.ndarray]:
    """What the model under trial knows of the real images, `size` of them at a time."""
    count = len(real.images)
    labels = np.zeros(count, np.int32) if real.labels is None else real.labels[:count]
    chunks = []
    for first in range(0, count, size):
        chosen = np.arange(first, first + size) % count  # the last chunk is filled up
        key = jax.random.fold_in(scene.key, first)
        images = as_floats(real.images[chosen])
        found = scene.bounds(key, images, jnp.asarray(labels[chosen]), samples)
        chunks.append({name: np.asarray(value) for name, value in found.items()})
    return {name: np.concatenate([each[name] for each in chunks])[:count] for name in chunks[0]}
