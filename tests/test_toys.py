"""Distributions without end: against their closed forms and a sampler of our own."""

import itertools
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import config, data, loop, parallel, writer
from jaxgan.cli.main import main
from jaxgan.data import toys
from jaxgan.errors import UserError

ROOT = Path(__file__).parents[1]
RING = np.array([(np.cos(a), np.sin(a)) for a in np.pi / 4 * np.arange(8)])
GRID = np.array([(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)], float)
GAUSSIANS = {"ring": (RING, 0.01), "grid": (GRID, 0.05)}
POINTS = [*GAUSSIANS, "swiss_roll"]


def make_feed(source, *, flip=False, seed=0, k=2, b=8, **rest):
    return source.feed(flip=flip, seed=seed, minibatches=k, batch_size=b, **rest)


def minibatches(source, steps, **settings):
    """The minibatches of these steps, made as the loop makes them, as numpy arrays."""
    feed = make_feed(source, **settings)
    mesh = parallel.make_mesh(1, 8)

    @jax.jit
    def call(resident, inputs):
        step = lambda _, inputs: (None, feed.minibatches(resident, inputs))  # noqa: E731
        return jax.lax.scan(step, None, inputs)[1]

    inputs = feed.inputs(min(steps), len(steps))
    assert inputs.keys() == {"step"}
    with jax.set_mesh(mesh):
        return jax.device_get(call(parallel.place(mesh, feed.resident), inputs))


def many(name, number=40_000, seed=1):
    """Points n 2 in float64, and their labels or None."""
    points, labels = data.open_set(name).draw(jax.random.key(seed), number)
    assert points.dtype == np.float32
    return np.asarray(points, np.float64), None if labels is None else np.asarray(labels)


# --------------------------------------------------------------------------------------------------
# The distributions. Tolerances are five standard errors of 40,000 points; the key is fixed.


@pytest.mark.parametrize("name", GAUSSIANS)
def test_each_point_lies_at_the_gaussian_of_its_label(name):
    centres, deviation = GAUSSIANS[name]
    points, labels = many(name)
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))
    assert distances.min(axis=1).max() < 6 * deviation  # one point in 10^8 would lie further
    opened = data.open_set(name)
    assert opened.class_names == tuple(str(i) for i in range(len(centres)))
    assert (opened.shape, opened.num_examples) == ((2,), 0)


@pytest.mark.parametrize("name", GAUSSIANS)
def test_the_gaussians_are_equally_many_round_and_as_wide_as_said(name):
    centres, deviation = GAUSSIANS[name]
    points, labels = many(name)
    n, m = len(points), len(centres)
    frequency = np.bincount(labels, minlength=m) / n
    assert abs(frequency - 1 / m).max() < 5 * np.sqrt((1 - 1 / m) / m / n)
    for mode, centre in enumerate(centres):
        own = points[labels == mode]
        assert abs(own.mean(axis=0) - centre).max() < 5 * deviation / np.sqrt(len(own))
        assert abs(own.std(axis=0) - deviation).max() < 5 * deviation / np.sqrt(2 * len(own))
    x, y = ((points - centres[labels]) / deviation).T
    assert abs((x * y).mean()) < 5 / np.sqrt(n)  # E x²y² = 1
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / n)  # E x⁸ - 3² = 96
    inside = (x**2 + y**2 < 1).mean()
    assert abs(inside - (1 - np.exp(-0.5))) < 5 * 0.5 / np.sqrt(n)


def test_the_swiss_roll_is_a_spiral_with_the_noise_that_is_said():
    points, labels = many("swiss_roll")
    assert labels is None and data.open_set("swiss_roll").class_names == ()
    x, y = 7.5 * points.T
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    turn = angle + 2 * np.pi * np.round((radius - angle) / (2 * np.pi))
    residual = radius - turn  # noise along the radius, and that across it over the radius
    start = 1.5 * np.pi
    deviation = 0.25 * np.sqrt(1 + 1 / (3 * start**2))  # of a turn uniform in start to 3 start
    n = len(points)
    assert abs(residual.std() - deviation) < 5 * deviation / np.sqrt(2 * n)
    bias = 0.25**2 / 2 * np.log(3) / (2 * start)  # the noise across lengthens the radius
    assert abs(residual.mean() - bias) < 5 * deviation / np.sqrt(n)
    # The turn is known up to 0.25 / radius: uniform within its ends.
    assert start - 0.3 < turn.min() < turn.max() < 3 * start + 0.15
    assert abs(turn.mean() - 2 * start) < 5 * 2 * start / np.sqrt(12 * n)
    assert abs(turn.std() - 2 * start / np.sqrt(12)) < 5 * 2 * start / np.sqrt(12 * n)


def test_the_swiss_roll_is_distributed_as_that_of_another_sampler():
    # WGAN-GP: make_swiss_roll(noise=0.25)[0][:, [0, 2]] / 7.5, where t = 1.5 pi (1 + 2 u), the
    # point is (t cos t, height, t sin t), and normal noise is added to each coordinate.
    points, _ = many("swiss_roll")
    random, n = np.random.default_rng(0), len(points)
    t = 1.5 * np.pi * (1 + 2 * random.random(n))
    other = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) + 0.25 * random.standard_normal((n, 2))
    other /= 7.5
    limit = 1.95 * np.sqrt(2 / n)  # Kolmogorov and Smirnov: one in a thousand is above
    for direction in ((1, 0), (0, 1), (0.6, 0.8), (-0.8, 0.6)):
        assert largest_gap(points @ direction, other @ direction) < limit
    assert largest_gap(np.hypot(*points.T), np.hypot(*other.T)) < limit


def largest_gap(a, b):
    """The largest distance of two samples' distribution functions."""
    at = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (a, b)]
    return abs(below[0] - below[1]).max()


# --------------------------------------------------------------------------------------------------
# Minibatches


@pytest.fixture(scope="module")
def stacked():
    return data.open_set("stacked:fashion_mnist_mini", split="test[:97]")


@pytest.fixture(params=[*POINTS, "stacked"])
def source(request):
    name = request.param
    return request.getfixturevalue(name) if name == "stacked" else data.open_set(name)


def test_a_minibatch_is_a_function_of_seed_and_step(source):
    made, again = minibatches(source, range(6)), minibatches(source, range(6))
    later, other = minibatches(source, range(4, 6)), minibatches(source, range(6), seed=1)
    for name in made:
        np.testing.assert_array_equal(made[name], again[name])
        np.testing.assert_array_equal(made[name][4:], later[name])
        assert (made[name] != other[name]).any()


def test_no_minibatch_is_like_another(source):
    images = minibatches(source, range(6))["image"]
    assert images.shape == (6, 2, 8, *source.shape)
    assert images.dtype == np.float32
    # Not one example of 96 comes twice: of 97³ triples two are alike once in 200 times.
    assert len({image.tobytes() for image in images.reshape(-1, *source.shape)}) == 6 * 2 * 8


@pytest.mark.parametrize("name", GAUSSIANS)
def test_labels_stay_with_their_points(name):
    centres, deviation = GAUSSIANS[name]
    batch = minibatches(data.open_set(name), range(3))
    assert (batch["label"].shape, batch["label"].dtype) == ((3, 2, 8), np.int32)
    assert abs(batch["image"] - centres[batch["label"]]).max() < 6 * deviation


def test_the_swiss_roll_has_no_labels():
    assert minibatches(data.open_set("swiss_roll"), range(1)).keys() == {"image"}


def test_how_a_set_is_held_and_by_whom_has_no_bearing():
    one = make_feed(data.open_set("ring"))
    other = make_feed(data.open_set("ring"), cache="none", process=(1, 2))
    inputs = {"step": np.int32(5)}
    made, same = one.minibatches({}, inputs), other.minibatches({}, inputs)
    np.testing.assert_array_equal(made["image"], same["image"])


# --------------------------------------------------------------------------------------------------
# Stacked images


def grey_numbers(images, base):
    """Which grey image each channel is (h w c -> 3), and whether it is mirrored."""
    known = {}
    for number, image in enumerate(base.images[..., 0]):
        known[image.tobytes()] = number, False
        known[image[:, ::-1].tobytes()] = number, True
    channels = np.moveaxis(images, -1, 3).reshape(-1, 28, 28)
    found = np.array([known[np.ascontiguousarray(channel).tobytes()] for channel in channels])
    return found.reshape(*images.shape[:3], 3, 2).transpose(4, 0, 1, 2, 3)


@pytest.mark.parametrize("flip", [False, True])
def test_stacked_images_are_three_grey_ones_and_their_label_says_which(flip, stacked):
    base = data.load("fashion_mnist_mini", split="test[:97]")
    batch = minibatches(stacked, range(12), flip=flip)
    images = np.asarray(data.to_uint8(batch["image"]))
    assert images.shape == (12, 2, 8, 28, 28, 3)
    assert abs(batch["image"]).max() == 1
    number, mirrored = grey_numbers(images, base)
    a, b, c = np.moveaxis(base.labels[number], -1, 0)
    np.testing.assert_array_equal(batch["label"], 100 * a + 10 * b + c, strict=True)
    for label, *classes in zip(*(x.reshape(-1) for x in (batch["label"], a, b, c)), strict=True):
        joined = ",".join(base.class_names[i] for i in classes)
        assert stacked.class_names[label] == joined
    if flip:  # 192 coins, a standard error of 0.036; the channels turn together
        assert (mirrored == mirrored[..., :1]).all()
        assert abs(mirrored[..., 0].mean() - 0.5) < 4 * 0.036
    else:
        assert not mirrored.any()


def test_stacked_channels_are_drawn_apart_and_evenly(stacked):
    labels = minibatches(stacked, range(200), b=64)["label"].reshape(-1)
    base = data.load("fashion_mnist_mini", split="test[:97]")
    share, n = np.bincount(base.labels) / 97, len(labels)
    digits = np.stack([labels // 100, labels // 10 % 10, labels % 10])
    for channel in digits:
        error = np.sqrt(share * (1 - share) / n)
        assert (abs(np.bincount(channel, minlength=10) / n - share) < 5 * error).all()
    same = (share**2).sum()  # with replacement, and independent of each other
    for left, right in itertools.combinations(digits, 2):
        assert abs((left == right).mean() - same) < 5 * np.sqrt(same * (1 - same) / n)


def test_stacked_digits_are_named_by_their_number():
    grey, digits = np.zeros((10, 4, 4, 1), np.uint8), tuple("0123456789")
    made = toys.stacked(grey, np.arange(10, dtype=np.int32), digits, {"content": "x"})
    assert made.class_names == tuple(f"{i:03d}" for i in range(1000))
    assert (made.shape, made.num_examples, made.details) == ((4, 4, 3), 0, {"content": "x"})


def test_stacked_images_of_two_classes_count_in_twos():
    grey = np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1) * np.full((1, 4, 4, 1), 255, np.uint8)
    made = toys.stacked(grey, np.arange(2, dtype=np.int32), ("no", "yes"), {})
    assert made.class_names[6] == "yes,yes,no" and len(made.class_names) == 8
    batch = minibatches(made, range(3))
    a, b, c = np.moveaxis(batch["image"][..., 0, 0, :] > 0, -1, 0)
    np.testing.assert_array_equal(batch["label"], 4 * a + 2 * b + c)


def test_stacked_images_without_labels():
    made = toys.stacked(np.zeros((5, 4, 4, 1), np.uint8), None, (), {})
    assert made.class_names == ()
    assert minibatches(made, range(1)).keys() == {"image"}


def test_stacked_keeps_the_grey_images_as_bytes_on_the_device(stacked):
    feed = make_feed(stacked)
    assert feed.resident["image"].dtype == np.uint8
    assert feed.resident["image"].size == 97 * 28 * 28
    assert feed.fetch(3, 5) == {}


def test_stacked_mnist_is_stacked_over_mnist(tmp_path):
    with pytest.raises(UserError, match=rf"^{re.escape(str(tmp_path))}.*train-images-idx3-ubyte"):
        data.open_set("stacked_mnist", data_dir=str(tmp_path), path=str(tmp_path))


# --------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "stacked:ring"},
            "data.name: stacked:ring: ring is no set of grey images",
        ),
        (
            {"name": "ring", "image_size": 8},
            "data.image_size, data.path, data.split: ring is of no images, drawn without end; "
            "leave them out",
        ),
        (
            {"name": "swiss_roll", "path": "."},
            "data.image_size, data.path, data.split: swiss_roll is of no images, drawn without "
            "end; leave them out",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(UserError) as error:
        data.open_set(**arguments)
    assert str(error.value) == message


def test_a_set_in_colour_is_not_stacked():
    with pytest.raises(UserError) as error:
        toys.stacked(np.zeros((4, 8, 8, 3), np.uint8), None, (), {})
    message = "data.name: a stacked set is made of grey images; these are in colour"
    assert str(error.value) == message


@pytest.mark.parametrize("name", POINTS)
def test_points_are_not_mirrored(name):
    with pytest.raises(UserError) as error:
        make_feed(data.open_set(name), flip=True)
    assert str(error.value) == "data.flip: only images have a mirror image; leave it False"


def test_endless_sets_are_not_loaded():
    with pytest.raises(UserError, match=r"^data\.name: ring is drawn without end; it has no image"):
        data.load("ring")


# --------------------------------------------------------------------------------------------------
# A run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of configs/ring.py at tiny size, conditional on the mode."""
    overrides = ["conditional=True", "parallel.data=1"]
    settings = config.tiny(config.load(ROOT / "configs" / "ring.py", overrides))
    workdir = tmp_path_factory.mktemp("ring") / "run"
    assert loop.train(settings, workdir) == 0
    return workdir


def colours(path):
    """The picture's pixels that are in colour, and those in grey that are neither black nor white;
    both as shares."""
    with Image.open(path) as picture:
        assert (picture.mode, picture.format) == ("RGB", "PNG")
        pixels = np.asarray(picture).astype(int)
    spread = np.ptp(pixels, axis=2)
    grey = (spread == 0) & (pixels[..., 0] > 120) & (pixels[..., 0] < 190)
    return (spread > 60).mean(), grey.mean()


def test_a_run_of_points_leaves_scatter_plots(run):
    assert [line["step"] for line in writer.read_metrics(run)] == [2, 4]
    pictures = sorted((run / "samples").iterdir())
    assert [path.name for path in pictures] == ["00000002.png", "00000004.png"]
    for path in pictures:
        fake, real = colours(path)
        assert fake > 1e-4 and real > 1e-4
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


def test_sample_writes_points(run, tmp_path, capsys):
    command = ["sample", "--workdir", str(run), "--num", "100", "--out"]
    for name in ("points.npy", "points.npz", "points.png"):
        assert main([*command, str(tmp_path / name)]) == 0
    points = np.load(tmp_path / "points.npy")
    assert (points.shape, points.dtype) == ((100, 2), np.float32)
    assert np.isfinite(points).all() and (points.std(axis=0) > 0).all()
    with np.load(tmp_path / "points.npz") as file:
        np.testing.assert_array_equal(file["images"], points)
        np.testing.assert_array_equal(file["labels"], np.arange(100) % 8)
    fake, _ = colours(tmp_path / "points.png")
    assert fake > 1e-4


def test_sample_writes_no_folder_of_points(run, tmp_path, capsys):
    out = tmp_path / "points"
    assert main(["sample", "--workdir", str(run), "--out", str(out)]) == 2
    message = f"--out: {out} is a folder for images; points go to .png, .npy or .npz\n"
    assert capsys.readouterr().err.endswith(message)
    assert not out.exists()


def test_a_mistaken_config_of_points_leaves_no_folder(tmp_path):
    for override, message in (
        ("data.image_size=8", "data.split: ring is of no images"),
        ("data.name=swiss_roll", "conditional: the data set swiss_roll has no labels"),
    ):
        settings = config.load(ROOT / "configs" / "ring.py", ["conditional=True", override])
        with pytest.raises(UserError, match=message):
            loop.train(config.tiny(settings), tmp_path / "run")
        assert not (tmp_path / "run").exists()
