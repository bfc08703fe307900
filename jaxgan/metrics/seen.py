"""What metrics see of images, what they may know beside, and pixels a part at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data import to_float
from jaxgan.typing import Array, Key, PyTree

CHUNK = 250  # images whose pixels are looked at in one call


class Seen(NamedTuple):
    """What was seen of a set of images, on the host; None what no metric asked for."""

    number: int  # of images whose features were seen
    labels: Any = None  # int32 n: what was asked for, or the data set's
    images: Any = None  # uint8 m h w c, float32 points m 2 or sequences; m of these first ones
    moments: Any = None  # frechet.Moments of the features
    features: Any = None  # float32 n d
    logits: Any = None  # float32 n c, of the network whose features they are
    classes: Any = None  # int32 n, by the classifier of the data set


class Scene(NamedTuple):
    """What a metric may know beside real and fake images."""

    key: Key[Array, ""]
    class_names: tuple[str, ...] = ()
    shares: Any = None  # float64 c, of the classes in the data; None: as in the real images
    training: Any = None  # Seen, of the images that the generator was trained on
    perceptual: PyTree = None  # the weights of LPIPS
    training_images: Any = None  # uint8 n h w c, of those trained on
    training_labels: Any = None  # int32 n
    generate: Any = None  # (z b d, labels b) -> images b h w c in [-1, 1]
    z_dim: int = 0
    score: Any = None  # (images b h w c, labels b) -> logits b
    complete: Any = None  # (key, images b h w c) -> (with holes filled, masks b h w 1)
    bounds: Any = None  # (key, images b h w c, labels b, samples) -> VAE.bounds of these


class Metric(NamedTuple):
    needs: frozenset[str]  # fields of Seen, and of Scene
    values: dict[str, int]
    measure: Callable[[Seen, Seen, Scene], dict[str, Any]]  # (real, fake, scene)


def as_floats(images: np.ndarray) -> Array:
    return to_float(images) if images.ndim == 4 else jnp.asarray(images)


@jax.jit
def in_unit(images: Array) -> Array:
    return (images.reshape(len(images), -1) + 1) / 2


def of_pixels(function: Callable[..., Array], seen: Seen, *arguments: Array) -> np.ndarray:
    """`function` of the set's images as floats, some at a time."""
    chunks = [seen.images[i : i + CHUNK] for i in range(0, len(seen.images), CHUNK)]
    return np.concatenate([np.asarray(function(as_floats(each), *arguments)) for each in chunks])
