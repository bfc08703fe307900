"""Samples of a trained generator, the same on one device and on many.

They are drawn 64 at a time from a key of their own, however many devices share the work: so the
same seed gives the same pixels, up to rounding.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.tree_util import Partial

from jaxgan import data, parallel
from jaxgan.algorithms import latents
from jaxgan.errors import UserError
from jaxgan.typing import Array, Float, PyTree

CHUNK = 64  # samples from one key


def latents_of(
    algorithm: Any, count: int, seed: int, truncation: float | None = None
) -> Float[Array, "n z"]:
    """The latents of the first `count` samples that a Sampler draws of algorithms on latents."""

    def of_chunk(number: Array) -> Array:
        shape = CHUNK, algorithm.z_dim
        return latents.draw(_chunk_key(seed, number), algorithm.latent, shape, truncation)

    chunks = jax.vmap(of_chunk)(jnp.arange(-(-count // CHUNK)))
    return chunks.reshape(-1, algorithm.z_dim)[:count]


def _chunk_key(seed: Any, number: Any) -> Array:
    # Training has taken 0 to 3 of the seed's keys.
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 4), number)


class Sampler:
    """Draws samples of one algorithm's states, with programs that are compiled once."""

    def __init__(
        self,
        algorithm: Any,
        mesh: Mesh,
        truncation: float | None = None,
        statistics: str = "running",
    ):
        """`statistics` of BatchNorm: running, batch or standing; these of latents without
        truncation."""
        self.algorithm, self.mesh, self.statistics = algorithm, mesh, statistics

        def draw_chunk(state, seed, number, labels):
            key = _chunk_key(seed, number)
            batch = {"truncation": truncation, "train": statistics == "batch"}
            drawn = algorithm.sample(state, key, labels, **batch)
            return data.to_uint8(drawn) if drawn.ndim == 4 else drawn

        def draw_chunks(state, seed, numbers, labels):
            numbers, labels = parallel.constrain_batch((numbers, labels))
            drawn = jax.vmap(draw_chunk, (None, None, 0, 0))(state, seed, numbers, labels)
            return drawn.reshape(-1, *drawn.shape[2:])

        def stand(state, seed):
            key = jax.random.fold_in(jax.random.key(seed), 7)
            return algorithm.with_standing_statistics(state, key)

        def make_chunk(state, seed, number, images, labels):
            key = _chunk_key(seed, number)
            return data.to_uint8(algorithm.show(state, key, data.to_float(images), labels)[-1])

        def make_chunks(state, seed, numbers, images, labels):
            chunks = [x.reshape(-1, CHUNK, *x.shape[1:]) for x in (images, labels)]
            numbers, images, labels = parallel.constrain_batch((numbers, *chunks))
            one = jax.vmap(make_chunk, (None, None, 0, 0, 0))
            made = one(state, seed, numbers, images, labels)
            return made.reshape(-1, *made.shape[2:])

        self._draw = jax.jit(draw_chunks, out_shardings=parallel.split(mesh, 0))
        self._stand = jax.jit(stand)
        self._make = jax.jit(make_chunks, out_shardings=parallel.split(mesh, 0))
        everywhere = parallel.replicated(mesh)
        self._functions = {
            name: jax.jit(
                getattr(algorithm, name), static_argnames=static, out_shardings=everywhere
            )
            for name, static in (("bounds", "samples"), ("complete", None), ("score", None))
            if hasattr(algorithm, name)
        }

    def draw(self, state: PyTree, labels: np.ndarray, count: int, seed: int) -> Iterator[Array]:
        """Batches of uint8 images (or float32 points, or sequences), `count` or more, of the labels
        in turn.

        Every 64 are drawn from a key of their own, and have batch statistics of their own. The
        last batch is filled up with more of the same series, so the first images of a longer series
        are those of a shorter one.
        """
        size = self.mesh.size
        chunks = -(-count // (CHUNK * size)) * size
        labels = np.resize(labels, (chunks, CHUNK)).astype(np.int32)
        state = self._prepared(state, seed)
        for first in range(0, chunks, size):
            numbers = np.arange(first, first + size, dtype=np.int32)
            yield self._draw(state, np.uint32(seed), numbers, labels[numbers])

    def generator(self, state: PyTree, seed: int) -> Partial:
        """(z, labels) -> images or points, each of its latent alone.

        Raises UserError with statistics of batches, where it is not.
        """
        if self.statistics == "batch":
            raise UserError("--statistics: with those of batches an image has no latent of its own")
        return Partial(self.algorithm.render, self._prepared(state, seed))

    def made(
        self, state: PyTree, batches: Iterator[tuple[Array, Array]], seed: int
    ) -> Iterator[Array]:
        """What the algorithm makes of uint8 images, batch by batch of 64 for each device; every 64
        have a key of their own."""
        state = self._prepared(state, seed)
        for n, (images, labels) in enumerate(batches):
            numbers = np.arange(n * self.mesh.size, (n + 1) * self.mesh.size, dtype=np.int32)
            yield self._make(state, np.uint32(seed), numbers, images, labels)

    def of(self, name: str, state: PyTree, seed: int) -> Callable[..., Any]:
        """The algorithm's function of that name (bounds, complete, score), of that state."""
        return functools.partial(self._functions[name], self._prepared(state, seed))

    def _prepared(self, state: PyTree, seed: int) -> PyTree:
        """On all devices, with the statistics that are asked for."""
        state = parallel.distribute(self.mesh, state)
        return self._stand(state, np.uint32(seed)) if self.statistics == "standing" else state
