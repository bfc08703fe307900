"""Configs: reading files and overrides, checking values, and the numbers that follow from them."""

import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from jaxgan import cli
from jaxgan.config import differences, flatten, load, resolve, tiny, validate
from jaxgan.errors import UserError
from jaxgan.rules import HARMLESS, OPEN, RULES

CONFIGS = Path(__file__).parents[1] / "configs"
DEFAULT = CONFIGS / "default.py"
SHAPE, CLASSES = (28, 28, 1), tuple("abcdefghij")


def get(config, key):
    for part in key.split("."):
        config = config[part]
    return config


def changed(key, value):
    """The default config with a value in it that nothing has checked."""
    config = load(DEFAULT)
    *parents, name = key.split(".")
    section = get(config, ".".join(parents)) if parents else config
    with section.ignore_type():
        section[name] = value
    return config


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("steps=100", "steps", 100),
        ("steps=1_000", "steps", 1000),
        ("seed=4294967295", "seed", 2**32 - 1),
        ("optimizer.generator.learning_rate=1e-4", "optimizer.generator.learning_rate", 1e-4),
        ("optimizer.discriminator.b1=0", "optimizer.discriminator.b1", 0.0),  # becomes one
        ("ema.halflife_kimg=.5", "ema.halflife_kimg", 0.5),
        ("conditional=True", "conditional", True),
        ("conditional=true", "conditional", True),
        ("conditional=false", "conditional", False),
        ("model.name=mlp", "model.name", "mlp"),
        ("data.split=10", "data.split", "10"),  # a text stays one
        ("data.name=a=b", "data.name", "a=b"),
        ("model.generator.features=(8,16)", "model.generator.features", (8, 16)),
        ("model.generator.features=(8,)", "model.generator.features", (8,)),
        ("model.generator.width=8", "model.generator.width", 8),
        ("model.discriminator.norm=none", "model.discriminator.norm", "none"),
        ("penalties.r1=0.1", "penalties.r1", 0.1),
    ],
)
def test_an_override_sets_a_value_of_the_keys_type(override, key, value):
    found = get(load(DEFAULT, [override]), key)
    assert found == value
    assert type(found) is type(value)


def test_the_last_override_wins_and_the_others_stay():
    config = load(DEFAULT, ["steps=1", "batch_size=2", "steps=3"])
    assert (config.steps, config.batch_size) == (3, 2)
    assert config.z_dim == load(DEFAULT).z_dim


def test_overrides_are_told_from_other_arguments():
    arguments = ["train.py", "--config.steps=3", "--config", "a.py", "-config.z_dim", "4"]
    arguments += ["--config.seed", "5", "--workdir=w", "--config.data.name=a=b", "--dry_run"]
    own, overrides = cli.split_overrides(arguments)
    assert own == ["train.py", "--config", "a.py", "--workdir=w", "--dry_run"]
    assert overrides == ["steps=3", "z_dim=4", "seed=5", "data.name=a=b"]


def test_an_override_without_value_is_an_error():
    _, overrides = cli.split_overrides(["train.py", "--config.steps"])
    with pytest.raises(UserError, match=r"--config\.steps: a value is missing"):
        load(DEFAULT, overrides)


@pytest.mark.parametrize(
    "override",
    [
        *("steps=0", "steps=5e3", "steps=many", "steps=", "steps=True", "seed=-1", "seed=(1,2)"),
        *("conditional=1", "optimizer.generator.b1=1.5", "optimizer.generator.learning_rate=fast"),
        *(f"steps={2**31}", f"augment.kimg={10**400}"),
    ],
)
def test_an_override_of_the_wrong_kind_names_key_and_rule(override):
    key, _, value = override.partition("=")
    message = f"{key}: {value!r} is not allowed; it must be {RULES[key]}"
    with pytest.raises(UserError, match=re.escape(message)):
        load(DEFAULT, [override])


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("stepz", "steps"),
        ("step", "steps"),
        ("batchsize", "batch_size"),
        ("data.nam", "data.name"),
        ("optimizer.generator.learningrate", "optimizer.generator.learning_rate"),
        ("optimizer.discriminator.learning_rte", "optimizer.discriminator.learning_rate"),
        ("learning_rate", "optimizer.generator.learning_rate"),
        ("optimizers.generator.b1", "optimizer.generator.b1"),
        ("halflife_kimg", "ema.halflife_kimg"),
        ("model.generatr.width", "model.generator"),
        ("penalty.r1", "penalties"),
    ],
)
def test_a_misspelt_key_names_the_nearest(key, near):
    message = f"{key}: there is no such key; did you mean {near}?"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        load(DEFAULT, [f"{key}=1"])
    config = section = load(DEFAULT)  # the same mistake made in a file
    *parents, name = key.split(".")
    for parent in parents:
        if parent not in section:
            section[parent] = ConfigDict()
        section = section[parent]
    section[name] = 1
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        validate(config)


def test_a_key_like_no_other_points_at_the_list():
    with pytest.raises(UserError, match=r"^qqqq: there is no such key; configs/default\.py lists"):
        load(DEFAULT, ["qqqq=1"])


@pytest.mark.parametrize("key", OPEN)
def test_an_open_section_is_no_value(key):
    with pytest.raises(UserError, match=rf"^{key}: .*{key}\.NAME"):
        load(DEFAULT, [f"{key}=1"])


@pytest.mark.parametrize("key", ["penalties.r1.weight", "model.generator.width.most"])
def test_there_is_nothing_below_a_value(key):
    leaf = key.rpartition(".")[0]
    with pytest.raises(UserError, match=rf"^{key}: there is no such key"):
        load(DEFAULT, [f"{key}=1"])
    with pytest.raises(UserError, match=rf"^{key}: (there is no such key|{leaf} is a number)"):
        load(DEFAULT, [f"{leaf}=1", f"{key}=1"])


# --------------------------------------------------------------------------------------------------
# Rules


def test_rules_are_for_exactly_the_keys_of_default():
    assert {key for key, _ in flatten(load(DEFAULT))} == set(RULES)
    for section in OPEN:
        assert get(load(DEFAULT), section).to_dict() == {}
    assert {key for key in HARMLESS if not key.startswith("derived.")} < set(RULES)


def test_differences_are_told_apart():
    there, here = load(DEFAULT), load(DEFAULT, ["seed=5", "penalties.r1=1", "log_every=50"])
    del there.on_nonfinite
    serious, harmless = differences(there, here)
    assert serious == {"seed": [0, 5], "penalties.r1": [None, 1]}
    assert harmless == {"log_every": [100, 50], "on_nonfinite": [None, "stop"]}


def test_every_key_of_default_is_explained():
    lines = [line for line in DEFAULT.read_text().splitlines() if " = " in line]
    bare = [line for line in lines if "#" not in line and "ConfigDict()" not in line]
    told = {"data", "augment", "optimizer"}  # their sections' or first lines' comments say it
    assert [line for line in bare if not told & set(re.split(r"[.\[\s]+", line))] == []


def impossible(rule):
    """Values that a rule must refuse: of other types, and just outside its bounds."""
    # ConfigDict itself makes floats of whole numbers, and of True, where a float was.
    kinds = {float, int, bool} if rule.kind is float else {rule.kind}
    yield from (value for value in (None, [], "x", 1.5, 7, True) if type(value) not in kinds)
    near = 1 if rule.kind is int else 1e-6
    if rule.low is not None:
        yield rule.kind(rule.low - near)
    if rule.high is not None:
        yield rule.kind(rule.high + near)
    if rule.among:
        yield {bool: True, int: 7, float: 0.5, str: "x"}[rule.kind]


@pytest.mark.parametrize("key", RULES)
def test_validate_refuses_what_a_rule_refuses(key):
    for value in impossible(RULES[key]):
        message = f"{key}: {value!r} is not allowed; it must be {RULES[key]}"
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            validate(changed(key, value))


@pytest.mark.parametrize("key", RULES)
def test_validate_admits_the_bounds(key):
    rule = RULES[key]
    for value in (rule.low, rule.high, *rule.among):
        if value is not None:
            config = changed(key, value)
            config.log_every = config.sample_every = config.checkpoint_every = 1
            config.steps_per_call = 1
            validate(config)


# Not taken from RULES: what would make no sense whatever the rules say.
@pytest.mark.parametrize(
    ("key", "value"),
    [(key, 0) for key in ("steps", "batch_size", "z_dim", "n_critic", "steps_per_call")]
    + [(key, 0) for key in ("log_every", "sample_every", "checkpoint_every", "keep_checkpoints")]
    + [(key, -1) for key in ("seed", "parallel.data", "data.image_size", "evaluate_every")]
    + [("seed", 2**32), ("data.image_size", 4097), ("seeds", 0), ("parallel.fsdp", 0)]
    + [(f"optimizer.generator.{key}", -0.1) for key in ("learning_rate", "b1", "b2", "clip_norm")]
    + [(f"optimizer.discriminator.{key}", 1.1) for key in ("b1", "b2")]
    + [("ema.halflife_kimg", -1.0), ("ema.rampup", -0.1), ("precision", "float64")],
)
def test_impossible_values_are_refused(key, value):
    with pytest.raises(UserError, match=f"^{re.escape(key)}: {re.escape(repr(value))} is not"):
        validate(changed(key, value))


@pytest.mark.parametrize("key", ["log_every", "sample_every", "checkpoint_every"])
def test_cadence_is_a_multiple_of_steps_per_call(key):
    config = load(DEFAULT, ["steps_per_call=10", f"{key}=105"])
    with pytest.raises(UserError, match=f"^{key}: 105 is not a multiple of steps_per_call, 10"):
        validate(config)


@pytest.mark.parametrize("weight", ["much", True, -1, None])
def test_a_penaltys_weight_is_a_number(weight):
    config = load(DEFAULT)
    config.penalties["r1"] = weight
    with pytest.raises(UserError, match=r"^penalties\.r1: .* it must be a number at least 0"):
        validate(config)


@pytest.mark.parametrize("key", ["steps", "data.name", "optimizer.generator.b2"])
def test_a_missing_key_is_named(key):
    config = load(DEFAULT)
    *parents, name = key.split(".")
    del (get(config, ".".join(parents)) if parents else config)[name]
    with pytest.raises(UserError, match=f"^{re.escape(key)}: this key is missing"):
        validate(config)


# --------------------------------------------------------------------------------------------------
# Derived numbers and the small version


def test_resolve_derives():
    overrides = ["steps=1000", "batch_size=50", "n_critic=5", "conditional=True"]
    config = load(DEFAULT, overrides)
    resolved = resolve(config, 10_000, SHAPE, CLASSES, {"filter": "lanczos"})
    assert resolved.derived.to_dict() == {
        "num_examples": 10_000,
        "image_shape": [28, 28, 1],
        "num_classes": 10,
        "class_names": list(CLASSES),
        "data": {"filter": "lanczos"},
        "images_per_step": 250,
        "kimg": 250.0,
    }
    assert "derived" not in config  # a copy
    with_rest = resolved.to_dict()
    del with_rest["derived"]
    assert with_rest == config.to_dict()


def test_resolve_without_labels():
    derived = resolve(load(DEFAULT), 10_000, SHAPE, CLASSES, {}).derived
    assert (derived.num_classes, derived.class_names) == (0, [])
    with pytest.raises(
        UserError, match=r"^conditional: the data set fashion_mnist_mini has no lab"
    ):
        resolve(load(DEFAULT, ["conditional=True"]), 10_000, SHAPE, (), {})


def test_data_without_end_have_no_number():
    derived = resolve(load(DEFAULT, ["batch_size=100"]), 0, (2,), (), {}).derived
    assert (derived.num_examples, derived.image_shape) == (0, [2])


def test_a_batch_is_no_larger_than_the_data():
    resolve(load(DEFAULT, ["batch_size=100"]), 100, SHAPE, (), {})
    with pytest.raises(UserError, match=r"^batch_size: 101 is more than the 100 examples"):
        resolve(load(DEFAULT, ["batch_size=101"]), 100, SHAPE, (), {})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_every_config_is_valid_and_tiny_is_small(path):
    config = load(path)
    validate(config)
    small = tiny(config)
    validate(small)
    assert small.steps <= 4
    assert small.batch_size == 8  # divisible by the tests' devices
    for network in ("generator", "discriminator"):
        assert small.model[network].get("width", 0) <= 4
        assert all(size <= 8 for size in small.model[network].get("features", ()))
    assert load(path) == config  # tiny leaves its argument alone
    for key in ("algorithm", "loss", "model.name", "data.name", "n_critic", "conditional"):
        assert get(small, key) == get(config, key)


# --------------------------------------------------------------------------------------------------
# Files


def test_a_missing_file_names_a_near_one(tmp_path):
    (tmp_path / "wgan.py").touch()
    for wrong in ("wgam.py", "wgan", "wgan.yaml"):
        missing = tmp_path / wrong
        message = f"--config: there is no file {missing}; did you mean {tmp_path / 'wgan.py'}?"
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            load(missing)
    with pytest.raises(UserError, match=r"there is no file .*absent/quite\.py$"):
        load(tmp_path / "absent" / "quite.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "SyntaxError: .*line 1"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("def get_config(): return unknown", "NameError: name 'unknown' is not defined"),
        ("x = 1", "AttributeError: .*get_config"),
        ("def get_config(): return {}", "returns no ConfigDict"),
    ],
)
def test_a_file_that_fails_is_named(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"^--config: .*{re.escape(str(path))}.*{message}"):
        load(path)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "config.yaml"
    path.touch()
    with pytest.raises(UserError, match=r"config\.yaml is not a Python file"):
        load(path)
