"""What training's numbers say of its health: the first that is none, and early signs of sickness.

Plain functions of numpy arrays and of lines of metrics.jsonl.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgan.typing import Float

Number = int | float


class Nonfinite(NamedTuple):
    """Where numbers stopped to be numbers: `what` says which quantity it was."""

    position: int  # of the step in its call, from 0
    what: str


# A step's quantities in the order in which it computes them; penalties come after d_loss.
FORWARD = ("real_logit", "fake_logit", "d_loss", "reconstruction", "kl", "loss")
LATER = (
    "d_gradient_norm",
    "s_gradient_norm",
    "g_loss",
    "e_gradient_norm",
    "g_gradient_norm",
    "i_gradient_norm",
)
PLAYERS = {"d": "discriminator", "e": "encoder", "g": "generator"}
PLAYERS |= {"i": "inverse", "s": "source's discriminator"}  # of CycleGANs


def first_nonfinite(metrics: Mapping[str, Float[np.ndarray, " s"]]) -> Nonfinite | None:
    """The first quantity of the first step with one that is NaN or infinite, if there is any.

    `metrics`: of each step of a call. Norms of the gradients of single blocks are named
    "d_gradient_norm/BLOCK"; what is not finite in them is told block by block.
    """
    bad = {name: ~np.isfinite(values) for name, values in metrics.items()}
    steps = np.flatnonzero(np.any(list(bad.values()), axis=0))
    if not len(steps):
        return None
    position = int(steps[0])
    names = {name.partition("/")[0] for name, flags in bad.items() if flags[position]}
    others = sorted(names - {*FORWARD, *LATER})
    name = next(n for n in (*FORWARD, *others, *LATER) if n in names)
    if not name.endswith("_gradient_norm"):
        return Nonfinite(position, f"{name} is {metrics[name][position]}")
    blocks = [b.partition("/")[2] for b in metrics if b.startswith(f"{name}/")]
    broken = [block for block in blocks if bad[f"{name}/{block}"][position]]
    player = PLAYERS[name[0]]
    if not broken:  # each is finite, but not the sum of their squares
        return Nonfinite(
            position, f"the norm of the {player}'s gradient is {metrics[name][position]}"
        )
    which = f"all {len(blocks)} blocks" if len(broken) == len(blocks) else ", ".join(broken)
    return Nonfinite(position, f"the gradient of the {player} is not finite in {which}")


class Reading(NamedTuple):
    """A call's numbers, those of each of n members apart."""

    means: dict[str, Float[np.ndarray, " n"]]  # over the steps without fault; NaN of none
    faults: int  # steps of members with a number that is not finite
    first: Nonfinite | None  # of these steps
    member: int = 0  # whose it is


def read(metrics: Mapping[str, Float[np.ndarray, "..."]]) -> Reading:
    """What a call tells, by arrays s or s n of its steps and members.

    Norms of the gradients of single blocks are for `first` alone.
    """
    columns = {name: values.reshape(len(values), -1) for name, values in metrics.items()}
    good = np.all([np.isfinite(values) for values in columns.values()], axis=0)
    first, member = None, 0
    for n in np.flatnonzero(~good.all(axis=0)):
        found = first_nonfinite({name: values[:, n] for name, values in columns.items()})
        if found and (first is None or found.position < first.position):
            first, member = found, int(n)
    number = np.maximum(good.sum(axis=0), 1)
    means = {
        name: np.where(good.any(0), np.where(good, values, 0).sum(0, np.float64) / number, np.nan)
        for name, values in columns.items()
        if "/" not in name
    }
    return Reading(means, int(np.sum(~good)), first, member)


def told(values: Mapping[str, Float[np.ndarray, " n"]]) -> dict[str, Any]:
    """As a line of metrics.jsonl has it: numbers, of several members their means, and beside these
    under `seeds` each one's; None is no finite number."""
    finite = lambda x: float(x) if math.isfinite(x) else None  # noqa: E731
    each = {name: [*map(finite, np.atleast_1d(x))] for name, x in values.items()}
    means: dict[str, Any] = {}
    for name, of_members in each.items():
        there = [x for x in of_members if x is not None]
        means[name] = math.fsum(there) / len(there) if there else None
    several = any(len(of_members) > 1 for of_members in each.values())
    return {**means, "seeds": each} if several else means


# --------------------------------------------------------------------------------------------------
# Early signs, from the lines of metrics.jsonl

LINES = 5  # in a row, before anything is said
LEARNT = 20.0  # kimg; before that samples are those of an untrained generator
WON = 0.99  # accuracy
COLLAPSED = 0.5  # of the real images' diversity


def _won(line: Mapping[str, Number]) -> bool:
    return (line.get("d_accuracy") or 0.0) >= WON


def _collapsed(line: Mapping[str, Number]) -> bool:
    real, fake = (line.get(f"{which}_diversity") for which in ("real", "fake"))
    return real is not None and fake is not None and fake < COLLAPSED * real


SIGNS = (
    (
        _won,
        "the discriminator has won: it is right on {d_accuracy:.1%} of images, real and fake; the "
        "generator may learn little more; try penalties.r1, or a smaller "
        "optimizer.discriminator.learning_rate",
    ),
    (
        _collapsed,
        "samples collapse: in standard deviation they are {share:.0%} as varied as real images "
        "(within a class, if there are classes); try penalties.r1, a larger batch_size or smaller "
        "learning rates",
    ),
)


def warnings_of(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """The warnings of a run, or of each of several members with its name."""
    if len(names) == 1:
        return warnings(lines)
    recent = lines[-LINES - 1 :]
    return [
        f"{name}: {text}"
        for n, name in enumerate(names)
        for text in warnings(
            [{**line, **{k: v[n] for k, v in line["seeds"].items()}} for line in recent]
        )
    ]


def warnings(lines: Sequence[Mapping[str, Number]]) -> list[str]:
    """What the last line of metrics.jsonl gives reason to say for the first time.

    A sign has to show in the last 5 lines, after 20 kimg, and not in the one before them. That is a
    function of the lines alone, so a run that goes on repeats nothing.
    """
    lines = [line for line in lines[-LINES - 1 :] if (line.get("kimg") or 0) >= LEARNT]
    if len(lines) < LINES:
        return []
    before, recent = lines[-LINES - 1 : -LINES], lines[-LINES:]
    last = recent[-1]
    share = (last.get("fake_diversity") or 0) / (last.get("real_diversity") or math.inf)
    return [
        text.format(**{**last, "share": share})
        for shows, text in SIGNS
        if all(map(shows, recent)) and not any(map(shows, before))
    ]
