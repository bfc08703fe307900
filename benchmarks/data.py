"""Images a second that reach the training step: jaxgan's three ways, tf.data, PyTorch's DataLoader.

    python benchmarks/data.py --source FOLDER_OF_IMAGES [--sizes 28 64 128]
        [--tf PYTHON_WITH_TENSORFLOW] [--torch PYTHON_WITH_TORCH]

The images are prepared at each size by jaxgan; tf.data and PyTorch read the very same PNG files,
one a file. All end with shuffled batches of 64 images, float32 in [-1, 1], and their labels: jaxgan
inside a compiled loop on the device, which sums them, the others as arrays in memory. Each
measurement runs in a process of its own and lasts two seconds after a warm-up; all take turns, in
as many rounds as asked for, and the table has medians and the lowest and highest of the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH, SECONDS, STEPS = 64, 2.0, 25


def rate(deliver, images: int, warm_up: int = 3) -> float:
    """Images a second of `deliver`, each call of which delivers `images`."""
    for _ in range(warm_up):
        deliver()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        deliver()
        calls += 1
    return calls * images / (time.perf_counter() - start)


def jaxgan_rate(folder: Path, cache: str) -> float:
    import jax
    import jax.numpy as jnp

    from jaxgan import data, parallel

    mesh = parallel.make_mesh(0, BATCH)
    source = data.open_set("folder", path=str(folder / "prepared"))
    settings = {"flip": False, "seed": 0, "minibatches": 1, "batch_size": BATCH}
    feed = source.feed(cache=cache, process=(0, 1), **settings)
    resident = parallel.place(mesh, feed.resident)

    @jax.jit
    def consume(resident, inputs):
        def step(total, one):
            batch = feed.minibatches(resident, one)
            return total + jnp.sum(batch["image"]) + jnp.sum(batch["label"]), None

        return jax.lax.scan(step, 0.0, inputs)[0]

    def place(step: int):
        return parallel.place(mesh, feed.inputs(step, STEPS), batch_axis=2)

    inputs = data.ahead(place, ((step,) for step in range(0, 2**30, STEPS)))

    def deliver():
        consume(resident, next(inputs)[1]).block_until_ready()

    # The longer warm-up is for Grain, whose threads would otherwise start with a full store.
    result = rate(deliver, STEPS * BATCH, warm_up=8)
    inputs.close()
    return result


def tf_rate(folder: Path, cached: bool) -> float:
    import tensorflow as tf

    files = sorted(map(str, (folder / "files").rglob("*.png")))
    labels = [int(Path(file).parent.name) for file in files]

    def decode(name, label):
        return tf.io.decode_png(tf.io.read_file(name), channels=3), label

    auto = tf.data.AUTOTUNE
    named = tf.data.Dataset.from_tensor_slices((files, labels))
    if cached:
        decoded = named.map(decode, num_parallel_calls=auto).cache().shuffle(len(files))
    else:
        decoded = named.shuffle(len(files)).map(decode, num_parallel_calls=auto)
    batched = decoded.repeat().batch(BATCH, drop_remainder=True)
    to_float = lambda image, label: (tf.cast(image, tf.float32) / 127.5 - 1, label)  # noqa: E731
    batches = iter(batched.map(to_float, num_parallel_calls=auto).prefetch(auto))

    def deliver():
        for array in next(batches):
            array.numpy()

    return rate(deliver, BATCH, warm_up=len(files) // BATCH + 2 if cached else 20)


def torch_rate(folder: Path, workers: int, in_memory: bool) -> float:
    import numpy as np
    import torch
    from PIL import Image

    files = sorted((folder / "files").rglob("*.png"))
    read = lambda file: torch.from_numpy(np.array(Image.open(file)))  # noqa: E731

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, i):
            return read(files[i]), int(files[i].parent.name)

    dataset = Files()
    if in_memory:
        labels = torch.tensor([int(file.parent.name) for file in files])
        dataset = torch.utils.data.TensorDataset(torch.stack([*map(read, files)]), labels)
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def endless():
        while True:
            for image, label in loader:
                yield image.float() / 127.5 - 1, label

    batches = endless()
    return rate(lambda: next(batches), BATCH, warm_up=len(files) // BATCH + 2)


# Name in the table: (whose interpreter, function, its arguments).
LOADERS = {
    "jaxgan device": ("jax", jaxgan_rate, {"cache": "device"}),
    "jaxgan host": ("jax", jaxgan_rate, {"cache": "host"}),
    "jaxgan none (Grain)": ("jax", jaxgan_rate, {"cache": "none"}),
    "tf.data, files": ("tf", tf_rate, {"cached": False}),
    "tf.data, cached in memory": ("tf", tf_rate, {"cached": True}),
    "DataLoader, files, 0 workers": ("torch", torch_rate, {"workers": 0, "in_memory": False}),
    "DataLoader, files, 2 workers": ("torch", torch_rate, {"workers": 2, "in_memory": False}),
    "DataLoader, in memory": ("torch", torch_rate, {"workers": 0, "in_memory": True}),
}


def make_files(source: Path, size: int, folder: Path) -> None:
    """The prepared set, with labels, and its PNGs as files/LABEL/NUMBER.png."""
    import tensorflow_datasets as tfds

    from jaxgan.data import prepare

    options = prepare.Options(size, channels="rgb", fit="pad", small="upscale")
    prepare.prepare(source, folder / "prepared", options)
    builder = tfds.builder_from_directory(folder / "prepared")
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = builder.as_data_source("train", decoders=decoders)
    for i in range(len(records)):
        record = records[i]
        path = folder / "files" / str(record["label"]) / f"{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(record["image"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path, help="images in class folders")
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tf", help="a Python with TensorFlow")
    parser.add_argument("--torch", help="a Python with torch")
    parser.add_argument("--measure", nargs=2, metavar=("LOADER", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, folder = arguments.measure
        _, function, settings = LOADERS[name]
        print(json.dumps(function(Path(folder), **settings)))
        return

    pythons = {"jax": sys.executable, "tf": arguments.tf, "torch": arguments.torch}
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            make_files(arguments.source, size, Path(folder))
            rates: dict[str, list[float]] = {name: [] for name in LOADERS}
            for _ in range(arguments.rounds):
                for name, (kind, _, _) in LOADERS.items():
                    if pythons[kind]:
                        command = [pythons[kind], __file__, "--measure", name, folder]
                        done = subprocess.run(
                            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
                        )
                        rates[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"\n{size} x {size} pixels, load average {os.getloadavg()[0]:.1f}")
            for name, seen in rates.items():
                if seen:
                    middle = statistics.median(seen)
                    print(f"{name:<30} {middle:>10,.0f}  ({min(seen):,.0f} to {max(seen):,.0f})")


if __name__ == "__main__":
    main()
