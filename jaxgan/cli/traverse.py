"""Move an image's latents one at a time: a row for each, from -3 to 3 standard deviations.

Rows are in the order of what the latents tell of the images, the most first: by their divergence
from the prior, in nats, of a hundred real images. For runs whose algorithm has an encoder (vae,
vaegan), by the averaged weights; all other latents stay at their means.

    python -m jaxgan traverse --workdir runs/vae --rows 12 --out latents.png
"""

import argparse
from pathlib import Path

from jaxgan.cli.of_run import (
    add_member,
    add_seed,
    add_step,
    add_workdir,
    check_distance,
    check_out,
    given,
)
from jaxgan.errors import UserError

COLUMNS, IMAGES = 11, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser)
    parser.add_argument("--rows", type=int, default=10, help="how many latents (default 10)")
    parser.add_argument("--out", type=Path, required=True, help="FILE.png")
    parser.add_argument("--split", default="", help="of the image (default: test, if there is one)")
    parser.add_argument(
        "--reach", type=float, default=3.0, help="how far the latents go (default 3)"
    )
    add_seed(parser, "which image")
    add_step(parser)
    add_member(parser)


def run(arguments: argparse.Namespace) -> int:
    check_out(arguments)
    if arguments.rows < 1:
        raise UserError(f"--rows: {arguments.rows} is not a number of latents, 1 or more")
    check_distance(arguments, "reach", 1e-6)

    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data, writer

    algorithm, state, images, labels = given(arguments, IMAGES, "encode")
    key = jax.random.key(arguments.seed)
    posterior = jax.jit(algorithm.encode)(state, algorithm.observed(key, images), labels)
    told = np.asarray(posterior.divergence().mean(0))
    order = np.argsort(-told)[: arguments.rows]
    z = np.tile(posterior.mean[0], (len(order), COLUMNS, 1))
    values = np.linspace(-arguments.reach, arguments.reach, COLUMNS)
    for row, dimension in enumerate(order):
        z[row, :, dimension] = values
    flat = jnp.asarray(z.reshape(-1, z.shape[-1]), jnp.float32)
    drawn = jax.jit(algorithm.render)(state, flat, jnp.repeat(labels[:1], len(flat)))
    writer.write_png(arguments.out, writer.grid(np.asarray(data.to_uint8(drawn)), COLUMNS))
    listed = ", ".join(f"{dimension} ({told[dimension]:.2f})" for dimension in order)
    print(f"latents, with the nats that they tell: {listed}")
    print(f"{len(order)} of {len(told)} latents of step {int(state.step):,}: {arguments.out}")
    return 0
