"""How labels enter networks: with the generator's latents, its normalisations, or the images.

Generators (field `conditioning`):

    embedding  a learned embedding of the label is joined to z
    concat     the label's one-hot code is joined to z (Mirza and Osindero 2014,
               https://arxiv.org/abs/1411.1784)
    norm       each normalisation has a gain and a bias for each label (see norms.py) and z has
               none of it; as Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637

All take shares of classes in place of labels (b n, rows that add up to 1), for the mean of what
belongs to the classes: so one may go from one class to another.

For discriminators see heads.py; here is what "concat" does to their images.
"""

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import UserError, lookup
from jaxgan.models.layers import Embed, codes
from jaxgan.models.norms import CONDITIONAL, Condition
from jaxgan.typing import Array, Float, Int, Labels


class LabelledLatent(nn.Module):
    """z beside an embedding of its label; without classes z itself."""

    num_classes: int
    features: int

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], labels: Labels | None) -> Float[Array, "b d"]:
        if self.num_classes == 0:
            return z
        assert labels is not None
        embedding = Embed(self.num_classes, self.features, nn.initializers.normal(1))
        return jnp.concatenate([z, embedding(labels).astype(z.dtype)], -1)


def condition(
    conditioning: str,
    norm: str,
    z: Float[Array, "b z"],
    labels: Labels | None,
    num_classes: int,
    embedding: int,
) -> tuple[Float[Array, "b d"], Condition]:
    """The first layer's input, and what the normalisations may depend on.

    Called inside a compact module. Raises UserError where no normalisation could take the labels.
    """
    join = lookup(CONDITIONINGS, conditioning, "model.generator.conditioning")
    if num_classes == 0:
        return z, Condition(z)
    return join(norm, z, labels, num_classes, embedding)


def _embedded(norm, z, labels, num_classes, embedding):
    z = LabelledLatent(num_classes, embedding)(z, labels)
    return z, Condition(z)


def _one_hot(norm, z, labels, num_classes, embedding):
    z = jnp.concatenate([z, codes(labels, num_classes, z.dtype)], -1)
    return z, Condition(z)


def _by_norm(norm, z, labels, num_classes, embedding):
    if norm not in CONDITIONAL:
        raise UserError(
            f"model.generator.norm: {norm!r} cannot take labels, and conditioning is 'norm'; "
            f"those that can: {', '.join(CONDITIONAL)}"
        )
    if norm == "self_modulated":
        return z, Condition(LabelledLatent(num_classes, embedding)(z, labels))
    return z, Condition(z, labels, num_classes)


CONDITIONINGS = {"embedding": _embedded, "concat": _one_hot, "norm": _by_norm}


def with_label_channel(
    x: Float[Array, "b h w c"], labels: Int[Array, " b"] | None, num_classes: int
) -> Float[Array, "b h w c2"]:
    """The images with a learned plane for their label as one more channel."""
    b, h, w, _ = x.shape
    plane = nn.Embed(num_classes, h * w)(labels).astype(x.dtype)
    return jnp.concatenate([x, plane.reshape(b, h, w, 1)], -1)
