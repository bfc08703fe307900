"""Metrics of a generator's samples, or of any set of images, against a reference set.

Both sets are looked at in batches that all devices of a mesh share, and all processes, each of
which reads its own part of a batch. What the metrics need of them is gathered on every host, where
each computes the same figures.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

from jaxgan import data, parallel, writer
from jaxgan.errors import UserError
from jaxgan.metrics import (
    INCEPTION,
    METRICS,
    SETTINGS,
    Estimate,
    Moments,
    Scene,
    Seen,
    Spectra,
)
from jaxgan.metrics.frechet import join, moments
from jaxgan.metrics.networks import LPIPS_VGG16, Network
from jaxgan.metrics.networks.outputs import Outputs
from jaxgan.metrics.of_runs import LARGEST_TRAINING
from jaxgan.sampler import CHUNK, Sampler
from jaxgan.typing import Array, Params, PyTree

FORMAT = 1  # to be raised when the same images and networks give other features
# What a metric may need that images alone do not have.
OF_A_RUN = frozenset({"generate", "bounds", "complete", "score", "translate"})
OF_A_RUN |= {"training", "training_images"}
ROWS = 2048  # features whose moments are taken at once


class Stopped(Exception):
    """Whoever asked for figures no longer wants them."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """`count` images or points, of `total` that are read by their numbers."""

    count: int
    total: int
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    # numbers -> uint8 n h w c or float32 n 2, and int32 labels or None
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
    identity: dict[str, Any]  # what they are, wherever they lie
    opened: Any = None  # the data set, as data.open_set gives it
    shares: np.ndarray | None = None  # of the classes, where they are known exactly
    # As `read`, of the whole example, where that is a pair of images, and `read` reads the second,
    # or a sound, of which `read` gives the spectrogram.
    whole: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]] | None = None
    pictures: Callable[[Array], Array] | None = None  # uint8 spectrograms of a batch of sounds

    def first(self, count: int) -> "Examples":
        """No more than `count` of them."""
        return dataclasses.replace(self, count=min(self.count, count))

    def given(self) -> "Examples":
        """What an algorithm is given that starts from images."""
        return dataclasses.replace(self, read=self.whole or self.read)

    @property
    def order(self) -> np.ndarray:
        """Their numbers, in an order that is random and always the same."""
        return data.indices(0, 0, self.count, self.total)


@dataclasses.dataclass(frozen=True)
class Judge:
    """What samples are compared with, and by what. Metrics take their names of METRICS."""

    metrics: tuple[str, ...]
    reference: Examples
    training: Examples | None  # what the generator was trained on, if these are others
    networks: dict[str, Network]  # "features" and the data's own "classifier", as far as needed
    perceptual: Params  # LPIPS's weights, or None
    cache: Path

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(METRICS[name].needs for name in self.metrics))

    @property
    def directions(self) -> dict[str, int]:
        """For each value 1 where more is better, -1 where less is, 0 where neither."""
        found: dict[str, int] = {}
        for name in self.metrics:
            found |= METRICS[name].values
        return {self.called(name): sign for name, sign in found.items()}

    def called(self, value: str) -> str:
        """A value's name in these features; nothing but InceptionV3's distance is a FID."""
        network = self.networks.get("features")
        return INCEPTION.get(value, value) if network and network.is_inception else value

    @property
    def protocol(self) -> dict[str, Any]:
        """All that the figures depend on beside the samples."""
        return {
            **{role: network.protocol for role, network in self.networks.items()},
            **({"perceptual": {"weights_sha256": LPIPS_VGG16.sha256}} if self.perceptual else {}),
            "reference": self.reference.identity | {"count": self.reference.count},
            "settings": {name: SETTINGS[name] for name in self.metrics if name in SETTINGS},
        }


# --------------------------------------------------------------------------------------------------
# Looking


class Examiner:
    """Looks at images with a judge's networks, in batches of 64 for each device."""

    def __init__(self, networks: Mapping[str, Network], mesh: Mesh):
        self.networks, self.mesh, self.size = networks, mesh, CHUNK * mesh.size
        everywhere = parallel.replicated(mesh)
        params = {role: network.params for role, network in networks.items()}
        self._params = parallel.replicate(mesh, params)
        self._examine = jax.jit(self._outputs, static_argnums=0, out_shardings=everywhere)

    def examples(self, examples: Examples, needs: frozenset[str], name: str) -> Seen:
        """What is needed of real images, and their labels."""
        seen = self._look(self.batches(examples), examples.count, needs | {"labels"}, name)
        return seen if examples.class_names else seen._replace(labels=None)

    def batches(self, examples: Examples) -> Iterator[tuple[Array, Array]]:
        """Images and labels (0 where there are none), the last batch filled up with more."""
        process, processes = jax.process_index(), jax.process_count()
        share = slice(process * self.size // processes, (process + 1) * self.size // processes)

        def read(first: int) -> tuple[np.ndarray, np.ndarray]:
            numbers = np.resize(examples.order[first : first + self.size], self.size)[share]
            images, labels = examples.read(numbers)
            return images, np.zeros(len(images), np.int32) if labels is None else labels

        starts = ((first,) for first in range(0, examples.count, self.size))
        with contextlib.closing(data.ahead(read, starts)) as made:
            for _, batch in made:
                yield parallel.place(self.mesh, batch, batch_axis=0)

    def samples(
        self, drawn: Iterator[Array], count: int, needs: frozenset[str], name: str, stopped=None
    ) -> Seen:
        """What is needed of the first `count` images that are drawn; labels are not known here."""
        batches = ((images, np.zeros(self.size, np.int32)) for images in drawn)
        return self._look(batches, count, needs - {"labels"}, name, stopped)

    def _outputs(self, needs: frozenset[str], params: Params, images: Array, labels: Array) -> dict:
        outputs: dict[int, Outputs] = {}
        found: dict[str, Any] = {"images": images, "labels": labels}
        for role, network in self.networks.items():
            if id(network) not in outputs:
                shared = parallel.constrain_batch(images)
                outputs[id(network)] = network.apply(params[role], shared)
            seen = outputs[id(network)]
            if role == "features":
                found |= {"features": seen.features, "logits": seen.logits}
            elif network.classes and "classes" in needs:
                found["classes"] = network.classes(seen)
        return {name: found[name] for name in needs}

    def _look(self, batches, count: int, needs: frozenset[str], name: str, stopped=None) -> Seen:
        gathered = _Gathered(needs & set(Seen._fields))
        left = count
        with tqdm.tqdm(total=count, desc=name, unit="image", disable=None, leave=False) as bar:
            for images, labels in batches:
                if stopped and stopped():
                    raise Stopped
                found = self._examine(gathered.outputs, self._params, images, labels)
                # One at a time: many programs in line that gather can end in a deadlock on CPU.
                jax.block_until_ready(found)
                real = min(self.size, left)
                gathered.add({each: np.asarray(array)[:real] for each, array in found.items()})
                left -= real
                bar.update(real)
        return gathered.seen(count)


class _Gathered:
    """What was seen so far: arrays that are needed whole, and moments of features."""

    def __init__(self, needs: frozenset[str]):
        self.needs = needs
        self.outputs = needs - {"moments"} | ({"features"} if "moments" in needs else set())
        self._kept: dict[str, list[np.ndarray]] = {name: [] for name in needs - {"moments"}}
        self._waiting: list[np.ndarray] = []
        self._moments: Moments | None = None

    def add(self, batch: dict[str, np.ndarray]) -> None:
        for name in self._kept:
            self._kept[name].append(batch[name])
        if "moments" in self.needs:
            self._waiting.append(batch["features"])
            if sum(map(len, self._waiting)) >= ROWS:
                self._join()

    def _join(self) -> None:
        batch = moments(np.concatenate(self._waiting))
        self._moments = join(self._moments, batch) if self._moments else batch
        self._waiting.clear()

    def seen(self, count: int) -> Seen:
        if self._waiting:
            self._join()
        arrays = {name: np.concatenate(parts) for name, parts in self._kept.items()}
        return Seen(count, moments=self._moments, **arrays)


# --------------------------------------------------------------------------------------------------
# Measuring


class Trial:
    """A judge that has seen the real images, for samples of one number."""

    def __init__(self, judge: Judge, mesh: Mesh, samples: int = 0):
        """`samples`: 0 is as many as there are real images."""
        self.judge, self.samples = judge, samples or judge.reference.count
        self._examiner = Examiner(judge.networks, mesh)
        self.real = self.see(judge.reference, "real images")
        self.training = None
        if judge.training and "training" in judge.needs:
            self.training = self.see(judge.training, "training images")
        self.training_images = self.training_labels = None
        if judge.training and "training_images" in judge.needs:
            numbers = judge.training.order[: min(judge.training.count, LARGEST_TRAINING)]
            self.training_images, self.training_labels = judge.training.read(numbers)

    def of_state(self, sampler: Sampler, state: PyTree, seed: int, stopped=None) -> dict[str, Any]:
        """The values of samples of the state, by their names. Raises Stopped once `stopped()`."""
        labels, count, needs = None, self.samples, self.judge.needs
        cycle = np.zeros(1, np.int32)
        if sampler.algorithm.num_classes:  # as frequent as they are in the data
            cycle, labels = self.real.labels, np.resize(self.real.labels, count)
        if hasattr(sampler.algorithm, "sample"):
            drawn = sampler.draw(state, cycle, count, seed)
            if self.judge.reference.pictures:
                drawn = map(self.judge.reference.pictures, drawn)
        else:  # it starts from images: the real ones
            given = self.judge.reference.given().first(count)
            drawn = sampler.made(state, self._examiner.batches(given), seed)
            count = given.count
        fake = self._examiner.samples(drawn, count, needs, f"samples of seed {seed}", stopped)
        generate = sampler.generator(state, seed) if "generate" in needs else None
        of_model: dict[str, Any] = {
            name: sampler.of(name, state, seed)
            for name in ("bounds", "complete", "score")
            if name in needs
        }
        z_dim = getattr(sampler.algorithm, "z_dim", 0)
        of_model |= {"generate": generate, "z_dim": z_dim}
        return self._measure(fake._replace(labels=labels), seed, **of_model)

    def of_images(
        self, examples: Examples, name: str, labelled: bool, keep: bool = True
    ) -> dict[str, Any]:
        """The values of other images, of metrics that take no generator and no training images.

        `labelled`: do their labels count? `keep`: may what was seen of them be cached?
        """
        seen = self.see(examples, name, keep)
        return self._measure(seen if labelled else seen._replace(labels=None), 0)

    def see(self, examples: Examples, name: str, keep: bool = True) -> Seen:
        """What the metrics need of real images; what networks saw of them comes from the cache.

        Pixels are kept of no more images than there are samples.
        """
        needs = self.judge.needs & {"moments", "features", "logits", "classes"}
        seen: Any = Seen(examples.count)
        if needs:
            key = [FORMAT, examples.identity, examples.count, sorted(needs)]
            key += [self.judge.networks[role].protocol for role in sorted(self.judge.networks)]
            path = self.judge.cache / f"seen-{digest(key)}.npz"
            cached = _read(path, examples.count) if keep else None
            if parallel.everywhere(cached is not None):
                seen = cached
            else:
                seen = self._examiner.examples(examples, needs, name)
                if keep and jax.process_index() == 0:
                    _write(path, seen)
        if "images" in self.judge.needs or not needs:
            few = examples.first(self.samples)
            pixels = self._examiner.examples(few, self.judge.needs & {"images"}, name)
            labels = pixels.labels if seen.labels is None else seen.labels
            seen = seen._replace(images=pixels.images, labels=labels)
        return seen

    def _measure(self, fake: Seen, seed: int, **generator: Any) -> dict[str, Any]:
        judge = self.judge
        key = jax.random.fold_in(jax.random.key(seed), 8)  # others have 0 to 7
        reference = judge.reference
        of_data = reference.class_names, reference.shares, self.training, judge.perceptual
        of_training = self.training_images, self.training_labels
        scene = Scene(key, *of_data, *of_training, **generator)
        values: dict[str, Any] = {}
        for name in judge.metrics:
            if generator or not METRICS[name].needs & OF_A_RUN:
                found = METRICS[name].measure(self.real, fake, scene)
                values |= jax.block_until_ready(found)
        return {judge.called(name): value for name, value in values.items()}


def number(value: Any) -> float:
    """As one number: an estimate's mean, spectra's distance, the mean of classes with a value."""
    if isinstance(value, Estimate | Spectra):
        value = value[0]
    values = np.asarray(value, np.float64)
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else math.nan


def summary(found: Sequence[dict[str, Any]], class_names: Sequence[str]) -> dict[str, dict]:
    """For each value its mean over sample seeds and the standard error of that; None for nan.

    Of one seed the error is that of an Estimate. A class too small for a value has none, and the
    entry says how many have. Of Spectra the curves are kept, means over sample seeds.
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, first in found[0].items():
        values = [number(each[name]) for each in found]
        entry: dict[str, Any] = {"value": _known(np.mean(values)), "standard_error": None}
        if len(values) > 1:
            entry["standard_error"] = _known(np.std(values, ddof=1) / math.sqrt(len(values)))
        entry["of_each_seed"] = [_known(value) for value in values]
        if isinstance(first, Estimate):
            errors = [_known(each[name].error) for each in found]
            entry["error_of_each_seed"] = errors
            entry["standard_error"] = errors[0] if len(values) == 1 else entry["standard_error"]
        elif isinstance(first, Spectra):
            for of in ("real", "fake"):
                curves = [getattr(each[name], of) for each in found]
                entry[f"decibels_{of}"] = np.mean(curves, 0).tolist()
        elif np.ndim(first):
            means = np.mean([np.asarray(each[name], np.float64) for each in found], 0)
            entry["of_each_class"] = dict(zip(class_names, map(_known, means), strict=True))
            entry["classes"] = int(np.isfinite(means).sum())
        entries[name] = entry
    return entries


def _known(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


# --------------------------------------------------------------------------------------------------
# The cache


def digest(value: Any) -> str:
    """16 hexadecimal digits of what can be written as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path, count: int) -> Seen | None:
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as members:
            arrays = dict(members)
        total = None
        if "mean" in arrays:
            total = Moments(count, arrays.pop("mean"), arrays.pop("scatter"))
        if any(len(array) != count for array in arrays.values()):
            raise ValueError(f"not all of it is of {count:,} images")
        return Seen(count, moments=total, **arrays)
    except Exception as error:  # numpy and zipfile raise anything on damaged files
        print(f"warning: {path} is damaged ({error}); it is made again", file=sys.stderr)
        return None


def _write(path: Path, seen: Seen) -> None:
    arrays = {k: v for k, v in seen._asdict().items() if isinstance(v, np.ndarray)}
    arrays.pop("images", None)
    if seen.moments:
        arrays |= {"mean": seen.moments.mean, "scatter": seen.moments.scatter}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writer.whole_file(path) as partial, open(partial, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except (OSError, UserError) as error:  # it only saves time
        print(f"warning: {error}; next time it is made again", file=sys.stderr)
