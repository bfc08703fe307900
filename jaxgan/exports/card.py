"""README.md of an exported generator: a model card, as the Hugging Face Hub lays them out
(https://huggingface.co/docs/hub/model-cards).

It says what the files are and how to draw from them, what the generator was trained on and how, and
what its samples were measured to be, with the protocol.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import jaxgan
from jaxgan import archive, commands, data, writer

# Under which licence data sets are, where that is known.
LICENCES = {
    **dict.fromkeys(
        ("fashion_mnist_mini", "fashion_mnist"), "of Fashion-MNIST, © 2017 Zalando SE, MIT licence"
    ),
    **dict.fromkeys(("ring", "grid", "swiss_roll"), "drawn by jaxgan itself"),
    "grammar": "drawn by jaxgan itself",
}

# Of config.sample_dropout.
_DROPPED = "Its samples are drawn with dropout; what is made of given latents is without."


class Page(NamedTuple):
    """What a card is written from."""

    config: ConfigDict  # of which the places on this machine are not told
    step: int
    licence: str  # one of the Hub's names of licences
    files: str  # Markdown: what they are and how they are used
    library: str = ""  # that reads the files, as the Hub knows it
    evaluations: Sequence[Mapping[str, Any]] = ()  # those of evaluation.json that are of the step


def write(path: Path, page: Page) -> None:
    lines = [*_front(page), "", *_about(page), *_training(page), *_figures(page)]
    path.write_text("\n".join(lines))


def _front(page: Page) -> list[str]:
    """The YAML that the Hub reads."""
    images = len(page.config.derived.image_shape) == 3
    tags = ["gan", "jax", "flax", page.config.model.name, page.config.algorithm]
    return [
        "---",
        f"license: {page.licence}",
        *([f"library_name: {page.library}"] if page.library else []),
        *(["pipeline_tag: unconditional-image-generation"] if images else []),
        "tags:",
        *(f"- {tag}" for tag in dict.fromkeys(tags)),
        "---",
    ]


def _about(page: Page) -> list[str]:
    config, derived = page.config, page.config.derived
    shape = " x ".join(map(str, derived.image_shape))
    classes = ", ".join(f"{n} {_line(name)}" for n, name in enumerate(derived.class_names))
    conditional = f", of {derived.num_classes} classes ({classes})" if classes else ""
    axes, sound = len(derived.image_shape), data.sound_of(derived.data.to_dict())
    kind = {1: "sounds" if sound else "points", 2: "texts", 3: "images"}[axes]
    own = config.data.name == "folder"
    return [
        f"# A generator of {'own images' if own else _line(config.data.name)}",
        "",
        "![samples](samples.png)",
        "",
        f"It draws {kind} of {shape} numbers from {config.z_dim} latents{conditional}: the network "
        f"`{config.model.name}` of [jaxgan](https://github.com/jaxgan/jaxgan), trained by its "
        f"algorithm `{config.algorithm}`. These are its averaged weights (EMA).",
        "",
        *([_DROPPED, ""] if config.sample_dropout else []),
        page.files,
        "",
    ]


def _training(page: Page) -> list[str]:
    config, derived = page.config, page.config.derived
    licence = LICENCES.get(config.data.name, "")
    licence = licence or "the licence of these data is not known to jaxgan"
    size = f"{derived.num_examples:,} examples" if derived.num_examples else "without end"
    command = _command(config)
    return [
        "## Training",
        "",
        f"- data: `{_line(config.data.name)}`, split `{_line(config.data.split)}`, {size}; "
        f"{licence}",
        f"- {page.step:,} steps of {derived.images_per_step:,} images, loss `{config.loss}`, seed "
        f"{config.seed}",
        f"- all settings are in config.json; exported by jaxgan {jaxgan.__version__}",
        "",
        *(["```bash", command, "```", ""] if command else []),
    ]


def _command(config: ConfigDict) -> str | None:
    """The training command in a clone of jaxgan; None where there is none, or elsewhere."""
    there = ConfigDict(archive.published(config))
    if config.data.path:
        there.data.path = "PATH"
    return commands.training(there, "runs/again")


# --------------------------------------------------------------------------------------------------
# What was measured


def _figures(page: Page) -> list[str]:
    if not page.evaluations:
        return []
    lines = ["## Metrics", ""]
    for entry in page.evaluations:
        columns = entry["figures"]
        names = list(columns)
        rows = dict.fromkeys(name for column in columns.values() for name in column)
        lines += [f"| | {' | '.join(map(_line, names))} |", f"|---|{'---|' * len(names)}"]
        for row in rows:
            cells = (writer.figure(columns[name].get(row)) for name in names)
            lines.append(f"| {_line(row)} | {' | '.join(cells)} |")
        lines += ["", *_protocol(entry), ""]
    return lines


def is_whole(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of evaluation.json has all that a card tells of it."""
    told = {"figures", "samples", "sample_seeds", "protocol", "weights", "statistics"}
    if not entry.keys() >= told | {"precision", "jaxgan"}:
        return False
    try:
        cells = [x for column in entry["figures"].values() for x in column.values()]
        counted = {"count"} <= entry["protocol"]["reference"].keys()
        return counted and all({"value", "standard_error"} <= x.keys() for x in cells)
    except (AttributeError, KeyError, TypeError):
        return False


def _protocol(entry: Mapping[str, Any]) -> list[str]:
    seeds, reference = entry["sample_seeds"], entry["protocol"]["reference"]
    of = " ".join(str(reference[key]) for key in ("name", "split") if key in reference)
    features = entry["protocol"].get("features", {})
    names = {key: features[key] for key in ("features", "weights_sha256") if key in features}
    return [
        f"{entry['samples']:,} samples, mean ± standard error over {seeds} sample seeds, against "
        f"{reference['count']:,} real ones of {_line(of)}"
        + (f"; features: {_line(', '.join(map(str, names.values())))}" if names else "")
        + f". Weights: {entry['weights']}; statistics of BatchNorm: {entry['statistics']}; "
        f"arithmetic: {entry['precision']}; jaxgan {entry['jaxgan']}. The whole protocol:",
        "",
        "```json",
        json.dumps(entry["protocol"], indent=1),
        "```",
    ]


def _line(text: str) -> str:
    """On one line, and within a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")
