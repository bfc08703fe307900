"""Fields of networks that are names, for each player; the models look the same names up."""

from collections.abc import Mapping
from typing import Any

from jaxgan.models import conditions, heads, mlp, resnet
from jaxgan.models.layers import WEIGHT_NORMS
from jaxgan.models.norms import NORMS

CHOICES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "generator": {
        "activation": mlp.GENERATOR_ACTIVATIONS,
        "conditioning": conditions.CONDITIONINGS,
        "initial": mlp.INITIALS,
        "norm": NORMS,
        "weight_norm": WEIGHT_NORMS,
    },
    "discriminator": {
        "activation": mlp.DISCRIMINATOR_ACTIVATIONS,
        "conditioning": heads.CONDITIONINGS,
        "initial": mlp.INITIALS,
        "pooling": resnet.POOLINGS,
        "norm": {name: norm for name, norm in NORMS.items() if name != "self_modulated"},
        "weight_norm": WEIGHT_NORMS,
    },
}
