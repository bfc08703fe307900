"""model.onnx: a generator for ONNX Runtime and what else reads ONNX, with a batch of any size.

jax2onnx converts it, from a program of plain operations alone: where jaxgan has a way for each
platform the one for all, and nothing that has derivatives of its own. The file is kept if ONNX
Runtime makes the run's own images of it.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal

from jaxgan import writer
from jaxgan.errors import UserError
from jaxgan.exports import programs
from jaxgan.pretrained import Model

INSTALL = "pip install --no-deps -r docs/requirements-onnx.txt"

# Calls within a program, whose inner programs are put in their places.
CALLS = {"jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "custom_jvp_call"}
CALLS |= {"custom_vjp_call", "custom_vjp_call_jaxpr"}


def write(folder: Path, model: Model) -> float:
    """Writes the file and config.json; returns how much its images differ from the model's own.
    Raises UserError where that is more than rounding, for what cannot be converted, and without the
    packages that it takes."""
    function, given = programs.generator(model), programs.inputs(model, "batch")
    if model.config.precision == "bfloat16":
        raise UserError(
            "--format: this run computes in bfloat16, which ONNX Runtime lacks operations of; take "
            "safetensors or stablehlo"
        )
    with _quiet():
        try:
            import jax2onnx  # here: with what it takes it is no dependency, see INSTALL
            import onnxruntime
        except ImportError as error:
            raise UserError(f"--format: onnx takes {INSTALL} ({error})") from error
        path, names = folder / "model.onnx", list(given)
        try:
            made = jax2onnx.to_onnx(
                plain(function),
                [*given.values()],
                model_name="generator",
                input_names=names,
                output_names=["images"],
            )
        except Exception as error:  # whatever it raises of an operation that it has no word for
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"--format: jax2onnx does not convert {model.config.model.name}: {reason}"
            ) from error
    path.write_bytes(made.SerializeToString())
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"--format: ONNX Runtime does not read what was made: {reason}") from error
    call = lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]  # noqa: E731
    worst = programs.check(model, call, "model.onnx")
    about = {"opset": made.opset_import[0].version}
    writer.write_json(folder / "config.json", programs.told(model, "onnx", **about))
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds warnings back: jax2onnx tells of each package that it might use and does not find."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


USE = """## Use

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
{draw}
(images,) = session.run(None, {{{names}}})  # float32 {shape}
```

Latents are {latents}. {output} Batches are of any size; the opset is {opset}."""


# --------------------------------------------------------------------------------------------------
# Plain operations


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, written in those operations that jax2onnx has words for.

    Where it has a way for each platform (`jax.lax.platform_dependent`) the one for all is taken;
    what is called within it, as functions with derivatives of their own are, is put in its place.
    """

    def of_operations(*arguments):
        closed = jax.make_jaxpr(function)(*arguments)
        (result,) = _evaluated(closed.jaxpr, closed.consts, arguments)
        return result

    return of_operations


def _evaluated(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values.get(variable)

    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        given = [*map(read, equation.invars)]
        if name == "platform_index":  # read by nothing but the choice that follows
            continue
        inner = None
        if name == "cond" and params.get("branches_platforms"):
            inner, given = params["branches"][-1], given[1:]  # the last is for all others
        elif name in CALLS:
            inner = params.get("call_jaxpr", params.get("jaxpr"))
        if inner is not None:
            inner, held = (inner, ()) if isinstance(inner, Jaxpr) else (inner.jaxpr, inner.consts)
            outputs = _evaluated(inner, held, given)
        else:
            bind: Callable[..., Any] = equation.primitive.bind
            if name in OTHERWISE:
                bind = functools.partial(OTHERWISE[name], bind)
            outputs = bind(*given, **params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [*map(read, jaxpr.outvars)]


def _convolved(bind: Callable, images: Any, kernel: Any, **params: Any) -> Any:
    """With a kernel H W I O, where it is H W O I, as those of gradients are."""
    numbers = params["dimension_numbers"]
    if numbers.rhs_spec == (2, 3, 0, 1):
        kernel = jnp.swapaxes(kernel, 2, 3)
        params["dimension_numbers"] = numbers._replace(rhs_spec=(3, 2, 0, 1))
    return bind(images, kernel, **params)


def _padded(bind: Callable, x: Any, value: Any, padding_config: Any) -> Any:
    """By slices and concatenations: of its padding jax2onnx needs to know the batch."""
    if any(between for *_, between in padding_config):
        return bind(x, value, padding_config=padding_config)
    value = jnp.asarray(value, x.dtype)
    for axis, (low, high, _) in enumerate(padding_config):
        if low < 0 or high < 0:
            x = jax.lax.slice_in_dim(x, max(-low, 0), x.shape[axis] + min(high, 0), axis=axis)
        parts = [x]
        for count, place in ((low, 0), (high, 2)):
            if count > 0:
                shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
                parts.insert(place, jax.lax.broadcast(value, shape))
        x = jnp.concatenate(parts, axis) if len(parts) > 1 else x
    return x


OTHERWISE: dict[str, Callable[..., Any]] = {"conv_general_dilated": _convolved, "pad": _padded}
