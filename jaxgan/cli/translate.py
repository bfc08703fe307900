"""Translate a picture, by a run of the algorithm pix2pix, cyclegan or style.

The picture is a source of those that the run has learnt to translate: where these were computed of
images, as edges were, it is such edges. It is brought to the run's size first. `--back` goes the
other way, as cyclegan can.

    python -m jaxgan translate --workdir runs/cyclegan --image seven.png --out seven_in_fashion.png
"""

import argparse
from pathlib import Path

from jaxgan.cli.of_run import add_member, add_seed, add_step, add_workdir, check_out
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser)
    parser.add_argument("--image", type=Path, required=True, help="a picture: PNG, JPEG, ...")
    parser.add_argument("--out", type=Path, required=True, help="FILE.png")
    parser.add_argument("--back", action="store_true", help="from a target to a source")
    add_seed(parser, "of the noise, where there is any")
    add_step(parser)
    add_member(parser)


def run(arguments: argparse.Namespace) -> int:
    check_out(arguments)

    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data, experiment, writer

    workdir = folder_at(arguments.workdir)
    config, algorithm, state = experiment.load_run(workdir, arguments.step, arguments.member)
    verb = "translate_back" if arguments.back else "translate"
    if not hasattr(algorithm, verb):
        able = (
            "cyclegan translates back"
            if arguments.back
            else "pix2pix, cyclegan and style translate"
        )
        raise UserError(
            f"--workdir: {workdir} is a run of the algorithm {config.algorithm}; {able}"
        )
    size = config.derived.image_shape[0]
    like = algorithm.split(jnp.zeros((1, *config.derived.image_shape)))
    channels = like[1 if arguments.back else 0].shape[-1]
    given = arguments.image, channels, size, config.derived.data.to_dict()
    image = data.read_picture("--image", *given)
    key = jax.random.key(arguments.seed)
    made = jax.jit(getattr(algorithm, verb))(state, key, data.to_float(image)[None])
    writer.write_png(arguments.out, np.asarray(data.to_uint8(made))[0])
    print(f"{arguments.image} translated by step {int(state.step):,}: {arguments.out}")
    return 0
