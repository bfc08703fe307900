"""One network in training: its optimiser against closed forms, and its moving average."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.algorithms import player
from jaxgan.algorithms.player import Average, Player
from jaxgan.errors import UserError

LEARNING_RATE, B1, B2 = 0.01, 0.5, 0.9
START = np.array([1.0, -2.0, 0.5])
GRADIENTS = np.array([[0.3, -4.0, 0.02], [-0.5, -1.0, 0.7]])


def train(optimizer, gradients):
    """The weights after each gradient."""
    params = {"w": jnp.float32(START)}
    state = Player(params=params, stats={}, opt=optimizer.init(params))
    weights = []
    for n, gradient in enumerate(gradients):
        stats = {"seen": jnp.float32(n)}
        state = player.update(state, optimizer, {"w": jnp.float32(gradient)}, stats)
        assert state.stats is stats
        weights.append(np.asarray(state.params["w"]))
    return weights


@pytest.mark.parametrize("name", player.OPTIMIZERS)
def test_the_rates_names_are_the_optimisers(name):
    """What a rate is called there exists, and a rate that it takes counts."""
    known = inspect.signature(getattr(optax, name)).parameters
    called = {key: player.NAMES.get(name, {}).get(key, key) for key in ("b1", "b2")}
    assert name not in player.NAMES or set(player.NAMES[name].values()) <= set(known)
    rates = {"learning_rate": 0.1, "b1": 0.9, "b2": 0.9}
    gradients = np.random.default_rng(0).normal(size=(20, 3))
    for key in [key for key in rates if called.get(key, key) in known]:
        other = {**rates, key: 0.3}
        ends = [
            train(player.make_optimizer(name, **each), gradients)[-1] for each in (rates, other)
        ]
        assert not np.allclose(*ends, rtol=1e-5), key


def adam():
    # Kingma and Ba 2015, algorithm 1
    g, h = GRADIENTS
    first = START - LEARNING_RATE * np.sign(g)
    mean = (B1 * (1 - B1) * g + (1 - B1) * h) / (1 - B1**2)
    square = (B2 * (1 - B2) * g**2 + (1 - B2) * h**2) / (1 - B2**2)
    return first, first - LEARNING_RATE * mean / np.sqrt(square)


def rmsprop():
    # b2: decay of the mean square (from 0); b1: momentum of the scaled gradients
    g, h = GRADIENTS
    square = (1 - B2) * g**2
    velocity = g / np.sqrt(square)
    first = START - LEARNING_RATE * velocity
    square = B2 * square + (1 - B2) * h**2
    velocity = B1 * velocity + h / np.sqrt(square)
    return first, first - LEARNING_RATE * velocity


def sgd():
    # b1: momentum; no b2
    g, h = GRADIENTS
    first = START - LEARNING_RATE * g
    return first, first - LEARNING_RATE * (B1 * g + h)


CLOSED_FORMS = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_two_steps_of_an_optimizer(name):
    optimizer = player.make_optimizer(name, LEARNING_RATE, B1, B2, clip_norm=0.0)
    got = train(optimizer, GRADIENTS)
    for weights, expected in zip(got, CLOSED_FORMS[name](), strict=True):
        # eps, 1e-8, matters beside the smallest squared gradient, 4e-5: by a part in 8e3 at most
        np.testing.assert_allclose(weights - START, expected - START, rtol=2e-3)


def test_adam_equals_optaxs():
    ours = player.make_optimizer("adam", LEARNING_RATE, B1, B2, clip_norm=0.0)
    theirs = optax.adam(LEARNING_RATE, b1=B1, b2=B2)
    np.testing.assert_array_equal(train(ours, GRADIENTS), train(theirs, GRADIENTS))


@pytest.mark.parametrize(
    "clip_norm, expected",
    [(1.0, [-0.6, 0.8, 0]), (5.5, [-3, 4, 0]), (0.0, [-3, 4, 0])],
)
def test_clip_norm(clip_norm, expected):
    optimizer = player.make_optimizer("sgd", 1.0, 0.0, 0.0, clip_norm)
    [weights] = train(optimizer, [[3.0, -4.0, 0.0]])  # of norm 5
    np.testing.assert_allclose(weights - START, expected, rtol=1e-6)


def test_clipping_comes_before_the_optimizer():
    # sgd's momentum holds clipped gradients: twice 0.6 -> -0.6 - (0.5 * 0.6 + 0.6)
    optimizer = player.make_optimizer("sgd", 1.0, 0.5, 0.0, 1.0)
    weights = train(optimizer, [[3.0, -4.0, 0.0]] * 2)[1]
    np.testing.assert_allclose(weights - START, [-1.5, 2, 0], rtol=1e-6)


def test_an_unknown_optimizer_is_the_users_error():
    with pytest.raises(UserError, match=r"optimizer\.name: .*'adamm'.*'adam'.*rmsprop, .*sgd"):
        player.make_optimizer("adamm", 1e-3, 0.9, 0.999)


def test_arguments_are_the_numbers_that_optax_takes_beside_the_rates():
    assert player.arguments_of("adam") == {"eps": 1e-8, "eps_root": 0.0, "nesterov": False}
    assert "momentum" not in player.arguments_of("sgd")
    assert not {"decay", "momentum"} & set(player.arguments_of("rmsprop"))


@pytest.mark.parametrize("name", player.OPTIMIZERS)
def test_every_optimizer_moves_the_weights_and_keeps_its_state_in_shape(name):
    # Made anew in each step with the rates as arrays, as schedules give them.
    params = {"w": jnp.float32(START)}

    @jax.jit
    def step(params, state, rate, decay):
        optimizer = player.make_optimizer(name, rate, B1, decay)
        updates, state = optimizer.update({"w": jnp.float32(GRADIENTS[0])}, state, params)
        return optax.apply_updates(params, updates), state

    fixed = player.make_optimizer(name, LEARNING_RATE, B1, B2)
    start = state = fixed.init(params)
    moved = params
    for _ in range(2):
        moved, state = step(moved, state, jnp.float32(LEARNING_RATE), jnp.float32(B2))
    assert jax.tree.structure(state) == jax.tree.structure(start)
    assert np.all(np.isfinite(moved["w"])) and np.any(moved["w"] != params["w"])
    expected = train(fixed, GRADIENTS[[0, 0]])[1]
    np.testing.assert_allclose(moved["w"], expected, rtol=1e-6)


def test_arguments_reach_optax():
    ours = player.make_optimizer("adamw", 0.1, B1, B2, arguments={"weight_decay": 0.5, "eps": 0.2})
    theirs = optax.adamw(0.1, b1=B1, b2=B2, weight_decay=0.5, eps=0.2)
    np.testing.assert_array_equal(train(ours, GRADIENTS), train(theirs, GRADIENTS))


def test_values_are_clipped_before_the_norm():
    # (3, -4, 0) -> (1, -1, 0) -> of norm 1
    optimizer = player.make_optimizer("sgd", 1.0, 0.0, 0.0, clip_norm=1.0, clip_value=1.0)
    [weights] = train(optimizer, [[3.0, -4.0, 0.0]])
    np.testing.assert_allclose(weights - START, [-(0.5**0.5), 0.5**0.5, 0], rtol=1e-6)


def test_weights_are_clipped_after_each_update():
    optimizer = player.make_optimizer("sgd", 1.0, 0.0, 0.0, clip_weights=0.75)
    weights = train(optimizer, [[0.0, 0.0, 0.3], [0.0, -0.5, 0.0]])
    np.testing.assert_allclose(weights[0], [0.75, -0.75, 0.2], rtol=1e-6)
    np.testing.assert_allclose(weights[1], [0.75, -0.25, 0.2], rtol=1e-6)


# --------------------------------------------------------------------------------------------------
# Parts of a minibatch


def test_gradients_of_parts_are_those_of_the_whole():
    w, x = {"w": jnp.float32(START)}, jnp.float32(GRADIENTS[[0, 1, 1, 0]])

    def objective(params, stats, part):
        loss = jnp.mean((part @ params["w"]) ** 2)
        return loss, (stats + len(part), {"loss": loss})

    whole, seen, metrics = player.gradients(objective, w, jnp.zeros(()), x, 1)
    parts, seen_in_parts, means = player.gradients(
        objective, w, jnp.zeros(()), x.reshape(2, 2, 3), 2
    )
    np.testing.assert_allclose(parts["w"], whole["w"], rtol=1e-6)
    np.testing.assert_allclose(means["loss"], metrics["loss"], rtol=1e-6)
    assert seen == seen_in_parts == 4


# --------------------------------------------------------------------------------------------------
# The moving average


def pair():
    """An average at 0 and a player at 8, params and stats alike."""
    zeros, eights = {"w": jnp.zeros(3)}, {"w": jnp.full(3, 8.0)}
    return Average(params=zeros, stats=zeros), Player(params=eights, stats=eights, opt=())


def values(average):
    assert average.params["w"][0] == average.stats["w"][0]
    return float(average.params["w"][0])


@pytest.mark.parametrize("per_step", [10, 50, 100])
def test_after_a_halflife_half_of_the_distance_is_gone(per_step):
    ema, constant = pair()
    for step in range(200 // per_step):
        images = jnp.float32(step * per_step)
        ema = player.average(ema, constant, images, per_step, halflife=100.0, rampup=0.0)
        if (step + 1) * per_step == 100:
            np.testing.assert_allclose(values(ema), 4, rtol=1e-6)
    np.testing.assert_allclose(values(ema), 6, rtol=1e-6)


@pytest.mark.parametrize(
    "images, halflife",
    [(0, 0), (200, 10), (1000, 50), (2000, 100), (10**6, 100)],
)
def test_with_rampup_the_halflife_is_a_part_of_the_images_seen_at_most(images, halflife):
    ema, constant = pair()
    ema = player.average(ema, constant, jnp.float32(images), 20, halflife=100.0, rampup=0.05)
    decay = 0.5 ** (20 / halflife) if halflife else 0
    np.testing.assert_allclose(values(ema), 8 * (1 - decay), rtol=1e-6)


def test_the_first_average_with_rampup_is_the_player_in_buffers_of_its_own():
    key = jax.random.key(0)
    ema, _ = pair()
    weights, moments = {"w": jax.random.normal(key, 3)}, {"w": jnp.full(3, 0.1)}
    new = Player(params=weights, stats=moments, opt=())
    ema = player.average(ema, new, jnp.float32(0), 64, halflife=45e3, rampup=0.05)
    np.testing.assert_array_equal(ema.params["w"], weights["w"])
    np.testing.assert_array_equal(ema.stats["w"], moments["w"])
    pointers = [a.unsafe_buffer_pointer() for a in jax.tree.leaves((ema, new))]
    assert len(set(pointers)) == len(pointers)


def test_an_average_without_a_halflife_is_the_player():
    ema, constant = pair()
    ema = player.average(ema, constant, jnp.float32(500), 64, halflife=0.0, rampup=0.0)
    assert values(ema) == 8
