"""Repeat a published experiment, and print its figures beside those that it should have.

    python -m jaxgan reproduce dirac
    python -m jaxgan reproduce ring --quick
    python -m jaxgan reproduce ring --seeds 5 --steps 50000

A table's rows are trained one after the other, each with all seeds in one program; the same command
goes on where it was stopped. The folder --out holds the runs, the pictures and results.json. Each
row that is trained in full is added to the file --results, too, of which `--tables` writes
RESULTS.md's tables, a line for each number of steps; seeds that are trained apart (--seed 3 --seeds
2) are joined there. Keys of all rows' configs can be set, as in --config.data.path=FOLDER.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from jaxgan.errors import UserError, lookup

NAMES = (
    *("dirac", "ring", "grid", "unrolled_ring", "stacked_mnist", "mnist_parzen", "lucic"),
    *("vae_mnist", "sngan_cifar10", "r3gan_cifar10", "sngan_imagenet128", "sagan_imagenet128"),
    "biggan_imagenet128",
)
QUICK = 1_000, 2  # steps, seeds
SEARCH_SEED = 2**31  # of runs that choose settings; no row's own has it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, help="folder (default: runs/reproduce_NAME, or _quick)")
    parser.add_argument("--seed", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--seeds", type=int, help="how many (default: the table's own)")
    parser.add_argument("--steps", type=int, help="of each run (default: the table's own)")
    parser.add_argument("--rows", metavar="NAME,NAME", help="these rows alone (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="a look at it: two seeds, 1,000 steps, no results kept"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results.jsonl"), help="(default: results.jsonl)"
    )
    parser.add_argument(
        "--tables", type=Path, metavar="FILE", help="write --results into FILE's tables"
    )


def run(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.seed < 2**32:
        raise UserError(f"--seed: {arguments.seed} is not within 0 to {2**32 - 1:,}")
    for name in ("seeds", "steps"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise UserError(f"--{name}: {getattr(arguments, name)} is not 1 or more")
    if not arguments.name and not arguments.tables:
        raise UserError("NAME: which experiment? --help lists them")

    from jaxgan import writer  # here, so that --help and mistakes are answered at once
    from jaxgan.reproductions import REPRODUCTIONS
    from jaxgan.reproductions.suite import Suite

    experiment = lookup(REPRODUCTIONS, arguments.name, "NAME") if arguments.name else None
    if not isinstance(experiment, Suite):
        _refuse_rows(arguments)
    if experiment:
        ending = "_quick" if arguments.quick else ""
        out = arguments.out or Path("runs") / f"reproduce_{arguments.name}{ending}"
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out: {out} cannot be made: {error.strerror}") from error
        if isinstance(experiment, Suite):
            code = _run_suite(experiment, out, arguments)
            if code:
                return code
        else:
            lines, results = experiment.run(out, arguments.seed)
            writer.write_json(out / "results.json", results)
            print("\n".join(lines))
    if arguments.tables:
        _write_tables(arguments.tables, arguments.results)
    return 0


def _refuse_rows(arguments: argparse.Namespace) -> None:
    """Raises UserError for the first argument that is of a table's rows, where there are none."""
    for name in ("seeds", "steps", "rows", "quick", "overrides"):
        if getattr(arguments, name):
            name = f"config.{arguments.overrides[0]}" if name == "overrides" else name
            raise UserError(f"--{name}: is of a table's rows, and this has none; leave it out")


def _run_suite(suite: Any, out: Path, arguments: argparse.Namespace) -> int:
    from jaxgan import experiment, loop, writer
    from jaxgan.reproductions import suite as of

    steps, count = QUICK if arguments.quick else (suite.steps, suite.seeds)
    steps, count = arguments.steps or steps, arguments.seeds or count
    seeds = list(range(arguments.seed, arguments.seed + count))
    rows = _chosen(suite, arguments.rows)
    of_all = count, steps, arguments.overrides, arguments.quick
    tried = [
        of.with_settings(row, settings)
        for row in rows
        for settings in [*row.search.values()] or [{}]
    ]
    configs = [of.config_of(suite, row, *of_all) for row in tried]
    opened: dict[str, Any] = {}
    for row, config in zip(tried, configs, strict=True):  # mistakes come first
        section = str(config.data)
        try:
            config, opened[section] = experiment.prepare(config, opened.get(section))
            experiment.algorithm_of(config)
        except UserError as error:
            of_late = f" (row {row.name!r}; --rows names others)" if row is not tried[0] else ""
            raise UserError(f"{error}{of_late}") from error
    found: dict[str, Any] = {}
    runs: dict[str, Path] = {}
    records = []
    for row in rows:
        print(f"\n{row.name}{row.cost and f': {row.cost}'}", flush=True)
        code, scores = 0, dict[str, float]()
        if row.search and not arguments.quick:
            code, scores = _search(suite, row, steps, out, arguments.overrides)
        if code:
            return code
        chosen = next(iter(scores), next(iter(row.search), None))
        settings = row.search[chosen] if chosen else {}
        config = of.config_of(suite, of.with_settings(row, settings), *of_all)
        config.seed = arguments.seed
        number = f"_{[*row.search].index(chosen)}" if chosen else ""  # others may be best at longer
        folder = out / f"{of.slug(row.name)}{number}_seeds{seeds[0]}to{seeds[-1]}"
        code = loop.train(config, folder)
        if code:
            return code
        found[row.name], runs[row.name] = of.outcome(suite, folder), folder
        of_row = arguments.name, row, found[row.name], config, arguments.overrides
        records.append(of.record(*of_row, scores))
        if not arguments.quick:
            of.add_result(arguments.results, records[-1])
    writer.write_json(out / "results.json", records)
    of.draw(suite, found, out / "curves.png")
    _sheet(suite, runs, seeds, out / "samples.png")
    print(f"\n{suite.summary}\n")
    print("\n".join(of.text(of.table(suite._replace(rows=tuple(rows)), records))))
    published = f"{suite.published_steps:,}" if suite.published_steps else "not said"
    print(f"\n{count} seeds, {steps:,} steps (published: {published}). ± is the")
    print("standard error over seeds; apart: the difference in its standard errors.")
    print(f"{suite.departures}\n")
    print(f"pictures: {out / 'curves.png'}, {out / 'samples.png'}")
    return 0


def _search(
    suite: Any, row: Any, steps: int, out: Path, overrides: list[str]
) -> tuple[int, dict[str, float]]:
    """The score of each of the settings that a row searches over, the best first, by a run of its
    own; before it the code of one that was stopped, or 0."""
    from jaxgan import loop
    from jaxgan.metrics import METRICS
    from jaxgan.reproductions import suite as of

    scores: dict[str, float] = {}
    metric = suite.columns[0].metric
    sign = next(each.values[metric] for each in METRICS.values() if metric in each.values)
    for number, (name, settings) in enumerate(row.search.items()):
        print(f"\n{row.name}, searching: {name}", flush=True)
        tried = of.with_settings(row, settings)
        config = of.config_of(suite, tried, 1, steps, overrides, False)
        config.seed = SEARCH_SEED
        folder = out / "search" / f"{of.slug(row.name)}_{number}"
        if code := loop.train(config, folder):
            return code, scores
        scores[name] = float(of.outcome(suite, folder).values[metric][-1][0])
    worst = lambda name: (math.isnan(scores[name]), -sign * scores[name])  # noqa: E731
    return 0, {name: scores[name] for name in sorted(scores, key=worst)}


def _chosen(suite: Any, names: str | None) -> list[Any]:
    if names is None:
        return list(suite.rows)
    by_name = {row.name.replace(", ", " "): row for row in suite.rows}
    return [lookup(by_name, name.strip(), "--rows") for name in names.split(",")]


def _sheet(suite: Any, runs: dict[str, Path], seeds: list[int], path: Path) -> None:
    """The last samples of each row and of up to ten seeds, or the first seed's over time."""
    from jaxgan.reproductions import suite as of

    endings = [f"_seed{seed}" if len(seeds) > 1 else "" for seed in seeds[:10]]
    pictures, steps = {}, []
    for name, run in runs.items():
        files = (run / "samples").glob("*.png")
        steps = sorted({file.stem.partition("_")[0] for file in files})
        steps = steps[::-1][:: -(-len(steps) // 10)][::-1]  # ten at most, the last one too
        shown = [(step, endings[0]) for step in steps] if suite.over_time else []
        shown = shown or [(steps[-1], ending) for ending in endings]
        pictures[name] = [run / "samples" / f"{step}{ending}.png" for step, ending in shown]
    titles = [f"seed {seed}" for seed in seeds[:10]]
    titles = [f"step {int(step):,}" for step in steps] if suite.over_time else titles
    of.sheet(pictures, titles, path)


def _write_tables(document: Path, results: Path) -> None:
    from jaxgan import writer
    from jaxgan.reproductions import REPRODUCTIONS
    from jaxgan.reproductions import suite as of

    records = of.read_results(results)
    tables = {
        name: of.markdown(of.table(suite, [r for r in records if r["reproduction"] == name]))
        for name, suite in REPRODUCTIONS.items()
        if isinstance(suite, of.Suite)
    }
    try:
        text = document.read_text()
    except OSError as error:
        raise UserError(f"--tables: {document} cannot be read: {error.strerror}") from error
    with writer.whole_file(document) as partial:
        partial.write_text(of.with_tables(text, tables))
    print(f"{document}: {', '.join(tables)}")
