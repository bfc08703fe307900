"""The page of one or more runs: HTML that is read without a script, and the data of its script.

Whatever comes from a run is escaped, the names of classes as well as values.
"""

import base64
import hashlib
import html
import json
import string
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import jaxgan
from jaxgan import commands
from jaxgan.report import sections
from jaxgan.report.gather import Curve, Run, thin
from jaxgan.writer import CURVES

PICTURES = 60  # of all timelines together, evenly chosen with the first and the last of each
TIMELINES = 12
BYTES = 24_000_000  # of pictures; beyond, only the first and last of each timeline


def render(runs: Sequence[Run]) -> str:
    labels = _labels(runs)
    title = f"{labels[0]}" if len(runs) == 1 else f"Comparison of {', '.join(labels)}"
    charts = _charts(runs, labels)
    tracks, left_out = _tracks(runs, labels)
    parts = [
        _timeline(tracks, left_out, runs),
        _curves(charts, runs, labels),
        sections.metrics(runs, labels),
        sections.health(runs, labels),
        sections.settings([commands.flat(run.config) for run in runs], labels),
        sections.resources(runs, labels),
        sections.to_type(runs, labels),
    ]
    files = resources.files("jaxgan.report")
    style, script, template = (
        (files / f"page.{ending}").read_text(encoding="utf-8") for ending in ("css", "js", "html")
    )
    data = {
        "charts": charts,
        "tracks": [{**track, "pictures": track["pictures"][:-1]} for track in tracks],
    }
    return string.Template(template).substitute(
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
        title=html.escape(title),
        style=style,
        summary="".join(
            sections.summary(run, label) for run, label in zip(runs, labels, strict=True)
        ),
        body="\n".join(parts),
        version=html.escape(jaxgan.__version__),
        data=embedded(data),
        script=script,
    )


def embedded(value: Any) -> str:
    """JSON that ends no <script> element, whatever its strings hold."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _labels(runs: Sequence[Run]) -> list[str]:
    """The folders' names, or where two are the same their paths."""
    names = [run.workdir.name or str(run.workdir) for run in runs]
    return names if len(set(names)) == len(names) else [str(run.workdir) for run in runs]


def _series(curve: Curve, label: str, colour: int, dash: int) -> dict[str, Any]:
    bands = {"low": curve.low, "high": curve.high} if curve.low else {}
    return {
        "label": f"{label} {curve.group}".strip(),
        "colour": colour,
        "dash": dash,
        "steps": curve.steps,
        "values": curve.values,
        **bands,
    }


def _charts(runs: Sequence[Run], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Of one run related scalars share a chart; of several each has one, with a curve a run."""
    named = list(dict.fromkeys(name for run in runs for name in run.curves))
    # Of several runs each has the same colours in all charts, one for each group of its members.
    groups = [max(map(len, run.curves.values()), default=0) for run in runs]
    first = [sum(groups[:n]) for n in range(len(runs))]
    together = [[name for name in names if name in named] for names in CURVES]
    grouped = [name for names in together for name in names]
    together += [[name] for name in named if name not in grouped]
    if len(runs) > 1:
        together = [[name] for names in together for name in names]
    charts = []
    for names in filter(None, together):
        series: list[dict[str, Any]] = []
        for name in names:
            for run, label, own in zip(runs, labels, first, strict=True):
                for i, curve in enumerate(run.curves.get(name, ())):
                    n = len(series) if len(runs) == 1 else own + i
                    shown = name if len(runs) == 1 else label
                    series.append(_series(curve, shown, n, n // 6 + n))
        log = any(name.endswith("gradient_norm") for name in names)
        charts.append({"title": ", ".join(names), "log": log, "series": series})
    return charts


def _curves(charts: Sequence[dict], runs: Sequence[Run], labels: Sequence[str]) -> str:
    if not charts:
        return "<section><h2>Curves</h2><p>metrics.jsonl has no line yet.</p></section>"
    figures = "".join(
        f'<figure class="chart" data-chart="{n}"><h3>{html.escape(chart["title"])}</h3></figure>'
        for n, chart in enumerate(charts)
    )
    every = [curve for run in runs for curves in run.curves.values() for curve in curves]
    notes = ["Drag, or the wheel over a chosen chart, zooms; so do + and &minus;, and 0 resets."]
    if any(curve.low for curve in every):
        notes.append("Lines are means over seeds, bands a standard deviation on either side.")
    if any(curve.thinned for curve in every):
        notes.append("Long curves are thinned to 1,000 points, evenly with the first and last.")
    return (
        f'<section><h2>Curves</h2><p class="quiet">{" ".join(notes)}</p>'
        '<div class="bar"><label>Smoothing <input id="smoothing" type="range" min="0" max="0.98" '
        'step="0.02" value="0"> <output id="smoothing-value">0.00</output></label>'
        '<button id="reset" type="button">Reset zoom</button></div>'
        f'<div class="charts">{figures}</div>{_last_values(runs, labels)}</section>'
    )


def _last_values(runs: Sequence[Run], labels: Sequence[str]) -> str:
    """The table that stands for the curves where they are not seen."""
    columns = [
        (f"{label} {group}".strip() if len(runs) > 1 or group else "value", run, group)
        for run, label in zip(runs, labels, strict=True)
        for group in dict.fromkeys(c.group for curves in run.curves.values() for c in curves)
    ]
    names = dict.fromkeys(name for run in runs for name in run.curves)
    rows = []
    for name in names:
        cells = []
        for _, run, group in columns:
            own = [c for c in run.curves.get(name, ()) if c.group == group]
            value = own[0].values[-1] if own else None
            cells.append(f"{sections.number(value)} at {own[0].steps[-1]:,}" if own else "-")
        rows.append([name, *cells])
    table = sections.table(["scalar", *(label for label, *_ in columns)], rows, "Last values")
    return f"<details><summary>Last values as a table</summary>{table}</details>"


def _tracks(runs: Sequence[Run], labels: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """The timelines, and how many pictures of them are left out."""
    named = [
        (f"{label} {member}".strip(), pictures)
        for run, label in zip(runs, labels, strict=True)
        for member, pictures in run.samples.items()
    ]
    shown = named[:TIMELINES]
    most = max(2, PICTURES // max(len(shown), 1))
    tracks = [
        {"label": label, "steps": steps, "pictures": [each[step].read_bytes() for step in steps]}
        for label, each in shown
        for steps in [[[*each][n] for n in thin(len(each), most)]]
    ]
    if sum(len(picture) for track in tracks for picture in track["pictures"]) > BYTES:
        for track in tracks:
            kept = thin(len(track["steps"]), 2)
            for key in ("steps", "pictures"):
                track[key] = [track[key][n] for n in kept]
    for track in tracks:
        track["pictures"] = [*map(_uri, track["pictures"])]
    there = sum(len(each) for _, each in named)
    return tracks, there - sum(len(track["steps"]) for track in tracks)


def _uri(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _timeline(tracks: Sequence[dict], left_out: int, runs: Sequence[Run]) -> str:
    if not tracks:
        return "<section><h2>Samples</h2><p>There are no samples yet.</p></section>"
    figures = ""
    for n, track in enumerate(tracks):
        label = html.escape(track["label"])
        figures += (
            f'<figure><img id="track-{n}" src="{track["pictures"][-1]}" alt="Samples of {label} at '
            f'step {track["steps"][-1]:,}"><figcaption>{label}</figcaption></figure>'
        )
    return (
        '<section><h2>Samples</h2><p class="quiet">The same latents, or images to start from, '
        "throughout; the last picture is shown first.</p>"
        '<div class="bar timeline"><button id="play" type="button">Play</button>'
        '<input id="sample-step" type="range" min="0" max="0" value="0" '
        'aria-label="Step of the samples"><output id="sample-told"></output></div>'
        f'<div class="tracks">{figures}</div>{_classes(runs)}{_thinned(left_out)}</section>'
    )


def _thinned(left_out: int) -> str:
    if not left_out:
        return ""
    return (
        f'<p class="quiet">{left_out:,} pictures of samples/ are left out: at most {PICTURES} are '
        f"shown, evenly chosen, and the first and last of at most {TIMELINES} timelines.</p>"
    )


def _classes(runs: Sequence[Run]) -> str:
    """What the rows of a conditional model's samples are."""
    lists: Iterable[tuple[str, ...]] = dict.fromkeys(
        tuple(map(str, run.config.derived.class_names)) for run in runs if run.config.conditional
    )
    return "".join(
        f'<p class="quiet">One row a class: {html.escape(", ".join(names))}.</p>'
        for names in lists
        if names
    )
