"""A trained generator as two files that anyone may read: config.json and model.safetensors.

model.safetensors has the averaged weights (EMA), float32, by the names of Flax's variables with
dots between: `params.ConvTranspose_0.kernel`, and what no gradient reaches, as
`batch_stats.BatchNorm_0.mean` and `spectral.Conv_0.u`. Layouts are Flax's: kernels are H W I O, of
transposed convolutions too. Its metadata tell what config.json does, as text.

config.json is an object of

    format, version   "jaxgan.generator" and 1, which this page describes
    jaxgan            the version that wrote it
    step              generator updates of the training
    sha256            of model.safetensors
    config            the run's settings and what follows from them (`derived`: image_shape,
                      num_classes, class_names ...), by which the network is built; without the
                      paths of the machine that it was trained on

Neither is trusted: nothing in them is run, names are looked up among those that exist, and every
array is compared with what the network that config.json describes must have.
"""

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from ml_collections import ConfigDict

import jaxgan
from jaxgan import experiment, weights, writer
from jaxgan.algorithms.player import Average, Player
from jaxgan.config import with_values
from jaxgan.errors import UserError
from jaxgan.typing import Folder, PyTree

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT, VERSION = "jaxgan.generator", 1
KEYS = {"format", "version", "jaxgan", "step", "sha256", "config"}
LARGEST_CONFIG = 2**22  # bytes
# Keys of a config that are places of the one who trained.
PLACES = ("data.dir", "data.path", "style.image", "evaluation.weights", "wandb.project")


def holds(folder: Folder) -> bool:
    """Whether an exported generator lies there."""
    return isinstance(folder, Path) and (folder / WEIGHTS).is_file()


def published(config: ConfigDict) -> dict[str, Any]:
    """The settings without the places of the machine that trained."""
    return with_values(config, dict.fromkeys(PLACES, "")).to_dict()


def write(folder: Path, config: ConfigDict, state: Any) -> None:
    """Writes both files to a folder that is there; `state` is the algorithm's, of one seed."""
    told = {"format": FORMAT, "version": VERSION, "jaxgan": jaxgan.__version__}
    told["step"] = int(state.step)
    text = {name: str(value) for name, value in told.items()}
    weights.write_tensors(folder / WEIGHTS, _flat(state.ema), text)
    told["sha256"] = _digest(folder / WEIGHTS)
    writer.write_json(folder / CONFIG, {**told, "config": published(config)})


def read(folder: Path) -> tuple[ConfigDict, Any, PyTree]:
    """The resolved config, the algorithm and of its state what it draws from: the average and the
    step, and None for all else. Raises UserError for files that are missing, damaged, of another
    format, or do not belong together."""
    path = folder / CONFIG
    told = _told(path)
    config = _config(told["config"], path)
    try:
        algorithm = experiment.algorithm_of(config, begun=True)
        like = jax.eval_shape(algorithm.init, jax.random.key(0))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # of a stranger's numbers: sizes that no array can have, say
        raise UserError(f"{path}: describes no network ({type(error).__name__})") from error
    if not hasattr(algorithm, "sample"):
        raise UserError(f"{path}: the algorithm {config.algorithm} draws nothing from latents")
    found = weights.read_like(folder / WEIGHTS, _flat(like.ema))
    if _digest(folder / WEIGHTS) != told["sha256"]:
        raise UserError(
            f"{folder / WEIGHTS}: damaged, or not the one that {path} is of: its SHA-256 is another"
        )
    arrays = {name: jnp.asarray(x) for name, x in found.items()}
    tree = traverse_util.unflatten_dict(arrays, sep=".")
    ema = like.ema.replace(params=tree.pop("params"), stats=tree)
    return config, algorithm, bare(like, ema, told["step"])


def bare(like: PyTree, ema: Average, step: int) -> PyTree:
    """An algorithm's state with nothing in it but its average and its step."""
    kept: dict[str, Any] = {"step": jnp.int32(step), "ema": ema}
    for field in dataclasses.fields(like):
        empty = None
        if isinstance(getattr(like, field.name), Player | Average):
            kind = type(getattr(like, field.name))
            empty = kind(**{part.name: {} for part in dataclasses.fields(kind)})
        kept.setdefault(field.name, empty)
    return like.replace(**kept)


def _flat(average: Average) -> dict[str, Any]:
    return traverse_util.flatten_dict({"params": average.params, **average.stats}, sep=".")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --------------------------------------------------------------------------------------------------
# What is written in config.json


def _told(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise UserError(f"{path}: has more than the {LARGEST_CONFIG:,} bytes that are read")
        told = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise UserError(f'{path}: is not of the format "{FORMAT}", which export writes')
    if told.get("version") != VERSION:
        raise UserError(
            f"{path}: is of version {str(told.get('version'))[:20]!r} of the format; this jaxgan, "
            f"{jaxgan.__version__}, reads {VERSION}"
        )
    if told.keys() != KEYS:
        odd = sorted(map(str, told.keys() ^ KEYS))[0]
        wrong = "is missing" if odd in KEYS else "is none of its keys"
        raise UserError(f"{path}: {odd[:80]!r} {wrong}; those are {', '.join(sorted(KEYS))}")
    if type(told["step"]) is not int or not 0 <= told["step"] < 2**31:
        raise UserError(f"{path}: step: {str(told['step'])[:20]!r} is not a number of steps")
    return told


def _config(settings: PyTree, path: Path) -> ConfigDict:
    otherwise = f"{path}: config: is not the resolved config of a run"
    try:
        config = experiment.config_of(settings, path, otherwise)
        _check_derived(config.derived.to_dict(), path)
    except UserError:
        raise
    except Exception as error:  # ConfigDict raises many things
        raise UserError(f"{otherwise} ({type(error).__name__})") from error
    if config.seeds != 1 or config.sweep:
        raise UserError(f"{path}: config: is of several seeds, of which export takes one")
    return config


def _check_derived(derived: dict[str, Any], path: Path) -> None:
    """Raises UserError where numbers that resolve works out are none that it could."""
    shape, names, count = derived["image_shape"], derived["class_names"], derived["num_classes"]
    whole = lambda value, low: type(value) is int and low <= value < 2**31  # noqa: E731
    axes = isinstance(shape, list) and 1 <= len(shape) <= 3
    data = derived.get("data")
    right = {
        "image_shape": axes and all(whole(n, 1) for n in shape) and math.prod(shape) < 2**31,
        "num_classes": whole(count, 0),
        "class_names": isinstance(names, list)
        and all(isinstance(each, str) for each in names)
        and len(names) == count,
        "num_examples": whole(derived["num_examples"], 0),
        "images_per_step": whole(derived["images_per_step"], 1),
        "data": isinstance(data, dict)
        and (not data.get("sound") or (axes and _is_of_sounds(data["sound"], shape))),
    }
    for key, good in right.items():
        if not good:
            raise UserError(f"{path}: config.derived.{key}: what is there cannot be")


def _is_of_sounds(sound: Any, shape: list[int]) -> bool:
    """Whether what is told of the data's sounds is enough to hear the generator's."""
    if not isinstance(sound, dict) or not {"mean", "deviation", "rate"} <= sound.keys():
        return False
    side = shape[0] if len(shape) == 3 else math.isqrt(shape[0])
    rows = all(
        isinstance(row, list)
        and len(row) == side
        and all(type(x) is float and abs(x) < 100 for x in row)
        for row in (sound["mean"], sound["deviation"])
    )
    right = len(shape) == 3 or sound.get("samples") == side * side == shape[0]
    return rows and right and type(sound["rate"]) is int and 0 < sound["rate"] < 2**20
