"""Translation between images: the data, the steps against the papers' sums, networks, runs."""

import itertools
import json
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from jaxgan import assembly, data, experiment, loop, references, writer
from jaxgan import config as configs
from jaxgan.algorithms import cyclegan, pairs, pix2pix, player
from jaxgan.cli.main import main
from jaxgan.data.known import known
from jaxgan.errors import UserError
from jaxgan.losses import LOSSES
from jaxgan.metrics import conditional
from jaxgan.models import cyclegan as cyclegan_networks
from jaxgan.models import pix2pix as pix2pix_networks


def random_images(*shape, seed=0):
    return jnp.float32(np.random.default_rng(seed).uniform(-1, 1, shape))


# --------------------------------------------------------------------------------------------------
# Data


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory):
    """Pictures of 24 x 12 pixels whose right halves are the left ones, half as bright."""
    folder = tmp_path_factory.mktemp("pairs") / "pictures"
    folder.mkdir()
    for n in range(40):
        left = np.random.default_rng(n).integers(0, 256, (12, 12, 3), np.uint8)
        picture = np.concatenate([left, left // 2], 1)
        Image.fromarray(picture).save(folder / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def two_kinds(tmp_path_factory):
    """A folder of dark colour pictures in one folder, and fewer bright ones in another."""
    folder = tmp_path_factory.mktemp("kinds") / "pictures"
    for name, count, low in (("dark", 30, 0), ("light", 12, 150)):
        (folder / name).mkdir(parents=True)
        for n in range(count):
            pixels = np.random.default_rng(n).integers(low, low + 100, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{n}.png")
    return folder


def test_pairs_side_by_side_become_channels(side_by_side, tmp_path, capsys):
    out = tmp_path / "set"
    assert main(["prepare", "--source", str(side_by_side), "--out", str(out), "--fit", "pair"]) == 0
    printed = capsys.readouterr().out
    assert "12 x 12 RGB, pairs side by side" in printed
    *_, last = printed.splitlines()  # the command that trains on them
    flags = [word.removeprefix("--config.") for word in last.split()[6:]]
    given = configs.tiny(configs.load("configs/pix2pix.py", flags))
    given.evaluate_every, given.parallel.data, given.model.discriminator.layers = 0, 1, 1
    assert loop.train(given, tmp_path / "run") == 0
    with Image.open(tmp_path / "run" / "samples" / "00000004.png") as picture:
        shown = np.asarray(picture)[2:14, 2:14], np.asarray(picture)[16:28, 2:14]
    assert abs(shown[1] / 2 - shown[0]).max() <= 1  # target and source
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.size == (12 * 68, 7 * 68)  # six pairs in a row
    opened = data.open_set("folder", path=str(out))
    images, labels = opened.read(np.arange(40))
    assert (opened.shape, images.shape, labels) == ((12, 12, 6), (40, 12, 12, 6), None)
    np.testing.assert_array_equal(images[..., :3] // 2, images[..., 3:])
    halved = data.open_set("folder", "train[:50%]", 6, path=str(out))
    assert (halved.shape, halved.num_examples) == ((6, 6, 6), 20)
    small = halved.read(np.arange(3))[0].astype(int)
    assert abs(small[..., :3] / 2 - small[..., 3:]).max() <= 1.5


def test_pictures_that_are_no_pairs_are_told(two_kinds, tmp_path, capsys):
    source = ["prepare", "--source", str(two_kinds), "--out", str(tmp_path / "set")]
    assert main([*source, "--fit", "pair"]) == 2
    assert "no equal pairs of squares" in capsys.readouterr().err
    assert main([*source, "--fit", "pair", "--image_size", "8"]) == 2
    assert "smaller than 8 x 8" in capsys.readouterr().err


def test_two_classes_are_two_sets(two_kinds, tmp_path):
    opened = data.open_set("unpaired:folder", data_dir=str(tmp_path), path=str(two_kinds))
    assert (opened.shape, opened.num_examples, opened.class_names) == ((8, 8, 6), 30, ())
    images, labels = opened.read(np.arange(30))
    assert labels is None and images[..., :3].max() < 100 and images[..., 3:].min() >= 150
    assert len(np.unique(images[..., 3:].reshape(30, -1), axis=0)) == 12  # they begin again
    assert len(np.unique(images[..., :3].reshape(30, -1), axis=0)) == 30
    # Measured is by the targets, each once.
    section = {"name": "unpaired:folder", "split": "train", "image_size": 0}
    section |= {"dir": str(tmp_path), "path": str(two_kinds)}
    examples = references.open_examples(section, "")
    assert (examples.count, examples.shape) == (12, (8, 8, 3))
    targets, _ = examples.read(examples.order)
    assert targets.min() >= 150 and len(np.unique(targets.reshape(12, -1), axis=0)) == 12
    whole, _ = examples.given().read(examples.order)
    np.testing.assert_array_equal(whole[..., 3:], targets)
    assert whole[..., :3].max() < 100


def test_two_sets_and_their_labels():
    name = "unpaired:fashion_mnist_mini,fashion_mnist_mini"
    opened, single = data.open_set(name, "test"), data.open_set("fashion_mnist_mini", "test")
    images, labels = opened.read(np.arange(5))
    expected, of_single = single.read(np.arange(5))
    np.testing.assert_array_equal(images, np.concatenate([expected, expected], -1))
    np.testing.assert_array_equal(labels, of_single)
    assert opened.splits == ("train", "test") and opened.details["source_channels"] == 1
    batches = [
        opened.feed(cache, flip=False, seed=0, minibatches=1, batch_size=4)
        for cache in ("device", "host", "none")
    ]
    first, *others = (
        each.minibatches(
            jax.tree.map(jnp.asarray, each.resident),
            jax.tree.map(lambda x: jnp.asarray(x)[0], each.inputs(0, 1)),
        )
        for each in batches
    )
    assert first["image"].shape == (1, 4, 28, 28, 2)
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, first, other)


@pytest.mark.parametrize(
    "name, path, message",
    [
        ("unpaired:fashion_mnist_mini", "", "data.name: .* name two sets"),
        ("unpaired:ring,grid", "", "data.name: .* ring is no set of single images"),
        ("unpaired:fashion_mnist_mini,fashion_mnist_mini", ".", "data.path: of which"),
        ("unpaired:folder", "pairs", "data.path: it has 0 classes"),
    ],
)
def test_what_is_no_two_sets_is_told(name, path, message, side_by_side, tmp_path):
    path = str(side_by_side) if path == "pairs" else path
    with pytest.raises(UserError, match=message):
        data.open_set(name, image_size=12 * (path != ""), data_dir=str(tmp_path), path=path)


def test_what_is_known_of_absent_pairs():
    with pytest.raises(UserError, match=r"^data\.image_size: .* 28 x 28 and 32 x 32"):
        known("unpaired:mnist,cifar10")
    absent = known("unpaired:mnist,cifar10", image_size=28)
    assert (absent.shape, absent.num_examples, absent.source_channels) == ((28, 28, 4), 60_000, 1)


def test_sources_that_are_computed():
    images = random_images(2, 12, 8, 3).at[:, 3:7].set(1)
    brightness = np.asarray(images) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(pairs.grey(images)[..., 0], brightness, atol=1e-6)
    grey = np.asarray(pairs.grey(images)[..., 0], np.float64) / 2
    for n in range(2):
        slopes = [ndimage.sobel(grey[n], axis, mode="nearest") / 8 for axis in (0, 1)]
        steep = np.hypot(*slopes) > pairs.STEEP
        assert 0.05 < steep.mean() < 0.95
        np.testing.assert_array_equal(pairs.edges(images)[n, ..., 0], np.where(steep, 1, -1))
    small = np.asarray(images).reshape(2, 3, 4, 2, 4, 3).mean((2, 4))
    expected = small.repeat(4, 1).repeat(4, 2)
    np.testing.assert_allclose(pairs.small(images), expected, atol=1e-6)
    for source in pairs.SOURCES:
        x, y = pairs.split(source, 0, images)
        assert (x.shape[-1], y.shape[-1]) == pairs.channels(source, 0, 3)
    assert [each.shape[-1] for each in pairs.split("", 1, images)] == [1, 2]


# --------------------------------------------------------------------------------------------------
# Steps

FIELDS = {
    "generator_optimizer": lambda step: player.make_optimizer("sgd", 0.1, 0.0, 0.0),
    "discriminator_optimizer": lambda step: player.make_optimizer("sgd", 0.1, 0.0, 0.0),
    "batch_size": 4,
    "ema_halflife": 0.0,
    "ema_rampup": 0.0,
}


class Draws(nn.Module):
    """The least that translates."""

    channels: int

    @nn.compact
    def __call__(self, x, labels, train):
        return jnp.tanh(nn.Dense(self.channels)(x))


class Judges(nn.Module):
    @nn.compact
    def __call__(self, x, labels, train):
        return nn.Dense(1)(nn.softplus(nn.Dense(2)(x))).reshape(-1)


assert_close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)  # noqa: E731


def down(objective, params):
    slopes = jax.jit(jax.grad(objective))(params)
    return jax.tree.map(lambda w, slope: w - 0.1 * slope, params, slopes)


def apply(network, params, *images):
    given = jnp.concatenate(images, -1)
    return network.apply({"params": params}, given, None, train=True)


def test_pix2pix_goes_down_its_sums():
    algorithm = pix2pix.Pix2Pix(
        generator=Draws(2),
        discriminator=Judges(),
        loss=LOSSES["nonsaturating"],
        image_shape=(8, 8, 3),
        source_channels=1,
        l1=5.0,
        gan=0.7,
        **FIELDS,
    )
    state = jax.jit(algorithm.init)(jax.random.key(0))
    images = random_images(4, 8, 8, 3)
    x, y = images[..., :1], images[..., 1:]
    after, metrics = jax.jit(algorithm.step)(state, {"image": images[None]})

    def of_discriminator(params):
        fake = apply(algorithm.generator, state.generator.params, x)
        on_real = jax.nn.softplus(-apply(algorithm.discriminator, params, x, y))
        return jnp.mean(on_real + jax.nn.softplus(apply(algorithm.discriminator, params, x, fake)))

    def of_generator(params):
        fake = apply(algorithm.generator, params, x)
        judged = apply(algorithm.discriminator, after.discriminator.params, x, fake)
        return 0.7 * jnp.mean(jax.nn.softplus(-judged)) + 5.0 * jnp.mean(jnp.abs(y - fake))

    for role, objective in (("discriminator", of_discriminator), ("generator", of_generator)):
        expected = down(objective, getattr(state, role).params)
        jax.tree.map(assert_close, getattr(after, role).params, expected)
    assert_close(metrics["d_loss"], of_discriminator(state.discriminator.params))
    total = 0.7 * metrics["g_loss"] + 5.0 * metrics["l1"]
    assert_close(total, of_generator(state.generator.params))
    shown = algorithm.show(after, jax.random.key(0), images, jnp.zeros(4, jnp.int32))
    np.testing.assert_array_equal(shown[0], y)
    np.testing.assert_array_equal(shown[1], x)
    assert_close(shown[2], apply(algorithm.generator, after.ema.params, x))


def test_pix2pix_by_l1_alone_leaves_the_discriminator():
    algorithm = pix2pix.Pix2Pix(
        generator=Draws(2),
        discriminator=Judges(),
        loss=LOSSES["nonsaturating"],
        image_shape=(8, 8, 3),
        source_channels=1,
        gan=0.0,
        **FIELDS,
    )
    state = jax.jit(algorithm.init)(jax.random.key(0))
    after, metrics = jax.jit(algorithm.step)(state, {"image": random_images(1, 4, 8, 8, 3)})
    jax.tree.map(np.testing.assert_array_equal, after.discriminator, state.discriminator)
    assert set(metrics) >= {"l1", "g_gradient_norm"} and "d_loss" not in metrics


def make_cyclegan(**changes):
    fields = {
        "generator": Draws(2),
        "inverse": Draws(1),
        "discriminator": Judges(),
        "source_discriminator": Judges(),
        "loss": LOSSES["least_squares"],
        "image_shape": (8, 8, 3),
        "source_channels": 1,
        "cycle": 3.0,
        **FIELDS,
    }
    return cyclegan.CycleGAN(**{**fields, **changes})


@pytest.mark.parametrize("identity", [0.0, 0.5])
def test_cyclegan_goes_down_its_sums(identity):
    algorithm = make_cyclegan(pool=0)
    if identity:  # images of one kind of channels alone can stay as they are
        networks = {name: Draws(1) for name in ("generator", "inverse")}
        algorithm = make_cyclegan(pool=0, identity=identity, image_shape=(8, 8, 2), **networks)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    images = random_images(4, *algorithm.image_shape)
    x, y = images[..., :1], images[..., 1:]
    after, metrics = jax.jit(algorithm.step)(state, {"image": images[None]})

    def distance(a, b):
        return jnp.mean(jnp.abs(a - b))

    def of_generators(params):
        g, f = (lambda z, n=n: apply(getattr(algorithm, n), params[n], z) for n in names)
        judge = lambda role, z: apply(getattr(algorithm, role), getattr(state, role).params, z)  # noqa: E731
        loss = 0.5 * jnp.mean((judge("discriminator", g(x)) - 1) ** 2)
        loss += 0.5 * jnp.mean((judge("source_discriminator", f(y)) - 1) ** 2)
        loss += 3.0 * (distance(f(g(x)), x) + distance(g(f(y)), y))
        return loss + (identity * (distance(g(y), y) + distance(f(x), x)) if identity else 0.0)

    names = ("generator", "inverse")
    old = {name: getattr(state, name).params for name in names}
    expected = down(of_generators, old)
    for name in names:
        jax.tree.map(assert_close, getattr(after, name).params, expected[name])
    made = {
        "discriminator": (y, apply(algorithm.generator, old["generator"], x)),
        "source_discriminator": (x, apply(algorithm.inverse, old["inverse"], y)),
    }
    for role, (real, fake) in made.items():

        def of_discriminator(params, role=role, real=real, fake=fake):
            judge = lambda z: apply(getattr(algorithm, role), params, z)  # noqa: E731
            return jnp.mean(0.5 * (judge(real) - 1) ** 2 + 0.5 * judge(fake) ** 2)

        expected = down(of_discriminator, getattr(state, role).params)
        jax.tree.map(assert_close, getattr(after, role).params, expected)
    total = metrics["g_loss"] + metrics["g_loss_back"] + 3.0 * metrics["cycle"]
    total += identity * metrics.get("identity", 0.0)
    assert_close(total, of_generators(old))


def test_cyclegan_in_parts_steps_as_one():
    whole, parts = make_cyclegan(pool=0), make_cyclegan(pool=0, accumulate=2)
    state = jax.jit(whole.init)(jax.random.key(0))
    batch = {"image": random_images(1, 4, 8, 8, 3)}
    after = [jax.jit(each.step)(state, batch)[0] for each in (whole, parts)]
    for role, player_ in player.players(after[0]).items():
        jax.tree.map(assert_close, player_.params, getattr(after[1], role).params)


def test_both_averages_translate():
    algorithm = make_cyclegan()
    state = jax.jit(algorithm.init)(jax.random.key(0))
    images = random_images(4, 8, 8, 3)
    after, _ = jax.jit(algorithm.step)(state, {"image": images[None]})
    source, again, made = algorithm.show(after, jax.random.key(0), images, jnp.zeros(4, jnp.int32))
    np.testing.assert_array_equal(source, images[..., :1])
    assert_close(made, apply(algorithm.generator, after.generator.params, source))
    assert_close(again, apply(algorithm.inverse, after.inverse.params, made))


def test_the_pool_is_a_history():
    pool = cyclegan.Pool(jnp.zeros((3, 1, 1, 1)), jnp.zeros((), jnp.int32))
    exchange = jax.jit(cyclegan.exchanged)
    held, kept, fresh = [], 0, 0
    for step in range(200):
        images = [float(2 * step + n + 1) for n in range(2)]
        given = jnp.float32(images).reshape(2, 1, 1, 1)
        pool, seen = exchange(pool, given, jax.random.key(step))
        for image, out in zip(images, np.asarray(seen).ravel(), strict=True):
            if len(held) < 3:
                held.append(image)
                assert out == image
            elif out == image:
                fresh += 1
            else:  # an earlier one, whose place the new one takes
                held[held.index(out)] = image
                kept += 1
        assert sorted(held + [0] * (3 - len(held))) == sorted(np.asarray(pool.images).ravel())
        assert int(pool.count) == len(held)
    assert abs(kept - fresh) < 4 * math.sqrt(kept + fresh)  # one half each


# --------------------------------------------------------------------------------------------------
# Networks


def shapes_of(network, *shape):
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    make = lambda key, images: network.init_with_output(key, images, None, train=True)  # noqa: E731
    output, variables = jax.eval_shape(make, jax.random.key(0), images)
    return output.shape, sum(math.prod(x.shape) for x in jax.tree.leaves(variables["params"]))


def test_the_papers_networks():
    # Counted in the authors' PyTorch networks: weights, BatchNorm's gain and bias, the other biases
    unet = [64, 128, 256, 512, 512, 512, 512, 512]
    downward = sum(16 * a * b for a, b in itertools.pairwise([3, *unet]))
    upward = 16 * 512 * 512 + sum(
        16 * 2 * a * b for a, b in ((512, 512),) * 3 + ((512, 256), (256, 128), (128, 64), (64, 3))
    )
    norms = 2 * sum(unet[1:-1]) + 2 * (4 * 512 + 256 + 128 + 64)
    biases = 64 + 512 + 3  # of layers without a norm behind; theirs have the last one's alone
    generator = pix2pix_networks.Generator((256, 256, 3), 3)
    assert shapes_of(generator, 256, 256, 3) == (
        (1, 256, 256, 3),
        downward + upward + norms + biases,
    )
    patches, count = shapes_of(pix2pix_networks.Discriminator(), 256, 256, 6)
    convolutions = 16 * (6 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert (patches, count) == ((900,), convolutions + 2 * (128 + 256 + 512) + 64 + 1)
    resnet = cyclegan_networks.Generator((256, 256, 3), 3)
    blocks = 9 * 2 * (9 * 256 * 256 + 2 * 256)
    changes = 2 * (9 * 64 * 128 + 9 * 128 * 256) + 2 * (2 * 128 + 256 + 64)
    ends = 2 * 49 * 3 * 64 + 3 + 2 * 64
    assert shapes_of(resnet, 256, 256, 3) == ((1, 256, 256, 3), blocks + changes + ends)


@pytest.mark.parametrize("layers, pixels", [(1, 16), (2, 34), (3, 70)])
def test_a_patch_is_as_large_as_it_says(layers, pixels):
    network = pix2pix_networks.Discriminator(2, layers=layers, norm="none")
    images = random_images(1, 96, 96, 1)
    variables = network.init(jax.random.key(0), images, None, train=True)

    def in_the_middle(images):
        logits = network.apply(variables, images, None, train=True)
        side = math.isqrt(len(logits))
        return logits.reshape(side, side)[side // 2, side // 2]

    seen = np.asarray(jax.grad(in_the_middle)(images))[0, ..., 0] != 0
    assert (seen.any(0).sum(), seen.any(1).sum()) == (pixels, pixels)


@pytest.mark.parametrize("size", [28, 15])
def test_a_u_net_takes_odd_sizes(size):
    network = pix2pix_networks.Generator((size, size, 3), 1, width=2)
    assert shapes_of(network, size, size, 1)[0] == (1, size, size, 3)


def test_dropout_is_the_noise():
    network = pix2pix_networks.Generator((32, 32, 1), 1, width=2)
    x = random_images(1, 32, 32, 1)
    variables = network.init(jax.random.key(0), x, None, train=True)
    made = [
        player.apply(network, variables["params"], {}, x, None, train=False, key=key)[0]
        for key in (jax.random.key(0), jax.random.key(0), jax.random.key(1), None)
    ]
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any() and (made[0] != made[3]).any()


# --------------------------------------------------------------------------------------------------
# Measures


def test_agreement_is_that_of_the_best_renaming():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 300).astype(np.int32)
    found = np.where(random.uniform(size=300) < 0.7, np.array([2, 0, 1, 3])[labels], 1)
    by_hand = max(
        np.mean(np.array(names)[labels] == found) for names in itertools.permutations(range(4))
    )
    agreement = conditional.agreement(found.astype(np.int32), labels, 4)
    np.testing.assert_allclose(agreement, (np.mean(found == labels), by_hand))
    assert by_hand > 0.7 > agreement.agreement


# --------------------------------------------------------------------------------------------------
# Runs


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """A run of pix2pix from edges."""
    workdir = tmp_path_factory.mktemp("pix2pix") / "run"
    settings = configs.tiny(configs.load("configs/pix2pix.py"))
    assert loop.train(settings, workdir) == 0
    return workdir


@pytest.fixture(scope="module")
def there_and_back(tmp_path_factory, two_kinds):
    """A run of cyclegan on a folder of colour pictures."""
    overrides = ["data.name=unpaired:folder", f"data.path={two_kinds}", "translate.pool=0"]
    workdir = tmp_path_factory.mktemp("cyclegan") / "run"
    settings = configs.tiny(configs.load("configs/cyclegan.py", overrides))
    settings.evaluate_every, settings.parallel.data = 0, 1
    settings.model.generator.blocks = settings.model.discriminator.layers = 1
    assert loop.train(settings, workdir) == 0
    return workdir


def test_lines_and_pictures(translator, there_and_back):
    of_game = {"d_loss", "g_loss", "real_logit", "fake_logit", "d_accuracy"}
    for workdir, more, size in (
        (translator, {"l1", "frechet", "agreement", "agreement_renamed"}, 30),
        (there_and_back, {"cycle", "d_loss_back", "i_gradient_norm", "s_gradient_norm"}, 10),
    ):
        last = writer.read_metrics(workdir)[-1]
        assert of_game | more <= set(last) and np.isfinite(list(last.values())).all()
        with Image.open(workdir / "samples" / "00000004.png") as picture:
            assert picture.size == (2 + 10 * size, 2 + 3 * 3 * size)


def test_what_is_measured_of_pairs_is_measured_of_targets(tmp_path):
    name = "unpaired:fashion_mnist_mini,fashion_mnist_mini"
    settings = configs.tiny(configs.load("configs/cyclegan.py", [f"data.name={name}"]))
    settings.model.generator.blocks = 1
    settings.data.split, settings.evaluate_every = "train[:64]", 0
    workdir = tmp_path / "run"
    assert loop.train(settings, workdir) == 0
    asked = ["--metrics", "agreement", "--samples", "200", "--seeds", "1"]
    assert main(["evaluate", "--workdir", str(workdir), *asked, "--split", "test"]) == 0
    [entry] = json.loads((workdir / "evaluation.json").read_text())
    figures = entry["figures"]["samples"]
    assert 0 <= figures["agreement"]["value"] <= figures["agreement_renamed"]["value"] <= 1

    _, algorithm, state = experiment.load_run(workdir)
    section = settings.data.to_dict()
    real = references.open_examples(section, "test").first(200)
    targets, labels = real.read(real.order)
    np.testing.assert_array_equal(
        targets, data.open_set("fashion_mnist_mini", "test").read(real.order)[0]
    )
    sources, _ = real.given().read(real.order)
    made = data.to_uint8(
        algorithm.translate(state, jax.random.key(0), data.to_float(sources[..., :1]))
    )
    network = references.classifier_of(section, real.opened, tmp_path)
    found = np.asarray(network.classes(jax.jit(network.apply)(network.params, made)))
    expected = conditional.agreement(found, labels, 10)
    for name, value in expected._asdict().items():
        np.testing.assert_allclose(figures[name]["value"], value, atol=0.011)  # of two images


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def translate(run, image, out, *more):
    return main(
        ["translate", "--workdir", str(run), "--image", str(image), "--out", str(out), *more]
    )


def test_a_picture_is_translated(translator, there_and_back, side_by_side, tmp_path, capsys):
    image, out = side_by_side / "0.png", tmp_path / "made.png"
    assert translate(translator, image, out) == 0
    with Image.open(out) as picture:
        assert picture.size == (28, 28)
    assert "translated by step 4" in capsys.readouterr().out
    assert translate(there_and_back, image, out) == 0
    there = pixels_of(out)
    assert translate(there_and_back, image, out, "--back") == 0
    back = pixels_of(out)
    assert there.shape == back.shape == (8, 8, 3) and (there != back).any()


def test_mistakes_in_translating_are_one_sentence(translator, side_by_side, tmp_path, capsys):
    image, out = side_by_side / "0.png", tmp_path / "made.png"
    for given, more, message in (
        (image, ["--back"], "the algorithm pix2pix; cyclegan translates back"),
        (tmp_path / "none.png", [], "--image: "),
    ):
        assert translate(translator, given, out, *more) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()


def test_reconstruct_shows_both(translator, there_and_back, tmp_path, capsys):
    for run, told in ((translator, "mean squared error"), (there_and_back, "of step 4: ")):
        out = tmp_path / "shown.png"
        assert main(["reconstruct", "--workdir", str(run), "--num", "6", "--out", str(out)]) == 0
        assert told in capsys.readouterr().out


def settings(name, *overrides, shape=(28, 28, 1), of_source=0):
    given = configs.load(f"configs/{name}.py", overrides)
    configs.validate(given)
    details = {"source_channels": of_source} if of_source else {}
    return configs.resolve(given, 1000, shape, ("a", "b"), details)


PAIRED = {"shape": (28, 28, 4), "of_source": 1}


@pytest.mark.parametrize(
    "given, message",
    [
        (settings("pix2pix", "translate.source=lines"), r"^translate\.source: there is no 'lines'"),
        (settings("pix2pix", "translate.source="), r"^translate\.source: .*single images; say"),
        (settings("pix2pix", **PAIRED), r"^translate\.source: .*pairs already"),
        (settings("cyclegan"), r"^data\.name: .*one set, and cyclegan translates between two"),
        (
            settings("cyclegan", "translate.identity=1.0", **PAIRED),
            r"^translate\.identity: sources have 1 channels and targets 3",
        ),
        (
            settings("cyclegan", "parallel.mode=replica", **PAIRED),
            r"^translate\.pool: replicas",
        ),
        (settings("dcgan", **PAIRED), r"^data\.name: .*of pairs .*pix2pix and cyclegan"),
        (settings("pix2pix", "model.name=dcgan"), r"^model\.name: dcgan is no network"),
        (settings("dcgan", "model.name=pix2pix"), r"^model\.name: pix2pix is no network"),
        (settings("pix2pix", "translate.cycle=1.0"), r"^translate\.cycle: the algorithm pix2pix"),
        (
            settings("pix2pix", "translate.source=small", shape=(30, 30, 1)),
            r"^translate\.source: small is a quarter",
        ),
    ],
)
def test_mistakes_are_told(given, message):
    with pytest.raises(UserError, match=message):
        assembly.build(given)


@pytest.mark.parametrize(
    "given, message",
    [
        (
            settings("pix2pix", "model.discriminator.layers=3", shape=(12, 12, 1)),
            r"^model\.discriminator\.layers: .*take fewer",
        ),
        (
            settings("cyclegan", shape=(14, 14, 4), of_source=1),
            r"^data\.image_size: .*14 is no multiple of 4",
        ),
    ],
)
def test_sizes_that_a_network_does_not_take_are_told(given, message):
    algorithm = assembly.build(given)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(algorithm.init, jax.random.key(0))


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_points_are_told(name):
    given = configs.load(f"configs/{name}.py", ["data.name=ring", "evaluate_every=0"])
    with pytest.raises(UserError, match=r"^data\.name: ring is of points"):
        config, _ = experiment.prepare(given)
        assembly.build(config)
