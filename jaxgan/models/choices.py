"""Fields of networks that are names, for each player; the models look the same names up."""

from collections.abc import Mapping
from typing import Any

from jaxgan.models import conditions, heads, mlp, resnet
from jaxgan.models.layers import OUTPUTS, WEIGHT_NORMS
from jaxgan.models.norms import NORMS

_LABEL_FREE = {name: norm for name, norm in NORMS.items() if name != "self_modulated"}

CHOICES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "generator": {
        "activation": mlp.GENERATOR_ACTIVATIONS,
        "conditioning": conditions.CONDITIONINGS,
        "initial": mlp.INITIALS,
        "norm": NORMS,
        "output": OUTPUTS,
        "weight_norm": WEIGHT_NORMS,
    },
    "discriminator": {
        "activation": mlp.DISCRIMINATOR_ACTIVATIONS,
        "conditioning": heads.CONDITIONINGS,
        "initial": mlp.INITIALS,
        "pooling": resnet.POOLINGS,
        "norm": _LABEL_FREE,
        "weight_norm": WEIGHT_NORMS,
    },
    "encoder": {
        "activation": mlp.DISCRIMINATOR_ACTIVATIONS,
        "initial": mlp.INITIALS,
        "norm": _LABEL_FREE,
        "weight_norm": WEIGHT_NORMS,
    },
}
