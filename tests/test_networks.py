"""Feature networks by name: which file, with what checksum, and how images reach them."""

import functools
import http.server
import json
import re
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import evaluation, references
from jaxgan import weights as files
from jaxgan.data import download
from jaxgan.errors import UserError
from jaxgan.metrics import METRICS, classifier
from jaxgan.metrics.networks import INCEPTION, PRETRAINED, Network, efficientnet, load, prepared
from tests.golden import weights

GOLDEN = Path(__file__).parent / "golden"
SHAPES = json.loads((GOLDEN / "efficientnet.json").read_text())["shapes"]
NAME = "efficientnet_lite0"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Made-up weights, and their SHA-256."""
    path = tmp_path_factory.mktemp("weights") / "made_up.safetensors"
    files.write_tensors(path, weights.tensors(SHAPES))
    return path, download.sha256(path)


def test_a_network_with_the_users_weights(file, tmp_path):
    path, sha256 = file
    network = load(NAME, str(path), sha256.upper(), "", tmp_path)
    assert network.protocol == {
        "features": NAME,
        "arithmetic": "float32",
        "weights_sha256": sha256,
        "resize": "pil_bicubic to 224",
    }
    assert network.has_logits and not network.is_inception
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1)).astype(np.uint8)
    rgb = prepared(jnp.asarray(np.repeat(images, 3, -1)), 224, "pil_bicubic")
    assert 0 == rgb.min() < rgb.max() == 255  # what overshoots is clipped
    found = network.apply(network.params, jnp.asarray(images))  # grey ones count as three channels
    expected = efficientnet.apply(network.params, rgb)
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-4, atol=1e-5)
    other = load(NAME, str(path), "", "tf1_bilinear", tmp_path).protocol
    assert other["resize"] == "tf1_bilinear to 224"


def test_other_files_are_refused(file, tmp_path):
    path, sha256 = file
    with pytest.raises(UserError, match=f"its SHA-256 is {sha256}, it should be {'0' * 64}"):
        load(NAME, str(path), "0" * 64, "", tmp_path)
    with pytest.raises(UserError, match=r"made_up.safetensors: weights: there is no tensor"):
        load("inception_v3_fid", str(path), "", "", tmp_path)
    with pytest.raises(UserError, match=r"features: there is no 'vgg'.*did you mean 'vgg16'"):
        load("vgg", "", "", "", tmp_path)


def test_weights_of_a_url_are_fetched_once(file, tmp_path, monkeypatch):
    path, sha256 = file
    monkeypatch.setenv("no_proxy", "*")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=path.parent)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://localhost:{server.server_address[1]}/made_up.safetensors?a=b"
        try:
            first = load(NAME, url, sha256, "", tmp_path)
            with pytest.raises(UserError, match=r"cannot be downloaded.*name the file as the weig"):
                load(NAME, url, "0" * 64, "", tmp_path)
        finally:
            server.shutdown()
            thread.join()
    again = load(NAME, url, sha256, "", tmp_path)  # nobody is there any more
    assert first.protocol == again.protocol


def products_of(function, *arguments):
    """The matrix products and convolutions that a TPU would be asked for."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
    return [line for line in text.splitlines() if re.search(r"dot_general|convolution\(", line)]


@pytest.mark.parametrize("name", ["classifier", *PRETRAINED])
def test_accelerators_compute_features_in_float32(name, tmp_path):
    """Left to themselves a TPU would multiply in bfloat16, and a GPU in TF32."""
    images = np.zeros((2, 28, 28, 1), np.uint8)
    if name == "classifier":
        section = {"name": "fashion_mnist_mini", "dir": "", "path": "", "split": "train"}
        section["image_size"] = 0
        opened = references.open_examples(section, "test[:9]").opened
        network = references.classifier_of(section, opened, tmp_path)
        products = products_of(network.apply, network.params, images)
        module = classifier.Classifier(10)
        classes = functools.partial(classifier._classes, module)
        products += products_of(classes, network.params, images)
    else:
        golden = "dinov2" if name.startswith("dino") else name.split("_")[0]
        shapes = json.loads((GOLDEN / f"{golden}.json").read_text())
        shapes = shapes.get("tiny", shapes)["shapes"]
        kind = PRETRAINED[name]
        zeros = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}

        def apply(params, images):
            return kind.module.apply(params, prepared(images, kind.module.SIZE, kind.method))

        products = products_of(apply, kind.module.convert(zeros), images)
    assert len(products) > 8
    assert all(line.count("HIGHEST") == 2 for line in products), products


def test_nothing_but_inceptions_distance_is_a_fid():
    def called(network):
        of_set = evaluation.Examples(0, 0, (), (), lambda numbers: (numbers, None), {})
        judge = evaluation.Judge(tuple(METRICS), of_set, None, {"features": network}, None, Path())
        return {name for name in judge.directions if name in ("fid", "intra_fid", "kid", "is")}

    other = Network(lambda params, images: None, {}, {})
    assert called(other) == set()
    assert called(other._replace(is_inception=True)) == {"fid", "intra_fid", "kid", "is"}
    assert PRETRAINED["inception_v3_fid"].weights is INCEPTION
    assert INCEPTION.sha256.startswith("6726825d") and "6726825d" in INCEPTION.name
