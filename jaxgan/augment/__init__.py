"""Differentiable augmentation of the images that the discriminator sees, real and generated.

A policy names transforms. Each is a function (key, images, p) -> images that keeps shape and dtype,
draws numbers of its own for each image, and is applied to each image with probability p:

    color, translation, cutout     DiffAugment (Zhao et al. 2020); diffaugment is the three
    flip                           mirrors left and right, half of the images it is applied to
    ada_blit, ada_geometry, ...    ADA (Karras et al. 2020); ada is the whole pipeline, ada_bgc its
                                   blitting, geometry and colour, the paper's choice for training
"""

import jax.numpy as jnp

from jaxgan.augment.ada import ada_color, ada_cutout, ada_filter, ada_noise, adapt
from jaxgan.augment.chance import Probability, Transform, chain, chosen
from jaxgan.augment.diffaugment import (
    brightness,
    contrast,
    cutout,
    flip,
    saturation,
    shift_and_flip,
    translation,
)
from jaxgan.augment.geometry import ada_blit, ada_blit_and_geometry, ada_geometry
from jaxgan.errors import lookup
from jaxgan.typing import Array, Float, Key

__all__ = ["POLICIES", "adapt", "make", "pseudo", "shift_and_flip"]

_COLOR = (brightness, saturation, contrast)
_BGC = (ada_blit_and_geometry, ada_color)

POLICIES = {
    "color": chain(*_COLOR),
    "translation": chain(translation),
    "cutout": chain(cutout),
    "diffaugment": chain(*_COLOR, translation, cutout),
    "flip": chain(flip),
    "ada_blit": chain(ada_blit),
    "ada_geometry": chain(ada_geometry),
    "ada_color": chain(ada_color),
    "ada_filter": chain(ada_filter),
    "ada_noise": chain(ada_noise),
    "ada_cutout": chain(ada_cutout),
    "ada_bgc": chain(*_BGC),
    "ada": chain(*_BGC, ada_filter, ada_noise, ada_cutout),
}


def make(policy: str) -> Transform:
    """The transform of a policy: a name in POLICIES, or several with commas between, in that order.

    Raises `UserError` where there is no such name.
    """
    names = [name.strip() for name in policy.split(",")]
    return chain(*(lookup(POLICIES, name, "augment.policy") for name in names))


def pseudo(
    key: Key[Array, ""],
    real: Float[Array, "b ..."],
    generated: Float[Array, "b ..."],
    p: Probability,
) -> Float[Array, "b ..."]:
    """APA (Jiang et al. 2021, arXiv 2111.06849): each real image is replaced with probability p by
    the generated one at its place. The paper moves p as ADA does, with `adapt`."""
    replaced = chosen(key, (len(real),), p).reshape(-1, *(1,) * (real.ndim - 1))
    return jnp.where(replaced, generated.astype(real.dtype), real)
