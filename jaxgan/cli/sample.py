"""Draw images from a trained generator.

Images come from the averaged weights (EMA), on all devices. The same seed gives the same pixels,
and the first images of a longer series are those of a shorter one. A folder is filled as images are
drawn, and takes its name when all are there; Ctrl-C before leaves none.

    python -m jaxgan sample --workdir runs/cgan --num 64 --out grid.png
    python -m jaxgan sample --workdir runs/cgan --num 100 --labels 3,8 --out dresses_and_bags.npz
    python -m jaxgan sample --workdir runs/cgan --num 1000 --out folder

The folder that `export --format safetensors` writes may stand for the run's.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxgan.cli.of_run import (
    add_labels,
    add_member,
    add_seed,
    add_statistics,
    add_step,
    add_workdir,
    check_seed,
    classes_of,
)
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at

FILES = (".png", ".npy", ".npz", ".txt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser, exported=True)
    parser.add_argument("--num", type=int, default=64, help="how many images (default 64)")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="FILE.png: one grid; FILE.npy: uint8 array n h w c, or float32 n l of sounds; "
        "FILE.npz: the same and labels; otherwise a folder, one PNG an image, or WAV a sound",
    )
    add_labels(parser, "classes to draw, in turn (default: all)")
    add_seed(parser, "of the latents")
    add_step(parser)
    add_member(parser)
    parser.add_argument(
        "--truncation",
        type=float,
        metavar="T",
        help="keep each latent within -T to T: less variety, often better images",
    )
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.num < 1:
        raise UserError(f"--num: {arguments.num} is not a number of images, 1 or more")
    check_seed(arguments)
    if arguments.truncation is not None and not arguments.truncation > 0:
        raise UserError(f"--truncation: {arguments.truncation} is not above 0")
    out = arguments.out
    if out.suffix in FILES:
        if out.is_dir():
            raise UserError(f"--out: {out} is a folder")
    elif out.suffix and not out.is_dir():
        raise UserError(
            f"--out: {out} is neither .png, .npy, .npz or .txt, nor a folder without suffix"
        )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out: {out} exists already; name a new or empty folder")

    import jax  # here, so that --help and mistakes are answered at once
    import numpy as np
    import tqdm

    from jaxgan import data, parallel, pretrained, writer
    from jaxgan.sampler import CHUNK, Sampler

    folder = folder_at(arguments.workdir)
    model = pretrained.open_model(folder, arguments.step, arguments.member)
    config = model.config
    axes = len(config.derived.image_shape)
    details = config.derived.data.to_dict()
    sounding = data.sound_of(details) is not None
    if axes < 3 and not out.suffix and not sounding:
        others = "points go to" if axes == 1 else "texts go to .txt,"
        raise UserError(f"--out: {out} is a folder for images; {others} .png, .npy or .npz")
    if axes != 2 and out.suffix == ".txt":
        raise UserError(f"--out: {out} is for texts; name a .png, .npy or .npz file, or a folder")
    classes, count = classes_of(arguments, config), arguments.num
    labels = np.resize(np.array(classes, np.int32), count) if config.derived.num_classes else None
    mesh = parallel.mesh_of(jax.devices()[: math.ceil(count / CHUNK)])  # no more than have work
    sampler = Sampler(model.algorithm, mesh, arguments.truncation, arguments.statistics)
    drawn = sampler.draw(model.state, np.array(classes), count, arguments.seed)
    _make_folder(out.parent)
    with jax.set_mesh(mesh), tqdm.tqdm(total=count, unit="image", disable=None) as bar:
        chunks = _first(drawn, count, bar.update)
        if out.suffix in FILES:
            _write(out, np.concatenate([*chunks]), labels, details.get("sound"))
        else:
            with writer.whole_folder(out) as folder:
                _fill(folder, chunks, count, labels, details.get("sound"))
    kind = "sounds" if sounding else {1: "points", 2: "texts"}.get(axes, "images")
    print(f"{count:,} {kind} of step {model.step:,}: {out}")
    return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {folder} cannot be made: {error.strerror}") from error


def _first(drawn: Iterator[Any], count: int, told: Callable[[int], Any]) -> Iterator[Any]:
    """No more than `count` of what is drawn, batch by batch; `told` of the number of each."""
    import numpy as np

    while count:
        batch = np.asarray(next(drawn))[:count]
        yield batch
        told(len(batch))
        count -= len(batch)


def _fill(folder: Path, batches: Iterator[Any], count: int, labels, sound) -> None:
    """One file an image, or a sound, as they come."""
    from jaxgan import writer
    from jaxgan.data import sounds

    digits, number = max(5, len(str(count - 1))), itertools.count()
    for batch in batches:
        for image, n in zip(batch, number, strict=False):
            label = "" if labels is None else f"_class{labels[n]}"
            path = folder / f"{n:0{digits}d}{label}"
            if sound:
                clip = image if image.ndim == 1 else sounds.to_clip(image, sound)
                sounds.write_wav(path.with_suffix(".wav"), clip, sound["rate"])
            else:
                writer.save_png(path.with_suffix(".png"), image)


def picture(images, columns: int, sound=None):
    """One picture, uint8 h w c, of images in rows of `columns`; of sounds' spectrograms, of points
    or of texts."""
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import data, writer

    if sound and images.ndim == 2:
        images = np.asarray(data.to_uint8(data.spectrograms(jnp.asarray(images), sound)))
    pictures = {
        2: lambda: writer.scatter(images),
        3: lambda: writer.page(data.to_texts(images)),
        4: lambda: writer.grid(images, columns),
    }
    return pictures[images.ndim]()


def _write(out: Path, images, labels, sound) -> None:
    """One file."""
    import numpy as np

    from jaxgan import data, writer

    if out.suffix == ".png":
        columns = math.ceil(math.sqrt(len(images)))
        writer.write_png(out, picture(images, columns, sound))
    elif out.suffix == ".txt":
        with writer.whole_file(out) as partial:
            partial.write_text("".join(f"{text}\n" for text in data.to_texts(images)))
    else:
        with writer.whole_file(out) as partial, open(partial, "wb") as file:
            if out.suffix == ".npy":
                np.save(file, images)
            else:
                np.savez(file, images=images, **({} if labels is None else {"labels": labels}))
