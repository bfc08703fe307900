"""What a step may be told to do differently, each against a hand calculation or an equal run.

The networks are those of test_gan.py: `Scale` multiplies z by a number, `Linear` is an inner
product with a vector a class.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import parallel, penalties, programs, schedules
from jaxgan.algorithms import latents as latents_
from jaxgan.algorithms import player, terms, unrolled, view
from jaxgan.algorithms.terms import Classes, Regulariser
from jaxgan.algorithms.view import Augmentation, View
from jaxgan.losses import CLASS_LOSSES, LOSSES
from jaxgan.ops.dense import PRODUCTS
from tests.test_gan import (
    BATCH,
    NUM_CLASSES,
    Linear,
    Scale,
    assert_close,
    assert_equal,
    at,
    begin,
    differs,
    gan,
    latents,
    optimizer,
    regulariser,
    s,
    small,
    still,
)


def run(algorithm, steps=1, seed=0):
    """The state and the metrics after so many steps on data of their own."""
    state, step = begin(algorithm, seed), jax.jit(algorithm.step)
    for number in range(steps):
        state, metrics = step(state, minibatches(algorithm, number))
    return state, metrics


def minibatches(algorithm, seed=0):
    random = np.random.default_rng(seed)
    shape = algorithm.minibatches, algorithm.batch_size
    images = random.uniform(-1, 1, (*shape, *algorithm.generator.image_shape))
    batch = {"image": jnp.float32(images)}
    if algorithm.num_classes:
        batch["label"] = jnp.int32(random.integers(0, algorithm.num_classes, shape))
    return batch


def plain(**changes):
    """`Scale` against `Linear` by gradient descent, one update of each."""
    fields = {
        "n_critic": 1,
        "generator_optimizer": optimizer("sgd", 0.4),
        "discriminator_optimizer": optimizer("sgd", 0.7),
    }
    return gan(Scale(), Linear(), **{**fields, **changes})


def weights(state):
    return np.float64(state.discriminator.params["w"]), float(state.generator.params["scale"])


def by_label(w, x, labels):
    return np.sum(w[labels] * np.float64(x).reshape(-1, 4), 1)


# --------------------------------------------------------------------------------------------------
# Who plays when


def test_simultaneous_updates_are_both_from_the_old_networks_on_the_same_latents():
    algorithm = plain(simultaneous=True)
    state = begin(algorithm)
    w, scale = weights(state)
    after, _ = run(algorithm)
    labels, z = minibatches(algorithm)["label"][0], latents(state, 0, 0)
    slope = by_label(w, z, labels)
    expected = scale + 0.4 * np.mean((1 - s(scale * slope)) * slope)
    np.testing.assert_allclose(weights(after)[1], expected, rtol=1e-5)
    one_by_one, _ = run(plain())
    np.testing.assert_allclose(weights(after)[0], weights(one_by_one)[0], rtol=1e-5)
    assert weights(after)[1] != weights(one_by_one)[1]


def test_a_relativistic_generator_sees_real_images_of_its_own():
    algorithm = plain(loss=LOSSES["relativistic_paired"], n_critic=2)
    assert algorithm.minibatches == 3
    batch = minibatches(algorithm)
    state = begin(algorithm)
    after, metrics = jax.jit(algorithm.step)(state, batch)
    w, _ = weights(after)
    scale = weights(state)[1]
    labels, real = batch["label"][2], batch["image"][2]
    slope = by_label(w, latents(state, 0, 2), labels)
    difference = scale * slope - by_label(w, real, labels)
    np.testing.assert_allclose(metrics["g_loss"], -np.mean(np.log(s(difference))), rtol=1e-5)
    expected = scale + 0.4 * np.mean((1 - s(difference)) * slope)
    np.testing.assert_allclose(weights(after)[1], expected, rtol=1e-5)


def test_rates_follow_their_schedules_by_the_step():
    rate = schedules.make({"kind": "linear", "start": 0.7, "end": 0.0, "steps": 2}, 1)
    algorithm = plain(
        n_critic=2,
        discriminator_optimizer=lambda step: player.make_optimizer(
            "sgd", schedules.at(rate, step), 0.0, 0.0
        ),
        generator_optimizer=still(),
    )
    first, _ = run(algorithm)
    constant, _ = run(dataclasses.replace(algorithm, discriminator_optimizer=optimizer("sgd", 0.7)))
    assert_equal(first.discriminator.params, constant.discriminator.params)  # both updates at 0.7
    second, _ = run(algorithm, 2)
    halved = jax.jit(
        dataclasses.replace(algorithm, discriminator_optimizer=optimizer("sgd", 0.35)).step
    )
    assert_close(
        second.discriminator.params,
        halved(first, minibatches(algorithm, 1))[0].discriminator.params,
    )
    third, _ = run(algorithm, 3)
    assert_equal(third.discriminator.params, second.discriminator.params)  # at 0


def test_the_averages_halflife_may_be_scheduled():
    halflife = schedules.make({"kind": "steps", "values": (0.0, 1e9), "steps": (2,)}, 1)
    algorithm = plain(ema_halflife=halflife, ema_rampup=0.0)
    second, _ = run(algorithm, 2)
    assert_equal(second.ema.params, second.generator.params)
    third, _ = run(algorithm, 3)
    assert_close(third.ema.params, second.generator.params)
    assert differs(third.generator.params, second.generator.params)


# --------------------------------------------------------------------------------------------------
# Parts, packs, weights


@pytest.mark.parametrize("loss", ["nonsaturating", "relativistic_paired"])
def test_four_parts_are_the_large_batch(loss):
    adam = optimizer("adam", 1e-2, 0.5)
    fields = {
        "loss": LOSSES[loss],
        "batch_size": 12,
        "generator_optimizer": adam,
        "discriminator_optimizer": adam,
        "penalties": (regulariser("r1", 0.5), regulariser("r2", 0.5)),
        "n_critic": 2,
    }
    whole = small("mlp", **fields)
    networks = {
        name: getattr(whole, name).clone(norm="none") for name in ("generator", "discriminator")
    }
    whole = dataclasses.replace(whole, **networks)
    parts = dataclasses.replace(whole, accumulate=4)
    expected, metrics = run(whole, 3)
    found, means = run(parts, 3)
    assert_close(found.discriminator.params, expected.discriminator.params, atol=2e-6)
    assert_close(found.generator.params, expected.generator.params, atol=2e-6)
    for name in ("d_loss", "g_loss", "r1", "r2", "d_gradient_norm", "g_gradient_norm"):
        np.testing.assert_allclose(means[name], metrics[name], rtol=2e-5, err_msg=name)
    assert differs(expected.generator.params, run(whole, 2)[0].generator.params)


class Pairs(nn.Module):
    """Multiplies the first image of a pair by the second, pixel by pixel."""

    @nn.compact
    def __call__(self, x, labels, train):
        w = self.param("w", nn.initializers.ones, ())
        return w * jnp.sum(x[..., 0] * x[..., 1], (1, 2))


def test_a_pack_is_neighbours_joined_by_channels():
    algorithm = gan(Scale(), Pairs(), num_classes=0, n_critic=1, view=View(pack=2))
    state = begin(algorithm)
    _, metrics = jax.jit(algorithm.step)(state, minibatches(algorithm))
    real = np.float64(minibatches(algorithm)["image"][0]).reshape(BATCH // 2, 2, 4)
    np.testing.assert_allclose(
        metrics["real_logit"], np.mean(np.sum(real[:, 0] * real[:, 1], 1)), rtol=1e-5
    )
    fake = 0.5 * np.float64(latents(state, 0, 0)).reshape(BATCH // 2, 2, 4)
    np.testing.assert_allclose(
        metrics["fake_logit"], np.mean(np.sum(fake[:, 0] * fake[:, 1], 1)), rtol=1e-5
    )


@pytest.mark.parametrize("pack", [1, 2, 3])
def test_packing_can_be_undone(pack):
    images = jnp.arange(6 * 2 * 3 * 2.0).reshape(6, 2, 3, 2)
    packed = View(pack=pack).packed(images)
    assert packed.shape == (6 // pack, 2, 3, 2 * pack)
    assert_equal(View(pack=pack).unpacked(packed), images)


def test_images_of_a_pack_are_shifted_each_for_itself():
    ramp = jnp.broadcast_to(jnp.arange(8.0).reshape(1, 1, 8, 1), (32, 8, 8, 1))
    packed = View(pack=2).shifted(jax.random.key(0), View(pack=2).packed(ramp))
    assert packed.shape == (16, 8, 8, 2)
    first, second = np.moveaxis(np.asarray(packed), -1, 0)
    assert np.any(first != second, (1, 2)).mean() > 0.5  # that they are moved, test_augment.py sees


def test_steps_cost_the_same_in_parts_and_unrolled_ones_are_not_counted():
    algorithm = small("mlp", n_critic=1, batch_size=8)
    mesh = parallel.make_mesh(1, 8)
    with jax.set_mesh(mesh):
        cost = programs.flops_per_step(algorithm, mesh)
        assert cost > 0
        assert programs.flops_per_step(dataclasses.replace(algorithm, accumulate=4), mesh) == cost
        ahead = dataclasses.replace(
            algorithm, opponent=lambda gan, state, part: state.discriminator
        )
        assert np.isnan(programs.flops_per_step(ahead, mesh))


def test_parts_keep_packs_together():
    x = jnp.arange(12)
    parts = player.parts({"image": x}, jax.random.key(0), 3, pack=2)
    assert parts["image"].tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    assert len(parts["key"]) == 3


@pytest.mark.parametrize(("share", "count"), [(1.0, 4), (0.5, 2), (0.3, 2), (0.01, 1)])
def test_the_best_of_a_minibatch_count(share, count):
    logits = jnp.float32([0.3, -1.0, 2.0, 0.5])
    best = np.argsort(-np.asarray(logits))[:count]
    expected = np.zeros(4)
    expected[best] = 1 / count
    np.testing.assert_allclose(terms.top_k_weights(logits, share), expected)
    np.testing.assert_allclose(terms.top_k_weights(logits, jnp.float32(share)), expected)


def test_the_generator_learns_from_the_best_only():
    algorithm = plain(top_k=0.5, discriminator_optimizer=still())
    state = begin(algorithm)
    w, scale = weights(state)
    after, _ = run(algorithm)
    slope = by_label(w, latents(state, 0, 1), minibatches(algorithm)["label"][-1])
    best = np.argsort(-scale * slope)[: BATCH // 2]
    expected = scale + 0.4 * np.mean(((1 - s(scale * slope)) * slope)[best])
    np.testing.assert_allclose(weights(after)[1], expected, rtol=1e-5)


# --------------------------------------------------------------------------------------------------
# Penalties


def test_a_lazy_penalty_is_as_strong_as_it_is_rare():
    always = plain(penalties=(regulariser("r1", 0.3),), n_critic=2)
    lazy = plain(penalties=(regulariser("r1", 0.3, every=4),), n_critic=2)
    without = plain(n_critic=2)
    start = begin(lazy)
    batch = minibatches(lazy)
    update = lambda algorithm, state, number: jax.jit(algorithm.update_discriminator)(  # noqa: E731
        state, at(batch, 0), number
    )
    strong = plain(penalties=(regulariser("r1", 1.2),), n_critic=2)
    for step, number in ((0, 0), (0, 1), (1, 1), (2, 0)):
        state = start.replace(step=jnp.int32(step))
        found, metrics = update(lazy, state, number)
        due = (2 * step + number) % 4 == 0
        expected, _ = update(strong if due else without, state, number)
        assert_close(found.discriminator.params, expected.discriminator.params)
        value = update(always, state, number)[1]["r1"]
        np.testing.assert_allclose(metrics["r1"], 4 * value if due else 0, rtol=1e-6)


def test_a_penaltys_weight_may_be_scheduled():
    weight = schedules.make({"kind": "linear", "start": 0.0, "end": 0.8, "steps": 2}, 1)
    algorithm = plain(penalties=(regulariser("r1", weight),))
    start = begin(algorithm)
    for step, equal in ((0, 0.0), (1, 0.4), (5, 0.8)):
        state = start.replace(step=jnp.int32(step))
        found = jax.jit(algorithm.step)(state, minibatches(algorithm))[0]
        fixed = plain(penalties=(regulariser("r1", equal),))
        expected = jax.jit(fixed.step)(state, minibatches(algorithm))[0]
        assert_close(found.discriminator.params, expected.discriminator.params)


def test_lecams_anchors_are_the_means_of_earlier_logits():
    algorithm = plain(penalties=(regulariser("lecam", 0.3),), discriminator_optimizer=still())
    state, step = begin(algorithm), jax.jit(algorithm.step)
    assert set(state.memory) == {"real_anchor", "fake_anchor", "anchored"}
    seen = []
    for number in range(3):
        found = view.anchors(state.memory)
        if seen:  # weights 0.99^age, which sum to 1
            ages = 0.99 ** np.arange(len(seen))[::-1]
            expected = np.sum(ages[:, None] * seen, 0) / np.sum(ages)
            np.testing.assert_allclose([found["real"], found["fake"]], expected, rtol=1e-4)
        else:
            assert found == {"real": 0, "fake": 0}
        batch = minibatches(algorithm, number)
        labels, (w, scale) = batch["label"][0], weights(state)
        real = by_label(w, batch["image"][0], labels)
        fake = by_label(w, scale * latents(state, number, 0), labels)
        state, metrics = step(state, batch)
        value = np.mean((real - found["fake"]) ** 2) + np.mean((fake - found["real"]) ** 2)
        np.testing.assert_allclose(metrics["lecam"], value, rtol=1e-4)
        seen.append([np.mean(real), np.mean(fake)])


def test_the_generators_penalties_reach_its_weights():
    penalty = Regulariser("zcr", penalties.GENERATOR_PENALTIES["zcr"], 2.0)
    algorithm = plain(generator_penalties=(penalty,), discriminator_optimizer=still())
    after, metrics = run(algorithm)
    without, _ = run(plain(discriminator_optimizer=still()))
    # ||G(z) - G(z + d)||^2 = scale^2 d^2, with d of standard deviation 0.07: it pushes scale up
    moved = weights(after)[1] - weights(without)[1]
    np.testing.assert_allclose(moved, 0.4 * 2.0 * -2 * metrics["g_zcr"] / 0.5, rtol=1e-3)
    assert 0.4 * 0.07**2 < -metrics["g_zcr"] / 0.25 < 2.5 * 0.07**2


# --------------------------------------------------------------------------------------------------
# Classes


class Classifying(nn.Module):
    @nn.compact
    def __call__(self, x, labels, train):
        x = x.reshape(-1, 4)
        w = self.param("w", nn.initializers.normal(1), (4,))
        v = self.param("v", nn.initializers.normal(1), (4, NUM_CLASSES))
        return jnp.sum(w.reshape(1, 4) * x, -1), {"classes": x @ v}


def test_an_acgan_by_hand():
    classes = Classes(CLASS_LOSSES["acgan"], 0.5, schedules.make(0.25, 1))
    rates = {"discriminator_optimizer": optimizer("sgd", 0.7), "n_critic": 1}
    algorithm = gan(Scale(), Classifying(), classes=classes, generator_optimizer=still(), **rates)
    state = begin(algorithm)
    batch = minibatches(algorithm)
    after, metrics = jax.jit(algorithm.step)(state, batch)
    v = np.float64(state.discriminator.params["v"])
    one_hot = np.eye(NUM_CLASSES)[batch["label"][0]]
    gradient, loss = 0, 0
    for x in (batch["image"][0].reshape(BATCH, 4), 0.5 * latents(state, 0, 0)):
        x = np.float64(x)
        p = np.exp(x @ v) / np.sum(np.exp(x @ v), 1, keepdims=True)
        loss -= np.mean(np.log(np.sum(p * one_hot, 1)))
        gradient += x.T @ (p - one_hot) / BATCH
    np.testing.assert_allclose(metrics["d_class_loss"], loss, rtol=1e-5)
    assert_close(after.discriminator.params["v"], v - 0.7 * 0.5 * gradient)
    x = 0.5 * np.float64(latents(state, 0, 1))  # the generator's images through the new v
    v = np.float64(after.discriminator.params["v"])
    p = np.exp(x @ v) / np.sum(np.exp(x @ v), 1, keepdims=True)
    expected = -np.mean(np.log(np.sum(p * one_hot, 1)))
    np.testing.assert_allclose(metrics["g_class_loss"], expected, rtol=1e-5)


def test_the_generators_class_loss_has_its_weight():
    def moved(weight):
        classes = Classes(CLASS_LOSSES["acgan"], 1.0, weight)
        algorithm = gan(
            Scale(),
            Classifying(),
            classes=classes,
            discriminator_optimizer=still(),
            generator_optimizer=optimizer("sgd", 1.0),
            n_critic=1,
        )
        return float(run(algorithm)[0].generator.params["scale"])

    none, once, twice = moved(0.0), moved(1.0), moved(2.0)
    np.testing.assert_allclose(twice - none, 2 * (once - none), rtol=1e-4)
    assert once != none


# --------------------------------------------------------------------------------------------------
# What the discriminator sees


def test_instance_noise_is_on_all_it_sees_and_fresh():
    class Squares(nn.Module):
        @nn.compact
        def __call__(self, x, labels, train):
            w = self.param("w", nn.initializers.ones, ())
            return w * jnp.mean(jnp.square(x), (1, 2, 3))

    sigma = schedules.make({"kind": "linear", "start": 2.0, "end": 0.0, "steps": 2}, 1)
    fields = {"num_classes": 0, "n_critic": 1, "batch_size": 4096}
    algorithm = gan(Scale(), Squares(), **fields, view=View(noise=sigma))
    quiet = gan(Scale(), Squares(), **fields)
    batch = minibatches(algorithm)
    state = begin(algorithm)
    for step, expected in ((0, 4.0), (1, 1.0), (2, 0.0)):
        here = state.replace(step=jnp.int32(step))
        _, noisy = jax.jit(algorithm.update_discriminator)(here, at(batch, 0), 0)
        _, silent = jax.jit(quiet.update_discriminator)(here, at(batch, 0), 0)
        for name in ("real_logit", "fake_logit"):
            difference = noisy[name] - silent[name]
            np.testing.assert_allclose(difference, expected, atol=0.1, err_msg=name)
        assert step == 2 or noisy["real_logit"] - silent["real_logit"] != difference


def adaptive(transform=lambda key, images, p: images, **changes):
    augmentation = Augmentation(transform, 0.0, target=0.6, kimg=0.1)
    fields = {"batch_size": 10, "n_critic": 2, "view": View(augmentation)}
    return plain(**{**fields, "discriminator_optimizer": still(), **changes})


def test_p_is_adapted_every_four_updates_by_the_mean_sign():
    algorithm = adaptive()
    state, step = begin(algorithm), jax.jit(algorithm.step)
    w, p, signs = weights(state)[0], 0.0, []
    for number in range(6):
        batch = minibatches(algorithm, number)
        # images that the discriminator takes for real in the first half, for generated ones later
        push = 1 if number < 4 else -1
        batch["image"] = push * jnp.float32(w[batch["label"]]).reshape(batch["image"].shape)
        for k in range(2):
            logits = by_label(w, batch["image"][k], batch["label"][k])
            signs.append(np.mean(np.sign(logits)))
            if len(signs) % 4 == 0:  # 40 images of 100
                p = np.clip(p + np.sign(np.mean(signs[-4:]) - 0.6) * 0.4, 0, 1)
        state, metrics = step(state, batch)
        np.testing.assert_allclose(state.memory["augment_p"], p, atol=1e-6)
    assert p == pytest.approx(0.4)  # 0.4, 0.8, then down
    assert metrics["real_sign"] == -1


def test_the_transform_is_given_p_and_sees_all_images():
    def add(key, images, p):
        return images + p

    fixed = Augmentation(
        add, schedules.make({"kind": "steps", "values": (0.25, 0.5), "steps": (1,)}, 1)
    )
    algorithm = plain(view=View(fixed), discriminator_optimizer=still(), num_classes=NUM_CLASSES)
    for step, p in ((0, 0.25), (1, 0.5)):
        state = begin(algorithm).replace(step=jnp.int32(step))
        batch = minibatches(algorithm)
        _, metrics = jax.jit(algorithm.step)(state, batch)
        w, scale = weights(state)
        labels = batch["label"][0]
        real = by_label(w, np.float64(batch["image"][0]) + p, labels)
        fake = by_label(w, scale * np.float64(latents(state, step, 0)) + p, labels)
        np.testing.assert_allclose(metrics["real_logit"], np.mean(real), rtol=1e-4)
        np.testing.assert_allclose(metrics["fake_logit"], np.mean(fake), rtol=1e-4)
        assert metrics["augment_p"] == p
        slope = by_label(w, latents(state, step, 1), labels)
        logits = scale * slope + p * np.sum(w[labels], 1)  # the generator's images too
        np.testing.assert_allclose(metrics["g_loss"], -np.mean(np.log(s(logits))), rtol=1e-4)


def test_apa_puts_generated_images_among_the_real_ones():
    always = View(Augmentation(None, 1.0))
    algorithm = plain(view=always, batch_size=4096, discriminator_optimizer=still())
    state = begin(algorithm)
    batch = {**minibatches(algorithm), "image": jnp.full((1, 4096, 2, 2, 1), 0.75)}
    _, metrics = jax.jit(algorithm.step)(state, batch)
    # all were replaced, by other images than those that are judged as fake
    assert abs(metrics["real_logit"]) < 0.1 and metrics["real_logit"] != metrics["fake_logit"]
    never = dataclasses.replace(algorithm, view=View(Augmentation(None, 0.0)))
    _, metrics = jax.jit(never.step)(state, batch)
    expected = np.mean(by_label(weights(state)[0], batch["image"][0], batch["label"][0]))
    np.testing.assert_allclose(metrics["real_logit"], expected, rtol=1e-4)


# --------------------------------------------------------------------------------------------------
# Unrolling


def all_fields(algorithm):
    names = {field.name for field in dataclasses.fields(algorithm)} - {"opponent"}
    return {name: getattr(algorithm, name) for name in names}


@pytest.mark.parametrize("count", [3, 12])  # without and with a loop
def test_an_unrolled_generators_gradient_is_that_of_the_whole_by_finite_differences(count):
    with jax.enable_x64(True):
        rate = 0.5
        sgd = lambda step: player.make_optimizer("sgd", rate, 0.5, 0.0)  # noqa: E731
        fields = {
            "loss": LOSSES["minimax"],
            "discriminator_optimizer": sgd,
            "generator_optimizer": optimizer("sgd", 1.0),
            "dtype": jnp.float64,
        }
        algorithm = unrolled.make(**all_fields(plain(**fields)), unrolled_steps=count)
        state = begin(algorithm)
        as_float64 = lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
        state = state.replace(
            generator=jax.tree.map(as_float64, state.generator),
            discriminator=jax.tree.map(as_float64, state.discriminator),
        )
        batch = at(minibatches(algorithm), 0)
        z, labels = np.float64(algorithm.latents(state, 1)), np.asarray(batch["label"])
        real = np.float64(batch["image"]).reshape(BATCH, 4)

        def surrogate(scale):
            w, velocity = weights(state)[0], 0.0
            one_hot = np.eye(NUM_CLASSES)[labels]
            for _ in range(count):
                t_real, t_fake = by_label(w, real, labels), scale * by_label(w, z, labels)
                gradient = -one_hot.T @ ((1 - s(t_real))[:, None] * real) / BATCH
                gradient += one_hot.T @ (s(t_fake)[:, None] * scale * z) / BATCH
                velocity = gradient + 0.5 * velocity
                w = w - rate * velocity
            return np.mean(np.log(1 - s(scale * by_label(w, z, labels))))

        new, metrics = algorithm.update_generator(state, batch)
        scale, h = weights(state)[1], 1e-5
        slope = (surrogate(scale + h) - surrogate(scale - h)) / (2 * h)
        np.testing.assert_allclose(metrics["g_loss"], surrogate(scale), rtol=1e-5)
        np.testing.assert_allclose(new.params["scale"], scale - slope, rtol=1e-4)
        through_the_last = surrogate(scale) - surrogate(scale - h)  # the whole is not the plain one
        plain_one, _ = plain(**fields).update_generator(state, batch)
        assert abs(plain_one.params["scale"] - new.params["scale"]) > 0.01 and through_the_last != 0


@pytest.mark.parametrize("count", [0, 1, 10])
def test_unrolling_leaves_the_discriminator_as_it_is(count):
    adam = lambda step: player.make_optimizer(  # noqa: E731
        "adam", 1e-2, 0.5, 0.999, arguments={"eps_root": 1e-16}
    )
    base = small("mlp", discriminator_optimizer=adam, n_critic=1)
    algorithm = unrolled.make(**all_fields(base), unrolled_steps=count)
    found, _ = run(algorithm)
    expected, _ = run(base)
    assert_close(found.discriminator, expected.discriminator)
    assert np.isfinite(np.concatenate([x.ravel() for x in jax.tree.leaves(found.generator)])).all()
    assert differs(found.generator.params, expected.generator.params) == (count > 0)


def test_adams_root_needs_its_eps_root_when_it_is_unrolled():
    # Where a gradient is 0 the root has no slope: a weight that nothing moves would make it NaN.
    def moved(x, **arguments):
        adam = optax.adam(0.1, **arguments)
        w = {"w": jnp.ones(2)}
        gradients = {"w": jnp.stack([x, 0 * x])}
        return jnp.sum(adam.update(gradients, adam.init(w), w)[0]["w"])

    assert np.isnan(jax.grad(moved)(1.0))
    assert np.isfinite(jax.grad(lambda x: moved(x, eps_root=1e-16))(1.0))


def test_why_adam_is_unrolled_in_float32_alone():
    def moved(dtype):
        adam = lambda step: player.make_optimizer(  # noqa: E731
            "adam", 1e-2, 0.5, 0.999, arguments={"eps_root": 1e-16}
        )
        fields = {"discriminator_optimizer": adam, "generator_optimizer": optimizer("sgd", 1.0)}
        base = small("mlp", n_critic=1, dtype=dtype, **fields)
        algorithm = unrolled.make(**all_fields(base), unrolled_steps=2)
        state = begin(algorithm)
        new, _ = jax.jit(algorithm.update_generator)(state, at(minibatches(algorithm), 0))
        both = zip(*map(jax.tree.leaves, (new.params, state.generator.params)), strict=True)
        return np.sqrt(sum(np.sum((x - y) ** 2) for x, y in both))

    assert moved(jnp.bfloat16) > 1000 * moved(jnp.float32)


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_what_is_unrolled_is_exact_on_accelerators_too(model):
    base = small(model, n_critic=1)
    for count in (0, 2):
        algorithm = unrolled.make(**all_fields(base), unrolled_steps=count)
        state, batch = begin(algorithm), at(minibatches(algorithm), 0)
        traced = jax.jit(algorithm.update_generator).trace(state, batch)
        rows = traced.lower(lowering_platforms=("tpu",)).as_text().splitlines()
        kinds = "stablehlo.dot_general", "stablehlo.convolution"
        products = [row for row in rows if any(kind in row for kind in kinds)]
        exact = sum("HIGHEST" in row for row in products)
        assert len(products) > 5 and exact == (len(products) if count else 0)


# --------------------------------------------------------------------------------------------------
# Precision, latents, statistics at sampling


@pytest.mark.parametrize(("model", "dtype"), [("dcgan", jnp.bfloat16), ("mlp", PRODUCTS)])
def test_bfloat16_is_near_and_keeps_its_state_in_float32(model, dtype):
    whole = small(model, n_critic=1)
    half = dataclasses.replace(whole, dtype=dtype)
    state, metrics = run(half)
    expected, exact = run(whole)
    for leaf in jax.tree.leaves((state.generator, state.discriminator, state.ema, metrics)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    for name in ("d_loss", "g_loss", "real_logit"):
        np.testing.assert_allclose(metrics[name], exact[name], rtol=0.05, atol=0.02)
        assert metrics[name] != exact[name]
    moved = jax.tree.map(jnp.subtract, state.generator.params, expected.generator.params)
    assert optax.tree.norm(moved) < 0.1 * optax.tree.norm(expected.generator.params)
    images = half.sample(state, jax.random.key(1), jnp.zeros(4, jnp.int32))
    assert images.dtype == jnp.float32


@pytest.mark.parametrize(
    ("latent", "deviation", "largest"),
    [("normal", 1.0, 6.0), ("uniform", 3**-0.5, 1.0), ("truncated", 0.8796, 2.0)],
)
def test_latents(latent, deviation, largest):
    z = np.asarray(latents_.draw(jax.random.key(0), latent, (20_000, 2)))
    np.testing.assert_allclose(np.std(z), deviation, rtol=0.02)
    assert 0.9 * min(largest, 3) < np.abs(z).max() <= largest
    cut = np.asarray(latents_.draw(jax.random.key(0), latent, (20_000, 2), truncation=0.5))
    assert np.abs(cut).max() <= 0.5 and np.std(cut) > 0.25


def normalised(**changes):
    """The mlp with BatchNorm in the generator, trained a little."""
    algorithm = small("mlp", n_critic=1, batch_size=64, **changes)
    return algorithm, run(algorithm, 3)[0]


def test_standing_statistics_are_the_means_of_batches():
    algorithm, state = normalised()
    passes, key = 4, jax.random.key(5)
    found = jax.jit(lambda state: algorithm.with_standing_statistics(state, key, passes))(state)
    moments = []
    for number in range(passes):
        z_key, label_key = jax.random.split(jax.random.fold_in(key, number))
        z = np.float64(jax.random.normal(z_key, (64, algorithm.z_dim)))
        labels = jax.random.randint(label_key, (64,), 0, NUM_CLASSES)
        params = state.ema.params
        x = np.concatenate([z, params["LabelledLatent_0"]["Embed_0"]["embedding"][labels]], 1)
        x = x @ np.float64(params["Dense_0"]["kernel"])
        moments.append([np.mean(x, 0), np.var(x, 0)])
    mean, var = np.mean(moments, 0)
    stats = found.ema.stats["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(stats["var"], var, rtol=1e-3, atol=1e-4)
    assert_equal(found.ema.params, state.ema.params)
    assert_equal(found.generator, state.generator)


def test_batch_statistics_are_those_of_the_images_drawn():
    algorithm, state = normalised()
    labels = jnp.zeros(32, jnp.int32)
    far = state.replace(ema=state.ema.replace(stats=jax.tree.map(lambda x: x + 5, state.ema.stats)))
    one, other = (
        algorithm.sample(each, jax.random.key(1), labels, train=True) for each in (state, far)
    )
    assert_equal(one, other)
    one, other = (algorithm.sample(each, jax.random.key(1), labels) for each in (state, far))
    assert differs(one, other)


def test_without_batchnorm_there_is_nothing_to_stand():
    algorithm = plain()
    state, _ = run(algorithm)
    assert algorithm.with_standing_statistics(state, jax.random.key(0)) is state
