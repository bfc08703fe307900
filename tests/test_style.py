"""The network that draws in one style: its step against the sums, its run, the verb."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import assembly, loop, stylize, writer
from jaxgan import config as configs
from jaxgan.algorithms import player, style
from jaxgan.cli.main import main
from jaxgan.errors import UserError
from jaxgan.losses import LOSSES
from tests.test_stylize import random_network
from tests.test_translation import Draws, Judges, assert_close, down


def images(*shape, seed=0):
    return jnp.float32(np.random.default_rng(seed).uniform(-1, 1, shape))


def make(params, **changes):
    picture = images(1, 40, 40, 3, seed=9)
    fields = {
        "generator": Draws(3),
        "discriminator": Judges(),
        "generator_optimizer": lambda step: player.make_optimizer("sgd", 0.1, 0.0, 0.0),
        "discriminator_optimizer": lambda step: player.make_optimizer("sgd", 0.1, 0.0, 0.0),
        "loss": LOSSES["nonsaturating"],
        "batch_size": 2,
        "image_shape": (32, 32, 3),
        "ema_halflife": 0.0,
        "ema_rampup": 0.0,
        "picture": lambda: (picture, stylize.style_of(params, picture)),
        "features": lambda: params,
        "content": 2.0,
        "style": 3.0,
        "variation": 0.5,
    }
    return style.Style(**{**fields, **changes})


@pytest.mark.parametrize("patches", [0.0, 0.7])
def test_each_network_goes_down_its_sum(patches):
    params = random_network()
    algorithm = make(params, patches=patches)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    x = images(2, 32, 32, 3)
    after, metrics = jax.jit(algorithm.step)(state, {"image": x[None]})
    keys = [jax.random.fold_in(jax.random.fold_in(state.key, 0), n) for n in range(2)]
    # Without a game the generator's update is the only one, and has the first key.
    pieces = [algorithm.pieces(state, {"image": x, "key": key}) for key in keys]
    assert pieces[0].shape == x.shape and (pieces[0][0] != pieces[0][1]).any()
    whole = np.asarray(state.picture[0])
    for piece in np.asarray(pieces[0]):  # each lies in the picture as it is
        windows = np.lib.stride_tricks.sliding_window_view(whole, piece.shape)[:, :, 0]
        assert (windows == piece).all((2, 3, 4)).sum() == 1

    def apply(network, of, given):
        return network.apply({"params": of}, given, None, train=True)

    def of_generator(of):
        y = apply(algorithm.generator, of, x)
        seen, wanted = stylize.layers(params, y), stylize.layers(params, x)
        of_style = stylize.layers(params, state.picture)
        loss = 2.0 * jnp.mean((seen[3][1] - wanted[3][1]) ** 2)
        squares = [
            jnp.mean((stylize.gram(seen[s][0]) - stylize.gram(of_style[s][0])) ** 2)
            for s in range(5)
        ]
        loss += 3.0 * sum(squares) / 5 + 0.5 * stylize.variation(y)
        if patches:
            judged = apply(algorithm.discriminator, after.discriminator.params, y)
            loss += 0.7 * jnp.mean(jax.nn.softplus(-judged))
        return loss

    def of_discriminator(of):
        y = apply(algorithm.generator, state.generator.params, x)
        on_real = jax.nn.softplus(-apply(algorithm.discriminator, of, pieces[0]))
        return jnp.mean(on_real + jax.nn.softplus(apply(algorithm.discriminator, of, y)))

    expected = down(of_generator, state.generator.params)
    jax.tree.map(assert_close, after.generator.params, expected)
    old = state.discriminator.params
    expected = down(of_discriminator, old) if patches else old
    jax.tree.map(assert_close, after.discriminator.params, expected)
    total = 2.0 * metrics["content"] + 3.0 * metrics["style"] + 0.5 * metrics["variation"]
    total += 0.7 * metrics["g_loss"] if patches else 0.0
    assert_close(total, of_generator(state.generator.params))
    jax.tree.map(np.testing.assert_array_equal, after.grams, state.grams)


def test_pieces_must_have_room():
    algorithm = make(random_network(), image_shape=(48, 48, 3), patches=1.0)
    with pytest.raises(UserError, match=r"^style\.size: the pieces of 40 pixels"):
        jax.eval_shape(algorithm.init, jax.random.key(0))


@pytest.fixture(scope="module")
def painting(tmp_path_factory):
    path = tmp_path_factory.mktemp("painting") / "painting.png"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 44, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, painting):
    """A run with a network in VGG16's place, on noise; and the painting is gone."""
    network = random_network()
    with pytest.MonkeyPatch.context() as patched:
        widths = tuple(len(network["stages"][s][n]["bias"]) for s, n in stylize.STYLE)
        patched.setattr(stylize, "WIDTHS", widths)
        patched.setattr(assembly, "lpips_weights", lambda cache: network)
        workdir, photographs = (tmp_path_factory.mktemp("style") / n for n in ("run", "photos"))
        photographs.mkdir()
        for n in range(12):
            pixels = np.random.default_rng(n).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(photographs / f"{n}.png")
        overrides = [f"style.image={painting}", "style.size=48", "data.name=folder"]
        overrides += [f"data.path={photographs}", f"data.dir={workdir.parent / 'sets'}"]
        settings = configs.tiny(configs.load("configs/style.py", overrides))
        settings.evaluate_every, settings.parallel.data = 0, 1
        settings.model.generator.blocks, settings.model.discriminator.layers = 1, 1
        assert loop.train(settings, workdir) == 0
        hidden = painting.with_suffix(".hidden")
        painting.rename(hidden)
        settings.steps = 6  # what goes on needs it no more
        assert loop.train(settings, workdir) == 0
        yield workdir
    hidden.rename(painting)


def test_its_lines_and_pictures(run):
    last = writer.read_metrics(run)[-1]
    assert {"content", "style", "variation", "g_gradient_norm"} <= set(last)
    assert "d_loss" not in last and np.isfinite(list(last.values())).all()
    with Image.open(run / "samples" / "00000006.png") as picture:
        assert (picture.size, picture.mode) == ((2 + 10 * 34, 2 + 2 * 2 * 34), "RGB")


def test_a_picture_of_any_size_is_drawn(run, tmp_path, capsys):
    content, out = tmp_path / "photo.png", tmp_path / "drawn.png"
    Image.fromarray(np.full((45, 70, 3), 90, np.uint8)).save(content)
    given = ["stylize", "--content", str(content), "--out", str(out), "--workdir", str(run)]
    assert main([*given, "--size", "70"]) == 0
    assert "70 x 45 pixels" in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.size == (70, 45)
    assert main([*given, "--style", str(content), "--steps", "9"]) == 2
    assert "--steps, --style: the run of --workdir has its style" in capsys.readouterr().err
    assert main(given[:5]) == 2
    assert "--style: name a picture, or a run of the algorithm style" in capsys.readouterr().err


def test_reconstruct_shows_it(run, tmp_path, capsys):
    out = tmp_path / "shown.png"
    assert main(["reconstruct", "--workdir", str(run), "--num", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "3 images of step 6: " in printed and "squared error" not in printed
    with Image.open(out) as picture:
        assert picture.size == (2 + 3 * 34, 2 + 2 * 34)


def settings(*overrides):
    given = configs.load("configs/style.py", overrides)
    configs.validate(given)
    channels = 1 if given.data.name == "grey" else 3
    return configs.resolve(given, 1000, (32, 32, channels), (), {})


@pytest.mark.parametrize(
    "overrides, message",
    [
        ([], r"^style\.image: name the picture"),
        (["style.image=none.png"], r"^style\.image: none\.png cannot be read"),
        (["style.image=README.md"], r"^style\.image: README\.md cannot be read: not a PNG"),
        (["data.name=grey"], r"^data\.name: the images of grey are not in colour"),
        (["style.size=8"], r"^style\.size: '8' is not allowed"),
        (["algorithm=pix2pix", "style.size=64"], r"^style\.size: the algorithm pix2pix"),
    ],
)
def test_mistakes_are_told(overrides, message, painting):
    if "data.name=grey" in overrides:
        overrides = [*overrides, f"style.image={painting}"]
    with pytest.raises(UserError, match=message):
        assembly.build(settings(*overrides))
