"""Configs: reading a file with overrides, checking it, and working out all that follows from it.

`configs/default.py` explains the keys. A config file is Python code and is run as such.
"""

import ast
import difflib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxgan import schedules
from jaxgan.errors import UserError


class Rule(NamedTuple):
    """What a key's value must be: of `kind`, between `low` and `high`, or one of `among`.

    `scheduled`: a section may stand for the number, see schedules.py.
    """

    kind: type
    low: float | None = None
    high: float | None = None
    among: tuple[Any, ...] = ()
    scheduled: bool = False

    def admits(self, value: Any) -> bool:
        right = type(value) is self.kind or (self.kind is float and type(value) is int)
        if not right or (self.kind is float and not abs(value) <= sys.float_info.max):
            return False
        return bool(
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (not self.among or value in self.among)
        )

    def __str__(self) -> str:
        if self.among:
            return " or ".join(map(repr, self.among))
        text = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
        bounds = {"at least": self.low, "at most": self.high}
        limits = " and ".join(f"{word} {b:,}" for word, b in bounds.items() if b is not None)
        schedule = " (or a schedule of such numbers)" if self.scheduled else ""
        return f"{text[self.kind]} {limits}".strip() + schedule

    def check(self, key: str, value: Any) -> None:
        """Raises UserError for a value that is not right."""
        if self.scheduled and isinstance(value, Mapping | ConfigDict):
            for number in schedules.numbers(key, dict(value.items())):
                if not self.admits(number):
                    raise UserError(f"{key}: its {number} is not allowed; it must be {self}")
        elif not self.admits(value):
            raise UserError(f"{key}: {value!r} is not allowed; it must be {self}")


PLAYERS = ("generator", "discriminator")
EVALUATION = ("metrics", "split", "features", "weights", "sha256", "resize")  # texts
COUNT = Rule(int, 1, 2**31 - 1)
COUNT_OR_ZERO = Rule(int, 0, 2**31 - 1)
TEXT = Rule(str)
POSITIVE = Rule(float, 0)
WEIGHT = Rule(float, 0, scheduled=True)
DECAY = Rule(float, 0, 0.999999, scheduled=True)  # at 1 Adam divides by nothing

RULES: dict[str, Rule] = {
    "seed": Rule(int, 0, 2**32 - 1),
    "seeds": Rule(int, among=(1,)),
    "steps": COUNT,
    "batch_size": COUNT,
    "z_dim": COUNT,
    "conditional": Rule(bool),
    "algorithm": TEXT,
    "loss": TEXT,
    "n_critic": Rule(int, 1, 1000),
    "updates": Rule(str, among=("alternating", "simultaneous")),
    "accumulate": COUNT,
    "pack": COUNT,
    "latent": Rule(str, among=("normal", "uniform", "truncated")),
    "label_smoothing": Rule(float, 0, 0.5),
    "instance_noise": WEIGHT,
    "top_k": Rule(float, 0.01, 1, scheduled=True),
    "unrolled_steps": Rule(int, 0, 100),
    "class_loss.discriminator_weight": WEIGHT,
    "class_loss.generator_weight": WEIGHT,
    "class_loss.temperature": Rule(float, 0.01),
    "class_loss.margin": Rule(float, -1, 1),
    "steps_per_call": COUNT,
    "precision": Rule(str, among=("float32", "bfloat16")),
    **dict.fromkeys(("data.name", "data.dir", "data.path", "data.split"), TEXT),
    "data.image_size": Rule(int, 0, 4096),
    "data.flip": Rule(bool),
    "data.cache": Rule(str, among=("auto", "device", "host", "none")),
    "model.name": TEXT,
    **{
        f"optimizer.{player}.{key}": rule
        for player in PLAYERS
        for key, rule in {
            "name": TEXT,
            "learning_rate": WEIGHT,
            "b1": DECAY,
            "b2": DECAY,
            **dict.fromkeys(("clip_norm", "clip_value", "clip_weights"), POSITIVE),
        }.items()
    },
    "ema.halflife_kimg": WEIGHT,
    "ema.rampup": POSITIVE,
    "augment.policy": TEXT,
    "augment.p": Rule(float, 0, 1, scheduled=True),
    "augment.target": Rule(float, 0, 1),
    "augment.kimg": Rule(float, 0.001),
    "parallel.mode": Rule(str, among=("spmd", "replica")),
    "parallel.synchronise": Rule(bool),
    "parallel.data": COUNT_OR_ZERO,
    "parallel.fsdp": COUNT,
    **dict.fromkeys(("log_every", "sample_every", "checkpoint_every", "keep_checkpoints"), COUNT),
    "evaluate_every": COUNT_OR_ZERO,
    **{f"evaluation.{key}": TEXT for key in EVALUATION},
    "evaluation.samples": COUNT,
    "best_metric": TEXT,
    "on_nonfinite": Rule(str, among=("stop", "skip", "restore")),
    "nonfinite_attempts": COUNT,
}

# Their keys are names of penalties, fields of networks and arguments of optimisers, checked where
# those are looked up.
PENALTIES = ("penalties", "generator_penalties")
OPEN = (
    *PENALTIES,
    *(f"model.{player}" for player in PLAYERS),
    *(f"optimizer.{player}.arguments" for player in PLAYERS),
)

# What runs of versions that did not have these keys did.
EARLIER: dict[str, Any] = {
    "updates": "alternating",
    "accumulate": 1,
    "pack": 1,
    "latent": "normal",
    "label_smoothing": 0.0,
    "instance_noise": 0.0,
    "top_k": 1.0,
    "unrolled_steps": 0,
    "class_loss": {"margin": 0.98}
    | dict.fromkeys(("discriminator_weight", "generator_weight", "temperature"), 1.0),
    "generator_penalties": {},
    "optimizer": {
        player: {"clip_value": 0.0, "clip_weights": 0.0, "arguments": {}} for player in PLAYERS
    },
    "augment": {"kimg": 500.0},
    "parallel": {"synchronise": False},
}

# Keys that may change when a run goes on: they do not change what a step computes, or only how it
# rounds (parallel.data, on_nonfinite). What the data are, wherever they lie, is in derived.data.
HARMLESS = (
    *(f"data.{key}" for key in ("cache", "dir", "path")),
    *(f"parallel.{key}" for key in ("data", "fsdp")),
    "steps",
    "log_every",
    "sample_every",
    "evaluate_every",
    "checkpoint_every",
    "keep_checkpoints",
    "evaluation.samples",
    *(f"evaluation.{key}" for key in EVALUATION),
    "best_metric",
    "on_nonfinite",
    "nonfinite_attempts",
    "derived.kimg",
    "derived.epochs",  # of earlier versions
)


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
        node[name] = ConfigDict(value) if isinstance(value, dict) else value


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


def _check_penalty(key: str, value: Any) -> None:
    """A weight, or a section with a weight and settings of the penalty."""
    settings = isinstance(value, Mapping | ConfigDict) and "kind" not in value
    if settings and "weight" not in value:
        raise UserError(f"{key}.weight: this key is missing; a section of a penalty has its weight")
    WEIGHT.check(f"{key}.weight" if settings else key, value["weight"] if settings else value)
    if settings and "every" in value:
        COUNT.check(f"{key}.every", value["every"])


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
    """The same experiment at a size for tests: a few steps of narrow networks on a few images."""
    small = ConfigDict(config.to_dict())
    small.steps, small.batch_size, small.z_dim = 4, 8, 8
    if (small.data.name, small.data.split) == ("fashion_mnist_mini", "train"):
        small.data.split = "train[:512]"
    small.steps_per_call = 2
    small.log_every = small.sample_every = small.checkpoint_every = 2
    small.evaluate_every, small.evaluation.samples = 4, 128
    small.accumulate = min(small.accumulate, 2)
    for network in (small.model.generator, small.model.discriminator):
        if "width" in network:
            network.width = 4
        for field, size in (("features", 8), ("widths", 8), ("cardinalities", 2)):
            if field in network:
                network[field] = (size,) * len(network[field])
    return small
