"""A run's folder: held by one process at a time, and what has happened to it in history.jsonl."""

import contextlib
import datetime
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgan.errors import UserError

BEAT = 3.0  # seconds between signs of life of the process that holds the folder
PATIENCE = 20.0  # seconds without one, after which a lock from another machine is stale


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
