"""Operations of a traced program: its matrix products and convolutions, exactly.

XLA's own count has the body of a loop once; this one goes through the jaxpr, and multiplies.

* A product-and-sum is 2 operations. Products with the zeros of padding and of dilation do not
  count, as in XLA. What is not a product (norms, activations, optimisers) is left out, as is usual
  for model FLOPs: it takes time by its memory, not by its arithmetic.
* Nothing counts that no result needs; what is written twice counts twice, though XLA may compute it
  once (a penalty's pass through the discriminator, beside the loss's).
* `lax.platform_dependent` counts as on the platform asked for; of any other `cond` the branch with
  the most operations, so that lazy penalties count in each step.
* Blocks that forget their activations (remat) count as often as they are computed.
* Inside `shard_map` are the shapes of one device; they count on all of them.
* A `while` without a known number of turns counts once, and `unknown` says how many there are that
  hold products.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


class Count(NamedTuple):
    flops: int = 0
    unknown: int = 0  # loops

    def plus(self, other: "Count", times: int = 1) -> "Count":
        return Count(self.flops + times * other.flops, self.unknown + other.unknown)


def count(jaxpr: ClosedJaxpr, platform: str) -> Count:
    """The operations of all devices together, on `platform` ("tpu", "cpu")."""
    return _walk(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars), platform)[0]


def _walk(jaxpr: Jaxpr, wanted: Sequence[bool], platform: str) -> tuple[Count, list[bool]]:
    """The operations that the wanted results need, and which arguments do."""
    needed = {v for v, want in zip(jaxpr.outvars, wanted, strict=True) if want and _is_var(v)}
    total = Count()
    for equation in reversed(jaxpr.eqns):
        outputs = [variable in needed for variable in equation.outvars]
        if not any(outputs) and not equation.effects:
            continue
        found, inputs = _equation(equation, outputs, platform)
        total = total.plus(found)
        pairs = zip(equation.invars, inputs, strict=True)
        needed |= {variable for variable, use in pairs if use and _is_var(variable)}
    return total, [variable in needed for variable in jaxpr.invars]


def _is_var(variable: Any) -> bool:
    return not isinstance(variable, Literal)


def _equation(equation: Any, wanted: list[bool], platform: str) -> tuple[Count, list[bool]]:
    name, everything = equation.primitive.name, [True] * len(equation.invars)
    if name == "dot_general":
        return Count(dot_flops(equation)), everything
    if name == "conv_general_dilated":
        return Count(convolution_flops(equation)), everything
    if name == "scan":
        return _scan(equation, wanted, platform)
    if name == "cond":
        return _cond(equation, wanted, platform)
    inner = [_open(value) for value in equation.params.values() if _is_jaxpr(value)]
    if name == "while":
        counts = [_walk(each, [True] * len(each.outvars), platform)[0] for each in inner]
        once = Count().plus(counts[0]).plus(counts[1])
        return once.plus(Count(unknown=bool(once.flops))), everything
    if not inner:
        return Count(), everything
    [called] = inner  # jit, custom_jvp, custom_vjp, checkpoint, shard_map, reduce ...
    if len(called.outvars) != len(equation.outvars):
        return _walk(called, [True] * len(called.outvars), platform)[0], everything
    found, inputs = _walk(called, wanted, platform)
    if name == "shard_map":
        mesh = dict(equation.params["mesh"].shape)
        axes = equation.params.get("manual_axes", mesh)
        found = Count().plus(found, times=math.prod(mesh[axis] for axis in axes))
    return found, inputs if len(inputs) == len(everything) else everything


def _scan(equation: Any, wanted: list[bool], platform: str) -> tuple[Count, list[bool]]:
    # First constants, then what is carried, then what has an axis of turns. The parameters that say
    # how many there are have other names in jax 0.10 and 0.11.
    body = _open(equation.params["jaxpr"])
    carried = len(body.outvars) - _longer(equation.outvars, body.outvars)
    constants = len(body.invars) - _longer(equation.invars, body.invars) - carried
    wanted = list(wanted)
    while True:  # what a turn needs of the one before is wanted, too
        found, inputs = _walk(body, wanted, platform)
        needed = [*inputs[constants : constants + carried], *wanted[carried:]]
        both = [old or new for old, new in zip(wanted, needed, strict=True)]
        if both == wanted:
            return Count().plus(found, times=equation.params["length"]), inputs
        wanted = both


def _longer(outer: Sequence[Any], inner: Sequence[Any]) -> int:
    """How many have an axis more than inside."""
    return sum(o.aval.ndim > i.aval.ndim for o, i in zip(outer, inner, strict=True))


def _cond(equation: Any, wanted: list[bool], platform: str) -> tuple[Count, list[bool]]:
    branches = [_open(branch) for branch in equation.params["branches"]]
    for platforms, branch in zip(
        equation.params.get("branches_platforms") or (), branches, strict=False
    ):
        if platforms is None or platform in platforms:
            found, inputs = _walk(branch, wanted, platform)
            return found, [False, *inputs]
    walked = [_walk(branch, wanted, platform) for branch in branches]
    most = max((found for found, _ in walked), key=lambda found: found.flops)
    inputs = [any(each) for each in zip(*(inputs for _, inputs in walked), strict=True)]
    return most, [True, *inputs]


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, ClosedJaxpr | Jaxpr)


def _open(jaxpr: ClosedJaxpr | Jaxpr) -> Jaxpr:
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr


# --------------------------------------------------------------------------------------------------
# Products


def dot_flops(equation: Any) -> int:
    """2 b m n k of a batched product of m x k by k x n."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def convolution_flops(equation: Any) -> int:
    """2 x outputs' batch and features x inputs' features of a group x pairs of pixels that meet."""
    given, (image, kernel) = equation.params, (v.aval.shape for v in equation.invars)
    of_image, of_kernel, of_output = given["dimension_numbers"]
    output = equation.outvars[0].aval.shape
    pairs = [
        _pairs(
            output[of_output[2 + i]],
            kernel[of_kernel[2 + i]],
            image[of_image[2 + i]],
            stride=given["window_strides"][i],
            low=given["padding"][i][0],
            spread=given["lhs_dilation"][i],
            apart=given["rhs_dilation"][i],
        )
        for i in range(len(of_image) - 2)
    ]
    features = output[of_output[0]] * output[of_output[1]] * kernel[of_kernel[1]]
    return 2 * features * math.prod(pairs)


def _pairs(
    outputs: int, taps: int, size: int, stride: int, low: int, spread: int, apart: int
) -> int:
    """Of an output's pixel and a kernel's tap along one axis, those that meet a pixel of the image
    and no padding and no hole."""
    reached = (o * stride + tap * apart - low for o in range(outputs) for tap in range(taps))
    return sum(at % spread == 0 and 0 <= at // spread < size for at in reached)
