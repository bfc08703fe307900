"""DINOv2 against PyTorch's numbers of golden/dinov2.json, in float64."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.networks import dinov2
from tests.golden import weights

GOLDEN = json.loads((Path(__file__).parent / "golden" / "dinov2.json").read_text())


@pytest.mark.parametrize("name", ["tiny", pytest.param("vitl14", marks=pytest.mark.slow)])
def test_features_are_pytorchs(name):
    # 1e-6 is reached
    expected = np.asarray(GOLDEN[name]["features"])
    params = dinov2.convert(weights.tensors(GOLDEN[name]["shapes"]))
    images = weights.images(len(expected), dinov2.SIZE)
    found = jax.jit(dinov2.apply)(params, images)
    assert found.logits is None
    assert found.features.shape == (len(expected), 16 * expected.shape[1])
    close = {"rtol": 0, "atol": 1e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(found.features[:, ::16], expected, **close)


def test_tensors_that_are_not_its_own_are_refused():
    tensors = weights.tensors(GOLDEN["tiny"]["shapes"])
    for missing in ("cls_token", "blocks.0.ls1.gamma", "norm.bias"):
        short = {name: each for name, each in tensors.items() if name != missing}
        with pytest.raises(UserError, match=f"tensor '{missing}'"):
            dinov2.convert(short)
    with pytest.raises(UserError, match="there is no tensor"):
        dinov2.convert({})
    with pytest.raises(UserError, match="'cls_token' has the shape"):
        dinov2.convert(tensors | {"cls_token": np.zeros(())})
    with pytest.raises(
        UserError, match=r"'pos_embed' has the shape \(1, 257, 128\), not \(1, 1370"
    ):
        dinov2.convert(tensors | {"pos_embed": np.zeros((1, 257, 128))})
    with pytest.raises(UserError, match="registers"):
        dinov2.convert(tensors | {"register_tokens": np.zeros((1, 4, 128))})
