"""Checkpoints: bit for bit, the newest few, errors that name what does not fit, and no damage that
is not seen."""

import ast
import contextlib
import errno
import hashlib
import json
import os
import random
import re
import resource
import shutil
import threading
from pathlib import Path
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from hypothesis import strategies as st
from orbax.checkpoint import v1

import jaxgan
from jaxgan import config, experiment
from jaxgan.checkpoint import Checkpoints, Damaged
from jaxgan.errors import UserError
from tests.mutations import fuzz, mutated

CONFIG = Path(__file__).parents[1] / "configs" / "default.py"
KEYS = ["model.name=mlp", "model.generator.features=(8,)", "model.discriminator.features=(8,)"]


def make_state(*overrides, seed=0):
    """A GAN's state, small, with arrays that differ all over."""
    settings = config.load(CONFIG, [*KEYS, "z_dim=4", *overrides])
    algorithm = experiment.build(config.resolve(settings, 100, (8, 8, 1), (), {}))
    state = algorithm.init(jax.random.key(seed))
    noise = jax.random.key(seed + 1)
    leaves, tree = jax.tree.flatten(state)
    for n, leaf in enumerate(leaves):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            leaves[n] = jax.random.normal(jax.random.fold_in(noise, n), leaf.shape, leaf.dtype)
    return tree.unflatten(leaves).replace(step=jnp.int32(7))


@pytest.fixture(scope="module")
def state():
    return make_state()


@pytest.fixture(scope="module")
def saved(state, tmp_path_factory):
    """The folder of one checkpoint, of step 7."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save(folder, [7], state)
    return folder


def make_tree(seed=0, width=5):
    """A state of every kind of leaf, quick to save."""
    noise = jax.random.split(jax.random.key(seed), 3)
    return {
        "kernel": jax.random.normal(noise[0], (7, width)),
        "half": {"bias": jax.random.normal(noise[1], (width,), jnp.bfloat16)},
        "key": noise[2],
        "step": jnp.int32(seed),
    }


@contextlib.contextmanager
def opened(folder, keep=0):
    checkpoints = Checkpoints(folder, keep)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


def save(folder, steps, state, keep=1, **info):
    with opened(folder, keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, state, **info)
        checkpoints.wait()


def save_trees(folder, steps, keep=9):
    """One tree a step, of which the step is the seed."""
    with opened(folder, keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_tree(step), note=f"of {step}")
        checkpoints.wait()


def restore(folder, step, like):
    """The state alone."""
    with opened(folder) as checkpoints:
        return checkpoints.restore(step, like)[0]


def newest(folder, like=None):
    with opened(folder) as checkpoints:
        return checkpoints.newest(like or shapes(make_tree()))


def look(folder):
    """All there is below: bytes, and times, which tell of files that came and went."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else None) for p in paths}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def shapes(state, sharding=None):
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.eval_shape(lambda: state)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype, path
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), path


def test_round_trip_bit_for_bit(saved, state):
    back = restore(saved, 7, shapes(state))
    assert_same(back, state)
    assert int(back.step) == 7
    assert jax.random.bits(back.key) == jax.random.bits(state.key)


def test_a_state_comes_back_with_the_sharding_asked_for(saved, state):
    mesh = jax.make_mesh((len(jax.devices()),), ("data",))
    same = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    back = restore(saved, 7, shapes(state, same))
    assert all(leaf.sharding == same for leaf in jax.tree.leaves(back))
    assert_same(back, state)


def test_the_newest_are_kept(tmp_path):
    save_trees(tmp_path, [2, 4, 10, 12], keep=3)
    assert names(tmp_path) == ["10", "12", "4"]
    with opened(tmp_path) as checkpoints:
        assert checkpoints.steps() == [4, 10, 12]  # by number, not by name


def test_saving_a_step_twice_changes_nothing(tmp_path):
    save(tmp_path, [3], make_tree())
    before = look(tmp_path)
    save(tmp_path, [3], make_tree(5))
    assert look(tmp_path) == before
    assert_same(restore(tmp_path, 3, shapes(make_tree())), make_tree())


def test_a_step_before_the_newest_is_saved_or_refused(tmp_path):
    """A run that went back, and is better this time, passes its best once more."""
    with opened(tmp_path, keep=2) as checkpoints:
        checkpoints.save(4, make_tree(4))
        with contextlib.suppress(UserError):
            checkpoints.save(2, make_tree(2))
            checkpoints.wait()
            assert checkpoints.steps() == [2, 4]


def test_a_saved_state_may_be_donated_at_once(tmp_path, state):
    doubled = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf + leaf, x), donate_argnums=0)
    params = jax.tree.map(jnp.copy, state.generator.params)
    with opened(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, params)
        jax.block_until_ready(doubled(params))
        checkpoints.wait()
    assert_same(restore(tmp_path, 1, shapes(state.generator.params)), state.generator.params)


@pytest.mark.parametrize(
    ("overrides", "leaf", "there", "here"),
    [
        (["z_dim=5"], "ema/params/Dense_0/kernel", "float32[4, 8]", "float32[5, 8]"),
        (["optimizer.generator.name=sgd"], "generator/opt/0/count", "int32[]", "absent"),
        (["model.discriminator.norm=batch"], "discriminator/opt/.*", "absent", "float32[8]"),
    ],
)
def test_another_state_names_a_leaf_that_differs(saved, overrides, leaf, there, here):
    like = shapes(make_state(*overrides))
    message = f"{leaf} is {re.escape(there)} there, {re.escape(here)} here$"
    with pytest.raises(UserError, match=f"^{re.escape(str(saved / '7'))}: .*: {message}"):
        restore(saved, 7, like)


def test_another_dtype_names_the_leaf(saved, state):
    like = shapes(state)
    like = like.replace(step=jax.ShapeDtypeStruct((), jnp.float32, sharding=like.step.sharding))
    with pytest.raises(UserError, match=r": step is int32\[\] there, float32\[\] here$"):
        restore(saved, 7, like)


def test_a_missing_step_names_those_there_are(saved, tmp_path, state):
    with pytest.raises(UserError, match=r"no checkpoint of step 8; there are: 7$"):
        restore(saved, 8, shapes(state))
    with pytest.raises(UserError, match=r"no checkpoint of step 8; there are: none$"):
        restore(tmp_path, 8, shapes(state))


def test_another_model_is_no_damage(tmp_path):
    """Nothing older is taken instead, whether it would fit or not."""
    save(tmp_path, [2], make_tree(), keep=3)
    save(tmp_path, [4], make_tree(width=6), keep=3)
    before = look(tmp_path)
    with pytest.raises(UserError, match=r"/4: holds another state: half/bias is .*\[6\] .*\[5\]"):
        newest(tmp_path)
    half = shapes(make_tree(width=6))
    half["kernel"] = jax.ShapeDtypeStruct((7, 6), jnp.float16, sharding=half["kernel"].sharding)
    with pytest.raises(UserError, match="holds another state: kernel is float32") as caught:
        newest(tmp_path, half)
    assert type(caught.value) is UserError
    assert look(tmp_path) == before


def test_what_is_kept_beside_the_state(tmp_path):
    info = {"metric": "fid", "value": 1.5, "none": None, "list": [1, "é\n"], "deep": {"a": {}}}
    save(tmp_path, [3], make_tree(3), keep=2, **info)
    save(tmp_path, [5], make_tree(5), keep=2)
    with opened(tmp_path) as checkpoints:
        state, found = checkpoints.restore(3, shapes(make_tree()))
        assert_same(state, make_tree(3))
        assert found == checkpoints.info(3) == {"step": 3, **info}
        assert checkpoints.info(5) == {"step": 5}
        restored = checkpoints.newest(shapes(make_tree()))
    assert (restored.step, restored.info, restored.damaged) == (5, {"step": 5}, {})
    assert_same(restored.state, make_tree(5))


def test_orbax_v1_reads_what_is_written(tmp_path):
    save_trees(tmp_path, [3])
    assert_same(v1.load(tmp_path / "3", shapes(make_tree())), make_tree(3))
    found = v1.load_checkpointables(tmp_path / "3", {"default": shapes(make_tree())})
    assert_same(found["default"], make_tree(3))


# --------------------------------------------------------------------------------------------------
# The manifest


def test_the_manifest_lists_every_file_but_three(tmp_path):
    save_trees(tmp_path, [3])
    folder = tmp_path / "3"
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    there = {name: [len(b), hashlib.sha256(b).hexdigest()] for name, b in files.items()}
    for name in ("manifest.json", "_CHECKPOINT_METADATA", "commit_success.txt"):
        del there[name]
    assert len(there) > 5
    assert manifest["content"] == {"files": there, "info": {"step": 3, "note": "of 3"}}
    content = json.dumps(manifest["content"], sort_keys=True).encode()
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_folder_has_its_manifest_before_its_name(tmp_path, monkeypatch):
    seen = []
    write = Checkpoints._write_manifest

    def write_manifest(self):
        write(self)
        seen.extend((names(tmp_path), list(tmp_path.glob("*/manifest.json"))))

    monkeypatch.setattr(Checkpoints, "_write_manifest", write_manifest)
    save_trees(tmp_path, [3])
    (folder,), (manifest,) = seen
    assert folder.startswith("3.orbax-checkpoint-tmp")
    assert manifest.parent.name == folder


DEEP = "[" * 200_000 + "]" * 200_000
NO_MANIFESTS = {
    "empty": b"",
    "not JSON": b'{"content": ',
    "not text": bytes(range(128, 256)),
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "nothing in it": b"{}",
    "deep": DEEP.encode(),
    "deep inside": b'{"sha256": "", "content": ' + DEEP.encode() + b"}",
    "a long number": b'{"sha256": "", "content": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("content", NO_MANIFESTS.values(), ids=NO_MANIFESTS)
def test_a_manifest_that_is_none(content, two):
    (two / "4" / "manifest.json").write_bytes(content)
    assert_falls_back(two, "manifest.json: cannot be used: ")


def test_a_manifest_that_does_not_agree_with_itself(two):
    path = two / "4" / "manifest.json"
    path.write_text(path.read_text().replace('"of 4"', '"of 5"'))
    assert_falls_back(two, "manifest.json: .* does not agree with its own checksum")


def forge(folder, change):
    """Change the manifest, and make it agree with itself."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())["content"]
    changed = change(content)
    content = content if changed is None else changed
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"content": content, "sha256": digest}))


@pytest.mark.parametrize("name", ["../x", "../../x", "default/../../../x", "/x", "..", "{}/x"])
def test_a_manifest_that_climbs_out(name, two):
    """A file that is there and agrees with it does not help."""
    for place in (two, two.parent):
        (place / "x").write_bytes(b"outside")
    name = name.format(two)
    forge(two / "4", lambda content: content["files"].update({name: OUTSIDE}))
    assert_falls_back(two, "manifest.json: cannot be used: .* lies outside the folder")


OUTSIDE = [7, hashlib.sha256(b"outside").hexdigest()]
NO_SUM = "0" * 64
FORGED = {
    "no content": lambda content: [],
    "no files": lambda content: content["files"].clear(),
    "files are a list": lambda content: content.update(files=[["_METADATA", 1, NO_SUM]]),
    "files are none": lambda content: content.update(files=None),
    "no info": lambda content: content.pop("info") and None,
    "info is a number": lambda content: content.update(info=3),
    "info is a list": lambda content: content.update(info=["step"]),
    "another step": lambda content: content["info"].update(step=2),
    "no step": lambda content: content["info"].pop("step") and None,
    "step is text": lambda content: content["info"].update(step="4\n"),
    "no pair": lambda content: content["files"].update(x=[1]),
    "a number": lambda content: content["files"].update(x=1),
    "no size": lambda content: content["files"].update(x=["1", NO_SUM]),
    "sizes are no integers": lambda content: content.update(
        files={name: [float(size), digest] for name, (size, digest) in content["files"].items()}
    ),
    "no checksum": lambda content: content["files"].update(x=[1, None]),
    "no such file": lambda content: content["files"].update(x=[1, NO_SUM]),
    "a folder": lambda content: content["files"].update(default=[4096, NO_SUM]),
    "no name": lambda content: content["files"].update({"": [4096, NO_SUM]}),
    "a name with a null": lambda content: content["files"].update({"x\0": [1, NO_SUM]}),
    "a name of two lines": lambda content: content["files"].update({"x\ny": [1, NO_SUM]}),
    "half a character": lambda content: content["files"].update({"\ud800": [1, NO_SUM]}),
    "a long name": lambda content: content["files"].update({"x" * 300: [1, NO_SUM]}),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_forged_manifest(change, two):
    forge(two / "4", change)
    assert_falls_back(two, "")


@pytest.mark.parametrize("emptied", [False, True])
def test_a_manifest_that_lists_no_state(emptied, two):
    folder = two / "4"
    shutil.rmtree(folder / "default")
    if emptied:
        (folder / "default").mkdir()
    (folder / "x").write_bytes(b"outside")
    forge(folder, lambda content: content.update(files={"x": OUTSIDE}))
    assert_falls_back(two, "")


# --------------------------------------------------------------------------------------------------
# Damage


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals") / "last"
    save_trees(folder, [2, 4])
    return folder


@pytest.fixture
def two(originals, tmp_path):
    """Checkpoints of steps 2 and 4, to be damaged."""
    return shutil.copytree(originals, tmp_path / "run" / "last")


def assert_falls_back(folder, message):
    """Step 4 is damaged, and that is said in a line; step 2 is restored; nothing is changed."""
    before = look(folder)
    restored = newest(folder)
    assert (restored.step, restored.info) == (2, {"step": 2, "note": "of 2"})
    assert_same(restored.state, make_tree(2))
    (text,) = restored.damaged.values()
    assert list(restored.damaged) == [4]
    assert_one_line(text)
    assert re.match(f"{re.escape(str(folder / '4'))}.*{message}", text), text
    with opened(folder) as checkpoints, pytest.raises(Damaged, match=re.escape(text)):
        checkpoints.restore(4, shapes(make_tree()))
    assert look(folder) == before


def assert_one_line(text):
    assert len(text.splitlines()) == 1, text
    text.encode()  # it can be printed


def part(pattern):
    """Of the folder of step 4, the largest file of this kind."""

    def find(folder):
        return max((folder / "4").glob(pattern), key=lambda path: path.stat().st_size)

    return find


KINDS = [
    "default/_METADATA",
    "default/_sharding",
    "default/array_metadatas/*",
    "default/commit_success.txt",
    "default/manifest.ocdbt",
    "default/d/*",
    "default/ocdbt.process_0/manifest.ocdbt",
    "default/ocdbt.process_0/d/*",
]


def test_every_kind_of_file_is_known(originals):
    """What is listed and what is damaged below is all that there is."""
    files = {path for path in (originals / "4").rglob("*") if path.is_file()}
    kinds = [*KINDS, "manifest.json", "_CHECKPOINT_METADATA", "commit_success.txt"]
    assert files == {path for kind in kinds for path in (originals / "4").glob(kind)}


@pytest.mark.parametrize("kind", KINDS)
def test_one_wrong_bit_anywhere(kind, two):
    path = part(kind)(two)
    content = path.read_bytes()
    rng = random.Random(kind)
    places = {0, len(content) - 1, *rng.sample(range(len(content)), min(6, len(content)))}
    with opened(two) as checkpoints:
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(Damaged, match=r"/4: the file .* is not as it was"):
                checkpoints.restore(4, shapes(make_tree()))
    assert_falls_back(two, "is not as it was saved$")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_off_or_gone(kind, two):
    path = part(kind)(two)
    os.truncate(path, path.stat().st_size - 1)
    assert_falls_back(two, f"the file .*{path.name}.? is not as it was saved$")
    os.truncate(path, 0)
    assert_falls_back(two, f"the file .*{path.name}.? is not as it was saved$")
    path.unlink()
    assert_falls_back(two, f"the file .*{path.name}.? is missing$")


@pytest.mark.parametrize("missing", ["manifest.json", "*", "default"])
def test_a_folder_of_which_much_is_gone(missing, two):
    for path in (two / "4").glob(missing):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_falls_back(
        two, "missing$" if missing == "default" else "there is no manifest.json in it$"
    )


def test_a_folder_by_the_name_of_another_step(two):
    shutil.rmtree(two / "4")
    shutil.copytree(two / "2", two / "4")
    assert_falls_back(two, "holds step 2, not what its name says$")


def test_a_disk_that_cannot_read_a_file(two, monkeypatch):
    read = hashlib.file_digest

    def file_digest(file, name):
        if file.name.endswith("/4/default/_METADATA"):
            raise OSError(errno.EIO, "Input/output error", file.name)
        return read(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    assert_falls_back(two, "Input/output error")


@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "commit_success.txt"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff", DEEP.encode()])
def test_files_that_no_manifest_lists(name, content, two):
    path = two / "4" / name
    path.unlink() if content is None else path.write_bytes(content)
    restored = newest(two)
    assert_same(restored.state, make_tree(restored.step))
    assert restored.step == 4 or assert_one_line(restored.damaged[4]) is None


def test_names_that_are_no_step(two):
    for name in ("7x", "step_8", "latest", "-9", "9.orbax-checkpoint-tmp", "damaged"):
        shutil.copytree(two / "2", two / name)
    (two / "11").write_bytes(b"a file")
    assert newest(two).step == 4


def test_fuzz(two):
    """Whatever happens to one file: the same state, or one sentence."""
    content = {p: p.read_bytes() for p in sorted((two / "4").rglob("*")) if p.is_file()}
    like, saved = shapes(make_tree()), make_tree(4)

    @fuzz
    @hypothesis.given(st.sampled_from(sorted(content)), st.data())
    def check(path, data):
        path.write_bytes(data.draw(mutated([content[path]])))
        with opened(two) as checkpoints:
            try:
                state, info = checkpoints.restore(4, like)
            except UserError as error:
                assert_one_line(str(error))
                assert str(two / "4") in str(error)
            else:
                assert_same(state, saved)
                assert info == {"step": 4, "note": "of 4"}
        path.write_bytes(content[path])

    check()


def test_all_damaged(two):
    (two / "2" / "manifest.json").write_bytes(b"")
    shutil.rmtree(two / "4" / "default")
    (two / "5").mkdir()
    before = look(two)
    for keep in (0, 1):
        with opened(two, keep) as checkpoints:
            with pytest.raises(UserError, match="no checkpoint is whole; nothing was") as caught:
                checkpoints.newest(shapes(make_tree()))
            assert type(caught.value) is UserError
    assert_one_line(str(caught.value))
    for step, text in ((5, "there is no"), (4, "is missing"), (2, "cannot be used")):
        assert re.search(f"{re.escape(str(two / str(step)))}[:/].*{text}", str(caught.value))
    assert look(two) == before


def test_none_at_all(tmp_path):
    assert newest(tmp_path) is None
    assert newest(tmp_path / "not there") is None
    assert names(tmp_path) == []


def test_a_damaged_folder_is_set_aside_and_saved_anew(two):
    shutil.rmtree(two / "4" / "default")
    damaged = look(two / "4")
    with opened(two, keep=3) as checkpoints:
        assert checkpoints.newest(shapes(make_tree())).step == 2
        moved = checkpoints.set_aside(4)
        assert moved == two.parent / "damaged" / "last-4"
        assert [v for _, v in look(moved).items()] == [v for _, v in damaged.items()]
        assert checkpoints.steps() == [2]
        checkpoints.save(4, make_tree(44))
        checkpoints.wait()
        assert checkpoints.steps() == [2, 4]
        assert checkpoints.set_aside(4) not in (moved, two / "4")  # none takes another's place
        checkpoints.save(4, make_tree(45))
        checkpoints.wait()
        assert_same(checkpoints.newest(shapes(make_tree())).state, make_tree(45))
    assert len(names(two.parent / "damaged")) == 2
    assert_same(restore(two, 4, shapes(make_tree())), make_tree(45))


# --------------------------------------------------------------------------------------------------
# Saves that do not come to their end


def leave_unfinished(folder, step=6):
    """What a save leaves that is killed."""
    unfinished = folder / f"{step}.orbax-checkpoint-tmp"
    (unfinished / "default").mkdir(parents=True)
    (unfinished / "default" / "manifest.ocdbt").write_bytes(b"half of")
    (unfinished / "manifest.json").write_bytes(b"{")
    return unfinished


def test_a_writer_removes_what_a_killed_save_left(two):
    leave_unfinished(two)
    with opened(two, keep=3) as checkpoints:
        assert names(two) == ["2", "4"]
        assert checkpoints.steps() == [2, 4]
        checkpoints.save(6, make_tree(6))  # as the run that goes on does
        checkpoints.wait()
    assert names(two) == ["2", "4", "6"]
    assert_same(newest(two).state, make_tree(6))


def test_a_reader_writes_nothing_at_all(two):
    """Another process may be writing: what looks unfinished is its own."""
    leave_unfinished(two)
    shutil.rmtree(two / "4" / "default")
    before = look(two.parent)
    with opened(two) as checkpoints:
        assert checkpoints.steps() == [2, 4]
        assert checkpoints.newest(shapes(make_tree())).step == 2
        checkpoints.restore(2, shapes(make_tree()))
        with pytest.raises(Damaged):
            checkpoints.info(4)
        with contextlib.suppress(UserError):
            checkpoints.save(6, make_tree(6))
        checkpoints.wait()
    assert look(two.parent) == before


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def failing(how):
    """Saves in here fail; where they do is the difference."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        if how == "as it begins":
            patch.setattr("orbax.checkpoint.CheckpointManager.save", no_space)
        elif how == "in the manifest":  # in the thread in the background
            patch.setattr("jaxgan.checkpoint._digest", no_space)
        elif how == "in its arrays":  # TensorStore's own
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
            stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        elif how == "in its renaming":
            patch.setattr(Path, "rename", no_space)
            patch.setattr(os, "rename", no_space)
        yield


def large(seed):
    return {"noise": jax.random.normal(jax.random.key(seed), (100, 100))}


FAILURES = ["as it begins", "in the manifest", "in its arrays", "in its renaming"]


class Earlier(struct.PyTreeNode):
    """A state of a version that had one field less."""

    step: Any
    params: Any


class Later(Earlier):
    memory: Any = struct.field(default_factory=dict)


def test_a_field_that_holds_nothing_is_not_stored(tmp_path):
    """So a run goes on under a version whose states have another field."""
    w = {"w": jnp.arange(3.0)}
    with opened(tmp_path, 3) as checkpoints:
        checkpoints.save(1, Earlier(step=jnp.int32(1), params=w))
        checkpoints.save(2, Later(step=jnp.int32(2), params=w))
        checkpoints.save(3, Later(step=jnp.int32(3), params=w, memory={"p": jnp.float32(0.5)}))
        checkpoints.wait()
    like = shapes(Later(step=jnp.int32(0), params=w))
    for step, kind in ((1, Earlier), (1, Later), (2, Earlier), (2, Later)):
        state = restore(tmp_path, step, shapes(kind(step=jnp.int32(0), params=w)))
        assert isinstance(state, kind) and state.step == step
        assert state.params["w"].tolist() == [0, 1, 2]
    with pytest.raises(UserError, match=r"memory/p is float32\[\] there, absent here"):
        restore(tmp_path, 3, like)


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize(("keep", "told"), [(1, "wait"), (2, "save")])
def test_a_save_that_fails(how, keep, told, tmp_path):
    folder, like = tmp_path / "last", shapes(large(0))
    with opened(folder, keep) as checkpoints:
        for step in (2, 4):
            checkpoints.save(step, large(step))
        checkpoints.wait()
        there, before = names(folder), look(folder)
        with failing(how), pytest.raises(UserError) as caught:
            checkpoints.save(6, large(6))
            checkpoints.wait() if told == "wait" else checkpoints.save(8, large(8))
        text = str(caught.value)
        assert_one_line(text)
        assert text.startswith(f"{folder}: the checkpoint of step 6 cannot be written: ")
        assert ("no space is left on the disk" in text) == (how != "in its arrays")

        assert names(folder) == there  # nothing is left of it, and the earlier ones are there
        after = look(folder)
        assert all(after[path] == before[path] for path in before if path != folder)
        restored = newest(folder, like)
        assert restored.step == 4
        assert_same(restored.state, large(4))

        checkpoints.save(6, large(60))  # there is space again
        checkpoints.wait()
        assert_same(restore(folder, 6, like), large(60))
        checkpoints.save(8, large(8))
        checkpoints.wait()
        assert_same(restore(folder, 8, like), large(8))


@contextlib.contextmanager
def after_a_failure(folder, keep, how):
    """Checkpoints of 2 and 4, as far as they are kept, where the save of 6 has failed."""
    with opened(folder, keep) as checkpoints:
        for step in (2, 4):
            checkpoints.save(step, large(step))
        checkpoints.wait()
        with failing(how), pytest.raises(UserError):
            checkpoints.save(6, large(6))
            checkpoints.wait()
        yield checkpoints


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("keep", [1, 2])
def test_after_a_save_that_fails_the_steps_are_those_on_the_disk(how, keep, tmp_path):
    """Also to the one who failed: Orbax has dropped the one that was to go by then."""
    with after_a_failure(tmp_path, keep, how) as checkpoints:
        assert checkpoints.steps() == [2, 4][-keep:] == sorted(map(int, names(tmp_path)))
        assert checkpoints.newest(shapes(large(0))).step == 4


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("keep", [1, 2])
def test_after_a_save_that_fails_no_more_are_kept(how, keep, tmp_path):
    with after_a_failure(tmp_path, keep, how) as checkpoints:
        for step in (6, 8):
            checkpoints.save(step, large(step))
        checkpoints.wait()
        assert names(tmp_path) == ["6", "8"][-keep:]


def test_a_failed_save_leaves_no_thread(tmp_path):
    with opened(tmp_path, keep=1) as checkpoints:
        checkpoints.save(2, make_tree())
        checkpoints.wait()
        before = set(threading.enumerate())
        with failing("in the manifest"), pytest.raises(UserError):
            checkpoints.save(4, make_tree())
            checkpoints.wait()
        new = set(threading.enumerate()) - before
        for thread in new:  # those that are about to end
            thread.join(5)
        left = [thread for thread in new if thread.is_alive() and not thread.daemon]
    assert not left


@pytest.mark.parametrize(
    ("error", "text"), [(ValueError("one\ntwo"), "one"), (KeyError(), "KeyError")]
)
def test_an_error_of_orbax_s_own_is_told_in_a_line(error, text, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", fail)
    with opened(tmp_path, keep=1) as checkpoints:
        message = f"{tmp_path}: the checkpoint of step 4,000 cannot be written: {text}; the earlier"
        with pytest.raises(UserError, match=f"^{re.escape(message)} ones are whole$"):
            checkpoints.save(4000, make_tree())


def test_closing_after_a_save_that_failed(tmp_path):
    """What a block raised is not hidden by it; the next start finds what is whole."""
    save(tmp_path, [2], make_tree(2), keep=3)
    with failing("in the manifest"), opened(tmp_path, keep=3) as checkpoints:
        checkpoints.save(4, make_tree(4))
    with opened(tmp_path, keep=3) as checkpoints:
        assert names(tmp_path) == ["2"]
        assert_same(checkpoints.newest(shapes(make_tree())).state, make_tree(2))


def test_nothing_else_imports_orbax():
    for path in Path(jaxgan.__file__).parent.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        imported = [
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        ]
        imported += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
        imports = any(name.split(".")[0] == "orbax" for name in imported)
        assert imports == (path.name == "checkpoint.py"), path


def test_all_of_a_checkpoint_outlasts_a_power_cut(tmp_path, monkeypatch):
    """Its files and their names, before the older one goes."""
    synced, sync = [], jaxgan.checkpoint._sync
    monkeypatch.setattr(jaxgan.checkpoint, "_sync", lambda path: synced.append(path) or sync(path))
    with opened(tmp_path / "last", keep=1) as checkpoints:
        checkpoints.save(2, make_tree())
        checkpoints.wait()
        names = {
            path.relative_to(tmp_path / "last" / "2")
            for path in (tmp_path / "last" / "2").rglob("*")
        }
        names -= {Path("commit_success.txt")}  # the last to be written; it says what the name says
        unfinished = tmp_path / "last" / "2.orbax-checkpoint-tmp"
        assert {unfinished / name for name in names} | {unfinished} <= set(synced)
        assert synced[-1] == tmp_path / "last"
