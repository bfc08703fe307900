"""What a pickle would make, found without running it."""

import pickletools
from typing import Any, NamedTuple

from jaxgan.weights.tensors import BFLOAT16, Bad, expect, sizes

_MAX_INSTRUCTIONS = 10**6  # some sixty for each tensor

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


class Global(NamedTuple):
    """What a pickle would import."""

    module: str
    name: str


class Call:
    """What a pickle would call, the entries it would set and the state it would give the result."""

    def __init__(self, function: Global, args: tuple):
        self.function, self.args = function, args
        self.entries: dict = {}
        self.state: Any = None


class Storage(NamedTuple):
    """A persistent id of PyTorch's: numbers in a row, which lie elsewhere in the file."""

    dtype: str
    key: str
    size: int


NDARRAY, DTYPE = Global("numpy", "ndarray"), Global("numpy", "dtype")
RECONSTRUCT = {Global(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
DICT = Global("collections", "OrderedDict")
TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
PARAMETER = Global("torch._utils", "_rebuild_parameter")
_GLOBALS = {NDARRAY, DTYPE, *RECONSTRUCT, DICT, TENSOR, PARAMETER}
_GLOBALS |= {Global("torch", name) for name in STORAGES}

_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
_LITERALS |= {"BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING"}  # Python 2: the last
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Follows one pickle. `storages` are those that it names, by key."""

    def __init__(self):
        self.stack: list = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[Any, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, file: Any) -> Any:
        """What the pickle from here would make; `file` stands behind it afterwards."""
        for count, (instruction, arg, _) in enumerate(pickletools.genops(file)):
            name = instruction.name
            if count > _MAX_INSTRUCTIONS:
                raise Bad("its pickle is longer than those of weights")
            if name in _LITERALS:
                self.stack.append(arg)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name == "MARK":
                self.marks.append(len(self.stack))
            elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                self.memo[len(self.memo) if name == "MEMOIZE" else arg] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[arg])
            elif name not in ("PROTO", "FRAME", "STOP"):
                self._compose(name, arg)
        return self.stack.pop()

    def _compose(self, name: str, arg: Any) -> None:
        stack = self.stack
        if name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name == "TUPLE":
            stack.append(tuple(self._above()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._above()
            expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            if name == "SETITEM":
                self.marks.append(len(stack) - 2)
            items = self._above()
            into = stack[-1].entries if isinstance(stack[-1], Call) else expect(stack[-1], dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                into[expect(key, str, int)] = value  # tuples of tuples can take for ever to hash
        elif name == "GLOBAL":
            stack.append(_global(*arg.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_global(expect(module, str), expect(attribute, str)))
        elif name == "REDUCE":
            args, function = stack.pop(), stack.pop()
            stack.append(Call(expect(function, Global), expect(args, tuple)))
        elif name == "BUILD":
            state = stack.pop()
            expect(stack[-1], Call).state = state
        elif name == "BINPERSID":
            stack.append(self._storage(*expect(stack.pop(), tuple)))
        else:
            raise Bad(f"its pickle has the instruction {name}, which weights do not need")

    def _above(self) -> list:
        """Takes what lies above the last mark."""
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def _storage(self, kind: Any, which: Any, key: Any, device: Any, size: Any, view: Any = None):
        if kind != "storage" or expect(which, Global).name not in STORAGES or view is not None:
            raise Bad("holds something other than PyTorch's storages of numbers")
        storage = Storage(STORAGES[which.name], expect(key, str), *sizes((size,)))
        if self.storages.setdefault(key, storage) != storage:
            raise Bad("corrupt: one storage has two types or sizes")
        return storage


def _global(module: str, name: str) -> Global:
    wanted = Global(module, name)
    if wanted not in _GLOBALS:
        raise Bad(f"would run {f'{module}.{name}'[:80]!r}, which weights do not need; refused")
    return wanted


def called(value: Any, *functions: Global) -> bool:
    return isinstance(value, Call) and value.function in functions
