"""Networks that complete images (Yu et al., ICCV 2019, https://arxiv.org/abs/1806.03589).

The generator takes an image with a hole and where that is. Its layers are gated convolutions: of
two convolutions one, through a sigmoid, says how much of the other passes (equation 3), which lets
the network tell pixels that are there from those that are not. With `gated` False they are plain,
as those of context encoders (Pathak et al. 2016). The discriminator is SN-PatchGAN: convolutions of
stride 2 with spectral normalisation, and a logit for each place of the last map.

Smaller than the paper's: one stage in place of two, a U-Net in place of dilated convolutions and
contextual attention; 3 halvings (as far as `image_shape` is even), `width` features beside the
image, twice as many after each. The generator takes other sizes too, if they can be halved as
often.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.models.layers import Conv, check_images
from jaxgan.typing import Array, Float, Int

HALVINGS = 3
init = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


class Gated(nn.Module):
    """A gated convolution, or a plain one; then ELU."""

    features: int
    size: int = 3
    stride: int = 1
    change: str = ""
    gated: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        count = 2 * self.features if self.gated else self.features
        y = Conv(count, self.size, self.stride, change=self.change, kernel_init=init)(x)
        if not self.gated:
            return nn.elu(y)
        y, gate = jnp.split(y, 2, -1)
        return nn.elu(y) * jax.nn.sigmoid(gate)


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    given: int  # channels of what it completes, with the mask
    width: int = 32
    middle: int = 4
    gated: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, "b h w c"]:
        check_images(self.image_shape, "gated", "completes")
        x = Gated(self.width, 5, gated=self.gated)(x)
        skips = []
        for level in range(HALVINGS):
            if any(side % 2 ** (level + 1) for side in self.image_shape[:2]):
                break
            skips.append(x)
            x = Gated(self.width * 2 ** (level + 1), 3, 2, gated=self.gated)(x)
        for _ in range(self.middle):
            x = x + Gated(x.shape[-1], gated=self.gated)(x)
        for level, skip in reversed(list(enumerate(skips))):
            x = Gated(self.width * 2**level, change="upsample", gated=self.gated)(x)
            x = Gated(self.width * 2**level, gated=self.gated)(jnp.concatenate([x, skip], -1))
        x = Conv(self.image_shape[2], 3, kernel_init=init)(x)
        return jnp.tanh(x.astype(jnp.float32))


class Discriminator(nn.Module):
    width: int = 32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], labels: Int[Array, " b"] | None, train: bool
    ) -> Float[Array, " n"]:
        for level in range(HALVINGS):
            features = self.width * 2**level
            x = Conv(features, 5, 2, kernel_init=init, weight_norm="spectral")(x)
            x = nn.leaky_relu(x, 0.2)
        x = Conv(1, 3, kernel_init=init, weight_norm="spectral")(x)
        return x.astype(jnp.float32).reshape(-1)
