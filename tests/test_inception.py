"""InceptionV3 against torch-fidelity's numbers of golden/inception.json, in float64."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.networks import inception
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


def test_tensors_that_are_not_its_own_are_refused():
    name = "Mixed_6b.branch7x7_2.bn.running_var"
    short = {each: value for each, value in tensors().items() if each != name}
    with pytest.raises(UserError, match=r"no tensor 'Mixed_6b\.branch7x7_2\.bn\.running_var'"):
        inception.convert(short)
    other = tensors() | {"fc.weight": np.zeros((1000, 2048))}  # torchvision's
    with pytest.raises(UserError, match=r"'fc\.weight' has the shape \(1000, 2048\), not \(1008, "):
        inception.convert(other)
