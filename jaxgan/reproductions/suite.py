"""A published table as a suite of runs: one run of many seeds for each row.

`python -m jaxgan reproduce NAME` trains the rows one after the other, each in a folder of its own
in which the same command goes on; prints ours beside the published figures; draws both; and adds a
line for each row to a file of results, from which the tables of RESULTS.md are written.
"""

import json
import math
import re
import shlex
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgan import config as configs
from jaxgan import writer
from jaxgan.errors import UserError
from jaxgan.evaluation import digest


class Figure(NamedTuple):
    """A mean and its standard error, or with NaN for the error none. Where not all seeds have a
    value it is `of` so many."""

    mean: float
    error: float = math.nan
    of: int = 0


class Column(NamedTuple):
    metric: str  # of metrics.jsonl
    title: str
    times: float = 1.0
    digits: int = 2


class Row(NamedTuple):
    name: str
    settings: Mapping[str, Any] = {}  # by the config's keys, beside the suite's
    published: Mapping[str, Figure] = {}  # by metric, in the column's unit
    search: Mapping[str, Mapping[str, Any]] = {}  # the best of these it is run with; by name
    cost: str = ""  # of a row that needs an accelerator, as planned


def with_settings(row: Row, settings: Mapping[str, Any]) -> Row:
    return row._replace(settings={**row.settings, **settings})


class Suite(NamedTuple):
    summary: str
    config: str  # of configs/
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    seeds: int
    steps: int
    published_steps: int
    marks: Mapping[str, float] = {}  # by metric, what a perfect generator would have
    departures: str = ""  # from the published protocol
    over_time: bool = False  # the sheet has the first seed's samples as they came, not all seeds'


def slug(name: str) -> str:
    """A row's name as a folder's."""
    return "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")


def config_of(
    suite: Suite, row: Row, seeds: int, steps: int, overrides: Sequence[str], quick: bool
) -> ConfigDict:
    """The config of a row's run. Raises UserError where the configs are not at hand."""
    folder = Path(__file__).parents[2] / "configs"
    if not folder.is_dir():
        raise UserError("reproduce: works in a clone of jaxgan, by the files in its configs/")
    settings = {**suite.settings, **row.settings}
    taken = {*settings, *(key for tried in row.search.values() for key in tried)}
    for key in (each.partition("=")[0] for each in overrides):
        dotted = [f"{each}." for each in taken]
        within = any(f"{key}.".startswith(each) or each.startswith(f"{key}.") for each in dotted)
        if within or key.partition(".")[0] in ("seed", "seeds", "steps", "sweep"):
            raise UserError(
                f"--config.{key}: the table sets it; --seed, --seeds and --steps are given apart"
            )
    found = configs.with_values(configs.load(folder / f"{suite.config}.py", overrides), settings)
    found.seeds, found.steps = seeds, steps
    if quick:
        every = max(steps // 4 // found.steps_per_call, 1) * found.steps_per_call
        for key in ("log_every", "evaluate_every", "sample_every", "checkpoint_every"):
            found[key] = every
    return found


# --------------------------------------------------------------------------------------------------
# What came out


class Outcome(NamedTuple):
    """A row's figures, by metric, in the column's unit."""

    steps: list[int]
    values: dict[str, np.ndarray]  # of each evaluation and seed
    skipped: int = 0  # steps of seeds that broke


def outcome(suite: Suite, workdir: Path) -> Outcome:
    """Of a run, as far as it got."""
    names = [column.metric for column in suite.columns]
    lines = [line for line in writer.read_metrics(workdir) if names[0] in line]
    known = lambda value: math.nan if value is None else value  # noqa: E731

    def of(line: dict, column: Column) -> list[float]:
        each = line.get("seeds", {}).get(column.metric, [line.get(column.metric)])
        return [column.times * known(value) for value in each]

    values = {c.metric: np.array([of(line, c) for line in lines]) for c in suite.columns}
    skipped = int(lines[-1].get("skipped") or 0) if lines else 0
    return Outcome([line["step"] for line in lines], values, skipped)


def figure(values: np.ndarray) -> Figure:
    """The mean over seeds and its standard error, of those that have a value."""
    there = values[np.isfinite(values)]
    error = np.std(there, ddof=1) / math.sqrt(len(there)) if len(there) > 1 else math.nan
    count = 0 if len(there) == len(values) else len(there)
    return Figure(float(there.mean()) if len(there) else math.nan, float(error), count)


def apart(ours: Figure, published: Figure) -> float:
    """How many standard errors of the difference lie between them; NaN where there are none."""
    error = math.hypot(ours.error, published.error)
    return abs(ours.mean - published.mean) / error if error > 0 else math.nan


def record(
    name: str,
    row: Row,
    found: Outcome,
    config: ConfigDict,
    overrides: Sequence[str],
    searched: Mapping[str, float],
) -> dict[str, Any]:
    """A line of the file of results, with the command that gives it and a digest of the settings
    that all seeds have in common; `searched` is what the settings scored that were tried for it,
    the best of them first."""
    seeds = range(config.seed, config.seed + config.seeds)
    command = f"python -m jaxgan reproduce {name} --seeds {len(seeds)} --steps {found.steps[-1]}"
    command += f" --seed {seeds[0]}" if seeds[0] else ""
    command += "".join(f" {shlex.quote(f'--config.{each}')}" for each in overrides)
    last = {metric: values[-1] for metric, values in found.values.items()}
    finite = lambda x: float(x) if math.isfinite(x) else None  # noqa: E731
    line = {
        "reproduction": name,
        "row": row.name,
        "steps": found.steps[-1],
        "seeds": list(seeds),
        "values": {metric: [*map(finite, values)] for metric, values in last.items()},
        "skipped": found.skipped,
        "settings": digest(configs.identity(config, ("seed", "seeds"))),
        "command": command,
        "commit": _commit(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
    if searched:
        line["searched"] = {key: finite(value) for key, value in searched.items()}
    return line


def _commit() -> str:
    """Of the clone that this is; "+" where its code has changes, "" where it is none."""

    def git(*arguments: str) -> str:
        command, here = ["git", *arguments], Path(__file__).parents[2]
        return subprocess.run(
            command, cwd=here, capture_output=True, text=True, check=False
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "jaxgan", "configs")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except OSError:
        return ""


# --------------------------------------------------------------------------------------------------
# Tables


def cell(value: Figure, digits: int) -> str:
    if not math.isfinite(value.mean):
        return "-"
    error = f" ± {value.error:.{digits}f}" if math.isfinite(value.error) else ""
    some = f" (of {value.of})" if value.of else ""
    return f"{value.mean:.{digits}f}{error}{some}"


def joined(records: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """A row's lines as one for each number of steps: the last, and with it seeds of earlier ones of
    the same settings."""
    found: dict[int, dict[str, Any]] = {}
    for each in reversed(records):
        begun = {**each, "seeds": [], "values": {key: [] for key in each["values"]}, "skipped": 0}
        one = found.setdefault(each["steps"], begun)
        new = [n for n, seed in enumerate(each["seeds"]) if seed not in one["seeds"]]
        alike = each["values"].keys() == one["values"].keys() and _settings(each) == _settings(one)
        if new and alike:
            more = lambda values, new=new: [values[n] for n in new]  # noqa: E731
            one["seeds"] = more(each["seeds"]) + one["seeds"]
            one["values"] = {k: more(each["values"][k]) + v for k, v in one["values"].items()}
            one["skipped"] += each.get("skipped", 0)
    return dict(sorted(found.items()))


def _settings(record: Mapping[str, Any]) -> str:
    """What seeds of one row have in common; of earlier versions' lines their command tells it."""
    return record.get("settings") or re.sub(r" --seeds? \d+", "", record.get("command", ""))


def table(suite: Suite, records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of cells, the first the head: ours, published, and how far apart."""
    head = ["", "seeds", "steps"]
    for column in suite.columns:
        head += [column.title, "published", "apart"]
    lines = [head]
    for row in suite.rows:
        found = joined([each for each in records if each["row"] == row.name])
        lines += [_line(suite, row, each) for each in found.values()] or [_line(suite, row)]
    return lines


def _line(suite: Suite, row: Row, found: Mapping[str, Any] | None = None) -> list[str]:
    line = [row.name, "", f"not run here{row.cost and f'; {row.cost}'}"]
    if found:
        line = [row.name, str(len(found["seeds"])), f"{found['steps']:,}"]
        if found["skipped"]:
            line[2] += f" ({found['skipped']:,} skipped by some)"
        if found.get("searched"):
            line[0] += f" ({next(iter(found['searched']))})"
    for column in suite.columns:
        ours, theirs = Figure(math.nan), row.published.get(column.metric, Figure(math.nan))
        if found:
            values = [math.nan if v is None else v for v in found["values"].get(column.metric, [])]
            ours = figure(np.array(values))
        far = apart(ours, theirs)
        line += [cell(ours, column.digits), cell(theirs, column.digits)]
        line.append(f"{far:.1f}" if math.isfinite(far) else "-")
    return line


def text(lines: Sequence[Sequence[str]]) -> list[str]:
    """The table for a terminal."""
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return [
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    ]


def markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return [rows[0], f"|{'---|' * len(lines[0])}", *rows[1:]]


def read_results(path: Path) -> list[dict[str, Any]]:
    """The file's lines. Raises UserError for one that is none."""
    found = []
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
            _ = [found[-1][key] for key in ("reproduction", "row", "values", "steps", "seeds")]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: line {number} is no result: {error!r}") from error
    return found


def add_result(path: Path, found: Mapping[str, Any]) -> None:
    """One line more, where there is none of the same figures."""
    there, where = read_results(path), ("commit", "jax", "device")
    alike = lambda each: {k: v for k, v in each.items() if k not in where}  # noqa: E731
    if alike(found) not in map(alike, there):
        with writer.whole_file(path) as partial:
            partial.write_text("".join(f"{json.dumps(each)}\n" for each in [*there, found]))


def with_tables(document: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The document with what stands between `<!-- reproduce NAME -->` and `<!-- end -->` anew."""
    for name, lines in tables.items():
        before, begin, rest = document.partition(f"<!-- reproduce {name} -->\n")
        if begin:
            _, end, after = rest.partition("<!-- end -->")
            if not end:
                raise UserError(f"RESULTS.md: <!-- end --> is missing after reproduce {name}")
            document = f"{before}{begin}" + "".join(f"{line}\n" for line in lines) + end + after
    return document


# --------------------------------------------------------------------------------------------------
# Pictures


def draw(suite: Suite, found: Mapping[str, Outcome], path: Path) -> None:
    """Each column against the steps: means over seeds with their standard errors; dotted, in the
    same colour, what was published; dashed what a perfect generator has."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(5 * len(suite.columns), 4.5), layout="constrained")
    grid = canvas.subplots(1, len(suite.columns), squeeze=False)[0]
    for axes, column in zip(grid, suite.columns, strict=True):
        for number, row in enumerate(suite.rows):
            if row.name not in found:
                continue
            colour, each = f"C{number % 10}", found[row.name].values[column.metric]
            figures = [figure(values) for values in each]
            mean = np.array([f.mean for f in figures])
            error = np.nan_to_num(np.array([f.error for f in figures]))
            steps = found[row.name].steps
            axes.plot(steps, mean, color=colour, label=row.name)
            axes.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.2)
            if column.metric in row.published:
                axes.axhline(
                    row.published[column.metric].mean, color=colour, linestyle=":", linewidth=1
                )
        if column.metric in suite.marks:
            mark = suite.marks[column.metric]
            axes.axhline(mark, color="0.4", linestyle="--", linewidth=1, label="perfect")
        axes.set(xlabel="step", title=column.title)
        axes.locator_params(axis="x", nbins=4)  # numbers of six digits side by side
        axes.grid(alpha=0.3)
    grid[0].legend(fontsize=8)
    with writer.whole_file(path) as partial:
        canvas.savefig(partial, format="png", dpi=110)


def sheet(pictures: Mapping[str, Sequence[Path]], titles: Sequence[str], path: Path) -> None:
    """PNGs of runs, a row of them for each name."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.image import imread

    rows, columns = len(pictures), len(titles)
    canvas = Canvas(figsize=(1.8 * columns + 0.6, 1.9 * rows), layout="constrained")
    grid = canvas.subplots(rows, columns, squeeze=False)
    for line, (name, files) in zip(grid, pictures.items(), strict=True):
        line[0].set_ylabel(textwrap.fill(name, 20), fontsize=8)
        for axes, file in zip(line, files, strict=False):
            axes.imshow(imread(file), cmap="gray")
        for axes in line:
            axes.set(xticks=[], yticks=[])
            for side in axes.spines.values():
                side.set_visible(False)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    with writer.whole_file(path) as partial:
        canvas.savefig(partial, format="png", dpi=120)
