"""Exported generators: the same images again, from files that are read and never trusted."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import strategies as st
from PIL import Image

import jaxgan
from jaxgan import archive, config, data, experiment, pretrained
from jaxgan.cli.main import main
from jaxgan.errors import UserError
from jaxgan.models import mlp
from tests.mutations import fuzz, mutated
from tests.test_cli import one_sentence, trained

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a conditional model, which was measured at its last step."""
    workdir = trained(tmp_path_factory.mktemp("run") / "run", conditional=True)
    figure = {"value": 12.5, "standard_error": 0.25, "of_each_seed": [12.25, 12.75]}
    entry = {
        "step": 4,
        "member": 0,
        "samples": 500,
        "sample_seeds": 2,
        "statistics": "running",
        "weights": "averaged (EMA)",
        "precision": "float32",
        "figures": {"samples": {"frechet": figure}},
        "protocol": {
            "features": {"features": "classifier"},
            "reference": {"name": "fashion_mnist_mini", "split": "test", "count": 2000},
        },
        "jaxgan": "0.1.0",
    }
    other = {**entry, "step": 2, "figures": {"samples": {"frechet": {**figure, "value": 99.0}}}}
    (workdir / "evaluation.json").write_text(json.dumps([entry, other]))
    return workdir


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """Of the same, its safetensors."""
    out = tmp_path_factory.mktemp("exported") / "clothes"
    assert export(run, out) == 0
    return out


def export(workdir, out, *arguments, format="safetensors"):
    command = ["export", "--workdir", workdir, "--out", out, "--format", format, *arguments]
    return main([*map(str, command)])


# --------------------------------------------------------------------------------------------------
# The same images


def test_a_run_what_is_exported_and_the_command_draw_the_same_pixels(run, folder, tmp_path):
    drawn = {}
    for workdir in (run, folder):
        model = jaxgan.load(workdir)
        drawn[workdir] = model.sample(seed=3, n=70, labels=["Bag", 3], truncation=0.7)
        out = tmp_path / f"{workdir.name}.npy"
        command = ["sample", "--workdir", workdir, "--out", out, "--seed", 3, "--num", 70]
        command += ["--labels", "Bag,3", "--truncation", 0.7]
        assert main([*map(str, command)]) == 0
        np.testing.assert_array_equal(np.load(out), drawn[workdir])
    images = drawn[run]
    np.testing.assert_array_equal(drawn[folder], images)
    assert (images.shape, images.dtype) == ((70, 28, 28, 1), np.uint8)
    assert (model.sample(seed=4, n=70, labels=["Bag", 3], truncation=0.7) != images).any()
    assert (model.sample(seed=3, n=70, labels=["Bag", 3]) != images).any()
    assert (model.sample(seed=3, n=70, truncation=0.7) != images).any()
    standing = model.sample(seed=3, n=5, statistics="standing")
    expected = jaxgan.load(run).sample(seed=3, n=5, statistics="standing")
    np.testing.assert_array_equal(standing, expected)
    assert (standing != model.sample(seed=3, n=5)).any()


def test_a_model_says_what_it_is(run, folder):
    for model in (jaxgan.load(folder), jaxgan.load(str(run))):
        assert model.class_names[8] == "Bag" and len(model.class_names) == 10
        assert model.step == 4 and model.config.model.name == "mlp"
    assert jaxgan.load(run, step=2).step == 2


def test_latents_become_the_images_that_flax_alone_makes_of_the_file(folder):
    """The names in the file are those of Flax's variables."""
    model = jaxgan.load(folder)
    z = np.random.default_rng(0).standard_normal((6, 8), np.float32)
    labels = np.array([0, 3, 9, 1, 2, 2], np.int32)
    variables: dict = {}
    for name, tensor in safetensors.numpy.load_file(folder / "model.safetensors").items():
        *path, last = name.split(".")
        node = variables
        for part in path:
            node = node.setdefault(part, {})
        node[last] = jnp.asarray(tensor)
    network = mlp.Generator((28, 28, 1), num_classes=10, features=(8,))
    expected = network.apply(variables, jnp.asarray(z), jnp.asarray(labels), train=False)
    images = model.generate(z, labels)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert (np.abs(images[3] - images[4]) > 1e-3).any()  # of the label and of the latent


# What of the configs draws something else than images, or has other variables, with what
# follows from data of that kind.
SOUND = {"rate": 8000, "mean": [0.5] * 32, "deviation": [1.0] * 32, "samples": 1024}
KINDS = {
    "ring": ((2,), {}),
    "gumbel": ((12, 6), {}),
    "wavegan": ((1024,), {"sound": SOUND}),
    "vae": ((28, 28, 1), {}),
    "sagan": ((28, 28, 1), {}),
}


def untrained(name, shape=(28, 28, 1), details=()):
    """A tiny config of that name, its algorithm and a state with random numbers to draw by."""
    settings = config.tiny(config.load(CONFIGS / f"{name}.py"))
    names = [f"class {n}" for n in range(3)] if settings.conditional else []
    settings = config.resolve(settings, 100, shape, names, dict(details))
    algorithm = experiment.algorithm_of(settings, begun=True)
    like = jax.eval_shape(algorithm.init, jax.random.key(0))
    draw = np.random.default_rng(0).uniform  # variances are above 0
    drawn = lambda low: lambda x: jnp.asarray(draw(low, 0.5, x.shape), x.dtype)  # noqa: E731
    params, stats = (
        jax.tree.map(drawn(low), tree)
        for tree, low in ((like.ema.params, -0.5), (like.ema.stats, 0.1))
    )
    ema = like.ema.replace(params=params, stats=stats)
    return settings, algorithm, archive.bare(like, ema, step=7)


@pytest.mark.parametrize("name", KINDS)
def test_all_that_draws_is_the_same_again(name, tmp_path):
    there = untrained(name, *KINDS[name])
    archive.write(tmp_path, there[0], there[2])
    read = archive.read(tmp_path)
    assert (pretrained.Model(*read).step, read[0].model.name) == (7, there[0].model.name)
    flat = jax.tree_util.tree_flatten_with_path
    for (path, old), (same, new) in zip(flat(there[2].ema)[0], flat(read[2].ema)[0], strict=True):
        assert path == same and old.dtype == new.dtype
        np.testing.assert_array_equal(old, new)
    drawn = [np.asarray(pretrained.Model(*each).sample(1, 5)) for each in (there, read)]
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].shape == (5, *KINDS[name][0]) and len(np.unique(drawn[0])) > 1


def test_one_of_several_seeds(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        experiment, "load_run", lambda *of: asked.append(of) or untrained("ring", (2,))
    )
    assert export(tmp_path, tmp_path / "out", "--member", 1, "--step", "best") == 0
    jaxgan.load(tmp_path, "best", member=1)
    assert asked == [(tmp_path, "best", 1)] * 2


# --------------------------------------------------------------------------------------------------
# What is in the folder


def test_the_files_and_their_format(run, folder):
    names = ["README.md", "config.json", "model.safetensors", "samples.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    told = json.loads((folder / "config.json").read_text())
    assert told.keys() == archive.KEYS
    assert (told["format"], told["version"], told["step"]) == ("jaxgan.generator", 1, 4)
    _, _, state = experiment.load_run(run)
    with safetensors.safe_open(folder / "model.safetensors", "np") as file:
        assert file.metadata()["format"] == "jaxgan.generator" and file.metadata()["step"] == "4"
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    moments = state.ema.stats["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_array_equal(found["batch_stats.BatchNorm_0.mean"], moments)
    count = len(jax.tree.leaves(state.ema))
    assert len(found) == count and all(x.dtype == np.float32 for x in found.values())


def test_the_card(folder):
    text = (folder / "README.md").read_text()
    front, rest = text.removeprefix("---\n").split("\n---\n", 1)
    assert front.splitlines()[:3] == [
        "license: unknown",
        "library_name: jaxgan",
        "pipeline_tag: unconditional-image-generation",
    ]
    for phrase in (
        "![samples](samples.png)",
        'jaxgan.load("clothes")',
        "MIT licence",
        "8 Bag",
        "| frechet | 12.5 ± 0.2 |",
        "500 samples, mean ± standard error over 2 sample seeds, against 2,000 real ones of "
        "fashion_mnist_mini test; features: classifier",
    ):
        assert phrase in rest
    assert "99" not in rest  # what was measured of another step


def test_the_three_lines_in_the_card_run(folder, monkeypatch):
    text = (folder / "README.md").read_text()
    monkeypatch.chdir(folder.parent)
    names: dict = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert names["images"].shape == (64, 28, 28, 1)


def test_the_cards_command_trains_the_same(folder, run):
    text = (folder / "README.md").read_text()
    command = shlex.split(text.split("```bash\n")[1].split("```")[0])
    assert command[:3] == ["python", "train.py", "--config"]
    assert command[4:6] == ["--workdir", "runs/again"]
    file = CONFIGS.parent / command[3]
    again = config.load(file, [each.removeprefix("--config.") for each in command[6:]])
    there = json.loads((run / "config.json").read_text())
    there.pop("derived")
    assert json.loads(json.dumps(again.to_dict())) == there


def test_the_places_of_this_machine_are_not_told(tmp_path):
    settings, _, state = untrained("cgan")
    settings.data.path = settings.data.dir = "/home/somebody"
    archive.write(tmp_path, settings, state)
    assert "somebody" not in (tmp_path / "config.json").read_text()
    from jaxgan.exports import card

    card.write(tmp_path / "README.md", card.Page(settings, 4, "mit", ""))
    text = (tmp_path / "README.md").read_text()
    assert "somebody" not in text and "--config.data.path=PATH" in text
    assert "dropout" not in text
    settings.sample_dropout = True
    card.write(tmp_path / "README.md", card.Page(settings, 4, "mit", ""))
    assert "with dropout" in (tmp_path / "README.md").read_text()


# --------------------------------------------------------------------------------------------------
# Mistakes


def test_mistakes_in_exporting_are_one_sentence(run, folder, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "out"
    for arguments, named in {
        (run, tmp_path / "full"): ["--out", "full", "exists already"],
        (run, tmp_path / "file"): ["--out", "file", "exists already"],
        (run, tmp_path / "file" / "out"): ["file/out", "cannot be written"],
        (run, out, "--license", "my own"): ["--license", "'my own'", "apache-2.0"],
        (run, out, "--step", 3): ["step 3", "2, 4"],
        (run, out, "--member", 1): ["--member", "0"],
        (folder, out, "--step", 4): ["--step", "exported generator"],
        (tmp_path, out): ["--workdir", "config.json"],
    }.items():
        capsys.readouterr()
        assert export(*arguments) == 2
        assert one_sentence(capsys, *named)
    assert not out.exists()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["file", "full"]


def test_other_verbs_need_the_run(folder, capsys):
    assert main(["evaluate", "--workdir", str(folder)]) == 2
    assert one_sentence(capsys, str(folder), "is an export (jaxgan.generator)", "name the run")


def test_an_empty_folder_is_filled(run, tmp_path):
    (tmp_path / "out").mkdir()
    assert export(run, tmp_path / "out") == 0
    assert jaxgan.load(tmp_path / "out").step == 4


def test_an_export_that_fails_leaves_nothing(run, tmp_path, monkeypatch):
    def broken(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(archive, "write", broken)
    assert export(run, tmp_path / "out") == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n": 0}, ["n: 0"]),
        ({"seed": -1}, ["seed: -1"]),
        ({"truncation": 0.0}, ["truncation: 0"]),
        ({"truncation": float("nan")}, ["truncation: nan"]),
        ({"statistics": "moving"}, ["statistics: 'moving'"]),
        ({"labels": ["Hat"]}, ["labels", "'Hat'", "8 Bag"]),
        ({"labels": [10]}, ["labels", "10"]),
        ({"labels": [-1]}, ["labels", "-1"]),
        ({"labels": []}, ["labels", "one class"]),
    ],
)
def test_mistakes_in_drawing(arguments, named, folder):
    with pytest.raises(UserError) as raised:
        jaxgan.load(folder).sample(**{"seed": 0, "n": 1, **arguments})
    assert all(text in str(raised.value) for text in named)


def test_mistakes_in_latents(folder):
    model, z = jaxgan.load(folder), np.zeros((2, 8), np.float32)
    for given, named in (
        ((z,), "labels: this model needs one"),
        ((z[:, :7], np.array([0, 1])), "z: has the shape (2, 7)"),
        ((z, np.array([0, 10])), "labels: one for each latent, from 0 to 9"),
        ((z, np.array([-1, 0])), "labels: one for each latent, from 0 to 9"),
    ):
        with pytest.raises(UserError) as raised:
            model.generate(*given)
        assert named in str(raised.value)


def test_what_starts_from_images_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "load_run", lambda *_: untrained("inpaint"))
    assert export(tmp_path, tmp_path / "out") == 2
    assert one_sentence(capsys, "inpaint", "starts from images")
    assert not (tmp_path / "out").exists()


def test_import_brings_nothing_with_it():
    code = "import sys, jaxgan; print(sorted({'jax', 'numpy'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --------------------------------------------------------------------------------------------------
# Folders of strangers


def changed(folder, target, **values):
    """A copy whose config.json has other values, by their dotted keys; None: without the key."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    told = json.loads((folder / "config.json").read_text())
    for key, value in values.items():
        *parents, name = key.split("__")
        node = told
        for parent in parents:
            node = node[parent]
        node[name] = value
        if value is None:
            del node[name]
    (target / "config.json").write_text(json.dumps(told))
    return target


LIES = {
    "another format": ({"format": "keras"}, ["format"]),
    "a later version": ({"version": 2}, ["version", "'2'", "reads 1"]),
    "an unknown key": ({"auto_map": "model.py"}, ["'auto_map'", "is none of its keys"]),
    "a missing key": ({"sha256": None}, ["'sha256'", "is missing"]),
    "no step": ({"step": -1}, ["step", "-1"]),
    "another checksum": ({"sha256": "0" * 64}, ["model.safetensors", "SHA-256"]),
    "no config": ({"config": [1]}, ["config: is not the resolved config"]),
    "several seeds": ({"config__seeds": 2}, ["several seeds"]),
    "an unknown setting": ({"config__hook": "os.system"}, ["hook", "no such key"]),
    "a setting of another type": ({"config__z_dim": "8"}, ["z_dim", "'8'"]),
    "a network that is none": ({"config__model__name": "layers"}, ["model.name", "'layers'"]),
    "a path for a network": ({"config__model__name": "../../x"}, ["model.name"]),
    "an algorithm that draws nothing": (
        {"config__algorithm": "inpaint", "config__model__name": "gated"}
        | {"config__model__generator": {}, "config__model__discriminator": {}}
        | {"config__conditional": False, "config__derived__num_classes": 0}
        | {"config__derived__class_names": []},
        ["inpaint"],
    ),
    "a field of another network": ({"config__model__generator": {"blocks": 3}}, ["'blocks'"]),
    "another width": ({"config__model__generator": {"features": [9]}}, ["of another network"]),
    "a width beyond all": ({"config__z_dim": 2**31 - 1}, ["of another network"]),
    "an image beyond all": (
        {"config__derived__image_shape": [2**16, 2**16, 3]},
        ["image_shape", "cannot be"],
    ),
    "an image without sides": ({"config__derived__image_shape": []}, ["image_shape"]),
    "an image of text": ({"config__derived__image_shape": "28"}, ["image_shape"]),
    "names of other classes": ({"config__derived__class_names": ["a"]}, ["class_names"]),
    "names that are none": ({"config__derived__class_names": [1] * 10}, ["class_names"]),
    "no number of classes": ({"config__derived__num_classes": True}, ["num_classes"]),
    "no images in a step": ({"config__derived__images_per_step": 0}, ["images_per_step"]),
    "sounds that are none": ({"config__derived__data": {"sound": {"rate": 1}}}, ["data"]),
    "dots in a key": ({"config__model__generator": {"a.b": 3}}, ["config"]),
}


@pytest.mark.parametrize(("values", "named"), LIES.values(), ids=LIES)
def test_a_config_that_lies_is_refused(values, named, folder, tmp_path):
    with pytest.raises(UserError) as raised:
        jaxgan.load(changed(folder, tmp_path / "lies", **values))
    assert str(tmp_path / "lies") in str(raised.value) and "\n" not in str(raised.value)
    assert all(text in str(raised.value) for text in named), raised.value


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, " " * 2**22 + "{}"])
def test_a_config_of_another_kind_is_refused(text, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        jaxgan.load(tmp_path / "odd")


def signed(folder, content, target):
    """A copy with other weights, whose checksum is right."""
    import hashlib

    digest = hashlib.sha256(content).hexdigest()
    changed(folder, target, sha256=digest)
    (target / "model.safetensors").write_bytes(content)
    return target


def with_tensors(folder, change):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    return safetensors.numpy.save(tensors)


def renamed(tensors):
    tensors["params.Dense_0.kernal"] = tensors.pop("params.Dense_0.kernel")


def transposed(tensors):
    tensors["params.Dense_0.kernel"] = tensors["params.Dense_0.kernel"].T.copy()


def of_integers(tensors):
    tensors["params.Dense_1.bias"] = tensors["params.Dense_1.bias"].view(np.int32)


WRONG = {
    "a renamed array": (renamed, "params.Dense_0.kern"),
    "one more": (lambda tensors: tensors.update(more=np.zeros(9, np.float32)), "bytes"),
    "an empty one": (lambda tensors: tensors.update(more=np.zeros(0, np.float32)), "'more'"),
    "one less": (lambda tensors: tensors.pop("params.Dense_1.bias"), "bytes"),
    "another shape": (transposed, "'params.Dense_0.kernel' is float32 of"),
    "another dtype": (of_integers, "'params.Dense_1.bias' is int32"),
}


@pytest.mark.parametrize(("change", "named"), WRONG.values(), ids=WRONG)
def test_weights_of_another_network_are_refused(change, named, folder, tmp_path):
    content = with_tensors(folder, change)
    with pytest.raises(UserError, match="of another network") as raised:
        jaxgan.load(signed(folder, content, tmp_path / "wrong"))
    assert named in str(raised.value)


def test_nothing_but_safetensors_is_read(folder, tmp_path):
    whole = (folder / "model.safetensors").read_bytes()
    giant = (2**40).to_bytes(8, "little") + whole[8:]
    padded = len(whole) * b" "
    length = int.from_bytes(whole[:8], "little") + len(padded)
    spread = length.to_bytes(8, "little") + whole[8:12] + padded + whole[12:]
    for content in (b"", whole[:-1], whole + b"x", giant, spread, b"PK\3\4" + whole, b"\x80\x04."):
        with pytest.raises(UserError, match=r"model\.safetensors"):
            jaxgan.load(signed(folder, content, tmp_path / "other"))


@fuzz
@hypothesis.given(data=st.data())
def test_fuzzed_folders_are_read_or_refused(data, folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("fuzzed")
    for path in (folder / "config.json", folder / "model.safetensors"):
        (target / path.name).write_bytes(path.read_bytes())
    name = data.draw(st.sampled_from(["config.json", "model.safetensors"]))
    content = data.draw(mutated([(folder / name).read_bytes()]))
    if name == "model.safetensors":
        signed(folder, content, target)
    else:
        (target / name).write_bytes(content)
    try:
        archive.read(target)
    except UserError as error:
        assert "\n" not in str(error)
    shutil.rmtree(target)


# --------------------------------------------------------------------------------------------------
# The Hub


def test_mistakes_with_a_run_speak_of_no_flags(run, tmp_path):
    for arguments, told in (
        ({"member": 1}, "member: "),
        ({"step": 3}, "step 3"),
    ):
        with pytest.raises(UserError) as raised:
            jaxgan.load(run, **arguments)
        assert told in str(raised.value) and "--" not in str(raised.value)
    with pytest.raises(UserError, match=r"config\.json") as raised:
        jaxgan.load(tmp_path / "nothing")
    assert "--" not in str(raised.value)


def test_exported_latents_are_those_of_the_run(run, folder, tmp_path, capsys):
    latents = tmp_path / "a.npz"
    of_run = ["edit", "--workdir", run, "--out", tmp_path / "a.png", "--to", 3, "--num", 2]
    assert main([*map(str, of_run)]) == 0
    capsys.readouterr()
    for workdir in (run, folder):
        out = tmp_path / f"{workdir.name}.png"
        ways = ["interpolate", "--workdir", workdir, "--latents", latents, "--out", out]
        assert main([*map(str, ways)]) == 0
    assert capsys.readouterr().err == ""
    drawn = [np.asarray(Image.open(tmp_path / f"{x.name}.png")) for x in (run, folder)]
    np.testing.assert_array_equal(*drawn)


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """A Hub with one repository, and a list of what was asked of it."""
    asked = []

    def snapshot_download(name, revision=None, allow_patterns=()):
        asked.append((name, revision, sorted(allow_patterns)))
        if name != "somebody/clothes":
            raise RuntimeError("404 Client Error.\nRepository Not Found")
        target = tmp_path / "cache"
        target.mkdir(exist_ok=True)
        for file in allow_patterns:
            shutil.copy(folder / file, target)
        return str(target)

    module = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_a_repository_of_the_hub(hub, folder):
    model = jaxgan.load("somebody/clothes", revision="v1")
    np.testing.assert_array_equal(model.sample(0, 5), jaxgan.load(folder).sample(0, 5))
    assert hub == [("somebody/clothes", "v1", ["config.json", "model.safetensors"])]


def test_mistakes_with_the_hub(hub, folder, monkeypatch):
    with pytest.raises(UserError, match="no such folder, and the Hub does not give it: 404"):
        jaxgan.load("somebody/shoes")
    with pytest.raises(UserError, match="revision: is of a repository"):
        jaxgan.load(folder, revision="main")
    for path in ("../clothes", "/somebody/clothes", "a/b/c", "somebody", "a/.."):
        with pytest.raises(UserError, match=r"config\.json"):
            jaxgan.load(path)
    assert len(hub) == 1
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r'no such folder.*pip install -e "\.\[hub\]"'):
        jaxgan.load("somebody/clothes")


def test_texts_and_sounds_are_shown(tmp_path):
    """What stands in samples.png."""
    from jaxgan.cli.export import _samples

    for name in ("gumbel", "wavegan", "ring"):
        picture = _samples(pretrained.Model(*untrained(name, *KINDS[name])))
        assert picture.dtype == np.uint8 and picture.std() > 0
    assert data.sound_of({"sound": SOUND})
