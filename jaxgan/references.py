"""Real images to compare with, and the classifier of a data set's own classes.

What takes long and stays the same is kept in `<data.dir>/jaxgan_metrics`: classifiers by the data
they were trained on.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan import data, parallel, weights, writer
from jaxgan.data import download
from jaxgan.errors import UserError
from jaxgan.evaluation import Examples, digest
from jaxgan.metrics import classifier
from jaxgan.metrics.modes import nearest_mean
from jaxgan.metrics.networks import PRETRAINED, Network
from jaxgan.metrics.networks.outputs import Outputs
from jaxgan.typing import Array, Params

FORMAT = 1  # to be raised when the same data give another classifier
DRAWS = 10_000  # of a data set without end
LARGEST = 60_000  # images that a classifier is trained on
AT_ONCE = 512  # sounds that are transformed


# --------------------------------------------------------------------------------------------------
# Reference images


def open_examples(section: Mapping[str, Any], split: str) -> Examples:
    """The split of the set in a config's section `data`; of pairs, the images to translate into,
    with the labels of those to translate from.

    "" is the test images where there are any, or else the section's own split.
    """
    rest = section["image_size"], section["dir"], section["path"]
    opened = data.open_set(section["name"], split or section["split"], *rest)
    if isinstance(opened, data.Prepared | data.Unpaired):
        if not split and "test" in opened.splits:
            return open_examples(section, "test")
        identity = {"name": section["name"], "split": split or section["split"], **opened.details}
        names, read, count = opened.class_names, opened.read, opened.num_examples
        of_source = opened.details.get("source_channels", 0)
        if len(opened.shape) == 1:
            sounds = Examples(count, count, opened.shape, names, read, identity, opened, whole=read)
            return as_spectrograms(sounds, opened.details["sound"])
        if not of_source:
            return Examples(count, count, opened.shape, names, read, identity, opened)
        *sides, channels = opened.shape
        shape = (*sides, channels - of_source)

        def targets(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            images, labels = read(numbers)
            return images[..., of_source:], labels

        # Of two sets the smaller begins again where it ends; each image counts once.
        count = getattr(opened, "different", count)
        return Examples(count, count, shape, names, targets, identity, opened, whole=read)
    return _drawn(section["name"], split or section["split"], opened)


def as_spectrograms(sounds: Examples, sound: Mapping[str, Any]) -> Examples:
    """The spectrograms of sounds, by the means and deviations of `sound`."""

    @jax.jit
    def pictures(waves: Array) -> Array:
        return data.to_uint8(data.spectrograms(waves, sound))

    def read(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        assert sounds.whole
        waves, labels = sounds.whole(numbers)
        found = np.empty((len(waves), side, side, 1), np.uint8)
        for first in range(0, len(waves), AT_ONCE):  # by NumPy: each process reads its own
            part = slice(first, first + AT_ONCE)
            found[part] = data.pictures(waves[part], sound)
        return found, labels

    side = len(sound["mean"])
    return dataclasses.replace(sounds, shape=(side, side, 1), read=read, pictures=pictures)


def _drawn(name: str, split: str, opened: Any) -> Examples:
    """As many as DRAWS of a set without end, always the same."""
    if isinstance(opened, data.Stacked):
        images, labels = opened.drawn(DRAWS)
        shares = opened.shares if opened.class_names else None
    else:
        points, of_points = opened.draw(jax.random.key(0), DRAWS)
        images, labels = np.asarray(points), None if of_points is None else np.asarray(of_points)
        classes = len(opened.class_names)
        shares = np.full(classes, 1 / classes) if classes else None

    def read(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return images[numbers], None if labels is None else labels[numbers]

    identity = {"name": name, "split": split, "drawn": DRAWS, **opened.details}
    shape, names = images.shape[1:], opened.class_names
    return Examples(DRAWS, DRAWS, shape, names, read, identity, opened, shares)


# --------------------------------------------------------------------------------------------------
# The data set's own classifier


def classifier_of(section: Mapping[str, Any], opened: Any, cache: Path) -> Network:
    """The classifier of the set's classes: shipped, trained before, or trained now.

    Raises UserError where the set has no labels.
    """
    if isinstance(opened, data.Toy):
        return _nearest_means(opened)
    if not opened.class_names:
        raise UserError(
            f"features: {section['name']} has no labels for a classifier to learn; choose of "
            f"{', '.join(PRETRAINED)}"
        )
    if isinstance(opened, data.Unpaired):
        return _classifier({**section, "name": opened.target_name}, cache)
    if not isinstance(opened, data.Stacked):
        return _classifier(section, cache)
    base = section["name"].partition(":")[2] or "mnist"
    grey = _classifier({**section, "name": base}, cache)
    return _of_channels(grey)


def _classifier(section: Mapping[str, Any], cache: Path) -> Network:
    shipped = Path(__file__).parent / "metrics" / f"{section['name']}.safetensors"
    if shipped.is_file() and section["image_size"] in (0, 28):
        return _network(weights.read_tensors(shipped), {"weights_sha256": download.sha256(shipped)})
    train = open_examples(section, "train")
    held_out = "test" if "test" in train.opened.splits else "train[90%:]"
    if held_out != "test":
        train = open_examples(section, "train[:90%]")
    settings = [FORMAT, classifier.EPOCHS, classifier.BATCH, classifier.LEARNING_RATE, LARGEST]
    path = cache / f"classifier-{digest([settings, train.identity])}.safetensors"
    if not path.is_file():
        _train(train, open_examples(section, held_out), path)
    tensors = weights.read_tensors(path)
    return _network(
        tensors, {"trained_on": train.identity, "weights_sha256": download.sha256(path)}
    )


def _train(train: Examples, test: Examples, path: Path) -> None:
    """Trains a classifier, and writes it with its accuracy on the test images."""
    train, test = train.first(LARGEST), test.first(LARGEST)
    print(
        f"training a classifier on {train.count:,} images of {train.identity['name']}", flush=True
    )
    network = classifier.Classifier(len(train.class_names))
    images, labels = train.read(train.order)
    alone = parallel.mesh_of(jax.local_devices()[:1])  # other processes may have theirs already
    with jax.set_mesh(alone):
        params = classifier.train(network, images, np.asarray(labels), jax.random.key(0))
        images, labels = test.read(test.order)
        accuracy = classifier.accuracy(network, params, images, np.asarray(labels))
    print(f"it is right on {accuracy:.1%} of {test.identity['split']} images", flush=True)
    tensors = {k: np.asarray(v) for k, v in flatten_dict(params["params"], sep="/").items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with writer.whole_file(path) as partial:
        weights.write_tensors(partial, {**tensors, "test_accuracy": np.float32(accuracy)})


def _network(tensors: dict[str, np.ndarray], protocol: dict[str, Any]) -> Network:
    rest = {name: np.float32(array) for name, array in tensors.items() if name != "test_accuracy"}
    params = {"params": unflatten_dict(rest, sep="/")}
    module = classifier.Classifier(rest["Dense_1/bias"].size)

    def apply(params: Params, images: Array) -> Outputs:
        return Outputs(*module.apply(params, data.to_float(images)))

    accuracy = round(tensors["test_accuracy"].item(), 4)
    named = {
        "features": "classifier",
        "arithmetic": "float32",
        **protocol,
        "classifier_test_accuracy": accuracy,
    }
    return Network(
        apply, params, named, lambda outputs: jnp.argmax(jnp.asarray(outputs.logits), -1)
    )


def _of_channels(grey: Network) -> Network:
    """Of three stacked grey images: the features of each, and the class of the triple."""

    def apply(params: Params, images: Array) -> Outputs:
        of_each = [grey.apply(params, images[..., n : n + 1]) for n in range(images.shape[-1])]
        features, logits = (jnp.concatenate(parts, -1) for parts in zip(*of_each, strict=True))
        return Outputs(features, logits)

    def classes(outputs: Outputs) -> Array:
        logits = jnp.asarray(outputs.logits)
        base = logits.shape[-1] // 3
        return data.of_triple(jnp.argmax(logits.reshape(-1, 3, base), -1), base)

    protocol = {**grey.protocol, "channels": "each by itself, features side by side"}
    return grey._replace(apply=apply, protocol=protocol, classes=classes, has_logits=False)


def _nearest_means(toy: data.Toy) -> Network:
    """Points as their own features; a Gaussian's are those within three deviations of its mean."""

    def apply(params: Params, points: Array) -> Outputs:
        return Outputs(points, None)

    def classes(outputs: Outputs) -> Array:
        return nearest_mean(outputs.features, jnp.asarray(toy.means), 3 * toy.deviation)

    means = np.asarray(toy.means).tolist() if toy.means is not None else None
    protocol = {"features": "points", "means": means, "reach": 3 * toy.deviation}
    return Network(apply, {}, protocol, classes, has_logits=False)
