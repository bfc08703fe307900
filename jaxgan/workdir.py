"""A run's folder: held by one process at a time, and what has happened to it in history.jsonl."""

import contextlib
import datetime
import fcntl
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgan.errors import UserError

BEAT = 3.0  # seconds between signs of life of the process that holds the folder
PATIENCE = 20.0  # seconds without one, after which a lock from another machine is stale


def folder_at(name: str | os.PathLike) -> Any:
    """A Path, or one of etils.epath for gs://...; raises UserError where nothing opens that."""
    if "://" not in str(name):
        return Path(name)
    from etils import epath  # here: few runs are elsewhere

    try:
        folder = epath.Path(name)
        folder.exists()
    except (ImportError, KeyError, ValueError, NotImplementedError) as error:
        raise UserError(f"{name}: cannot be opened: {str(error).strip()}") from error
    return folder


class Mirror:
    """A folder on this machine with a run's small files, where the run's own folder is elsewhere
    (gs://...), or is another process's to write to."""

    SMALL = ("config.json", "metrics.jsonl", "history.jsonl")

    def __init__(self, home: Any, folder: Path, writes: bool):
        self.home, self.folder, self.writes = home, folder, writes
        self._there: dict[Path, tuple[int, int]] = {}  # what was copied: its time and size

    def pull(self) -> None:
        """The files that a run goes on from; those of elsewhere as they are now."""
        if self.folder == self.home:
            return
        for name in self.SMALL:
            if (self.home / name).exists():
                (self.folder / name).write_bytes((self.home / name).read_bytes())

    def push(self, last: bool = True) -> None:
        """Copies what is new or has changed; but for the last time, a failure is only told."""
        if self.folder == self.home or not self.writes:
            return
        try:
            self._copy()
        except Exception as error:  # whatever a file system elsewhere raises
            if last:
                raise UserError(f"{self.home}: cannot be written: {error}") from error
            print(f"warning: {self.home}: not written for now: {error}", file=sys.stderr)

    def _copy(self) -> None:
        for path in sorted(self.folder.rglob("*")):
            status = path.stat()
            state = status.st_mtime_ns, status.st_size
            if path.name.startswith(".") or path.is_dir() or self._there.get(path) == state:
                continue
            target = self.home / path.relative_to(self.folder).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            self._there[path] = state


@contextlib.contextmanager
def at_hand(home: Any, first: bool) -> Iterator[Mirror]:
    """Where a process writes a run's small files: in its folder, if that is on this machine and the
    process is the first; else in a temporary one."""
    if first and isinstance(home, Path):
        yield Mirror(home, home, writes=True)
        return
    with tempfile.TemporaryDirectory(prefix="jaxgan-") as folder:
        yield Mirror(home, Path(folder), writes=first)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds `folder`, which is there, for this process; raises UserError while another one does.

    On one machine the system's lock on the file `.lock` decides, which ends with its process,
    however that ends. Network file systems may not carry that lock from one machine to another: a
    lock that another machine wrote is watched for as long as its owner would take to show a sign of
    life (a new time on the file), and is stale if there is none.
    """
    path = folder / ".lock"
    while True:
        with open(path, "a+") as file:
            locked = True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _refusal(folder, _owner(path)) from None
            except OSError:  # a file system without locks: signs of life are all there is
                locked = False
            try:
                if not os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                    continue
            except FileNotFoundError:  # the one before has just ended, and removed it
                continue
            owner = _owner(path)
            doubtful = bool(owner) and (owner.get("machine") != _machine() or not locked)
            if doubtful:
                _wait_for_sign(folder, path, owner)
            with _owned(folder, path, settle=doubtful or not locked):
                yield
            return


def record(folder: Path, event: str, **details: Any) -> None:
    """Append what has happened to history.jsonl: one object a line, with the time in UTC.

    No run ends because its history cannot be written.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "event": event, **details}) + "\n"
    path = folder / "history.jsonl"
    try:
        with open(path, "ab+") as file:
            if file.tell():  # a line that was torn by the end of its process ends here
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write(line.encode())
    except OSError as error:
        print(f"warning: {path}: cannot be written: {error.strerror}", file=sys.stderr)


def _machine() -> str:
    """This machine, since it was started last."""
    boot = ""
    with contextlib.suppress(OSError):  # Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()} {boot}".strip()


def _owner(path: Path) -> dict[str, Any]:
    """Who wrote the lock; empty if that cannot be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        owner = json.loads(path.read_text())
        if isinstance(owner, dict):
            return owner
    return {}


def _refusal(folder: Path, owner: Mapping[str, Any]) -> UserError:
    who = "process {pid} on {host}, since {since}"
    unknown = {"pid": "(unknown)", "host": "an unknown host", "since": "an unknown time"}
    return UserError(
        f"--workdir: {folder} is in use by {who.format(**{**unknown, **owner})}; stop that one "
        f"first, or name another --workdir"
    )


def _wait_for_sign(folder: Path, path: Path, owner: Mapping[str, Any]) -> None:
    """Returns if the lock's owner shows no sign of life, raises UserError at the first one."""

    def sign() -> int:
        with open(path) as file:  # opened anew: NFS asks its server then
            return os.fstat(file.fileno()).st_mtime_ns

    first, deadline = sign(), time.monotonic() + PATIENCE
    print(
        f"{folder} was last used on {owner.get('host')}: waiting {PATIENCE:.0f} s for a sign that "
        f"it still is",
        flush=True,
    )
    while time.monotonic() < deadline:
        time.sleep(BEAT / 6)
        if sign() != first:
            raise _refusal(folder, owner)


@contextlib.contextmanager
def _owned(folder: Path, path: Path, settle: bool) -> Iterator[None]:
    """The lock with this process's name in it, and signs of life; removed at the end."""
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    host, pid = socket.gethostname(), os.getpid()
    mine = {"host": host, "pid": pid, "since": since, "machine": _machine()}
    path.write_text(json.dumps(mine))
    if settle:  # two machines may have found the same stale lock: the last one to write has it
        time.sleep(BEAT)
        if _owner(path) != mine:
            raise _refusal(folder, _owner(path))
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            owner = _owner(path)
            if owner and owner != mine:  # this process stood still, and was taken for dead
                os.write(2, f"\nerror: {_refusal(folder, owner)}\n".encode())
                os._exit(2)
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _owner(path) == mine:
            path.unlink(missing_ok=True)
