"""VGG16 and LPIPS against PyTorch's numbers of golden/vgg16.json, and the path length by hand."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxgan.errors import UserError
from jaxgan.metrics import path_length
from jaxgan.metrics.lpips import lpips, squared_speed
from jaxgan.metrics.networks import vgg16
from jaxgan.ops.conv import conv_transpose
from tests.golden import weights

GOLDEN = json.loads((Path(__file__).parent / "golden" / "vgg16.json").read_text())
random = np.random.default_rng


@functools.cache
def params():
    return jax.tree.map(jnp.asarray, vgg16.convert(weights.tensors(GOLDEN["shapes"])))


def golden_images(case):
    h, w = case["size"]
    return jnp.asarray(weights.images(4, max(h, w))[:, :h, :w])


# --------------------------------------------------------------------------------------------------
# Networks


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(case["size"]))
def test_features_and_distances_are_pytorchs(case):
    images = golden_images(case)
    found = jax.jit(vgg16.apply)(params(), images)
    assert found.features.shape == (4, 512)
    assert found.logits is None
    # 1e-6 is reached
    expected = np.asarray(case["features"])
    close = {"rtol": 0, "atol": 1e-5 * expected.max()}
    np.testing.assert_allclose(found.features[:, ::16], expected, **close)
    a, b = jnp.split(images / 127.5 - 1, 2)
    np.testing.assert_allclose(lpips(params(), a, b), case["lpips"], rtol=1e-5)


def test_the_distance_of_an_image_to_itself_is_nothing():
    a, b = jnp.split(golden_images(GOLDEN["cases"][1]) / 127.5 - 1, 2)
    assert lpips(params(), a, a).max() < 1e-12
    np.testing.assert_allclose(lpips(params(), a, b), lpips(params(), b, a), rtol=1e-6)


def test_images_that_pooling_leaves_nothing_of_are_refused():
    small = jnp.zeros((1, 20, 15, 3))
    with pytest.raises(ValueError, match=r"\(20, 15\) pixels: VGG16 takes 16 or more"):
        vgg16.apply(params(), small)
    assert np.isfinite(lpips(params(), small[:, :16].repeat(2, 2), jnp.ones((1, 16, 30, 3)))).all()


def test_tensors_that_are_not_its_own_are_refused():
    tensors = weights.tensors(GOLDEN["shapes"])
    short = {name: each for name, each in tensors.items() if name != "VGG16_0/Conv_12/bias"}
    with pytest.raises(UserError, match="no tensor 'VGG16_0/Conv_12/bias'"):
        vgg16.convert(short)
    name = "NetLinLayer_4/Conv_0/kernel"
    with pytest.raises(UserError, match=rf"'{name}' has the shape \(512,\), not \(1, 1, 512, 1\)"):
        vgg16.convert(tensors | {name: tensors[name].reshape(-1)})


# --------------------------------------------------------------------------------------------------
# Path length


def generate(arrays, z, labels):
    """Images of 16 pixels from latents of 6 numbers, by jaxgan's convolutions."""
    dense, inner, outer, of_label = arrays
    x = jnp.tanh(z @ dense).reshape(-1, 4, 4, 8)
    x = conv_transpose(jnp.tanh(conv_transpose(x, inner, 2)), outer, 2)
    return jnp.tanh(x if labels is None else x + of_label[labels])


def generator(dtype=jnp.float32):
    draw = random(0).normal
    arrays = draw(size=(6, 4 * 4 * 8)), draw(size=(4, 4, 8, 8)) / 6, draw(size=(4, 4, 8, 3)) / 6
    of_label = draw(size=(2, 16, 16, 3))
    return Partial(generate, jax.tree.map(lambda x: jnp.asarray(x, dtype), (*arrays, of_label)))


def latents(count, dtype=jnp.float32):
    first, last = random(1).normal(size=(2, count, 6))
    t = random(2).uniform(size=count)
    return [jnp.asarray(each, dtype) for each in (first, last, t)]


def quotients(params, generate, first, last, t, labels, step):
    """As published: the distance of two images that are `step` apart, over its square."""
    images = [
        path_length._shrunk(generate(path_length._between(first, last, at), labels))
        for at in (t, t + step)
    ]
    return lpips(params, *images) / step**2


def test_lengths_are_the_limit_of_the_published_quotient():
    # With ReLU and the maximum of pools the quotient goes to the limit no faster than its step.
    labels = np.array([0, 1])
    found = path_length.squared_length(params(), generator(), *latents(2), labels)
    with jax.enable_x64(True):
        doubled = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params())
        ways = latents(2, jnp.float64)
        exact = path_length.squared_length(doubled, generator(jnp.float64), *ways, labels)
        near = jax.jit(quotients)(doubled, generator(jnp.float64), *ways, labels, 1e-7)
    assert exact.dtype == jnp.float64
    np.testing.assert_allclose(near, exact, rtol=1e-4)
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_derivatives_are_those_of_a_straight_line():
    # Along a line the path is a + s (b - a); the distance of close images is quadratic in s.
    a, b = jnp.split(golden_images(GOLDEN["cases"][0]) / 127.5 - 1, 2)
    speed = squared_speed(params(), a, b - a)
    np.testing.assert_allclose(squared_speed(params(), a, 3 * (b - a)), 9 * speed, rtol=1e-4)
    # Where all activations of a layer are 0, they stay so.
    *stages, last = params()["stages"]
    off = [*last[:-1], {**last[-1], "bias": jnp.full(512, -1e9)}]
    without = squared_speed({**params(), "stages": [*stages, off]}, a, b - a)
    assert np.isfinite(without).all()
    assert (without < speed).all()


def test_ways_are_spherical():
    # Karras et al.'s code: along a great circle, of latents of norm 1
    first, last, t = (np.asarray(each, np.float64) for each in latents(5))
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (first, last))
    cosine = np.sum(a * b, 1, keepdims=True)
    across = b - cosine * a
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle = t[:, None] * np.arccos(cosine)
    expected = a * np.cos(angle) + across * np.sin(angle)
    ways = lambda t: np.asarray(path_length._between(*(jnp.float32(z) for z in (first, last)), t))  # noqa: E731
    found = ways(jnp.float32(t))
    norm = np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found / norm, expected, atol=1e-6)
    norms = [np.linalg.norm(z, axis=1) for z in (first, last)]
    np.testing.assert_allclose(norm[:, 0], (1 - t) * norms[0] + t * norms[1], rtol=1e-5)
    np.testing.assert_allclose(ways(jnp.zeros(5)), first, atol=1e-5)
    np.testing.assert_allclose(ways(jnp.ones(5)), last, atol=1e-5)


def test_the_path_length_is_the_mean_over_ways(monkeypatch):
    ways = latents(7)
    monkeypatch.setattr(path_length, "CHUNK", 3)
    chunks = [[way[at : at + 3] for way in ways] for at in (0, 3, 4)]
    each = [path_length.squared_length(params(), generator(), *chunk, None) for chunk in chunks]
    each = np.concatenate([*each[:2], each[2][2:]])
    found = path_length.perceptual_path_length(params(), generator(), *ways)
    np.testing.assert_allclose(found.mean, np.mean(each), rtol=1e-4)
    np.testing.assert_allclose(found.error, np.std(each, ddof=1) / 7**0.5, rtol=1e-4)


def test_a_generator_may_be_any_function():
    ways = latents(2)
    found = path_length.perceptual_path_length(
        params(), lambda z, labels: generator()(z, labels), *ways, np.array([0, 1])
    )
    each = path_length.squared_length(params(), generator(), *ways, np.array([0, 1]))
    np.testing.assert_allclose(found.mean, np.mean(each), rtol=1e-4)


def test_large_images_are_averaged():
    images = jnp.asarray(random(3).normal(size=(1, 768, 768, 3)), jnp.float32)
    found = path_length._shrunk(images)
    assert found.shape == (1, 256, 256, 3)
    np.testing.assert_allclose(found[0, 1, 2], images[0, 3:6, 6:9].mean((0, 1)), rtol=1e-5)
    assert path_length._shrunk(images[:, :384, :384]).shape == (1, 384, 384, 3)
    assert path_length._shrunk(images[:, :515, :514]).shape == (1, 257, 257, 3)


def test_the_trimmed_means_error_is_its_deviation():
    values = random(4).pareto(3, size=(2000, 200))
    found = [path_length.trimmed_mean(each) for each in values]
    by_hand = np.sort(values[0])[1:-1]  # of 200 the lowest and the highest: positions below 1.99
    np.testing.assert_allclose(found[0].mean, by_hand.mean(), rtol=1e-6)
    moved = np.std(np.clip(values[0], by_hand[0], by_hand[-1]), ddof=1)
    np.testing.assert_allclose(found[0].error, moved / 0.99 / 200**0.5, rtol=1e-6)
    spread = np.std([each.mean for each in found])
    np.testing.assert_allclose(np.mean([each.error for each in found]), spread, rtol=0.1)
