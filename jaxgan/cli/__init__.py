"""The command line. `python -m jaxgan VERB`; what it shares with train.py is here."""

import hashlib
import itertools
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from jaxgan.errors import UserError

_KEPT = "JAX_COMPILATION_CACHE_DIR"


def run(command: Callable[[], int]) -> int:
    """The command's exit code; a UserError or OSError is printed as one sentence and gives 2.

    Training ends cleanly at the first Ctrl-C by itself; here arrive those before and the second.
    """
    try:
        return command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped at once", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough; training goes on by itself
        sys.stderr.close()
        return 0
    except MemoryError as error:
        print(f"error: the memory does not suffice; ask for less ({error})", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a file that may not be read
        print(f"error: {error}", file=sys.stderr)
        return 2


def split_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments without --config.KEY=VALUE (or --config.KEY VALUE), and the "KEY=VALUE"s."""
    own, overrides = [], []
    rest = iter(arguments)
    for argument in rest:
        name, separator, value = argument.partition("=")
        prefix = next((p for p in ("--config.", "-config.") if name.startswith(p)), None)
        if prefix is None:
            own.append(argument)
        elif separator:
            overrides.append(f"{name.removeprefix(prefix)}={value}")
        else:
            overrides.append("=".join([name.removeprefix(prefix), *itertools.islice(rest, 1)]))
    return own, overrides


def keep_compiled() -> None:
    """Lets JAX keep what it compiles in the user's cache folder, so that a second start is quick.

    To be called before JAX is imported. JAX_COMPILATION_CACHE_DIR, if set, says where; empty, that
    nothing is kept. A folder is for one kind of processor: a home folder may be of many machines,
    and programs for CPU are not for all.
    """
    if _KEPT in os.environ:
        if not os.environ[_KEPT]:
            del os.environ[_KEPT]  # to JAX it would be a folder without a name
        return
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        able = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):  # another system than Linux
        able = platform.processor()
    kind = hashlib.sha256(f"{platform.machine()} {able}".encode()).hexdigest()[:16]
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        folder = caches / "jaxgan" / "compiled" / kind
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a home that may not be written to, or none
        return
    if os.access(folder, os.W_OK):
        os.environ[_KEPT] = str(folder)
