"""The GAN step: against a hand calculation, and its invariants on small networks.

The hand calculation has networks of a few numbers: `Scale` multiplies z, `Linear` is an inner
product with one weight vector a class. All else runs narrow versions of the real models.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.algorithms import player
from jaxgan.algorithms.gan import GAN
from jaxgan.algorithms.terms import Regulariser
from jaxgan.losses import LOSSES, accuracy
from jaxgan.models import dcgan, mlp
from jaxgan.penalties import PENALTIES

SHAPE, NUM_CLASSES, Z_DIM, BATCH = (8, 8, 1), 3, 4, 6
KEYS = {"d_loss", "g_loss", "real_logit", "fake_logit", "d_accuracy"}
KEYS |= {"real_diversity", "fake_diversity", "d_gradient_norm", "g_gradient_norm"}
both_models = pytest.mark.parametrize("model", ["mlp", "dcgan"])


def optimizer(name="sgd", learning_rate=1.0, b1=0.0, b2=0.999):
    return lambda step: player.make_optimizer(name, learning_rate, b1, b2)


def regulariser(name, weight, every=1):
    return Regulariser(name, PENALTIES[name], weight, every)


def gan(generator, discriminator, **changes):
    fields = {
        "generator_optimizer": optimizer("adam", 1e-3, 0.5),
        "discriminator_optimizer": optimizer("adam", 1e-3, 0.5),
        "loss": LOSSES["nonsaturating"],
        "penalties": (),
        "n_critic": 2,
        "batch_size": BATCH,
        "z_dim": Z_DIM,
        "num_classes": NUM_CLASSES,
        "ema_halflife": 100.0,
        "ema_rampup": 2.0,  # large enough for the second average to remember the first
    }
    return GAN(generator, discriminator, **{**fields, **changes})


def small(model, **changes):
    """A narrow GAN; the mlp's discriminator has BatchNorm so that it has statistics."""
    classes = changes.get("num_classes", NUM_CLASSES)
    if model == "dcgan":
        networks = dcgan.Generator(SHAPE, classes, 4), dcgan.Discriminator(classes, 4)
    else:
        networks = (
            mlp.Generator(SHAPE, classes, (8,)),
            mlp.Discriminator(classes, (8,), norm="batch"),
        )
    return gan(*networks, **changes)


def begin(algorithm, seed=0):
    return jax.jit(algorithm.init)(jax.random.key(seed))


def data(algorithm, seed=0, leading=()):
    """A batch for one step, or for as many as `leading` says."""
    random = np.random.default_rng(seed)
    shape = (*leading, algorithm.n_critic, algorithm.batch_size)
    image = random.uniform(-1, 1, (*shape, *algorithm.generator.image_shape))
    batch = {"image": jnp.float32(image)}
    if algorithm.num_classes:
        batch["label"] = jnp.int32(random.integers(0, algorithm.num_classes, shape))
    return batch


@functools.cache
def compiled(model):
    """A small GAN, its init and its step, compiled once for all tests."""
    algorithm = small(model)
    return algorithm, jax.jit(algorithm.init), jax.jit(algorithm.step)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, *map(arrays, (a, b)))


def assert_close(a, b, rtol=1e-5, atol=1e-6):
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(close, *map(arrays, (a, b)))


def arrays(tree):
    """The tree with its random keys as integers."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def differs(a, b):
    return any(np.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def at(tree, n):
    return jax.tree.map(lambda x: x[n], tree)


def latents(state, step, number):
    """The latents that the module's docstring promises for update `number` of a step."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, step), number)
    return jax.random.normal(key, (BATCH, Z_DIM))


# --------------------------------------------------------------------------------------------------
# By hand


class Scale(nn.Module):
    image_shape: tuple = (2, 2, 1)

    @nn.compact
    def __call__(self, z, labels, train):
        scale = self.param("scale", nn.initializers.constant(0.5), ())
        return scale * z.reshape(-1, *self.image_shape)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, labels, train):
        w = self.param("w", nn.initializers.normal(1), (NUM_CLASSES, 4))
        return jnp.sum(w[labels] * x.reshape(-1, 4), -1)


def s(t):
    return 1 / (1 + np.exp(-t))


def test_two_steps_by_hand():
    gamma, d_rate, g_rate = 0.3, 0.7, 0.4
    algorithm = gan(
        Scale(),
        Linear(),
        discriminator_optimizer=optimizer("sgd", d_rate),
        generator_optimizer=optimizer("sgd", g_rate),
        penalties=(regulariser("r1", gamma),),
    )
    state = begin(algorithm)
    w, scale = np.float64(state.discriminator.params["w"]), 0.5
    average = scale
    step = jax.jit(algorithm.step)
    for number in range(2):
        batch = data(algorithm, seed=number)
        d_loss, r1, real_logit, fake_logit, d_accuracy, d_norm = [], [], [], [], [], []
        for k in range(2):
            x = np.float64(batch["image"][k]).reshape(BATCH, 4)
            one_hot = np.eye(NUM_CLASSES)[batch["label"][k]]
            fake = scale * np.float64(latents(state, number, k))
            t_real, t_fake = np.sum(one_hot @ w * x, 1), np.sum(one_hot @ w * fake, 1)
            real_logit.append(np.mean(t_real))
            fake_logit.append(np.mean(t_fake))
            d_loss.append(-np.mean(np.log(s(t_real))) - np.mean(np.log(1 - s(t_fake))))
            r1.append(np.mean(np.sum((one_hot @ w) ** 2, 1)) / 2)
            d_accuracy.append((np.mean(t_real > 0) + np.mean(t_fake <= 0)) / 2)
            gradient = (
                -one_hot.T @ ((1 - s(t_real))[:, None] * x) / BATCH
                + one_hot.T @ (s(t_fake)[:, None] * fake) / BATCH
                + gamma * np.mean(one_hot, 0)[:, None] * w
            )
            d_norm.append(np.linalg.norm(gradient))
            w = w - d_rate * gradient
        z = np.float64(latents(state, number, 2))
        slope = np.sum(one_hot @ w * z, 1)  # of the logit by the scale; the last minibatch's labels
        g_loss = -np.mean(np.log(s(scale * slope)))
        g_gradient = -np.mean((1 - s(scale * slope)) * slope)
        scale = scale - g_rate * g_gradient
        halflife = min(100, 2 * number * 2 * BATCH)
        decay = 0.5 ** (2 * BATCH / halflife) if halflife else 0
        average = decay * average + (1 - decay) * scale

        state, metrics = step(state, batch)
        expected = {
            "d_loss": np.mean(d_loss),
            "r1": np.mean(r1),
            "real_logit": np.mean(real_logit),
            "fake_logit": np.mean(fake_logit),
            "g_loss": g_loss,
            "d_accuracy": np.mean(d_accuracy),
            "d_gradient_norm": np.mean(d_norm),
            "g_gradient_norm": np.abs(g_gradient),
        }
        for name, value in expected.items():
            assert_close(metrics[name], np.asarray(value))
        assert_close(state.discriminator.params["w"], w)
        assert_close(state.generator.params["scale"], np.asarray(scale))
        assert_close(state.ema.params["scale"], np.asarray(average))


# --------------------------------------------------------------------------------------------------
# The step


@both_models
def test_a_step_counts_and_returns_finite_metrics(model):
    algorithm, init, step = compiled(model)
    state, start = init(jax.random.key(0)), init(jax.random.key(0))
    for number in range(3):
        assert state.step.dtype == jnp.int32 and state.step == number
        state, metrics = step(state, data(algorithm, number))
        assert {name for name in metrics if "/" not in name} == KEYS
        assert all(m.shape == () and np.isfinite(m) for m in metrics.values())
        for role in ("generator", "discriminator"):
            norm = f"{role[0]}_gradient_norm"
            blocks = {f"{norm}/{name}" for name in getattr(state, role).params}
            assert {name for name in metrics if name.startswith(f"{norm}/")} == blocks
            if role == "generator":  # the discriminator's are means over its updates
                squares = sum(np.square(metrics[name]) for name in blocks)
                assert_close(metrics[norm], np.sqrt(squares))
    assert_equal(state.key, start.key)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(arrays(state)))


@both_models
def test_the_same_seed_gives_the_same_training_and_another_one_another(model):
    algorithm, init, step = compiled(model)
    batch = data(algorithm)
    first, again, other = (step(init(jax.random.key(seed)), batch) for seed in (0, 0, 1))
    assert_equal(first, again)
    assert first[1]["d_loss"] != other[1]["d_loss"]


def test_a_seed_decides_the_weights_of_both_players_and_the_latents():
    _, init, _ = compiled("mlp")
    first, other = (init(jax.random.key(seed)) for seed in (0, 1))
    assert differs(latents(first, 0, 0), latents(other, 0, 0))
    for role in ("generator", "discriminator"):
        kernels = [getattr(state, role).params["Dense_0"]["kernel"] for state in (first, other)]
        assert differs(*kernels)


def test_each_step_draws_other_latents():
    algorithm, init, step = compiled("mlp")
    state = init(jax.random.key(0))
    later = state.replace(step=state.step + 1)
    batch = data(algorithm)
    assert step(state, batch)[1]["fake_logit"] != step(later, batch)[1]["fake_logit"]


@both_models
def test_a_step_is_its_updates_one_after_the_other(model):
    algorithm, init, step = compiled(model)
    state, batch = init(jax.random.key(0)), data(algorithm)
    state, _ = step(state, batch)  # so that the step's number matters
    update_discriminator = jax.jit(algorithm.update_discriminator)

    here, seen = state, []
    for k in range(2):
        assert_equal(algorithm.latents(here, k), latents(state, 1, k))
        here, metrics = update_discriminator(here, at(batch, k), k)
        seen.append(metrics)
    assert_equal(here.generator.params, state.generator.params)
    generator, g_metrics = jax.jit(algorithm.update_generator)(here, at(batch, -1))
    after, metrics = step(state, batch)
    means = jax.tree.map(lambda a, b: (a + b) / 2, *seen)
    assert_close((after.discriminator, after.generator), (here.discriminator, generator))
    assert_close(metrics, {**means, **g_metrics})


def test_a_scan_of_steps_is_the_steps():
    algorithm, init, step = compiled("dcgan")
    batches = data(algorithm, leading=(3,))
    state = init(jax.random.key(0))
    scanned, all_metrics = jax.jit(functools.partial(jax.lax.scan, algorithm.step))(state, batches)
    for number in range(3):
        state, metrics = step(state, at(batches, number))
        assert_close(at(all_metrics, number), metrics)
    assert_close(scanned, state, atol=1e-5)


def test_repeated_calls_trace_once_and_may_donate_their_state():
    algorithm, traces = small("mlp"), []

    def step(state, batch):
        traces.append(1)
        return algorithm.step(state, batch)

    donating = jax.jit(step, donate_argnums=0)
    state = begin(algorithm)
    for number in range(3):
        before = state
        state, _ = donating(before, data(algorithm, number))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    donating(jax.jit(algorithm.init)(jax.random.key(0)), data(algorithm))
    assert len(traces) == 1


def test_seeds_under_vmap_are_their_own_runs():
    algorithm, init, step = compiled("mlp")
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(algorithm.init)(keys)
    many = jax.jit(jax.vmap(algorithm.step, in_axes=(0, None)))
    batches = [data(algorithm, number) for number in range(2)]
    for batch in batches:
        together, all_metrics = many(together, batch)
    for seed in range(3):
        state = init(keys[seed])
        for batch in batches:
            state, metrics = step(state, batch)
        assert_close(at(together, seed), state, atol=1e-5)
        assert_close(at(all_metrics, seed), metrics, atol=1e-5)


# --------------------------------------------------------------------------------------------------
# Who changes what


def still():
    return optimizer("sgd", 0.0)


@pytest.mark.parametrize(
    "role, other", [("generator", "discriminator"), ("discriminator", "generator")]
)
def test_an_update_changes_the_params_of_one_player_only(role, other):
    algorithm = gan(Scale(), Linear(), **{f"{role}_optimizer": still()})
    state = begin(algorithm)
    after, _ = jax.jit(algorithm.step)(state, data(algorithm))
    assert_equal(getattr(after, role).params, getattr(state, role).params)
    assert differs(getattr(after, other).params, getattr(state, other).params)


def first_moments(params, x, labels):
    """The mean and variance of the mlp's first hidden layer, before its BatchNorm."""
    embedding = params.get("LabelledLatent_0", params)["Embed_0"]["embedding"]
    x = np.concatenate([np.asarray(x).reshape(len(x), -1), np.asarray(embedding)[labels]], 1)
    x = np.float64(x) @ np.float64(params["Dense_0"]["kernel"])
    return {"mean": np.mean(x, 0), "var": np.var(x, 0)}


def updated(moments, *batches):
    for batch in batches:
        moments = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, moments, batch)
    return moments


def test_a_players_statistics_change_in_its_own_update_only():
    # With players that stand still, by hand: the discriminator's moments see the real, then the
    # fake images of each update, the generator's only the latents of its own.
    algorithm = small("mlp", generator_optimizer=still(), discriminator_optimizer=still())
    state, batch = begin(algorithm), data(algorithm)
    stats = lambda player: player.stats["batch_stats"]["BatchNorm_0"]  # noqa: E731
    # init, too, has passed a batch
    g_moments, d_moments = stats(state.generator), stats(state.discriminator)
    g, d = state.generator.params, state.discriminator.params
    for k in range(2):
        labels, z = batch["label"][k], latents(state, 0, k)
        fake, _ = algorithm.generator.apply(
            {"params": g, **state.generator.stats}, z, labels, train=True, mutable="batch_stats"
        )
        d_moments = updated(
            d_moments,
            first_moments(d, batch["image"][k], labels),
            first_moments(d, fake, labels),
        )
    moments = first_moments(g, latents(state, 0, 2), batch["label"][-1])
    g_moments = updated(g_moments, moments)

    after, _ = jax.jit(algorithm.step)(state, batch)
    assert_close(stats(after.discriminator), d_moments)
    assert_close(stats(after.generator), g_moments)
    # The first average is the generator after its update, statistics too.
    assert_equal(
        (after.ema.params, after.ema.stats), (after.generator.params, after.generator.stats)
    )
    assert differs(after.ema.stats, state.generator.stats)


@both_models
def test_the_average_follows_the_generator_after_its_update(model):
    algorithm, init, step = compiled(model)
    state = init(jax.random.key(0))
    assert_equal(state.ema.params, state.generator.params)
    first, _ = step(state, data(algorithm, 0))
    second, _ = step(first, data(algorithm, 1))
    per_step = 2 * BATCH
    decay = 0.5 ** (per_step / (2 * per_step))
    for part in ("params", "stats"):
        new, newer = getattr(first.generator, part), getattr(second.generator, part)
        assert_equal(getattr(first.ema, part), new)
        expected = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, new, newer)
        assert_close(getattr(second.ema, part), expected)
    third, _ = step(second.replace(step=second.step + 10**6), data(algorithm, 2))
    mix = lambda old, new: 0.5 ** (per_step / 100) * (old - new) + new  # noqa: E731
    expected = jax.tree.map(mix, second.ema.params, third.generator.params)
    assert_close(third.ema.params, expected)


def test_without_classes_a_step_needs_no_labels():
    algorithm = small("mlp", num_classes=0, n_critic=1)
    state = begin(algorithm)
    batch = data(algorithm)
    assert batch.keys() == {"image"}
    after, metrics = jax.eval_shape(algorithm.step, state, batch)
    assert {name for name in metrics if "/" not in name} == KEYS
    assert after == jax.eval_shape(lambda: state)
    labels = jnp.array([0, 7, -1], jnp.int32)  # only their number counts
    images = algorithm.sample(state, jax.random.key(1), labels)
    assert images.shape == (3, *SHAPE)
    assert_equal(images, algorithm.sample(state, jax.random.key(1), 0 * labels))


# --------------------------------------------------------------------------------------------------
# Samples


@both_models
def test_samples_come_from_the_averages_in_evaluation_mode(model):
    algorithm, init, step = compiled(model)
    state, _ = step(init(jax.random.key(0)), data(algorithm))
    state = state.replace(ema=jax.tree.map(lambda x: 0.5 * x, state.ema))  # not the generator
    key, labels = jax.random.key(7), jnp.array([0, 1, 2, 2], jnp.int32)
    images = algorithm.sample(state, key, labels)
    expected = algorithm.generator.apply(
        {"params": state.ema.params, **state.ema.stats},
        jax.random.normal(key, (4, Z_DIM)),
        labels,
        train=False,
    )
    assert images.shape == (4, *SHAPE) and np.abs(images).max() <= 1
    assert_close(images, expected)
    assert_equal(images, algorithm.sample(state, key, labels))
    assert differs(images, algorithm.sample(state, jax.random.key(8), labels))
    assert differs(images, algorithm.sample(state, key, labels[::-1]))


def test_truncated_latents_are_drawn_anew_and_not_clipped():
    algorithm = gan(Scale(), Linear())  # its images are half of z
    state = begin(algorithm)
    z = 2 * np.asarray(algorithm.sample(state, jax.random.key(1), jnp.zeros(2000, jnp.int32), 0.5))
    assert np.abs(z).max() <= 0.5
    assert np.mean(np.abs(z) > 0.499) < 0.01  # 0.2 % of them; clipping would make it 62 %
    # Nearly uniform: 0.2841 is the standard deviation, by integration of the density.
    np.testing.assert_allclose(np.std(z), 0.2841, rtol=0.02)
    z = 2 * np.asarray(algorithm.sample(state, jax.random.key(1), jnp.zeros(2000, jnp.int32)))
    np.testing.assert_allclose(np.std(z), 1, rtol=0.03)


# --------------------------------------------------------------------------------------------------
# Training works


def test_training_moves_the_fakes_to_the_data():
    # Four pixels, each normal around its own mean: the fakes' means and spread must get there.
    mean, std = np.array([0.6, -0.4, 0.3, -0.6]), 0.1
    shape, batch_size, steps = (2, 2, 1), 64, 400
    adam = optimizer("adam", 2e-3, 0.5, 0.99)
    algorithm = gan(
        mlp.Generator(shape, features=(16,), norm="none"),
        mlp.Discriminator(features=(32,)),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        penalties=(regulariser("r1", 0.1),),
        n_critic=1,
        num_classes=0,
        batch_size=batch_size,
        ema_halflife=2000.0,
    )
    random = np.random.default_rng(0)
    images = mean + std * random.normal(size=(steps, 1, batch_size, 4))
    batches = {"image": jnp.float32(images).reshape(steps, 1, batch_size, *shape)}

    def means_and_stds(state):
        samples = algorithm.sample(state, jax.random.key(1), jnp.zeros(1000, jnp.int32))
        samples = np.asarray(samples).reshape(1000, 4)
        return np.mean(samples, 0), np.std(samples, 0)

    start = begin(algorithm)
    assert np.abs(means_and_stds(start)[0] - mean).max() > 0.4
    state, _ = jax.jit(functools.partial(jax.lax.scan, algorithm.step))(start, batches)
    means, stds = means_and_stds(state)
    assert np.abs(means - mean).max() < 0.1
    assert stds.max() < 0.25


# --------------------------------------------------------------------------------------------------
# Health


def test_accuracy_counts_by_the_losss_boundary():
    real, fake = jnp.float32([0.6, 0.4, -1.0, 2.0]), jnp.float32([0.4, 0.6, -2.0, 0.5])
    for loss, expected in (("hinge", (3 + 1) / 8), ("least_squares", (2 + 3) / 8)):
        assert accuracy(LOSSES[loss], real, fake) == expected


def test_health_tells_how_far_the_average_is():
    algorithm, init, step = compiled("mlp")
    state = init(jax.random.key(0))
    assert algorithm.health(state) == {"ema_distance": 0.0}
    for number in range(2):
        state, _ = step(state, data(algorithm, number))
    norm = lambda tree: np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(tree)))  # noqa: E731
    moved = jax.tree.map(np.subtract, state.ema.params, state.generator.params)
    distance = algorithm.health(state)["ema_distance"]
    assert distance > 0
    assert_close(distance, norm(moved) / norm(state.generator.params))


class Spectral(nn.Module):
    """Two layers under spectral normalisation."""

    @nn.compact
    def __call__(self, images, labels, train):
        x = images.reshape(images.shape[0], -1)
        for features, gain in ((3, 0.1), (1, 2.0)):
            dense = nn.Dense(features, kernel_init=nn.initializers.orthogonal(gain))
            x = nn.SpectralNorm(dense)(x, update_stats=train)
        return x[:, 0]


def test_health_tells_the_largest_singular_value_where_spectral_norm_is_used():
    algorithm = gan(Scale(), Spectral(), num_classes=0, n_critic=1)
    state = begin(algorithm)
    batch = {"image": data(gan(Scale(), Linear(), n_critic=1))["image"]}
    step = jax.jit(algorithm.step)
    for _ in range(20):  # of power iteration, which begins anywhere
        state, _ = step(state, batch)
    largest = max(
        np.linalg.svd(layer["kernel"], compute_uv=False)[0]
        for layer in state.discriminator.params.values()
        if "kernel" in layer
    )
    health = algorithm.health(state)
    assert health.keys() == {"ema_distance", "d_sigma"}
    np.testing.assert_allclose(health["d_sigma"], largest, rtol=0.02)
