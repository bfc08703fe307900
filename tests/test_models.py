"""The networks: shapes, labels, normalisation, sizes; pinned parameter counts."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.models import dcgan, mlp
from jaxgan.models.layers import Conv, normalise

MODELS = {"dcgan": dcgan, "mlp": mlp}
NARROW = {  # fields of the generator, of the discriminator
    "dcgan": ({"width": 4}, {"width": 4}),
    "mlp": ({"features": (8,)}, {"features": (8,)}),
}
both_models = pytest.mark.parametrize("model", MODELS)
both_conditionings = pytest.mark.parametrize("conditioning", ["projection", "concat"])
z_dim, num_classes = 6, 3


def networks(model, shape=(16, 16, 1), num_classes=0, generator=(), discriminator=()):
    for_g, for_d = NARROW[model]
    return (
        MODELS[model].Generator(shape, num_classes, **{**for_g, **dict(generator)}),
        MODELS[model].Discriminator(num_classes, **{**for_d, **dict(discriminator)}),
    )


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def start(network, x, labels=None, scale=0.3):
    """Variables with random params (biases too) and fresh statistics."""
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), x, labels, train=True))
    random = np.random.default_rng(0)
    draw = lambda leaf: jnp.float32(scale * random.normal(size=leaf.shape))  # noqa: E731
    fresh = lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "var"))  # noqa: E731
    return {
        "params": jax.tree.map(draw, variables.pop("params")),
        **jax.tree_util.tree_map_with_path(fresh, variables),
    }


def run(network, variables, x, labels=None, train=False):
    """The network's output, and its statistics afterwards."""
    output, updated = _compiled(network, train)(variables, x, labels)
    return np.asarray(output), updated.get("batch_stats")


@functools.cache
def _compiled(network, train):
    return jax.jit(functools.partial(network.apply, train=train, mutable="batch_stats"))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# --------------------------------------------------------------------------------------------------
# Shapes and sizes


@both_models
@pytest.mark.parametrize("size", [8, 14, 20, 28, 32, 48, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "classes, conditioning", [(0, "concat"), (num_classes, "concat"), (num_classes, "projection")]
)
def test_shapes(model, size, channels, classes, conditioning):
    b, shape = 2, (size, size, channels)
    fields = {"conditioning": conditioning}
    generator, discriminator = networks(model, shape, classes, discriminator=fields)
    labels = jnp.zeros(b, jnp.int32) if classes else None

    def run(key):
        fake, _ = generator.init_with_output(key, jnp.zeros((b, z_dim)), labels, train=True)
        logits, _ = discriminator.init_with_output(key, fake, labels, train=True)
        return fake, logits

    fake, logits = jax.eval_shape(run, jax.random.key(0))
    assert (fake.shape, fake.dtype) == ((b, *shape), jnp.float32)
    assert (logits.shape, logits.dtype) == ((b,), jnp.float32)


@pytest.mark.parametrize("size", [27, 30, 6, 4])
def test_a_size_that_dcgan_cannot_make_is_the_users_error(size):
    generator, _ = networks("dcgan", (size, size, 1))
    with pytest.raises(UserError, match=rf"^data\.image_size: .* {size}; .* 28, 32, 40"):
        start(generator, jnp.zeros((2, z_dim)))


def test_the_sizes_that_dcgan_names_are_those_that_it_makes():
    with pytest.raises(UserError) as error:
        dcgan.pyramid(27)
    named = [int(size) for size in str(error.value).split("work: ")[1].split(", ")]
    assert named[0] == 8 and {14, 28, 32, 64, 256} <= set(named)
    for size in range(1, named[-1] + 1):
        if size in named:
            base, levels = dcgan.pyramid(size)
            assert base * 2**levels == size and 4 <= base < 8
        else:
            with pytest.raises(UserError):
                dcgan.pyramid(size)


@both_models
def test_the_generators_images_fill_minus_one_to_one(model):
    generator, _ = networks(model, (8, 8, 1))
    z = normal(64, z_dim)
    images, _ = run(generator, start(generator, z, scale=1), z)
    assert -1 <= images.min() < -0.9 and 0.9 < images.max() <= 1


# What the default fields give for 28 x 28 x 1 images, z_dim 100 and 10 classes. Added up by hand.
COUNTS = {
    # Dense to 7 x 7 x 128, BatchNorm; 4 x 4 to 64, BatchNorm; 4 x 4 to 1 with bias
    ("dcgan", "generator"): 100 * 6272 + 2 * 128 + 16 * 128 * 64 + 2 * 64 + 16 * 64 + 1,  # 759,681
    # the embedding, and its 50 features beside z
    ("dcgan", "generator", 10): 759_681 + 10 * 50 + 50 * 6272,
    # 28 to 14 with bias; to 7, BatchNorm; to 4, BatchNorm; Dense of 4 x 4 x 256
    ("dcgan", "discriminator"): (
        (16 * 64 + 64) + (16 * 64 * 128 + 2 * 128) + (16 * 128 * 256 + 2 * 256) + (4096 + 1)
    ),  # 661,313
    ("dcgan", "discriminator", 10, "projection"): 661_313 + 10 * 4096,
    # a plane for each class, and one more input channel
    ("dcgan", "discriminator", 10, "concat"): 661_313 + 10 * 784 + 16 * 64,
    # three layers with BatchNorm and no bias; Dense to 784 pixels
    ("mlp", "generator"): (
        (100 * 256 + 2 * 256) + (256 * 512 + 2 * 512) + (512 * 1024 + 2 * 1024) + (1024 + 1) * 784
    ),  # 1,488,144
    ("mlp", "generator", 10): 1_488_144 + 10 * 50 + 50 * 256,
    # three layers with bias
    ("mlp", "discriminator"): (784 + 1) * 512 + (512 + 1) * 256 + 256 + 1,  # 533,505
    ("mlp", "discriminator", 10, "concat"): 533_505 + 10 * 50 + 50 * 512,
    ("mlp", "discriminator", 10, "projection"): 533_505 + 10 * 256,
}


@pytest.mark.parametrize("case", COUNTS, ids=lambda case: "-".join(map(str, case)))
def test_parameter_counts_at_the_default_fields(case):
    model, role, classes, *conditioning = *case, *(0,)[len(case) - 2 :]
    labels = jnp.zeros(2, jnp.int32) if classes else None
    if role == "generator":
        network, x = MODELS[model].Generator((28, 28, 1), classes), jnp.zeros((2, 100))
    else:
        fields = {"conditioning": conditioning[0]} if conditioning else {}
        network = MODELS[model].Discriminator(classes, **fields)
        x = jnp.zeros((2, 28, 28, 1))
    variables = jax.eval_shape(
        lambda key: network.init(key, x, labels, train=True), jax.random.key(0)
    )
    assert count(variables["params"]) == COUNTS[case]


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_dcgans_first_weights(norm):
    # Radford et al. 2016, section 3: N(0, 0.02^2). Without normalisation He et al. 2015's, sqrt(2 /
    # inputs), but for the last layers. The label's embedding stands beside z and is N(0, 1).
    for network, x in zip(
        networks("dcgan", (8, 8, 3), 50, {"norm": norm}, {"width": 16, "norm": norm}),
        (jnp.zeros((2, 50)), jnp.zeros((2, 8, 8, 3))),
        strict=True,
    ):
        labels = jnp.zeros(2, jnp.int32)
        params = network.init(jax.random.key(0), x, labels, train=True)["params"]
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            layer, kind = path[0].key, path[-1].key
            if kind in ("bias", "scale"):
                assert set(leaf.tolist()) == {float(kind == "scale")}
                continue
            std = {"LabelledLatent_0": 1, "ConvTranspose_0": 0.02, "Logit_0": 0.02}.get(layer)
            std = std or (0.02 if norm == "batch" else np.sqrt(2 / np.prod(leaf.shape[:-1])))
            error = 1 / np.sqrt(2 * leaf.size)  # of a standard deviation, relative
            np.testing.assert_allclose(np.std(leaf), std, rtol=4 * error)


# --------------------------------------------------------------------------------------------------
# Labels


@both_models
def test_labels_change_the_generators_images(model):
    generator, _ = networks(model, num_classes=num_classes)
    z, zeros = normal(4, z_dim), jnp.zeros(4, jnp.int32)
    variables = start(generator, z, zeros)
    first, second = (
        run(generator, variables, z, labels)[0] for labels in (zeros, zeros.at[1].set(2))
    )
    changed = np.abs(first - second).max((1, 2, 3))
    assert changed[1] > 0.01 and not changed[[0, 2, 3]].any()


@both_models
@both_conditionings
def test_labels_change_the_discriminators_logits(model, conditioning):
    fields = {"conditioning": conditioning}
    _, discriminator = networks(model, num_classes=num_classes, discriminator=fields)
    x, zeros = normal(4, 16, 16, 1), jnp.zeros(4, jnp.int32)
    variables = start(discriminator, x, zeros)
    first, second = (
        run(discriminator, variables, x, labels)[0] for labels in (zeros, zeros.at[1].set(2))
    )
    changed = np.abs(first - second)
    assert changed[1] > 0.01 and not changed[[0, 2, 3]].any()


@both_models
def test_the_projection_is_the_inner_product_of_features_and_the_labels_embedding(model):
    # Miyato and Koyama 2018, equation 3: D(x, y) = w^T f + bias + v_y^T f, f the last features.
    fields = {"conditioning": "projection", "norm": "none"}
    _, discriminator = networks(model, (8, 8, 1), num_classes, discriminator=fields)
    x, labels = normal(5, 8, 8, 1), jnp.array([2, 0, 1, 2, 2])
    variables = start(discriminator, x, labels)
    hidden = lambda module, _: isinstance(module, Conv | nn.Dense)  # noqa: E731
    logits, captured = discriminator.apply(
        variables, x, labels, train=False, mutable="intermediates", capture_intermediates=hidden
    )
    name = {"dcgan": "Conv_0", "mlp": "Dense_0"}[model]  # the one layer before the last
    f = np.asarray(captured["intermediates"][name]["__call__"][0], np.float64).reshape(5, -1)
    f = np.where(f > 0, f, 0.2 * f)
    last = variables["params"]["Logit_0"]
    w, bias = last["Dense_0"]["kernel"][:, 0], last["Dense_0"]["bias"]
    v = last["Embed_0"]["embedding"][labels]
    assert np.abs(np.sum(v * f, 1)).min() > 1e-3  # the term matters
    np.testing.assert_allclose(logits, f @ w + bias + np.sum(v * f, 1), rtol=1e-4, atol=1e-6)


@both_models
@pytest.mark.parametrize("classes", [0, num_classes])
def test_an_unknown_conditioning_is_the_users_error(model, classes):
    _, discriminator = networks(
        model, num_classes=classes, discriminator={"conditioning": "projektion"}
    )
    with pytest.raises(UserError, match=r"conditioning: .*'projektion'.*'projection'.*concat"):
        start(discriminator, jnp.zeros((2, 16, 16, 1)), jnp.zeros(2, jnp.int32))


# --------------------------------------------------------------------------------------------------
# Normalisation


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, labels, train):
        return normalise("batch", x, train)


def test_batch_norm_by_hand():
    x = np.float32(3 * np.random.default_rng(0).normal(size=(16, 5)) + 2)
    scale, bias = np.float32([1, 2, 3, 4, 5]), np.float32([0, 1, -1, 2, 0])
    mean, var = np.mean(x, 0), np.var(x, 0)
    variables = {
        "params": {"BatchNorm_0": {"scale": scale, "bias": bias}},
        "batch_stats": {"BatchNorm_0": {"mean": jnp.zeros(5), "var": jnp.ones(5)}},
    }
    y, stats = run(Normalised(), variables, x, train=True)
    expected = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stats["BatchNorm_0"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["BatchNorm_0"]["var"], 0.9 + 0.1 * var, rtol=1e-5)

    y, untouched = run(Normalised(), {**variables, "batch_stats": stats}, x, train=False)
    expected = (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * var + 1e-5) * scale + bias
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, untouched, stats)


@both_models
def test_train_says_which_statistics_a_network_uses_and_whether_it_updates_them(model):
    for network, x in zip(
        networks(model, discriminator={"norm": "batch"}),
        (normal(4, z_dim), normal(4, 16, 16, 1)),
        strict=True,
    ):
        variables = start(network, x)
        before = variables["batch_stats"]
        others = x.at[1:].multiply(3)  # the first example stays, the batch's statistics change

        (y, after), (z, _) = (run(network, variables, x, train=True) for x in (x, others))
        assert np.abs(y[0] - z[0]).max() > 1e-3
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after)
        assert min(jax.tree.leaves(moved)) > 0

        (y, after), (z, _) = (run(network, variables, x, train=False) for x in (x, others))
        np.testing.assert_allclose(y[0], z[0], rtol=1e-4, atol=1e-6)
        jax.tree.map(np.testing.assert_array_equal, before, after)


@both_models
def test_without_norm_there_are_biases_and_no_statistics(model):
    none = {"norm": "none"}
    for network, x in zip(
        networks(model, generator=none, discriminator=none),
        (normal(4, z_dim), normal(4, 16, 16, 1)),
        strict=True,
    ):
        variables = start(network, x)
        assert variables.keys() == {"params"}
        layers = [dict(layer) for layer in variables["params"].values()]
        layers = [layer.get("Dense_0", layer) for layer in layers]  # Logit's is one level down
        assert all(layer.keys() == {"kernel", "bias"} for layer in layers)


@both_models
def test_an_unknown_norm_is_the_users_error(model):
    bad = {"norm": "bach"}
    for network, x in zip(
        networks(model, generator=bad, discriminator=bad),
        (normal(4, z_dim), normal(4, 16, 16, 1)),
        strict=True,
    ):
        with pytest.raises(UserError, match=r"norm: .*'bach'.*'batch'.*none"):
            start(network, x)
