"""The discriminator's last layer, and how it learns the label (field `conditioning`).

    concat      from its input, where the label is joined (Mirza and Osindero 2014)
    projection  the inner product of the features and an embedding of the label is added to the
                logit (Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637, equation 3)
    acgan       it classifies (Odena et al. 2017, https://arxiv.org/abs/1610.09585)
    tacgan      a second classifier learns the fake images alone (Gong et al. 2019,
                https://arxiv.org/abs/1907.02690)
    contragan   it embeds images beside a proxy of each label (Kang and Park 2020,
                https://arxiv.org/abs/2006.12681)
    reacgan     the same outputs (Kang et al. 2021, https://arxiv.org/abs/2111.01118)

The logit of the last four sees no label: it is the adversarial one, and their other outputs are for
losses of their own. Logits and outputs are float32 whatever the features.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import lookup
from jaxgan.models.layers import Dense, Embed, normal_init, unit
from jaxgan.typing import Array, Float, Int

# What each gives beside the logits.
CONDITIONINGS: dict[str, tuple[str, ...]] = {
    "concat": (),
    "projection": (),
    "acgan": ("classes",),
    "tacgan": ("classes", "twin"),
    "contragan": ("embedding", "proxy"),
    "reacgan": ("embedding", "proxy"),
}

Logits = Float[Array, " b"]
Outputs = dict[str, Float[Array, "b _"]]


class Head(nn.Module):
    """Logits, or where `conditioning` has further outputs (logits, outputs):

    classes, twin: b n, logits of the labels; embedding: b d, of the image, and proxy: b d, of its
    label, both of length 1.
    """

    num_classes: int
    conditioning: str
    weight_norm: str = "none"
    embedding: int = 128
    kernel_init: Callable = normal_init

    @nn.compact
    def __call__(
        self, x: Float[Array, "b d"], labels: Int[Array, " b"] | None
    ) -> Logits | tuple[Logits, Outputs]:
        names = lookup(CONDITIONINGS, self.conditioning, "conditioning")
        x = x.astype(jnp.float32)
        logits = self._dense(1)(x)[:, 0]
        if self.num_classes == 0:
            return logits
        assert labels is not None
        if self.conditioning == "projection":
            logits = logits + jnp.sum(self._embed(x.shape[-1])(labels) * x, -1)
        if not names:
            return logits
        outputs = {}
        for name in names:
            if name == "proxy":
                outputs[name] = unit(self._embed(self.embedding)(labels).astype(jnp.float32))
            elif name == "embedding":
                outputs[name] = unit(self._dense(self.embedding)(x))
            else:
                outputs[name] = self._dense(self.num_classes)(x)
        return logits, outputs

    def _dense(self, features: int) -> Dense:
        return Dense(features, kernel_init=self.kernel_init, weight_norm=self.weight_norm)

    def _embed(self, features: int) -> Embed:
        return Embed(self.num_classes, features, normal_init, self.weight_norm)
