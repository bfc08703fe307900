"""The command line. `python -m jaxgan VERB`; what it shares with train.py is here."""

import itertools
import sys
from collections.abc import Callable

from jaxgan.errors import UserError


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
