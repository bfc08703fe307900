"""FID's cost beside torch-fidelity's: InceptionV3's features, and the Fréchet distance alone.

    python benchmarks/metrics.py --torch PYTHON_WITH_TORCH_FIDELITY [--images 10000] [--batch 50]

Both sides run in processes of their own, with the same made-up weights (tests/golden/weights.py)
and the same random uint8 images of 32 x 32 pixels, which each resizes to 299, and take turns of 500
images, so that what else the machine does falls on both. Time is that of the work, without loading
and compiling; memory is the largest that a process has had. The distance is of 10,000 random
features in 2,048 dimensions against as many others, means and covariances included, on the host.
Networks run on a GPU where there is one.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
TURN = 500  # images
DIMENSIONS = 2048


def images(number: int):
    random = np.random.default_rng(number)
    return random.integers(0, 256, (TURN, 32, 32, 3)).astype(np.uint8)


def features(number: int):
    """Correlated, as networks' are."""
    random = np.random.default_rng(number)
    mixing = np.random.default_rng(9).normal(size=(DIMENSIONS, DIMENSIONS)) / DIMENSIONS**0.5
    return np.float32(random.normal(size=(10_000, DIMENSIONS)) @ mixing + 0.01 * number)


def jaxgan_side(batch: int):
    """(images -> features, features a and b -> distance)"""
    import jax
    import jax.numpy as jnp
    import weights

    from jaxgan.metrics.frechet import frechet, join, moments
    from jaxgan.metrics.networks import inception, prepared

    shapes = json.loads((ROOT / "tests/golden/inception.json").read_text())["shapes"]
    params = jax.device_put(inception.convert(weights.tensors(shapes)))

    @jax.jit
    def apply(params, images):
        return inception.apply(params, prepared(images, inception.SIZE, "tf1_bilinear")).features

    def extract(images):
        chunks = [images[i : i + batch] for i in range(0, len(images), batch)]
        filled = [np.resize(each, (batch, *each.shape[1:])) for each in chunks]
        found = np.concatenate([np.asarray(apply(params, jnp.asarray(x))) for x in filled])
        return found[: len(images)]

    def distance(a, b):
        totals = []
        for rows in (a, b):
            total = None
            for first in range(0, len(rows), 2048):
                part = moments(rows[first : first + 2048])
                total = join(total, part) if total else part
            totals.append(total)
        return frechet(*totals)

    return extract, distance


def torch_side(batch: int):
    import tempfile

    import torch
    import weights
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    shapes = json.loads((ROOT / "tests/golden/inception.json").read_text())["shapes"]
    state = {k: torch.tensor(v) for k, v in weights.tensors(shapes).items()}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = False  # jaxgan's side is of float32, too
    with tempfile.NamedTemporaryFile() as file:
        torch.save(state, file.name)
        network = FeatureExtractorInceptionV3("inception", ["2048"], file.name).eval().to(device)

    def extract(images):
        chunks = torch.tensor(images).permute(0, 3, 1, 2).contiguous().split(batch)
        with torch.no_grad():
            return torch.cat([network(each.to(device))[0].cpu() for each in chunks]).numpy()

    def distance(a, b):
        a, b = (fid_features_to_statistics(torch.from_numpy(each)) for each in (a, b))
        return fid_statistics_to_metric(a, b, False)["frechet_inception_distance"]

    return extract, distance


def child(side: str, batch: int) -> None:
    """Answers each line of the standard input, a turn's number or "distance", by a JSON line."""
    extract, distance = jaxgan_side(batch) if side == "jaxgan" else torch_side(batch)
    extract(images(0)[:batch])  # compiles
    for line in sys.stdin:
        if line.strip() == "distance":
            inputs = features(0), features(1)
            start = time.perf_counter()
            result = distance(*inputs)
        else:
            inputs = images(int(line))
            start = time.perf_counter()
            result = float(np.mean(extract(inputs), dtype=np.float64))
        seconds = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"seconds": seconds, "result": result, "gib": memory}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", required=True, help="a Python that has torch and torch-fidelity")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments.child, arguments.batch)
    command = [__file__, "--torch", "", "--batch", str(arguments.batch), "--child"]
    pythons = {"jaxgan": sys.executable, "torch-fidelity": arguments.torch}
    sides = {
        name: subprocess.Popen(
            [python, *command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name, python in pythons.items()
    }

    def ask(name: str, line: str) -> dict:
        sides[name].stdin.write(f"{line}\n")
        sides[name].stdin.flush()
        return json.loads(sides[name].stdout.readline())

    turns = [str(n) for n in range(arguments.images // TURN)]
    found = {name: [] for name in sides}
    for n, turn in enumerate([*turns, *["distance"] * 3]):
        for name in list(sides)[:: 1 if n % 2 else -1]:  # neither is always the first
            found[name].append(ask(name, turn))
        print(turn, *(f"{name} {each[-1]['seconds']:.1f} s" for name, each in found.items()))
    for side in sides.values():
        side.stdin.close()
    ours, theirs = found.values()
    apart = max(abs(a["result"] / b["result"] - 1) for a, b in zip(ours, theirs, strict=True))
    print(f"largest relative difference of results: {apart:.1e}")
    print("| | InceptionV3, images/s | median of turns | Fréchet distance, s | memory, GiB |")
    print("|---|---|---|---|---|")
    for name, each in found.items():
        seconds = [answer["seconds"] for answer in each]
        of_turns, of_distance = seconds[: len(turns)], seconds[len(turns) :]
        print(
            f"| {name} | {TURN * len(turns) / sum(of_turns):.2f} "
            f"| {TURN / np.median(of_turns):.2f} "
            f"| {np.median(of_distance):.1f} ({min(of_distance):.1f} to {max(of_distance):.1f}) "
            f"| {each[len(turns) - 1]['gib']:.1f}, with the distance {each[-1]['gib']:.1f} |"
        )


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests/golden")]
    main()
