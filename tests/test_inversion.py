"""Latents of given images, directions among latents, and the verbs about them."""

import types
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image

from jaxgan import config, data, experiment, loop, writer
from jaxgan.algorithms import player
from jaxgan.cli.main import main
from jaxgan.cli.of_run import Drawing
from jaxgan.errors import UserError
from jaxgan.exploration import directions, files, inversion
from jaxgan.exploration.pictures import pictures
from jaxgan.models import dcgan, mlp

ROOT = Path(__file__).parents[1]
OWN = "0123456789abcdef"  # the origin of files


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a conditional model, whose latents have 8 dimensions."""
    settings = config.load(str(ROOT / "configs" / "default.py"), ["model.name=mlp"])
    settings.data.split, settings.conditional = "test[:200]", True
    settings.model.generator = {"features": (8,)}
    settings.model.discriminator = {"features": (8,)}
    settings = config.tiny(settings)
    settings.evaluate_every = 0
    workdir = tmp_path_factory.mktemp("inversion") / "run"
    assert loop.train(settings, workdir) == 0
    return workdir


def verb(name, workdir, out, *arguments):
    return main([name, "--workdir", str(workdir), "--out", str(out), *map(str, arguments)])


def one_sentence(capsys, *named):
    out, err = capsys.readouterr()
    assert (out, err[:7], err.count("\n")) == ("", "error: ", 1)
    for text in named:
        assert text in err
    return True


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def tiles(path, columns):
    """The images of a grid, 28 pixels each, in rows."""
    pixels = np.asarray(Image.open(path))
    rows = (pixels.shape[0] - 2) // 30
    cut = lambda r, c: pixels[2 + 30 * r : 30 * r + 30, 2 + 30 * c : 30 * c + 30]  # noqa: E731
    return np.array([[cut(r, c) for c in range(columns)] for r in range(rows)]).astype(int)


def drawn_by(run, z, labels):
    _, algorithm, state = experiment.load_run(run)
    return pictures(Partial(algorithm.render, state), z, labels)[..., 0].astype(int)


# --------------------------------------------------------------------------------------------------
# The search


def test_rates_and_noise_are_those_of_stylegan2s_projector():
    rate = [float(inversion.learning_rate(step, 1000)) for step in range(1001)]
    np.testing.assert_allclose(rate[:51], 0.1 * np.arange(51) / 50, atol=1e-7)
    np.testing.assert_allclose(rate[50:751], 0.1, atol=1e-7)
    fall = 0.1 * (1 + np.cos(np.pi * np.arange(251) / 250)) / 2
    np.testing.assert_allclose(rate[750:], fall, atol=1e-7)
    noise = [float(inversion.noise_scale(step, 1000, 100)) for step in (0, 375, 750, 900)]
    np.testing.assert_allclose(noise, [0.5, 0.125, 0, 0], atol=1e-7)


def test_latents_stay_where_the_prior_has_them():
    z = 3 * normal(4, 50)
    np.testing.assert_array_equal(inversion.confined("uniform", z), np.clip(z, -1, 1))
    np.testing.assert_array_equal(inversion.confined("truncated", z), np.clip(z, -2, 2))
    confined = inversion.confined("normal", z)
    np.testing.assert_allclose(jnp.linalg.norm(confined, axis=1), 50**0.5 + 4.5**0.5, rtol=1e-6)
    np.testing.assert_allclose(confined / confined[:, :1], z / z[:, :1], rtol=1e-5)
    np.testing.assert_array_equal(inversion.confined("normal", z / 3), z / 3)
    assert not inversion.confined("normal", jnp.zeros((1, 5))).any()


def render(weights, z, labels):
    """Images 4 x 4 of two classes; each has latents of its own."""
    images = jnp.tanh(0.3 * (z @ weights[0]) * jnp.where(labels, 1, -1)[:, None] + weights[1])
    return images.reshape(-1, 4, 4, 1)


WEIGHTS = normal(5, 16), normal(1, 16, seed=1)


@pytest.mark.parametrize("latent", ["normal", "uniform"])
def test_the_latents_of_generated_images_are_found(latent):
    z = jnp.clip(normal(3, 5, seed=2), -0.9, 0.9)
    images = render(WEIGHTS, z, jnp.ones(3, jnp.int32))
    labels = jnp.tile(jnp.array([1, 1]), (3, 1))
    given = None, images, labels, jax.random.key(0), latent, 5, 300, 2
    way = list(inversion.invert(Partial(render, WEIGHTS), *given))
    assert [int(each.step) for each in way] == [0, 150, 300]
    found = inversion.best(Partial(render, WEIGHTS), None, images, way[-1])
    np.testing.assert_allclose(found.z, z, atol=1e-2)
    assert found.distance.max() < 1e-5
    assert (
        inversion.distances(None, images, inversion.draw(Partial(render, WEIGHTS), way[0])).min()
        > 1e-3
    )


def test_the_best_start_has_the_right_class():
    z = normal(4, 5, seed=2)
    classes = jnp.array([0, 1, 1, 0])

    def of_class(weights, z, labels):
        bright = jnp.where(labels, 0.5, -0.5)[:, None, None, None]
        return bright + 0.1 * render(weights, z, jnp.ones_like(labels))

    apart = Partial(of_class, WEIGHTS)
    images = apart(z, classes)
    labels = jnp.tile(jnp.array([0, 0, 1, 1]), (4, 1))
    given = None, images, labels, jax.random.key(0), "normal", 5, 100, 1
    search = list(inversion.invert(apart, *given))[-1]
    found = inversion.best(apart, None, images, search)
    np.testing.assert_array_equal(found.labels, classes)
    np.testing.assert_array_equal(found.chosen // 2, classes)
    drawn = inversion.distances(None, images, apart(found.z, found.labels)[:, None])
    np.testing.assert_allclose(drawn[:, 0], found.distance, rtol=1e-4, atol=1e-8)


def test_lpips_stands_beside_pixels(monkeypatch):
    images, drawn = normal(2, 4, 4, 1), normal(2, 3, 4, 4, 1, seed=1)
    squares = np.square(np.asarray(images)[:, None] - np.asarray(drawn)).mean((2, 3, 4))
    np.testing.assert_allclose(inversion.distances(None, images, drawn), squares, rtol=1e-5)
    fake = lambda params, a, b: params * jnp.abs(a - b).max((1, 2, 3))  # noqa: E731
    monkeypatch.setattr(inversion, "lpips", fake)
    largest = np.abs(np.asarray(images)[:, None] - np.asarray(drawn)).max((2, 3, 4))
    both = inversion.distances(jnp.float32(2), images, drawn)
    np.testing.assert_allclose(both, squares + 2 * largest, rtol=1e-5)


# --------------------------------------------------------------------------------------------------
# Directions


def test_sefas_directions_are_right_singular_vectors():
    weights = np.asarray(normal(30, 6))
    found = directions.sefa(weights, 4)
    _, values, vectors = np.linalg.svd(weights)
    np.testing.assert_allclose(np.abs(np.sum(found.directions * vectors[:4], 1)), 1, atol=1e-5)
    np.testing.assert_allclose(found.shares, (values**2 / np.sum(values**2))[:4], rtol=1e-5)
    assert (found.directions.max(1) >= -found.directions.min(1)).all()
    others = np.asarray(normal(2000, 6, seed=1))
    others = others / np.linalg.norm(others, axis=1, keepdims=True)
    reached = np.linalg.norm(weights @ found.directions[0])
    assert np.linalg.norm(others @ weights.T, axis=1).max() <= reached


@pytest.mark.parametrize("features", [12, 400])
def test_ganspace_of_a_linear_map_finds_its_axes(features):
    z = np.asarray(normal(300, 5), np.float64)
    z -= z.mean(0)
    z = (z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T).astype(np.float32)  # white
    weights = np.asarray(normal(features, 5, seed=1)) * np.array([1, 2, 3, 4, 5])
    found = directions.ganspace(z @ weights.T + 7, z, 9)  # of 9 there are 5
    expected = directions.sefa(weights, 5)
    np.testing.assert_allclose(found.directions, expected.directions, atol=1e-3)
    np.testing.assert_allclose(found.shares, expected.shares, rtol=1e-3)


class State(NamedTuple):
    ema: player.Average


def network(generator, num_classes, z_dim=5):
    """An algorithm and its state, as far as they count here."""
    labels = jnp.zeros(2, jnp.int32) if num_classes else None
    init = lambda: generator.init(jax.random.key(0), normal(2, z_dim), labels, train=True)  # noqa: E731
    stats = dict(jax.jit(init)())
    params = jax.tree.map(lambda x: x + 0.3 * normal(*x.shape), stats.pop("params"))
    algorithm = types.SimpleNamespace(
        generator=generator, num_classes=num_classes, z_dim=z_dim, dtype=jnp.float32
    )
    return algorithm, State(player.Average(params, stats))


def test_directions_of_a_network_are_those_of_its_first_layer():
    settings = {"features": (8,), "embedding": 4, "norm": "none"}
    algorithm, state = network(mlp.Generator((4, 4, 1), 3, **settings), 3)
    first = state.ema.params["Dense_0"]
    kernel, bias = np.asarray(first["kernel"]), np.asarray(first["bias"])
    found = directions.of_weights(algorithm, state, 1, 3)
    expected = directions.sefa(kernel[:5].T, 3)  # the other 4 rows are the label's embedding's
    np.testing.assert_allclose(found.directions, expected.directions, atol=1e-4)
    z = normal(150, 5)
    label = np.asarray(state.ema.params["LabelledLatent_0"]["Embed_0"]["embedding"])[1]
    hidden = np.maximum(np.asarray(z) @ kernel[:5] + label @ kernel[5:] + bias, 0)
    found = directions.of_activations(algorithm, state, z, 1, 3)
    expected = directions.ganspace(hidden, np.asarray(z), 3)
    np.testing.assert_allclose(found.directions, expected.directions, atol=1e-3)
    np.testing.assert_allclose(found.shares, expected.shares, rtol=1e-3)


def test_a_linear_generators_activations_are_its_images():
    generator = mlp.Generator((4, 4, 1), 0, features=(), output="linear")
    algorithm, state = network(generator, 0)
    z = normal(100, 5)
    images = np.asarray(z @ state.ema.params["Dense_0"]["kernel"])
    found = directions.of_activations(algorithm, state, z, 0, 2)
    np.testing.assert_allclose(
        found.directions, directions.ganspace(images, np.asarray(z), 2).directions, atol=1e-3
    )


def test_latents_that_modulate_layers_count_there_too():
    generator = dcgan.Generator((8, 8, 1), 0, width=4, norm="self_modulated")
    algorithm, state = network(generator, 0)
    layers = directions._layers(algorithm, state, 0)
    assert sum(each.kind is directions.Dense and each.linear_out for each in layers) == 2
    params = state.ema.params
    kernels = params["Dense_0"]["kernel"], params["SelfModulation_0"]["Dense_0"]["kernel"]
    expected = directions.sefa(np.concatenate(kernels, 1).T, 3)
    found = directions.of_weights(algorithm, state, 0, 3)
    np.testing.assert_allclose(found.directions, expected.directions, atol=1e-4)
    z = normal(40, 5)
    seen, _ = directions._watched(algorithm, state, z, 0)
    maps = next(x for kind, x, _ in seen if kind is not directions.Dense)
    assert maps.ndim == 4
    expected = directions.ganspace(np.asarray(maps).reshape(40, -1), np.asarray(z), 2)
    found = directions.of_activations(algorithm, state, z, 0, 2)
    np.testing.assert_allclose(found.directions, expected.directions, atol=1e-3)


# --------------------------------------------------------------------------------------------------
# The verbs


def test_an_image_of_the_run_is_found_again(run, tmp_path, capsys):
    assert verb("sample", run, tmp_path / "own", "--num", 2, "--labels", "Bag,3") == 0
    images = sorted((tmp_path / "own").iterdir())
    target = np.stack([np.asarray(Image.open(path)) for path in images]).astype(int)
    capsys.readouterr()
    out = tmp_path / "found.png"
    arguments = ["--image", *images, "--labels", "3,Bag", "--steps", 120, "--starts", 2]
    assert verb("invert", run, out, *arguments) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert "by pixels" in last and str(tmp_path / "found.npz") in last
    rows = tiles(out, 10)
    np.testing.assert_array_equal(rows[:, 0], target)
    errors = np.square((rows - target[:, None]) / 255).mean((2, 3))
    assert (errors[:, -1] < errors[:, 1] / 20).all()
    z, labels = files.read_latents(tmp_path / "found.npz", 8, 10, OWN)
    assert np.abs(drawn_by(run, z, labels) - rows[:, -1]).max() <= 1
    for line, error in zip(lines, errors[:, -1], strict=True):
        assert f"mean squared error {error:.5f}" in line
    assert (tmp_path / "found.npz").stat().st_size < 2000
    # and they can be moved on, where they mean something: no warning
    capsys.readouterr()
    assert (
        verb("edit", run, tmp_path / "m.png", "--latents", tmp_path / "found.npz", "--to", 4) == 0
    )
    assert capsys.readouterr().err == ""
    before, after = tiles(tmp_path / "m.png", 2)
    assert np.abs(before - rows[:, -1]).max() <= 1
    assert np.abs(after - drawn_by(run, z, np.array([4, 4]))).max() <= 1
    moved, labels = files.read_latents(tmp_path / "m.npz", 8, 10, OWN)
    np.testing.assert_array_equal(moved, z)
    np.testing.assert_array_equal(labels, [4, 4])


def test_a_picture_becomes_square_as_the_data_set_was_made(run, tmp_path, monkeypatch):
    Image.new("L", (40, 10), 0).save(tmp_path / "wide.png")
    load, grey = experiment.load_run, {"background": [51, 51, 51]}
    ways = ({"fit": "crop"}, 0), ({"fit": "pad"}, 0.75), ({"fit": "pad"} | grey, 0.75 * 0.2)
    for details, mean in ways:

        def made(*of, details=details):
            config, *others = load(*of)
            config.derived.data = details
            return config, *others

        monkeypatch.setattr(experiment, "load_run", made)
        arguments = ["--image", tmp_path / "wide.png", "--labels", 1, "--steps", 2, "--starts", 1]
        assert verb("invert", run, tmp_path / "a.png", *arguments) == 0
        target = tiles(tmp_path / "a.png", 10)[0, 0] / 255
        assert abs(target.mean() - mean) < 0.02


def test_a_picture_is_resized_by_the_data_sets_filter(tmp_path):
    path, pixels = tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    Image.fromarray(pixels).save(path)
    drawn = {
        kind: data.read_picture("x", path, 1, 20, {"filter": kind}) for kind in ("box", "bicubic")
    }
    expected = pixels.reshape(20, 2, 20, 2).mean((1, 3))
    assert np.abs(drawn["box"][..., 0] - expected).max() <= 1
    assert np.abs(drawn["bicubic"][..., 0] - expected).max() > 5
    for details in (
        {"filter": []},
        {"fit": "x"},
        {"background": [0, 0]},
        {"background": [0, 0, 999]},
    ):
        with pytest.raises(UserError, match=r"x: .*filter, fit or background is none"):
            data.read_picture("x", path, 1, 20, details)


def test_generators_that_were_trained_otherwise_have_other_origins():
    def origin(name, content="a", **changes):
        settings = config.resolve(
            config.load(ROOT / "configs" / f"{name}.py", [f"{k}={v}" for k, v in changes.items()]),
            500,
            (28, 28, 1),
            tuple("abcdefghij"),
            {"content": content},
        )
        return Drawing(settings, None, None, None).origin

    same = origin("cgan"), origin("cgan", steps=7), origin("cgan", log_every=3)
    others = origin("ada"), origin("diffaug"), origin("cgan", "b"), origin("cgan", seed=1)
    assert len(set(same)) == 1 and len({*same, *others}) == 5


def test_images_of_the_data_set_are_sought_a_few_at_a_time(run, tmp_path, monkeypatch):
    out = tmp_path / "found.png"
    arguments = ["--num", 3, "--split", "test[:50]", "--labels", "1,2", "--steps", 9, "--starts", 1]
    from jaxgan.cli import invert

    monkeypatch.setattr(invert, "AT_ONCE", 4)  # two images by two classes
    assert verb("invert", run, out, *arguments, "--seed", 2) == 0
    examples = data.load("fashion_mnist_mini", "test[:50]").images[..., 0]
    chosen = data.indices(2, 0, 3, 50)
    np.testing.assert_array_equal(tiles(out, 10)[:, 0], examples[chosen])
    assert set(files.read_latents(tmp_path / "found.npz", 8, 10, OWN)[1]) <= {1, 2}


def test_a_picture_of_directions(run, tmp_path, capsys):
    assert verb("sample", run, tmp_path / "own.npy", "--num", 1, "--labels", 8, "--seed", 3) == 0
    middle = np.load(tmp_path / "own.npy")[0, ..., 0].astype(int)
    capsys.readouterr()
    out = tmp_path / "d.png"
    arguments = ["--rows", 2, "--reach", 2, "--labels", "Bag", "--seed", 3]
    assert verb("directions", run, out, *arguments) == 0
    assert "share in the weights" in capsys.readouterr().out
    rows = tiles(out, 11)
    assert np.abs(rows[:, 5] - middle).max() <= 1
    _, algorithm, state = experiment.load_run(run)
    found = files.read_directions(tmp_path / "d.npz", 8, OWN)
    expected = directions.of_weights(algorithm, state, 8, 2).directions
    np.testing.assert_allclose(found, expected, atol=1e-5)
    moved = ["--directions", tmp_path / "d.npz", "--direction", 1, "--by", -2, "--num", 1]
    assert verb("edit", run, tmp_path / "m.png", *moved, "--labels", 8, "--seed", 3) == 0
    before, after = tiles(tmp_path / "m.png", 1)[:, 0]
    assert np.abs(before - middle).max() <= 1 and np.abs(after - rows[1, 0]).max() <= 1
    assert np.abs(before - after).max() > 2
    arguments = ["--method", "ganspace", "--latents", tmp_path / "m.npz", "--rows", 1]
    assert verb("directions", run, tmp_path / "g.png", *arguments) == 0
    assert "share in the activations" in capsys.readouterr().out
    assert np.abs(tiles(tmp_path / "g.png", 11)[0, 5] - after).max() <= 1


@pytest.fixture
def beside(run, tmp_path):
    """A picture's place, a file of directions and one that is no picture."""
    np.savez(tmp_path / "d.npz", directions=np.eye(8, dtype=np.float32)[:2])
    (tmp_path / "text.png").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    "name, arguments, named",
    [
        ("invert", ["a.gif"], ["--out", ".png"]),
        ("invert", ["a.png", "--num", 0], ["--num", "1 or more"]),
        ("invert", ["a.png", "--steps", 0], ["--steps", "1 or more"]),
        ("invert", ["a.png", "--starts", 0], ["--starts", "1 or more"]),
        ("invert", ["a.png", "--seed", -1], ["--seed", "-1"]),
        ("invert", ["a.png", "--labels", "Hat"], ["--labels", "'Hat'"]),
        ("invert", ["a.png", "--split", "tset"], ["--split", "'tset'"]),
        ("invert", ["a.png", "--image", "{}/absent.png"], ["--image", "absent.png", "read"]),
        ("invert", ["a.png", "--image", "{}/text.png"], ["--image", "text.png", "read"]),
        ("invert", ["a.png", "--image", "x.png", "--split", "test"], ["--split", "--image"]),
        ("invert", ["a.png", "--image", "x.png", "--num", 8], ["--num", "--image"]),
        ("directions", ["a.npz"], ["--out", ".png"]),
        ("directions", ["a.png", "--rows", 0], ["--rows", "1 or more"]),
        ("directions", ["a.png", "--rows", 9], ["--rows", "8 latents"]),
        ("directions", ["a.png", "--reach", 0], ["--reach", "not within"]),
        ("directions", ["a.png", "--labels", "1,2"], ["--labels", "one is drawn"]),
        ("edit", ["a.png"], ["--directions, --to"]),
        ("edit", ["a.png", "--to", "Hat"], ["--to", "'Hat'", "8 Bag"]),
        ("edit", ["a.png", "--to", 1, "--num", 0], ["--num", "1 or more"]),
        ("edit", ["a.png", "--directions", "{}/d.npz", "--by", "nan"], ["--by", "not within"]),
        ("edit", ["a.png", "--to", 1, "--by", 3], ["--by", "without --directions"]),
        ("edit", ["a.png", "--to", 1, "--direction", 0], ["--direction", "without --directions"]),
        ("edit", ["a.png", "--to", 1, "--latents", "x", "--num", 1], ["--num", "--latents"]),
        (
            "edit",
            ["a.png", "--to", 1, "--labels", 1, "--latents", "x"],
            ["--labels", "beside --latents"],
        ),
        (
            "edit",
            ["a.png", "--directions", "{}/d.npz", "--direction", 2],
            ["--direction", "0 to 1"],
        ),
        ("edit", ["a.png", "--directions", "{}/text.png"], ["text.png"]),
        ("edit", ["a.png", "--to", 1, "--latents", "{}/d.npz"], ["--latents", "no array z"]),
        ("edit", ["d.png", "--directions", "{}/d.npz"], ["--out", "written over"]),
        ("edit", ["a.png", "--to", 1, "--statistics", "batch"], ["--statistics"]),
    ],
)
def test_a_mistake_is_one_sentence(name, arguments, named, run, beside, capsys):
    out, *rest = [str(each).replace("{}", str(beside)) for each in arguments]
    assert verb(name, run, beside / out, *rest) == 2
    assert one_sentence(capsys, *named)
    assert sorted(path.name for path in beside.iterdir()) == ["d.npz", "text.png"]


def test_images_too_small_for_lpips(run, tmp_path, capsys, monkeypatch):
    loaded = experiment.load_run(run)
    loaded[0].derived.image_shape = (8, 8, 1)
    monkeypatch.setattr(experiment, "load_run", lambda *_: loaded)
    writer.write_png(tmp_path / "x.png", np.zeros((8, 8, 1), np.uint8))
    arguments = ["--image", tmp_path / "x.png", "--loss", "perceptual"]
    assert verb("invert", run, tmp_path / "a.png", *arguments) == 2
    assert one_sentence(capsys, "--loss", "16 pixels", "have 8")
