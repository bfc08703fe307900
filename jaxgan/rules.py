"""The keys of a config: what their values must be, and what runs without them did."""

import sys
from collections.abc import Mapping
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
NETWORKS = (*PLAYERS, "encoder")
EVALUATION = ("metrics", "split", "features", "weights", "sha256", "resize")  # texts
COUNT = Rule(int, 1, 2**31 - 1)
COUNT_OR_ZERO = Rule(int, 0, 2**31 - 1)
TEXT = Rule(str)
POSITIVE = Rule(float, 0)
WEIGHT = Rule(float, 0, scheduled=True)
DECAY = Rule(float, 0, 0.999999, scheduled=True)  # at 1 Adam divides by nothing

RULES: dict[str, Rule] = {
    "seed": Rule(int, 0, 2**32 - 1),
    "seeds": Rule(int, 1, 1024),
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
    "sample_dropout": Rule(bool),
    "label_smoothing": Rule(float, 0, 0.5),
    "instance_noise": WEIGHT,
    "top_k": Rule(float, 0.01, 1, scheduled=True),
    "unrolled_steps": Rule(int, 0, 100),
    "vae.likelihood": TEXT,
    "vae.bound": Rule(str, among=("elbo", "iwae")),
    "vae.samples": Rule(int, 1, 10_000),
    **dict.fromkeys(("vae.beta", "vae.gamma"), WEIGHT),
    "vae.layer": TEXT,
    "inpaint.masks": TEXT,
    "inpaint.distance": Rule(str, among=("l1", "l2")),
    **dict.fromkeys(("inpaint.reconstruction", "inpaint.adversarial"), WEIGHT),
    "translate.source": TEXT,
    **{f"translate.{name}": WEIGHT for name in ("l1", "gan", "cycle", "identity")},
    "translate.pool": Rule(int, 0, 100_000),
    "privacy.noise": Rule(float, 0),
    "privacy.clip": Rule(float, 1e-6),
    "privacy.delta": Rule(float, 1e-12, 0.1),
    "text.temperature": Rule(float, 0.001, scheduled=True),
    "text.estimator": Rule(str, among=("soft", "straight_through")),
    "style.image": TEXT,
    "style.size": Rule(int, 32, 4096),
    **{f"style.{name}": WEIGHT for name in ("content", "style", "variation", "patches")},
    "class_loss.discriminator_weight": WEIGHT,
    "class_loss.generator_weight": WEIGHT,
    "class_loss.temperature": Rule(float, 0.01),
    "class_loss.margin": Rule(float, -1, 1),
    "steps_per_call": COUNT,
    "precision": Rule(str, among=("float32", "bfloat16", "bfloat16_products")),
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
    "parallel.seeds": Rule(str, among=("auto", "vmap", "map")),
    **dict.fromkeys(("log_every", "sample_every", "checkpoint_every", "keep_checkpoints"), COUNT),
    "evaluate_every": COUNT_OR_ZERO,
    **{f"evaluation.{key}": TEXT for key in EVALUATION},
    "evaluation.samples": COUNT,
    "best_metric": TEXT,
    "wandb.project": TEXT,
    "wandb.mode": Rule(str, among=("online", "offline")),
    "on_nonfinite": Rule(str, among=("stop", "skip", "restore")),
    "nonfinite_attempts": COUNT,
}

# Their keys are names of penalties, fields of networks and arguments of optimisers, checked where
# those are looked up.
PENALTIES = ("penalties", "generator_penalties")
OPEN = (
    "sweep",
    *PENALTIES,
    *(f"model.{role}" for role in NETWORKS),
    *(f"optimizer.{player}.arguments" for player in PLAYERS),
)

# What runs of versions that did not have these keys did.
EARLIER: dict[str, Any] = {
    "updates": "alternating",
    "accumulate": 1,
    "pack": 1,
    "latent": "normal",
    "sample_dropout": False,
    "label_smoothing": 0.0,
    "instance_noise": 0.0,
    "top_k": 1.0,
    "unrolled_steps": 0,
    "vae": {"likelihood": "bernoulli", "bound": "elbo", "samples": 1, "beta": 1.0}
    | {"gamma": 0.001, "layer": ""},
    "inpaint": {"masks": "box,strokes,half", "distance": "l1"}
    | {"reconstruction": 1.0, "adversarial": 0.01},
    "translate": {"source": "", "l1": 100.0, "gan": 1.0, "cycle": 10.0, "identity": 0.0}
    | {"pool": 50},
    "style": {"image": "", "size": 256, "content": 1.0, "style": 1e3, "variation": 1e-3}
    | {"patches": 0.0},
    "text": {"temperature": 1.0, "estimator": "soft"},
    "privacy": {"noise": 0.0, "clip": 1.0, "delta": 1e-5},
    "model": {"encoder": {}},
    "class_loss": {"margin": 0.98}
    | dict.fromkeys(("discriminator_weight", "generator_weight", "temperature"), 1.0),
    "generator_penalties": {},
    "optimizer": {
        player: {"clip_value": 0.0, "clip_weights": 0.0, "arguments": {}} for player in PLAYERS
    },
    "augment": {"kimg": 500.0},
    "parallel": {"synchronise": False, "seeds": "auto"},
    "sweep": {},
    "wandb": {"project": "", "mode": "online"},
}

# Keys that may change when a run goes on: they do not change what a step computes, or only how it
# rounds (parallel.data, on_nonfinite). What the data are, wherever they lie, is in derived.data.
HARMLESS = (
    *(f"data.{key}" for key in ("cache", "dir", "path")),
    *(f"parallel.{key}" for key in ("data", "fsdp", "seeds")),
    "steps",
    "log_every",
    "sample_every",
    "evaluate_every",
    "checkpoint_every",
    "keep_checkpoints",
    "evaluation.samples",
    *(f"evaluation.{key}" for key in EVALUATION),
    "best_metric",
    "wandb.project",
    "wandb.mode",
    "on_nonfinite",
    "nonfinite_attempts",
    "derived.kimg",
    "derived.epochs",  # of earlier versions
    "derived.data.background",  # which earlier versions did not tell; derived.data.content has it
)
