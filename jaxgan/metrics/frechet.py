"""Fréchet distance between Gaussians fitted to two sets of features.

Dowson and Landau 1982; Heusel et al., NIPS 2017 (https://arxiv.org/abs/1706.08500), equation 6,
where the features are InceptionV3's and the distance is called FID; in other features it is none.

    d^2 = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

with the means and the unbiased covariances, and d^2 what is reported. It is biased upwards by about
1 / samples: compare only figures of as many.

Means and covariances are streamed: each batch's about its own mean, and batches joined (Chan,
Golub and LeVeque 1983), in float64 on the host: of fewer samples than dimensions float32 would make
as many small eigenvalues of rounding, and their roots add up. With C_1 = B B^T the eigenvalues of
C_1 C_2 are those of B^T C_2 B, which is symmetric. B is Cholesky's factor; where C_1 is singular it
is of the eigenvectors, without a column for a dimension in which the features do not vary: there a
square root of the product or its own eigenvalues do not hold.
"""

from typing import NamedTuple

import numpy as np

from jaxgan.typing import Float


class Moments(NamedTuple):
    """Of the features seen so far, in float64."""

    number: int
    mean: np.ndarray  # d
    scatter: np.ndarray  # d d, the sum of outer products of differences from the mean

    @property
    def covariance(self) -> np.ndarray:
        """Raises ValueError of fewer than two."""
        if self.number < 2:
            raise ValueError(f"a covariance takes two features or more, not {self.number}")
        return self.scatter / (self.number - 1)


def moments(features: Float[np.ndarray, "n d"]) -> Moments:
    """Of one batch."""
    mean = np.asarray(np.mean(features, 0, dtype=np.float64))
    apart = features - mean
    return Moments(len(features), mean, apart.T @ apart)


def join(a: Moments, b: Moments) -> Moments:
    """Of both sets together."""
    number = a.number + b.number
    apart = b.mean - a.mean
    scatter = a.scatter + b.scatter + np.outer(apart, apart) * (a.number * b.number / number)
    return Moments(number, a.mean + apart * (b.number / number), scatter)


def frechet(a: Moments, b: Moments) -> float:
    """The squared distance, in the squared units of the features."""
    a, b = sorted((a, b), key=lambda each: each.number)  # the fewer samples, the fewer columns
    apart = a.mean - b.mean
    first, second = a.covariance, b.covariance
    root = _root(first)
    values = np.linalg.eigvalsh(root.T @ second @ root)
    crossing = np.sum(np.sqrt(np.maximum(values, 0)))
    return float(max(apart @ apart + np.trace(first) + np.trace(second) - 2 * crossing, 0.0))


def _root(covariance: np.ndarray) -> np.ndarray:
    """B of B B^T, a column for each dimension in which the features vary."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # it is singular
        pass
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])
