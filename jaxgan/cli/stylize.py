"""Draw the content of one picture in the style of another (Gatys et al. 2016).

The pixels are sought by optimisation, from the content's own; the picture so far is written every
--preview iterations, and Ctrl-C ends with what there is. 256 pixels take minutes on two cores. Or a
network that has learnt a style draws it at once (configs/style.py, Johnson et al. 2016).

    python -m jaxgan stylize --content photo.jpg --style painting.jpg --out painted.png
    python -m jaxgan stylize --content photo.jpg --workdir runs/style --out painted.png
"""

import argparse
from pathlib import Path

from jaxgan.cli.of_run import add_member, add_step, check_png
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at

SMALLEST = 32  # pixels along the shorter side
# Of the optimisation: kind, default, help.
OPTIMISATION: dict[str, tuple[type, float, str]] = {
    "steps": (int, 200, "iterations"),
    "preview": (int, 25, "iterations between pictures"),
    "content_weight": (float, 1.0, "of its loss"),
    "style_weight": (float, 1e3, "of its loss"),
    "variation_weight": (float, 1e-3, "of its loss"),
    "seed": (int, 0, "of the noise"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--content", type=Path, required=True, help="a picture: PNG, JPEG, ...")
    parser.add_argument("--style", type=Path, help="another")
    parser.add_argument(
        "--workdir", help="in place of --style: a run of the algorithm style, which has learnt one"
    )
    parser.add_argument("--out", type=Path, required=True, help="FILE.png")
    parser.add_argument(
        "--size", type=int, default=256, help="pixels along the longer side of both (default 256)"
    )
    for name, (kind, usual, text) in OPTIMISATION.items():
        parser.add_argument(f"--{name}", type=kind, help=f"{text} (default {usual:g})")
    parser.add_argument("--noise", action="store_true", help="begin with noise, as the paper does")
    add_step(parser)
    add_member(parser)


def run(arguments: argparse.Namespace) -> int:
    check_png(arguments.out)
    chosen = {name for name in OPTIMISATION if getattr(arguments, name) is not None}
    chosen |= {"noise"} if arguments.noise else set()
    if arguments.workdir:
        _refuse(arguments, chosen | ({"style"} if arguments.style else set()))
        return _by_a_run(arguments)
    if not arguments.style:
        raise UserError("--style: name a picture, or a run of the algorithm style as --workdir")
    if arguments.step is not None or arguments.member:
        raise UserError("--step and --member: they are of a run; name its --workdir")
    for name, (_, usual, _) in OPTIMISATION.items():
        if name not in chosen:
            setattr(arguments, name, usual)
    for name, least in (("size", SMALLEST), ("steps", 1), ("preview", 1), ("seed", 0)):
        if getattr(arguments, name) < least:
            raise UserError(f"--{name}: {getattr(arguments, name)} is not {least} or more")
    names = ("content_weight", "style_weight", "variation_weight")
    weights = [getattr(arguments, name) for name in names]
    for name, weight in zip(names, weights, strict=True):
        if not 0 <= weight < float("inf"):
            raise UserError(f"--{name}: {weight} is not a number of 0 or more")
    pictures = [_resized(flag, arguments) for flag in ("content", "style")]

    import itertools

    import jax
    import jax.numpy as jnp
    import numpy as np
    import tqdm

    from jaxgan import data, stylize, writer
    from jaxgan.metrics.networks import lpips_weights

    params = lpips_weights(data.directory_of() / "jaxgan_metrics")
    content, style = (data.to_float(jnp.asarray(each))[None] for each in pictures)
    target = jax.jit(stylize.target_of)(params, content, style)
    start = content
    if arguments.noise:
        start = jax.random.uniform(jax.random.key(arguments.seed), content.shape, float, -1, 1)

    def write(image) -> None:
        writer.write_png(arguments.out, np.asarray(data.to_uint8(image))[0])

    last = start
    series = stylize.optimise(params, target, start, stylize.Weights(*weights))
    with tqdm.tqdm(total=arguments.steps, unit="iteration", disable=None) as bar:
        try:
            for n, (last, losses) in enumerate(itertools.islice(series, arguments.steps + 1)):
                told = "  ".join(f"{name} {float(x):.4g}" for name, x in losses._asdict().items())
                if n % arguments.preview == 0 or n == arguments.steps:
                    tqdm.tqdm.write(f"iteration {n:>4}  {told}")
                    write(last)
                bar.update(n - bar.n)
        except KeyboardInterrupt:
            tqdm.tqdm.write("stopped; the picture is as far as it got")
    write(last)
    print(f"{content.shape[2]} x {content.shape[1]} pixels: {arguments.out}")
    return 0


def _refuse(arguments: argparse.Namespace, chosen: set[str]) -> None:
    if arguments.size < SMALLEST:
        raise UserError(f"--size: {arguments.size} is not {SMALLEST} or more")
    if chosen:
        listed = ", ".join(f"--{name}" for name in sorted(chosen))
        raise UserError(
            f"{listed}: the run of --workdir has its style, and nothing is sought; leave it out"
        )


def _by_a_run(arguments: argparse.Namespace) -> int:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data, experiment, writer

    workdir = folder_at(arguments.workdir)
    config, algorithm, state = experiment.load_run(workdir, arguments.step, arguments.member)
    if not hasattr(state, "picture"):
        raise UserError(
            f"--workdir: {workdir} is a run of the algorithm {config.algorithm}, which has learnt "
            f"no style; style does"
        )
    picture = _resized("content", arguments)
    height, width = picture.shape[:2]
    more = ((0, -height % 8), (0, -width % 8), (0, 0))  # networks halve pictures twice or thrice
    given = data.to_float(jnp.asarray(np.pad(picture, more, "edge")))[None]
    drawn = jax.jit(algorithm.translate)(state, jax.random.key(0), given)
    writer.write_png(arguments.out, np.asarray(data.to_uint8(drawn))[0, :height, :width])
    print(f"{width} x {height} pixels by step {int(state.step):,}: {arguments.out}")
    return 0


def _resized(flag: str, arguments: argparse.Namespace):
    """The picture's pixels, uint8 h w 3, with the longer side asked for."""
    import numpy as np
    from PIL import Image

    from jaxgan import data

    path = getattr(arguments, flag)
    image = Image.fromarray(data.read_picture(f"--{flag}", path, 3))
    scale = arguments.size / max(image.size)
    width, height = (max(round(scale * side), 1) for side in image.size)
    if min(width, height) < SMALLEST:
        raise UserError(
            f"--{flag}: {path} would have {width} x {height} pixels; the shorter side takes "
            f"{SMALLEST} or more, by a larger --size"
        )
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
