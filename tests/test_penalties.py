"""Penalties against PyTorch's numbers, closed forms and finite differences, and what each looks at.

golden/losses.json holds values and gradients by a critic's weights (so second derivatives) that
golden/make_losses.py, an implementation of its own, made of the papers' formulas. To write it
again: `python tests/golden/make_losses.py` in an environment with torch. What penalties draw at
random is in that file too and replaces jax.random there; the draws themselves are tested below.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxgan.ops.conv import conv
from jaxgan.penalties import (
    GENERATOR_PENALTIES,
    PENALTIES,
    Scene,
    around,
    interpolate,
    latent_diversity,
    lecam,
    one_centred,
    orthogonal,
    zero_centred,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "losses.json").read_text())["penalties"]
GAME = GOLDEN["game"]
CASES = {
    player: [(case["name"], case) for case in GOLDEN[player]]
    for player in ("discriminator", "generator")
}
ident = lambda case: "" if isinstance(case, dict) else case  # noqa: E731


def arrays(tree):
    if isinstance(tree, dict):
        return {name: arrays(value) for name, value in tree.items()}
    return jnp.asarray(tree)


def critic_of(params):
    def critic(x):
        window = (params["conv"]["kernel"], (1, 1), "VALID")
        y = jax.lax.conv_general_dilated(x, *window, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = jnp.tanh(y + params["conv"]["bias"][None, None, None])
        features = y.reshape(len(x), -1)
        return (features @ params["dense"]["kernel"])[:, 0] + params["dense"]["bias"][0]

    return critic


def generator_of(params):
    return lambda z: jnp.tanh(z @ params["kernel"]).reshape(-1, 3, 3, 2)


def flip(key, images):
    return images[:, :, ::-1]


def scene_of(game, **changes):
    """The golden game as the discriminator's penalties see it."""
    critic, generate = critic_of(game["critic"]), generator_of(game["generator"])
    real, fake = game["real"], generate(game["z"])
    fields = {
        "params": game["critic"],
        "key": jax.random.key(0),
        "critic": critic,
        "real": real,
        "fake": fake,
        "real_logits": critic(real),
        "fake_logits": critic(fake),
        "shift": flip,
        "generate": generate,
        "z": game["z"],
        "anchors": game["anchors"],
    }
    return Scene(**{**fields, **changes})


def float32_game():
    return jax.tree.map(jnp.float32, arrays(GAME))


def assert_tree(got, expected, **tolerances):
    got, expected = (jax.tree_util.tree_leaves_with_path(tree) for tree in (got, expected))
    assert [path for path, _ in got] == [path for path, _ in expected]
    for (path, a), (_, b) in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, **tolerances, err_msg=jax.tree_util.keystr(path))


# --------------------------------------------------------------------------------------------------
# PyTorch


def test_every_penalty_has_golden_numbers():
    assert PENALTIES.keys() == {name for name, _ in CASES["discriminator"]}
    assert GENERATOR_PENALTIES.keys() == {name for name, _ in CASES["generator"]}


@pytest.fixture
def drawn(monkeypatch):
    """The golden file's draws instead of jax.random's, by their shapes."""
    uniform = {(3, 1, 1, 1): GAME["share"], (3, 3, 3, 2): GAME["noise"]}
    for kind, draws in (("uniform", uniform), ("normal", {(3, 2): GAME["nearby"]})):
        draw = lambda key, shape, draws=draws: jnp.asarray(draws[shape]).reshape(shape)  # noqa: E731
        monkeypatch.setattr(jax.random, kind, draw)


@pytest.mark.parametrize("name, case", CASES["discriminator"], ids=ident)
def test_values_and_gradients_by_the_critic_are_pytorchs(name, case, drawn):
    with jax.enable_x64(True):
        game = arrays(GAME)

        def penalty(params):
            return PENALTIES[name](scene_of({**game, "critic": params}), **case["settings"])

        value, by = jax.jit(jax.value_and_grad(penalty))(game["critic"])
        np.testing.assert_allclose(value, case["value"], rtol=1e-9)
        assert_tree(by, arrays(case["by"]), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name, case", CASES["generator"], ids=ident)
def test_values_and_gradients_by_the_generator_are_pytorchs(name, case, drawn):
    with jax.enable_x64(True):
        game = arrays(GAME)

        def penalty(params):
            scene = scene_of({**game, "generator": params}, params=params)
            return GENERATOR_PENALTIES[name](scene, **case["settings"])

        value, by = jax.jit(jax.value_and_grad(penalty))(game["generator"])
        np.testing.assert_allclose(value, case["value"], rtol=1e-9)
        assert_tree(by, arrays(case["by"]), rtol=1e-8, atol=1e-10)


# --------------------------------------------------------------------------------------------------
# Gradients


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def linear(w):
    return lambda x: jnp.sum(x * jnp.float32(w), (1, 2, 3))


def test_r1_of_a_linear_critic_is_half_the_squared_norm_of_its_weights():
    w, x = images(1, 4, 5, 3), images(7, 4, 5, 3, seed=1)
    got = zero_centred(linear(w), jnp.float32(x))
    np.testing.assert_allclose(got, np.sum(w**2) / 2, rtol=1e-6)


def test_r1_of_a_quadratic_critic():
    # D(x) = 1/2 sum a x^2 has the gradient a x, another one for each image.
    a, x = images(1, 4, 5, 3), images(7, 4, 5, 3, seed=1)
    got = zero_centred(lambda x: jnp.sum(jnp.float32(a) * x**2, (1, 2, 3)) / 2, jnp.float32(x))
    np.testing.assert_allclose(got, np.mean(np.sum((a * x) ** 2, (1, 2, 3))) / 2, rtol=1e-6)


@pytest.mark.parametrize("target", [1.0, 0.0, 3.5])
def test_one_centred_of_a_linear_critic_is_the_squared_distance_of_its_norm(target):
    w, x = images(1, 4, 5, 3), images(7, 4, 5, 3, seed=1)
    got = one_centred(linear(w), jnp.float32(x), target)
    np.testing.assert_allclose(got, (np.linalg.norm(w) - target) ** 2, rtol=1e-5)
    unit = linear(target * w / np.linalg.norm(w))
    np.testing.assert_allclose(one_centred(unit, jnp.float32(x), target), 0, atol=1e-10)


@pytest.mark.parametrize("name, factor", [("r1", 0.5), ("r2", 0.5), ("zero_gp", 1.0)])
def test_which_penalties_have_a_half(name, factor):
    w = images(1, 3, 3, 2)
    scene = scene_of(float32_game(), critic=linear(w))
    np.testing.assert_allclose(PENALTIES[name](scene), factor * np.sum(w**2), rtol=1e-6)


@pytest.mark.parametrize("name", ["wgan_gp", "dragan"])
def test_wgan_gp_and_dragan_of_a_linear_critic(name):
    w = images(1, 3, 3, 2)
    scene, norm = scene_of(float32_game(), critic=linear(w)), np.linalg.norm(w)
    np.testing.assert_allclose(PENALTIES[name](scene), (norm - 1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(PENALTIES[name](scene, target=0.5), (norm - 0.5) ** 2, rtol=1e-5)


def test_a_critic_that_ignores_its_input_has_the_slope_zero():
    x = jnp.float32(images(4, 3, 3, 2))
    blind = lambda w: one_centred(lambda x: jnp.sum(w * x, (1, 2, 3)), x)  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(blind))(jnp.zeros((1, 3, 3, 2)))
    assert value == 1
    np.testing.assert_array_equal(gradient, np.zeros((1, 3, 3, 2)))
    # One blind image in a minibatch leaves the others as they are.
    partly = lambda w: one_centred(lambda x: jnp.sum(w * x**2, (1, 2, 3)), x.at[0].set(0))  # noqa: E731
    assert np.all(np.isfinite(jax.jit(jax.grad(partly))(jnp.ones((1, 3, 3, 2)))))


def conv_critic(kernel):
    def critic(x):
        return jnp.sum(jnp.tanh(conv(x, jnp.asarray(kernel), stride=2)), (1, 2, 3))

    return critic


def central_differences(f, x, h=1e-5):
    """The gradient of the scalar function f at the array x, one element at a time."""
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    difference = lambda e: (f(x + e) - f(x - e)) / (2 * h)  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(difference))(steps)).reshape(x.shape)


@pytest.mark.parametrize("penalty", [zero_centred, one_centred])
def test_penalties_and_their_gradients_by_the_critics_weights_equal_finite_differences(penalty):
    with jax.enable_x64(True):
        kernel, x = images(3, 3, 1, 2), images(2, 4, 4, 1, seed=1)
        gradient = central_differences(lambda x: jnp.sum(conv_critic(kernel)(x)), x)
        squares = np.sum(gradient**2, (1, 2, 3))
        by_hand = {zero_centred: squares / 2, one_centred: (np.sqrt(squares) - 1) ** 2}
        got = penalty(conv_critic(kernel), jnp.asarray(x))
        np.testing.assert_allclose(got, np.mean(by_hand[penalty]), rtol=1e-7)

        of_kernel = lambda kernel: penalty(conv_critic(kernel), jnp.asarray(x))  # noqa: E731
        got = jax.jit(jax.grad(of_kernel))(jnp.asarray(kernel))
        assert np.abs(got).max() > 0.1
        np.testing.assert_allclose(
            got, central_differences(of_kernel, kernel), rtol=1e-6, atol=1e-8
        )


# --------------------------------------------------------------------------------------------------
# Draws


def test_interpolates_lie_on_the_line_between_an_image_and_its_partner():
    a, b = jnp.float32(images(64, 4, 3, 2)), jnp.float32(images(64, 4, 3, 2, seed=1))
    between = interpolate(jax.random.key(0), a, b)
    share = np.sum((between - a) * (b - a), (1, 2, 3)) / np.sum((b - a) ** 2, (1, 2, 3))
    # One share for all pixels of an image ...
    np.testing.assert_allclose(between, a + share[:, None, None, None] * (b - a), atol=1e-5)
    assert np.all((share >= 0) & (share <= 1)) and len(np.unique(share)) == 64  # ... and its own
    np.testing.assert_array_equal(between, interpolate(jax.random.key(0), a, b))
    assert not np.allclose(between, interpolate(jax.random.key(1), a, b))


def test_shares_are_uniform():
    n = 10_000
    share = np.sort(interpolate(jax.random.key(0), jnp.zeros((n, 1)), jnp.ones((n, 1)))[:, 0])
    # Kolmogorov and Smirnov's distance, 1.95 / sqrt(n) once in a thousand
    assert np.abs(share - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_dragan_moves_up_by_a_part_of_the_deviation_of_all_pixels(scale):
    real = 3 + 2 * jnp.float32(images(400, 5, 5, 1))
    moved = np.asarray(around(jax.random.key(0), real, scale) - real) / (scale * np.std(real))
    assert moved.min() > -1e-4 and 0.9 < moved.max() < 1
    # share * noise, uniform both: a share for each image, noise for each pixel. 1/4 on average.
    np.testing.assert_allclose(moved.mean(), 0.25, atol=0.03)
    np.testing.assert_allclose(np.mean(moved**2), 1 / 9, atol=0.02)
    largest = moved.max((1, 2, 3))  # the share nearly, of 25 pixels: U(0, 1) times 25 / 26
    np.testing.assert_allclose(largest.mean(), 0.5 * 25 / 26, atol=0.05)
    np.testing.assert_allclose(largest.std(), np.sqrt(1 / 12), atol=0.03)
    # Pixels move by amounts of their own, and those come of another draw than the shares.
    noise = moved / largest[:, None, None, None]
    assert np.all(np.std(noise, (1, 2, 3)) > 0.1)
    assert abs(np.corrcoef(noise.ravel()[: len(largest)], largest)[0, 1]) < 0.2


def test_scale_zero_leaves_dragan_at_real_images():
    real = jnp.float32(images(400, 5, 5, 1))
    np.testing.assert_array_equal(around(jax.random.key(0), real, 0.0), real)


# --------------------------------------------------------------------------------------------------
# What each looks at

LOOKS_AT = {
    "r1": "real",
    "r2": "fake",
    "zero_gp": "real fake",
    "wgan_gp": "real fake",
    "dragan": "real",
    "lecam": "real_logits fake_logits",
    "cr": "real",
    "bcr": "real fake",
    "zcr": "fake z",
    "orthogonal": "params",
}


@pytest.mark.parametrize("name", PENALTIES)
def test_what_each_penalty_looks_at(name):
    scene = scene_of(float32_game())
    value, seen = PENALTIES[name](scene), []
    assert value.shape == () and value.dtype == jnp.float32
    for field in ("params", "real", "fake", "real_logits", "fake_logits", "z"):
        other = jax.tree.map(lambda x: 1.5 * x + 0.1, getattr(scene, field))
        if PENALTIES[name](scene._replace(**{field: other})) != value:
            seen.append(field)
    assert seen == LOOKS_AT[name].split() and value > 0


@functools.cache  # one program for the tests below
def learn(name):
    """(critic's weights, key) -> the penalty, and its gradient by the weights."""
    game = float32_game()
    penalty = lambda critic, key: PENALTIES[name](scene_of({**game, "critic": critic}, key=key))  # noqa: E731
    return jax.jit(jax.value_and_grad(penalty))


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_teaches_the_discriminator(name):
    # A penalty whose inner gradient is detached has no gradient by the critic's weights.
    _, by = learn(name)(float32_game()["critic"], jax.random.key(0))
    flat, _ = ravel_pytree(by["conv"]["kernel"])
    assert np.abs(flat).max() > 1e-4 and np.all(np.isfinite(flat))


@pytest.mark.parametrize("name", ["zero_gp", "wgan_gp", "dragan", "zcr"])
def test_penalties_draw_by_the_scenes_key(name):
    critic = float32_game()["critic"]
    values = [learn(name)(critic, jax.random.key(seed))[0] for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("name, sides", [("cr", ("real",)), ("bcr", ("real", "fake"))])
def test_consistency_moves_each_side_once_with_a_key_of_its_own(name, sides):
    scene, calls = scene_of(float32_game()), []

    def shift(key, images):
        calls.append((tuple(np.asarray(jax.random.key_data(key))), images))
        return flip(key, images)

    PENALTIES[name](scene._replace(shift=shift))
    keys = [key for key, _ in calls]
    assert len(set(keys)) == len(sides)
    assert tuple(np.asarray(jax.random.key_data(scene.key))) not in keys
    for (_, images_), side in zip(calls, sides, strict=True):
        np.testing.assert_array_equal(images_, getattr(scene, side))


@pytest.mark.parametrize("name", ["cr", "bcr"])
def test_consistency_of_what_is_not_moved_is_zero(name):
    assert PENALTIES[name](scene_of(float32_game(), shift=lambda key, images: images)) == 0


def test_latent_consistency_of_linear_networks():
    # D(G(z)) = c z: E (c sigma n)^2 = c^2 sigma^2; the generator's, of 18 pixels c z, the same.
    n, c, sigma = 20_000, 3.0, 0.2
    z = jnp.zeros((n, 1))
    generate = lambda z: jnp.tile(c * z[:, :, None, None], (1, 3, 3, 2))  # noqa: E731
    scene = Scene(
        params={},
        key=jax.random.key(0),
        critic=lambda x: jnp.mean(x, (1, 2, 3)),
        fake=generate(z),
        generate=generate,
        z=z,
    )
    np.testing.assert_allclose(PENALTIES["zcr"](scene, sigma), c**2 * sigma**2, rtol=0.05)
    # Kept large: minus, and no number that grows with the image
    np.testing.assert_allclose(latent_diversity(scene, sigma), -(c**2) * sigma**2, rtol=0.05)
    assert PENALTIES["zcr"](scene, 0.0) == 0 and latent_diversity(scene, 0.0) == 0


def test_lecam_draws_real_logits_to_the_fake_anchor_and_fake_ones_to_the_real():
    real, fake = jnp.float32([1.0, 2.0]), jnp.float32([-1.0, 0.5])
    anchors = {"real": jnp.float32(3.0), "fake": jnp.float32(-2.0)}
    got = lecam(real, fake, anchors)
    np.testing.assert_allclose(got, (3**2 + 4**2) / 2 + (4**2 + 2.5**2) / 2, rtol=1e-6)
    swapped = lecam(real, fake, {"real": anchors["fake"], "fake": anchors["real"]})
    np.testing.assert_allclose(swapped, (2**2 + 1) / 2 + (1 + 2.5**2) / 2, rtol=1e-6)


def test_orthogonal_kernels_cost_nothing_and_scaled_ones_only_if_strict():
    basis = jnp.float32(np.linalg.qr(images(18, 4))[0])
    params = {"a": {"kernel": basis.reshape(3, 3, 2, 4)}, "b": {"kernel": basis[:5, :1] * 0}}
    np.testing.assert_allclose(orthogonal(params), 0, atol=1e-10)
    scaled = {"a": {"kernel": 2 * params["a"]["kernel"]}}
    np.testing.assert_allclose(orthogonal(scaled), 0, atol=1e-10)
    # W^T W is 4 I, 3 away from I in four places; the kernel of zeros 1 away in one.
    np.testing.assert_allclose(orthogonal(scaled, strict=True), 4 * 3**2, rtol=1e-5)
    np.testing.assert_allclose(orthogonal(params, strict=True), 1, rtol=1e-5)


def test_orthogonal_of_two_columns_by_hand():
    # (1, 2) and (3, 4): 11 off the diagonal, 5 and 25 on it
    params = {"layer": {"kernel": jnp.float32([[1, 3], [2, 4]])}}
    assert orthogonal(params) == 2 * 11**2
    assert orthogonal({**params, "block": {"grouped_kernel": params["layer"]["kernel"]}}) == 242
    assert orthogonal(params, strict=True) == 2 * 11**2 + 4**2 + 24**2


def test_orthogonal_is_of_kernels_alone():
    kernel = {"kernel": jnp.float32(images(6, 4))}
    others = {"bias": jnp.ones(4), "scale": jnp.ones(4), "embedding": jnp.ones((5, 4))}
    nested = {"block": {"layer": {**kernel, **others}}, **others}
    assert orthogonal(nested) == orthogonal({"layer": kernel}) > 0
    twice = {"a": kernel, "b": kernel}
    np.testing.assert_allclose(orthogonal(twice), 2 * orthogonal({"a": kernel}), rtol=1e-6)
    assert orthogonal({"layer": others}, strict=True) == 0
