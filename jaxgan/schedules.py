"""Scalars of a config that change in the course of training.

A scalar is a number, or a function of the number of steps done, an int32 array. In a config it is a
number or a section:

    {"kind": "linear", "start": 2e-4, "end": 0.0, "steps": 100_000}
    {"kind": "cosine", "start": 2e-4, "end": 5e-5, "kimg": 20_000}
    {"kind": "exponential", "start": 0.1, "end": 1e-6, "steps": 288_000}
    {"kind": "steps", "values": (1e-3, 1e-4, 1e-5), "steps": (50_000, 75_000)}
    {"kind": "constant", "value": 2e-4, "warmup_steps": 1_000}

Lengths are in `steps`, generator updates, or in `kimg`, thousands of real images that the
discriminator has learnt from. Before 0 and past its length a schedule keeps its end's value. Each
may have `warmup_steps` or `warmup_kimg`, during which it is multiplied by a line from 0 to 1.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jaxgan.errors import UserError, lookup
from jaxgan.typing import Array, Float, Int

Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]
Scalar = float | Schedule


def linear(step: Int[Array, ""], start: float, end: float, length: float) -> Float[Array, ""]:
    done = jnp.clip(step / length, 0, 1)
    return (1 - done) * start + done * end  # exact at both ends


def cosine(step: Int[Array, ""], start: float, end: float, length: float) -> Float[Array, ""]:
    # Half a cosine (Loshchilov and Hutter 2017, equation 5, without restarts)
    done = jnp.clip(step / length, 0, 1)
    left = 0.5 * (1 + jnp.cos(jnp.pi * done))
    return left * start + (1 - left) * end


def exponential(step: Int[Array, ""], start: float, end: float, length: float) -> Float[Array, ""]:
    # by the same factor in each step
    done = jnp.clip(step / length, 0, 1)
    return jnp.where(done < 1, start * (end / start) ** done, end)  # exact at both ends


def steps(
    step: Int[Array, ""], values: Sequence[float], length: Sequence[float]
) -> Float[Array, ""]:
    """values[i] from length[i - 1] on."""
    return jnp.asarray(values, jnp.float32)[jnp.sum(step >= jnp.asarray(length, jnp.float32))]


def constant(step: Int[Array, ""], value: float) -> Float[Array, ""]:
    return jnp.full((), value, jnp.float32)


KINDS: dict[str, tuple[Callable, tuple[str, ...]]] = {  # with what they take beside a length
    "linear": (linear, ("start", "end")),
    "cosine": (cosine, ("start", "end")),
    "exponential": (exponential, ("start", "end")),
    "steps": (steps, ("values",)),
    "constant": (constant, ("value",)),
}
WARMUPS = ("warmup_steps", "warmup_kimg")


def is_on(weight: Scalar) -> bool:
    """Whether a weight is, or may become, more than 0."""
    return callable(weight) or weight > 0


def at(scalar: Scalar, step: Int[Array, ""]) -> Float[Array, ""] | float:
    """The scalar's value after `step` steps."""
    return scalar(step) if callable(scalar) else scalar


def make(value: Any, images_per_step: int) -> Scalar:
    """The scalar that a config's number or section (checked by `numbers`) describes."""
    if callable(value):  # a swept one
        return value
    if not isinstance(value, Mapping):
        return float(value)
    kind, names = KINDS[value["kind"]]

    def floats(name: str) -> Any:
        kimg, given = name.endswith("kimg"), value[name]
        given = given if _listed(given) else [given]
        each = [n * 1000 / images_per_step if kimg else float(n) for n in given]
        return each if value["kind"] == "steps" and name not in WARMUPS else each[0]

    arguments = {name: floats(name) for name in names}
    for unit in ("steps", "kimg"):
        if unit in value:
            arguments["length"] = floats(unit)
    warmup = next((floats(name) for name in WARMUPS if name in value), 0)

    def schedule(step: Int[Array, ""]) -> Float[Array, ""]:
        risen = jnp.clip(step / warmup, 0, 1) if warmup else 1.0
        return risen * kind(step, **arguments)

    return schedule


def numbers(key: str, section: Mapping[str, Any]) -> list[float]:
    """The values that the config's section `key` passes between. Raises UserError if it is none."""
    if "kind" not in section:
        raise UserError(f"{key}: a schedule needs a kind, one of {', '.join(sorted(KINDS))}")
    _, names = lookup(KINDS, str(section["kind"]), f"{key}.kind")
    units = [] if section["kind"] == "constant" else ["steps", "kimg"]
    for name in section:
        if name not in ("kind", *names, *units, *WARMUPS):
            raise UserError(
                f"{key}.{name}: a schedule of kind {section['kind']} has no {name}; it has "
                f"{', '.join([*names, *units, *WARMUPS])}"
            )
    for name in names:
        if name not in section:
            raise UserError(f"{key}.{name}: this key is missing")
    for pair in (units, WARMUPS):
        if sum(name in section for name in pair) > 1:
            raise UserError(f"{key}: a length is in {' or in '.join(pair)}, not in both")
    if units and not any(unit in section for unit in units):
        raise UserError(f"{key}.steps: this key is missing; a length in steps, or in kimg")
    many = section["kind"] == "steps"
    if section["kind"] == "exponential":
        for name in names:
            if type(section[name]) in (int, float) and section[name] <= 0:
                raise UserError(
                    f"{key}.{name}: {section[name]!r} is not allowed; it must be above 0"
                )
    values: list[float] = []
    lengths: list[float] = []
    for name, value in section.items():
        if name == "kind":
            continue
        each = list(value) if many and name in ("values", *units) and _listed(value) else [value]
        for number in each:
            if type(number) not in (int, float) or not abs(number) <= sys.float_info.max:
                raise UserError(f"{key}.{name}: {value!r} is not allowed; it must be a number")
            if name not in names and number <= 0:
                raise UserError(f"{key}.{name}: {value!r} is not allowed; it must be above 0")
        if name in names:
            values += map(float, each)
        elif name in units:
            lengths = each
    if many and (len(values) != len(lengths) + 1 or lengths != sorted(set(lengths))):
        raise UserError(f"{key}: values must be one more than the lengths between them, which rise")
    return [*values, 0.0] if any(name in section for name in WARMUPS) else values


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)
