"""One-dimensional convolutions and WaveGAN's networks; as data see test_sounds.py."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgan.errors import UserError
from jaxgan.models import wavegan
from jaxgan.ops.conv1d import conv_1d, conv_transpose_1d

SIZES = [(25, 4), (25, 1), (4, 2), (5, 2), (3, 4), (1, 3), (8, 3), (2, 2)]  # taps, stride
NUMBERS = ("NHC", "HIO", "NHC")


def stock(x, kernel, stride):
    return lax.conv_general_dilated(x, kernel, (stride,), "SAME", dimension_numbers=NUMBERS)


def stock_transpose(y, kernel, stride):
    x = jax.ShapeDtypeStruct((y.shape[0], y.shape[1] * stride, kernel.shape[2]), y.dtype)
    forward = lambda x: stock(x, kernel.swapaxes(1, 2), stride)  # noqa: E731
    return jax.linear_transpose(forward, x)(y)[0]


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(("size", "stride"), SIZES)
@pytest.mark.parametrize(
    ("ours", "theirs", "length"),
    [(conv_1d, stock, 12), (conv_transpose_1d, stock_transpose, 5)],
    ids=["conv", "transpose"],
)
def test_values_and_two_derivatives_are_laxs(ours, theirs, length, size, stride):
    x, kernel = normal(0, 2, length, 3), normal(1, size, 3, 4)

    def penalty(function):  # of the gradient with respect to x, as WGAN-GP differentiates
        def of(kernel):
            inner = lambda x: jnp.sum(jnp.tanh(function(x, kernel, stride)))  # noqa: E731
            return jnp.sum(jnp.square(jax.grad(inner)(x)))

        return of

    np.testing.assert_allclose(ours(x, kernel, stride), theirs(x, kernel, stride), atol=2e-5)
    np.testing.assert_allclose(
        jax.grad(penalty(ours))(kernel), jax.grad(penalty(theirs))(kernel), rtol=2e-4, atol=2e-3
    )


def test_the_papers_networks():
    """Tables 3 and 4: 16,384 samples, d = 64; parameters counted by hand."""
    generator, discriminator = wavegan.Generator((16384,)), wavegan.Discriminator()
    z, x = jnp.zeros((1, 100)), jnp.zeros((1, 16384))
    count = lambda network, x: sum(  # noqa: E731
        leaf.size
        for leaf in jax.tree.leaves(
            jax.eval_shape(lambda: network.init(jax.random.key(0), x, None, train=False))
        )
    )
    widths = [1024, 512, 256, 128, 64, 1]
    pairs = list(itertools.pairwise(widths))
    layers = sum(25 * a * b + b for a, b in pairs)
    assert count(generator, z) == 100 * 16384 + 16384 + layers
    of_judge = sum(25 * a * b + a for a, b in pairs)
    assert count(discriminator, x) == of_judge + 16384 + 1


def test_a_shuffle_is_a_shift_with_reflected_edges():
    network = wavegan.Discriminator(shuffle=2)
    x = jnp.arange(16.0).reshape(1, 16, 1)
    shuffled = lambda key: network.apply({}, x, rngs={"dropout": key}, method="_shuffled")  # noqa: E731
    seen = set()
    for seed in range(40):
        row = tuple(np.asarray(shuffled(jax.random.key(seed)))[0, :, 0].tolist())
        seen.add(row)
    padded = np.pad(np.arange(16.0), 2, "reflect")
    assert seen == {tuple(padded[start : start + 16].tolist()) for start in range(5)}
    np.testing.assert_array_equal(network.apply({}, x, method="_shuffled"), x)


def test_each_layer_and_call_has_a_shift_of_its_own_and_none_without_a_key():
    network = wavegan.Discriminator(width=2)
    x = normal(0, 2, 1024)
    params = network.init(jax.random.key(0), x, None, train=True)
    judge = lambda **more: np.asarray(network.apply(params, x, None, train=True, **more))  # noqa: E731
    logits = {judge(rngs={"dropout": jax.random.key(n)}).tobytes() for n in range(40)}
    assert len(logits) > 10  # of 5 x 5 pairs of shifts; the two layers' own are 5
    np.testing.assert_array_equal(judge(), judge())


def test_first_weights_are_tensorflows():
    """Uniform within +-sqrt(6 / (fan in + fan out)), 25 samples each; biases are 0."""
    x, z = jnp.zeros((1, 1024)), jnp.zeros((1, 100))
    judge, artist = wavegan.Discriminator(width=32), wavegan.Generator((1024,), width=32)
    for network, given, name in ((judge, x, "Conv1D_1"), (artist, z, "ConvTranspose1D_0")):
        params = network.init(jax.random.key(0), given, None, train=True)["params"]
        kernel = np.asarray(params[name]["kernel"])
        assert kernel.shape[0] == 25
        limit = math.sqrt(6 / (25 * sum(kernel.shape[1:])))
        assert 0.99 * limit < np.abs(kernel).max() <= limit
        np.testing.assert_allclose(kernel.std(), limit / math.sqrt(3), rtol=0.02)
        assert not np.asarray(params[name]["bias"]).any()


@pytest.mark.parametrize("conditioning", ["concat", "projection", "acgan"])
def test_labels_matter(conditioning):
    network = wavegan.Discriminator(num_classes=3, width=2, conditioning=conditioning)
    x, labels = normal(0, 3, 256), jnp.arange(3)
    params = network.init(jax.random.key(0), x, labels, train=True)
    judged = network.apply(params, x, labels, train=True)
    moved = network.apply(params, x, (labels + 1) % 3, train=True)
    if conditioning == "acgan":
        assert judged[1]["classes"].shape == (3, 3)
        np.testing.assert_array_equal(judged[0], moved[0])
    else:
        assert (np.asarray(judged) != np.asarray(moved)).all()


def test_spectral_normalisation_reaches_all_layers():
    network = wavegan.Discriminator(width=4, weight_norm="spectral")
    variables = network.init(jax.random.key(0), normal(0, 2, 256), None, train=True)
    assert set(variables["spectral"]) == {"Conv1D_0", "Conv1D_1", "Logit_0"}
    kernel = np.asarray(variables["params"]["Conv1D_1"]["kernel"]).reshape(-1, 8)
    _, moved = network.apply(variables, normal(0, 2, 256), None, train=True, mutable=["spectral"])
    sigma = moved["spectral"]["Conv1D_1"]["sigma"]
    np.testing.assert_allclose(sigma, np.linalg.svd(kernel, compute_uv=False)[0], rtol=0.05)


def test_bfloat16_is_near():
    network = wavegan.Discriminator(width=4)
    x = normal(0, 2, 256)
    params = network.init(jax.random.key(0), x, None, train=True)
    exact = network.apply(params, x, None, train=True)
    rough = network.apply(params, x.astype(jnp.bfloat16), None, train=True)
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, exact, atol=0.02 * np.abs(exact).max())


def test_a_shift_longer_than_a_layer_is_refused():
    network = wavegan.Discriminator(width=2, shuffle=64)
    x = jnp.zeros((1, 256))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with pytest.raises(
        UserError, match=r"^model\.discriminator\.shuffle: 64 is not within 0 to 63"
    ):
        network.init(keys, x, None, train=True)


@pytest.mark.parametrize("shape", [(2,), (100,), (28, 28, 1), (64,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match="wavegan draws sounds of 256, 1,024, 4,096, 16,384"):
        wavegan.Generator(shape).init(jax.random.key(0), jnp.zeros((1, 4)), None, train=False)
