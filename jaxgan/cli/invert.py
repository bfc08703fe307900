"""Find the latents of given images, by optimisation.

Of pictures, or of images of the run's data set: Adam on the latents, with the schedule and noise of
Karras et al. 2020, from several starts in one program, of which the best is kept. The loss is the
mean squared difference of pixels, and from 64 pixels on LPIPS beside it (the extra perceptual), for
which smaller images are too small. Of a conditional run all classes are tried, or --labels.

A row of the picture is an image, and what the best start draws on its way there, from the start on.
The latents and labels are written beside it, as FILE.npz, for --latents of `interpolate`, `edit`
and `directions`.

    python -m jaxgan invert --workdir runs/cgan --num 4 --out found.png
    python -m jaxgan invert --workdir runs/cgan --image bag.png --labels Bag --out found.png
"""

import argparse
from pathlib import Path

from jaxgan.cli.of_run import (
    Drawing,
    add_labels,
    add_member,
    add_seed,
    add_statistics,
    add_step,
    add_workdir,
    check_beside,
    check_count,
    check_out,
    classes_of,
    drawing,
    real_images,
    settle,
)
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at

LOSSES = ("pixels", "perceptual")
LARGE = 64  # pixels from which on LPIPS is taken: its heads were learnt on such patches
SMALLEST = 16  # pixels that it can take
PARTS = 8  # of the way, that are shown
AT_ONCE = 320  # starts that are sought from at the same time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser, exported=True)
    parser.add_argument("--out", type=Path, required=True, help="FILE.png; FILE.npz is written too")
    parser.add_argument("--image", type=Path, nargs="+", help="pictures: PNG, JPEG, ...")
    parser.add_argument(
        "--num", type=int, help="without --image: images of the data set (default 8)"
    )
    parser.add_argument("--split", help="of these (default: test, if there is one)")
    add_labels(parser, "classes to try (default: all)")
    parser.add_argument("--steps", type=int, default=1000, help="of Adam (default 1,000)")
    parser.add_argument("--starts", type=int, default=4, help="of each class (default 4)")
    parser.add_argument(
        "--loss", choices=LOSSES, help=f"default: perceptual (with pixels) from {LARGE} pixels on"
    )
    add_seed(parser, "which images, and of the starts")
    add_step(parser)
    add_member(parser)
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    check_out(arguments)
    check_beside(arguments, "z")
    beside = "beside --image; it is of the data set" if arguments.image else ""
    settle(arguments, beside, num=8, split="")
    check_count(arguments, "num", "images")
    check_count(arguments, "steps", "steps")
    check_count(arguments, "starts", "starts", most=1000)

    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data, writer
    from jaxgan.exploration.files import write_arrays
    from jaxgan.exploration.pictures import pictures

    run = drawing(arguments, arguments.seed)
    classes, images = classes_of(arguments, run.config), _images(arguments, run)
    perceptual = _perceptual(arguments, run)
    starts = jnp.repeat(jnp.array(classes, jnp.int32), arguments.starts)
    found, paths = _search(arguments, run, images, starts, perceptual)
    z, labels = (np.concatenate([np.asarray(each[n]) for each in found]) for n in range(2))
    path = np.concatenate(paths, 1)  # of the way p, n images, z
    drawn = pictures(run.render, path.reshape(-1, path.shape[-1]), np.tile(labels, len(path)))
    drawn = drawn.reshape(*path.shape[:2], *drawn.shape[1:])
    target = np.asarray(data.to_uint8(images))
    rows = np.concatenate([target[None], drawn]).swapaxes(0, 1)
    errors = np.mean(np.square(drawn[-1] / 255.0 - target / 255.0), (1, 2, 3))
    beside = arguments.out.with_suffix(".npz")
    arrays = {"z": z, "errors": errors} | ({"labels": labels} if run.classes else {})
    write_arrays(beside, run.origin, **arrays)
    writer.write_png(arguments.out, writer.grid(rows.reshape(-1, *rows.shape[2:]), rows.shape[1]))
    names = run.config.derived.class_names
    for n, error in enumerate(errors):
        of_class = f", {names[labels[n]]}" if run.classes else ""
        print(f"image {n}: mean squared error {error:.5f} of pixels in [0, 1]{of_class}")
    by = "pixels" if perceptual is None else "LPIPS and pixels"
    print(
        f"{len(z)} images by {run.at}, {arguments.steps} steps by {by}, mean squared error "
        f"{errors.mean():.5f}: {arguments.out}, {beside}"
    )
    return 0


def _images(arguments: argparse.Namespace, run: Drawing):
    """Float32 n h w c in [-1, 1]."""
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import archive, data

    if not arguments.image:
        if archive.holds(folder_at(arguments.workdir)):
            raise UserError("--image: name pictures; an export does not say where its data are")
        return real_images(arguments, run.config, arguments.num)[0]
    if arguments.overrides:
        raise UserError(f"--config.{arguments.overrides[0]}: does nothing beside --image")
    size, _, channels = run.config.derived.image_shape
    like = run.config.derived.data.to_dict()
    read = [data.read_picture("--image", path, channels, size, like) for path in arguments.image]
    return data.to_float(jnp.asarray(np.stack(read)))


def _perceptual(arguments: argparse.Namespace, run: Drawing):
    """LPIPS's weights, or None."""
    from jaxgan import data
    from jaxgan.metrics.networks import lpips_weights

    size = min(run.config.derived.image_shape[:2])
    if (arguments.loss or LOSSES[size >= LARGE]) == "pixels":
        return None
    if size < SMALLEST:
        raise UserError(
            f"--loss: perceptual takes images of {SMALLEST} pixels or more, and these have {size}; "
            f"take pixels"
        )
    return lpips_weights(data.directory_of(run.config.data.dir) / "jaxgan_metrics")


def _search(arguments: argparse.Namespace, run: Drawing, images, labels, perceptual):
    """What is found, a few images at a time, and the latents on the ways there, each p n z."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import tqdm

    from jaxgan.exploration import inversion

    found, paths, key = [], [], jax.random.key(arguments.seed)
    few = max(1, AT_ONCE // len(labels))
    of_run = run.algorithm.latent, run.algorithm.z_dim
    with tqdm.tqdm(total=len(images) * arguments.steps, unit="step", disable=None) as bar:
        for first in range(0, len(images), few):
            some, own = images[first : first + few], jax.random.fold_in(key, first)
            starts = jnp.tile(labels[None], (len(some), 1))
            ways = inversion.invert(
                run.render, perceptual, some, starts, own, *of_run, arguments.steps, PARTS
            )
            way: list[inversion.Search] = []
            for search in ways:
                bar.update(len(some) * (int(search.step) - int(way[-1].step if way else 0)))
                way.append(search)
            found.append(inversion.best(run.render, perceptual, some, way[-1]))
            rows = np.arange(len(some)), np.asarray(found[-1].chosen)
            paths.append(np.stack([np.asarray(each.z)[rows] for each in way]))
    return found, paths
