"""Draw along the principal directions of a generator's latents.

By --method sefa (Shen and Zhou 2021) those that change most of what the first layer makes of
latents; by ganspace (Härkönen et al. 2020) the principal components of its activations, brought
back to the latents. A row is a direction, the strongest first, and goes from -reach to +reach; in
the middle is the image of `sample --seed`, or of the first of --latents. The directions are written
beside the picture, as FILE.npz, for --directions of `edit`.

    python -m jaxgan directions --workdir runs/dcgan --out directions.png
    python -m jaxgan directions --workdir runs/cgan --labels Bag --method ganspace --out bags.png
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

ROWS, COLUMNS = 10, 11
METHODS = ("sefa", "ganspace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser, exported=True)
    parser.add_argument("--out", type=Path, required=True, help="FILE.png; FILE.npz is written too")
    parser.add_argument("--method", choices=METHODS, default="sefa", help="default: sefa")
    parser.add_argument("--rows", type=int, help="how many directions (default 10, or all)")
    parser.add_argument(
        "--reach",
        type=float,
        default=3.0,
        help="how far they go; of normal latents, in standard deviations (default 3)",
    )
    add_labels(parser, "the class to draw (default: the first)")
    add_latents(parser, "the first of which is moved")
    add_seed(parser, "of the latents")
    add_step(parser)
    add_member(parser)
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    check_out(arguments)
    check_beside(arguments, "directions")
    if arguments.rows is not None:
        check_count(arguments, "rows", "directions")
    check_distance(arguments, "reach", 1e-6)
    settle(arguments, "beside --latents" if arguments.latents else "", labels=None)
    if arguments.labels and "," in arguments.labels:
        raise UserError(f"--labels: {arguments.labels} are several classes, and one is drawn")

    import numpy as np

    from jaxgan import writer
    from jaxgan.exploration import directions
    from jaxgan.exploration.files import write_arrays
    from jaxgan.exploration.pictures import pictures
    from jaxgan.sampler import latents_of

    run = drawing(arguments, arguments.seed)
    z, labels = some_latents(arguments, run, 1)
    rows = min(ROWS, run.algorithm.z_dim) if arguments.rows is None else arguments.rows
    if rows > run.algorithm.z_dim:
        raise UserError(f"--rows: {rows} is more than the {run.algorithm.z_dim} latents")
    label, of_run = int(labels[0]), (run.algorithm, run.state)
    if arguments.method == "sefa":
        found = directions.of_weights(*of_run, label, rows)
    else:
        many = latents_of(run.algorithm, directions.SAMPLES, arguments.seed)
        found = directions.of_activations(*of_run, many, label, rows)
    reach = np.linspace(-arguments.reach, arguments.reach, COLUMNS, dtype=np.float32)
    moved = z[0] + reach[None, :, None] * found.directions[:, None]
    moved = moved.reshape(-1, z.shape[1])
    drawn = pictures(run.render, moved, np.full(len(moved), label, np.int32))
    beside = arguments.out.with_suffix(".npz")
    write_arrays(beside, run.origin, **found._asdict())
    writer.write_png(arguments.out, writer.grid(drawn, COLUMNS))
    kind = "weights" if arguments.method == "sefa" else "activations"
    listed = ", ".join(f"{share:.1%}" for share in found.shares)
    print(f"directions, with their share in the {kind}: {listed}")
    print(f"{len(found.shares)} directions by {run.at}: {arguments.out}, {beside}")
    return 0
