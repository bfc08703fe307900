"""Private updates: DP-SGD (Abadi et al., CCS 2016, https://arxiv.org/abs/1607.00133), of a GAN's
discriminator (Xie et al. 2018, https://arxiv.org/abs/1802.06739).

The discriminator alone sees real images. Where its updates are private, so is all that is computed
of it: the generator, its average, and samples. What a run writes of real images is not: the metrics
of the discriminator, evaluations, and which checkpoint is best. The noise comes of the run's seed,
which must stay secret.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan.typing import Batch, Params, Stats

# They compare the images of a minibatch, and each example is one by itself here.
OF_MINIBATCHES = ("real_diversity", "fake_diversity")


class Private(NamedTuple):
    """`clip`: the largest norm of one example's gradient; `noise`: the standard deviation of what
    is added to their sum, over that."""

    clip: float
    noise: float

    def gradients(
        self, objective: Callable, params: Params, stats: Stats, part: Batch, count: int
    ) -> tuple[Params, Stats, Any]:
        """As player.gradients of one part: the mean of the examples' clipped gradients, with noise
        (algorithm 1). An example is a real image with its label and the latent beside it.

        `clipped`, among the metrics, is the share of examples whose gradient was longer.
        """
        key, examples = part["key"], {name: x for name, x in part.items() if name != "key"}
        keys = jax.random.split(jax.random.fold_in(key, 5), len(part["image"]))

        def of_one(example: Batch, key: Any) -> tuple[Params, Any]:
            alone = jax.tree.map(lambda x: x[None], example)
            of_part = jax.grad(objective, has_aux=True)
            gradient, (_, metrics) = of_part(params, stats, {**alone, "key": key})
            return gradient, {**metrics, "clipped": optax.tree.norm(gradient) > self.clip}

        each, metrics = jax.vmap(of_one)(examples, keys)
        aggregate = optax.contrib.differentially_private_aggregate(
            self.clip, self.noise, jax.random.fold_in(key, 6)
        )
        gradient, _ = aggregate.update(each, aggregate.init(params))
        means = {name: jnp.mean(x) for name, x in metrics.items() if name not in OF_MINIBATCHES}
        return gradient, stats, means
