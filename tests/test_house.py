"""The plan of the house: which room may import which, and how long files and functions get."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMPORTS = ast.Import, ast.ImportFrom
FILES = [*sorted((ROOT / "jaxgan").rglob("*.py")), ROOT / "train.py"]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))

FLOORS = [
    {"typing", "errors"},
    {"ops", "data", "checkpoint", "writer", "parallel", "seeds", "schedules", "config", "rules"}
    | {"workdir", "signals", "health", "weights", "processes", "accountant", "boards"},
    {"models", "losses", "likelihoods", "penalties", "augment", "metrics"},
    {"stylize"},
    {"algorithms"},
    {"contradictions"},
    {"assembly", "sampler", "exploration"},
    {"experiment", "commands"},
    {"evaluation", "archive"},
    {"references", "pretrained"},
    {"judges", "exports"},
    {"programs", "reproductions", "report"},
    {"loop", "planning"},
    {"cli"},
    {"__main__", "train"},  # nothing but ways into cli and loop
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
NEIGHBOURS = {
    ("metrics", "models"),
    ("config", "rules"),
    ("rules", "schedules"),
    ("seeds", "parallel"),
    ("writer", "boards"),
}  # the only rooms of one floor that know each other

# Third-party packages, and the rooms that may import them.
ONLY = {
    "orbax": {"checkpoint"},
    "tensorflow_datasets": {"data"},
    "grain": {"data"},
    "array_record": {"data"},
    "ml_collections": {"config", "rules", "contradictions", "assembly", "experiment", "programs"}
    | {
        "loop",
        "planning",
        "reproductions",
        "report",
        "archive",
        "pretrained",
        "exports",
        "cli",
        "commands",
    },
    "absl": {"train", "data"},
    "pickletools": {"weights"},
    "safetensors": {"weights"},
    "tensorboardX": {"boards"},
    "wandb": {"boards"},
    **{package: set() for package in ("tensorflow", "pickle", "dill", "cloudpickle", "joblib")},
}
# Of what is not in the standard library: jax, typing, errors.
PURE = {"losses", "likelihoods", "penalties", "ops"}


def ident(path):
    return str(path.relative_to(ROOT))


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "jaxgan" else parts[0]


def imported(path):
    """The full name of all that a file imports: "jax", "jaxgan.data", "jaxgan.errors.lookup"."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{ident(path)}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_imports_point_downwards(path):
    room = room_of(path)
    if room == "__init__":  # of jaxgan itself: nothing comes with it but by a call of load
        assert not any(isinstance(node, IMPORTS) for node in ast.parse(path.read_text()).body)
        assert list(imported(path)) == ["jaxgan.pretrained"]
        return
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package != "jaxgan":
            assert room in ONLY.get(package, {room}), f"{room} imports {name}"
            assert room not in PURE or package in {"jax", *sys.stdlib_module_names}, name
            continue
        other = rest.split(".")[0]
        if other in ("", "__version__", room):
            continue
        down = FLOOR[other] < FLOOR[room] or (room, other) in NEIGHBOURS
        assert down, f"{room} imports {other}, which is not below it"
        assert room not in PURE or other in FLOORS[0], f"{room} imports {other}"
        assert other != "loop" or room in {"cli", "train"}, f"{room} imports loop"
        assert other != "config" or FLOOR[room] >= FLOOR["assembly"], f"{room} sees the config"


@pytest.mark.parametrize("path", CONFIGS, ids=ident)
def test_a_config_says_what_it_is_and_imports_no_jaxgan(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert {name.split(".")[0] for name in imported(path)} <= {"configs", "ml_collections"}


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, f"{node.name} is too long"
        assert not (isinstance(node, ast.Attribute) and node.attr == "pmap"), "pmap"


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_files_have_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text())) or not path.read_text().strip()


def test_training_imports_no_tensorflow(tmp_path):
    (tmp_path / "tensorflow.py").touch()  # so that it would be found even where it is not installed
    code = """
import sys
import jaxgan.loop
from jaxgan import data
assert len(data.load("fashion_mnist_mini", "test").images) == 2000
print(sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "torch"}))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
