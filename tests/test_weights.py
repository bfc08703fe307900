"""Weight files: each format, and what must not be believed of them.

golden/state_dict*.pth are PyTorch's own; to write them again, golden/make_state_dicts.py. All other
files are put together here, instruction by instruction where that is a pickle.
"""

import io
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from jaxgan.errors import UserError
from jaxgan.weights import read_tensors, write_tensors
from tests.mutations import fuzz, mutated

GOLDEN = Path(__file__).parent / "golden"
GRID = np.arange(24, dtype=np.float32).reshape(4, 6)
BYTES = GRID.tobytes()


# --------------------------------------------------------------------------------------------------
# Pickles by hand


def plain(value):
    """The instructions that make numbers, strings, and tuples, lists and dicts of them."""
    return pickle.dumps(value, 2)[2:-1]


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *args):
    return function + b"(" + b"".join(args) + b"tR"


def table(entries, start=b"}"):
    return start + b"(" + b"".join(plain(key) + value for key, value in entries.items()) + b"u"


def whole(body):
    return b"\x80\x02" + body + b"."


def storage(key="0", size=24, kind="FloatStorage", view=b""):
    ends = plain(key), plain("cpu"), plain(size), view
    return b"(" + plain("storage") + name("torch", kind) + b"".join(ends) + b"tQ"


def tensor(stored=None, offset=0, shape=(4, 6), strides=(6, 1)):
    hooks = call(name("collections", "OrderedDict"))
    args = [plain(value) for value in (offset, shape, strides, False)]
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, storage() if stored is None else stored, *args, hooks)


def legacy(body, storages=(("0", 24, BYTES),), version=1001, little=True):
    head = [0x1950A86A20F9469CFC6C, version, {"protocol_version": version, "little_endian": little}]
    parts = [*(whole(plain(each)) for each in head), whole(body)]
    parts.append(whole(plain([key for key, _, _ in storages])))
    parts += [struct.pack("<q", size) + content for _, size, content in storages]
    return b"".join(parts)


def zipped(body, storages=(("0", BYTES),), method=zipfile.ZIP_STORED, **more):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("archive/data.pkl", whole(body))
        for key, content in storages:
            archive.writestr(f"archive/data/{key}", content)
        for member, content in more.items():
            archive.writestr(f"archive/{member}", content)
    return file.getvalue()


WAYS = {"legacy": legacy, "zip": zipped}


def array(dtype="f4", order="<", shape=(4, 6), data=None, kind=("numpy", "ndarray")):
    """An array as numpy pickles it."""
    made = call(name("numpy", "dtype"), plain(dtype), b"\x89", b"\x88")
    made += b"(" + b"".join(plain(v) for v in (3, order, None, None, None, -1, -1, 0)) + b"tb"
    data = BYTES if data is None else data
    bytes_ = b"B" + struct.pack("<I", len(data)) + data
    empty = call(name("numpy.core.multiarray", "_reconstruct"), name(*kind), plain((0,)), b"C\1b")
    return empty + b"(" + plain(1) + plain(shape) + made + b"\x89" + bytes_ + b"tb"


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def read(tmp_path, content):
    path = tmp_path / "weights"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return read_tensors(path)


def refused(tmp_path, content):
    """The sentence without the file's name, at the cost of little time and memory."""
    tracemalloc.start()
    begin = time.monotonic()
    try:
        with pytest.raises(UserError) as raised:
            read(tmp_path, content)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begin < 20
    sentence = str(raised.value)
    assert sentence.startswith(f"{tmp_path / 'weights'}: ") and "\n" not in sentence
    return sentence.removeprefix(f"{tmp_path / 'weights'}: ")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        value = np.asarray(value)
        assert found[key].dtype == value.dtype and found[key].dtype.isnative
        assert found[key].shape == value.shape and found[key].flags.c_contiguous
        assert found[key].flags.writeable  # its own memory, not the file's
        np.testing.assert_array_equal(found[key], value)


# --------------------------------------------------------------------------------------------------
# Formats


@pytest.mark.parametrize("file", ["state_dict.pth", "state_dict_legacy.pth"])
def test_pytorchs_files(file):
    expected = {
        "strided": GRID.T[1:3],
        "row": GRID[2],
        "half": np.array([0.5, -2], np.float16),
        "brain": np.array([1, -3], np.float32),
        "count": np.array(7),
    }
    assert_same(read_tensors(GOLDEN / file), expected)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_state_dict_alone_in_a_dict_or_in_an_ordered_one(way, tmp_path):
    state = table({"a": tensor(), "b": tensor(offset=1, shape=(2, 3), strides=(12, 2))})
    expected = {"a": GRID, "b": GRID[::2, 1::2]}
    assert_same(read(tmp_path, way(state)), expected)
    ordered = state.replace(b"}", call(name("collections", "OrderedDict")), 1)
    metadata = table({"_metadata": plain({"": {"version": 1}})})
    assert_same(read(tmp_path, way(ordered + metadata + b"b")), expected)
    around = table({"epoch": plain(3), "optimizer": plain({"lr": 0.1}), "model": state})
    assert_same(read(tmp_path, way(around)), expected)
    two = refused(tmp_path, way(table({"model": state, "ema": state})))
    assert two == "holds more than one dict of tensors; save the state_dict alone"


def test_a_state_dict_of_python_2(tmp_path):
    pairs = b"](" + b"](U\1a" + tensor() + b"e" + b"](U\1b" + tensor(shape=(), strides=()) + b"ee"
    body = call(name("collections", "OrderedDict"), pairs)
    assert_same(read(tmp_path, legacy(body)), {"a": GRID, "b": GRID[0, 0]})


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_all_types_of_pytorch(way, tmp_path):
    kinds = {"Double": "f8", "Float": "f4", "Half": "f2", "Long": "i8", "Int": "i4"}
    kinds |= {"Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "b1"}
    numbers = {kind: np.array([0, 1, 100], dtype) for kind, dtype in kinds.items()}
    body = table(
        {kind: tensor(storage(kind, 3, f"{kind}Storage"), 0, (3,), (1,)) for kind in kinds}
    )
    stored = [(kind, 3, numbers[kind].tobytes()) for kind in kinds]
    if way is zipped:
        stored = [(kind, content) for kind, _, content in stored]
    assert_same(read(tmp_path, way(body, stored)), numbers)


def test_an_empty_tensor(tmp_path):
    body = table({"none": tensor(storage(size=0), 0, (0, 5), (5, 1))})
    assert_same(read(tmp_path, zipped(body, [("0", b"")])), {"none": np.zeros((0, 5), np.float32)})


def test_nested_dicts_of_arrays(tmp_path):
    tree = {"VGG_0": {"Conv_0": {"kernel": GRID.reshape(2, 3, 4), "bias": GRID[0].astype(">f8")}}}
    tree["count"] = np.asfortranarray(GRID.astype(np.int16))
    expected = {
        "VGG_0/Conv_0/kernel": GRID.reshape(2, 3, 4),
        "VGG_0/Conv_0/bias": GRID[0].astype(np.float64),
        "count": GRID.astype(np.int16),
    }
    for protocol in (3, 4):
        assert_same(read(tmp_path, pickle.dumps(tree, protocol)), expected)
    assert_same(read(tmp_path, whole(table({"a": table({"b": array()})}))), {"a/b": GRID})


def test_npz(tmp_path):
    arrays = {"a": GRID, "b/c": np.array(3), "d": np.asfortranarray(GRID.astype(">f8"))}
    expected = arrays | {"d": GRID.astype(np.float64)}
    for save in (np.savez, np.savez_compressed):
        assert_same(read(tmp_path, npz(save, **arrays)), expected)


def test_safetensors(tmp_path):
    arrays = {"a": GRID, "b": np.array([1, 2]), "c": np.array([True]), "h": GRID.astype(np.float16)}
    assert_same(read(tmp_path, save_safetensors(arrays)), arrays)
    brain = safetensors_of('{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}', b"\x80?@\xc0")
    assert_same(read(tmp_path, brain), {"x": np.array([1, -3], np.float32)})
    written = {"number": np.float32(0.5), "turned": GRID.T, "a": GRID}
    write_tensors(tmp_path / "written", written)
    assert_same(read_tensors(tmp_path / "written"), written)


def safetensors_of(header, data):
    return struct.pack("<Q", len(header)) + header.encode() + data


# --------------------------------------------------------------------------------------------------
# What is wrong with a file


def test_other_files(tmp_path):
    path = tmp_path / "weights"
    with pytest.raises(UserError, match=r"weights: cannot be read: No such file"):
        read_tensors(path)
    assert refused(tmp_path, b"") == "is empty"
    should = "should be safetensors, .npz, a PyTorch state_dict or a pickle of numpy arrays"
    assert refused(tmp_path, b"<!DOCTYPE html><html></html>") == should
    assert "another zip archive" in refused(tmp_path, npz(a=GRID).replace(b"a.npy", b"a.txt"))
    for nothing in (
        zipped(table({"epoch": plain(3)})),
        whole(plain({"lr": 1})),
        legacy(plain([]), ()),
    ):
        assert refused(tmp_path, nothing) == "there are no tensors in it"


def bombs(mark):
    """Calls of `os.system` and its kind, by each way in which a pickle can make them."""
    command = plain(f"touch {mark}")
    system = name(os.system.__module__, "system")
    return [
        call(system, command),
        call(name("builtins", "eval"), plain(f"open({str(mark)!r}, 'w')")),
        plain("os") + plain("system") + b"\x93" + b"(" + command + b"tR",
        b"(" + command + b"i" + os.system.__module__.encode() + b"\nsystem\n",
        b"(" + system + command + b"o",
        system + b"(" + command + b"t\x81",
        b"\x82\1",
        call(name("torch._utils", "_rebuild_tensor_v2.__globals__"), command),
        call(name("numpy.core.multiarray", "_reconstruct"), system, plain((0,)), plain("b")),
    ]


@pytest.mark.parametrize("number", range(9))
def test_nothing_is_run(number, tmp_path):
    mark = tmp_path / "mark"
    bomb = bombs(mark)[number]
    for body in (bomb, table({"a": tensor(), "b": bomb}), b"}" + bomb + b"b", plain(0) + bomb):
        for content in (whole(body), legacy(body), zipped(body)):
            assert "weights do not need" in refused(tmp_path, content)
    assert not mark.exists() and "torch" not in sys.modules


def test_a_call_is_only_noted(tmp_path):
    # An allowed name with arguments or a state of a stranger's stays what it is.
    for function in (("numpy", "dtype"), ("collections", "OrderedDict"), ("numpy", "ndarray")):
        odd = call(name(*function), plain((2**40,)))
        assert refused(tmp_path, whole(table({"a": odd}))) == "there are no tensors in it"
        assert "corrupt" in refused(tmp_path, whole(name(*function) + plain({"x": 1}) + b"b"))
    with pytest.raises(AttributeError):
        _ = np.ndarray.x


TENSORS = {  # of a storage of 24 numbers
    "offset": {"offset": 1},
    "a negative offset": {"offset": -1},
    "shape": {"shape": (5, 6)},
    "a negative shape": {"shape": (-4, -6)},
    "a huge shape": {"shape": (2**40, 1), "strides": (0, 0)},
    "one number many times": {"shape": (100, 100), "strides": (0, 0)},
    "strides": {"strides": (7, 1)},
    "negative strides": {"offset": 23, "strides": (-6, -1)},
    "too few strides": {"strides": (1,)},
    "many axes": {"shape": (1,) * 70, "strides": (1,) * 70},
    "a shape of floats": {"shape": (4.0, 6.0)},
    "a shape that wraps around": {"shape": (2**32, 2**32), "strides": (0, 0)},
}


@pytest.mark.parametrize("wrong", TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_tensors_stay_within_their_storage(way, wrong, tmp_path):
    assert "corrupt" in refused(tmp_path, way(table({"a": tensor(**wrong)})))


@pytest.mark.parametrize("size", [23, 25, -1, 2**40, 2**70])
def test_sizes_of_storages(size, tmp_path):
    body = table({"a": tensor(storage(size=size), shape=(1,), strides=(1,))})
    assert "corrupt" in refused(tmp_path, zipped(body))
    assert "corrupt" in refused(tmp_path, legacy(body))
    if -(2**63) <= size < 2**63:
        claimed = legacy(body, [("0", size, BYTES)])
        if size == 23:  # what follows is not looked at, as PyTorch does not
            assert_same(read(tmp_path, claimed), {"a": GRID[0, :1]})
        else:
            assert "corrupt" in refused(tmp_path, claimed)


def test_odd_storages(tmp_path):
    body = table({"a": tensor()})
    both = table({"a": tensor(), "b": tensor(storage(kind="LongStorage"))})
    assert "two types or sizes" in refused(tmp_path, zipped(both))
    for kind in ("QInt8Storage", "UntypedStorage"):
        unknown = zipped(table({"a": tensor(storage(kind=kind))}))
        assert f"'torch.{kind}', which weights do not need" in refused(tmp_path, unknown)
    view = plain(("0", 0, 24))
    other = "holds something other than PyTorch's storages of numbers"
    assert refused(tmp_path, legacy(table({"a": tensor(storage(view=view))}))) == other
    for key in ("../../../../etc/passwd", "/etc/passwd", "1"):
        assert "corrupt" in refused(tmp_path, zipped(table({"a": tensor(storage(key))})))
    for content in (BYTES, bytes(2**28)):
        compressed = zipped(body, [("0", content)], zipfile.ZIP_DEFLATED)
        assert "are not compressed" in refused(tmp_path, compressed)
    assert "big-endian" in refused(tmp_path, zipped(body, byteorder=b"big"))
    assert "big-endian" in refused(tmp_path, legacy(body, little=False))
    assert "unknown version" in refused(tmp_path, legacy(body, version=1002))


def test_arrays_in_pickles_are_checked(tmp_path):
    for wrong in ({"shape": (5, 6)}, {"shape": (2**40,)}, {"data": b""}, {"shape": (-24,)}):
        assert "corrupt" in refused(tmp_path, whole(table({"a": array(**wrong)})))
    assert "corrupt" in refused(tmp_path, whole(table({"a": array(order="?")})))
    assert "corrupt" in refused(tmp_path, whole(table({"a": array(kind=("numpy", "dtype"))})))
    for dtype in ("O8", "V4", "U1", "f4,f4"):
        sentence = refused(tmp_path, whole(table({"a": array(dtype=dtype)})))
        assert sentence == f"has an array of {dtype!r}; they should hold numbers"
    assert "more follows" in refused(tmp_path, whole(table({"a": array()})) + b"\0")


def test_objects_in_npz_are_refused(tmp_path):
    assert "is of object" in refused(tmp_path, npz(a=np.array([None])))
    with np.load(io.BytesIO(npz(a=GRID))) as archive:
        header = archive.zip.read("a.npy").split(b"\n")[0]
    claims = npz(a=GRID).replace(header, header.replace(b"(4, 6)", b"(4,60)"))
    assert "corrupt" in refused(tmp_path, claims)


def test_sizes_that_a_header_claims(tmp_path):
    header = '{"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    assert "corrupt" in refused(tmp_path, safetensors_of(header, bytes(64)))
    assert "corrupt" in refused(tmp_path, struct.pack("<Q", 2**62) + header.encode())
    for claim in (b"\x8e" + struct.pack("<Q", 2**42), b"B" + struct.pack("<I", 2**32 - 1)):
        assert "corrupt" in refused(tmp_path, whole(claim + b"abc"))
    # Memory for that many entries is what the C unpickler would take.
    memo = table({"a": tensor()}) + b"r" + struct.pack("<I", 2**32 - 1)
    assert_same(read(tmp_path, legacy(memo)), {"a": GRID})


def test_what_grows_is_refused(tmp_path):
    entries = {str(i): array() for i in range(3)}
    assert read(tmp_path, whole(table(entries))).keys() == entries.keys()
    put, get = b"q\x09", b"h\x09"
    level = b"}(" + plain("a") + get + plain("b") + get + b"u" + put
    circle = b"}" + put + b"(" + plain("a") + get + b"u"
    for tree in (b"}" + put + level * 60, circle):
        assert "a dict occurs in it more than once" in refused(tmp_path, whole(tree))
    pairs = b")" + put + (get + get + b"\x86" + put) * 60  # hashing them would take for ever
    assert "corrupt" in refused(tmp_path, whole(pairs + b"}" + get + plain(1) + b"s"))
    deep = b"}" + plain("a") + (b"}" + plain("a")) * 10**4 + plain(1) + b"s" * (10**4 + 1)
    assert "corrupt" in refused(tmp_path, whole(deep))
    assert "longer than those of weights" in refused(tmp_path, whole(b"N" * 1_100_000))


def test_more_than_is_read(tmp_path, monkeypatch):
    numbers = np.arange(2400, dtype=np.float32)
    monkeypatch.setattr("jaxgan.weights.tensors.MAX_BYTES", 4 * numbers.nbytes)
    of_one = tensor(storage(size=2400), 0, (2400,), (1,))
    arrays = array(shape=(2400,), data=numbers.tobytes()) + b"q\x09"
    for count in (3, 5):
        names = [str(i) for i in range(count)]
        body = table(dict.fromkeys(names, of_one))
        again = table({name: b"h\x09" if name != "0" else arrays for name in names})
        ways = [zipped(body, [("0", numbers.tobytes())]), whole(again)]
        ways.append(legacy(body, [("0", 2400, numbers.tobytes())]))
        for content in ways:
            if count == 5:
                assert "are larger than" in refused(tmp_path, content)
            else:
                assert_same(read(tmp_path, content), dict.fromkeys(names, numbers))
    assert "are larger than" in refused(tmp_path, npz(np.savez_compressed, a=np.zeros(10**7)))
    assert "are larger than" in refused(tmp_path, safetensors_of("{", bytes(10**5)))  # not parsed
    unused = [(str(i), numbers.tobytes()) for i in range(5)]
    assert "are larger than" in refused(tmp_path, zipped(table({"a": of_one}), unused))


# --------------------------------------------------------------------------------------------------
# Fuzzing

STATE = table({"epoch": plain(3), "state": table({"a": tensor(), "b": tensor(shape=(2, 6))})})
FILES = {
    "zip": [(GOLDEN / "state_dict.pth").read_bytes(), zipped(STATE), npz(a=GRID, b=GRID[0])],
    "legacy": [(GOLDEN / "state_dict_legacy.pth").read_bytes(), legacy(STATE)],
    "nested": [whole(table({"a": array(), "b": table({"c": array()})})), pickle.dumps({"a": GRID})],
    "safetensors": [save_safetensors({"a": GRID, "b": GRID[0]})],
}


@pytest.mark.parametrize("kind", FILES)
def test_fuzz(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")

    @fuzz
    @hypothesis.given(st.one_of(st.binary(), *[mutated(FILES[kind])] * 4))
    def check(content):
        try:
            found = read(folder, content)
        except UserError as error:
            assert str(error).startswith(f"{folder / 'weights'}: ")
        else:
            assert all(value.dtype.kind in "fiub" for value in found.values())

    check()


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_cut_off_is_refused(kind, tmp_path):
    content = FILES[kind][0]
    for length in [*range(0, 40), *range(40, len(content), 7), len(content) - 1]:
        path = tmp_path / "weights"
        path.write_bytes(content[:length])
        with pytest.raises(UserError):
            read_tensors(path)
