"""Draw samples, and beside each the training images that are nearest to it.

Nearest in the features of --features, as the metric `nearest` has it, or in pixels. A generator
that has learnt images by heart shows them again: neighbours that are copies, at distances far below
those of the other rows. The distances are printed; nearest of all come first.

    python -m jaxgan neighbours --workdir runs/cgan --num 10 --out neighbours.png
    python -m jaxgan neighbours --workdir runs/cgan --features pixels --labels Bag --out bags.png
"""

import argparse
from pathlib import Path
from typing import Any

from jaxgan.cli.evaluate import FEATURES
from jaxgan.cli.of_run import (
    add_labels,
    add_member,
    add_seed,
    add_statistics,
    add_step,
    add_workdir,
    check_count,
    check_out,
    classes_of,
    data_of,
)
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser)
    parser.add_argument("--num", type=int, default=10, help="how many samples (default 10)")
    parser.add_argument("--nearest", type=int, default=8, help="images beside each (default 8)")
    parser.add_argument("--out", type=Path, required=True, help="FILE.png")
    parser.add_argument(
        "--features",
        default="classifier",
        choices=("pixels", *FEATURES),
        metavar="NAME",
        help=f"pixels, or one of {', '.join(FEATURES)} (default classifier)",
    )
    parser.add_argument("--weights", default="", help="the features' weights: a file or URL")
    parser.add_argument("--sha256", default="", help="the checksum of that; a URL needs it")
    add_labels(parser, "classes to draw, in turn (default: all)")
    add_seed(parser, "of the latents")
    add_step(parser)
    add_member(parser)
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    check_out(arguments)
    check_count(arguments, "num", "samples")
    check_count(arguments, "nearest", "images", most=256)  # they are sought one by one

    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import experiment, parallel, writer
    from jaxgan.evaluation import Examiner, Trial
    from jaxgan.metrics.neighbours import k_nearest
    from jaxgan.sampler import Sampler

    workdir = folder_at(arguments.workdir)
    config, algorithm, state = experiment.load_run(workdir, arguments.step, arguments.member)
    if not hasattr(algorithm, "sample") or len(config.derived.image_shape) != 3:
        raise UserError(
            f"--workdir: {workdir} is a run of the algorithm {config.algorithm} on "
            f"{config.data.name}, which draws no images from latents"
        )
    classes = np.array(classes_of(arguments, config))
    mesh = parallel.whole_mesh()
    with jax.set_mesh(mesh):
        judge = _judge(arguments, config)
        count, k = judge.reference.count, arguments.nearest
        if k > count:
            raise UserError(f"--nearest: {k:,} is more than the {count:,} training images")
        sampler = Sampler(algorithm, mesh, statistics=arguments.statistics)
        drawn = sampler.draw(state, classes, arguments.num, arguments.seed)
        examiner, features = Examiner(judge.networks, mesh), frozenset({"features"})
        fake = examiner.samples(drawn, arguments.num, features | {"images"}, "samples")
        if arguments.features == "pixels":  # not worth a file in the cache
            real = examiner.examples(judge.reference, features, "training images")
        else:
            real = Trial(judge, mesh).real
        nearest = k_nearest(jnp.asarray(fake.features), jnp.asarray(real.features), k)
        found = jax.tree.map(np.asarray, nearest)
    order = np.argsort(found.distances[:, 0], kind="stable")
    numbers = judge.reference.order[found.numbers]
    rows = [
        np.concatenate([fake.images[n : n + 1], judge.reference.read(numbers[n])[0]]) for n in order
    ]
    writer.write_png(arguments.out, writer.grid(np.concatenate(rows), 1 + k))
    for n in order:
        listed = "  ".join(f"{far:.3g}" for far in found.distances[n])
        print(f"sample {n:>3}: {listed}")
    print(
        f"{len(order)} samples of step {int(state.step):,} beside {k} of {count:,} training images "
        f"by {arguments.features}: {arguments.out}"
    )
    return 0


def _judge(arguments: argparse.Namespace, config: Any):
    """One whose reference is the training images."""
    from jaxgan import data, judges, references
    from jaxgan.evaluation import Judge
    from jaxgan.metrics.networks import Network
    from jaxgan.metrics.networks.outputs import Outputs

    section = data_of(arguments, config)
    reference = references.open_examples(section, section["split"])
    cache = data.directory_of(section["dir"]) / "jaxgan_metrics"
    judge = Judge(("nearest",), reference, None, {}, None, cache)
    of_file = arguments.weights, arguments.sha256
    if any(of_file) and arguments.features in ("pixels", "classifier"):
        raise UserError(
            f"--weights, --sha256: {arguments.features} has none; name other --features"
        )
    if arguments.features == "pixels":

        def apply(params: Any, images: Any) -> Outputs:
            return Outputs(data.to_float(images).reshape(len(images), -1) / 2)

        judge.networks["features"] = Network(apply, {}, {"features": "pixels"}, has_logits=False)
        return judge
    if arguments.features == "classifier" and not reference.class_names:
        others = ", ".join(name for name in ("pixels", *FEATURES) if name != "classifier")
        raise UserError(
            f"--features: {section['name']} has no labels for a classifier to learn; name one of "
            f"{others}"
        )
    asked = judges.Asked(("nearest",), 0, False, "", "", arguments.features, *of_file)
    return judges.equip(judge, section, asked)
