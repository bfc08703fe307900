"""Losses against float64 logistic functions, and the gradient penalty against closed forms.

The values and gradients that a loss should have are written out here in numpy with s(t) =
1 / (1 + exp(-t)) and natural logarithms, without softplus.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.losses import LOSSES
from jaxgan.ops.conv import conv
from jaxgan.penalties import PENALTIES, r1

REAL = np.array([-3.0, -0.5, 0.0, 0.7, 2.5])
FAKE = np.array([1.5, -2.0, 0.3, -0.1, 4.0])
N = len(REAL)


def s(t):
    return 1 / (1 + np.exp(-t))


# name: the discriminator's loss, its gradient by the real and by the fake logits; then the
# generator's loss and its gradient.
CLOSED_FORMS = {
    "minimax": (
        -np.mean(np.log(s(REAL))) - np.mean(np.log(1 - s(FAKE))),
        -(1 - s(REAL)) / N,
        s(FAKE) / N,
        np.mean(np.log(1 - s(FAKE))),
        -s(FAKE) / N,
    ),
    "nonsaturating": (
        -np.mean(np.log(s(REAL))) - np.mean(np.log(1 - s(FAKE))),
        -(1 - s(REAL)) / N,
        s(FAKE) / N,
        -np.mean(np.log(s(FAKE))),
        -(1 - s(FAKE)) / N,
    ),
    "least_squares": (
        np.mean((REAL - 1) ** 2) / 2 + np.mean(FAKE**2) / 2,
        (REAL - 1) / N,
        FAKE / N,
        np.mean((FAKE - 1) ** 2) / 2,
        (FAKE - 1) / N,
    ),
    "hinge": (
        np.mean(np.maximum(0, 1 - REAL)) + np.mean(np.maximum(0, 1 + FAKE)),
        np.where(REAL < 1, -1, 0) / N,
        np.where(FAKE > -1, 1, 0) / N,
        -np.mean(FAKE),
        -np.ones(N) / N,
    ),
}


def logits(*values):
    return jnp.asarray(values, jnp.float32)


def test_every_loss_has_a_closed_form_here():
    assert LOSSES.keys() == CLOSED_FORMS.keys()


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_values_and_gradients(name):
    loss, (d_value, by_real, by_fake, g_value, g_by_fake) = LOSSES[name], CLOSED_FORMS[name]
    real, fake = logits(*REAL), logits(*FAKE)

    value, gradients = jax.value_and_grad(loss.discriminator, argnums=(0, 1))(real, fake)
    np.testing.assert_allclose(value, d_value, rtol=1e-6)
    np.testing.assert_allclose(gradients[0], by_real, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradients[1], by_fake, rtol=1e-5, atol=1e-7)

    value, gradient = jax.value_and_grad(loss.generator)(fake)
    np.testing.assert_allclose(value, g_value, rtol=1e-6)
    np.testing.assert_allclose(gradient, g_by_fake, rtol=1e-5, atol=1e-7)


# The logistic losses far out, where log s(t) is 0 or t to float32's precision.
@pytest.mark.parametrize("name", ["minimax", "nonsaturating"])
@pytest.mark.parametrize(
    "real, fake, value, by_real, by_fake",
    [
        (1e4, -1e4, 0, 0, 0),  # the discriminator is sure and right
        (-1e4, 1e4, 2e4, -1, 1),  # sure and wrong
        (1e4, 1e4, 1e4, 0, 1),
    ],
)
def test_the_discriminators_loss_is_stable_far_out(name, real, fake, value, by_real, by_fake):
    loss = LOSSES[name].discriminator
    got, gradients = jax.value_and_grad(loss, argnums=(0, 1))(logits(real), logits(fake))
    assert (got, *gradients) == (value, by_real, by_fake)


@pytest.mark.parametrize(
    "name, fake, value, gradient",
    [
        ("minimax", -1e4, 0, 0),  # saturates where the discriminator is sure ...
        ("minimax", 1e4, -1e4, -1),
        ("nonsaturating", -1e4, 1e4, -1),  # ... and this does not
        ("nonsaturating", 1e4, 0, 0),
    ],
)
def test_the_generators_loss_is_stable_far_out(name, fake, value, gradient):
    got = jax.value_and_grad(LOSSES[name].generator)(logits(fake))
    assert got == (value, gradient)


def test_minimax_and_nonsaturating_generators_pull_the_same_way_with_other_strengths():
    # s(t) and 1 - s(t) at t = -3: the ratio of the gradients is exp(t).
    minimax, nonsaturating = (
        jax.grad(LOSSES[name].generator)(logits(-3))[0] for name in ("minimax", "nonsaturating")
    )
    assert minimax < 0 and nonsaturating < 0
    np.testing.assert_allclose(minimax / nonsaturating, np.exp(-3), rtol=1e-5)


# --------------------------------------------------------------------------------------------------
# R1


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_r1_is_listed():
    assert list(PENALTIES) == ["r1"] and PENALTIES["r1"] is r1


def test_r1_of_a_linear_critic_is_half_the_squared_norm_of_its_weights():
    w, x = images(1, 4, 5, 3), images(7, 4, 5, 3, seed=1)
    got = r1(lambda x: jnp.sum(x * jnp.float32(w), (1, 2, 3)), jnp.float32(x))
    np.testing.assert_allclose(got, np.sum(w**2) / 2, rtol=1e-6)


def test_r1_of_a_quadratic_critic():
    # D(x) = 1/2 sum a x^2 has the gradient a x, another one for each image.
    a, x = images(1, 4, 5, 3), images(7, 4, 5, 3, seed=1)
    got = r1(lambda x: jnp.sum(jnp.float32(a) * x**2, (1, 2, 3)) / 2, jnp.float32(x))
    np.testing.assert_allclose(got, np.mean(np.sum((a * x) ** 2, (1, 2, 3))) / 2, rtol=1e-6)


def conv_critic(kernel):
    def critic(x):
        return jnp.sum(jnp.tanh(conv(x, jnp.asarray(kernel), stride=2)), (1, 2, 3))

    return critic


def central_differences(f, x, h=1e-5):
    """The gradient of the scalar function f at the array x, one element at a time."""
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    f = jax.jit(f)
    return np.array([(f(x + e) - f(x - e)) / (2 * h) for e in steps]).reshape(x.shape)


def test_r1_and_its_gradient_by_the_critics_weights_equal_finite_differences():
    with jax.enable_x64(True):
        kernel, x = images(3, 3, 1, 2), images(2, 4, 4, 1, seed=1)
        gradient = central_differences(lambda x: jnp.sum(conv_critic(kernel)(x)), x)
        expected = np.mean(np.sum(gradient**2, (1, 2, 3))) / 2
        np.testing.assert_allclose(r1(conv_critic(kernel), jnp.asarray(x)), expected, rtol=1e-7)

        penalty = lambda kernel: r1(conv_critic(kernel), jnp.asarray(x))  # noqa: E731
        got = jax.grad(penalty)(jnp.asarray(kernel))
        assert np.abs(got).max() > 0.1
        np.testing.assert_allclose(got, central_differences(penalty, kernel), rtol=1e-6, atol=1e-8)
