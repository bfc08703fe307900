"""Ways between latents and classes, neighbours, and the verbs about them, on one tiny run."""

import dataclasses
import importlib
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from PIL import Image

from jaxgan import config, data, experiment, loop, parallel, references, writer
from jaxgan.cli.main import main
from jaxgan.errors import UserError
from jaxgan.exploration import files, paths
from jaxgan.exploration.pictures import pictures
from jaxgan.metrics import spectrum
from jaxgan.metrics.neighbours import k_nearest
from jaxgan.models import dcgan, goodfellow, layers
from jaxgan.sampler import Sampler, latents_of

ROOT = Path(__file__).parents[1]
OWN = "0123456789abcdef"  # the origin of files
SECTION = {"name": "fashion_mnist_mini", "image_size": 0, "dir": "", "path": ""}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a conditional model."""
    settings = config.load(str(ROOT / "configs" / "default.py"), ["model.name=mlp"])
    settings.data.split, settings.conditional = "test[:200]", True
    settings.model.generator = {"features": (8,)}
    settings.model.discriminator = {"features": (8,)}
    workdir = tmp_path_factory.mktemp("exploration") / "run"
    settings = config.tiny(settings)
    settings.evaluate_every = 0
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


# --------------------------------------------------------------------------------------------------
# Ways


def test_slerp_turns_evenly_and_keeps_lengths():
    a, b, t = normal(5, 7), normal(5, 7, seed=1), jnp.linspace(0, 1, 9)
    a, b = (3 * x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    way = np.asarray(paths.slerp(a, b, t), np.float64)
    np.testing.assert_allclose(np.linalg.norm(way, axis=2), 3, rtol=1e-6)
    np.testing.assert_allclose(way[:, 0], a, atol=1e-6)
    np.testing.assert_allclose(way[:, -1], b, atol=1e-6)
    angle = np.arccos(np.sum(np.asarray(a)[:, None] * way, 2)[:, 1:] / 9)
    whole = np.arccos(np.sum(np.asarray(a * b), 1) / 9)
    np.testing.assert_allclose(angle, whole[:, None] * t[None, 1:], rtol=1e-4)


def test_slerp_of_other_lengths_and_of_parallel_latents():
    a, b = jnp.array([[2.0, 0], [1, 1], [1, 0]]), jnp.array([[0, 4.0], [3, 3], [-1, 0]])
    way = paths.slerp(a, b, jnp.array([0.5]))[:, 0]
    np.testing.assert_allclose(way[0], 3 * np.sqrt([0.5, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(way[1:], [[2, 2], [0, 0]], atol=1e-6)


def test_uniform_latents_go_straight():
    a, b, t = normal(2, 3), normal(2, 3, seed=1), jnp.array([0.0, 0.25, 1])
    straight = paths.between("uniform", a, b, t)
    np.testing.assert_allclose(straight[:, 1], 0.75 * a + 0.25 * b, rtol=1e-6)
    np.testing.assert_array_equal(straight[:, 2], b)
    np.testing.assert_array_equal(paths.between("normal", a, b, t), paths.slerp(a, b, t))


def test_class_shares_pass_each_class():
    shares = paths.class_shares((4, 0, 2), 5, jnp.array([0, 0.25, 0.5, 0.9, 1]))
    expected = np.zeros((5, 5))
    expected[[0, 1, 1, 2, 3, 3, 4], [4, 4, 0, 0, 0, 2, 2]] = [1, 0.5, 0.5, 1, 0.2, 0.8, 1]
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    np.testing.assert_array_equal(paths.class_shares((1,), 3, jnp.array([0, 0.7, 1])).sum(0)[1], 3)


def test_a_moving_picture_ends_where_it_begins():
    t = np.asarray(paths.there_and_back(20))
    assert (t[0], t[10]) == (0, 1)
    np.testing.assert_allclose(t[1:10], t[:10:-1], atol=1e-6)
    assert np.diff(t)[0] < np.diff(t)[5] / 3  # slow at the ends


GENERATORS = {
    "embedding": dcgan.Generator((8, 8, 1), 3, width=4),
    "concat": dcgan.Generator((8, 8, 1), 3, width=4, conditioning="concat"),
    "norm": dcgan.Generator((8, 8, 1), 3, width=4, conditioning="norm"),
    "goodfellow": goodfellow.Generator((8, 8, 1), 3, 4, 4, 4),
}


@pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)
def test_shares_of_one_class_are_its_label_and_others_lie_between(generator):
    z, labels = normal(3, 12), jnp.array([2, 0, 1])
    variables = jax.jit(lambda: generator.init(jax.random.key(0), z, labels, train=True))()
    # all that depends on the label begins at 0 in some
    variables = jax.tree.map(lambda x: x + 0.3 * normal(*x.shape), variables)
    draw = jax.jit(lambda labels: generator.apply(variables, z, labels, train=False))
    of_labels, one_hot = draw(labels), jnp.eye(3)[labels]
    np.testing.assert_allclose(draw(one_hot), of_labels, atol=1e-5)
    others = draw((labels + 1) % 3)
    mixed = draw((one_hot + jnp.roll(one_hot, 1, 1)) / 2)
    for each in (of_labels, others):
        assert np.abs(mixed - each).max((1, 2, 3)).min() > 1e-4  # each image is another


def test_shares_take_as_much_of_each_row():
    table, shares = normal(3, 5), jnp.array([[0.2, 0.5, 0.3], [0, 1, 0]])
    expected = np.asarray(shares) @ np.asarray(table)
    np.testing.assert_allclose(layers.rows(table, shares), expected, rtol=1e-5)
    np.testing.assert_array_equal(layers.rows(table, jnp.array([2, 2])), table[jnp.array([2, 2])])
    np.testing.assert_array_equal(layers.codes(shares, 3, jnp.float32), shares)
    np.testing.assert_array_equal(layers.codes(jnp.array([2]), 3, jnp.float32), [[0, 0, 1]])


# --------------------------------------------------------------------------------------------------
# Interpolate


def tiles(path, columns):
    """The images of a grid, 28 pixels each, in rows."""
    pixels = np.asarray(Image.open(path))
    rows = (pixels.shape[0] - 2) // 30
    cut = lambda r, c: pixels[2 + 30 * r : 30 * r + 30, 2 + 30 * c : 30 * c + 30]  # noqa: E731
    return np.array([[cut(r, c) for c in range(columns)] for r in range(rows)])


def sampled(run, folder, *arguments):
    assert verb("sample", run, folder / "drawn.npy", *arguments) == 0
    return np.load(folder / "drawn.npy")[..., 0].astype(int)


def test_ways_lead_from_samples_to_samples(run, tmp_path, capsys):
    out = tmp_path / "ways.png"
    assert verb("interpolate", run, out, "--from", 3, "--to", 5, "--rows", 4, "--frames", 6) == 0
    assert capsys.readouterr().out == f"4 ways of 6 images by step 4: {out}\n"
    drawn = tiles(out, 6).astype(int)
    for end, seed in ((0, 3), (-1, 5)):
        expected = sampled(run, tmp_path, "--num", 4, "--seed", seed)
        assert np.abs(drawn[:, end] - expected).max() <= 1  # compiled otherwise
    steps = np.abs(np.diff(drawn, axis=1)).mean((0, 2, 3))
    whole = np.abs(drawn[:, -1] - drawn[:, 0]).mean()
    assert steps.min() > 0 and steps.max() < whole


def test_ways_lead_from_class_to_class(run, tmp_path):
    out = tmp_path / "ways.png"
    arguments = ["--to", 0, "--labels", "Bag,3", "--rows", 2, "--frames", 3]
    assert verb("interpolate", run, out, *arguments) == 0
    drawn = tiles(out, 3).astype(int)
    for end, label in ((0, 8), (-1, 3)):
        expected = sampled(run, tmp_path, "--num", 2, "--labels", label)
        assert np.abs(drawn[:, end] - expected).max() <= 1
    assert np.abs(drawn[:, 0] - drawn[:, 2]).max() > 1
    shares = jnp.zeros((2, 10)).at[:, jnp.array([3, 8])].set(0.5)
    _, algorithm, state = experiment.load_run(run)
    between = algorithm.render(state, latents_of(algorithm, 2, 0), shares)
    assert np.abs(drawn[:, 1] - np.asarray(data.to_uint8(between))[..., 0].astype(int)).max() <= 1


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_moving_pictures(kind, run, tmp_path):
    out = tmp_path / f"ways.{kind}"
    assert verb("interpolate", run, out, "--rows", 2, "--frames", 6) == 0
    with Image.open(out) as picture:
        assert (picture.n_frames, picture.info["loop"], picture.size) == (6, 0, (62, 32))
        frames = []
        for n in range(6):
            picture.seek(n)
            frames.append(np.asarray(picture.convert("L"), int))
    ends = tmp_path / "ends.png"
    assert verb("interpolate", run, ends, "--rows", 2, "--frames", 2) == 0
    for frame, column in ((frames[0], 0), (frames[3], 1)):
        expected = tiles(ends, 2)[:, column].astype(int)
        found = np.stack([frame[2:30, 2:30], frame[2:30, 32:60]])
        assert np.abs(found - expected).max() <= 2
    assert np.abs(frames[1] - frames[5]).max() <= 2 < np.abs(frames[1] - frames[0]).max()


def test_films(run, tmp_path, capsys, monkeypatch):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    out = tmp_path / "ways.mp4"
    assert verb("interpolate", run, out, "--rows", 1, "--frames", 4) == 0
    read = [ffmpeg, "-v", "error", "-i", out, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    assert len(subprocess.run(read, capture_output=True, check=True).stdout) == 4 * 32 * 32

    def absent(name):
        raise ImportError(name)

    capsys.readouterr()
    monkeypatch.setattr(importlib, "import_module", absent)
    assert verb("interpolate", run, tmp_path / "no.mp4") == 2
    assert one_sentence(capsys, "--out", ".mp4", '".[video]"', ".gif")


def test_ways_of_latents_in_a_file(run, tmp_path, capsys):
    z, labels = np.asarray(normal(3, 8)), np.array([1, 7, 7])
    files.write_arrays(tmp_path / "mine.npz", OWN, z=z, labels=labels)
    out = tmp_path / "ways.png"
    assert verb("interpolate", run, out, "--latents", tmp_path / "mine.npz", "--frames", 2) == 0
    warning = f"warning: --latents: {tmp_path / 'mine.npz'} is of another generator"
    assert capsys.readouterr().err.startswith(warning)
    _, algorithm, state = experiment.load_run(run)
    drawn = pictures(Partial(algorithm.render, state), z, labels)[..., 0]
    expected = np.stack([drawn[:-1], drawn[1:]], 1).astype(int)
    assert np.abs(tiles(out, 2).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "arrays, named",
    [
        ({"w": np.zeros((2, 8))}, ["no array z", "w"]),
        ({"z": np.zeros((2, 5))}, ["(2, 5)", "8 dimensions"]),
        ({"z": np.zeros((0, 8))}, ["(0, 8)"]),
        ({"z": np.full((2, 8), np.nan)}, ["finite"]),
        ({"z": np.zeros((2, 8), int)}, ["floating-point"]),
        ({"z": np.zeros((2, 8))}, ["labels", "10 classes"]),
        ({"z": np.zeros((2, 8)), "labels": np.array([0, 10])}, ["labels", "10 classes"]),
        ({"z": np.zeros((2, 8)), "labels": np.array([0.0, 1])}, ["2 whole numbers"]),
        ({"z": np.zeros((2, 8)), "labels": np.zeros(3, int)}, ["2 whole numbers"]),
        ({"z": np.zeros((1, 8)), "labels": np.zeros(1, int)}, ["one latent", "takes two"]),
        ({"z": np.array([{}], object)}, ["numbers"]),
    ],
)
def test_files_that_hold_no_such_latents(arrays, named, run, tmp_path, capsys):
    np.savez(tmp_path / "mine.npz", **arrays)
    assert verb("interpolate", run, tmp_path / "a.png", "--latents", tmp_path / "mine.npz") == 2
    assert one_sentence(capsys, str(tmp_path / "mine.npz"), *named)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["a.jpg"], ["--out", ".png, .gif, .webp or .mp4"]),
        (["a.png", "--rows", 0], ["--rows", "1 or more"]),
        (["a.png", "--frames", 1], ["--frames", "2 or more"]),
        (["a.png", "--from", -1], ["--from", "-1"]),
        (["a.png", "--to", 2**32], ["--to", str(2**32)]),
        (["a.png", "--labels", "Hat"], ["--labels", "'Hat'", "8 Bag"]),
        (["a.png", "--labels", "1", "--latents", "x.npz"], ["--labels", "beside --latents"]),
        (["a.png", "--rows", 8, "--latents", "x.npz"], ["--rows", "beside --latents"]),
        (["a.png", "--from", 0, "--latents", "x.npz"], ["--from", "beside --latents"]),
        (["a.png", "--latents", "absent.npz"], ["absent.npz", "cannot be read"]),
        (["a.png", "--statistics", "batch"], ["--statistics", "latent of its own"]),
        (["a.png", "--step", 3], ["step 3", "2, 4"]),
        (["a.png", "--member", 1], ["--member", "no member 1"]),
    ],
)
def test_a_mistake_in_interpolation_is_one_sentence(arguments, named, run, tmp_path, capsys):
    out, *rest = arguments
    assert verb("interpolate", run, tmp_path / out, *rest) == 2
    assert one_sentence(capsys, *named)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["interpolate", "neighbours"])
def test_runs_that_draw_no_images_from_latents(name, run, tmp_path, capsys, monkeypatch):
    settings, algorithm, state = experiment.load_run(run)
    settings.derived.image_shape = (2,)
    monkeypatch.setattr(experiment, "load_run", lambda *_: (settings, algorithm, state))
    assert verb(name, run, tmp_path / "a.png") == 2
    assert one_sentence(capsys, "--workdir", str(run), "no images from latents")
    settings.derived.image_shape = (28, 28, 1)
    monkeypatch.setattr(experiment, "load_run", lambda *_: (settings, object(), state))
    assert verb(name, run, tmp_path / "a.png") == 2
    assert one_sentence(capsys, "--workdir", str(run), "no images from latents")


# --------------------------------------------------------------------------------------------------
# Neighbours


def test_k_nearest_are_those_of_sorted_distances():
    images, others = normal(300, 5), normal(40, 5, seed=1)
    found = k_nearest(images, others, 4)
    apart = np.linalg.norm(np.asarray(images)[:, None] - np.asarray(others)[None], axis=2)
    np.testing.assert_array_equal(found.numbers, np.argsort(apart, 1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(apart, 1)[:, :4], rtol=1e-5)
    with pytest.raises(ValueError, match="within 1 to 40"):
        k_nearest(images, others, 41)


def test_neighbours_are_the_nearest_training_images(run, tmp_path, capsys):
    out = tmp_path / "near.png"
    arguments = ["--num", 3, "--nearest", 2, "--seed", 4, "--features", "pixels"]
    assert verb("neighbours", run, out, *arguments) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert "3 samples of step 4 beside 2 of 200 training images by pixels" in last
    samples = sampled(run, tmp_path, "--num", 3, "--seed", 4)
    training = data.load("fashion_mnist_mini", "test[:200]").images[..., 0].astype(int)
    apart = np.sqrt(np.square((samples[:, None] - training[None]) / 255).sum((2, 3)))
    order = np.argsort(apart.min(1))
    nearest = np.argsort(apart[order], 1)[:, :2]
    expected = np.concatenate([samples[order][:, None], training[nearest]], 1)
    np.testing.assert_array_equal(tiles(out, 3), expected)
    for line, n in zip(lines, order, strict=True):
        name, *distances = line.removeprefix("sample").split()
        assert int(name.rstrip(":")) == n
        np.testing.assert_allclose([*map(float, distances)], np.sort(apart[n])[:2], rtol=6e-3)


def test_neighbours_in_the_classifiers_features(run, tmp_path, capsys, monkeypatch):
    training = data.load("fashion_mnist_mini", "test[:200]")
    settings, _, state = experiment.load_run(run)

    class Copies:  # of training images, which is what neighbours are to find out
        num_classes = 10

        def sample(self, state, key, labels, truncation=None, train=False):
            return data.to_float(jnp.asarray(training.images[: len(labels)]))

    monkeypatch.setattr(experiment, "load_run", lambda *_: (settings, Copies(), state))
    out = tmp_path / "near.png"
    assert verb("neighbours", run, out, "--num", 5, "--nearest", 1) == 0
    drawn = tiles(out, 2)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])
    assert capsys.readouterr().out.count(": 0\n") >= 4  # by other programs, up to rounding


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["a.jpg"], ["--out", ".png"]),
        (["a.png", "--num", 0], ["--num", "1 or more"]),
        (["a.png", "--nearest", 0], ["--nearest", "1 or more"]),
        (["a.png", "--nearest", 201], ["--nearest", "200 training images"]),
        (["a.png", "--features", "pixels", "--sha256", "0"], ["--sha256", "pixels has none"]),
        (["a.png", "--weights", "x"], ["--weights", "classifier has none"]),
        (["a.png", "--labels", "Hat"], ["--labels", "'Hat'"]),
    ],
)
def test_a_mistake_about_neighbours_is_one_sentence(arguments, named, run, tmp_path, capsys):
    out, *rest = arguments
    assert verb("neighbours", run, tmp_path / out, *rest) == 2
    assert one_sentence(capsys, *named)
    assert list(tmp_path.iterdir()) == []


def test_sets_without_labels_have_no_classifier(run, tmp_path, capsys, monkeypatch):
    opened = references.open_examples

    def without(*given):
        return dataclasses.replace(opened(*given), class_names=())

    monkeypatch.setattr(references, "open_examples", without)
    assert verb("neighbours", run, tmp_path / "a.png") == 2
    assert one_sentence(capsys, "--features", "no labels", "pixels, vgg16")


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "x.npz"
    files.write_arrays(path, OWN, directions=np.eye(3, dtype=np.float32))
    np.testing.assert_array_equal(files.read_directions(path, 3, OWN), np.eye(3))
    with pytest.raises(UserError, match=r"--latents: .* no array z; it has: directions"):
        files.read_latents(path, 3, 0, OWN)


# --------------------------------------------------------------------------------------------------
# Spectrum


def test_spectra_are_the_metrics(run, tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(writer, "write_png", lambda path, image: drawn.append(image))
    arguments = ["--samples", 100, "--seed", 3, "--split", "train[:300]"]
    assert verb("spectrum", run, tmp_path / "s.png", *arguments) == 0
    told = capsys.readouterr().out
    opened = references.open_examples({**SECTION, "split": "train[:300]"}, "train[:300]")
    real, labels = opened.read(opened.order[:100])
    _, algorithm, state = experiment.load_run(run)
    sampler = Sampler(algorithm, parallel.mesh_of(jax.devices()[:1]))
    (first, second) = sampler.draw(state, labels, 100, 3)  # of classes as frequent as in the data
    samples = np.concatenate([first, second])[:100]
    spectra = [spectrum.power_spectrum(data.to_float(jnp.asarray(x))) for x in (samples, real)]
    decibels = [10 * np.log10(np.mean(each, 0)) for each in spectra]
    apart = np.sqrt(np.mean(np.square(decibels[0] - decibels[1])))
    assert f"100 samples of step 4 and as many real images, {apart:.2f} dB apart" in told
    (image,) = drawn
    assert image.shape == (450, 700, 3) and len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_a_mistake_about_spectra_is_one_sentence(run, tmp_path, capsys, monkeypatch):
    for arguments, named in (
        (["a.svg"], ["--out", ".png"]),
        (["a.png", "--samples", 0], ["--samples", "1 or more"]),
        (["a.png", "--split", "tset"], ["--split", "'tset'"]),
    ):
        out, *rest = arguments
        assert verb("spectrum", run, tmp_path / out, *rest) == 2
        assert one_sentence(capsys, *named)
    loaded = experiment.load_run(run)
    loaded[0].derived.image_shape = (2,)
    monkeypatch.setattr(experiment, "load_run", lambda *_: loaded)
    assert verb("spectrum", run, tmp_path / "a.png") == 2
    assert one_sentence(capsys, "--workdir", str(run), "not on images")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------
# What a verb does not write over, and numbers that are none


def test_a_file_of_another_kind_is_not_written_over(run, tmp_path, capsys):
    kept = tmp_path / "a.npz"
    np.savez(kept, images=np.zeros(3))
    before = kept.read_bytes()
    for verb in ("directions", "invert", "edit"):
        to = ["--to", "1"] if verb == "edit" else []
        assert main([verb, "--workdir", str(run), "--out", str(tmp_path / "a.png"), *to]) == 2
        assert "a.npz, which is written too, is there and holds no " in capsys.readouterr().err
    assert kept.read_bytes() == before
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["edit", "--directions", "x.npz", "--by", "1e300"],
            "--by: 1e+300 is not within -1e+06 to 1,000,000",
        ),
        (["directions", "--reach", "nan"], "--reach: nan is not within 1e-06 to 1,000,000"),
        (["interpolate", "--frames", "10000000"], "--frames: 10,000,000 is more than the 125,000"),
        (["invert", "--starts", "99999999"], "--starts: 99,999,999 is more than the 1,000 starts"),
        (["neighbours", "--nearest", "300"], "--nearest: 300 is more than the 256 images"),
        (["spectrum", "--out", "absent/a.png"], "--out: there is no folder absent"),
    ],
)
def test_what_cannot_be_is_told_before_the_work(words, told, capsys):
    out = [] if "--out" in words else ["--out", "a.png"]
    assert main([*words, "--workdir", "no run", *out]) == 2
    assert told in capsys.readouterr().err


def test_truncated_latents_stay_where_training_had_them():
    a, b = (jnp.clip(normal(50, 100, seed=n), -2, 2) for n in range(2))
    t = jnp.linspace(0, 1, 9)
    way = paths.between("truncated", a, b, t)
    assert float(jnp.abs(paths.slerp(a, b, t)).max()) > 2
    assert float(jnp.abs(way).max()) == 2
