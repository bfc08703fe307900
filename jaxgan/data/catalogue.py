"""`tfds:NAME`: any image set of the TFDS catalogue, read without TensorFlow once it is prepared.

A set is looked for where TFDS keeps it, `data_dir`/NAME/[CONFIG/]VERSION, and in `data_dir`/
array_record: a folder of our own, since TFDS keeps one file format of a version in one folder, and
that of a TensorFlow user is seldom ArrayRecord. Folders and their JSON files are all that is read,
so that a prepared set needs no network and runs no code of its data set.

A set that is not there is prepared by TFDS with TensorFlow, in a child process,

    python -m jaxgan.data.catalogue NAME DATA_DIR [--path FOLDER_OF_ORIGINAL_FILES]

so that training never imports TensorFlow. Parquet is not read: TFDS ignores the slice in
"train[:90%]" there, so that training and test examples would mix (TFDS 4.9.10).
"""

import argparse
import contextlib
import dataclasses
import difflib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from jaxgan.data.writing import locked
from jaxgan.errors import UserError

OWN = "array_record"  # the folder in data_dir for what is prepared here; TFDS's name of the format
_CONFIG = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_VERSION = r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){2}"
_TFDS = "tensorflow_datasets."
_NAME = rf"(?P<name>[a-z][a-z0-9_]*)(?:/(?P<config>{_CONFIG}))?(?::(?P<version>{_VERSION}))?"


class _Wanted(NamedTuple):
    name: str
    config: str | None
    version: str | None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which features of a prepared set are the image and its label.

    `image_shape` is (height, width, channels), with None where that differs between images. Without
    labels, `label_key` is None and `class_names` is empty. Where a split has labels withheld, TFDS
    writes -1.
    """

    image_key: str
    image_shape: tuple[int | None, int | None, int | None]
    label_key: str | None
    class_names: tuple[str, ...]


def find(name: str, data_dir: Path, path: Path | None = None) -> Path:
    """The folder of the data set `name` as ArrayRecord; it is prepared if there is none.

    `name` is NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION; the newest version and, as in
    TFDS, the default config where they are not given. `path` is a folder with the set's original
    files, which are then not downloaded. Raises UserError where `name` is not of this form or not
    of the catalogue, where TensorFlow is needed and not installed, and where preparation fails.
    """
    match = re.fullmatch(_NAME, name)
    if match is None:
        raise UserError(
            f"data.name: 'tfds:{name}' is not of the form tfds:NAME, tfds:NAME/CONFIG, "
            "tfds:NAME:1.0.0 or tfds:NAME/CONFIG:1.0.0"
        )
    wanted = _Wanted(**match.groupdict())
    if folder := _newest(wanted, data_dir):
        return folder
    catalogue = tfds.list_builders(with_community_datasets=False)
    if wanted.name not in catalogue:
        near = " or ".join(map(repr, difflib.get_close_matches(wanted.name, catalogue)))
        hint = f" (did you mean {near}?)" if near else ""
        raise UserError(
            f"data.name: there is no {wanted.name!r} in the catalogue of TFDS{hint}"
            f"{_describe(wanted, data_dir)}"
        )
    if path is not None and not path.is_dir():
        raise UserError(f"data.path: {path} is not a folder of original files of tfds:{name}")
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"data.name: tfds:{name} is not prepared as ArrayRecord under {data_dir}, and to "
            "prepare it takes TensorFlow: pip install tensorflow, or copy a folder prepared "
            f"elsewhere there{_describe(wanted, data_dir)}"
        )
    try:
        (data_dir / OWN).mkdir(parents=True, exist_ok=True)
        with locked(data_dir / OWN / f".{wanted.name}.lock") as lock:
            # Another process may have prepared it while this one waited for the lock.
            if not _newest(wanted, data_dir):
                _remove_leftovers(data_dir / OWN, wanted.name)
                try:
                    _run_child(name, data_dir, path, lock)
                finally:
                    _remove_leftovers(data_dir / OWN, wanted.name)
    except OSError as error:
        raise UserError(f"data.dir: tfds:{name} cannot be prepared there: {error}") from error
    if folder := _newest(wanted, data_dir):
        return folder
    raise UserError(
        f"data.dir: TFDS took {data_dir / OWN / wanted.name} for prepared, but it is not whole: "
        "remove it, and it is made anew"
    )


def open_prepared(folder: Path) -> tfds.core.DatasetBuilder:
    """TFDS's reader of a prepared folder; all its shards are there and as long as they should be.

    Raises UserError, naming the folder or file, where one is missing, damaged or not to be trusted.
    """
    _refuse_foreign_classes(folder / "features.json")
    try:
        builder = tfds.builder_from_directory(folder)
        shards = [
            (Path(path), length)
            for split in builder.info.splits.values()
            for path, length in zip(split.filepaths, split.shard_lengths, strict=True)
        ]
    except ImportError as error:
        raise UserError(f"{folder}: has features that TFDS reads with TensorFlow alone") from error
    except Exception as error:  # TFDS has no one kind for files that it cannot make sense of
        raise UserError(
            f"{folder}: its dataset_info.json or features.json is damaged: {_first_line(error)}"
        ) from error
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise UserError(f"{folder}: holds no ArrayRecord files")
    for path, length in shards:
        if path.parent.absolute() != folder.absolute():
            raise UserError(f"{folder}: its dataset_info.json names {path}, outside of it")
        if not path.is_file():
            raise UserError(f"{path}: is missing; dataset_info.json tells of it")
        # A file cut at 64 KiB raises nothing when read: its records are then empty.
        found = array_record_module.ArrayRecordReader(str(path)).num_records()
        if found != length:
            raise UserError(
                f"{path}: truncated or corrupt: it should hold {length:,} examples, "
                f"and {found:,} can be read"
            )
    return builder


def layout(builder: tfds.core.DatasetBuilder) -> Layout:
    """Which feature is the image and which the label.

    The image is the 8-bit Image feature "image", or else the only one; of sounds that `prepare`
    made it has 16 bits. The label is the ClassLabel of the supervised keys, or else "label", or
    else the only ClassLabel. Raises UserError where there is no such image, or several.
    """
    features = dict(builder.info.features.items())
    pixels = (np.uint8, np.uint16) if builder.name == "sounds" else (np.uint8,)
    images = [
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image) and feature.np_dtype in pixels
    ]
    if "image" not in images and len(images) != 1:
        kinds = ", ".join(f"{key} ({type(value).__name__})" for key, value in features.items())
        raise UserError(
            f"{builder.data_dir}: there should be one feature of 8-bit images, or one of them "
            f"called 'image'; its features are: {kinds}"
        )
    image_key = "image" if "image" in images else images[0]
    classes = [
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.ClassLabel) and feature.num_classes
    ]
    keys = builder.info.supervised_keys
    supervised = [key for key in keys or () if key in classes]
    labels = [*supervised, *({"label"} & set(classes)), *(classes if len(classes) == 1 else [])]
    return Layout(
        image_key=image_key,
        image_shape=tuple(features[image_key].shape),
        label_key=labels[0] if labels else None,
        class_names=tuple(features[labels[0]].names) if labels else (),
    )


def _newest(wanted: _Wanted, data_dir: Path) -> Path | None:
    """The folder of the newest whole ArrayRecord version that is wanted."""
    found = [
        (_version(folder), folder)
        for root in (data_dir, data_dir / OWN)
        for parent in _parents(root / wanted.name, wanted.config)
        for folder in _versions(parent)
        if wanted.version in (None, folder.name)
    ]
    newest_first = (folder for _, folder in sorted(found, reverse=True))
    return next((folder for folder in newest_first if _file_format(folder) == OWN), None)


def _parents(folder: Path, config: str | None) -> list[Path]:
    """Where a data set may have its version folders."""
    if config is not None:
        return [folder / config]
    metadata = folder / ".config" / "metadata.json"
    if not metadata.is_file():
        return [folder]
    default = _read_json(metadata).get("default_config_name")
    if not isinstance(default, str) or not re.fullmatch(_CONFIG, default):
        raise UserError(f"{metadata}: damaged: it should name the default config")
    return [folder, folder / default]


def _versions(parent: Path) -> list[Path]:
    # While TFDS prepares, its folder is called incomplete.*, which is no version.
    return [
        info.parent
        for info in sorted(parent.glob("*/dataset_info.json"))
        if re.fullmatch(_VERSION, info.parent.name)
    ]


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(map(int, folder.name.split(".")))


def _file_format(folder: Path) -> str:
    # Sets prepared by TFDS before it had several formats do not say theirs.
    return str(_read_json(folder / "dataset_info.json").get("fileFormat", "tfrecord"))


def _read_json(
    path: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None
) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes(), object_hook=object_hook)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged: it should hold a JSON object")
    return content


def _describe(wanted: _Wanted, data_dir: Path) -> str:
    """What there is of the data set in other formats, versions and configs, if anything."""
    found = [
        f"{':'.join(folder.relative_to(root).as_posix().rsplit('/', 1))} as {_file_format(folder)}"
        for root in (data_dir, data_dir / OWN)
        for parent in (root / wanted.name, *sorted((root / wanted.name).glob("*/")))
        for folder in _versions(parent)
    ]
    return f"; there is only {', '.join(found)}" if found else ""


def _extracted(folder: Path, name: str) -> Path:
    """Where the child extracts the files that `path` holds."""
    return folder / f".{name}.extracted"


def _remove_leftovers(folder: Path, name: str) -> None:
    """Removes the extracted files of a data set, and what killed preparations have left of it."""
    incomplete = [*folder.glob(f"{name}/incomplete.*"), *folder.glob(f"{name}/*/incomplete.*")]
    for left in (_extracted(folder, name), *incomplete):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def _run_child(name: str, data_dir: Path, path: Path | None, lock: int) -> None:
    """Prepares in a child process; what it tells goes to stderr, as it is."""
    child = subprocess.run(
        [sys.executable, "-m", "jaxgan.data.catalogue", name, str(data_dir)]
        + (["--path", str(path)] if path else []),
        # TensorFlow would take the whole memory of a GPU that it does not need.
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        pass_fds=[lock],  # a child that outlives its parent still holds the lock
    )
    if child.returncode == 0:
        return
    if child.returncode < 0:
        reason = f"ended by {signal.Signals(-child.returncode).name}"
    else:
        reason = child.stdout.strip() or f"exit code {child.returncode}"
    raise UserError(f"data.name: tfds:{name} could not be prepared with TensorFlow: {reason}")


def _refuse_foreign_classes(path: Path) -> None:
    """TFDS imports the modules that features.json names: only its own are let through."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        for key in ("pythonClassName", "python_class_name", "type"):
            name = value.get(key)
            if isinstance(name, str) and "." in name and not name.startswith(_TFDS):
                raise UserError(f"{path}: names the class {name}, which is not of TFDS")
        return value

    _read_json(path, check)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip(':')}" if lines else type(error).__name__


def main() -> None:
    """The child: prepares a data set. The one line on stdout is why it could not."""
    parser = argparse.ArgumentParser(prog="python -m jaxgan.data.catalogue")
    parser.add_argument("name", help="NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION")
    parser.add_argument("data_dir", type=Path, help="data.dir; made is data.dir/array_record")
    parser.add_argument("--path", type=Path, help="folder of the original files")
    args = parser.parse_args()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            builder = tfds.builder(args.name, data_dir=args.data_dir / OWN, file_format=OWN)
            config = tfds.download.DownloadConfig(
                manual_dir=args.path.absolute() if args.path else None,
                # TFDS knows what it has extracted from there by the file's name alone, and would
                # take for MNIST's train-images what it has extracted from Fashion-MNIST's.
                extract_dir=_extracted(args.data_dir / OWN, builder.name) if args.path else None,
                try_download_gcs=False,  # what lies there is not ArrayRecord
            )
            # TFDS's usual folder, which may have the original files from an earlier preparation.
            downloads = args.data_dir / "downloads"
            builder.download_and_prepare(download_dir=downloads, download_config=config)
    except Exception as error:
        print(error, file=sys.stderr)
        print(_first_line(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
