"""Measure how much of the real images' variety a generator covers, and how well it obeys labels.

A small classifier is trained on all training images of the original data set and tested on its
test images. In the features of its last hidden layer as many samples as real test images, which no
run was trained on, give

- coverage: the share of the real images with a sample nearer than their 5th nearest real one;
- density: how many such neighbourhoods a sample lies in, over 5 (1 is as in the real images);
- real coverage: that of as many images that the run was trained on, a ceiling for its samples'.

Of conditional runs also, for each class,

- accuracy: the share of samples that the classifier assigns to the class that was asked for;
- diversity: the mean pairwise L2 distance between the samples, as a share of that between the
  class's real images in the data that the generator was trained on.

    python -m jaxgan evaluate --workdir runs/cgan --source FOLDER_OF_THE_FOUR_IDX_FILES

Each run's figures and their protocol are written to evaluation.json in its folder.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxgan.cli.sample import add_statistics
from jaxgan.errors import UserError

K = 5  # neighbours of coverage and density, as in the paper


class Judge(NamedTuple):
    """A classifier and what it makes of real images; all take float images n h w c."""

    classify: Callable  # logits n c
    features: Callable  # n 256
    test_accuracy: float
    held_out: Any  # features of as many real test images as there will be samples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workdir", type=Path, required=True, nargs="+", help="folders of one or more runs"
    )
    parser.add_argument(
        "--source",
        type=Path,
        required=True,
        help="folder of the original IDX files, gzipped or not (for now, Fashion-MNIST's)",
    )
    parser.add_argument(
        "--num", type=int, default=2000, help="samples a run, and real images (default 2000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of latents, classifier (default 0)")
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    from jaxgan import data, experiment, writer

    if not 0 <= arguments.seed < 2**32:
        raise UserError(f"--seed: {arguments.seed} is not within 0 to {2**32 - 1:,}")
    runs = [experiment.load_run(workdir) for workdir in arguments.workdir]
    for workdir, (config, _, _) in zip(arguments.workdir, runs, strict=True):
        _check_run(workdir, config, arguments.num)
    train, test = (data.load_idx(arguments.source, split) for split in ("train", "test"))
    for workdir, (config, _, _) in zip(arguments.workdir, runs, strict=True):
        _check_source(workdir, config, arguments.source, *train)
    if arguments.num > len(test[0]):
        raise UserError(
            f"--num: {arguments.num:,} is more than the {len(test[0]):,} test images in "
            f"{arguments.source}"
        )
    judge = _judge(arguments, train, test)
    rows = []
    for workdir, (config, algorithm, state) in zip(arguments.workdir, runs, strict=True):
        result = {
            "step": int(state.step),
            **_measure(config, algorithm, state, judge, arguments),
            "samples": arguments.num,
            "seed": arguments.seed,
            "statistics": arguments.statistics,
            "classifier_test_accuracy": judge.test_accuracy,
            "coverage_protocol": {
                "k": K,
                "features": f"the classifier's last hidden layer, {judge.held_out.shape[1]}",
                "real_images": f"{arguments.num} test images of the source",
                "real_coverage_by": f"{arguments.num} images of {config.data.name}, "
                f"{config.data.split}",
            },
        }
        writer.write_json(workdir / "evaluation.json", result)
        if "accuracy" in result:
            _print_classes(workdir, result)
        figures = f"{result['coverage']:8.1%} {result['density']:8.2f}"
        rows.append((str(workdir), f"{figures} {result['real_coverage']:14.1%}"))
    width = max(len(name) for name, _ in rows)
    print(f"\n{'run':<{width}} coverage  density  real coverage")
    for name, figures in rows:
        print(f"{name:<{width}} {figures}")
    return 0


def _check_run(workdir: Path, config, num: int) -> None:
    """Raises UserError where the run cannot be judged by that many samples."""
    derived = config.derived
    if len(derived.image_shape) == 1:
        raise UserError(f"--workdir: the run in {workdir} is of points, and images are judged here")
    if num < 2 * derived.num_classes:
        raise UserError(f"--num: {num} is fewer than two images a class")
    if num <= K:
        raise UserError(f"--num: {num} is fewer than {K + 1} images, one and its {K} neighbours")
    if 0 < derived.num_examples < num:
        raise UserError(
            f"--num: {num:,} is more than the {derived.num_examples:,} images that the run in "
            f"{workdir} was trained on"
        )


def _check_source(workdir: Path, config, source: Path, images, labels) -> None:
    """Raises UserError where the source's images are not of the run's shape and classes; warns
    where its test images may be those of training."""
    shape, count = tuple(config.derived.image_shape), config.derived.num_classes
    classes = int(labels.max()) + 1
    if shape != images.shape[1:] or count not in (0, classes):
        raise UserError(
            f"--source: {source} has images of shape {images.shape[1:]} in {classes} classes, the "
            f"run in {workdir} {shape}{f' in {count}' if count else ''}"
        )
    if config.data.split.startswith("test"):
        print(
            f"warning: the run in {workdir} was trained on data.split={config.data.split}; the "
            f"test images that it is measured by may be among them",
            file=sys.stderr,
        )


def _some(images, num: int):
    """`num` of them in a random order that is always the same, as floats."""
    import numpy as np

    from jaxgan import data

    return data.to_float(images[np.random.default_rng(0).permutation(len(images))[:num]])


def _judge(arguments: argparse.Namespace, train, test) -> Judge:
    """The classifier, trained on the source's (images, labels) `train`, and tested on `test`."""
    import functools

    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data
    from jaxgan.metrics import classifier

    network = classifier.Classifier(int(train[1].max()) + 1)
    key = jax.random.key(arguments.seed)
    params = classifier.train(network, data.to_float(train[0]), jnp.asarray(train[1]), key)
    classify = functools.partial(classifier.predict, network, params)
    features = functools.partial(classifier.features, network, params)

    right = classify(data.to_float(test[0])).argmax(-1) == test[1]
    print(f"classifier: {right.mean():.1%} right on {len(right):,} real test images", flush=True)
    held_out = features(_some(test[0], arguments.num))
    return Judge(classify, features, float(np.mean(right)), held_out)


def _measure(config, algorithm, state, judge: Judge, arguments: argparse.Namespace) -> dict:
    """What evaluation.json has of the run's samples, beside their protocol."""
    import numpy as np

    from jaxgan import data
    from jaxgan.cli.sample import draw
    from jaxgan.metrics.coverage import coverage_and_density

    classes, num = range(max(config.derived.num_classes, 1)), arguments.num
    drawn = draw(algorithm, state, classes, num, arguments.seed, statistics=arguments.statistics)
    fake = data.to_float(drawn)
    section = config.data
    dataset = data.load(section.name, section.split, section.image_size, section.dir, section.path)
    result: dict[str, Any] = {}
    if config.derived.num_classes:
        labels = np.resize(np.array(classes, np.int32), num)
        names = config.derived.class_names
        result = _of_classes(names, fake, labels, dataset, judge)
    of_fake = coverage_and_density(judge.held_out, judge.features(fake), K)
    of_real = coverage_and_density(judge.held_out, judge.features(_some(dataset.images, num)), K)
    return result | {
        "coverage": float(of_fake.coverage),
        "density": float(of_fake.density),
        "real_coverage": float(of_real.coverage),
    }


def _of_classes(names, fake, labels, dataset, judge: Judge) -> dict:
    """{"accuracy": {class: share}, "diversity": {class: share}} of samples of all classes."""
    import jax.numpy as jnp

    from jaxgan import data
    from jaxgan.metrics import conditional

    real, distance = data.to_float(dataset.images), conditional.mean_pairwise_distance
    logits = jnp.asarray(judge.classify(fake))
    accuracy = conditional.accuracy(logits, jnp.asarray(labels), len(names))
    diversity = [
        distance(fake[labels == c]) / distance(real[dataset.labels == c]) for c in range(len(names))
    ]
    return {
        "accuracy": dict(zip(names, map(float, accuracy), strict=True)),
        "diversity": dict(zip(names, map(float, diversity), strict=True)),
    }


def _print_classes(workdir: Path, result: dict) -> None:
    accuracy, diversity = result["accuracy"], result["diversity"]
    print(f"\n{workdir}, step {result['step']:,}\n{'class':<14} accuracy  diversity")
    for name in accuracy:
        print(f"{name:<14} {accuracy[name]:8.1%} {diversity[name]:10.1%}")
    means = (sum(values.values()) / len(values) for values in (accuracy, diversity))
    print(f"{'mean':<14} {next(means):8.1%} {next(means):10.1%}", flush=True)
