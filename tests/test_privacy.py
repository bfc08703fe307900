"""Private updates of the discriminator, and what they are worth."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import accountant, assembly, experiment, loop, writer
from jaxgan import config as configs
from jaxgan.algorithms.privacy import Private
from jaxgan.errors import UserError


def objective(params, stats, part):
    """Whose gradient is the image times the label."""
    loss = jnp.mean(part["label"][:, None] * part["image"] * params["w"][None])
    return loss * part["image"].shape[1], (stats, {"d_loss": loss, "real_diversity": loss})


PART = {
    "image": jnp.float32(np.random.default_rng(0).normal(size=(6, 5))),
    "label": jnp.arange(6.0),
    "key": jax.random.key(0),
}


def test_each_examples_gradient_is_clipped():
    found, _, metrics = Private(2.0, 0.0).gradients(objective, {"w": jnp.ones(5)}, {}, PART, 1)
    each = np.asarray(PART["label"][:, None] * PART["image"])
    lengths = np.linalg.norm(each, axis=1)
    assert 0 < (lengths > 2).sum() < 6
    expected = (each * np.minimum(1, 2 / np.maximum(lengths, 1e-9))[:, None]).mean(0)
    np.testing.assert_allclose(found["w"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["clipped"], (lengths > 2).mean())
    assert set(metrics) == {"d_loss", "clipped"}  # what is of several images is none of one


def test_an_example_moves_the_sum_by_no_more_than_the_clip():
    private = Private(2.0, 0.0)
    first, _, _ = private.gradients(objective, {"w": jnp.ones(5)}, {}, PART, 1)
    other = {**PART, "image": PART["image"].at[5].multiply(1000.0)}
    second, _, _ = private.gradients(objective, {"w": jnp.ones(5)}, {}, other, 1)
    moved = np.linalg.norm(6 * (first["w"] - second["w"]))
    assert moved <= 2 * 2.0 + 1e-4


def test_the_noise_is_as_large_as_it_says():
    def nothing(params, stats, part):
        return jnp.sum(0 * params["w"]) * jnp.mean(part["image"]), (stats, {})

    params = {"w": jnp.zeros(40_000)}
    draw = jax.jit(
        lambda key: Private(2.0, 1.5).gradients(nothing, params, {}, {**PART, "key": key}, 1)[0][
            "w"
        ]
    )
    first, second = draw(jax.random.key(0)), draw(jax.random.key(1))
    np.testing.assert_allclose(first.std(), 1.5 * 2.0 / 6, rtol=0.02)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


@pytest.mark.parametrize("noise, updates", [(1.0, 1), (4.0, 10), (20.0, 100)])
def test_epsilon_of_whole_sets_is_within_what_renyi_divergences_say(noise, updates):
    # Mironov 2017: of order a it is a T / (2 s^2), and epsilon that + log(1 / delta) / (a - 1)
    orders = np.linspace(1.01, 500, 100_000)
    bound = np.min(orders * updates / (2 * noise**2) + math.log(1e5) / (orders - 1))
    found = accountant.epsilon(noise, 1.0, updates, 1e-5)
    assert 0.7 * bound < found <= bound * 1.001  # by a better conversion, it is less


def test_epsilon_falls_with_noise_and_rarity_and_grows_with_updates():
    of = lambda noise=1.1, share=256 / 60_000, updates=14_000: accountant.epsilon(  # noqa: E731
        noise, share, updates, 1e-5
    )
    assert of(noise=2.0) < of() < of(updates=28_000) < of(share=0.01, updates=28_000)
    assert 2.4 < of() < 3.1  # 2.9 by the conversion of the time, TensorFlow Privacy's tutorial


def settings(*overrides):
    given = configs.load("configs/gan_mlp.py", ["privacy.noise=1.0", *overrides])
    configs.validate(given)
    return configs.resolve(given, 10_000, (28, 28, 1), tuple("0123456789"), {})


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["loss=relativistic_paired"], r"^privacy\.noise: .*go with loss=relativistic_paired"),
        (["privacy.noise=0.0", "privacy.clip=0.5"], r"^privacy\.clip: without privacy\.noise"),
        (["pack=2", "accumulate=2"], r"^privacy\.noise: .*go with accumulate, pack"),
        (["penalties.lecam=0.1"], r"^privacy\.noise: .*go with penalties\.lecam"),
        (
            ["algorithm=vae", "model.discriminator={}"],
            r"^privacy\.noise: the algorithm vae does not look at it",
        ),
    ],
)
def test_what_does_not_go_together_is_told(overrides, message):
    with pytest.raises(UserError, match=message):
        assembly.build(settings(*overrides))


def test_statistics_of_minibatches_are_told():
    given = settings("model.name=dcgan", "model.generator={}", "model.discriminator={}")
    algorithm = assembly.build(given)
    with pytest.raises(UserError, match=r"^privacy\.noise: the discriminator keeps batch_stats"):
        jax.eval_shape(algorithm.init, jax.random.key(0))


def test_data_without_end_are_told():
    given = configs.load("configs/ring.py", ["privacy.noise=1.0", "evaluate_every=0"])
    with pytest.raises(UserError, match=r"^privacy\.noise: ring is drawn without end"):
        assembly.build(experiment.prepare(given)[0])


def test_fake_images_are_of_the_whole_minibatch():
    """The generator normalises them by one another; one by itself would come out as nothing."""
    given = configs.tiny(configs.load("configs/gan_mlp.py", ["privacy.noise=1e-3"]))
    algorithm = assembly.build(experiment.prepare(given)[0])
    assert algorithm.generator.norm == "batch"
    state = jax.jit(algorithm.init)(jax.random.key(0))
    real = jnp.float32(np.random.default_rng(0).uniform(-1, 1, (8, 28, 28, 1)))
    open_ = dataclasses.replace(algorithm, private=None)
    with_, without = (
        jax.jit(each.update_discriminator)(state, {"image": real}, 0)[1]
        for each in (algorithm, open_)
    )
    for name in ("fake_logit", "real_logit", "d_loss", "d_accuracy"):
        np.testing.assert_allclose(with_[name], without[name], rtol=1e-4, atol=1e-6)


def test_a_private_run(tmp_path, capsys):
    overrides = ["privacy.noise=0.8", "model.discriminator.norm=none", "n_critic=2"]
    given = configs.tiny(configs.load("configs/gan_mlp.py", overrides))
    given.evaluate_every, given.parallel.data = 0, 1
    assert loop.train(given, tmp_path / "run") == 0
    expected = accountant.epsilon(0.8, 8 / 512, 4 * 2, 1e-5)
    assert f"privacy: epsilon {expected:.3g} with delta 1e-05" in capsys.readouterr().out
    last = writer.read_metrics(tmp_path / "run")[-1]
    assert 0 <= last["clipped"] <= 1 and "real_diversity" not in last
    assert np.isfinite(list(last.values())).all()
