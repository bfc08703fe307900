"""The variational autoencoder: against closed forms of a linear model, and its invariants."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgan import assembly, experiment
from jaxgan import config as configs
from jaxgan.algorithms import player, vae
from jaxgan.errors import UserError
from jaxgan.likelihoods import LIKELIHOODS
from jaxgan.models import dcgan, mlp

SHAPE, CLASSES, Z_DIM, BATCH = (8, 8, 1), 3, 4, 6


def optimizer(name="adam", learning_rate=1e-3, **arguments):
    return lambda step: player.make_optimizer(name, learning_rate, 0.9, 0.999, **arguments)


def of(generator, encoder, **changes):
    fields = {
        "generator_optimizer": optimizer(),
        "likelihood": LIKELIHOODS["bernoulli"],
        "batch_size": BATCH,
        "z_dim": Z_DIM,
        "num_classes": CLASSES,
        "ema_halflife": 100.0,
        "ema_rampup": 2.0,
    }
    return vae.VAE(generator=generator, encoder=encoder, **{**fields, **changes})


def small(model, **changes):
    likelihood = changes.get("likelihood", LIKELIHOODS["bernoulli"])
    shape = (*SHAPE[:2], likelihood.outputs)
    if model == "dcgan":
        networks = (
            dcgan.Generator(shape, CLASSES, 4, output="linear"),
            dcgan.Encoder(Z_DIM, CLASSES, 4),
        )
    else:
        networks = (
            mlp.Generator(shape, CLASSES, (8,), output="linear"),
            mlp.Encoder(Z_DIM, CLASSES, (8,)),
        )
    return of(*networks, **changes)


def batch(seed=0, leading=()):
    random = np.random.default_rng(seed)
    image = random.uniform(-1, 1, (*leading, 1, BATCH, *SHAPE))
    return {
        "image": jnp.float32(image),
        "label": jnp.int32(random.integers(0, CLASSES, (*leading, 1, BATCH))),
    }


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(close, found, expected)


# --------------------------------------------------------------------------------------------------
# A linear model, of which all is known: x = A z + c + noise, z and the noise normal

DIM, DEVIATION = 3, 0.5


class LinearDecoder(nn.Module):
    image_shape: tuple[int, ...] = (2 * DIM,)

    @nn.compact
    def __call__(self, z, labels, train):
        mean = nn.Dense(DIM)(z)
        return jnp.concatenate([mean, jnp.full_like(mean, np.log(DEVIATION))], -1)


class LinearEncoder(nn.Module):
    @nn.compact
    def __call__(self, x, labels, train):
        log_variance = self.param("log_variance", nn.initializers.zeros, (2,))
        mean = nn.Dense(2)(x)
        return mean, jnp.broadcast_to(log_variance, mean.shape)


A = np.array([[0.7, -0.4, 0.2], [0.1, 0.9, 0.9]])  # 2 latents, 3 numbers; orthogonal rows below
C = np.array([0.3, -0.2, 0.1])


def linear(exact, **changes):
    """The model and its state; the encoder's is the posterior where that is `exact`."""
    rows = np.linalg.qr(A.T)[0].T * np.array([[0.8], [1.1]])  # then q's dimensions are independent
    precision = np.eye(2) + rows @ rows.T / DEVIATION**2
    kernel = rows.T @ np.linalg.inv(precision) / DEVIATION**2
    algorithm = of(
        LinearDecoder(),
        LinearEncoder(),
        **{"likelihood": LIKELIHOODS["gaussian"], "z_dim": 2, "num_classes": 0, **changes},
    )
    state = algorithm.init(jax.random.key(0))
    decoder = {"Dense_0": {"kernel": rows, "bias": C}}
    encoder = {
        "Dense_0": {"kernel": kernel, "bias": -C @ kernel},
        "log_variance": -np.log(np.diag(precision)),
    }
    if not exact:
        encoder["log_variance"] = encoder["log_variance"] + 1.0
    as_floats = functools.partial(jax.tree.map, jnp.float32)
    state = state.replace(
        ema=state.ema.replace(params=as_floats(decoder)),
        encoder_ema=state.encoder_ema.replace(params=as_floats(encoder)),
        generator=state.generator.replace(params=as_floats(decoder)),
        encoder=state.encoder.replace(params=as_floats(encoder)),
    )
    points = np.random.default_rng(0).normal(size=(BATCH, DIM))
    evidence = stats.multivariate_normal(C, rows.T @ rows + DEVIATION**2 * np.eye(DIM))
    return algorithm, state, jnp.float32(points), evidence.logpdf(points)


@pytest.mark.parametrize("samples", [1, 7, 300])
def test_by_the_true_posterior_the_importance_bound_is_the_evidence(samples):
    algorithm, state, points, evidence = linear(exact=True)
    labels = jnp.zeros(BATCH, jnp.int32)
    found = algorithm.bounds(state, jax.random.key(1), points, labels, samples)
    # p(x, z) / q(z | x) is then p(x), whatever z is.
    np.testing.assert_allclose(found["importance_bound"], evidence, rtol=1e-4)


def test_the_elbo_is_the_evidence_less_the_encoders_divergence_from_the_posterior():
    labels = jnp.zeros(BATCH, jnp.int32)
    for exact in (True, False):
        algorithm, state, points, evidence = linear(exact)
        found = algorithm.bounds(state, jax.random.key(1), points, labels, 40_000)
        # KL(N(m, e s), N(m, s)) = (e - 1 - 1) / 2 for each of two dimensions
        gap = 0 if exact else np.e - 2
        np.testing.assert_allclose(found["elbo"], evidence - gap, atol=0.03)
        between = found["importance_bound"]  # of so many latents it is the evidence
        np.testing.assert_allclose(between, evidence, atol=0.03)


def test_the_importance_bound_grows_with_the_latents():
    algorithm, state, points, evidence = linear(exact=False)
    points, labels = jnp.tile(points, (500, 1)), jnp.zeros(500 * BATCH, jnp.int32)
    means = []
    for samples in (1, 5, 50):
        found = algorithm.bounds(state, jax.random.key(2), points, labels, samples)
        means.append(found["importance_bound"].mean())
    assert means[0] + 0.1 < means[1] < means[2] < evidence.mean()
    elbo = algorithm.bounds(state, jax.random.key(2), points, labels, 1)["elbo"].mean()
    np.testing.assert_allclose(means[0], elbo, atol=0.05)


def loss_of(algorithm, state, points, seed=3):
    part = {"image": points, "key": jax.random.key(seed)}
    params = {"encoder": state.encoder.params, "generator": state.generator.params}
    stats_ = {"encoder": state.encoder.stats, "generator": state.generator.stats}
    return algorithm.loss(params, stats_, part, state.step)


def test_losses_are_the_bounds():
    algorithm, state, points, evidence = linear(exact=True, bound="iwae", samples=3)
    np.testing.assert_allclose(loss_of(algorithm, state, points)[0], -evidence.mean(), rtol=1e-4)
    algorithm, state, points, evidence = linear(exact=False, samples=5_000)
    loss, (_, metrics) = loss_of(algorithm, state, points)
    np.testing.assert_allclose(loss, -evidence.mean() + np.e - 2, atol=0.03)
    np.testing.assert_allclose(loss, metrics["reconstruction"] + metrics["kl"], rtol=1e-5)
    weighted, _ = loss_of(*linear(exact=False, samples=5_000, beta=3.0)[:3])
    np.testing.assert_allclose(weighted - loss, 2 * metrics["kl"], rtol=1e-4)


def test_beta_may_be_a_schedule():
    rising = linear(exact=True, beta=lambda step: 1.0 + step)
    loss, (_, metrics) = loss_of(*rising[:3])
    later = rising[1].replace(step=jnp.int32(2))
    np.testing.assert_allclose(
        loss_of(rising[0], later, rising[2])[0] - loss, 2 * metrics["kl"], rtol=1e-4
    )


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_gradients_are_those_of_finite_differences(bound):
    with jax.enable_x64(True):
        algorithm, state, points, _ = linear(exact=False, bound=bound, samples=4, dtype=jnp.float64)
        points = jnp.float64(points)
        wide = lambda each: each.replace(params=jax.tree.map(jnp.float64, each.params))  # noqa: E731
        params = {role: wide(getattr(state, role)).params for role in ("encoder", "generator")}
        stats_ = {"encoder": {}, "generator": {}}
        part = {"image": points, "key": jax.random.key(3)}

        def loss(params):
            return algorithm.loss(params, stats_, part, state.step)[0]

        slopes, h = jax.grad(loss)(params), 1e-3
        for path, slope in jax.tree.leaves_with_path(slopes):

            def moved(by, path=path):
                def at(p, x):
                    return x.at[(0,) * x.ndim].add(by) if p == path else x

                return loss(jax.tree.map_with_path(at, params))

            np.testing.assert_allclose(
                (moved(h) - moved(-h)) / (2 * h), slope[(0,) * slope.ndim], rtol=2e-2, atol=1e-3
            )


# --------------------------------------------------------------------------------------------------
# The step


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_step_updates_both_networks_and_both_averages(model, likelihood):
    algorithm = small(model, likelihood=LIKELIHOODS[likelihood])
    before = jax.jit(algorithm.init)(jax.random.key(0))
    after, metrics = jax.jit(algorithm.step)(before, batch())
    for old, new in (
        (before.encoder, after.encoder),
        (before.generator, after.generator),
        (before.ema, after.ema),
        (before.encoder_ema, after.encoder_ema),
    ):
        moved = jax.tree.map(lambda a, b: np.any(a != b), old.params, new.params)
        assert all(jax.tree.leaves(moved))
    assert after.step == 1
    assert np.isfinite(list(metrics.values())).all()
    assert {"loss", "reconstruction", "kl", "e_gradient_norm", "g_gradient_norm"} <= set(metrics)
    labels = jnp.arange(5, dtype=jnp.int32) % CLASSES
    images = algorithm.sample(after, jax.random.key(1), labels)
    assert images.shape == (5, *SHAPE)
    encoded = algorithm.encode(after, batch()["image"][0], batch()["label"][0])
    assert encoded.mean.shape == encoded.log_variance.shape == (BATCH, Z_DIM)


def test_a_step_goes_down_the_losss_gradient():
    algorithm = small(
        "mlp", generator_optimizer=lambda step: player.make_optimizer("sgd", 0.1, 0.0, 0.0)
    )
    state = algorithm.init(jax.random.key(0))
    minibatch = jax.tree.map(lambda x: x[0], batch())
    part = {**minibatch, "key": jax.random.fold_in(state.key, 0)}
    params = {"encoder": state.encoder.params, "generator": state.generator.params}
    slopes = jax.grad(
        lambda p: algorithm.loss(
            p,
            {"encoder": {}, "generator": {"batch_stats": state.generator.stats["batch_stats"]}},
            part,
            state.step,
        )[0]
    )(params)
    after, _ = algorithm.step(state, batch())
    expected = jax.tree.map(lambda w, slope: w - 0.1 * slope, params, slopes)
    assert_close({"encoder": after.encoder.params, "generator": after.generator.params}, expected)


def test_scanned_steps_are_steps_one_by_one():
    algorithm = small("mlp", samples=2, bound="iwae")
    state = jax.jit(algorithm.init)(jax.random.key(0))
    several = batch(leading=(3,))
    scanned, _ = jax.jit(lambda s, b: jax.lax.scan(algorithm.step, s, b))(state, several)
    step = jax.jit(algorithm.step)
    for n in range(3):
        state, _ = step(state, jax.tree.map(lambda x, n=n: x[n], several))
    assert_close(jax.device_get(scanned.generator), jax.device_get(state.generator))
    assert_close(jax.device_get(scanned.encoder), jax.device_get(state.encoder))


def test_parts_of_a_minibatch_give_the_mean_of_their_gradients():
    descent = lambda step: player.make_optimizer("sgd", 1.0, 0.0, 0.0)  # noqa: E731
    algorithm = small("mlp", generator_optimizer=descent, accumulate=2)
    state = algorithm.init(jax.random.key(0))
    after, _ = algorithm.step(state, batch())
    minibatch = jax.tree.map(lambda x: x[0], batch())
    parts = player.parts(minibatch, jax.random.fold_in(state.key, 0), 2)
    params = {"encoder": state.encoder.params, "generator": state.generator.params}
    stats_ = {"encoder": state.encoder.stats, "generator": state.generator.stats}
    found = []
    for n in range(2):
        part = jax.tree.map(lambda x, n=n: x[n], parts)
        slope, (stats_, _) = jax.grad(algorithm.loss, has_aux=True)(
            params, stats_, part, state.step
        )
        found.append(slope)
    expected = jax.tree.map(lambda w, a, b: w - (a + b) / 2, params, *found)
    assert_close({"encoder": after.encoder.params, "generator": after.generator.params}, expected)


# --------------------------------------------------------------------------------------------------
# From a config


def settings(*overrides):
    given = configs.load("configs/vae.py", overrides)
    configs.validate(given)
    return configs.resolve(given, 1000, (28, 28, 1), ("a", "b"), {})


def test_a_decoder_has_the_likelihoods_outputs():
    for name, likelihood in LIKELIHOODS.items():
        algorithm = assembly.build(settings(f"vae.likelihood={name}"))
        assert algorithm.generator.image_shape == (28, 28, likelihood.outputs)
        assert algorithm.image_shape == (28, 28, 1)
        assert algorithm.generator.output == "linear"


@pytest.mark.parametrize(
    "overrides, message",
    [
        (
            ["penalties.r1=1.0"],
            r"^penalties: the algorithm vae does not look at it; leave it at {}",
        ),
        (["n_critic=2"], r"^n_critic: the algorithm vae does not look at it; leave it at 1"),
        (["augment.policy=diffaugment"], r"^augment\.policy: the algorithm vae .* at none"),
        (["model.discriminator.width=3"], r"^model\.discriminator: the algorithm vae"),
        (["algorithm=gan"], r"^model\.encoder: the algorithm gan does not look at it"),
        (["algorithm=gan", "model.encoder={}", "vae.beta=2.0"], r"^vae\.beta: the algorithm gan"),
        (["vae.bound=iwae", "vae.beta=2.0"], r"^vae\.beta: .* set it to 1"),
        (["vae.likelihood=poisson"], r"^vae\.likelihood: .*'poisson'.*bernoulli"),
        (
            ["model.name=resnet", "model.encoder={}"],
            r"^model\.name: resnet is no network for the algorithm vae; mlp and dcgan",
        ),
        (["model.encoder.width=3"], r"model\.encoder \(mlp\): .*'width'"),
        (["loss=hinge"], r"^loss: the algorithm vae does not look at it; leave it at nonsat"),
        (["vae.bound=elob"], r"^vae\.bound: 'elob' is not allowed; it must be 'elbo' or 'iwae'"),
    ],
)
def test_mistakes_are_told(overrides, message):
    with pytest.raises(UserError, match=message):
        assembly.build(settings(*overrides))


def test_points_take_a_gaussian():
    given = configs.load("configs/vae.py", ["data.name=ring", "evaluate_every=0"])
    config, _ = experiment.prepare(given)
    with pytest.raises(UserError, match=r"^vae\.likelihood: ring is of real numbers, .* gaussian"):
        assembly.build(config)
    config.vae.likelihood = "gaussian"
    algorithm = assembly.build(config)
    assert algorithm.image_shape == (2,)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    labels, key = jnp.zeros(3, jnp.int32), jax.random.key(1)
    assert jax.eval_shape(algorithm.sample, state, key, labels).shape == (3, 2)
