"""The commands that train a run anew and draw from it."""

import functools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import jaxgan
from jaxgan.config import differences, flatten, load
from jaxgan.errors import UserError
from jaxgan.rules import OPEN, RULES

CONFIGS = Path(jaxgan.__file__).parents[1] / "configs"
FROM_IMAGES = ("inpaint", "pix2pix", "cyclegan", "style")  # algorithms that sample nothing


def training(config: ConfigDict, workdir: str) -> str | None:
    """`python train.py ...` with the settings of `config`, by the config file nearest to it.

    A run does not know by which file it was started. None where no file and overrides give its
    settings, or where the files are not there, as in an installed package.
    """
    settings = _own(config)
    nearest = sorted(
        (len(_differing(base, settings)), path.stem == "default", str(path), path)
        for path in sorted(CONFIGS.glob("*.py"))
        if (base := _of_file(path)) is not None
    )
    for *_, path in nearest[:1]:
        base = _of_file(path)
        assert base is not None  # it was found
        changed = _overrides(base, settings)
        try:
            again = _own(load(path, changed))
        except UserError:
            return None
        if _differing(again, settings):
            return None
        options = [f"--config.{each}" for each in changed]
        words = ["python", "train.py", "--config", f"configs/{path.name}", "--workdir", workdir]
        return _typed([*words, *options])
    return None


def sampling(config: ConfigDict, workdir: str) -> str:
    verb = "reconstruct" if config.algorithm in FROM_IMAGES else "sample"
    words = ["python", "-m", "jaxgan", verb, "--workdir", workdir]
    return _typed([*words, "--num", "64", "--out", f"{verb}.png"])


def _typed(words: Sequence[str]) -> str:
    """A line for a shell."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Values are Python's and so have single quotes, around which double ones are easier to read
    than what shlex makes of them."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!\n') else shlex.quote(word)


@functools.cache
def _of_file(path: Path) -> dict[str, Any] | None:
    try:
        return _own(load(path))
    except UserError:  # it needs what is not there
        return None


def _own(config: ConfigDict) -> dict[str, Any]:
    """Without what is derived, with lists where JSON has them."""
    return {key: value for key, value in _plain(config.to_dict()).items() if key != "derived"}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value


def _differing(base: Mapping, settings: Mapping) -> dict[str, list]:
    serious, harmless = differences(base, settings)
    return serious | harmless


def _overrides(base: Mapping, settings: Mapping) -> list[str]:
    """The "KEY=VALUE"s that make `settings` of `base`."""
    chosen: dict[str, Any] = {}
    for key in _differing(base, settings):
        parts = key.split(".")  # a key of a free section, or of a schedule, is set with all of that
        prefixes = [".".join(parts[: n + 1]) for n in range(len(parts))]
        known = next((each for each in prefixes if each in OPEN or each in RULES), key)
        chosen[known] = _at(settings, known)
    return [f"{key}={value}" for key, value in chosen.items()]


def _at(settings: Any, key: str) -> Any:
    for part in key.split("."):
        settings = settings.get(part, {}) if isinstance(settings, Mapping) else {}
    return settings


def flat(config: ConfigDict) -> dict[str, Any]:
    """KEY.KEY: value, of a run's settings."""
    return dict(flatten(_own(config)))
