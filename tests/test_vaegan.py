"""The VAE-GAN: each network's update against the paper's algorithm 1, written out by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import assembly
from jaxgan import config as configs
from jaxgan.algorithms import player, vaegan
from jaxgan.errors import UserError
from jaxgan.losses import LOSSES
from jaxgan.models import dcgan

BATCH, Z_DIM, RATE, GAMMA = 5, 3, 0.5, 0.3


class LinearGenerator(nn.Module):
    image_shape: tuple[int, ...] = (2,)

    @nn.compact
    def __call__(self, z, labels, train):
        return nn.Dense(2)(z)


class LinearEncoder(nn.Module):
    @nn.compact
    def __call__(self, x, labels, train):
        return nn.Dense(Z_DIM)(x), nn.Dense(Z_DIM)(x)


class TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, x, labels, train):
        return nn.Dense(1, name="Logit_0")(nn.tanh(nn.Dense(4, name="Hidden_0")(x)))[:, 0]


def dense(params, name, x):
    return x @ params[name]["kernel"] + params[name]["bias"][None]


def make(**changes):
    descent = lambda step: player.make_optimizer("sgd", RATE, 0.0, 0.0)  # noqa: E731
    fields = {
        "generator": LinearGenerator(),
        "encoder": LinearEncoder(),
        "discriminator": TwoLayers(),
        "generator_optimizer": descent,
        "discriminator_optimizer": descent,
        "loss": LOSSES["nonsaturating"],
        "layer": "Hidden_0",
        "batch_size": BATCH,
        "z_dim": Z_DIM,
        "num_classes": 0,
        "ema_halflife": 0.0,
        "ema_rampup": 0.0,
        "gamma": GAMMA,
    }
    return vaegan.VAEGAN(**{**fields, **changes})


def test_each_network_goes_down_its_own_sum_of_the_paper():
    algorithm = make()
    state = algorithm.init(jax.random.key(0))
    real = jnp.float32(np.random.default_rng(0).normal(size=(BATCH, 2)))
    after, metrics = jax.jit(algorithm.step)(state, {"image": real[None]})
    part = {"image": real, "key": jax.random.fold_in(state.key, state.step)}
    noise, z_p = (algorithm._noise(part, n)[:, 0] for n in range(2))
    softplus = lambda t: jnp.log1p(jnp.exp(t))  # noqa: E731
    stop = jax.lax.stop_gradient

    def losses(encoder, generator, discriminator):
        mean, log_variance = (dense(encoder, f"Dense_{n}", real) for n in range(2))
        z = mean + jnp.exp(log_variance / 2) * noise
        kl = jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, -1).mean() / 2
        hidden = lambda x: dense(discriminator, "Hidden_0", x)  # noqa: E731
        logit = lambda x: dense(discriminator, "Logit_0", jnp.tanh(hidden(x)))[:, 0]  # noqa: E731
        again, drawn = dense(generator, "Dense_0", z), dense(generator, "Dense_0", z_p)
        error = jnp.sum((hidden(real) - hidden(again)) ** 2, -1).mean() / 2
        # With x~ no longer a function of the encoder, as algorithm 1 has it for L_GAN
        fakes = dense(generator, "Dense_0", stop(z)), drawn
        g = sum(softplus(-logit(fake)).mean() for fake in fakes) / 2
        d = softplus(-logit(real)).mean() + sum(softplus(logit(x)).mean() for x in fakes) / 2
        return {"encoder": kl + error, "generator": GAMMA * error + g, "discriminator": d}

    params = {role: each.params for role, each in player.players(state).items()}
    for role, trained in player.players(after).items():
        slope = jax.grad(lambda own, r=role: losses(**{**params, r: own})[r])(params[role])
        expected = jax.tree.map(lambda w, s: w - RATE * s, params[role], slope)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
        jax.tree.map(close, trained.params, expected)
    of_all = losses(**params)
    np.testing.assert_allclose(metrics["d_loss"], of_all["discriminator"], rtol=1e-5)
    np.testing.assert_allclose(
        metrics["reconstruction"] + metrics["kl"], of_all["encoder"], rtol=1e-5
    )
    found = GAMMA * metrics["reconstruction"] + metrics["g_loss"]
    np.testing.assert_allclose(found, of_all["generator"], rtol=1e-5)


def test_a_step_of_convolutions_with_labels():
    algorithm = make(
        generator=dcgan.Generator((16, 16, 1), 3, 4),
        encoder=dcgan.Encoder(Z_DIM, 3, 4),
        discriminator=dcgan.Discriminator(3, 4),
        layer="Conv_0",
        loss=LOSSES["relativistic_paired"],
        num_classes=3,
        batch_size=6,
        ema_halflife=100.0,
        accumulate=2,
    )
    random = np.random.default_rng(0)
    batch = {
        "image": jnp.float32(random.uniform(-1, 1, (1, 6, 16, 16, 1))),
        "label": jnp.int32(random.integers(0, 3, (1, 6))),
    }
    before = jax.jit(algorithm.init)(jax.random.key(0))
    after, metrics = jax.jit(algorithm.step)(before, batch)
    assert np.isfinite([float(x) for x in metrics.values()]).all()
    for role, each in player.players(before).items():
        moved = getattr(after, role)
        changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), each, moved)
        changed = jax.tree.leaves_with_path((changed.params, changed.stats))
        # The bias of the logit may stay: real and generated images pull it both ways.
        assert all(moved for path, moved in changed if "Logit_0" not in jax.tree_util.keystr(path))
    labels = batch["label"][0]
    key = jax.random.key(1)
    seen, again = algorithm.show(after, key, batch["image"][0], labels)
    assert seen.shape == again.shape == algorithm.sample(after, key, labels).shape
    assert abs(np.asarray(again)).max() <= 1
    assert set(algorithm.health(after)) == {"ema_distance"}


def settings(*overrides):
    given = configs.load("configs/vaegan.py", overrides)
    configs.validate(given)
    return configs.resolve(given, 1000, (28, 28, 1), ("a", "b"), {})


def test_its_config_makes_it():
    algorithm = assembly.build(settings())
    assert algorithm.generator.output == "tanh"
    assert algorithm.layer in algorithm.init(jax.random.key(0)).discriminator.params


def test_mistakes_are_told():
    with pytest.raises(UserError, match=r"^vae\.layer: .*'Conv_9'.*Conv_0"):
        assembly.build(settings("vae.layer=Conv_9")).init(jax.random.key(0))
    with pytest.raises(UserError, match=r"^model\.name: resnet is no network .* vaegan; mlp and"):
        assembly.build(settings("model.name=resnet", "model.generator={}", "model.encoder={}"))
    acgan = "conditional=True", "model.discriminator.conditioning=acgan"
    with pytest.raises(UserError, match=r"^model\.discriminator\.conditioning: 'acgan' classifies"):
        assembly.build(settings(*acgan))
    with pytest.raises(UserError, match=r"^vae\.samples: the algorithm vaegan does not look at it"):
        assembly.build(settings("vae.samples=3"))
    with pytest.raises(UserError, match=r"^penalties: the algorithm vaegan does not look at it"):
        assembly.build(settings("penalties.r1=1.0"))
