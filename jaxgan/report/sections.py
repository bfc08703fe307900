"""The sections of a report that are text and tables."""

import html
import json
import statistics
from collections.abc import Sequence
from typing import Any

from jaxgan import commands, writer
from jaxgan.metrics import INCEPTION, METRICS
from jaxgan.report.gather import Run

BETTER = {1: "more", -1: "less"}
MISHAPS = ("damaged", "restored", "skipped")


def number(value: Any) -> str:
    return "none" if value is None else f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.3e}"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], caption: str, marked: int = 0) -> str:
    """All is escaped; the first `marked` rows stand out."""
    cells = lambda row: "".join(f"<td>{html.escape(str(each))}</td>" for each in row)  # noqa: E731
    lines = [
        f"<tr{' class=differs' if n < marked else ''}>"
        f'<th scope="row">{html.escape(str(first))}</th>{cells(rest)}</tr>'
        for n, (first, *rest) in enumerate(rows)
    ]
    columns = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in head)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{columns}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{''.join(parts)}</section>"


def summary(run: Run, label: str) -> str:
    config, derived = run.config, run.config.derived
    shape = " x ".join(map(str, derived.image_shape))
    size = f"{derived.num_examples:,} examples" if derived.num_examples else "drawn without end"
    classes = f", {derived.num_classes} classes" if config.conditional else ""
    reached = run.lines[-1]["step"] if run.lines else 0
    several = f", {len(run.names)} members" if len(run.names) > 1 else ""
    text = (
        f"{label}: {config.algorithm} with {config.model.name} on {config.data.name} "
        f"{config.data.split} ({size} of {shape}{classes}); step {reached:,} of {config.steps:,}, "
        f"{derived.images_per_step} images a step{several}."
    )
    return f"<p>{html.escape(text)}</p>"


def metrics(runs: Sequence[Run], labels: Sequence[str]) -> str:
    parts = [*_side_by_side(runs, labels)]
    for run, label in zip(runs, labels, strict=True):
        parts += [_during_training(run, label), *(_evaluation(e, label) for e in run.evaluations)]
    parts = [part for part in parts if part]
    if not parts:
        parts = ['<p class="quiet">Nothing was evaluated; python -m jaxgan evaluate does it.</p>']
    return section("Metrics", *parts)


def _during_training(run: Run, label: str) -> str:
    rows = []
    for name, sign in _directions().items():
        known = [line for line in run.lines if line.get(name) is not None]
        if not known:
            continue
        last = known[-1]
        of_seeds = [x for x in (last.get("seeds") or {}).get(name, ()) if x is not None]
        error = ""
        if len(of_seeds) > 1:
            error = f" ± {statistics.stdev(of_seeds) / len(of_seeds) ** 0.5:.1g}"
        best = (max if sign > 0 else min)(known, key=lambda line: line[name]) if sign else None
        told = f"{number(best[name])} at {best['step']:,}" if best else "-"
        shown = f"{number(last[name])}{error} at {last['step']:,}"
        rows.append([name, shown, told, BETTER.get(sign, "-")])
    if not rows:
        return ""
    asked = run.config.evaluation
    caption = (
        f"{label}, during training: {asked.samples:,} samples, features "
        f"{asked.features or 'of the classifier'}"
    )
    if len(run.names) > 1:
        caption += "; means over members ± standard errors"
    return table(["metric", "last", "best", "better is"], rows, caption)


def _directions() -> dict[str, int]:
    """Of the values of all metrics: 1 where more is better, -1 where less is, 0."""
    signs = {k: sign for each in METRICS.values() for k, sign in each.values.items()}
    return signs | {INCEPTION[k]: sign for k, sign in signs.items() if k in INCEPTION}


def _figures(entry: dict[str, Any]) -> dict[str, dict]:
    """The columns of an entry of evaluation.json; another version's may lack anything."""
    found = entry.get("figures")
    if isinstance(found, dict) and all(isinstance(column, dict) for column in found.values()):
        return found
    return {}


def _compared(columns: dict[str, dict], caption: str) -> str:
    directions = _directions()
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [
        [
            name,
            *(writer.figure(column.get(name)) for column in columns.values()),
            BETTER.get(directions.get(name, 0), "-"),
        ]
        for name in names
    ]
    return table(["metric", *columns, "better is"], rows, f"{caption}; value ± standard error")


def _side_by_side(runs: Sequence[Run], labels: Sequence[str]) -> list[str]:
    """A table for each way of measuring that several runs, or members, share; the last of each."""
    alike: dict[str, dict[str, dict]] = {}
    for run, label in zip(runs, labels, strict=True):
        for entry in run.evaluations:
            if "samples" in _figures(entry):
                told = {key: entry.get(key) for key in ("samples", "statistics", "protocol")}
                shared = alike.setdefault(json.dumps(told, sort_keys=True), {})
                member = f", member {entry.get('member')}" if len(run.names) > 1 else ""
                shared[f"{label}{member}"] = entry
    parts = []
    for entries in alike.values():
        if len(entries) > 1:
            columns = {
                f"{head}, step {entry.get('step')}": _figures(entry)["samples"]
                for head, entry in entries.items()
            }
            [first, *_] = entries.values()
            caption = f"Side by side: {first.get('samples')} samples{_features(first)}"
            parts.append(_compared(columns, caption))
    return parts


def _features(entry: dict[str, Any]) -> str:
    protocol = entry.get("protocol")
    features = protocol.get("features") if isinstance(protocol, dict) else None
    name = features.get("features") if isinstance(features, dict) else None
    return f", features of {name}" if name else ""


def _evaluation(entry: dict[str, Any], label: str) -> str:
    figures = _figures(entry)
    if not figures:
        return ""
    known = ("step", "member", "samples", "sample_seeds", "statistics", "weights", "device")
    told = ", ".join(f"{k.replace('_', ' ')} {entry[k]}" for k in known if k in entry)
    protocol = html.escape(json.dumps(entry.get("protocol"), indent=1))
    return (
        _compared(figures, f"{label}: {told}{_features(entry)}")
        + f"<details><summary>Protocol</summary><pre>{protocol}</pre></details>"
    )


def health(runs: Sequence[Run], labels: Sequence[str]) -> str:
    told = []
    for run, label in zip(runs, labels, strict=True):
        mishaps = [
            f"{each.get('time', '')}: {each['event']}, {each.get('reason', '')}"
            for each in run.history
            if each.get("event") in MISHAPS
        ]
        prefix = f"{label}: " if len(runs) > 1 else ""
        told += [f"{prefix}{text}" for text in [*run.warnings, *mishaps]]
    items = "".join(f'<li class="warn">{html.escape(text)}</li>' for text in told)
    nothing = '<p class="quiet">No warning and no mishap.</p>'
    return section("Health", f"<ul>{items}</ul>" if told else nothing)


def settings(configs: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    """Of several runs the keys that differ come first; the rest, and one run's, are folded away."""
    keys = dict.fromkeys(key for config in configs for key in config)
    shown = lambda config, key: json.dumps(config[key]) if key in config else "-"  # noqa: E731
    rows = [[key, *(shown(config, key) for config in configs)] for key in keys]
    differ = [row for row in rows if len(set(row[1:])) > 1]
    same = [row[:2] for row in rows if len(set(row[1:])) == 1]
    head = ["key", *labels]
    parts = []
    if len(configs) > 1:
        parts.append(
            table(head, differ, "Keys that differ", marked=len(differ))
            if differ
            else "<p>All settings are the same.</p>"
        )
    title = "All keys" if len(configs) == 1 else "Keys that are the same"
    folded = table(["key", "value"], same, title)
    parts.append(f"<details><summary>{title} ({len(same)})</summary>{folded}</details>")
    return section("Settings", *parts)


def resources(runs: Sequence[Run], labels: Sequence[str]) -> str:
    rows = []
    for run, label in zip(runs, labels, strict=True):
        speeds = [x for x in (line.get("images_per_second") for line in run.lines) if x]
        waits = [x for x in (line.get("data_wait") for line in run.lines) if x is not None]
        seconds = run.lines[-1].get("seconds") if run.lines else None
        peaks = [x for x in (e.get("peak_memory") for e in run.history) if isinstance(x, int)]
        devices = dict.fromkeys(str(e["devices"]) for e in run.history if "devices" in e)
        rows.append(
            [
                label,
                f"{seconds:,.0f} s" if seconds is not None else "-",
                f"{statistics.median(speeds):,.0f}" if speeds else "-",
                f"{statistics.mean(waits):.1%}" if waits else "-",
                f"{max(peaks) / 2**30:.2f} GiB" if peaks else "-",
                "; ".join(devices) or "-",
            ]
        )
    head = [
        "run",
        "training",
        "images/s (median)",
        "waiting for data",
        "peak memory of the process",
        "devices",
    ]
    events = [
        [
            each.get("time", ""),
            *([label] if len(runs) > 1 else []),
            each.get("event", ""),
            f"{each['step']:,}" if isinstance(each.get("step"), int) else "-",
            each.get("jaxgan", ""),
        ]
        for run, label in zip(runs, labels, strict=True)
        for each in run.history
    ]
    columns = ["time", *(["run"] if len(runs) > 1 else []), "event", "step", "jaxgan"]
    history = table(columns, events, "Starts, stops and mishaps") if events else ""
    return section("Resources", table(head, rows, "Time without compilation and drawing"), history)


def to_type(runs: Sequence[Run], labels: Sequence[str]) -> str:
    parts = []
    for run, label in zip(runs, labels, strict=True):
        workdir = str(run.workdir)
        anew = commands.training(run.config, f"{workdir}_again")
        if len(runs) > 1:
            parts.append(f"<h3>{html.escape(label)}</h3>")
        if anew is None:
            parts.append("<p>No file of configs/ and overrides give it: see config.json.</p>")
        else:
            parts.append(f"<pre>{html.escape(anew)}</pre>")
        parts.append(f"<pre>{html.escape(commands.sampling(run.config, workdir))}</pre>")
    return section("Commands", "<p>To train it anew, and to draw from it:</p>", *parts)
