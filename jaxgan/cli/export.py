"""Write a trained generator as files that others can use.

    python -m jaxgan export --workdir runs/cgan --format safetensors --out clothes

The averaged weights (EMA) as model.safetensors, and all that is needed to draw from them in
config.json: `jaxgan.load("clothes")` reads both. README.md is a model card, with what
`evaluate` measured at that step. The folder can be uploaded to the Hugging Face Hub as it is, from
where `jaxgan.load("owner/name")` reads it (`pip install -e ".[hub]"`).

    python -m jaxgan export --workdir runs/cgan --format stablehlo --out program
    python -m jaxgan export --workdir runs/cgan --format onnx --out portable

A program from latents (and labels) to float32 images, with the weights in it and a batch of any
size: stablehlo (`pip install -e ".[export]"`) for JAX on CPU, CUDA and TPU, of about the same age
as the one that wrote it; onnx for ONNX Runtime (`pip install --no-deps -r
docs/requirements-onnx.txt`). Each is kept only if it gives the run's own images. What lasts are
safetensors.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from jaxgan.cli.of_run import add_member, add_step, add_workdir
from jaxgan.cli.sample import picture
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at

ROWS, COLUMNS = 10, 8  # of samples.png


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser)
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
what these latents become, float32. `model.safetensors` has the weights by the names of Flax's
variables, `config.json` the settings by which the network is built."""
    _card(folder, model, arguments, text, "jaxgan")


def _stablehlo(folder: Path, model: Any, arguments: argparse.Namespace) -> None:
    import jax

    from jaxgan.exports import stablehlo

    _tell(stablehlo.write(folder, model))
    z = f"z = jax.random.normal(jax.random.key(0), (16, {model.config.z_dim}))"
    labels = f"labels = jax.numpy.arange(16) % {len(model.class_names)}"
    draw, names = (f"{z}\n{labels}", "z, labels") if model.class_names else (z, "z")
    told = {"jax": jax.__version__, "platforms": ", ".join(stablehlo.PLATFORMS)}
    _card(folder, model, arguments, _used(stablehlo.USE, model, draw=draw, names=names, **told))


def _onnx(folder: Path, model: Any, arguments: argparse.Namespace) -> None:
    from jaxgan.exports import onnx

    _tell(onnx.write(folder, model))
    z = f"z = np.random.default_rng(0).standard_normal((16, {model.config.z_dim}), np.float32)"
    labels = f"labels = np.arange(16, dtype=np.int32) % {len(model.class_names)}"
    draw, names = z, '"z": z'
    if model.class_names:
        draw, names = f"{z}\n{labels}", f'{names}, "labels": labels'
    opset = json.loads((folder / "config.json").read_text())["opset"]
    text = _used(onnx.USE, model, draw=draw, names=names, opset=opset)
    _card(folder, model, arguments, text, "onnx")


FORMATS = {"safetensors": _safetensors, "stablehlo": _stablehlo, "onnx": _onnx}


def _used(text: str, model: Any, **values: Any) -> str:
    """How a program is used: lines for a card."""
    from jaxgan.exports.programs import LATENTS

    shape, output = model.config.derived.image_shape, "Points are in the units of the data."
    if len(shape) == 3:
        output = "Images are -1 where black and 1 where white; clip what lies beyond."
    elif model.config.derived.data.get("sound"):
        output = "Sounds lie within -1 to 1."
    common = {"latents": LATENTS[model.config.latent], "output": output}
    return text.format(shape=f"({', '.join(map(str, [16, *shape]))})", **common, **values)


def _tell(worst: float) -> None:
    print(f"its images differ from the run's by {worst:.1g} at most")


def _card(
    folder: Path, model: Any, arguments: argparse.Namespace, files: str, library: str = ""
) -> None:
    from jaxgan.exports import card

    found = _evaluations(folder_at(arguments.workdir), model, arguments.member)
    about = (model.config, model.step, arguments.license, files, library, found)
    card.write(folder / "README.md", card.Page(*about))


def _evaluations(workdir: Any, model: Any, member: int) -> list[dict[str, Any]]:
    """What evaluate measured of the same step and member; another version's may lack anything, and
    is left out."""
    from jaxgan.cli.evaluate import earlier
    from jaxgan.exports import card

    return [
        each
        for each in earlier(workdir / "evaluation.json")
        if (each.get("step"), each.get("member")) == (model.step, member) and card.is_whole(each)
    ]


def _samples(model: Any):
    """A picture: a row for each of the first ten classes, or eight rows."""
    import numpy as np

    count = len(model.class_names)
    classes = np.repeat(np.arange(min(count, ROWS)), COLUMNS) if count else np.zeros(64, int)
    drawn = model.sample(0, len(classes), labels=classes.tolist() if count else None)
    return picture(drawn, COLUMNS, model.config.derived.data.to_dict().get("sound"))
