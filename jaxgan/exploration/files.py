"""Latents and directions in files: a .npz of numbers, which is read without unpickling anything.

They mean something to one generator: `origin`, 16 hexadecimal digits, says which.
"""

import sys
from pathlib import Path

import numpy as np

from jaxgan import weights, writer
from jaxgan.errors import UserError
from jaxgan.typing import Float, Int


def write_arrays(path: Path, origin: str, **arrays: np.ndarray) -> None:
    arrays["origin"] = np.frombuffer(bytes.fromhex(origin), np.uint8)
    with writer.whole_file(path) as partial, open(partial, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def read_latents(
    path: Path, z_dim: int, num_classes: int, origin: str
) -> tuple[Float[np.ndarray, "n z"], Int[np.ndarray, " n"]]:
    """`z` and `labels` (0 without classes), as `invert` writes them; a warning is printed where
    they are of another generator.

    Raises UserError where they are not there, or not of a run with such latents and classes.
    """
    tensors = weights.read_tensors(path)
    z = _rows(path, tensors, "z", z_dim, origin)
    labels = tensors.get("labels", np.zeros(len(z), np.int32))
    if "labels" not in tensors and num_classes:
        raise UserError(f"--latents: {path} has no labels, and the run is of {num_classes} classes")
    if labels.shape != (len(z),) or labels.dtype.kind not in "iu":
        raise UserError(f"--latents: {path}: labels should be {len(z)} whole numbers")
    if not np.isin(labels, np.arange(max(num_classes, 1))).all():
        raise UserError(f"--latents: {path}: its labels are not of the run's {num_classes} classes")
    return z, labels.astype(np.int32)


def read_directions(path: Path, z_dim: int, origin: str) -> Float[np.ndarray, "n z"]:
    """`directions`, as the verb of that name writes them. Warns and raises as `read_latents`."""
    return _rows(path, weights.read_tensors(path), "directions", z_dim, origin)


def _rows(
    path: Path, tensors: dict[str, np.ndarray], name: str, z_dim: int, origin: str
) -> np.ndarray:
    flag = "latents" if name == "z" else name
    if name not in tensors:
        there = ", ".join(tensors)[:80]
        raise UserError(f"--{flag}: {path} has no array {name}; it has: {there}")
    found = tensors[name]
    if found.ndim != 2 or found.shape[1] != z_dim or not len(found):
        raise UserError(
            f"--{flag}: {path}: {name} is of shape {found.shape}, and the run's latents have "
            f"{z_dim} dimensions"
        )
    if found.dtype.kind != "f" or not np.isfinite(found).all():
        raise UserError(f"--{flag}: {path}: {name} should be finite floating-point numbers")
    theirs = tensors.get("origin")
    if theirs is not None and theirs.tobytes().hex() != origin:
        print(
            f"warning: --{flag}: {path} is of another generator, and means nothing to this one",
            file=sys.stderr,
        )
    return found.astype(np.float32)
