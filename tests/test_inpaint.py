"""Completion of images: masks, the step against the paper's sums, measures of holes, a run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import assembly, experiment, loop, writer
from jaxgan import config as configs
from jaxgan.algorithms import inpaint, masks, player
from jaxgan.cli.main import main
from jaxgan.errors import UserError
from jaxgan.losses import LOSSES
from jaxgan.metrics import completion, lpips
from jaxgan.metrics.ssim import ms_ssim, ssim_map
from jaxgan.models import gated

SHAPE = (12, 12, 3)


# --------------------------------------------------------------------------------------------------
# Masks


def drawn(kinds, count=400, size=(20, 30)):
    return np.asarray(masks.draw(jax.random.key(0), kinds, (count, *size)))[..., 0]


def test_boxes_are_rectangles_of_a_quarter_to_half_a_side():
    rows, columns = [], []
    for hole in drawn(("box",)):
        assert set(np.unique(hole)) == {0, 1}
        of_rows, of_columns = hole.any(1), hole.any(0)
        np.testing.assert_array_equal(hole, np.outer(of_rows, of_columns))
        rows.append(of_rows.sum())
        columns.append(of_columns.sum())
    assert min(rows) >= 4 and max(rows) <= 11 and min(columns) >= 7 and max(columns) <= 16
    assert len(set(rows)) > 4 and len(set(columns)) > 5
    everywhere = drawn(("box",)).mean(0)
    assert everywhere[0].max() > 0 and everywhere[-1].max() > 0 and everywhere[:, 0].max() > 0
    assert everywhere.argmax() in range(6 * 30, 14 * 30)  # most often in the middle


def test_halves_are_the_four():
    found = {hole.tobytes() for hole in drawn(("half",))}
    left = np.zeros((20, 30))
    left[:, :15] = 1
    upper = np.zeros((20, 30))
    upper[:10] = 1
    expected = {np.float32(x).tobytes() for x in (left, 1 - left, upper, 1 - upper)}
    assert found == expected


def test_strokes_vary_in_size_and_shape():
    holes = drawn(("strokes",))
    shares = holes.mean((1, 2))
    assert 0 < shares.min() < 0.05 and 0.2 < shares.max() < 0.9 and 0.03 < shares.mean() < 0.4
    assert len({hole.tobytes() for hole in holes}) == len(holes)


def test_kinds_come_equally_often():
    halves = np.isclose(drawn(("half", "box")).mean((1, 2)), 0.5).mean()
    assert 0.4 < halves < 0.6


# --------------------------------------------------------------------------------------------------
# The step


def make(**changes):
    descent = lambda step: player.make_optimizer("sgd", 0.1, 0.0, 0.0)  # noqa: E731
    fields = {
        "generator": gated.Generator(SHAPE, SHAPE[2] + 1, width=4, middle=1),
        "discriminator": gated.Discriminator(width=4),
        "generator_optimizer": descent,
        "discriminator_optimizer": descent,
        "loss": LOSSES["hinge"],
        "batch_size": 4,
        "ema_halflife": 0.0,
        "ema_rampup": 0.0,
        "reconstruction": 2.0,
        "adversarial": 0.3,
    }
    return inpaint.Inpaint(**{**fields, **changes})


def images(count=4, seed=0):
    return jnp.float32(np.random.default_rng(seed).uniform(-1, 1, (count, *SHAPE)))


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_each_network_goes_down_its_sum(distance):
    algorithm = make(distance=distance)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    real = images()
    after, metrics = jax.jit(algorithm.step)(state, {"image": real[None]})
    keys = [jax.random.fold_in(jax.random.fold_in(state.key, 0), n) for n in range(2)]
    holes = [algorithm.mask(key, real) for key in keys]

    def filled(params, mask):
        given = jnp.concatenate([real * (1 - mask), mask], -1)
        out = algorithm.generator.apply({"params": params}, given, None, train=True)
        return jnp.where(mask == 1, out, real)

    def judged(params, stats, x, mask):
        given = jnp.concatenate([x, mask], -1)
        variables = {"params": params, **stats}
        return algorithm.discriminator.apply(
            variables, given, None, train=True, mutable=["spectral"]
        )

    old = state.discriminator

    def of_discriminator(params):
        real_logits, found = judged(params, old.stats, real, holes[0])
        stats = {"spectral": found["spectral"]}
        fake_logits, _ = judged(params, stats, filled(state.generator.params, holes[0]), holes[0])
        return jnp.mean(jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits))

    def of_generator(params):
        fake = filled(params, holes[1])
        where = jnp.broadcast_to(holes[1] == 1, fake.shape).astype(float)
        error = jnp.abs(fake - real) if distance == "l1" else (fake - real) ** 2
        opponent = after.discriminator
        game = -jnp.mean(judged(opponent.params, opponent.stats, fake, holes[1])[0])
        of_images = jnp.sum(error * where, (1, 2, 3)) / jnp.sum(where, (1, 2, 3))
        return 2.0 * jnp.mean(of_images) + 0.3 * game

    for role, objective in (("discriminator", of_discriminator), ("generator", of_generator)):
        params = getattr(state, role).params
        slopes = jax.jit(jax.grad(objective))(params)
        expected = jax.tree.map(lambda w, slope: w - 0.1 * slope, params, slopes)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)  # noqa: E731
        jax.tree.map(close, getattr(after, role).params, expected)
    total = 2.0 * metrics["reconstruction"] + 0.3 * metrics["g_loss"]
    np.testing.assert_allclose(total, of_generator(state.generator.params), rtol=1e-4)


def test_without_a_game_the_discriminator_stays_as_it_is():
    algorithm = make(adversarial=0.0)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    after, metrics = jax.jit(algorithm.step)(state, {"image": images()[None]})
    jax.tree.map(np.testing.assert_array_equal, after.discriminator, state.discriminator)
    assert "g_loss" not in metrics and "reconstruction" in metrics


def test_what_is_there_stays_and_what_is_missing_is_not_seen():
    algorithm = make()
    state = jax.jit(algorithm.init)(jax.random.key(0))
    real, key = images(), jax.random.key(5)
    whole, left, filled = algorithm.show(state, key, real, jnp.zeros(4, jnp.int32))
    again, mask = algorithm.complete(state, key, real)
    np.testing.assert_array_equal(whole, real)
    np.testing.assert_array_equal(filled, again)
    hole = np.broadcast_to(np.asarray(mask) == 1, real.shape)
    assert 0 < hole.mean() < 0.6
    np.testing.assert_array_equal(filled[~hole], real[~hole])
    assert not np.asarray(left)[hole].any()
    other = jnp.where(hole, images(seed=1), real)
    np.testing.assert_array_equal(algorithm.fill(state, other, mask), filled)
    assert (filled[hole] != real[hole]).all()


def test_a_network_takes_any_size():
    generator = gated.Generator((28, 20, 1), 2, width=4)
    x = jnp.zeros((1, 28, 20, 2))
    params = jax.jit(lambda key: generator.init(key, x, None, train=True))(jax.random.key(0))
    assert generator.apply(params, jnp.zeros((2, 64, 48, 2)), None, train=False).shape == (
        2,
        64,
        48,
        1,
    )
    plain = gated.Generator((28, 20, 1), 2, width=4, gated=False)
    fewer = jax.eval_shape(lambda key: plain.init(key, x, None, train=True), jax.random.key(0))
    kernels = [tree["params"]["Gated_1"]["Conv_0"]["kernel"].shape[-1] for tree in (params, fewer)]
    assert kernels == [16, 8]


# --------------------------------------------------------------------------------------------------
# Measures


def hole_of(shape=(3, 16, 18, 1)):
    return jnp.float32(np.random.default_rng(0).uniform(size=shape) < 0.4)


def test_measures_are_of_the_hole():
    mask = hole_of()
    random = np.random.default_rng(1)
    real, filled = (jnp.float32(random.uniform(-1, 1, (3, 16, 18, 2))) for _ in range(2))
    found = completion.measures(real, filled, mask)
    for n in range(3):
        where = np.broadcast_to(np.asarray(mask[n]) == 1, real.shape[1:])
        difference = (np.asarray(real[n]) - np.asarray(filled[n]))[where] / 2
        np.testing.assert_allclose(found["l1"][n], np.abs(difference).mean(), rtol=1e-5)
        expected = 10 * np.log10(1 / np.mean(difference**2))
        np.testing.assert_allclose(found["psnr"][n], expected, rtol=1e-5)
        of_pixels = np.asarray(ssim_map(real, filled))[n][where]
        np.testing.assert_allclose(found["ssim"][n], of_pixels.mean(), rtol=1e-5)
    # What lies outside the hole counts for nothing in psnr and l1; without a hole there is none.
    other = completion.measures(real, jnp.where(mask == 1, filled, 0.0), mask)
    np.testing.assert_allclose(other["psnr"], found["psnr"], rtol=1e-5)
    assert np.isnan(completion.measures(real, filled, 0 * mask)["psnr"]).all()


def test_the_map_of_ssim_is_that_of_single_scale_ssim_inside():
    random = np.random.default_rng(2)
    a = jnp.float32(random.uniform(-1, 1, (2, 11, 11, 1)))
    b = jnp.clip(a + 0.3 * jnp.float32(random.normal(size=a.shape)), -1, 1)
    whole = ssim_map(a, b)
    assert whole.shape == a.shape
    # Of 11 pixels ms_ssim has one scale and one window, that of the pixel in the middle.
    np.testing.assert_allclose(whole[:, 5, 5, 0], ms_ssim(a, b), rtol=1e-5)
    np.testing.assert_allclose(ssim_map(a, a), 1, rtol=1e-5)


def test_lpips_within_everything_is_lpips():
    random = np.random.default_rng(0)
    channels, stages = 3, []
    for widths in ((4,), (5,), (5,), (6,), (6,)):
        stages.append([])
        for width in widths:
            kernel = jnp.float32(random.normal(0, 0.3, (3, 3, channels, width)))
            stages[-1].append({"kernel": kernel, "bias": jnp.zeros(width)})
            channels = width
    heads = [jnp.float32(random.uniform(size=len(stage[-1]["bias"]))) for stage in stages]
    params = {"stages": stages, "heads": heads}
    a, b = (jnp.float32(random.uniform(-1, 1, (2, 34, 32, 3))) for _ in range(2))
    whole = lpips.lpips_within(params, a, b, jnp.ones((2, 34, 32, 1)))
    np.testing.assert_allclose(whole, lpips.lpips(params, a, b), rtol=1e-4)
    left = jnp.zeros((2, 34, 32, 1)).at[:, :, :16].set(1)
    far = lpips.lpips_within(params, a, a.at[:, :, 30:].set(b[:, :, 30:]), left)
    near = lpips.lpips_within(params, a, a.at[:, :, :2].set(b[:, :, :2]), left)
    assert (far < 0.2 * near).all()


def test_simple_fills():
    mask = jnp.zeros((1, 1, 6, 1)).at[0, 0, 2:4].set(1)
    image = jnp.float32([0.0, 0.2, 9.0, 9.0, 0.6, 0.8]).reshape(1, 1, 6, 1)
    np.testing.assert_allclose(
        completion.by_means(image, mask).ravel(), [0, 0.2, 0.4, 0.4, 0.6, 0.8], rtol=1e-6
    )
    np.testing.assert_allclose(
        completion.by_pixels(image, mask).ravel(), [0, 0.2, 0.2, 0.6, 0.6, 0.8], rtol=1e-6
    )
    known = jnp.float32([[0, 0.2, 0.3, 0.5, 0.6, 0.7], [0, 0.2, 9, 9, 0.6, 9]]).reshape(2, 1, 6, 1)
    np.testing.assert_allclose(
        completion.by_images(image, mask, known).ravel(), [0, 0.2, 0.3, 0.5, 0.6, 0.8], rtol=1e-6
    )


# --------------------------------------------------------------------------------------------------
# A run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("inpaint") / "run"
    settings = configs.tiny(configs.load("configs/inpaint.py"))
    assert loop.train(settings, workdir) == 0
    return workdir


def test_its_lines_and_pictures(run):
    last = writer.read_metrics(run)[-1]
    by = ("", "_by_means", "_by_pixels", "_by_images")
    fills = [f"hole_{m}{f}" for m in ("psnr", "ssim", "l1") for f in by]
    assert {"d_loss", "g_loss", "reconstruction", *fills} <= set(last)
    assert np.isfinite(list(last.values())).all()
    with Image.open(run / "samples" / "00000004.png") as picture:
        assert picture.size == (2 + 10 * 30, 2 + 3 * 3 * 30)  # images, with holes, filled


def test_evaluate_and_reconstruct(run, tmp_path, capsys):
    chosen = ["--metrics", "completion,sliced_wasserstein", "--samples", "100", "--seeds", "1"]
    assert main(["evaluate", "--workdir", str(run), *chosen]) == 0
    [entry] = json.loads((run / "evaluation.json").read_text())
    figures = entry["figures"]["samples"]
    assert figures["hole_psnr_by_images"]["value"] > figures["hole_psnr_by_means"]["value"]
    assert figures["sliced_wasserstein"]["value"] > 0
    out = tmp_path / "filled.png"
    assert main(["reconstruct", "--workdir", str(run), "--num", "5", "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.size == (2 + 5 * 30, 2 + 3 * 30)
    assert "5 images of step 4" in capsys.readouterr().out


def test_what_it_cannot_is_one_sentence(run, tmp_path, capsys):
    out = ["--out", str(tmp_path / "a.png")]
    assert main(["sample", "--workdir", str(run), *out]) == 2
    assert (
        "the algorithm inpaint, which starts from images; see reconstruct"
        in capsys.readouterr().err
    )
    assert main(["traverse", "--workdir", str(run), *out]) == 2
    assert "the algorithm inpaint, which encodes no images" in capsys.readouterr().err
    assert main(["evaluate", "--workdir", str(run), "--metrics", "elbo"]) == 2
    assert "elbo is of an autoencoder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def picture(path, size, white=None):
    """A PNG: a ramp, or black with a white rectangle."""
    pixels = np.uint8(np.arange(size[0] * size[1]).reshape(size[1], size[0]) % 251)
    if white:
        pixels[:] = 0
        left, top, right, bottom = white
        pixels[top:bottom, left:right] = 255
    Image.fromarray(pixels).save(path)
    return path


def fill(run, folder, image, mask):
    named = ["--image", str(image), "--mask", str(mask), "--out", str(folder / "whole.png")]
    return main(["inpaint", "--workdir", str(run), *named])


def test_a_picture_of_another_size_is_filled(run, tmp_path, capsys):
    image = picture(tmp_path / "a.png", (37, 45))
    mask = picture(tmp_path / "m.png", (37, 45), (27, 10, 37, 30))  # to the border
    assert fill(run, tmp_path, image, mask) == 0
    assert "12.0% of" in capsys.readouterr().out  # 200 of 1,665
    before, after = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "whole.png"))
    hole = np.asarray(Image.open(mask)) == 255
    assert before.shape == after.shape
    np.testing.assert_array_equal(before[~hole], after[~hole])
    assert (before[hole] != after[hole]).mean() > 0.9
    before = before.copy()
    before[hole] = 7  # what is missing counts for nothing
    Image.fromarray(before).save(image)
    assert fill(run, tmp_path, image, mask) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "whole.png")), after)


def test_mistakes_in_filling_are_one_sentence(run, tmp_path, capsys):
    image = picture(tmp_path / "a.png", (20, 20))
    hole = picture(tmp_path / "m.png", (20, 20), (5, 5, 9, 9))
    (tmp_path / "text.png").write_text("no picture")
    for given, mask, message in (
        (tmp_path / "none.png", hole, "--image: "),
        (tmp_path / "text.png", hole, "--image: "),
        (
            image,
            picture(tmp_path / "n.png", (20, 21), (5, 5, 9, 9)),
            "20 x 21 pixels, and the image",
        ),
        (image, picture(tmp_path / "o.png", (20, 20), (0, 0, 0, 0)), "is nowhere white"),
    ):
        assert fill(run, tmp_path, given, mask) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "whole.png").exists()


def settings(*overrides):
    given = configs.load("configs/inpaint.py", overrides)
    configs.validate(given)
    return configs.resolve(given, 1000, (28, 28, 1), ("a", "b"), {})


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["inpaint.masks=box,hole"], r"^inpaint\.masks: .*'hole'.*box"),
        (["inpaint.distance=l3"], r"^inpaint\.distance: 'l3' is not allowed"),
        (["conditional=True"], r"^conditional: the algorithm inpaint does not look at it"),
        (["pack=2"], r"^pack: the algorithm inpaint does not look at it"),
        (
            ["model.name=dcgan"],
            r"^model\.name: dcgan is no network for the algorithm inpaint; gated",
        ),
        (
            ["algorithm=gan", "loss=hinge"],
            r"^model\.name: gated is no network for the algorithm gan; all are but gated",
        ),
    ],
)
def test_mistakes_are_told(overrides, message):
    with pytest.raises(UserError, match=message):
        assembly.build(settings(*overrides))


@pytest.mark.parametrize(
    "name, message", [("ring", "of points"), ("stacked:fashion_mnist_mini", "without end")]
)
def test_data_that_do_not_suit_are_told(name, message):
    given = configs.load("configs/inpaint.py", [f"data.name={name}", "evaluate_every=0"])
    with pytest.raises(UserError, match=f"^data\\.name: .*{message}"):
        config, _ = experiment.prepare(given)
        assembly.build(config)
