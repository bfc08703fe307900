"""Exported programs: the run's own images, without jaxgan."""

import copy
import dataclasses
import functools
import importlib.util
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import archive, pretrained
from jaxgan.errors import UserError
from jaxgan.exports import onnx, programs, stablehlo
from jaxgan.ops import conv
from jaxgan.ops.dense import PRODUCTS
from tests.test_cli import one_sentence
from tests.test_export import KINDS, export, untrained

needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("jax2onnx", "onnxruntime"))),
    reason=f"needs jax2onnx and onnxruntime: {onnx.INSTALL}",
)

NETWORKS = {
    **dict.fromkeys(("cgan", "dcgan", "cgan_mlp", "sngan", "r3gan_mini"), ((28, 28, 1), {})),
    "biggan_imagenet128": ((32, 32, 3), {}),
    **{name: KINDS[name] for name in ("sagan", "ring", "wavegan", "vae")},
}


@functools.cache
def model_of(name):
    """A tiny one with random weights, in float32."""
    settings, algorithm, state = untrained(name, *NETWORKS[name])
    settings.precision = "float32"
    return pretrained.Model(settings, dataclasses.replace(algorithm, dtype=jnp.float32), state)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with the weights of a conditional model, which stands for a run's."""
    target = tmp_path_factory.mktemp("exported")
    settings, _, state = untrained("cgan_mlp")
    archive.write(target, settings, state)
    return target


def some(model, count):
    """Arguments of its program, and what the model makes of them."""
    z = np.random.default_rng(count).standard_normal((count, model.config.z_dim), np.float32)
    labels = np.arange(count, dtype=np.int32)[::-1] % max(len(model.class_names), 1)
    given = (z, labels) if model.class_names else (z,)
    return given, model.generate(*given)


# --------------------------------------------------------------------------------------------------
# StableHLO


def test_stablehlo_needs_jax_alone(tmp_path):
    model = model_of("cgan")
    stablehlo.write(tmp_path, model)
    for count in programs.BATCHES:
        (z, labels), expected = some(model, count)
        np.savez(tmp_path / f"{count}.npz", z=z, labels=labels, expected=expected)
    code = """
import sys
import numpy as np
from jax import export

with open("model.stablehlo", "rb") as file:
    program = export.deserialize(bytearray(file.read()))
for name in ("1.npz", "3.npz"):
    given = np.load(name)
    images = program.call(given["z"], given["labels"])
    np.testing.assert_allclose(images, given["expected"], atol=1e-5)
    assert images.dtype == np.float32
assert program.platforms == ("cpu", "cuda", "tpu")
text = program.mlir_module()
assert text.count("stablehlo.convolution") and "precision = [HIGHEST" in text
assert "stablehlo.case" in text and "DEFAULT" not in text
assert not {"jaxgan", "flax"} & set(sys.modules)
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    told = json.loads((tmp_path / "config.json").read_text())
    assert told["inputs"]["z"] == {"dtype": "float32", "shape": ["batch", 8]}
    assert told["inputs"]["labels"] == {"dtype": "int32", "shape": ["batch"]}
    assert told["output"] == {"dtype": "float32", "shape": ["batch", 28, 28, 1]}
    assert told["class_names"] == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize("name", ["r3gan_mini", "ring"])
def test_stablehlo_of_any_batch(name, tmp_path):
    assert stablehlo.write(tmp_path, model_of(name)) <= 1e-5


def test_a_program_is_as_exact_as_float32_where_products_are_rounded(tmp_path):
    whole = model_of("ring")
    settings = copy.deepcopy(whole.config)
    settings.precision = PRODUCTS
    model = pretrained.Model(
        settings, dataclasses.replace(whole.algorithm, dtype=PRODUCTS), whole.state
    )
    assert 1e-5 < stablehlo.write(tmp_path, model) < 2**-4
    (z,), expected = some(whole, 3)
    np.testing.assert_allclose(programs.generator(model)(jnp.asarray(z)), expected, atol=1e-5)


def test_the_card_of_a_program_is_code_that_runs(exported, tmp_path, monkeypatch):
    assert export(exported, tmp_path / "out", format="stablehlo") == 0
    text = (tmp_path / "out" / "README.md").read_text()
    monkeypatch.chdir(tmp_path / "out")
    names: dict = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert names["images"].shape == (16, 28, 28, 1)
    assert "no format for an archive" in " ".join(text.split())
    with pytest.raises(UserError, match=r"is an export \(jaxgan\.stablehlo\)"):
        pretrained.load(tmp_path / "out")


# --------------------------------------------------------------------------------------------------
# Plain operations


@pytest.mark.parametrize("name", ["cgan", "sngan", "r3gan_mini", "wavegan"])
def test_what_other_platforms_compute_is_the_same(name):
    """The way for all of what has a way of its own on CPU, compiled for CPU."""
    model = model_of(name)
    given, expected = some(model, 3)
    function = onnx.plain(programs.generator(model))
    np.testing.assert_allclose(
        jax.jit(function)(*given), expected, atol=1e-5 * max(np.abs(expected).max(), 1)
    )
    text = str(jax.make_jaxpr(function)(*given))
    assert "conv_general_dilated" in text
    if name == "cgan":  # on CPU a transposed convolution is made otherwise
        assert "lhs_dilation=(2, 2)" in text
    for word in ("platform_index", "custom_vjp", "cond[", "jit[", " pad["):
        assert word not in text


def test_plain_operations_are_the_function():
    def function(x, kernel):
        y = conv.conv_transpose(jax.nn.softplus(x), kernel, 2)
        y = jax.lax.pad(y, 0.5, ((0, 0, 0), (2, -1, 0), (-1, 0, 0), (0, 3, 0)))
        return jnp.cumsum(jax.checkpoint(jnp.sin)(y), 1) + jax.lax.pad(y, 0.0, ((0, 0, 0),) * 4)

    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
    kernel = jax.random.normal(jax.random.key(1), (4, 4, 4, 2))
    np.testing.assert_allclose(onnx.plain(function)(x, kernel), function(x, kernel), atol=1e-5)


# --------------------------------------------------------------------------------------------------
# ONNX


@needs_onnx
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_same_images(name, tmp_path):
    import onnxruntime

    model = model_of(name)
    assert onnx.write(tmp_path, model) <= 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [each.name for each in session.get_inputs()]
    assert names == list(programs.inputs(model, 1))
    for count in programs.BATCHES:
        given, expected = some(model, count)
        (images,) = session.run(["images"], dict(zip(names, given, strict=True)))
        np.testing.assert_allclose(images, expected, atol=1e-5 * max(np.abs(expected).max(), 1))


@needs_onnx
def test_the_card_of_an_onnx_file_is_code_that_runs(exported, tmp_path, monkeypatch, capsys):
    assert export(exported, tmp_path / "out", format="onnx") == 0
    assert capsys.readouterr().err == ""  # jax2onnx has much to say
    text = (tmp_path / "out" / "README.md").read_text()
    monkeypatch.chdir(tmp_path / "out")
    names: dict = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert names["images"].shape == (16, 28, 28, 1)


# --------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize("kind", ["stablehlo", pytest.param("onnx", marks=needs_onnx)])
def test_a_program_with_other_images_is_not_kept(kind, exported, tmp_path, monkeypatch, capsys):
    function = programs.generator
    off = lambda model: lambda *given: function(model)(*given) + 2e-5  # noqa: E731
    monkeypatch.setattr(programs, "generator", off)
    assert export(exported, tmp_path / "out", format=kind) == 2
    assert one_sentence(capsys, f"model.{kind}", "differ from the run's by 2e-05", "nothing")
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_none_are_not_the_same():
    model = model_of("ring")
    with pytest.raises(UserError, match="differ"):
        programs.check(model, lambda z: np.full((len(z), 2), np.nan), "it")
    with pytest.raises(UserError, match=r"gives \(1, 3\)"):
        programs.check(model, lambda z: np.zeros((len(z), 3)), "it")


def test_texts_are_no_function_of_latents(tmp_path):
    model = pretrained.Model(*untrained("gumbel", *KINDS["gumbel"]))
    for kind in (stablehlo, onnx):
        with pytest.raises(UserError, match=r"--format: texts .* take safetensors"):
            kind.write(tmp_path, model)
    assert list(tmp_path.iterdir()) == []


def test_onnx_of_bfloat16_is_refused(tmp_path):
    model = pretrained.Model(*untrained("biggan_imagenet128", (32, 32, 3)))
    with pytest.raises(UserError, match="bfloat16"):
        onnx.write(tmp_path, model)


def test_onnx_without_jax2onnx_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"--format: onnx takes pip install --no-deps -r docs/"):
        onnx.write(tmp_path, model_of("ring"))


def test_stablehlo_without_its_package_is_one_sentence(tmp_path, monkeypatch):
    model = model_of("cgan_mlp")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'^--format: .*pip install -e "\.\[export\]"'):
        stablehlo.write(tmp_path, model)
