"""What the scripts beside this file share: the form of their JSON."""

import json
import re


def write(path, numbers):
    """One line for each innermost list; floats with 9 digits, which float32 has."""
    text = json.dumps(_plain(numbers), indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]).replace("[ ", "["), text)
    path.write_text(text.replace(" ]", "]") + "\n")


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return float(f"{value:.9g}") if isinstance(value, float) else value
