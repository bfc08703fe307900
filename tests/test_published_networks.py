"""The networks of single papers: goodfellow.py, metz.py and biggan.py."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgan.algorithms import player
from jaxgan.algorithms.gan import GAN
from jaxgan.errors import UserError
from jaxgan.losses import LOSSES
from jaxgan.models import biggan, goodfellow, metz

LABELS = jnp.arange(4) % 3


def start(network, x, labels=None):
    return jax.jit(functools.partial(network.init, train=True))(jax.random.key(0), x, labels)


def parameters(network, x, labels=None):
    made = jax.eval_shape(functools.partial(network.init, train=True), jax.random.key(0), x, labels)
    return sum(leaf.size for leaf in jax.tree.leaves(made["params"]))


def test_goodfellows_parameters():
    z, images = jnp.zeros((4, 100)), jnp.zeros((4, 28, 28, 1))
    of_784 = 1201 * 784
    assert parameters(goodfellow.Generator((28, 28, 1)), z) == 101 * 1200 + 1201 * 1200 + of_784
    assert parameters(goodfellow.Discriminator(), images) == 785 * 1200 + 241 * 1200 + 241
    mirza = goodfellow.Generator((28, 28, 1), 10, latent_features=200)
    expected = 101 * 200 + 11 * 1000 + 1201 * 1200 + of_784
    assert parameters(mirza, z, LABELS) == expected
    mirza = goodfellow.Discriminator(10, joint_pieces=4)
    expected = 785 * 1200 + 11 * 250 + (240 + 50 + 1) * 960 + 241
    assert parameters(mirza, images, LABELS) == expected


def test_goodfellows_networks_by_hand():
    generator = goodfellow.Generator((2, 2, 1), latent_features=5, features=6, latent_scale=3.0)
    discriminator = goodfellow.Discriminator(image_features=5, features=3, pieces=2, joint_pieces=4)
    z = jax.random.normal(jax.random.key(1), (4, 3))
    variables = start(generator, z)
    images = generator.apply(variables, z, None, train=True)
    x = 3 * np.asarray(z)
    for n in range(3):
        layer = variables["params"][f"Dense_{n}"]
        x = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        x = np.maximum(x, 0) if n < 2 else 1 / (1 + np.exp(-x))
    np.testing.assert_allclose((images.reshape(4, 4) + 1) / 2, x, rtol=1e-5)

    variables = start(discriminator, images)
    logits = discriminator.apply(variables, images, None, train=True)
    for n, pieces in enumerate((2, 4)):
        layer = variables["params"][f"Dense_{n}"]
        x = (
            (x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
            .reshape(4, pieces, -1)
            .max(1)
        )
    last = variables["params"]["Head_0"]["Dense_0"]
    expected = x @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
    np.testing.assert_allclose(logits, expected[:, 0], rtol=1e-4)


def test_goodfellows_first_images_have_the_mean_that_is_asked_for():
    def images(mean):
        network = goodfellow.Generator((8, 8, 1), pixel_mean=mean)
        z = jax.random.uniform(jax.random.key(1), (64, 100), minval=-1.0)
        return (network.apply(start(network, z), z, None, train=True) + 1) / 2

    for mean in (0.131, 0.5, 0.9):
        assert float(images(mean).mean()) == pytest.approx(mean, abs=0.03)
    with pytest.raises(UserError, match=r"pixel_mean: 1\.0 is not between 0 and 1"):
        images(1.0)


def test_dropout_changes_a_pass_by_its_key_alone():
    network = goodfellow.Discriminator(3)
    images = jnp.ones((4, 8, 8, 1))
    variables = start(network, images, LABELS)

    def judge(seed=None):
        rngs = {} if seed is None else {"dropout": jax.random.key(seed)}
        return network.apply(variables, images, LABELS, train=True, rngs=rngs)

    np.testing.assert_array_equal(judge(), judge())
    np.testing.assert_array_equal(judge(1), judge(1))
    assert np.all(judge(1) != judge(2)) and np.all(judge(1) != judge())


def test_players_drop_out_in_training_and_in_samples_where_it_is_asked_for():
    seen = {"generator": [], "discriminator": []}

    class Generator(goodfellow.Generator):
        def make_rng(self, name="params"):
            key = super().make_rng(name)
            seen["generator"].append(tuple(np.asarray(jax.random.key_data(key))))
            return key

    class Discriminator(goodfellow.Discriminator):
        def make_rng(self, name="params"):
            key = super().make_rng(name)
            seen["discriminator"].append(tuple(np.asarray(jax.random.key_data(key))))
            return key

    narrow = {"label_features": 4, "features": 6}
    sgd = lambda step: player.make_optimizer("sgd", 0.1, 0.0, 0.0)  # noqa: E731
    algorithm = GAN(
        Generator((8, 8, 1), 3, latent_features=5, dropout=0.5, **narrow),
        Discriminator(3, image_features=5, **narrow),
        generator_optimizer=sgd,
        discriminator_optimizer=sgd,
        loss=LOSSES["nonsaturating"],
        n_critic=1,
        batch_size=4,
        z_dim=3,
        num_classes=3,
        ema_halflife=0.0,
        ema_rampup=0.0,
    )
    state = algorithm.init(jax.random.key(0))
    batch = {"image": jnp.ones((1, 4, 8, 8, 1)), "label": LABELS[None]}
    for keys in seen.values():
        keys.clear()
    with jax.disable_jit():
        algorithm.step(state, batch)
    # Each player in the discriminator's update and in the generator's; the discriminator sees real
    # and fake images apart in the first.
    assert len(set(seen["generator"])) == 2 * 3  # three layers
    assert len(set(seen["discriminator"])) == 3 * 4  # the image, three layers
    for keys in seen.values():
        keys.clear()
    samples = [algorithm.sample(state, jax.random.key(1), LABELS) for _ in range(2)]
    assert not any(seen.values())
    np.testing.assert_array_equal(*samples)

    dropped = dataclasses.replace(algorithm, sample_dropout=True)
    z = jax.random.normal(jax.random.key(2), (4, 3))
    drawn = [dropped.sample(state, jax.random.key(1), LABELS) for _ in range(2)]
    assert len(set(seen["generator"])) == 3 and not seen["discriminator"]
    np.testing.assert_array_equal(*drawn)
    assert np.all(np.any(drawn[0] != samples[0], axis=(1, 2, 3)))
    seen["generator"].clear()
    images = [each.render(state, z, LABELS) for each in (algorithm, dropped)]
    assert not seen["generator"]
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 3.0])
def test_a_rate_of_dropout_that_is_none(rate):
    with pytest.raises(UserError, match=r"^model\.\*\.dropout: .* not between 0 and 1"):
        start(goodfellow.Discriminator(dropout=rate), jnp.ones((4, 8, 8, 1)))


def test_metzs_parameters():
    # 256 to 4 x 4 x 64; 3 x 3 to 32, 16 and 8, each with BatchNorm; 3 x 3 to three colours
    generator = metz.Generator((28, 28, 3))
    expected = 256 * 1024 + 2 * 64 + 9 * (64 * 32 + 32 * 16 + 16 * 8) + 2 * (32 + 16 + 8)
    assert parameters(generator, jnp.zeros((4, 256))) == expected + 9 * 8 * 3 + 3
    # from 28 to 14, 7 and 4 pixels
    images = jnp.zeros((4, 28, 28, 3))
    assert parameters(metz.Discriminator(), images) == (
        9 * (3 * 2 + 2 * 4 + 4 * 8) + 2 * (2 + 4 + 8) + 16 * 8 + 1
    )


def test_metzs_sizes_are_those_of_a_convolutions_gradient():
    """Of 4 to 7 pixels, as TensorFlow's conv2d_transpose has them."""
    generator = metz.Generator((7, 7, 1), features=(5, 3), norm="none")
    z = jax.random.normal(jax.random.key(1), (2, 6))
    variables = start(generator, z)
    params = variables["params"]
    x = np.maximum(z @ params["Dense_0"]["kernel"], 0).reshape(2, 4, 4, 5)
    kernel = params["ConvTranspose_0"]["kernel"].swapaxes(2, 3)

    def forward(y):
        return lax.conv_general_dilated(
            y, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    _, gradient = jax.vjp(forward, jnp.zeros((2, 7, 7, 3)))
    hidden = jnp.maximum(gradient(x)[0], 0)
    last = params["Conv_0"]["kernel"]
    expected = lax.conv_general_dilated(
        hidden, last, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    images = generator.apply(variables, z, None, train=True)
    np.testing.assert_allclose(images, np.tanh(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("labelled", [False, True])
def test_metz_at_other_sizes(labelled):
    labels = LABELS if labelled else None
    classes = 3 if labelled else 0
    generator = metz.Generator((32, 32, 1), classes, features=(8, 4, 2))
    z = jnp.zeros((4, 6))
    images, _ = generator.apply(start(generator, z, labels), z, labels, True, mutable="batch_stats")
    assert images.shape == (4, 32, 32, 1)
    discriminator = metz.Discriminator(classes)
    logits, _ = discriminator.apply(
        start(discriminator, images, labels), images, labels, True, mutable="batch_stats"
    )
    assert logits.shape == (4,)


def test_biggans_parameters():
    """As BigGAN-PyTorch counts those for ImageNet at 128 pixels."""
    labels = jnp.zeros(2, jnp.int32)
    generator, discriminator = biggan.Generator((128, 128, 3), 1000), biggan.Discriminator(1000)
    assert parameters(generator, jnp.zeros((2, 120)), labels) == 70_433_988
    assert parameters(discriminator, jnp.zeros((2, 128, 128, 3)), labels) == 87_982_370


def test_biggans_parts_of_z_and_labels():
    generator = biggan.Generator((16, 16, 1), 3, width=4)  # 4, 8, 16: two blocks
    z = jax.random.normal(jax.random.key(1), (4, 6))
    variables = start(generator, z, LABELS)
    draw = lambda z, labels: generator.apply(variables, z, labels, train=False)  # noqa: E731
    images = draw(z, LABELS)
    for part in range(3):
        other = z.at[0, 2 * part].add(1)
        changed = np.any(np.asarray(draw(other, LABELS) != images), (1, 2, 3))
        np.testing.assert_array_equal(changed, [True, False, False, False])
    assert np.all(np.any(np.asarray(draw(z, LABELS + 3) != images), (1, 2, 3)))
    first = variables["params"]["Dense_0"]["kernel"]
    assert first.shape == (2, 4 * 4 * 4)
    with pytest.raises(UserError, match=r"^z_dim: biggan cuts z into 3 parts .* 7 .* try 9"):
        start(generator, jnp.zeros((2, 7)), LABELS[:2])


def test_biggans_modulation_by_hand():
    x = jax.random.normal(jax.random.key(1), (4, 3, 3, 5))
    given = jax.random.normal(jax.random.key(2), (4, 6))
    network = biggan.Modulated("none")
    variables = jax.jit(functools.partial(network.init, train=True))(jax.random.key(0), x, given)
    y, _ = network.apply(variables, x, given, train=True, mutable="batch_stats")
    gain, bias = (given @ variables["params"][name]["kernel"] for name in ("gain", "bias"))
    flat = np.asarray(x).reshape(-1, 5)
    expected = (np.asarray(x) - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    expected = expected * (1 + np.asarray(gain)[:, None, None]) + np.asarray(bias)[:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", [goodfellow, metz, biggan])
def test_points_are_for_mlp(model):
    with pytest.raises(UserError, match=r"^model\.name: .* draws images.*mlp draws points"):
        start(model.Generator((2,)), jnp.zeros((2, 6)))


@pytest.mark.parametrize("model", [metz, biggan])
def test_planes_for_labels_are_others(model):
    network = model.Discriminator(3, conditioning="concat")
    with pytest.raises(UserError, match=r"^model\.discriminator\.conditioning: .* try "):
        start(network, jnp.zeros((4, 28, 28, 1)), LABELS)
