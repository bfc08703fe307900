"""What a run's folder tells: its settings, curves, samples, evaluations and history."""

import contextlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxgan import experiment, health, writer
from jaxgan.typing import Folder

POINTS = 1000  # of a curve at most
NOT_CURVES = ("step", "kimg", "seconds", "seeds")


class Curve(NamedTuple):
    """A scalar of metrics.jsonl; of several members their mean, and a standard deviation around."""

    group: str  # of the members: "" where nothing is swept
    steps: list[int]
    values: list[float | None]  # None is no finite number
    low: list[float | None] | None
    high: list[float | None] | None
    thinned: bool


class Run(NamedTuple):
    workdir: Folder
    config: ConfigDict
    lines: list[dict]  # of metrics.jsonl
    names: list[str]  # of the members
    curves: dict[str, list[Curve]]
    samples: dict[str, dict[int, Folder]]  # of each member, by step
    evaluations: list[dict]
    history: list[dict]
    warnings: list[str]


def read(workdir: Folder) -> Run:
    """Raises UserError where `workdir` holds no run; all but config.json may be missing or torn."""
    config = experiment.read_config(workdir)
    members = experiment.members(config)
    names = [member.name for member in members]
    lines = writer.read_metrics(workdir)
    if len(members) > 1:  # a line without all of them is another version's
        lines = [line for line in lines if _of_all(line.get("seeds"), len(members))]
    named = dict.fromkeys(name for line in lines for name in line if name not in NOT_CURVES)
    groups = [member.group for member in members]
    return Run(
        workdir,
        config,
        lines,
        names,
        {name: _curves(lines, name, groups) for name in named},
        _samples(workdir / "samples", names),
        _objects(workdir / "evaluation.json", whole=True),
        _objects(workdir / "history.jsonl"),
        _warnings(lines, names),
    )


def thin(count: int, most: int) -> list[int]:
    """At most `most` of 0 to count - 1, evenly, with the first and the last."""
    if count <= most:
        return [*range(count)]
    return sorted({round(x) for x in np.linspace(0, count - 1, max(most, 2))})


def _of_all(seeds: Any, count: int) -> bool:
    return isinstance(seeds, dict) and all(len(values) == count for values in seeds.values())


def _objects(path: Folder, whole: bool = False) -> list[dict]:
    """Those of a list in a file, or of its lines; what is torn is passed over."""
    found: list[Any] = []
    if path.is_file():
        text = path.read_bytes().decode("utf-8", "replace")
        for part in [text] if whole else text.splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(part)
                found += value if whole and isinstance(value, list) else [value]
    return [each for each in found if isinstance(each, dict)]


def _samples(folder: Folder, names: Sequence[str]) -> dict[str, dict[int, Folder]]:
    """The pictures samples/STEP.png, or samples/STEP_MEMBER.png."""
    several = len(names) > 1
    endings = {f"_{name.replace(' ', '_')}": name for name in names} if several else {"": ""}
    found: dict[str, dict[int, Folder]] = {name: {} for name in endings.values()}
    for path in sorted(folder.iterdir(), key=str) if folder.is_dir() else ():
        match = re.fullmatch(r"(\d+)(.*)\.png", path.name, re.ASCII)
        if match and match[2] in endings and path.is_file():
            found[endings[match[2]]][int(match[1])] = path
    return {name: pictures for name, pictures in found.items() if pictures}


def _curves(lines: Sequence[dict], name: str, groups: Sequence[str]) -> list[Curve]:
    known = [line for line in lines if name in line]
    chosen = thin(len(known), POINTS)
    known, thinned = [known[n] for n in chosen], len(chosen) < len(known)
    steps = [line["step"] for line in known]
    if len(groups) == 1 or not all(name in line["seeds"] for line in known):
        values = [_finite(line[name]) for line in known]
        return [Curve("", steps, values, None, None, thinned)]
    found = []
    for group in dict.fromkeys(groups):
        own = [n for n, each in enumerate(groups) if each == group]
        of_lines = [[_finite(line["seeds"][name][n]) for n in own] for line in known]
        there = [[x for x in values if x is not None] for values in of_lines]
        mean = [float(np.mean(x)) if x else None for x in there]
        spread = [float(np.std(x)) if x else 0.0 for x in there]
        pairs = [*zip(mean, spread, strict=True)]
        low = [None if m is None else m - s for m, s in pairs]
        high = [None if m is None else m + s for m, s in pairs]
        found.append(Curve(group, steps, mean, low, high, thinned))
    return found


def _finite(value: int | float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _warnings(lines: Sequence[dict], names: Sequence[str]) -> list[str]:
    """What training has said of its health, with the step."""
    found = []
    for n in range(len(lines)):
        recent = lines[max(n - health.LINES, 0) : n + 1]
        found += [
            f"step {lines[n]['step']:,}: {text}" for text in health.warnings_of(recent, names)
        ]
    return found
