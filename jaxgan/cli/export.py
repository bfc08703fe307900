"""Write a trained generator as files that others can use.

    python -m jaxgan export --workdir runs/cgan --format safetensors --out clothes

The averaged weights (EMA) as model.safetensors, and all that is needed to draw from them in
config.json: `jaxgan.load("clothes")` reads both. README.md is a model card, with what
`evaluate` measured at that step. The folder can be uploaded to the Hugging Face Hub as it is, from
where `jaxgan.load("owner/name")` reads it (`pip install -e ".[hub]"`).
"""

import argparse
import re
from pathlib import Path
from typing import Any

from jaxgan.cli.sample import add_member, add_step, picture
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at

ROWS, COLUMNS = 10, 8  # of samples.png


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="the run's folder")
    parser.add_argument("--format", required=True, choices=list(FORMATS), help="of the files")
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument(
        "--license",
        default="unknown",
        metavar="NAME",
        help="of the weights, in the card, as the Hub names it: apache-2.0, mit, cc-by-4.0 ... "
        "(default unknown)",
    )
    add_step(parser)
    add_member(parser)


def run(arguments: argparse.Namespace) -> int:
    out = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out: {out} exists already; name a new or empty folder")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", arguments.license):
        raise UserError(
            f"--license: {arguments.license!r} is no name of a licence, such as apache-2.0"
        )

    from jaxgan import pretrained, writer

    workdir = folder_at(arguments.workdir)
    model = pretrained.open_model(workdir, arguments.step, arguments.member)
    with writer.whole_folder(out) as folder:
        FORMATS[arguments.format](folder, model, arguments)
        writer.write_png(folder / "samples.png", _samples(model))
    sizes = ", ".join(
        f"{path.name} ({path.stat().st_size:,} bytes)" for path in sorted(out.iterdir())
    )
    print(f"{out}, the generator of step {model.step:,}: {sizes}")
    return 0


def _safetensors(folder: Path, model: Any, arguments: argparse.Namespace) -> None:
    from jaxgan import archive

    archive.write(folder, model.config, model.state)
    labels = f", labels={list(model.class_names[:2])}" if model.class_names else ""
    text = f"""## Use

```python
import jaxgan

model = jaxgan.load("{arguments.out.name}")  # this folder's path, or "owner/name" on the Hub
images = model.sample(seed=0, n=64{labels})
```

`sample` gives what `python -m jaxgan sample --seed 0` draws of the run; `model.generate(z, labels)`
the images of latents, float32 in [-1, 1]. `model.safetensors` has the weights by the names of
Flax's variables, `config.json` the settings by which the network is built."""
    _card(folder, model, arguments, text, "jaxgan")


FORMATS = {"safetensors": _safetensors}


def _card(
    folder: Path, model: Any, arguments: argparse.Namespace, files: str, library: str = ""
) -> None:
    from jaxgan.exports import card

    found = _evaluations(folder_at(arguments.workdir), model, arguments.member)
    about = (model.config, model.step, arguments.license, files, library, found)
    card.write(folder / "README.md", card.Page(*about))


def _evaluations(workdir: Any, model: Any, member: int) -> list[dict[str, Any]]:
    """What evaluate measured of the same step and member."""
    from jaxgan.cli.evaluate import earlier

    return [
        each
        for each in earlier(workdir / "evaluation.json")
        if (each.get("step"), each.get("member")) == (model.step, member)
    ]


def _samples(model: Any):
    """A picture: a row for each of the first ten classes, or eight rows."""
    import numpy as np

    count = len(model.class_names)
    classes = np.repeat(np.arange(min(count, ROWS)), COLUMNS) if count else np.zeros(64, int)
    drawn = model.sample(0, len(classes), labels=classes.tolist() if count else None)
    return picture(drawn, COLUMNS, model.config.derived.data.to_dict().get("sound"))
