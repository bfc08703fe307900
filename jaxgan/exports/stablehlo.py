"""model.stablehlo: a generator for any program with JAX in it, which needs no jaxgan and no Flax.

It is serialised by `jax.export` for CPU, CUDA and TPU at once, with a batch of any size. Where a
convolution has a way of its own for CPU (ops/conv.py), the program has both, and takes the one of
the platform that it runs on.
"""

import importlib.util
from pathlib import Path

import jax
from jax import export

from jaxgan import writer
from jaxgan.errors import UserError
from jaxgan.exports import programs
from jaxgan.pretrained import Model

PLATFORMS = ("cpu", "cuda", "tpu")


def write(folder: Path, model: Model) -> float:
    """Writes the program and config.json; returns how much its images differ from the model's own.
    Raises UserError where that is more than rounding, and without the package that JAX serialises
    with."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError('--format: stablehlo takes a package: pip install -e ".[export]"')
    (batch,) = export.symbolic_shape("batch")
    function = jax.jit(programs.generator(model))
    given = programs.inputs(model, batch).values()
    serialised = export.export(function, platforms=PLATFORMS)(*given).serialize()
    program = export.deserialize(serialised)
    worst = programs.check(model, program.call, "model.stablehlo")
    (folder / "model.stablehlo").write_bytes(serialised)
    about = {
        "platforms": list(program.platforms),
        "jax": jax.__version__,
        "calling_convention_version": program.calling_convention_version,
    }
    writer.write_json(folder / "config.json", programs.told(model, "stablehlo", **about))
    return worst


USE = """## Use

```python
import jax
from jax import export

with open("model.stablehlo", "rb") as file:
    program = export.deserialize(bytearray(file.read()))
{draw}
images = program.call({names})  # float32 {shape}
```

Latents are {latents}. {output} Batches are of any size. It takes
`pip install jax flatbuffers`.

It was exported with JAX {jax} for {platforms}, and a JAX that is up to six months newer reads it
([guarantees](https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees)). So this
is no format for an archive: what lasts are weights and settings, `export --format safetensors`.
Products of float32 numbers are as exact as it is, on accelerators too."""
