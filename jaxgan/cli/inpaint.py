"""Fill what is missing of a picture, by a run of the algorithm inpaint.

The mask is a picture of the same size, white where pixels are missing. The network works at the
picture's own size; it has learnt from pictures of the run's size, and does best on such.

    python -m jaxgan inpaint --workdir runs/inpaint --image shoe.png --mask hole.png --out whole.png
"""

import argparse
from pathlib import Path

from jaxgan.cli.of_run import add_member, add_step, add_workdir, check_png
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser)
    parser.add_argument("--image", type=Path, required=True, help="a picture: PNG, JPEG, ...")
    parser.add_argument(
        "--mask", type=Path, required=True, help="a picture, white where it is missing"
    )
    parser.add_argument("--out", type=Path, required=True, help="FILE.png")
    add_step(parser)
    add_member(parser)


def run(arguments: argparse.Namespace) -> int:
    check_png(arguments.out)

    import jax
    import numpy as np

    from jaxgan import data, experiment, writer
    from jaxgan.models.gated import HALVINGS

    mask = data.read_picture("--mask", arguments.mask, 1)
    workdir = folder_at(arguments.workdir)
    config, algorithm, state = experiment.load_run(workdir, arguments.step, arguments.member)
    if not hasattr(algorithm, "fill"):
        raise UserError(
            f"--workdir: {workdir} is a run of the algorithm {config.algorithm}, which fills no "
            f"holes; inpaint does"
        )
    image = data.read_picture("--image", arguments.image, config.derived.image_shape[2])
    if image.shape[:2] != mask.shape[:2]:
        sizes = [f"{each.shape[1]} x {each.shape[0]}" for each in (mask, image)]
        raise UserError(f"--mask: {sizes[0]} pixels, and the image has {sizes[1]}")
    hole = (mask > 127).astype(np.float32)
    if not hole.any():
        raise UserError(f"--mask: {arguments.mask} is nowhere white, so nothing is missing")
    height, width = image.shape[:2]
    multiple = 2**HALVINGS  # of pixels, to which a side is filled up
    more = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    given = data.to_float(np.pad(image, more, "edge")), np.pad(hole, more, "edge")
    filled = jax.jit(algorithm.fill)(state, *(each[None] for each in given))
    whole = np.asarray(data.to_uint8(filled))[0, :height, :width]
    writer.write_png(arguments.out, np.where(hole == 1, whole, image))
    grey = " as grey" if image.shape[2] == 1 else ""
    share = f"{hole.mean():.1%} of {arguments.image}{grey}"
    print(f"{share} filled by step {int(state.step):,}: {arguments.out}")
    return 0
