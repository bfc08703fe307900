"""Adversarial losses: pure functions of logits, D(x) before any sigmoid.

A loss is a pair: what the discriminator minimises, given the logits of real and of fake images,
and what the generator minimises, given those of fake and of real ones (which only the relativistic
ones look at). Both are given image by image, b numbers whose mean is the loss; the i-th real image
stands beside the i-th fake one. With s the logistic sigmoid, -log s(t) = softplus(-t) and
-log(1 - s(t)) = softplus(t).

CLASS_LOSSES are what a discriminator that also classifies, and its generator, minimise beside that.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float, Int

Logits = Float[Array, " b"]


class Loss(NamedTuple):
    """`boundary`: images with logits above it are taken for real ones; None where only the
    difference of two logits has a meaning. `smooth` takes the discriminator's label smoothing."""

    discriminator: Callable[[Logits, Logits], Logits]  # real logits, fake logits
    generator: Callable[[Logits, Logits], Logits]  # fake logits, real logits
    boundary: float | None = 0.0
    uses_real: bool = False  # the generator's loss looks at real images, of a minibatch of its own
    couples: bool = False  # an image's loss depends on the others of its minibatch
    smooth: Callable[[Logits, Logits, float], Logits] | None = None


def accuracy(loss: Loss, real: Logits, fake: Logits) -> Float[Array, ""]:
    """The share of the logits that lie on their side of the loss's boundary; without one, of the
    pairs in which the real image's is larger."""
    if loss.boundary is None:
        return jnp.mean(real > fake)
    return (jnp.mean(real > loss.boundary) + jnp.mean(fake <= loss.boundary)) / 2


def minimax_discriminator(real: Logits, fake: Logits, smoothing: float = 0.0) -> Logits:
    # Goodfellow et al. 2014, equation 1, negated: -log s(D(x)) - log(1 - s(D(G(z)))); the target of
    # real images is 1 - smoothing (one-sided label smoothing, Salimans et al. 2016, section 3.4)
    on_real = (1 - smoothing) * jax.nn.softplus(-real) + smoothing * jax.nn.softplus(real)
    return on_real + jax.nn.softplus(fake)


def minimax_generator(fake: Logits, real: Logits) -> Logits:
    # Goodfellow et al. 2014, equation 1: log(1 - s(D(G(z)))), which saturates where D is sure
    return -jax.nn.softplus(fake)


def nonsaturating_generator(fake: Logits, real: Logits) -> Logits:
    # Goodfellow et al. 2014, section 3: -log s(D(G(z)))
    return jax.nn.softplus(-fake)


def least_squares_discriminator(real: Logits, fake: Logits, smoothing: float = 0.0) -> Logits:
    # Mao et al. 2017, equation 9 (a = 0, b = c = 1): 1/2 (D(x) - 1)^2 + 1/2 D(G(z))^2
    return 0.5 * jnp.square(real - (1 - smoothing)) + 0.5 * jnp.square(fake)


def least_squares_generator(fake: Logits, real: Logits) -> Logits:
    # Mao et al. 2017, equation 9: 1/2 (D(G(z)) - 1)^2
    return 0.5 * jnp.square(fake - 1)


def wasserstein_discriminator(real: Logits, fake: Logits) -> Logits:
    # Arjovsky et al. 2017, equation 3, negated: D(G(z)) - D(x), D being kept Lipschitz otherwise
    return fake - real


def hinge_discriminator(real: Logits, fake: Logits) -> Logits:
    # Miyato et al. 2018, equation 16: max(0, 1 - D(x)) + max(0, 1 + D(G(z)))
    return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)


def negative_generator(fake: Logits, real: Logits) -> Logits:
    # Arjovsky et al. 2017 and Miyato et al. 2018, equation 17: -D(G(z))
    return -fake


def paired_discriminator(real: Logits, fake: Logits) -> Logits:
    # Jolicoeur-Martineau 2019, section 4.1; Huang et al. 2024, equation 2, f(t) = -log(1 + e^-t):
    # -log s(D(x) - D(G(z)))
    return jax.nn.softplus(fake - real)


def paired_generator(fake: Logits, real: Logits) -> Logits:
    # -log s(D(G(z)) - D(x))
    return jax.nn.softplus(real - fake)


def average_discriminator(real: Logits, fake: Logits) -> Logits:
    # Jolicoeur-Martineau 2019, section 4.2: -log s(D(x) - E D(G(z))) - log(1 - s(D(G(z)) - E D(x)))
    return jax.nn.softplus(jnp.mean(fake) - real) + jax.nn.softplus(fake - jnp.mean(real))


def average_generator(fake: Logits, real: Logits) -> Logits:
    # -log s(D(G(z)) - E D(x)) - log(1 - s(D(x) - E D(G(z))))
    return jax.nn.softplus(jnp.mean(real) - fake) + jax.nn.softplus(real - jnp.mean(fake))


LOSSES = {
    "minimax": Loss(minimax_discriminator, minimax_generator, smooth=minimax_discriminator),
    "nonsaturating": Loss(
        minimax_discriminator, nonsaturating_generator, smooth=minimax_discriminator
    ),
    "least_squares": Loss(
        least_squares_discriminator,
        least_squares_generator,
        boundary=0.5,
        smooth=least_squares_discriminator,
    ),
    "wasserstein": Loss(wasserstein_discriminator, negative_generator, boundary=None),
    "hinge": Loss(hinge_discriminator, negative_generator),
    "relativistic_paired": Loss(
        paired_discriminator, paired_generator, boundary=None, uses_real=True
    ),
    "relativistic_average": Loss(
        average_discriminator, average_generator, boundary=None, uses_real=True, couples=True
    ),
}

# --------------------------------------------------------------------------------------------------
# Losses of classes

Classes = Float[Array, "b n"]
Labels = Int[Array, " b"]
Outputs = dict[str, Array]  # what the discriminator's head says of an image beside its logit


class ClassLoss(NamedTuple):
    """Each is given image by image. `settings`: what the config gives it beside the outputs."""

    discriminator: Callable[..., Logits]  # (outputs of real, of fake images, labels, **settings)
    generator: Callable[..., Logits]  # (outputs of fake images, labels, **settings)
    couples: bool = False
    settings: tuple[str, ...] = ()


def cross_entropy(logits: Classes, labels: Labels) -> Logits:
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - picked


def acgan_discriminator(real: Outputs, fake: Outputs, labels: Labels) -> Logits:
    # Odena et al. 2017, equation 3, negated: -log P(y | x) - log P(y | G(z, y))
    return cross_entropy(real["classes"], labels) + cross_entropy(fake["classes"], labels)


def acgan_generator(fake: Outputs, labels: Labels) -> Logits:
    return cross_entropy(fake["classes"], labels)


def tacgan_discriminator(real: Outputs, fake: Outputs, labels: Labels) -> Logits:
    # Gong et al. 2019: the classifier learns real images, its twin generated ones
    return cross_entropy(real["classes"], labels) + cross_entropy(fake["twin"], labels)


def tacgan_generator(fake: Outputs, labels: Labels) -> Logits:
    # Gong et al. 2019: right for the classifier, and no better than that for the twin
    return cross_entropy(fake["classes"], labels) - cross_entropy(fake["twin"], labels)


def contrastive(outputs: Outputs, labels: Labels, temperature: float) -> Logits:
    """Kang and Park 2020 (ContraGAN), equation 8, the conditional contrastive (2C) loss.

    An embedding is drawn to its label's proxy and to the embeddings of its class in the minibatch.
    """
    embedding, proxy = outputs["embedding"], outputs["proxy"]
    to_proxy = jnp.sum(embedding * proxy, axis=1) / temperature
    to_others = jnp.matmul(embedding, embedding.T, precision="highest") / temperature
    itself = jnp.eye(len(labels), dtype=bool)
    all_others = jnp.where(itself, -jnp.inf, to_others)
    of_class = jnp.where(labels[:, None] == labels[None, :], all_others, -jnp.inf)
    with_proxy = lambda others: jnp.concatenate([to_proxy[:, None], others], axis=1)  # noqa: E731
    attracted = jax.nn.logsumexp(with_proxy(of_class), axis=1)
    return jax.nn.logsumexp(with_proxy(all_others), axis=1) - attracted


def data_to_data(outputs: Outputs, labels: Labels, temperature: float, margin: float) -> Logits:
    """Kang et al. 2021 (ReACGAN), equation 7, the data-to-data cross-entropy (D2D-CE).

    Against images of other classes in the minibatch. Pairs that are easy beyond the margins,
    `margin` for the proxy and 1 - margin for other classes, give no gradient.
    """
    embedding, proxy = outputs["embedding"], outputs["proxy"]
    to_proxy = jnp.minimum(jnp.sum(embedding * proxy, axis=1) - margin, 0) / temperature
    similarity = jnp.matmul(embedding, embedding.T, precision="highest")
    to_others = jnp.maximum(similarity - (1 - margin), 0) / temperature
    others = jnp.where(labels[:, None] != labels[None, :], to_others, -jnp.inf)
    return jax.nn.logsumexp(jnp.concatenate([to_proxy[:, None], others], 1), axis=1) - to_proxy


CLASS_LOSSES = {
    "acgan": ClassLoss(acgan_discriminator, acgan_generator),
    "tacgan": ClassLoss(tacgan_discriminator, tacgan_generator),
    "contragan": ClassLoss(
        lambda real, fake, labels, temperature: contrastive(real, labels, temperature),
        contrastive,
        couples=True,
        settings=("temperature",),
    ),
    "reacgan": ClassLoss(
        lambda real, fake, labels, **settings: data_to_data(real, labels, **settings),
        data_to_data,
        couples=True,
        settings=("temperature", "margin"),
    ),
}
