"""Draw the way from some latents to others, and from class to class.

A row of the grid, or a tile of a moving picture, goes from an image of `sample --seed FROM` to that
of `sample --seed TO` at the same place: normal latents turn along their sphere, uniform ones go
straight. With --labels it goes through these classes meanwhile, in between by mixtures of what
belongs to each; of one seed for both ends nothing but the class changes. With --latents it goes
from each latent of a file, as `invert` writes them, to the next. Moving pictures go there and back.

    python -m jaxgan interpolate --workdir runs/cgan --out ways.png
    python -m jaxgan interpolate --workdir runs/cgan --to 0 --labels Sneaker,Bag --out change.gif
    python -m jaxgan interpolate --workdir runs/cgan --latents mine.npz --out mine.webp
"""

import argparse
import itertools
import math
from pathlib import Path

from jaxgan.cli.of_run import (
    add_labels,
    add_latents,
    add_member,
    add_statistics,
    add_step,
    add_workdir,
    check_count,
    check_folder_of,
    check_seed,
    classes_of,
    drawing,
    settle,
    some_latents,
)
from jaxgan.errors import UserError

KINDS = (".png", ".gif", ".webp", ".mp4")
COLUMNS, FRAMES = 10, 60  # of a grid, of a moving picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser, exported=True)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="FILE.png: a grid, a row a way; FILE.gif, .webp or .mp4 (the extra video): a moving "
        "picture of all ways",
    )
    parser.add_argument("--from", type=int, help="a seed (default 0)")
    parser.add_argument("--to", type=int, help="another, or the same (default 1)")
    parser.add_argument("--rows", type=int, help="how many ways (default 8)")
    parser.add_argument(
        "--frames",
        type=int,
        help=f"images of a way: default {COLUMNS} of a grid, {FRAMES} of a moving picture",
    )
    add_labels(parser, "classes to go through (default: each row stays in one, in turn)")
    add_latents(parser, "to go from each to the next")
    add_step(parser)
    add_member(parser)
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    out = arguments.out
    if out.suffix not in KINDS or out.is_dir():
        raise UserError(f"--out: {out} is not a {', '.join(KINDS[:-1])} or {KINDS[-1]} file")
    check_folder_of(out)
    beside = "beside --latents, each of which is gone to" if arguments.latents else ""
    settle(arguments, beside, **{"from": 0}, to=1, rows=8, labels=None)
    check_count(arguments, "rows", "ways")
    if arguments.frames is None:
        arguments.frames = COLUMNS if out.suffix == ".png" else FRAMES
    check_count(arguments, "frames", "images", 2, 10**6 // arguments.rows)
    for name in ("from", "to"):
        check_seed(arguments, name)

    import jax.numpy as jnp
    import numpy as np

    from jaxgan import writer
    from jaxgan.exploration import paths
    from jaxgan.exploration.pictures import check_moving, pictures, write_moving

    check_moving(out)
    run = drawing(arguments, getattr(arguments, "from"))
    a, b, stops = _ends(arguments, run)
    count, frames = len(a), arguments.frames
    t = jnp.linspace(0, 1, frames) if out.suffix == ".png" else paths.there_and_back(frames)
    z = paths.between(run.algorithm.latent, jnp.asarray(a), jnp.asarray(b), t)
    labels = np.zeros((count, frames), np.int32)
    if run.classes:
        labels = np.stack([paths.class_shares(each, run.classes, t) for each in stops])
    drawn = pictures(run.render, z.reshape(-1, z.shape[-1]), labels.reshape(-1, *labels.shape[2:]))
    drawn = drawn.reshape(count, frames, *drawn.shape[1:])
    if out.suffix == ".png":
        writer.write_png(out, writer.grid(drawn.reshape(-1, *drawn.shape[2:]), frames))
    else:
        columns = math.ceil(math.sqrt(count))
        write_moving(out, [writer.grid(drawn[:, n], columns) for n in range(frames)])
    print(f"{count} ways of {frames} images by {run.at}: {out}")
    return 0


def _ends(arguments: argparse.Namespace, run):
    """Latents n z to start from and to go to, and the classes that each way goes through."""
    from jaxgan.sampler import latents_of

    if arguments.latents:
        z, labels = some_latents(arguments, run, arguments.rows)
        if len(z) < 2:
            raise UserError(f"--latents: {arguments.latents} has one latent; a way takes two")
        return z[:-1], z[1:], [*itertools.pairwise(labels.tolist())]
    classes, count = classes_of(arguments, run.config), arguments.rows
    seeds = getattr(arguments, "from"), arguments.to  # `from` is a word of Python's
    a, b = (latents_of(run.algorithm, count, seed) for seed in seeds)
    if arguments.labels:
        return a, b, [classes] * count
    return a, b, [(classes[n % len(classes)],) for n in range(count)]
