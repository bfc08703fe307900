"""Checkpoints: bit for bit, the newest few, and errors that name what does not fit."""

import ast
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgan
from jaxgan import config, experiment
from jaxgan.checkpoint import Checkpoints
from jaxgan.errors import UserError

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


def save(folder, steps, state, keep=1):
    checkpoints = Checkpoints(folder, keep)
    for step in steps:
        checkpoints.save(step, state)
    checkpoints.close()


def restore(folder, step, like):
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.restore(step, like)
    finally:
        checkpoints.close()


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


def test_the_newest_are_kept(tmp_path, state):
    save(tmp_path, [2, 4, 10, 12], state, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "12", "4"]
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [4, 10, 12]  # by number, not by name
    checkpoints.close()


def test_saving_a_step_twice_changes_nothing(tmp_path, state):
    save(tmp_path, [3], state)
    save(tmp_path, [3], make_state(seed=5))
    assert_same(restore(tmp_path, 3, shapes(state)), state)


def test_a_saved_state_may_be_donated_at_once(tmp_path, state):
    doubled = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf + leaf, x), donate_argnums=0)
    params = jax.tree.map(jnp.copy, state.generator.params)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, params)
    jax.block_until_ready(doubled(params))
    checkpoints.close()
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


def test_what_a_killed_save_leaves_is_passed_over(tmp_path, state):
    save(tmp_path, [2], state, keep=3)
    unfinished = tmp_path / "4.orbax-checkpoint-tmp"
    (unfinished / "default").mkdir(parents=True)
    (unfinished / "default" / "manifest.ocdbt").write_bytes(b"half of")
    checkpoints = Checkpoints(tmp_path, keep=3)
    assert checkpoints.steps() == [2]
    checkpoints.save(4, make_state(seed=5))  # as the run that goes on does
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, keep=3)
    assert checkpoints.steps() == [2, 4]
    checkpoints.close()
    assert_same(restore(tmp_path, 4, shapes(state)), make_state(seed=5))


def test_nothing_else_imports_orbax():
    for path in Path(jaxgan.__file__).parent.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = [
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        ]
        names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
        imports = any(name.split(".")[0] == "orbax" for name in names)
        assert imports == (path.name == "checkpoint.py"), path
