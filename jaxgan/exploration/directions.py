"""Principal directions of latents: those that change most of what a generator draws.

SeFa (Shen and Zhou, CVPR 2021, https://arxiv.org/abs/2007.06600): with A the weights by which
latents enter a network, the unit vectors n that change most of what comes of them, |A n|, one after
the other: the eigenvectors of A^T A (equation 6). The weights are the network's fully connected
layers that are linear in z: the first one, and where z modulates further layers (BigGAN,
self-modulation) those too. They are measured, so that the part of a kernel that belongs to the
label's embedding stays out, and normalised weights count as they work.

GANSpace (Härkönen et al., NeurIPS 2020, https://arxiv.org/abs/2004.02546): the principal components
of the first layer's activations, after its normalisation and nonlinearity, brought back to z by
regression (section 2.2). Where a network has no nonlinearity, of its images. (The outputs before
the nonlinearity, linear in normal latents, would give SeFa's directions.)

Directions have length 1, and their largest number is positive.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.algorithms import latents
from jaxgan.models.layers import Conv, ConvTranspose, Dense
from jaxgan.typing import Array, Float

SAMPLES = 2048  # latents whose activations are taken
CHUNK = 64  # of them at once
LINEAR = 1e-4  # a difference as a share of what differs, up to which rounding is to blame


class Directions(NamedTuple):
    directions: Float[np.ndarray, "k z"]  # the strongest first
    shares: Float[np.ndarray, " k"]  # of the sum of squares, or of the variance


def sefa(weights: Float[np.ndarray, "o z"], count: int) -> Directions:
    """Of the linear map `weights` from latents."""
    weights = weights.astype(np.float64)
    values, vectors = np.linalg.eigh(weights.T @ weights)
    strongest = np.argsort(-values, kind="stable")[:count]
    return Directions(_signed(vectors.T[strongest]), _shares(values, strongest))


def ganspace(
    activations: Float[np.ndarray, "n d"], z: Float[np.ndarray, "n z"], count: int
) -> Directions:
    """Of activations of latents; no more than there are components."""
    y = activations.astype(np.float64)
    y -= y.mean(0)
    wide = y.shape[1] > y.shape[0]  # the smaller of both products has the same eigenvalues
    values, vectors = np.linalg.eigh(y @ y.T if wide else y.T @ y)
    there = int(np.sum(values > 1e-10 * values[-1]))
    strongest = np.argsort(-values, kind="stable")[: min(count, there)]
    x = vectors[:, strongest] * np.sqrt(values[strongest]) if wide else y @ vectors[:, strongest]
    # the least |U x - z|^2; components are uncorrelated, so that each has its own solution
    regressed = x.T @ (z - z.mean(0)) / np.sum(np.square(x), 0)[:, None]
    lengths = np.linalg.norm(regressed, axis=1, keepdims=True)
    return Directions(_signed(regressed / lengths), _shares(values, strongest))


def _signed(vectors: np.ndarray) -> np.ndarray:
    largest = np.take_along_axis(vectors, np.argmax(np.abs(vectors), 1)[:, None], 1)
    return (vectors * np.sign(largest)).astype(np.float32)


def _shares(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return (values[chosen] / values.sum()).astype(np.float32)


# --------------------------------------------------------------------------------------------------
# What they are taken of


class Layer(NamedTuple):
    """One with weights, and whether what goes in and what comes out are linear in z, but for a
    constant."""

    kind: type
    linear_in: bool
    linear_out: bool


def of_weights(algorithm: Any, state: Any, label: int, count: int) -> Directions:
    """SeFa's, of the generator's average."""
    layers = _layers(algorithm, state, label)
    chosen = [n for n, each in enumerate(layers) if each.kind is Dense and each.linear_out]
    basis = jnp.concatenate([jnp.zeros((1, algorithm.z_dim)), jnp.eye(algorithm.z_dim)])

    @jax.jit
    def outputs(state: Any) -> Array:
        seen, _ = _watched(algorithm, state, basis, label)
        return jnp.concatenate([_flat(seen[n][2]) for n in chosen], 1)

    out = np.asarray(outputs(state))
    return sefa((out[1:] - out[:1]).T, count)


def of_activations(
    algorithm: Any, state: Any, z: Float[Array, "n z"], label: int, count: int
) -> Directions:
    """GANSpace's, of the generator's average and latents of the prior."""
    layers = _layers(algorithm, state, label)
    convolves = any(each.kind is not Dense for each in layers)
    # Of a convolutional network the first maps: what modulates them may be activations too.
    later = [
        n
        for n, each in enumerate(layers)
        if not each.linear_in and (each.kind is not Dense or not convolves)
    ]

    @jax.jit
    def activations(state: Any, z: Array) -> Array:
        seen, images = _watched(algorithm, state, z, label)
        return _flat(seen[later[0]][1] if later else images)

    chunks = [z[n : n + CHUNK] for n in range(0, len(z), CHUNK)]
    found = np.concatenate([np.asarray(activations(state, chunk)) for chunk in chunks])
    return ganspace(found, np.asarray(z), count)


def _layers(algorithm: Any, state: Any, label: int) -> list[Layer]:
    """The generator's, in their order."""
    a, b = jax.random.normal(jax.random.key(0), (2, algorithm.z_dim))
    z = jnp.stack([jnp.zeros_like(a), a, b, a + b])
    kinds: list[type] = []

    @jax.jit
    def seen(state: Any) -> list[tuple[Array, Array]]:
        found, _ = _watched(algorithm, state, z, label)
        kinds.extend(kind for kind, *_ in found)
        return [(_flat(x), _flat(y)) for _, x, y in found]

    def linear(x: Array) -> bool:
        apart = jnp.abs(x[1] + x[2] - x[0] - x[3]).max()
        return bool(apart <= LINEAR * jnp.abs(x).max())

    both = seen(state)
    return [Layer(kind, linear(x), linear(y)) for kind, (x, y) in zip(kinds, both, strict=True)]


def _watched(
    algorithm: Any, state: Any, z: Float[Array, "b z"], label: int
) -> tuple[list[tuple[type, Array, Array]], Array]:
    """What goes into each layer with weights and what comes out, and the images."""
    seen: list[tuple[type, Array, Array]] = []
    if getattr(algorithm.generator, "remat", False):  # what is inside cannot be kept, of course
        generator = algorithm.generator.clone(remat=False)
        algorithm = dataclasses.replace(algorithm, generator=generator)

    def watch(call: Any, arguments: Any, named: Any, context: Any) -> Any:
        output, kind = call(*arguments, **named), type(context.module)
        if kind in (Dense, Conv, ConvTranspose) and context.method_name == "__call__":
            seen.append((kind, arguments[0], output))
        return output

    with nn.intercept_methods(watch):
        images = latents.render(algorithm, state, z, jnp.full(len(z), label, jnp.int32))
    return seen, images


def _flat(x: Array) -> Array:
    return x.reshape(len(x), -1).astype(jnp.float32)
