"""What samples are judged by. METRICS are those that training may evaluate: the less the better."""

from collections.abc import Callable
from typing import NamedTuple

from jaxgan.metrics import sliced
from jaxgan.typing import Array


class Metric(NamedTuple):
    """A distance between sets of as many real as fake images, by features of each image."""

    features: Callable[[Array, Array], Array]  # (key, images b ...) -> b p
    distance: Callable[[Array, Array], Array]  # features n p of real ones, of fake ones -> scalar


METRICS = {"sliced_wasserstein": Metric(sliced.project, sliced.sliced_wasserstein)}
