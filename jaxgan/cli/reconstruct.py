"""Draw real images, and below each what the network makes of it.

For runs whose algorithm starts from images: of an encoder (vae, vaegan) its reconstructions, black
and white ones where the likelihood is of such; of inpaint the images with random holes, and with
these filled; of pix2pix the target, the source, and what becomes of it; of cyclegan the source,
what comes of it there and back, and there; of style the image, and what becomes of it. By the
averaged weights, of test images of the run's data set, where it has any.

    python -m jaxgan reconstruct --workdir runs/vae --num 40 --out again.png
"""

import argparse
from pathlib import Path

from jaxgan.cli.of_run import add_member, add_seed, add_step, add_workdir, check_out, given
from jaxgan.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser)
    parser.add_argument("--num", type=int, default=40, help="how many images (default 40)")
    parser.add_argument("--out", type=Path, required=True, help="FILE.png")
    parser.add_argument(
        "--split", default="", help="of the images (default: test, if there is one)"
    )
    add_seed(parser, "which images, and what is drawn of them")
    add_step(parser)
    add_member(parser)


def run(arguments: argparse.Namespace) -> int:
    check_out(arguments)
    if arguments.num < 1:
        raise UserError(f"--num: {arguments.num} is not a number of images, 1 or more")

    import jax
    import numpy as np

    from jaxgan import data, writer

    algorithm, state, images, labels = given(arguments, arguments.num, "show")
    key = jax.random.key(arguments.seed)
    shown = jax.jit(algorithm.show)(state, key, images, labels)
    pictures = [np.asarray(data.to_uint8(each)) for each in shown]
    writer.write_png(arguments.out, writer.rows(pictures, 10))
    told = ""
    if getattr(algorithm, "restores", True):  # what is made is to be what is real
        error = float(np.mean(np.square(np.asarray(shown[0]) - np.asarray(shown[-1])))) / 4
        told = f", mean squared error {error:.4f} of pixels in [0, 1]"
    print(f"{len(images):,} images of step {int(state.step):,}{told}: {arguments.out}")
    return 0
