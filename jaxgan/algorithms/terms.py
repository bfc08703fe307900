"""Terms of the players' losses beside the adversarial ones, and how images are weighted."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import schedules
from jaxgan.losses import ClassLoss
from jaxgan.penalties import Scene
from jaxgan.schedules import Scalar
from jaxgan.typing import Array, Float, Metrics


class Regulariser(NamedTuple):
    """A penalty in use: in each `every`-th update, `every` times as strong."""

    name: str
    penalty: Callable[[Scene], Float[Array, ""]]
    weight: Scalar
    every: int = 1


class Classes(NamedTuple):
    """The loss of a discriminator that classifies, in use."""

    loss: ClassLoss
    discriminator_weight: Scalar
    generator_weight: Scalar

    def weight(self, role: str, step: Any) -> Any:
        """The loss's weight for the player `role` at a step."""
        return schedules.at(getattr(self, f"{role}_weight"), step)


def penalise(
    regularisers: Sequence[Regulariser], scene: Scene, step: Any, number: Any
) -> tuple[Any, Metrics]:
    """What penalties add to the loss of update `number`, and each of them unweighted.

    A lazy one (Karras et al. 2020, StyleGAN2, appendix B) is `every` times itself in its updates
    and 0 in the others, so the mean over updates is that of one that is always there.
    """
    added: Any = 0.0
    metrics = {}
    for n, (name, penalty, weight, every) in enumerate(regularisers):
        here = scene._replace(key=jax.random.fold_in(scene.key, n))
        if every == 1:
            metrics[name] = penalty(here)
        else:
            strong = lambda here=here, penalty=penalty, every=every: every * penalty(here)  # noqa: E731
            metrics[name] = jax.lax.cond(number % every == 0, strong, lambda: jnp.zeros(()))
        added = added + schedules.at(weight, step) * metrics[name]
    return added, metrics


def top_k_weights(logits: Float[Array, " b"], share: Any) -> Float[Array, " b"]:
    """Weights that sum to 1: equal ones of the `share` of images with the largest logits (Sinha et
    al. 2020; at least one image), 0 of the others. No gradient passes."""
    size = logits.shape[0]
    if isinstance(share, float) and share == 1:
        return jnp.full(size, 1 / size)
    count = jnp.maximum(jnp.ceil(share * size), 1)
    rank = jnp.argsort(jnp.argsort(-jax.lax.stop_gradient(logits)))
    return jnp.where(rank < count, 1 / count, 0.0)
