"""The one exception that reaches the user as a sentence instead of a traceback."""

import difflib
from collections.abc import Mapping
from typing import Any


class UserError(Exception):
    """A mistake of the user's: one sentence with the key or file, what is wrong, what is right.

    The front doors (train.py and the command line) print it and exit with code 2.
    """


def lookup(table: Mapping[str, Any], name: str, key: str) -> Any:
    """`table[name]`; a UserError that names `key` and lists what exists if it is not there."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UserError(f"{key}: there is no {name!r}{hint}; there are: {', '.join(sorted(table))}")
