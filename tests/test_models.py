"""The networks: shapes, labels, normalisation, sizes; pinned parameter counts."""

import dataclasses
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.models import conditions, dcgan, heads, layers, mlp, r3gan, resnet, sagan
from jaxgan.models.choices import CHOICES
from jaxgan.models.layers import Conv, Dense
from jaxgan.models.norms import BatchNorm, normalise

MODELS = {"dcgan": dcgan, "mlp": mlp, "resnet": resnet, "sagan": sagan, "r3gan": r3gan}
NARROW = {  # fields of both players
    "dcgan": {"width": 4},
    "mlp": {"features": (8,)},
    "resnet": {"width": 4},
    "sagan": {"width": 4},
}
all_models = pytest.mark.parametrize("model", MODELS)
image_models = pytest.mark.parametrize("model", [name for name in MODELS if name != "mlp"])
NORMALISED = [name for name in MODELS if name != "r3gan"]
both_models = pytest.mark.parametrize("model", ["dcgan", "mlp"])
both_conditionings = pytest.mark.parametrize("conditioning", ["projection", "concat"])
z_dim, num_classes = 6, 3


def networks(model, shape=(16, 16, 1), num_classes=0, generator=(), discriminator=()):
    if model == "r3gan":
        stages = 1 + layers.pyramid(shape, model)[1]
        narrow = {"widths": (8,) * stages, "cardinalities": (2,) * stages}
    else:
        narrow = NARROW[model]
    return (
        MODELS[model].Generator(shape, num_classes, **{**narrow, **dict(generator)}),
        MODELS[model].Discriminator(num_classes, **{**narrow, **dict(discriminator)}),
    )


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def start(network, x, labels=None, scale=0.3):
    """Variables with random params (biases too) and fresh statistics."""
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), x, labels, train=True))
    random = np.random.default_rng(0)
    draw = lambda leaf: jnp.float32(scale * random.normal(size=leaf.shape))  # noqa: E731
    value = {"var": 1.0, "u": 1.0, "sigma": 1.0}  # a power iteration makes u a unit vector
    fresh = lambda path, leaf: jnp.full(leaf.shape, value.get(path[-1].key, 0.0))  # noqa: E731
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


SIZES = [8, 14, 20, 28, 32, 48, 64]


def shapes(generator, discriminator, b=2):
    """Of the images, and of what the discriminator gives for them; all float32."""
    labels = jnp.zeros(b, jnp.int32) if generator.num_classes else None

    def run(key):
        fake, _ = generator.init_with_output(key, jnp.zeros((b, z_dim)), labels, train=True)
        output, _ = discriminator.init_with_output(key, fake, labels, train=True)
        return fake, output

    outputs = jax.eval_shape(run, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {np.dtype("float32")}
    return jax.tree.map(lambda leaf: leaf.shape, outputs)


@all_models
@pytest.mark.parametrize("size, channels", [*((size, 1) for size in SIZES), (8, 3), (128, 3)])
def test_shapes(model, size, channels):
    shape = (size, size, channels)
    assert shapes(*networks(model, shape)) == ((2, *shape), (2,))


OUTPUTS = {"classes": num_classes, "twin": num_classes, "embedding": 128, "proxy": 128}


@all_models
@pytest.mark.parametrize("conditioning", heads.CONDITIONINGS)
def test_shapes_with_labels(model, conditioning):
    shape = (28, 28, 1)
    fields = {"conditioning": conditioning}
    fake, output = shapes(*networks(model, shape, num_classes, discriminator=fields))
    outputs = {name: (2, OUTPUTS[name]) for name in heads.CONDITIONINGS[conditioning]}
    assert fake == (2, *shape) and output == (((2,), outputs) if outputs else (2,))


@pytest.mark.parametrize("model", NORMALISED)
@pytest.mark.parametrize(
    "norm, conditioning, weight_norm",
    [
        ("layer", "norm", "spectral"),
        ("self_modulated", "norm", "weight"),
        ("self_modulated", "embedding", "spectral"),
        ("pixel", "concat", "weight"),
    ],
)
def test_norms_conditionings_and_normalised_weights_go_together(
    model, norm, conditioning, weight_norm
):
    shape = (16, 16, 1)
    fields = {"norm": norm, "conditioning": conditioning, "weight_norm": weight_norm}
    critic = {"norm": "layer", "weight_norm": weight_norm}
    players = networks(model, shape, num_classes, fields, critic)
    assert shapes(*players) == ((2, *shape), (2,))


@image_models
def test_points_are_for_mlp(model):
    fields = {"widths": (8, 8)} if model == "r3gan" else {}
    with pytest.raises(UserError, match=rf"^model\.name: {model} draws images.*mlp draws points"):
        start(MODELS[model].Generator((2,), **fields), jnp.zeros((2, z_dim)))


@image_models
@pytest.mark.parametrize("size", [27, 30, 6, 4])
def test_a_size_that_a_model_cannot_make_is_the_users_error(model, size):
    generator = MODELS[model].Generator((size, size, 1))
    with pytest.raises(UserError, match=rf"^data\.image_size: {model} .* {size}; .* 28, 32, 40"):
        start(generator, jnp.zeros((2, z_dim)))


def test_the_sizes_that_the_error_names_are_those_that_can_be_made():
    with pytest.raises(UserError) as error:
        layers.pyramid((27, 27, 1), "dcgan")
    named = [int(size) for size in str(error.value).split("work: ")[1].split(", ")]
    assert named[0] == 8 and {14, 28, 32, 64, 256} <= set(named)
    for size in range(1, named[-1] + 1):
        if size in named:
            base, levels = layers.pyramid((size, size, 1), "dcgan")
            assert base * 2**levels == size and 4 <= base < 8
        else:
            with pytest.raises(UserError):
                layers.pyramid((size, size, 1), "dcgan")


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
    # 7 x 7 x 256; two blocks of BatchNorms, 3 x 3 twice and a 1 x 1; BatchNorm, 3 x 3 to 1
    ("resnet", "generator"): (
        101 * 12544 + 2 * (4 * 256 + 2 * (9 * 256 + 1) * 256 + 257 * 256) + 2 * 256 + 9 * 256 + 1
    ),
    # the labels' gains and biases in place of the blocks' own
    ("resnet", "generator", 10): 3_763_713 + 2 * 4 * 256 * (10 - 1),
    # 3 x 3 twice and a 1 x 1 with 1 channel, then 128; two blocks without 1 x 1
    ("resnet", "discriminator"): (
        (10 * 128 + (9 * 128 + 1) * 128 + 2 * 128)
        + (2 * (9 * 128 + 1) * 128 + 129 * 128)
        + 2 * 2 * (9 * 128 + 1) * 128
        + 129
    ),
    ("resnet", "discriminator", 10, "acgan"): 1_051_265 + 129 * 10,
    # the resnet at width 64; queries, keys, values, output, gamma
    ("sagan", "generator"): (
        (101 * 3136 + 2 * (4 * 64 + 2 * (9 * 64 + 1) * 64 + 65 * 64) + 2 * 64 + 9 * 64 + 1)
        + (2 * 64 * 8 + 2 * 64 * 32 + 1)
    ),
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
    assert parameters(network, x, labels) == COUNTS[case]


def parameters(network, x, labels=None):
    variables = jax.eval_shape(
        lambda key: network.init(key, x, labels, train=True), jax.random.key(0)
    )
    return count(variables["params"])


# SNGAN, appendix B.4: (pixels, width, blocks' features) of the generator's table and the
# discriminator's, where a pair marks a block that keeps the map's size, and with None the width.
TABLES = [
    (32, 256, [256, 256, 256, 256], 128, [128, 128, (128, None), (128, None)]),
    (48, 64, [512, 256, 128, 64], 64, [64, 128, 256, 512, (1024, "wider")]),
    (128, 64, [1024, 1024, 512, 256, 128, 64], 64, [64, 128, 256, 512, 1024, (1024, None)]),
]


@pytest.mark.parametrize("size, g_width, g_table, d_width, d_table", TABLES)
def test_resnets_have_the_tables_of_sngan(size, g_width, g_table, d_width, d_table):
    shape, z = (size, size, 3), 128
    base = size // 2 ** (len(g_table) - 1)
    expected = (z + 1) * base**2 * g_table[0]
    for i, o in itertools.pairwise(g_table):
        expected += 2 * (i + o) + (9 * i + 1) * o + (9 * o + 1) * o + (i + 1) * o
    expected += 2 * g_table[-1] + (9 * g_table[-1] + 1) * 3
    generator = resnet.Generator(shape, width=g_width)
    assert parameters(generator, jnp.zeros((2, z))) == expected

    i, expected = 3, 0
    for row in d_table:
        o, kept = row if isinstance(row, tuple) else (row, "neither")
        inner = o if i == 3 else i
        expected += (9 * i + 1) * inner + (9 * inner + 1) * o + (kept is not None) * (i + 1) * o
        i = o
    discriminator = resnet.Discriminator(width=d_width)
    assert parameters(discriminator, jnp.zeros((2, *shape))) == expected + i + 1
    if size == 32:  # as counted for the author's code
        assert parameters(generator, jnp.zeros((2, z))) == 4_276_739
        assert expected + i + 1 == 1_053_825


def test_r3gan_has_the_parameters_of_config_e():
    # Huang et al. 2024's roadmap for FFHQ-256: 23.058 and 23.010 million. Ours has one more in the
    # discriminator, the logit's bias.
    fields = {
        "widths": (768,) * 4 + (384, 192, 96),
        "cardinalities": (96,) * 4 + (48, 24, 12),
    }
    generator = r3gan.Generator((256, 256, 3), **fields)
    assert round(parameters(generator, jnp.zeros((2, 64))) / 1e6, 3) == 23.058
    discriminator = r3gan.Discriminator(**fields)
    assert round(parameters(discriminator, jnp.zeros((2, 256, 256, 3))) / 1e6, 3) == 23.010


def test_toy_networks_of_other_papers():
    # PacGAN's generator and discriminator for the ring: 484,802 and 405,201 parameters, of which
    # 3,200 are BatchNorm's; unrolled GANs' have 2 layers of 128.
    wide = {"features": (400,) * 4, "initial": "normal"}
    assert parameters(mlp.Generator((2,), **wide), jnp.zeros((2, 2))) == 484_802
    maxout = {"features": (200,) * 3, "activation": "maxout", "pieces": 5, "initial": "normal"}
    assert parameters(mlp.Discriminator(**maxout), jnp.zeros((2, 2))) == 405_201
    tanh = {"features": (128, 128), "activation": "tanh", "initial": "orthogonal", "gain": 1.4}
    generator = mlp.Generator((2,), norm="none", **tanh)
    assert parameters(generator, jnp.zeros((2, 256))) == 257 * 128 + 129 * 128 + 129 * 2
    discriminator = mlp.Discriminator(**tanh)
    assert parameters(discriminator, jnp.zeros((2, 2))) == 3 * 128 + 129 * 128 + 129


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


@pytest.mark.parametrize(
    "model, conditioning",
    [("r3gan", None), *itertools.product(NORMALISED, conditions.CONDITIONINGS)],
)
def test_labels_change_the_generators_images(model, conditioning):
    fields = {"norm": "batch", "conditioning": conditioning} if conditioning else {}
    generator, _ = networks(model, (8, 8, 1), num_classes, fields)
    z, zeros = normal(4, z_dim), jnp.zeros(4, jnp.int32)
    variables = start(generator, z, zeros)
    first, second = (
        run(generator, variables, z, labels)[0] for labels in (zeros, zeros.at[1].set(2))
    )
    changed = np.abs(first - second).max((1, 2, 3))
    assert changed[1] > 0.01 and not changed[[0, 2, 3]].any()


@all_models
@both_conditionings
def test_labels_change_the_discriminators_logits(model, conditioning):
    fields = {"conditioning": conditioning}
    _, discriminator = networks(model, (8, 8, 1), num_classes, discriminator=fields)
    x, zeros = normal(4, 8, 8, 1), jnp.zeros(4, jnp.int32)
    variables = start(discriminator, x, zeros)
    first, second = (
        run(discriminator, variables, x, labels)[0] for labels in (zeros, zeros.at[1].set(2))
    )
    changed = np.abs(first - second)
    assert changed[1] > 0.003 and not changed[[0, 2, 3]].any()


@all_models
def test_the_adversarial_logit_of_classifying_networks_sees_no_label(model):
    fields = {"conditioning": "contragan"}
    _, discriminator = networks(model, (8, 8, 1), num_classes, discriminator=fields)
    x, labels = normal(4, 8, 8, 1), jnp.array([0, 1, 2, 0])
    variables = start(discriminator, x, labels)
    apply = functools.partial(discriminator.apply, train=False)
    first, second = (jax.jit(apply)(variables, x, labels) for labels in (labels, labels[::-1]))
    np.testing.assert_array_equal(first[0], second[0])
    for name in first[1].keys() - {"proxy"}:
        np.testing.assert_array_equal(first[1][name], second[1][name])


@both_models
def test_the_projection_is_the_inner_product_of_features_and_the_labels_embedding(model):
    # Miyato and Koyama 2018, equation 3: D(x, y) = w^T f + bias + v_y^T f, f the last features.
    fields = {"conditioning": "projection", "norm": "none"}
    _, discriminator = networks(model, (8, 8, 1), num_classes, discriminator=fields)
    x, labels = normal(5, 8, 8, 1), jnp.array([2, 0, 1, 2, 2])
    variables = start(discriminator, x, labels)
    hidden = lambda module, _: isinstance(module, Conv | Dense)  # noqa: E731
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


def test_r3gans_projection_is_all_of_the_logit():
    fields = {"conditioning": "projection"}
    _, discriminator = networks("r3gan", (8, 8, 1), num_classes, discriminator=fields)
    x, labels = normal(5, 8, 8, 1), jnp.array([2, 0, 1, 2, 2])
    variables = start(discriminator, x, labels)
    dense = lambda module, _: isinstance(module, Dense)  # noqa: E731
    logits, captured = discriminator.apply(
        variables, x, labels, train=False, mutable="intermediates", capture_intermediates=dense
    )
    features = captured["intermediates"]["Dense_0"]["__call__"][0]
    embedding = variables["params"]["Embed_0"]["embedding"]
    assert (
        features.shape == (5, embedding.shape[1]) and "bias" not in variables["params"]["Dense_0"]
    )
    np.testing.assert_allclose(logits, jnp.sum(features * embedding[labels], 1), rtol=1e-5)


@all_models
@pytest.mark.parametrize("classes", [0, num_classes])
def test_an_unknown_conditioning_is_the_users_error(model, classes):
    _, discriminator = networks(
        model, num_classes=classes, discriminator={"conditioning": "projektion"}
    )
    with pytest.raises(UserError, match=r"conditioning: .*'projektion'.*'projection'.*concat"):
        start(discriminator, jnp.zeros((2, 16, 16, 1)), jnp.zeros(2, jnp.int32))
    if model != "r3gan":
        generator, _ = networks(model, num_classes=classes, generator={"conditioning": "nrm"})
        with pytest.raises(UserError, match=r"^model\.generator\.conditioning: .*'nrm'.*'norm'"):
            start(generator, jnp.zeros((2, z_dim)), jnp.zeros(2, jnp.int32))


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


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("shape", [(16, 5), (3, 4, 6, 5)])
def test_batch_norm_is_flaxs(shape, train):
    x, weights = jnp.float32(np.random.default_rng(0).normal(1, 2, size=(2, *shape)))
    ours, theirs = BatchNorm(0.9), nn.BatchNorm(not train, momentum=0.9)
    variables = theirs.init(jax.random.key(0), x)
    assert jax.tree.structure(ours.init(jax.random.key(0), x, True)) == jax.tree.structure(
        variables
    )
    variables = jax.tree.map(lambda v: v + np.arange(5, dtype=np.float32) / 7, variables)

    def loss(layer, *arguments):
        def of(params, x):
            given = {**variables, "params": params}
            y, stats = layer.apply(given, x, *arguments, mutable=["batch_stats"])
            return jnp.sum(weights * y**3), (y, stats)

        return jax.value_and_grad(of, argnums=(0, 1), has_aux=True)(variables["params"], x)

    found, expected = loss(ours, train), loss(theirs)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), found, expected
    )


def test_passes_of_the_same_latents_become_one():
    generator = mlp.Generator((2,), features=(8, 8))
    z = jnp.ones((4, 2))
    variables = generator.init(jax.random.key(0), z, None, train=True)

    def generate(params):
        given = {**variables, "params": params}
        return generator.apply(given, z, None, train=True, mutable=["batch_stats"])[0]

    loss = lambda params: jnp.sum(jnp.sin(generate(params)))  # noqa: E731
    both = lambda params: (generate(params), jax.grad(loss)(params))  # noqa: E731
    products = [
        jax.jit(f).lower(variables["params"]).compile().as_text().count(" dot(")
        for f in (jax.grad(loss), both)
    ]
    assert products[0] == products[1]


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


@pytest.mark.parametrize("model", NORMALISED)
def test_an_unknown_norm_is_the_users_error(model):
    bad = {"norm": "bach"}
    for network, x in zip(
        networks(model, generator=bad, discriminator=bad),
        (normal(4, z_dim), normal(4, 16, 16, 1)),
        strict=True,
    ):
        with pytest.raises(UserError, match=r"norm: .*'bach'.*'batch'.*none"):
            start(network, x)


# --------------------------------------------------------------------------------------------------
# Fields


@pytest.mark.parametrize("role", CHOICES)
def test_every_field_that_is_a_name_is_among_the_choices(role):
    networks = [getattr(model, role.capitalize(), None) for model in MODELS.values()]
    for network in filter(None, networks):
        for field in dataclasses.fields(network):
            if type(field.default) is str:
                assert field.default in CHOICES[role][field.name]


def test_initial_weights_of_mlp():
    def kernels(initial, gain):
        fields = {"features": (64,), "initial": initial, "gain": gain}
        network = mlp.Discriminator(**fields)
        params = jax.jit(functools.partial(network.init, train=True))(
            jax.random.key(0), jnp.zeros((2, 100)), None
        )["params"]
        return np.float64(params["Dense_0"]["kernel"]), params["Logit_0"]["Dense_0"]["kernel"]

    for initial, std, last in [("default", 2 / np.sqrt(100), 0.02), ("normal", 0.04, 0.04)]:
        first, logit = kernels(initial, 2.0)
        np.testing.assert_allclose(np.std(first), std, rtol=0.05)
        np.testing.assert_allclose(np.std(logit), last, rtol=0.4)
    first, logit = kernels("orthogonal", 1.4)
    np.testing.assert_allclose(first.T @ first, 1.96 * np.eye(64), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(logit), 1.4, rtol=1e-4)


def test_activations_of_mlp():
    x = normal(3, 5)
    for name, function in {
        "relu": lambda y: np.maximum(y, 0),
        "tanh": np.tanh,
        "leaky_relu": lambda y: np.maximum(y, 0.2 * y),
        "maxout": lambda y: y.reshape(3, 2, 4).max(1),
    }.items():
        features = {"features": (4,), "pieces": 2, "activation": name}
        network = mlp.Discriminator(**features)
        variables = start(network, x)
        hidden, last = variables["params"]["Dense_0"], variables["params"]["Logit_0"]["Dense_0"]
        dense = lambda x, p: x @ np.asarray(p["kernel"]) + np.asarray(p["bias"])[None]  # noqa: E731
        expected = dense(function(dense(np.asarray(x), hidden)), last)[:, 0]
        np.testing.assert_allclose(run(network, variables, x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("role", ["generator", "discriminator"])
@pytest.mark.parametrize(
    "fields, text",
    [
        ({"widths": (8, 8)}, r"widths: 16 pixels are 3 stages from 4 x 4 up.* 2 widths"),
        ({"cardinalities": (2, 2)}, r"cardinalities: there are 3 widths and 2"),
        ({"cardinalities": (2, 3, 2)}, r"cardinalities: 3 groups do not divide 2 x 8"),
    ],
)
def test_r3gans_fields_must_fit_the_image(role, fields, text):
    network = networks("r3gan", (16, 16, 1), **{role: fields})[role == "discriminator"]
    x = jnp.zeros((2, 16, 16, 1) if role == "discriminator" else (2, z_dim))
    with pytest.raises(UserError, match=rf"^model\.{role}\.{text}"):
        start(network, x)


# --------------------------------------------------------------------------------------------------
# Precision, derivatives


@pytest.mark.parametrize("model", ["dcgan", "mlp", "sagan", "r3gan"])  # sagan has resnet's blocks
@pytest.mark.parametrize("role", ["generator", "discriminator"])
def test_bfloat16_is_close_and_comes_out_as_float32(model, role):
    # As the trainer does it: params and inputs are cast, statistics are not.
    network = networks(model, (8, 8, 1), num_classes)[role == "discriminator"]
    x = normal(8, z_dim) if role == "generator" else jnp.tanh(normal(8, 8, 8, 1))
    labels = jnp.arange(8) % num_classes
    variables = start(network, x, labels)
    cast = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)  # noqa: E731
    call = jax.jit(
        functools.partial(network.apply, train=True, mutable=["batch_stats", "spectral"])
    )
    expected, _ = call(variables, x, labels)
    y, updated = call({**variables, "params": cast(variables["params"])}, cast(x), labels)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((y, updated))}
    assert dtypes == {np.dtype("float32")}
    error = np.sqrt(np.mean(np.square(y - expected)) / np.mean(np.square(expected)))
    assert 0 < error < 0.06


@pytest.mark.parametrize("model", ["sagan", "r3gan"])
def test_a_gradient_penalty_has_gradients(model):
    _, discriminator = networks(model, (8, 8, 1))
    x = normal(2, 8, 8, 1)
    variables = start(discriminator, x)

    def penalty(params):
        logits = lambda x: jnp.sum(  # noqa: E731
            discriminator.apply(
                {**variables, "params": params}, x, None, train=True, mutable="batch_stats"
            )[0]
        )
        return jnp.sum(jnp.square(jax.grad(logits)(x)))

    gradient = jax.jit(jax.grad(penalty))(variables["params"])
    norms = [float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(gradient)]
    assert np.isfinite(norms).all() and max(norms) > 1e-4


@pytest.mark.parametrize(
    "model",
    ["r3gan", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet", "sagan"))],
)
def test_blocks_that_forget_give_the_same_gradients_in_more_products(model):
    x, z, labels = normal(2, 16, 16, 1), normal(2, z_dim), jnp.arange(2)
    found = {}
    for remat in (False, True):
        generator, discriminator = networks(
            model, (16, 16, 1), num_classes, {"remat": remat}, {"remat": remat}
        )
        variables = [start(generator, z, labels), start(discriminator, x, labels)]

        def loss(params, stats, network, x):
            out, after = network.apply(
                {**stats, "params": params}, x, labels, train=True, mutable=list(stats)
            )
            return jnp.sum(jnp.sin(out)), after

        found[remat] = []
        for network, all_of, inputs in zip(
            (generator, discriminator), variables, (z, x), strict=True
        ):
            stats = {name: part for name, part in all_of.items() if name != "params"}
            slope = jax.jit(jax.grad(loss, has_aux=True), static_argnums=2)
            arguments = all_of["params"], stats, network, inputs
            text = slope.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
            found[remat].append((slope(*arguments), text.count("stablehlo.convolution")))
    for (kept, few), (anew, more) in zip(*found.values(), strict=True):
        assert more > few
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), kept, anew
        )


def test_maxout_has_the_largest_pieces_slopes_of_both_orders():
    x = jax.random.normal(jax.random.key(0), (4, 5, 3))
    stock = lambda x: jnp.max(x, 1)  # noqa: E731

    def of(maxout):
        value = lambda x: jnp.sum(jnp.sin(maxout(x)) ** 2)  # noqa: E731
        slope = jax.grad(value)
        return value(x), slope(x), jax.grad(lambda x: jnp.sum(slope(x) ** 2))(x)

    for found, expected in zip(of(mlp.maxout), of(stock), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    tied = jax.grad(lambda x: jnp.sum(mlp.maxout(x)))(jnp.zeros((1, 2, 1)))
    np.testing.assert_array_equal(tied, jnp.ones((1, 2, 1)))
