"""Checkpoints with Orbax, one folder a step; the only room that imports it.

Orbax writes in the background into a temporary folder and renames it when it is whole, so a killed
run leaves the earlier checkpoints as they were. What Orbax lacks is here: it finds no flipped bit,
takes a folder's name for its content, and casts to other dtypes in silence. So each folder holds
`manifest.json`, written before the renaming: the step, the size and SHA-256 of every file, and what
the run wants to know of it later. Nothing is restored that does not agree with its manifest.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import jax
import orbax.checkpoint as ocp

from jaxgan.errors import UserError
from jaxgan.typing import Folder, PyTree

MANIFEST = "manifest.json"
DELETED = ".deleted"
# Of a failing disk, and of names that no file has; other errors may pass.
BROKEN = (errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP)
# Orbax writes these two after the manifest; there are no arrays in them.
UNLISTED = {MANIFEST, "_CHECKPOINT_METADATA", "commit_success.txt"}


class Damaged(UserError):
    """A checkpoint that is not what was saved."""


class Restored(NamedTuple):
    step: int
    state: PyTree
    info: dict[str, Any]  # what it was saved with
    damaged: dict[int, str]  # newer steps, and what is wrong with each


class Checkpoints:
    """The checkpoints in `folder`, of which the newest `keep` stay; 0: only to read from.

    To write takes that no other run writes there: what a killed one left unfinished is removed. Of
    several processes that train together each calls the same, and writes its own part of a state;
    the first does the rest.
    """

    def __init__(self, folder: Folder, keep: int = 0, of_first: Callable = lambda make: make()):
        """`of_first(make)`: what `make` gives in the first process, which decides for all."""
        for name in ("absl", "asyncio"):  # Orbax tells of each file it opens, and fails at length
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.folder, self._keep = folder.absolute(), keep
        self._local = isinstance(folder, Path)  # or one of etils.epath, as for gs://
        self._first = jax.process_index() == 0
        self._info: dict[str, Any] = {}
        self._of_first = of_first
        if keep and self._first:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._tidy_up()
        self._meet("opened")
        self._manager = ocp.CheckpointManager(
            self.folder,
            item_handlers=ocp.StandardCheckpointHandler(),  # so that it can read metadata
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep or None,
                # A folder is renamed first, for a kill may come while its files are removed.
                todelete_subdir=DELETED if keep and self._local else None,
                create=False,
                read_only=not keep,
                lightweight_initialize=True,  # damaged metadata of one step are no one else's
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
            ),
        )

    def steps(self) -> list[int]:
        """Steps that have a folder, whatever is in it."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree, **info: Any) -> None:
        """Begin to save; the state may be donated as soon as this returns.

        A step that is there already is left as it is. `info`, of JSON's types, is kept beside the
        state. Raises UserError where this or the save before cannot be written.
        """
        if step in self._manager.all_steps():
            return
        self.wait()
        self._info = {"step": step, **info}
        with self._as_user_error():
            # Asked before, for TensorStore fails on a full disk with pages of tracebacks.
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
            free = shutil.disk_usage(self.folder).free if self._local else size
            if size > free:
                raise OSError(f"it takes {size / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free")
            if not self._manager.save(step, args=ocp.args.StandardSave(_filled(state))):
                raise ValueError(f"step {self.steps()[-1]:,} is there, and comes after it")

    def check(self) -> None:
        """Raises UserError where a save in the background has failed by now."""
        if not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Wait until all that was begun is on the disk. Raises UserError where it cannot be."""
        with self._as_user_error():
            self._manager.wait_until_finished()
        self._tidy_up()

    def newest(self, like: PyTree) -> Restored | None:
        """The newest checkpoint that agrees with its manifest; None where there is no folder.

        Raises UserError where there are folders, but all are damaged.
        """
        whole, damaged = self._of_first(lambda: self._newest_whole(like))
        if whole:
            return Restored(whole[0], *self.restore(whole[0], like), dict(damaged))
        if not damaged:
            return None
        listed = "; ".join(text for _, text in damaged)
        raise UserError(f"{self.folder}: no checkpoint is whole; nothing was changed: {listed}")

    def _newest_whole(self, like: PyTree) -> tuple[list[int], list[list]]:
        """Its step, if there is one, and what is wrong with each of the newer ones."""
        damaged: list[list] = []
        for step in reversed(self.steps()):
            try:
                self._check(step, like)
            except Damaged as error:
                damaged.append([step, str(error)])
            else:
                return [step], damaged
        return [], damaged

    def restore(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """The state at `step`, with the structure, shapes, dtypes and shardings of `like`, and what
        was saved beside it.

        Raises UserError where that step is not there or holds another state; Damaged where it is
        not what was saved.
        """
        info = self._check(step, like)
        try:
            restore = ocp.args.StandardRestore(_filled(like))
            state = self._manager.restore(step, args=restore)
        except Exception as error:  # no damage: the files are as they were saved
            raise UserError(f"{self.folder / str(step)}: cannot be read: {_line(error)}") from error
        if dataclasses.is_dataclass(like):
            state = cast(Any, dataclasses.replace)(like, **state)
        return state, info

    def _check(self, step: int, like: PyTree) -> dict[str, Any]:
        """What was saved beside the state of `step`. Raises as `restore` does."""
        if step not in self.steps():
            have = ", ".join(f"{s:,}" for s in self.steps()) or "none"
            raise UserError(f"{self.folder}: no checkpoint of step {step:,}; there are: {have}")
        info = self.info(step)
        try:
            metadata = self._manager.item_metadata(step)
        except Exception as error:  # whatever Orbax makes of broken metadata
            raise Damaged(f"{self.folder / str(step)}: cannot be read: {_line(error)}") from error
        if metadata is None:
            raise Damaged(f"{self.folder / str(step)}: Orbax finds no state in it")
        # Orbax casts other dtypes in silence, and other shapes end in its own traceback.
        stored = _signature(metadata)
        wanted = _signature(like)
        if stored != wanted:
            name = sorted(k for k in stored | wanted if stored.get(k) != wanted.get(k))[0]
            raise UserError(
                f"{self.folder / str(step)}: holds another state: {name} is "
                f"{stored.get(name, 'absent')} there, {wanted.get(name, 'absent')} here"
            )
        return info

    def info(self, step: int) -> dict[str, Any]:
        """What was saved beside the state of `step`, whose files are all checked.

        Raises Damaged where one is not as it was saved.
        """
        folder = self.folder / str(step)
        files, info = _read_manifest(folder)
        if info.get("step") != step:
            raise Damaged(f"{folder}: holds step {info.get('step')!r}, not what its name says")
        for name, (size, digest) in files.items():
            path = folder / name
            try:
                if not path.is_file():
                    raise Damaged(f"{folder}: the file {name!r} is missing")
                if _digest(path) != (size, digest):
                    raise Damaged(f"{folder}: the file {name!r} is not as it was saved")
            except OSError as error:
                kind = Damaged if error.errno in BROKEN else UserError
                raise kind(f"{folder}: {name!r} cannot be read: {error.strerror}") from error
        return info

    def set_aside(self, step: int) -> Folder:
        """Move the step's folder out of the way, to damaged/ beside `folder`; where it is then."""
        folder, place = self.folder / str(step), self.folder.parent / "damaged"
        name = f"{self.folder.name}-{step}"
        self._meet("read")
        if self._first:
            place.mkdir(exist_ok=True)
            while (place / name).exists():
                name += "x"
            if self._local:
                folder.rename(place / name)
            else:  # object stores have no folders to rename
                for path in _files(folder):
                    copy = place / name / path.relative_to(folder).as_posix()
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(path.read_bytes())
                folder.rmtree()
        self._meet("moved")
        self._manager.reload()
        return place / self._of_first(lambda: name)

    def remove(self, step: int) -> None:
        self._manager.delete(step)
        self._tidy_up()

    def close(self) -> None:
        """Errors of the last save are `wait`'s to tell."""
        with contextlib.suppress(Exception):
            self._manager.close()
        self._tidy_up()

    @contextlib.contextmanager
    def _as_user_error(self):
        try:
            yield
        except Exception as error:  # TensorStore tells of a full disk by exceptions of its own
            self._tidy_up()  # it may be what fills the disk
            self._manager.reload()  # Orbax has forgotten the step that it was to delete
            raise UserError(
                f"{self.folder}: the checkpoint of step {self._info['step']:,} cannot be written: "
                f"{_line(error)}; the earlier ones are whole"
            ) from error

    def _meet(self, where: str) -> None:
        """Waits for the other processes."""
        if self._keep and jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(f"jaxgan {self.folder} {where}")

    def _tidy_up(self) -> None:
        if self._keep and self._first:  # what a reader sees is another's
            if not self._local:
                return  # Orbax itself gives no name to what is unfinished there, and deletes
            _sync(self.folder)  # the new folder's name, before the old one's files go
            for path in (*self._unfinished(), self.folder / DELETED):
                shutil.rmtree(path, ignore_errors=True)

    def _unfinished(self) -> list[Folder]:
        return [p for p in self.folder.glob("*.orbax-checkpoint-tmp*") if p.is_dir()]

    def _write_manifest(self) -> None:
        """Called by Orbax when the state is written by all, before the folder gets its name."""
        # Object stores do not rename: there Orbax writes where the folder will be.
        for folder in self._unfinished() or [self.folder / str(self._info["step"])]:
            files = sorted(_files(folder))
            names = {p: p.relative_to(folder).as_posix() for p in files}
            listed = {
                name: list(_digest(path)) for path, name in names.items() if name not in UNLISTED
            }
            content = {"files": listed, "info": self._info}
            manifest = {"content": content, "sha256": _json_digest(content)}
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
            if self._local:
                for path in (*folder.rglob("*"), folder):  # Orbax sees to the arrays only
                    _sync(path)


def _read_manifest(folder: Folder) -> tuple[dict[str, list], dict[str, Any]]:
    """The files with their sizes and digests, and the info. Raises Damaged."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            text = file.read(2**26 + 1)
        if len(text) > 2**26:
            raise ValueError("it is longer than 64 MiB")
        manifest = json.loads(text)
        if manifest["sha256"] != _json_digest(manifest["content"]):
            raise ValueError("it does not agree with its own checksum")
        files, info = manifest["content"]["files"], dict(manifest["content"]["info"])
        for name, (size, digest) in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{name!r} lies outside the folder")
            if type(size) is not int or type(digest) is not str:
                raise ValueError(f"{name!r} has no size and checksum")
        if not files:
            raise ValueError("it lists no file")
        return files, info
    except FileNotFoundError:
        raise Damaged(f"{folder}: there is no {MANIFEST} in it") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{folder / MANIFEST}: cannot be used: {_line(error)}") from error


def _files(folder: Folder) -> Iterator[Folder]:
    for path in folder.iterdir():  # etils.epath has no rglob
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _sync(path: Folder) -> None:
    """Returns when a file, or the names in a folder, will outlast a power cut."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _json_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(path: Folder) -> tuple[int, str]:
    """A file's size and SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def _line(error: Exception) -> str:
    if "No space left" in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
        return "no space is left on the disk"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _filled(state: PyTree) -> PyTree:
    """What is stored of a state: its fields that hold an array. States of earlier versions did not
    have the others."""
    if not dataclasses.is_dataclass(state):
        return state
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in fields.items() if jax.tree.leaves(value)}


def _signature(tree: PyTree) -> dict[str, str]:
    """The shape and dtype of each leaf, by its path."""
    signature = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):  # stored as its integers
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        signature[name] = f"{leaf.dtype}{list(leaf.shape)}"
    return signature


def judged_by(
    best: Checkpoints, step: int, told: Mapping[str, Any], direction: int
) -> tuple[bool, list[tuple[int, str]], list[int]]:
    """Whether the state of `step`, of which this is `told`, is the best so far; the damaged
    checkpoints there, with reasons; and the steps of a path left or to come.

    `direction` is 1 where a larger `value` is better, else -1.
    """
    damaged, removed = list[tuple[int, str]](), list[int]()
    for other in best.steps():
        try:
            there = best.info(other)
        except Damaged as error:
            damaged.append((other, str(error)))
            continue
        alike = all(there.get(key) == told[key] for key in ("metric", "protocol"))
        cost, mine = -direction * there["value"] if alike else math.inf, -direction * told["value"]
        if cost == mine or (cost < mine and other < step):
            return False, damaged, removed
        if other >= step:
            removed.append(other)
    return True, damaged, removed
