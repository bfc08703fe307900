"""The user's files at gs://... or whatever etils.epath opens: copied to this machine, once.

Readers of images and of ArrayRecord want files of this machine. A copy is known by the names and
sizes of what it was made of, and another is made where these have changed; not where files of the
same sizes have taken their places.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from jaxgan.errors import UserError


def fetched(name: str, directory: Path) -> Path:
    """The file or folder `name`; of one elsewhere the copy in `directory`. Raises UserError."""
    if "://" not in name:
        return Path(name).expanduser()
    from etils import epath  # here: few runs need them

    from jaxgan.data.writing import once

    try:
        there = epath.Path(name)
        files = _files(there)
    except (ImportError, KeyError, ValueError, NotImplementedError, OSError) as error:
        raise UserError(f"data.path: {name} cannot be opened: {str(error).strip()}") from error
    if not files:
        raise UserError(f"data.path: there is no {name}")
    known = json.dumps([name, sorted((part, size) for part, (_, size) in files.items())])
    target = directory / "elsewhere" / hashlib.sha256(known.encode()).hexdigest()[:16]
    once(target, lambda made: _copy(files, made))
    return target / there.name


def _files(there: Any) -> dict[str, tuple[Any, int]]:
    """By the names that they get, each with its size."""
    if not there.is_dir():
        return {there.name: (there, there.stat().length)} if there.exists() else {}
    found: dict[str, tuple[Any, int]] = {}
    for path in there.iterdir():
        found |= {f"{there.name}/{name}": file for name, file in _files(path).items()}
    return found


def _copy(files: dict[str, tuple[Any, int]], target: Path) -> None:
    for name, (path, size) in files.items():
        if ".." in Path(name).parts:
            raise UserError(f"data.path: {path} lies outside the folder")
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source, open(copy, "wb") as file:
            shutil.copyfileobj(source, file, 2**24)
        if copy.stat().st_size != size:
            raise UserError(f"data.path: {path} is cut short; try again")
