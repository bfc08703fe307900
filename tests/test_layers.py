"""What networks are made of: weights, norms, conditions, heads, attention, resampling."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax import lax

from jaxgan.errors import UserError
from jaxgan.models import r3gan, resnet
from jaxgan.models.conditions import condition
from jaxgan.models.heads import CONDITIONINGS, Head
from jaxgan.models.layers import Conv, ConvTranspose, Dense, Embed, dropout
from jaxgan.models.norms import Condition, normalise
from jaxgan.models.sagan import SelfAttention, attended_map, max_pool
from jaxgan.ops.conv import conv, conv_transpose

key = jax.random.key(0)


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def start(module, *args):
    """Its variables."""
    return jax.jit(module.init)(key, *args)


def shapes(module, *args):
    """Its params' shapes."""
    return jax.eval_shape(lambda: module.init(key, *args))["params"]


def randomise(tree, seed=0, scale=0.5):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.float32(scale * random.normal(size=leaf.shape)), tree)


def half(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)


class Dropped(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x):
        return dropout(self, x, self.rate)


def test_dropout_keeps_the_mean():
    x = jnp.full((100, 100), 3.0)
    y = Dropped(0.2).apply({}, x, rngs={"dropout": key})
    assert set(np.unique(y)) == {0, np.float32(3 / 0.8)}
    np.testing.assert_allclose(np.mean(y == 0), 0.2, atol=0.02)  # five deviations
    assert Dropped(0.2).apply({}, x) is x
    assert Dropped(0.0).apply({}, x, rngs={"dropout": key}) is x


# --------------------------------------------------------------------------------------------------
# Weights

LAYERS = {  # the layer, its input, its map of (input, kernel)
    "conv": (functools.partial(Conv, 6, 3), normal(2, 5, 5, 4), conv),
    "transpose": (
        functools.partial(ConvTranspose, 6, 4),
        normal(2, 5, 5, 4),
        functools.partial(conv_transpose, stride=2),
    ),
    "dense": (functools.partial(Dense, 6), normal(3, 4), jnp.matmul),
    "embed": (functools.partial(Embed, 4, 6), jnp.array([3, 0, 3]), lambda x, w: w[x]),
}
each_layer = pytest.mark.parametrize("name", LAYERS)
most_layers = pytest.mark.parametrize("name", ["conv", "dense", "embed"])


def built(name, weight_norm):
    """The layer with its input, its variables and the name of its weight."""
    make, x, function = LAYERS[name]
    layer = make(weight_norm=weight_norm)
    return layer, x, start(layer, x), "embedding" if name == "embed" else "kernel", function


@pytest.mark.parametrize(
    "ours, flax, x",
    [(Dense(5), nn.Dense(5), normal(3, 4)), (Embed(4, 6), nn.Embed(4, 6), jnp.array([3, 0]))],
)
def test_plain_layers_begin_and_work_as_flaxs(ours, flax, x):
    (y, variables), (z, theirs) = (layer.init_with_output(key, x) for layer in (ours, flax))
    jax.tree.map(np.testing.assert_array_equal, variables, theirs)
    np.testing.assert_array_equal(y, z)


@most_layers
def test_spectral_norm_comes_to_the_largest_singular_value(name):
    layer, x, variables, weight, function = built(name, "spectral")
    w = randomise(variables["params"])[weight]
    variables["params"][weight] = w

    def call(spectral, _):
        out, updated = layer.apply({**variables, "spectral": spectral}, x, mutable="spectral")
        return updated["spectral"], out

    spectral, outputs = lax.scan(call, variables["spectral"], None, length=300)
    sigma = np.linalg.svd(np.reshape(w, (-1, w.shape[-1])), compute_uv=False)[0]
    np.testing.assert_allclose(spectral["sigma"], sigma, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(spectral["u"]), 1, rtol=1e-5)
    # So the weight in use has norm 1.
    expected = function(x, w / sigma)
    np.testing.assert_allclose(outputs[-1], expected, rtol=2e-3, atol=1e-5)
    assert np.abs(expected - function(x, w)).max() > 0.1


def test_a_call_makes_one_power_iteration_and_keeps_it_only_where_it_may():
    # Miyato et al. 2018, algorithm 1
    layer, x, variables, _, _ = built("dense", "spectral")
    w, u = np.float64(normal(4, 6, seed=1)), np.float64(np.eye(6)[2])
    variables["params"]["kernel"] = jnp.float32(w)
    variables["spectral"] = {"u": jnp.float32(u), "sigma": jnp.float32(7)}
    v = w @ u / np.linalg.norm(w @ u)
    u = w.T @ v / np.linalg.norm(w.T @ v)

    y, updated = layer.apply(variables, x, mutable="spectral")
    np.testing.assert_allclose(updated["spectral"]["u"], u, rtol=1e-5)
    np.testing.assert_allclose(updated["spectral"]["sigma"], v @ w @ u, rtol=1e-5)
    np.testing.assert_allclose(y, x @ w / (v @ w @ u), rtol=1e-4, atol=1e-6)

    for mutable in ([], ["batch_stats"]):
        z, updated = layer.apply(variables, x, mutable=mutable)
        assert not updated
        np.testing.assert_array_equal(y, z)


@each_layer
def test_training_begins_with_nearly_the_right_sigma(name):
    _, _, variables, weight, _ = built(name, "spectral")
    w = variables["params"][weight]
    sigma = np.linalg.svd(np.reshape(w, (-1, w.shape[-1])), compute_uv=False)[0]
    assert 0.95 * sigma < variables["spectral"]["sigma"] <= 1.0001 * sigma


@pytest.mark.parametrize("converged", [True, False])
def test_the_gradient_of_spectral_norm(converged):
    # Miyato et al. 2018, equation 12: (G - lambda v u^T) / sigma, where G is the gradient with
    # respect to the normalised weight and lambda its inner product with it; u and v are held fixed
    # also where the power iteration has not converged.
    layer, x, variables, _, _ = built("dense", "spectral")
    w = normal(4, 6, seed=1)
    u = np.linalg.svd(np.float64(w))[2][0] if converged else np.eye(6)[2]
    variables["spectral"] = {"u": jnp.float32(u), "sigma": jnp.float32(1)}
    loss = lambda y: jnp.sum(jnp.sin(y))  # noqa: E731

    def ours(w):
        return loss(layer.apply({**variables, "params": {"kernel": w, "bias": jnp.zeros(6)}}, x))

    v = w @ u / np.linalg.norm(w @ u)
    u = w.T @ v / np.linalg.norm(w.T @ v)
    sigma = v @ w @ u
    g = np.float64(jax.grad(lambda w: loss(x @ w))(w / sigma))
    expected = (g - np.sum(g * w / sigma) * np.outer(v, u)) / sigma
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(w), expected, rtol=1e-3, atol=1e-5)
    assert np.abs(g / sigma - expected).max() > 0.05  # the second term matters
    # and so do second derivatives, those of gradient penalties
    second = jax.jit(jax.grad(lambda w: jnp.sum(jax.grad(ours)(w) ** 2)))(w)
    assert np.isfinite(second).all() and np.abs(second).max() > 1e-3


@most_layers
def test_weight_norm(name):
    # Salimans and Kingma 2016, equation 2: w = g v / |v|; equation 3: its gradient by v is
    # orthogonal to v.
    layer, x, variables, weight, function = built(name, "weight")
    params = variables["params"]
    v, g = params[weight], params["g"]
    lengths = np.linalg.norm(np.reshape(v, (-1, v.shape[-1])), axis=0)
    np.testing.assert_allclose(g, lengths, rtol=1e-5)
    call = jax.jit(lambda **new: layer.apply({"params": {**params, **new}}, x))
    np.testing.assert_allclose(call(), function(x, v), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(call(**{weight: 3 * v}), call(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(call(g=2 * g), 2 * call(), rtol=1e-4, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(call(**{weight: v})))))(v)
    along = np.reshape(gradient * v, (-1, v.shape[-1])).sum(0)
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(along, 0, atol=1e-5)


@each_layer
@pytest.mark.parametrize("weight_norm", ["spectral", "weight"])
def test_layers_in_bfloat16_keep_float32_statistics(name, weight_norm):
    layer, x, variables, _, _ = built(name, weight_norm)
    low = {**variables, "params": half(variables["params"])}
    call = jax.jit(functools.partial(layer.apply, mutable="spectral"))
    y, updated = call(low, x if name == "embed" else half(x))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} <= {np.dtype("float32")}
    expected = layer.apply(variables, x)
    np.testing.assert_allclose(np.float32(y), expected, atol=0.03 * float(jnp.abs(expected).max()))


def test_an_unknown_weight_norm_is_the_users_error():
    with pytest.raises(UserError, match=r"weight_norm: .*'spectrum'.*'spectral'.*none.*weight"):
        Dense(3, weight_norm="spectrum").init(key, normal(2, 4))


# --------------------------------------------------------------------------------------------------
# Norms


class Normalised(nn.Module):
    norm: str

    @nn.compact
    def __call__(self, x, given, train=True):
        return normalise(self.norm, x, train, given)


AXES = {"batch": (0, 1, 2), "layer": (1, 2, 3), "instance": (1, 2)}
conditional = pytest.mark.parametrize("norm", AXES)
labels = jnp.array([0, 2, 1, 2])


def standardised(x, axes):
    x = np.float64(x)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def images():
    return 3 * normal(4, 5, 6, 7) + 2


@conditional
def test_norms_by_hand(norm):
    x, layer = images(), Normalised(norm)
    variables = layer.init(key, x, Condition())
    (params,) = variables["params"].values()
    params |= {"scale": normal(7, seed=1), "bias": normal(7, seed=2)}
    y, _ = layer.apply(variables, x, Condition(), mutable="batch_stats")
    expected = standardised(x, AXES[norm]) * np.reshape(params["scale"], (1, 1, 1, 7))
    expected += np.reshape(params["bias"], (1, 1, 1, 7))
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


def test_layer_norm_of_vectors():
    x = 3 * normal(4, 9) + 2
    y, _ = Normalised("layer").init_with_output(key, x, Condition())
    np.testing.assert_allclose(y, standardised(x, 1), rtol=1e-3, atol=1e-4)


def test_pixel_norm_by_hand():
    # Karras et al. 2018, section 4.2
    x = images()
    y, variables = Normalised("pixel").init_with_output(key, x, Condition())
    assert not variables
    expected = x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(y, expected, rtol=1e-5)


@conditional
def test_all_labels_begin_with_gain_one_and_bias_zero_and_learn_their_own(norm):
    x, layer, given = images(), Normalised(norm), Condition(None, labels, 3)
    y, variables = layer.init_with_output(key, x, given)
    np.testing.assert_allclose(y, standardised(x, AXES[norm]), rtol=1e-3, atol=1e-4)
    for label in range(3):  # exactly: in bfloat16 too
        same = Condition(None, jnp.full(4, label), 3)
        z, _ = layer.apply(variables, x, same, mutable="batch_stats")
        np.testing.assert_array_equal(y, z)

    params = variables["params"]["LabelModulation_0"]
    assert {name: p.shape for name, p in params.items()} == {"gain": (3, 7), "bias": (3, 7)}
    gain, bias = normal(7, seed=1), normal(7, seed=2)
    variables["params"]["LabelModulation_0"] = {
        "gain": params["gain"].at[2].set(gain),
        "bias": params["bias"].at[2].set(bias),
    }
    z, _ = layer.apply(variables, x, given, mutable="batch_stats")
    np.testing.assert_array_equal(z[::2], y[::2])
    expected = y[1::2] * (1 + gain).reshape(1, 1, 1, 7) + bias.reshape(1, 1, 1, 7)
    np.testing.assert_allclose(z[1::2], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "self_modulated"])
def test_conditional_batch_norm_has_running_statistics(norm):
    x, z = images(), normal(4, 3)
    given = Condition(z, labels if norm == "batch" else None, 3)
    layer = Normalised(norm)
    variables = layer.init(key, x, given)
    _, updated = layer.apply(variables, x, given, mutable="batch_stats")
    mean, var = np.mean(x, (0, 1, 2)), np.var(x, (0, 1, 2))
    (stats,) = updated["batch_stats"].values()
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-4)
    y = layer.apply({**variables, **updated}, x, given, train=False)
    stats = {name: np.reshape(value, (1, 1, 1, 7)) for name, value in stats.items()}
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


def test_self_modulation_begins_as_batch_norm_and_depends_on_the_latents():
    # Chen et al. 2019, section 2
    x, z, layer = images(), normal(4, 3), Normalised("self_modulated")
    y, variables = layer.init_with_output(key, x, Condition(z))
    plain = standardised(x, (0, 1, 2))
    np.testing.assert_allclose(y, plain, rtol=1e-3, atol=1e-4)

    params = randomise(variables["params"])
    y, _ = layer.apply({**variables, "params": params}, x, Condition(z), mutable="batch_stats")
    (params,) = params.values()
    dense = lambda name, x: x @ params[name]["kernel"] + params[name]["bias"][None]  # noqa: E731
    hidden = np.maximum(dense("Dense_0", z), 0)
    assert hidden.shape == (4, 32)
    gain, bias = (np.reshape(dense(name, hidden), (4, 1, 1, 7)) for name in ("gain", "bias"))
    np.testing.assert_allclose(y, plain * (1 + gain) + bias, rtol=1e-3, atol=1e-3)


def test_norms_that_cannot_be_are_the_users_error():
    with pytest.raises(UserError, match=r"norm: 'self_modulated' needs latents"):
        Normalised("self_modulated").init(key, images(), Condition())
    with pytest.raises(UserError, match=r"norm: 'instance' is over pixels"):
        Normalised("instance").init(key, normal(4, 5), Condition())


@pytest.mark.parametrize("norm", [*AXES, "pixel", "self_modulated"])
@pytest.mark.parametrize("by_label", [True, False])
def test_statistics_of_bfloat16_are_float32(norm, by_label):
    # Far from 0, where bfloat16's own sums and squares would be useless.
    x = half(normal(4, 9, 9, 7) + 20)
    given = Condition(half(normal(4, 3)), labels if by_label else None, 3)
    layer = Normalised(norm)
    variables = layer.init(key, x, given)
    variables["params"] = randomise(variables.get("params", {}))
    call = functools.partial(layer.apply, mutable="batch_stats")
    y, stats = call({**variables, "params": half(variables["params"])}, x, given)
    expected, _ = call(variables, x.astype(jnp.float32), given)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(stats)} <= {np.dtype("float32")}
    np.testing.assert_allclose(np.float32(y), expected, rtol=0.03, atol=0.1)


# --------------------------------------------------------------------------------------------------
# Conditions and heads


class Conditioned(nn.Module):
    conditioning: str
    norm: str
    num_classes: int = 3

    @nn.compact
    def __call__(self, z, labels):
        return condition(self.conditioning, self.norm, z, labels, self.num_classes, 5)


def test_how_labels_meet_the_latents():
    z = normal(4, 6)

    def call(*args):
        return Conditioned(*args).init_with_output(key, z, labels)

    (x, given), variables = call("concat", "none")
    assert not variables
    np.testing.assert_array_equal(x, np.concatenate([z, np.eye(3)[labels]], 1))
    assert given.z is x and given.labels is None

    (x, given), variables = call("embedding", "none")
    table = variables["params"]["LabelledLatent_0"]["Embed_0"]["embedding"]
    np.testing.assert_array_equal(x, np.concatenate([z, table[labels]], 1))
    assert given.z is x and given.labels is None

    (x, given), variables = call("norm", "batch")
    assert not variables and x is z and given.labels is labels and given.num_classes == 3

    (x, given), _ = call("norm", "self_modulated")
    assert x is z and given.z.shape == (4, 11) and given.labels is None

    for conditioning in ("concat", "embedding", "norm"):
        (x, given), variables = call(conditioning, "none", 0)
        assert not variables and x is z and given.labels is None


@pytest.mark.parametrize("norm", ["none", "pixel"])
def test_conditioning_by_a_norm_that_cannot_is_the_users_error(norm):
    with pytest.raises(UserError, match=rf"^model\.generator\.norm: '{norm}' .*batch, layer"):
        Conditioned("norm", norm).init(key, normal(4, 6), labels)


each_head = pytest.mark.parametrize("conditioning", CONDITIONINGS)
WIDTHS = {"classes": 3, "twin": 3, "embedding": 128, "proxy": 128}


@each_head
@pytest.mark.parametrize("weight_norm, dtype", [("none", jnp.float32), ("spectral", jnp.bfloat16)])
def test_heads(conditioning, weight_norm, dtype):
    x, head = normal(4, 9).astype(dtype), Head(3, conditioning, weight_norm)
    variables = start(head, x, labels)
    params = jax.tree.map(lambda p: p.astype(dtype), randomise(variables["params"]))
    call = jax.jit(lambda labels: head.apply({**variables, "params": params}, x, labels))
    (first, outputs), (second, others) = (
        y if isinstance(y, tuple) else (y, {}) for y in (call(labels), call(labels.at[1].set(0)))
    )
    assert tuple(outputs) == CONDITIONINGS[conditioning]
    assert (first.shape, first.dtype) == ((4,), jnp.float32)
    assert {k: (y.shape, y.dtype) for k, y in outputs.items()} == {
        name: ((4, WIDTHS[name]), jnp.float32) for name in outputs
    }
    for name in {"embedding", "proxy"} & outputs.keys():
        np.testing.assert_allclose(np.linalg.norm(outputs[name], axis=-1), 1, rtol=1e-5)
    # Of the label know the projection's logit and the proxy, and those of that example alone.
    for name, before, after in [
        ("logit", first, second),
        *((name, outputs[name], others[name]) for name in outputs),
    ]:
        changed = np.abs(before - after).reshape(4, -1).max(1)
        knows = name == "proxy" or (name == "logit" and conditioning == "projection")
        assert (changed > 1e-3).tolist() == [False, knows, False, False], name
        assert not changed[[0, 2, 3]].any()


@each_head
def test_without_classes_there_is_one_logit(conditioning):
    y, variables = Head(0, conditioning).init_with_output(key, normal(4, 9), None)
    assert y.shape == (4,)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"Dense_0": {"kernel": (9, 1), "bias": (1,)}}
    }


def test_the_two_classifiers_of_tacgan_are_two():
    x, head = normal(4, 9), Head(3, "tacgan")
    (_, outputs), variables = head.init_with_output(key, x, labels)
    for name, layer in (("classes", "Dense_1"), ("twin", "Dense_2")):
        p = variables["params"][layer]
        np.testing.assert_allclose(outputs[name], x @ p["kernel"] + p["bias"][None], rtol=1e-4)


# --------------------------------------------------------------------------------------------------
# Resampling and residual blocks


def xla_conv(x, kernel, groups=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def repeated(x):
    return jnp.asarray(np.repeat(np.repeat(x, 2, 1), 2, 2))


def pooled(x, function=lax.add, start=0.0):
    return lax.reduce_window(x, start, function, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def test_resampling_of_residual_networks():
    x = normal(2, 6, 4, 3)
    np.testing.assert_array_equal(resnet.upsample(x), repeated(x))
    np.testing.assert_allclose(resnet.average_pool(x), pooled(x) / 4, rtol=1e-5, atol=1e-6)
    for each in (x, normal(2, 7, 5, 3)):
        np.testing.assert_array_equal(max_pool(each), pooled(each, lax.max, -np.inf))


def layer_of(params):
    """The convolution of these params, by XLA."""
    return lambda x: xla_conv(x, params["kernel"]) + params["bias"].reshape(1, 1, 1, -1)


def test_the_generators_block_by_hand():
    x, block = normal(2, 4, 4, 3), resnet.UpBlock(5, "none", "none")
    params = randomise(shapes(block, x, True, Condition()))
    first, second, shortcut = (layer_of(params[f"Conv_{n}"]) for n in range(3))
    expected = second(nn.relu(first(repeated(nn.relu(x))))) + shortcut(repeated(x))
    y = block.apply({"params": params}, x, True, Condition())
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("features, down", [(5, True), (3, True), (5, False), (3, False)])
@pytest.mark.parametrize("first", [False, True])
def test_the_discriminators_block_by_hand(features, down, first):
    x, block = normal(2, 4, 6, 3), resnet.DownBlock(features, down, first, "none", "none")
    params = randomise(shapes(block, x, True))
    layers = [layer_of(each) for each in params.values()]
    resample = (lambda x: pooled(x) / 4) if down else (lambda x: x)
    shortcut = layers[2] if down or features != 3 else (lambda x: x)
    assert len(layers) == 2 + (down or features != 3)
    inner = layers[0](x if first else nn.relu(x))
    assert inner.shape[-1] == (features if first else 3)
    expected = resample(layers[1](nn.relu(inner)) + shortcut(x))
    y = block.apply({"params": params}, x, True)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_r3gans_resampling_is_the_filter_1_2_1():
    x, y = normal(2, 6, 8, 3), normal(2, 12, 16, 3, seed=1)
    up = down = np.asarray(x)
    for axis, n in ((1, 6), (2, 8)):
        filtered = functools.partial(scipy.signal.upfirdn, axis=axis)
        up = filtered([0.5, 1, 0.5], up, up=2).take(range(1, 2 * n + 1), axis)
        down = filtered([0.25, 0.5, 0.25], down).take(range(1, n, 2), axis)
    np.testing.assert_allclose(r3gan.upsample(x), up, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(r3gan.downsample(x), down, rtol=1e-5, atol=1e-6)
    adjoint = 4 * np.vdot(x, r3gan.downsample(y))
    np.testing.assert_allclose(np.vdot(r3gan.upsample(x), y), adjoint, rtol=1e-4)


@pytest.mark.parametrize(  # all groups together, two blocks of them, so many that each is alone
    "i, groups, o, size", [(8, 4, 12, 3), (8, 2, 6, 4), (64, 16, 32, 3), (288, 144, 144, 3)]
)
def test_the_grouped_convolution_and_its_derivatives_equal_xla(i, groups, o, size):
    x, kernel = normal(2, 5, 6, i), normal(size, size, i // groups, o, seed=1)

    def derivatives(f):
        def first(x, kernel):
            return jax.grad(lambda *args: jnp.sum(jnp.sin(f(*args))), argnums=(0, 1))(x, kernel)

        def penalty(x, kernel):  # on gradients, as R1 is
            return jnp.sum(first(x, kernel)[0] ** 2)

        return f(x, kernel), first(x, kernel), jax.grad(penalty, argnums=(0, 1))(x, kernel)

    ours, theirs = (
        jax.jit(functools.partial(derivatives, f))()
        for f in (r3gan.grouped_conv, functools.partial(xla_conv, groups=groups))
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("i, on_cpu", [(8, [1, 2]), (288, [27, 0])])
def test_grouped_convolutions_are_xlas_except_on_cpu(i, on_cpu):
    x, kernel = normal(2, 5, 5, i), normal(3, 3, 2, i)
    gradients = jax.jit(jax.grad(lambda x, k: jnp.sum(jnp.sin(r3gan.grouped_conv(x, k))), (0, 1)))
    counts = {}
    for platform in ("cpu", "tpu", "cuda"):
        text = gradients.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        counts[platform] = [text.count(f"stablehlo.{op}") for op in ("dot_general", "convolution")]
    assert counts == {"cpu": on_cpu, "tpu": [0, 3], "cuda": [0, 3]}


def test_r3gans_block_begins_as_the_identity():
    x, block = normal(2, 5, 5, 8), r3gan.Block(groups=4, expansion=2, network_blocks=6)
    y, variables = jax.jit(block.init_with_output)(key, x)
    np.testing.assert_array_equal(y, x)
    params = randomise(variables["params"])
    y = jax.jit(block.apply)({"params": params}, x)
    lrelu = lambda x: jnp.where(x > 0, x, 0.2 * x)  # noqa: E731
    inner = lrelu(layer_of(params["expand"])(x))
    inner = xla_conv(inner, params["grouped_kernel"], 4) + params["bias"].reshape(1, 1, 1, -1)
    expected = x + xla_conv(lrelu(inner), params["project"]["kernel"])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_r3gans_first_weights_are_hes_times_fixups():
    # With 16 blocks 16^(-1/4) = 1/2.
    block = r3gan.Block(groups=4, expansion=2, network_blocks=16)
    params = start(block, normal(1, 4, 4, 64))["params"]
    for kernel, inputs in ((params["expand"]["kernel"], 64), (params["grouped_kernel"], 9 * 32)):
        expected = 0.5 * np.sqrt(2 / (1 + 0.2**2) / inputs)
        np.testing.assert_allclose(np.std(kernel), expected, rtol=4 / np.sqrt(2 * kernel.size))


# --------------------------------------------------------------------------------------------------
# Attention


@pytest.mark.parametrize("pooled", [True, False])
def test_attention_begins_as_the_identity(pooled):
    x, layer = normal(2, 4, 6, 16), SelfAttention(pooled)
    y, variables = jax.jit(layer.init_with_output)(key, x)
    np.testing.assert_array_equal(y, x)
    assert variables["params"]["gamma"] == 0


@pytest.mark.parametrize("pooled", [True, False])
def test_attention_by_hand(pooled):
    # Zhang et al. 2019, equations 1 to 3, one pixel after the other
    x, layer = normal(2, 4, 6, 16), SelfAttention(pooled)
    params = randomise(shapes(layer, x), scale=0.3)
    params["gamma"] = jnp.ones(())
    y = jax.jit(layer.apply)({"params": params}, x)
    kernels = {name: np.float64(params[name]["kernel"][0, 0]) for name in params.keys() - {"gamma"}}
    assert {name: k.shape for name, k in kernels.items()} == {
        "queries": (16, 2),
        "keys": (16, 2),
        "values": (16, 8),
        "output": (8, 16),
    }

    def positions(image, kernel):  # of keys and values
        image = image @ kernel
        if not pooled:
            return image.reshape(24, -1)
        corners = [(row, column) for row in (0, 2) for column in (0, 2, 4)]
        return np.array([image[r : r + 2, c : c + 2].max((0, 1)) for r, c in corners])

    expected = np.float64(x)
    for image in expected:
        keys, values = positions(image, kernels["keys"]), positions(image, kernels["values"])
        before = image.copy()
        for row in range(4):
            for column in range(6):
                weights = np.exp(keys @ (before[row, column] @ kernels["queries"]))
                weights /= weights.sum()
                image[row, column] += (weights @ values) @ kernels["output"]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - x).max() > 0.1


MAPS = [  # image, field, map
    *((128, 32, 32), (128, 40, 32), (64, 32, 32), (64, 100, 32), (64, 4, 4), (48, 32, 24)),
    *((32, 32, 16), (32, 8, 8), (28, 32, 14), (28, 10, 7), (28, 4, 7), (8, 32, 4)),
]


@pytest.mark.parametrize("size, attention, expected", MAPS)
def test_which_map_attends_to_itself(size, attention, expected):
    assert attended_map(size, attention) == expected
