"""XLA's compiled programs, read from their text.

`parse` makes computations of it: what is executed, in lines of result = operation(operands). Sizes
are those in memory, with the padding that a layout's tiles bring: `f32[64,3]{1,0:T(8,128)}` takes
64 x 128 numbers. `S(n)` in a layout is a memory other than HBM, on TPU the chip's own (VMEM, SMEM).
"""

import functools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_LINE = re.compile(r"\s*(ROOT )?%?([\w.\-]+) = (.*)")
_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_BITS = {"pred": 8, "token": 0, "opaque": 0, "c64": 64, "c128": 128}


class Array(NamedTuple):
    """One array of a result."""

    kind: str
    dims: tuple[int, ...]
    layout: str

    @property
    def size(self) -> int:
        """Bytes, without padding."""
        return math.prod(self.dims) * _bits(self.kind) // 8

    @property
    def padded(self) -> int:
        """Bytes in memory."""
        tile = re.search(r":T\(([\d,]+)\)", self.layout)
        if not tile:
            return self.size
        sizes = [int(size) for size in tile[1].split(",")]
        order = [int(axis) for axis in self.layout.partition(":")[0].split(",") if axis]
        dims = [self.dims[axis] for axis in reversed(order)]  # the last one lies closest together
        dims = [1] * (len(sizes) - len(dims)) + dims
        for i, size in enumerate(sizes, start=len(dims) - len(sizes)):
            dims[i] = -(-dims[i] // size) * size
        return math.prod(dims) * _bits(self.kind) // 8

    @property
    def in_hbm(self) -> bool:
        return "S(" not in self.layout

    @property
    def hbm(self) -> int:
        """Bytes in HBM."""
        return self.padded if self.in_hbm else 0


def _bits(kind: str) -> int:
    if kind in _BITS:
        return _BITS[kind]
    number = re.search(r"\d+", kind)  # f32, bf16, s4, f8e4m3fn
    return int(number[0]) if number else 0


class Instruction(NamedTuple):
    name: str
    operation: str
    arrays: tuple[Array, ...]  # the result, or the parts of it
    operands: tuple[str, ...]
    inside: str  # the parentheses
    attributes: str

    @property
    def size(self) -> int:
        return sum(array.size for array in self.arrays)

    @property
    def hbm(self) -> int:
        return sum(array.hbm for array in self.arrays)

    def called(self, attribute: str = "calls") -> str:
        """The name of a computation that it calls."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return found[1] if found else ""

    @property
    def branches(self) -> list[str]:
        """Of a conditional."""
        if several := re.search(r"branch_computations=\{([^}]*)\}", self.attributes):
            return re.findall(r"[\w.\-]+", several[1])
        return [self.called(f"{truth}_computation") for truth in ("true", "false")]


class Computation(NamedTuple):
    name: str
    instructions: dict[str, Instruction]
    root: Instruction

    def parameter(self, number: int) -> str:
        """The name of that parameter."""
        wanted = ("parameter", str(number))
        found = self.instructions.values()
        return next(each.name for each in found if (each.operation, each.inside) == wanted)

    def users(self, name: str) -> Iterator[Instruction]:
        return (each for each in self.instructions.values() if name in each.operands)


class Program(NamedTuple):
    computations: dict[str, Computation]
    entry: Computation
    devices: int


def parse(text: str) -> Program:
    """The program of a compiled function's `as_text()`."""
    computations: dict[str, Computation] = {}
    entry = name = ""
    lines: dict[str, Instruction] = {}
    root: Instruction | None = None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name, lines, root = head[2], {}, None
            entry = name if head[1] else entry
        elif name and line.startswith("}"):
            assert root is not None
            computations[name], name = Computation(name, lines, root), ""
        elif name and (match := _LINE.match(line)):
            instruction = _instruction(match[2], match[3])
            lines[instruction.name] = instruction
            root = instruction if match[1] else root
    header = text.partition("\n")[0]
    counts = [re.search(rf"{key}=(\d+)", header) for key in ("num_partitions", "replica_count")]
    devices = math.prod(int(each[1]) for each in counts if each)
    return Program(computations, computations[entry], devices)


def _instruction(name: str, text: str) -> Instruction:
    text = re.sub(r"/\*.*?\*/", "", text)
    shape_end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    operation, _, _ = text[shape_end:].strip().partition("(")
    opening = text.index("(", shape_end)
    closing = _closing(text, opening)
    inside = text[opening + 1 : closing]
    arrays = tuple(
        Array(kind, tuple(int(n) for n in re.findall(r"\d+", dims)), layout)
        for kind, dims, layout in _ARRAY.findall(text[:shape_end])
    )
    operands = () if operation in ("constant", "parameter") else _operands(inside)
    return Instruction(name, operation, arrays, operands, inside, text[closing + 1 :])


def _operands(inside: str) -> tuple[str, ...]:
    return tuple(re.findall(r"%([\w.\-]+)", inside))


def _closing(text: str, opening: int) -> int:
    """Where the parenthesis that opens there closes."""
    depth = 0
    for match in re.compile(r"[()]").finditer(text, opening):
        depth += 1 if match[0] == "(" else -1
        if not depth:
            return match.start()
    raise ValueError(f"a parenthesis does not close: {text[:80]}")


# --------------------------------------------------------------------------------------------------
# Loops


def turns(program: Program, caller: Computation, loop: Instruction) -> int | None:
    """How often a `while` turns; None where its text does not say.

    It is told, or its condition is `number < bound` with a number that begins at a constant (and
    grows by 1, as in all loops that JAX makes of `scan`).
    """
    if told := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(told[1])
    condition = program.computations[loop.called("condition")]
    test = condition.root
    if test.operation != "compare" or "direction=LT" not in test.attributes:
        return None
    value = functools.partial(_constant, program, caller, loop, condition)
    first, bound = (value(name) for name in test.operands)
    return None if first is None or bound is None else max(bound - first, 0)


def _constant(
    program: Program, caller: Computation, loop: Instruction, condition: Computation, name: str
) -> int | None:
    """The number that `name` is when the condition is asked for the first time."""
    where, tuple_ = condition, caller.instructions[loop.operands[0]]
    for _ in range(20):
        found = where.instructions[name]
        if found.operation == "constant":
            return int(found.inside) if re.fullmatch(r"-?\d+", found.inside) else None
        if found.operation in ("copy", "bitcast", "convert", "copy-done", "copy-start"):
            name = found.operands[0]
        elif found.operation == "get-tuple-element" and where is condition:
            index = re.search(r"index=(\d+)", found.attributes)
            if tuple_.operation != "tuple" or not index:
                return None
            where, name = caller, tuple_.operands[int(index[1])]
        else:
            return None
    return None
