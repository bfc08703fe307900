"""WaveGAN (Donahue, McAuley and Puckette, ICLR 2019, https://arxiv.org/abs/1802.04208, appendix D).

DCGAN in one dimension: kernels of 25 samples in place of 5 x 5 pixels, steps of 4 in place of 2,
and no normalisation. The discriminator's activations are shifted by up to `shuffle` samples, drawn
anew for each layer and batch as in the authors' code, so that it cannot tell real from generated
sounds by the phase that transposed convolutions leave in them (section 3.3); a penalty's batch has
the shifts of the real one. Clips of 16 x 4^n samples are a pyramid over 16: the paper's has 16,384.

Labels, which the paper has none of, enter as in dcgan.py; `conditioning` as there, but for "norm".
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.conditions import condition
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Conv1D, ConvTranspose1D, Dense, image_of
from jaxgan.typing import Array, Float, Int, Labels

BASE = 16  # samples
STRIDE = 4
SIZE = 25
LENGTHS = {BASE * STRIDE**levels: levels for levels in range(2, 8)}
# TensorFlow's own, which the authors' layers have.
_init = nn.initializers.xavier_uniform()


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    width: int = 64
    embedding: int = 50
    conditioning: str = "embedding"
    weight_norm: str = "none"
    output: str = "tanh"

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Labels | None, train: bool
    ) -> Float[Array, "b l"]:
        levels = _levels(self.image_shape)
        x, _ = condition(self.conditioning, "none", z, labels, self.num_classes, self.embedding)
        features = self.width * 2 ** (levels - 1)
        weights = self.weight_norm
        x = Dense(BASE * features, kernel_init=_init, weight_norm=weights)(x)
        x = nn.relu(x.reshape(-1, BASE, features))
        for level in reversed(range(levels - 1)):
            x = nn.relu(ConvTranspose1D(self.width * 2**level, SIZE, STRIDE, _init, weights)(x))
        x = ConvTranspose1D(1, SIZE, STRIDE, _init, weights)(x)
        return image_of(self.output, x[..., 0])


class Discriminator(nn.Module):
    num_classes: int = 0
    width: int = 64
    conditioning: str = "projection"
    weight_norm: str = "none"
    shuffle: int = dataclasses.field(default=2, metadata={"least": 0})  # samples

    @nn.compact
    def __call__(
        self, x: Float[Array, "b l"], labels: Int[Array, " b"] | None, train: bool
    ) -> Logits | tuple[Logits, Outputs]:
        levels = _levels(x.shape[1:])
        x = x[..., None]
        if self.num_classes and self.conditioning == "concat":
            plane = nn.Embed(self.num_classes, x.shape[1])(labels).astype(x.dtype)
            x = jnp.concatenate([x, plane[..., None]], -1)
        for level in range(levels):
            convolve = Conv1D(self.width * 2**level, SIZE, STRIDE, _init, self.weight_norm)
            x = nn.leaky_relu(convolve(x), 0.2)
            if level < levels - 1:
                x = self._shuffled(x)
        x = x.reshape(x.shape[0], -1)
        settings = self.num_classes, self.conditioning, self.weight_norm
        return Head(*settings, kernel_init=_init, name="Logit_0")(x, labels)

    def _shuffled(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Moved by -shuffle to shuffle samples, the edge filled up with its reflection; x itself
        where no key is given."""
        reach, length = self.shuffle, x.shape[1]
        if not reach or not self.has_rng("dropout"):
            return x
        if reach >= length:
            raise UserError(f"model.discriminator.shuffle: {reach} is not within 0 to {length - 1}")
        start = jax.random.randint(self.make_rng("dropout"), (), 0, 2 * reach + 1)
        padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)), "reflect")
        return jax.lax.dynamic_slice_in_dim(padded, start, length, 1)


def _levels(shape: tuple[int, ...]) -> int:
    """How often a clip's length is quartered down to the base. Raises UserError where it is not."""
    if len(shape) != 1 or shape[0] not in LENGTHS:
        lengths = ", ".join(f"{length:,}" for length in LENGTHS)
        raise UserError(
            f"model.name: wavegan draws sounds of {lengths} samples, which prepare --waves makes; "
            f"these data have the shape {' x '.join(map(str, shape))}"
        )
    return LENGTHS[shape[0]]
