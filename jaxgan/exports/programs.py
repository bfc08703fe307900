"""A generator as one function of latents, with its weights in it: what is no longer Python.

    z       float32 b z, latents of the distribution that the model was trained with
    labels  int32 b, from 0 on; where the model is conditional
    images  float32 b h w c, within -1 to 1 (r3gan's are not confined), or points, or sounds

b is any number. BatchNorm takes its running averages. Products of float32 numbers are as exact as
it is, on accelerators too, so that images are the same everywhere; in bfloat16_products as well.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxgan
from jaxgan import archive
from jaxgan.errors import UserError
from jaxgan.ops.dense import PRODUCTS
from jaxgan.pretrained import Model

EXACT = "highest"  # precision of products: accelerators would round factors of float32
BATCHES = 1, 3  # of which a program is tried
# The most that a program's numbers may differ from the run's, by its arithmetic, in units of the
# largest where that is above 1. bfloat16 has eight bits, and compilers round at different places.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2.0**-4, PRODUCTS: 2.0**-4}
LATENTS = {
    "normal": "standard normal",
    "uniform": "uniform on (-1, 1)",
    "truncated": "standard normal, drawn anew until each number lies within -2 to 2",
}


def generator(model: Model) -> Callable[..., Any]:
    """(z, labels) -> images, or (z) -> images. Raises UserError where these are no function of the
    latents."""
    if len(model.config.derived.image_shape) == 2:
        raise UserError(
            "--format: texts are drawn symbol by symbol at random, which no program of latents "
            "does; take safetensors"
        )

    algorithm = model.algorithm
    if model.config.precision == PRODUCTS:
        algorithm = dataclasses.replace(algorithm, dtype=jnp.float32)

    def of_latents(z, labels=None):
        given = jnp.zeros(z.shape[0], jnp.int32) if labels is None else labels
        with jax.default_matmul_precision(EXACT):
            return algorithm.render(model.state, z, given)

    return of_latents


def inputs(model: Model, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of what the function takes, by their names and in their order."""
    z = {"z": jax.ShapeDtypeStruct((batch, model.config.z_dim), jnp.float32)}
    return z | ({"labels": jax.ShapeDtypeStruct((batch,), jnp.int32)} if model.class_names else {})


def check(model: Model, call: Callable[..., Any], what: str) -> float:
    """How much a program's numbers differ at most from the model's own, by batches of two sizes.

    Raises UserError where that is more than rounding.
    """
    worst, draw = 0.0, np.random.default_rng(0).standard_normal
    for count in BATCHES:
        z = draw((count, model.config.z_dim)).astype(np.float32)
        labels = np.arange(count, dtype=np.int32) % max(len(model.class_names), 1)
        given = (z, labels) if model.class_names else (z,)
        with jax.default_matmul_precision(EXACT):
            expected = model.generate(*given)
        found = np.asarray(call(*given))
        if found.shape != expected.shape:
            raise UserError(f"{what}: gives {found.shape} where the run gives {expected.shape}")
        difference = float(np.abs(found - expected).max())
        worst = max(worst, difference)
        most = TOLERANCE[model.config.precision] * max(np.abs(expected).max(), 1.0)
        if not difference <= most:
            raise UserError(
                f"{what}: its numbers differ from the run's by {difference:.2g}; nothing was kept"
            )
    return worst


def told(model: Model, kind: str, **more: Any) -> dict[str, Any]:
    """What config.json says beside a program of the format `kind`."""
    shape, config = model.config.derived.image_shape, model.config
    return {
        "format": f"jaxgan.{kind}",
        "version": 1,
        "jaxgan": jaxgan.__version__,
        "step": model.step,
        "seed": config.seed,
        "latents": LATENTS[config.latent],
        "inputs": {
            name: {"dtype": each.dtype.name, "shape": ["batch", *each.shape[1:]]}
            for name, each in inputs(model, 1).items()
        },
        "output": {"dtype": "float32", "shape": ["batch", *shape]},
        "class_names": list(model.class_names),
        **more,
        "config": archive.published(config),
    }
