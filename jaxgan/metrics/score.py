"""Inception-style score: how sure a classifier is of each image, and how varied its answers are.

Salimans et al., NIPS 2016 (https://arxiv.org/abs/1606.03498), section 4. With InceptionV3's 1,008
logits it is the inception score; with any other classifier compare only like with like.
"""

import functools

import jax
import jax.numpy as jnp

from jaxgan.metrics.kernel import Estimate
from jaxgan.typing import Array, Float


@functools.partial(jax.jit, static_argnames="splits")
def classifier_score(logits: Float[Array, "n c"], splits: int = 10) -> Estimate:
    """exp(E KL(p(y | x) || p(y))), from 1 to the number of classes: the mean over `splits` parts in
    the order given, and its standard error. Images beyond a multiple of `splits` are left out."""
    parts = logits[: len(logits) // splits * splits].reshape(splits, -1, logits.shape[1])
    logs = jax.nn.log_softmax(parts)
    share = jnp.exp(logs)
    marginal = jax.scipy.special.xlogy(jnp.mean(share, 1), jnp.mean(share, 1)).sum(-1)
    scores = jnp.exp(jnp.mean(jnp.sum(share * logs, -1), 1) - marginal)
    error = jnp.std(scores, ddof=1) / splits**0.5 if splits > 1 else jnp.full((), jnp.nan)
    return Estimate(jnp.mean(scores), error)
