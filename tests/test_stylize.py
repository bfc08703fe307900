"""One picture's content in another's style, with a small network in VGG16's place."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import stylize
from jaxgan.cli import stylize as verb
from jaxgan.cli.main import main
from jaxgan.metrics import networks
from jaxgan.metrics.networks import vgg16

WIDTHS = ((4, 4), (4, 4), (6, 6, 6), (6, 6, 6), (6, 6, 6))


def random_network():
    random, channels, stages = np.random.default_rng(0), 3, []
    for widths in WIDTHS:
        stages.append([])
        for width in widths:
            kernel = random.normal(0, (2 / (9 * channels)) ** 0.5, (3, 3, channels, width))
            bias = random.normal(0, 0.1, width)
            stages[-1].append({"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)})
            channels = width
    return {"stages": stages, "heads": []}


@pytest.fixture(scope="module")
def params():
    return random_network()


def pictures(count=2, size=(32, 36)):
    random = np.random.default_rng(1)
    return [jnp.float32(random.uniform(-1, 1, (1, *size, 3))) for _ in range(count)]


def test_layers_are_vgg16s(params):
    x, _ = pictures()
    found = [stage[-1] for stage in stylize.layers(params, x)]
    for ours, theirs in zip(found, vgg16.activations(params, (x + 1) * 127.5), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_a_gram_matrix_does_not_know_where():
    x = jnp.float32(np.random.default_rng(0).normal(size=(2, 5, 6, 3)))
    expected = np.einsum("bhwc,bhwd->bcd", x, x) / 30
    np.testing.assert_allclose(stylize.gram(x), expected, rtol=1e-5)
    moved = jnp.roll(x, (2, 3), (1, 2))
    np.testing.assert_allclose(stylize.gram(moved), stylize.gram(x), rtol=1e-5)


def test_losses_are_those_of_the_equations(params):
    content, style = pictures()
    target = stylize.target_of(params, content, style)
    assert stylize.losses(params, target, content).content == 0
    assert stylize.losses(params, target, style).style == 0
    x = pictures(3)[2]
    found = stylize.losses(params, target, x)
    of_x, of_content, of_style = (stylize.layers(params, each) for each in (x, content, style))
    difference = np.float64(of_x[3][1]) - np.float64(of_content[3][1])
    np.testing.assert_allclose(found.content, np.mean(difference**2), rtol=1e-4)
    layers = []
    for stage in range(5):
        grams = []
        for each in (of_x, of_style):
            flat = np.float64(each[stage][0]).reshape(-1, each[stage][0].shape[-1])
            grams.append(flat.T @ flat / len(flat))
        layers.append(np.mean((grams[0] - grams[1]) ** 2))
    np.testing.assert_allclose(found.style, np.mean(layers), rtol=1e-4)
    pixels = np.asarray(x)
    expected = np.mean(np.diff(pixels, axis=1) ** 2) + np.mean(np.diff(pixels, axis=2) ** 2)
    np.testing.assert_allclose(found.variation, expected, rtol=1e-5)
    weights = stylize.Weights(2.0, 3.0, 4.0)
    total = 2 * found.content + 3 * found.style + 4 * found.variation
    np.testing.assert_allclose(stylize.weighted(found, weights), total, rtol=1e-5)


def test_the_sum_of_losses_falls_in_every_iteration(params):
    content, style = pictures()
    target = jax.jit(stylize.target_of)(params, content, style)
    weights = stylize.Weights(1.0, 1.0, 0.0)
    series = stylize.optimise(params, target, content, weights)
    found = list(itertools.islice(series, 8))
    totals = [float(stylize.weighted(losses, weights)) for _, losses in found]
    assert all(np.diff(totals) < 0) and totals[-1] < 0.6 * totals[0]
    last, _ = found[-1]
    assert np.isfinite(last).all() and last.shape == content.shape


# --------------------------------------------------------------------------------------------------
# The verb


def test_the_verbs_weights_are_those_of_the_module():
    usual = [verb.OPTIMISATION[f"{name}_weight"][1] for name in stylize.Weights._fields]
    assert usual == list(stylize.Weights())


@pytest.fixture
def files(tmp_path, params, monkeypatch):
    monkeypatch.setattr(networks, "lpips_weights", lambda folder: params)
    random = np.random.default_rng(0)
    for name, shape in (("content.png", (60, 90, 3)), ("style.jpg", (80, 50))):
        Image.fromarray(np.uint8(random.integers(0, 256, shape))).save(tmp_path / name)
    return tmp_path


def command(folder, *arguments, content="content.png", out="out.png"):
    named = {"--content": content, "--style": "style.jpg", "--out": out}
    paths = itertools.chain(*((flag, str(folder / name)) for flag, name in named.items()))
    return main(["stylize", *paths, *map(str, arguments)])


def test_a_picture_is_written_and_its_losses_told(files, capsys):
    assert command(files, "--size", 60, "--steps", 3, "--preview", 2) == 0
    out, _ = capsys.readouterr()
    told = [line.split() for line in out.splitlines() if line.startswith("iteration")]
    assert [line[1] for line in told] == ["0", "2", "3"]
    assert float(told[-1][5]) < float(told[0][5])  # style
    with Image.open(files / "out.png") as picture:
        assert picture.size == (60, 40)
    first = (files / "out.png").read_bytes()
    assert command(files, "--size", 60, "--steps", 3, "--noise") == 0
    assert (files / "out.png").read_bytes() != first


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--steps", 0], "--steps: 0 is not 1 or more"),
        (["--size", 20], "--size: 20 is not 32 or more"),
        (["--size", 40], "--content: "),  # 40 x 27 pixels
        (["--style_weight", -1], "--style_weight: -1.0 is not a number of 0 or more"),
        (["--variation_weight", "nan"], "--variation_weight: nan"),
    ],
)
def test_mistakes_are_one_sentence(files, arguments, message, capsys):
    assert command(files, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (files / "out.png").exists()


def test_pictures_that_are_none(files, capsys):
    assert command(files, content="none.png") == 2
    assert "--content: " in capsys.readouterr().err
    assert command(files, out="out.jpg") == 2
    assert "out.jpg is not a .png file" in capsys.readouterr().err
