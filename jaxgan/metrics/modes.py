"""Modes covered and reverse KL of labelled mixtures: rings, grids, stacked digits.

Metz et al. 2017, Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN): a sample counts for
the mode that a classifier, or the nearest mean, says it is of.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgan.typing import Array, Float, Int


class Modes(NamedTuple):
    covered: int  # modes with a sample or more
    reverse_kl: float  # KL(samples' modes || the uniform distribution), nats
    floor: float  # that of as many images of the data themselves, on average
    counted: float  # the share of samples that are of any mode


def modes(
    labels: Int[Array | np.ndarray, " n"], num_modes: int, shares: np.ndarray | None = None
) -> Modes:
    """Of the samples' modes, 0 to num_modes - 1; other labels are of none.

    The floor is what the data's own `shares` of the modes (None: equal) are from uniform, and the
    bias of the plug-in estimate of n samples, (modes - 1) / 2n (Miller 1955).
    """
    labels = np.asarray(labels)
    inside = labels[(labels >= 0) & (labels < num_modes)]
    counts = np.bincount(inside, minlength=num_modes)
    shares = np.full(num_modes, 1 / num_modes) if shares is None else shares
    bias = (np.count_nonzero(shares) - 1) / (2 * max(len(inside), 1))
    return Modes(
        covered=int(np.count_nonzero(counts)),
        reverse_kl=_from_uniform(counts / len(inside)) if len(inside) else math.nan,
        floor=_from_uniform(shares) + bias,
        counted=len(inside) / len(labels),
    )


def _from_uniform(shares: np.ndarray) -> float:
    there = shares[shares > 0]
    return float(np.sum(there * np.log(there * len(shares))))


def nearest_mean(
    points: Float[Array, "n d"], means: Float[Array, "k d"], reach: float
) -> Int[Array, " n"]:
    """The number of the nearest mean, or -1 of a point that is not within `reach` of it."""
    apart = jnp.linalg.norm(points[:, None] - means[None], axis=-1)
    return jnp.where(jnp.min(apart, 1) < reach, jnp.argmin(apart, 1), -1).astype(jnp.int32)
