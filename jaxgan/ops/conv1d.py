"""One-dimensional convolutions with a stride, by plain ones: s neighbouring samples are folded into
the channels of one, and the taps of a kernel likewise.

So a convolution of stride s over c channels is one of stride 1 over s c of them, and a transposed
one gives s c channels that are unfolded. Both are made of `jaxgan.ops.conv`'s maps, whose gradients
of every order are fast, and give a TPU's units s times the channels.
"""

import jax.numpy as jnp

from jaxgan.ops.conv import conv, conv_transpose
from jaxgan.typing import Array, Float


def conv_1d(
    x: Float[Array, "b l i"], kernel: Float[Array, "k i o"], stride: int
) -> Float[Array, "b l2 o"]:
    """Cross-correlation to l / stride samples, padded as "SAME"; stride divides l."""
    b, length, channels = x.shape
    folded = x.reshape(b, length // stride, 1, stride * channels)
    return conv(folded, _folded(kernel, stride))[:, :, 0]


def conv_transpose_1d(
    y: Float[Array, "b l i"], kernel: Float[Array, "k i o"], stride: int
) -> Float[Array, "b l2 o"]:
    """Transposed convolution to l x stride samples: the input gradient of a `conv_1d`."""
    b, length, _ = y.shape
    forward = _folded(kernel.swapaxes(1, 2), stride)  # of the convolution whose gradient this is
    x = conv_transpose(y[:, :, None], forward.swapaxes(2, 3))
    return x.reshape(b, length * stride, kernel.shape[2])


def _folded(kernel: Float[Array, "k i o"], stride: int) -> Float[Array, "taps 1 si o"]:
    """The kernel between folded samples, of an odd number of taps."""
    size, channels, features = kernel.shape
    before = max(size - stride, 0) // 2  # samples that "SAME" pads on the left
    after = size - 1 - before
    reach = max(-(-before // stride), after // stride)  # folded samples on either side
    low = reach * stride - before
    taps = 2 * reach + 1
    padded = jnp.pad(kernel, ((low, taps * stride - size - low), (0, 0), (0, 0)))
    return padded.reshape(taps, 1, stride * channels, features)
