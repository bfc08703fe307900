"""What a feature network makes of images."""

from typing import NamedTuple

from jaxgan.typing import Array, Float


class Outputs(NamedTuple):
    features: Float[Array, "b d"]
    logits: Float[Array, "b c"] | None = None
