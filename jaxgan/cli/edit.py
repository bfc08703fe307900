"""Move latents along a direction, or to another class, and draw the images before and after.

The latents are those of `sample --seed`, or of a file that `invert` has written; the directions
come from `directions`. What is moved is written beside the picture, as FILE.npz, so that it can be
moved on.

    python -m jaxgan edit --workdir runs/cgan --directions bags.npz --direction 2 --out moved.png
    python -m jaxgan edit --workdir runs/cgan --latents found.npz --to Bag --out as_bags.png
"""

import argparse
from pathlib import Path

from jaxgan.cli.of_run import (
    add_labels,
    add_latents,
    add_member,
    add_seed,
    add_statistics,
    add_step,
    add_workdir,
    check_beside,
    check_count,
    check_distance,
    check_out,
    drawing,
    settle,
    some_latents,
)
from jaxgan.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser, exported=True)
    parser.add_argument("--out", type=Path, required=True, help="FILE.png; FILE.npz is written too")
    add_latents(parser, "all of which are moved")
    parser.add_argument("--num", type=int, help="without --latents: how many images (default 10)")
    add_labels(parser, "without --latents: their classes, in turn (default: all)")
    parser.add_argument("--directions", type=Path, metavar="FILE.npz", help="by `directions`")
    parser.add_argument("--direction", type=int, help="which of them, from 0 on (default 0)")
    parser.add_argument("--by", type=float, help="how far along it (default 3)")
    parser.add_argument("--to", metavar="CLASS", help="another class, a number or a name")
    add_seed(parser, "of the latents")
    add_step(parser)
    add_member(parser)
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    check_out(arguments)
    check_beside(arguments, "z")
    if not arguments.directions and arguments.to is None:
        raise UserError("--directions, --to: name a file of directions, a class, or both")
    beside = "beside --latents, all of which are moved" if arguments.latents else ""
    settle(arguments, beside, num=10, labels=None)
    without = "" if arguments.directions else "without --directions"
    settle(arguments, without, direction=0, by=3.0)
    check_count(arguments, "num", "images")
    check_distance(arguments, "by", -1e6)

    import numpy as np

    from jaxgan import pretrained, writer
    from jaxgan.exploration.files import read_directions, write_arrays
    from jaxgan.exploration.pictures import pictures

    run = drawing(arguments, arguments.seed)
    z, labels = some_latents(arguments, run, arguments.num)
    moved, others = z, labels
    if arguments.directions:
        directions = read_directions(arguments.directions, run.algorithm.z_dim, run.origin)
        if not 0 <= arguments.direction < len(directions):
            raise UserError(
                f"--direction: {arguments.directions} has 0 to {len(directions) - 1}, and no "
                f"{arguments.direction}"
            )
        moved = z + np.float32(arguments.by) * directions[arguments.direction]
    if arguments.to is not None:
        [to] = pretrained.classes_of(run.config, [arguments.to.strip()], "--to")
        others = np.full_like(labels, to)
    rows = [pictures(run.render, *each) for each in ((z, labels), (moved, others))]
    beside = arguments.out.with_suffix(".npz")
    write_arrays(beside, run.origin, z=moved, **({"labels": others} if run.classes else {}))
    writer.write_png(arguments.out, writer.rows(rows, 10))
    print(f"{len(z)} images by {run.at}, moved below: {arguments.out}, {beside}")
    return 0
