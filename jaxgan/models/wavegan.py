"""WaveGAN (Donahue, McAuley and Puckette, ICLR 2019, https://arxiv.org/abs/1802.04208, appendix D).

DCGAN in one dimension: kernels of 25 samples in place of 5 x 5 pixels, steps of 4 in place of 2,
and no normalisation. The discriminator's activations are shifted by up to `shuffle` samples, drawn
anew for each layer and call as in the authors' code, so that it cannot tell real from generated
sounds by the phase that transposed convolutions leave in them (section 3.3). Clips of 4^n x 16
samples are a pyramid over 16: 4,096 and 16,384 (the paper's) are such.

Labels, which the paper has none of, enter as in dcgan.py; `conditioning` as there, but for "norm".
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.conditions import condition
from jaxgan.models.heads import Head, Logits, Outputs
from jaxgan.models.layers import Conv1D, ConvTranspose1D, Dense, image_of
from jaxgan.typing import Array, Float, Int

BASE = 16  # samples
STRIDE = 4
SIZE = 25
# TensorFlow's own, which the authors' layers have.
_init = nn.initializers.xavier_uniform()


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    width: int = 64
    embedding: int = 50
    conditioning: str = "embedding"
    output: str = "tanh"

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, "b l"]:
        levels = _levels(self.image_shape)
        x, _ = condition(self.conditioning, "none", z, labels, self.num_classes, self.embedding)
        features = self.width * 2 ** (levels - 1)
        x = Dense(BASE * features, kernel_init=_init)(x)
        x = nn.relu(x.reshape(-1, BASE, features))
        for level in reversed(range(levels - 1)):
            x = nn.relu(ConvTranspose1D(self.width * 2**level, SIZE, STRIDE, _init)(x))
        x = ConvTranspose1D(1, SIZE, STRIDE, _init)(x)
        return image_of(self.output, x[..., 0])


class Discriminator(nn.Module):
    num_classes: int = 0
    width: int = 64
    conditioning: str = "projection"
    shuffle: int = 2  # samples

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
            x = nn.leaky_relu(Conv1D(self.width * 2**level, SIZE, STRIDE, _init)(x), 0.2)
            if level < levels - 1:
                x = self._shuffled(x)
        x = x.reshape(x.shape[0], -1)
        return Head(self.num_classes, self.conditioning, kernel_init=_init, name="Logit_0")(
            x, labels
        )

    def _shuffled(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Moved by -shuffle to shuffle samples, the edge filled up with its reflection; x itself
        where no key is given."""
        reach, length = self.shuffle, x.shape[1]
        if not reach or not self.has_rng("dropout"):
            return x
        if not 0 < reach < length:
            raise UserError(
                f"model.discriminator.shuffle: {reach} is not within 0 to {length - 1} samples"
            )
        start = jax.random.randint(self.make_rng("dropout"), (), 0, 2 * reach + 1)
        padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)), "reflect")
        return jax.lax.dynamic_slice_in_dim(padded, start, length, 1)


def _levels(shape: tuple[int, ...]) -> int:
    """How often a clip's length is quartered down to the base. Raises UserError where it is not."""
    if len(shape) == 1:
        for levels in range(2, 8):
            if shape[0] == BASE * STRIDE**levels:
                return levels
    reached = ", ".join(f"{BASE * STRIDE**levels:,}" for levels in range(2, 6))
    raise UserError(
        f"model.name: wavegan draws sounds of {reached} samples, which prepare --waves makes; "
        f"these data have the shape {' x '.join(map(str, shape))}"
    )
