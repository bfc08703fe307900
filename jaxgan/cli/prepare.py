"""Turn a folder of images, a .zip or an array into a data set that trains, once.

Pictures are turned as EXIF says, converted to sRGB, laid on the background where they are
transparent, cropped or padded to squares at the centre and resized. Folders are classes (and train,
test, validation splits). What was done is in metadata.json and contact_sheet.png of the new folder.

    python -m jaxgan prepare --source photos --out faces64 --image_size 64
    python -m jaxgan prepare --source clipart.zip --out clipart64 --image_size 64 --fit pad
    python train.py --config configs/dcgan.py --config.data.name=folder --config.data.path=faces64

With --sound it makes spectrograms of .wav files, or with --waves keeps their samples:

    python -m jaxgan prepare --source clips --out clips64 --sound 8000 --image_size 64

With --name it prepares a published set from its original files, or downloads them without --source:

    python -m jaxgan prepare --name mnist --source FOLDER_OF_THE_IDX_FILES
"""

import argparse
from pathlib import Path

from jaxgan.errors import UserError, lookup

FEW = 2_000  # images, which a discriminator learns by heart
# Of pictures: option, default, help.
PICTURES = (
    ("filter", "lanczos", "that resizes: lanczos (default), bicubic, bilinear or box"),
    ("fit", "crop", "oblong images to a square: crop (default), pad, or pair: two side by side"),
    ("small", "error", "images below --image_size: error (default), upscale, pad or skip"),
    ("channels", "auto", "grey, rgb or auto (default): grey if no image has colours"),
    ("background", "white", "under what is transparent and in pads: a name or '#rrggbb'"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, help="a folder of images, .zip, .npy or .npz")
    parser.add_argument("--out", type=Path, help="the folder to make; with --name: data.dir")
    parser.add_argument("--name", default="folder", help="as data.name (default folder)")
    parser.add_argument(
        "--image_size", type=int, default=0, help="pixels along a side (default: as they are)"
    )
    for option, default, text in PICTURES:
        parser.add_argument(f"--{option}", default=default, help=text)
    parser.add_argument(
        "--sound",
        type=int,
        default=0,
        help="samples a second: make spectrograms of .wav files, --image_size squared samples each",
    )
    parser.add_argument(
        "--waves", action="store_true", help="keep those samples, not spectrograms (models/wavegan)"
    )


def run(arguments: argparse.Namespace) -> int:
    from jaxgan import data
    from jaxgan.data import images, prepare

    if not 0 <= arguments.image_size <= 4096:
        raise UserError(f"--image_size: {arguments.image_size} is not within 0 to 4,096")
    if arguments.name != "folder":
        _refuse_options(arguments, f"{arguments.name} is kept as published")
        if arguments.sound or arguments.waves:
            raise UserError(f"--sound, --waves: {arguments.name} is of images; leave them out")
        path, out = (str(value or "") for value in (arguments.source, arguments.out))
        opened = data.open_set(arguments.name, "train", arguments.image_size, out, path)
        if not isinstance(opened, data.Prepared):
            raise UserError(f"--name: {arguments.name} is drawn as it trains: nothing to prepare")
        print(f"{arguments.name}: {opened.num_examples:,} training images in {opened.folder}")
        return 0
    if arguments.source is None or arguments.out is None:
        raise UserError("--source and --out: name what holds the images, and the folder to make")
    if arguments.out.exists():
        raise UserError(f"--out: {arguments.out} exists; name a folder that does not")
    if arguments.sound:
        _refuse_options(arguments, "it is of pictures, and --sound reads sounds")
        return _sounds(arguments)
    if arguments.waves:
        raise UserError("--waves: say with --sound how many samples a second there are to be")
    options = prepare.Options(
        image_size=arguments.image_size,
        channels=arguments.channels,
        filter=arguments.filter,
        fit=arguments.fit,
        background=_colour(arguments.background),
        small=arguments.small,
    )
    for option, table in (
        ("filter", images.FILTERS),
        ("fit", dict.fromkeys(images.FITS)),
        ("small", dict.fromkeys(images.SMALL)),
        ("channels", prepare.CHANNELS),
    ):
        lookup(table, getattr(options, option), f"--{option}")
    made = prepare.prepare(arguments.source, arguments.out, options)
    print(prepare.summary(made))
    print(f"\nlook at {arguments.out / 'contact_sheet.png'}; to train on it:")
    config = "cgan" if made["classes"] else "dcgan"
    config = "pix2pix" if made["fit"] == "pair" else config
    more = " --config.translate.source=" if made["fit"] == "pair" else ""
    print(_command(config, arguments.out) + more)
    total = sum(made["images"].get("train", {}).values())
    if 0 < total < FEW and made["fit"] != "pair":
        print(f"(with as few as {total:,} images see docs/guides/images.md: augmentation)")
    return 0


def _refuse_options(arguments: argparse.Namespace, reason: str) -> None:
    for option, default, _ in PICTURES:
        if getattr(arguments, option) != default:
            raise UserError(f"--{option}: {reason}; leave it out")


def _sounds(arguments: argparse.Namespace) -> int:
    from jaxgan.data import sounds

    if not 1_000 <= arguments.sound <= 192_000:
        raise UserError(f"--sound: {arguments.sound} samples a second are not 1,000 to 192,000")
    if not 16 <= arguments.image_size <= 512:
        raise UserError(
            f"--image_size: {arguments.image_size} is not within 16 to 512, as 64 is, for clips of "
            f"4,096 samples"
        )
    size, rate = arguments.image_size, arguments.sound
    if arguments.waves and size & (size - 1):
        raise UserError(f"--image_size: {size} is no power of 2, which --waves needs")
    made = sounds.prepare(arguments.source, arguments.out, rate, size, arguments.waves)
    counts = " and ".join(f"{count:,} {split}" for split, count in made["clips"].items())
    classes = f" of {len(made['classes'])} classes" if made["classes"] else ""
    kept = f"{size * size:,} samples" if arguments.waves else f"{size} x {size} pixels"
    print(f"{counts} clips{classes}, {size * size / rate:.2f} seconds each, {kept}")
    config = "wavegan" if arguments.waves else "cgan" if made["classes"] else "dcgan"
    more = " --config.conditional=True" if arguments.waves and made["classes"] else ""
    print(_command(config, arguments.out) + more)
    return 0


def _command(config: str, out: Path) -> str:
    path = f"--config.data.name=folder --config.data.path={out}"
    return f"python train.py --config configs/{config}.py --workdir runs/{out.name} {path}"


def _colour(text: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError as error:
        raise UserError(f"--background: {text!r} is no colour; try white or '#80c0ff'") from error
    return red, green, blue
