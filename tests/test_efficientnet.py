"""EfficientNet-Lite0 against PyTorch's numbers of golden/efficientnet.json, in float64."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.networks import efficientnet
from tests.golden import weights

GOLDEN = json.loads((Path(__file__).parent / "golden" / "efficientnet.json").read_text())


@functools.cache
def outputs():
    params = efficientnet.convert(weights.tensors(GOLDEN["shapes"]))
    return jax.jit(efficientnet.apply)(params, weights.images(2, efficientnet.SIZE))


@pytest.mark.parametrize("name", ["features", "logits"])
def test_outputs_are_pytorchs(name):
    # 1e-6 is reached
    found, expected = np.asarray(getattr(outputs(), name)), np.asarray(GOLDEN[name])
    assert found.shape == (2, {"features": 1280, "logits": 1000}[name])
    np.testing.assert_allclose(found[:, ::40], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_tensors_that_are_not_its_own_are_refused():
    tensors = weights.tensors(GOLDEN["shapes"])
    short = {name: each for name, each in tensors.items() if name != "_blocks.3._bn1.running_var"}
    with pytest.raises(UserError, match=r"no tensor '_blocks\.3\._bn1\.running_var'"):
        efficientnet.convert(short)
    other = tensors | {"_fc.weight": np.zeros((10, 1280))}
    with pytest.raises(UserError, match=r"'_fc\.weight' has the shape \(10, 1280\), not \(1000, "):
        efficientnet.convert(other)
