"""How biased estimates of distances are, against the number of samples: a picture and a table.

    python benchmarks/bias.py --out bias.png

Two disjoint random parts of fashion_mnist_mini's 12,000 images, in the features of its classifier:
real against real, so that any distance but 0 is the estimator's own. Medians and quartiles of ten
draws of the parts.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxgan import data, evaluation, parallel, references
from jaxgan.metrics.frechet import frechet, moments
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.neighbours import held

SECTION = {"name": "fashion_mnist_mini", "dir": "", "path": "", "split": "train", "image_size": 0}
COUNTS = (100, 200, 500, 1000, 2000, 5000)
DRAWS = 10


def features():
    """Of all 12,000 images."""
    network = references.classifier_of(SECTION, data.open_set(SECTION["name"]), Path())
    examiner = evaluation.Examiner({"features": network}, parallel.whole_mesh())
    sets = (references.open_examples(SECTION, split) for split in ("train", "test"))
    return np.concatenate(
        [examiner.examples(each, frozenset({"features"}), "").features for each in sets]
    )


def measure(a, b, key):
    of_neighbours = held(jnp.asarray(a), jnp.asarray(b))
    return {
        "frechet": frechet(moments(a), moments(b)),
        "kernel": float(kernel_distance(jnp.asarray(a), jnp.asarray(b), key).mean),
        "recall": float(of_neighbours.recall),
        "coverage": float(of_neighbours.coverage),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the .png to write")
    arguments = parser.parse_args()
    rows = features()
    found = {count: [] for count in COUNTS}
    for n in range(DRAWS):
        order = np.random.default_rng(n).permutation(len(rows))
        for count in COUNTS:
            a, b = rows[order[:count]], rows[order[count : 2 * count]]
            found[count].append(measure(a, b, jax.random.key(n)))
    names = list(found[COUNTS[0]][0])
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    print("| images of each set | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    quartiles = {
        name: np.array(
            [np.percentile([each[name] for each in found[c]], (25, 50, 75)) for c in COUNTS]
        )
        for name in names
    }
    for i, count in enumerate(COUNTS):
        cells = (f"{q[i, 1]:.4g} ({q[i, 0]:.4g} to {q[i, 2]:.4g})" for q in quartiles.values())
        print(f"| {count:,} | " + " | ".join(cells) + " |")
    for axes, (name, q) in zip(figure.subplots(1, len(names)), quartiles.items(), strict=True):
        axes.fill_between(COUNTS, q[:, 0], q[:, 2], alpha=0.3, linewidth=0)
        axes.plot(COUNTS, q[:, 1], marker=".")
        axes.set(xscale="log", xlabel="images of each set", title=name)
        if name == "frechet":
            axes.set(yscale="log")
        elif name == "kernel":
            axes.axhline(0, color="0.6", linewidth=0.8)
    figure.savefig(arguments.out, dpi=100)


if __name__ == "__main__":
    main()
