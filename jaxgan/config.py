"""Configs: reading a file with overrides, checking it, and working out all that follows from it.

`configs/default.py` explains the keys. A config file is Python code and is run as such.
"""

import ast
import difflib
import importlib.util
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxgan.errors import UserError
from jaxgan.rules import COUNT, EARLIER, HARMLESS, NETWORKS, OPEN, PENALTIES, RULES, WEIGHT


def load(path: str | Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config that the file's `get_config()` returns, with overrides such as "steps=100".

    Raises UserError for a file that is not there or does not run, an unknown key, or a value of
    another type than the key's.
    """
    path = Path(path)
    if not path.is_file():
        near = difflib.get_close_matches(path.stem, [p.stem for p in path.parent.glob("*.py")], n=1)
        hint = f"; did you mean {path.parent / near[0]}.py?" if near else ""
        raise UserError(f"--config: there is no file {path}{hint}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config: {path} is not a Python file (NAME.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
    except Exception as error:
        raise UserError(f"--config: {path} fails: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config: get_config() of {path} returns no ConfigDict")
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"--config.{key}: a value is missing; write --config.{key}=VALUE")
        _override(config, key, value)
    return config


def _override(config: ConfigDict, key: str, text: str) -> None:
    *parents, name = key.split(".")
    whole = key in OPEN and text.lstrip().startswith("{")
    if key not in RULES and not _is_open(key) and not _is_schedules(key) and not whole:
        raise _unknown(key)
    node: Any = config
    for parent in parents:
        if parents[0] == "sweep" and isinstance(node, ConfigDict) and parent not in node:
            with node.unlocked():
                node[parent] = ConfigDict()
        node = node.get(parent) if isinstance(node, ConfigDict) else None
    above = ".".join(parents)
    is_number = node is not None and not isinstance(node, ConfigDict)
    if is_number and (_is_schedules(key) or above.startswith(PENALTIES)):
        raise UserError(
            f"{key}: {above} is a number; for a section set it whole, as in "
            f"--config.{above}=\"{{'{name}': ...}}\""
        )
    if not isinstance(node, ConfigDict):
        raise _unknown(key)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = {"true": True, "false": False}.get(text.lower(), text)
    if whole and not isinstance(value, dict):
        raise _unknown(key)
    rule = RULES.get(key)
    if rule and rule.kind is str:
        value = text
    if rule and rule.scheduled and isinstance(value, dict):
        rule.check(key, value)
    elif rule and not rule.admits(value):
        raise UserError(f"{key}: {text!r} is not allowed; it must be {rule}")
    if rule and rule.kind is float and type(value) is int:
        value = float(value)
    with node.ignore_type(), node.unlocked():
        if isinstance(node.get(name), ConfigDict):  # which is replaced, not joined
            del node[name]
        try:
            node[name] = ConfigDict(value) if isinstance(value, dict) else value
        except ValueError as error:  # dots in names
            raise UserError(
                f"{key}: {text!r} is not allowed; a section's key has no dots"
            ) from error


def flatten(config: Mapping | ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("data.name", value) for each leaf; an empty open section gives nothing."""
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def validate(config: ConfigDict, complete: bool = True) -> None:
    """Raises UserError for the first key that is unknown, missing or has an impossible value.

    Names (of a model, a loss, a data set) are checked where they are looked up. Without `complete`
    harmless keys may be missing, as they are in the runs of versions that had none.
    """
    leaves, missing = dict(flatten(config)), object()
    for key in leaves:
        if key not in RULES and not _is_open(key) and not _is_schedules(key):
            raise _unknown(key)
    for key, rule in RULES.items():
        value = _get(config, key, missing)
        if value is missing:
            if not complete and key in HARMLESS:
                continue
            raise UserError(f"{key}: this key is missing; configs/default.py has it")
        rule.check(key, value)
    for section in PENALTIES:
        for name, value in _get(config, section, {}).items():
            _check_penalty(f"{section}.{name}", value)
    if config.seed + config.seeds > 2**32:
        raise UserError(f"seed: with seeds={config.seeds} it is at most {2**32 - config.seeds:,}")
    for key, values in swept(config).items():
        _check_swept(config, key, values)
    for key in ("log_every", "sample_every", "evaluate_every", "checkpoint_every"):
        if leaves.get(key, 0) % leaves["steps_per_call"]:
            raise UserError(
                f"{key}: {leaves[key]} is not a multiple of steps_per_call, "
                f"{leaves['steps_per_call']}"
            )


def with_earlier(settings: Mapping[str, Any], earlier: Mapping[str, Any] = EARLIER) -> dict:
    """The settings of a run with those that versions before this one did not have."""
    return {
        **settings,
        **{
            key: with_earlier(settings.get(key, {}), value) if isinstance(value, dict) else value
            for key, value in earlier.items()
            if isinstance(value, dict) or key not in settings
        },
    }


def differences(
    there: Mapping | ConfigDict, here: Mapping | ConfigDict
) -> tuple[dict[str, list], dict[str, list]]:
    """The keys that differ between two resolved configs, with [value there, value here].

    First those that make another run, then the harmless ones. None stands for a missing key.
    """
    old, new = dict(flatten(there)), dict(flatten(here))
    differing = {k: [old.get(k), new.get(k)] for k in {**old, **new} if old.get(k) != new.get(k)}
    serious = {key: values for key, values in differing.items() if key not in HARMLESS}
    return serious, {key: values for key, values in differing.items() if key in HARMLESS}


def identity(config: ConfigDict, passed: Collection[str] = ()) -> dict[str, Any]:
    """What tells a run from others: its settings but for harmless ones, those `passed`, and keys
    that a run of an earlier version lacks."""
    earlier, passed = dict(flatten(EARLIER)), {*HARMLESS, *passed}
    own = {k: v for k, v in flatten(config.to_dict()) if k not in passed}
    return {k: v for k, v in own.items() if k not in earlier or earlier[k] != v}


def _check_penalty(key: str, value: Any) -> None:
    """A weight, or a section with a weight and settings of the penalty."""
    settings = isinstance(value, Mapping | ConfigDict) and "kind" not in value
    if settings and "weight" not in value:
        raise UserError(f"{key}.weight: this key is missing; a section of a penalty has its weight")
    WEIGHT.check(f"{key}.weight" if settings else key, value["weight"] if settings else value)
    if settings and "every" in value:
        COUNT.check(f"{key}.every", value["every"])


def _check_swept(config: ConfigDict, key: str, values: Any) -> None:
    """What may be a schedule may be swept, but for augment.p, with which a state may begin."""
    section, *rest = key.split(".")
    weight = len(rest) == 1 or (rest[1:] == ["weight"] and _get(config, key, None) is not None)
    rule = (WEIGHT if weight else None) if section in PENALTIES else RULES.get(key)
    if rule is None or not rule.scheduled or key == "augment.p":
        able = [name for name, rule in RULES.items() if rule.scheduled and name != "augment.p"]
        raise UserError(
            f"sweep: {key} cannot be swept; these can: penalties.NAME, {', '.join(able)}"
        )
    if isinstance(_get(config, key, 0.0), Mapping | ConfigDict):
        raise UserError(f"sweep: {key} is a section there; a number can be swept")
    each = values if isinstance(values, list | tuple) else []
    for value in each:
        if not rule.admits(value):
            number = rule._replace(scheduled=False)
            raise UserError(f"sweep: {key}: {value!r} is not allowed; it must be {number}")
    if not each or len(set(each)) < len(each):
        raise UserError(f"sweep: {key} takes a list of different numbers, not {values!r}")


def swept(config: ConfigDict) -> dict[str, Any]:
    """The values that numbers are swept over, by their keys."""
    return dict(flatten(_get(config, "sweep", {})))


def with_values(config: ConfigDict, values: Mapping[str, Any]) -> ConfigDict:
    """A copy of the config with other values at these keys."""
    changed = ConfigDict(config.to_dict(), type_safe=False)
    for key, value in values.items():
        *parents, name = key.split(".")
        node = changed
        for part in parents:
            node = node[part]
        node[name] = value
    return changed


def _get(config: Any, key: str, default: Any) -> Any:
    """The value or section `key`, or `default` where there is none."""
    for part in key.split("."):
        if not isinstance(config, Mapping | ConfigDict) or part not in config:
            return default
        config = config[part]
    return config


def _is_open(key: str) -> bool:
    return key.startswith(tuple(f"{section}." for section in OPEN))


def _is_schedules(key: str) -> bool:
    """Whether it lies in a section that may stand for a number."""
    above = key.rpartition(".")[0]
    return above in RULES and RULES[above].scheduled


def _unknown(key: str) -> UserError:
    if key in OPEN:
        ways = f"{key}.NAME=VALUE, or all of it, as in {key}={{}}"
        return UserError(f"{key}: this is a section; set what is in it, as in {ways}")
    known = [*RULES, *OPEN]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    near = near or [k for k in known if k.split(".")[-1] == key.split(".")[-1]]
    hint = f"; did you mean {near[0]}?" if near else "; configs/default.py lists all"
    return UserError(f"{key}: there is no such key{hint}")


def resolve(
    config: ConfigDict,
    num_examples: int,
    image_shape: Sequence[int],
    class_names: Sequence[str],
    details: Mapping[str, Any],
) -> ConfigDict:
    """A copy of the config with all that follows from it and the data, under `derived`.

    `num_examples`: 0 for data without end; `details`: what else tells the data from others. Raises
    UserError where config and data do not fit together.
    """
    if config.conditional and not class_names:
        raise UserError(f"conditional: the data set {config.data.name} has no labels")
    if num_examples and config.batch_size > num_examples:
        raise UserError(
            f"batch_size: {config.batch_size:,} is more than the {num_examples:,} examples of "
            f"{config.data.name} {config.data.split}"
        )
    images_per_step = config.n_critic * config.batch_size
    resolved = ConfigDict(config.to_dict())
    resolved.derived = ConfigDict(
        {
            "num_examples": num_examples,
            "image_shape": list(image_shape),
            "num_classes": len(class_names) if config.conditional else 0,
            "class_names": list(class_names) if config.conditional else [],
            "data": dict(details),
            "images_per_step": images_per_step,  # real images
            "kimg": config.steps * images_per_step / 1000,
        }
    )
    return resolved


def tiny(config: ConfigDict) -> ConfigDict:
    """The same experiment at a size for tests: a few steps of narrow networks on a few images, on
    one device."""
    small = ConfigDict(config.to_dict())
    small.parallel.data = 1
    small.steps, small.batch_size, small.z_dim = 4, 8, 8
    if (small.data.name, small.data.split) == ("fashion_mnist_mini", "train"):
        small.data.split = "train[:512]"
    small.steps_per_call = 2
    small.log_every = small.sample_every = small.checkpoint_every = 2
    small.evaluate_every, small.evaluation.samples = 4, 128
    small.accumulate = min(small.accumulate, 2)
    for network in (small.model[role] for role in NETWORKS):
        if "width" in network:
            network.width = 4
        for field, size in (("features", 8), ("widths", 8), ("cardinalities", 2)):
            if field in network:
                network[field] = (size,) * len(network[field])
    return small
