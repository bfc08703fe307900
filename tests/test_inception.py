"""InceptionV3 against torch-fidelity's numbers of golden/inception.json, in float64."""

import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.networks import inception
from jaxgan.metrics.networks.outputs import Outputs
from jaxgan.ops.resize import resize
from tests.golden import weights

GOLDEN = json.loads((Path(__file__).parent / "golden" / "inception.json").read_text())


@functools.cache
def tensors():
    return weights.tensors(GOLDEN["shapes"])


@functools.cache
def outputs():
    """Of images of 32 pixels, which the graph of 2015 resizes."""

    @jax.jit
    def chain(params, images):
        size = (inception.SIZE, inception.SIZE)
        return inception.apply(params, resize(images, size, "tf1_bilinear"))

    return chain(inception.convert(tensors()), np.round(weights.images(2, 32)))


@pytest.mark.parametrize("name", ["features", "logits"])
def test_outputs_are_torch_fidelitys(name):
    # 1e-6 is reached
    found, expected = np.asarray(getattr(outputs(), name)), np.asarray(GOLDEN[name])
    assert found.shape == (2, {"features": 2048, "logits": 1008}[name])
    # The two images are told apart, or the numbers would say nothing.
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * np.abs(expected).max()
    np.testing.assert_allclose(found[:, ::40], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_accelerators_would_have_the_same_features(monkeypatch):
    on_cpu = outputs().features

    def on_accelerator(*arguments, cpu, default):
        return default(*arguments)

    monkeypatch.setattr(inception.lax, "platform_dependent", on_accelerator)
    images, size = jnp.asarray(np.round(weights.images(2, 32))), (inception.SIZE, inception.SIZE)
    images = resize(images, size, "tf1_bilinear")
    found = jax.jit(inception.apply)(inception.convert(tensors()), images).features
    np.testing.assert_allclose(found, on_cpu, rtol=0, atol=1e-6 * on_cpu.max())


@pytest.mark.parametrize("size", [(9, 12), (8, 7)])
@pytest.mark.parametrize("channels", [(3, 5), (20, 4)])
def test_strided_convolutions_are_xlas(size, channels):
    random = np.random.default_rng(0)
    x, kernel = random.normal(size=(2, *size, channels[0])), random.normal(size=(3, 3, *channels))
    x, kernel = jnp.float32(x), jnp.float32(kernel)
    expected = inception._xla_conv(x, kernel, 2, (0, 0))
    np.testing.assert_allclose(inception._strided_conv(x, kernel), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 7, 24, 22, 64])
def test_images_keep_their_order_in_parts(count, monkeypatch):
    sizes = []

    def apply(params, images):
        sizes.append(len(images))
        return Outputs(images[:, 0, 0] * params, images[:, 0, 0, :1])

    monkeypatch.setattr(inception, "_apply", apply)
    images = jnp.arange(3.0 * count).reshape(count, 1, 1, 3)
    found = inception._apply_to_parts(2.0, images)
    assert sizes == [{1: 1, 7: 7, 24: 8, 22: 2, 64: 8}[count]]
    np.testing.assert_array_equal(found.features, 2 * images[:, 0, 0])
    np.testing.assert_array_equal(found.logits, images[:, 0, 0, :1])


def test_each_device_has_its_share_of_every_part(monkeypatch):
    monkeypatch.setattr(inception, "_apply", lambda _, x: Outputs(x.sum((1, 2)), x.mean((1, 2))))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    images = jax.device_put(jnp.ones((64, 5, 5, 3)), spread)
    compiled = jax.jit(inception._apply_to_parts, out_shardings=spread).lower(0.0, images).compile()
    assert not re.search("all-gather|all-reduce|all-to-all|collective-permute", compiled.as_text())


def test_tensors_that_are_not_its_own_are_refused():
    name = "Mixed_6b.branch7x7_2.bn.running_var"
    short = {each: value for each, value in tensors().items() if each != name}
    with pytest.raises(UserError, match=r"no tensor 'Mixed_6b\.branch7x7_2\.bn\.running_var'"):
        inception.convert(short)
    other = tensors() | {"fc.weight": np.zeros((1000, 2048))}  # torchvision's
    with pytest.raises(UserError, match=r"'fc\.weight' has the shape \(1000, 2048\), not \(1008, "):
        inception.convert(other)
