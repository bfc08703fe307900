"""Trains the classifier that comes with the package, of the embedded data set's ten classes.

    python -m jaxgan.metrics.embedded --source FOLDER_OF_FASHION_MNIST --out FILE

On all 60,000 original training images, of which fashion_mnist_mini's are a part, with seed 0; its
accuracy is that on the 10,000 original test images. Weights are kept as float16.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from jaxgan import data, weights
from jaxgan.metrics import classifier
from jaxgan.writer import whole_file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, required=True, help="folder of the four IDX files")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    arguments = parser.parse_args()
    images, labels = data.load_idx(arguments.source, "train")
    network = classifier.Classifier(10)
    params = classifier.train(network, images, labels, jax.random.key(0))
    half = jax.tree.map(np.float16, params)
    test = data.load_idx(arguments.source, "test")
    accuracy = classifier.accuracy(network, jax.tree.map(np.float32, half), *test)
    tensors = flatten_dict(half["params"], sep="/")
    with whole_file(arguments.out) as partial:
        weights.write_tensors(partial, {**tensors, "test_accuracy": np.float32(accuracy)})
    print(f"{arguments.out}: right on {accuracy:.2%} of {len(test[0]):,} test images")


if __name__ == "__main__":
    main()
