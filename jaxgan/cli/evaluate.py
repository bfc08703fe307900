"""Measure how well a conditional generator obeys its labels, and how varied each class is.

A small classifier is trained on all training images of the original data set and tested on its
test images. Accuracy is the share of samples that it assigns to the class that was asked for.
Diversity is the mean pairwise L2 distance between the samples of a class, as a share of that
between the class's real images in the data that the generator was trained on.

    python -m jaxgan evaluate --workdir runs/cgan --source FOLDER_OF_THE_FOUR_IDX_FILES

Each run's figures and their protocol are written to evaluation.json in its folder.
"""

import argparse
from pathlib import Path

from jaxgan.errors import UserError


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
    parser.add_argument("--num", type=int, default=2000, help="samples a run (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of latents, classifier (default 0)")


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from jaxgan import data, experiment, writer

    if not 0 <= arguments.seed < 2**32:
        raise UserError(f"--seed: {arguments.seed} is not within 0 to {2**32 - 1:,}")
    runs = [experiment.load_run(workdir) for workdir in arguments.workdir]
    for workdir, (config, _, _) in zip(arguments.workdir, runs, strict=True):
        if not config.derived.num_classes:
            raise UserError(f"--workdir: the model in {workdir} is unconditional")
        if arguments.num < 2 * config.derived.num_classes:
            raise UserError(f"--num: {arguments.num} is fewer than two images a class")
    images, labels = data.load_idx(arguments.source, "train")
    for workdir, (config, _, _) in zip(arguments.workdir, runs, strict=True):
        here = tuple(config.derived.image_shape), config.derived.num_classes
        there = images.shape[1:], int(labels.max()) + 1
        if here != there:
            raise UserError(
                f"--source: {arguments.source} has images of shape {there[0]} in {there[1]} "
                f"classes, the run in {workdir} {here[0]} in {here[1]}"
            )
    classify, test_accuracy = _classifier(arguments, images, labels)
    for workdir, (config, algorithm, state) in zip(arguments.workdir, runs, strict=True):
        result = {
            "step": int(state.step),
            **_measure(config, algorithm, state, classify, arguments),
            "samples": arguments.num,
            "seed": arguments.seed,
            "classifier_test_accuracy": test_accuracy,
        }
        writer.write_json(workdir / "evaluation.json", result)
        accuracy, diversity = result["accuracy"], result["diversity"]
        print(f"\n{workdir}, step {result['step']:,}\n{'class':<14} accuracy  diversity")
        for name in accuracy:
            print(f"{name:<14} {accuracy[name]:8.1%} {diversity[name]:10.1%}")
        means = (float(np.mean(list(values.values()))) for values in (accuracy, diversity))
        print(f"{'mean':<14} {next(means):8.1%} {next(means):10.1%}")
    return 0


def _classifier(arguments: argparse.Namespace, images, labels):
    """A function from float images to logits, trained on the source; and its test accuracy."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data
    from jaxgan.metrics import classifier

    test = data.load_idx(arguments.source, "test")
    network = classifier.Classifier(int(labels.max()) + 1)
    key = jax.random.key(arguments.seed)
    params = classifier.train(network, data.to_float(images), jnp.asarray(labels), key)

    def classify(images):
        return classifier.predict(network, params, images)

    right = classify(data.to_float(test[0])).argmax(-1) == test[1]
    print(f"classifier: {right.mean():.1%} right on {len(right):,} real test images", flush=True)
    return classify, float(np.mean(right))


def _measure(config, algorithm, state, classify, arguments: argparse.Namespace) -> dict:
    """{"accuracy": {class: share}, "diversity": {class: share}} of samples of all classes."""
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data
    from jaxgan.cli.sample import draw
    from jaxgan.metrics import conditional

    names = config.derived.class_names
    labels = np.resize(np.arange(len(names), dtype=np.int32), arguments.num)
    fake = data.to_float(draw(algorithm, state, labels, arguments.seed))
    section = config.data
    dataset = data.load(section.name, section.split, section.image_size, section.dir, section.path)
    real = data.to_float(dataset.images)
    accuracy = conditional.accuracy(jnp.asarray(classify(fake)), jnp.asarray(labels), len(names))
    distance = conditional.mean_pairwise_distance
    diversity = [
        distance(fake[labels == c]) / distance(real[dataset.labels == c]) for c in range(len(names))
    ]
    return {
        "accuracy": dict(zip(names, map(float, accuracy), strict=True)),
        "diversity": dict(zip(names, map(float, diversity), strict=True)),
    }
