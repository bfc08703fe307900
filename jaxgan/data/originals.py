"""Published sets from their original files: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

The files lie in a folder of the user's (`data.path`) or are downloaded; they become ArrayRecord
once, in the order of the files. What is decoded is checked, so that files which were packed anew
(as Debian's are) do as well as the published ones, and nothing else does.

TFDS has these sets too, but prepares them with TensorFlow only. They get names of their own here,
`jaxgan_mnist` and so on, since one folder of TFDS cannot hold a set in two formats.
"""

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tqdm

from jaxgan.data import builders, cifar, download
from jaxgan.data.idx import load_idx
from jaxgan.data.writing import Example, once, write_set
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Original:
    """One published set."""

    title: str
    homepage: str
    class_names: tuple[str, ...]
    read: Callable[[Path, str], tuple]  # (folder, split) -> images n h w c and labels n
    per_class: dict[str, tuple[int, ...]]  # split -> examples of each class
    # split -> of the bytes of the images, then of the labels as int32; as far as known
    sha256: dict[str, str] = dataclasses.field(default_factory=dict)
    licence: str = ""


ORIGINALS = {
    "mnist": Original(
        title="MNIST",
        homepage="http://yann.lecun.com/exdb/mnist",
        class_names=tuple("0123456789"),
        read=load_idx,
        per_class={
            "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
            "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        },
        sha256={
            "train": "6a364e333ea1f8ab86e4d641d64a8cf8d8644433f54b0a78e32c2b9e143672d0",
            "test": "45a60edfded3b2bb860a7fd195c83431011e7f04318268b4f2de30030af9444e",
        },
    ),
    "fashion_mnist": Original(
        title="Fashion-MNIST",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        class_names=builders.CLASS_NAMES,
        read=load_idx,
        per_class={"train": (6000,) * 10, "test": (1000,) * 10},
        sha256={
            "train": "c7d8cfe8172756709eda8bbe8b201cb44f70785b4cd9974a82408b36cc1f72e4",
            "test": "2589de149ea70a51076dfb7116c581fbd9b4c7b39b8e9c9f19ec089d65d659b8",
        },
        licence=builders.LICENSE,
    ),
    "cifar10": Original(
        title="CIFAR-10",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        class_names=cifar.CIFAR10_NAMES,
        read=functools.partial(cifar.read_cifar, "cifar10"),
        per_class={"train": (5000,) * 10, "test": (1000,) * 10},
    ),
    "cifar100": Original(
        title="CIFAR-100",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        class_names=cifar.CIFAR100_NAMES,
        read=functools.partial(cifar.read_cifar, "cifar100"),
        per_class={"train": (500,) * 100, "test": (100,) * 100},
    ),
}


def prepare_original(name: str, data_dir: Path, path: Path | None) -> Path:
    """The folder of the prepared set `name`, one of ORIGINALS; prepares it if need be.

    `path`: the folder of the original files; None: they are downloaded into `data_dir`/downloads.
    Raises UserError, naming the file, where one is missing or not as published.
    """
    original = ORIGINALS[name]
    target = data_dir / f"jaxgan_{name}" / "1.0.0"

    def make(folder: Path) -> None:
        source = path or _download(name, data_dir / "downloads" / f"jaxgan_{name}")
        if not original.sha256:
            for file in download.FILES[name]:
                archive = source if source.name == file.name else source / file.name
                if archive.is_file():
                    download.check(archive, file)
        arrays = {split: original.read(source, split) for split in original.per_class}
        for split, (images, labels) in arrays.items():
            _check(original, split, images, labels, source)
        total = sum(len(labels) for _, labels in arrays.values())
        with tqdm.tqdm(total=total, unit="image", desc=f"preparing {name}", disable=None) as bar:

            def examples(images, labels):
                for image, label in zip(images, labels, strict=True):
                    yield Example(image, int(label))
                    bar.update()

            write_set(
                folder,
                metadata={},
                name=f"jaxgan_{name}",
                splits={split: examples(*pair) for split, pair in arrays.items()},
                shape=arrays["train"][0].shape[1:],
                class_names=original.class_names,
                description=f"{original.title} from its original files, {original.homepage}",
                licence=original.licence,
            )

    once(target, make)
    return target


def _download(name: str, folder: Path) -> Path:
    files = download.FILES[name]
    size = sum(file.size for file in files) / 1e6
    print(f"{name}: {len(files)} files of {size:,.0f} MB, from {files[0].urls[0]}", file=sys.stderr)
    for file in files:
        download.fetch(file, folder)
    return folder


def _check(original: Original, split: str, images, labels, source: Path) -> None:
    counts = tuple(np.bincount(labels, minlength=len(original.class_names)).tolist())
    digest = hashlib.sha256(images.tobytes() + labels.astype("<i4").tobytes()).hexdigest()
    if counts != original.per_class[split] or digest != original.sha256.get(split, digest):
        raise UserError(
            f"{source}: its {split} images are not those of {original.title} as published "
            f"({original.homepage}); for a set of your own choose data.name=folder"
        )
