"""How examples reach the step: three ways that deliver the same minibatches.

* `device`: the whole split lies on the device as uint8 (sounds as int16), and a step gathers its
  minibatches there.
* `host`: it lies in this machine's memory; a call's minibatches are gathered while the one before
  them trains.
* `none`: Grain reads them from the files, decodes them in threads, and keeps a call's worth ready.

Which examples a minibatch holds is a pure function of the seed and of its place in the stream
(`jaxgan.data.pipeline.indices`). So there is no state of an iterator to save, and neither the way
nor the number of threads or processes changes a batch. With P processes process p delivers the
p-th of P equal parts of each minibatch. Images are mirrored, where asked for, on the device.

Images lie and travel as rows of bytes and get their shape inside the step. XLA gathers rows some
ten times faster than images on CPU, and a TPU would pad a last axis of 1 or 3 channels to 128.
"""

import contextlib
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.pipeline import indices, kept_as, to_float
from jaxgan.errors import UserError
from jaxgan.typing import Array, Batch, Float, Int, Int16, Key, PyTree, UInt8


class Feed(NamedTuple):
    """What the loop needs to deliver a data set's minibatches."""

    seed: int | tuple[int, ...]  # or one of each member, see below
    resident: dict[str, Any]  # arrays that lie on the devices, an argument of every call
    fetch: Callable[[int, int], dict[str, np.ndarray]]  # (step, count) -> leaves s k b ...
    batch: Callable[[Key[Array, ""], dict, dict], Batch]  # (key, resident, one step's part) -> k b
    cache: str = ""  # device, host or none; of data drawn on the device nothing

    def inputs(self, step: int, count: int) -> dict[str, np.ndarray]:
        """What the steps `step` to `step + count - 1` take beside the resident arrays.

        Leaves s ..., or s n ... of n members.
        """
        steps = np.arange(step, step + count, dtype=np.int32)
        if isinstance(self.seed, int):
            return {"step": steps, **self.fetch(step, count)}
        seeds = np.tile(np.array(self.seed, np.uint32), (count, 1))
        return {
            "step": np.repeat(steps[:, None], len(self.seed), 1),
            "seed": seeds,
            **self.fetch(step, count),
        }

    def minibatches(self, resident: PyTree, inputs: PyTree) -> Batch:
        """The K minibatches of one step (of one member), made on the device from its part of
        `inputs`."""
        seed = inputs.get("seed", self.seed)
        key = jax.random.fold_in(jax.random.key(seed), 5)  # init and sampling took 0 to 4
        return self.batch(jax.random.fold_in(key, inputs["step"]), resident, inputs)


def make_feed(
    examples: Any,
    cache: str,
    flip: bool,
    seed: int | tuple[int, ...],
    minibatches: int,
    batch_size: int,
    process: tuple[int, int] = (0, 1),
    workers: int = 0,
) -> Feed:
    """The feed of a split.

    `examples` has `num_examples`, `shape` (h, w, c), or (l,) of sounds, and `read(numbers) ->
    (uint8 images n h w c or int16 sounds n l, int32 labels n or None)`. `seed`: of several each has
    batches of its own. `process`: this one's number and how many there are; `workers`: threads
    that decode, 0 for one a core. Raises UserError where the processes do not divide a
    batch.
    """
    number, processes = process
    if batch_size % processes:
        raise UserError(
            f"batch_size: {batch_size} is not a multiple of the {processes} processes that share it"
        )
    share = slice(number * batch_size // processes, (number + 1) * batch_size // processes)
    size = examples.num_examples

    def positions(step: int, count: int) -> Int[np.ndarray, "s *n k b"]:
        """Which examples steps `step` to `step + count - 1` see, this process's share."""
        per_step = minibatches * batch_size
        of = lambda seed: indices(seed, step * per_step, count * per_step, size)  # noqa: E731
        chosen = of(seed) if isinstance(seed, int) else np.stack([of(each) for each in seed])
        chosen = chosen.reshape(-1, count, minibatches, batch_size)[..., share].swapaxes(0, 1)
        return chosen[:, 0] if isinstance(seed, int) else chosen

    def finish(key, rows: UInt8[Array, "k b d"] | Int16[Array, "k b d"]) -> Float[Array, "k b ..."]:
        images = to_float(rows).reshape(*rows.shape[:2], *examples.shape)
        return mirror(key, images) if flip else images

    def pick(images, labels, chosen) -> dict[str, Any]:
        picked = {"image": images[chosen]}
        return picked if labels is None else {**picked, "label": labels[chosen]}

    def convert(key, resident, inputs) -> Batch:
        labels = {name: array for name, array in inputs.items() if name == "label"}
        return {**labels, "image": finish(key, inputs["image"])}

    if cache == "none":
        decoder = _Decoder(examples, positions, workers or cores())
        return Feed(seed, {}, decoder.fetch, convert, cache)
    images, labels = read_all(examples)
    rows = images.reshape(size, -1)
    if cache == "host":
        return Feed(seed, {}, lambda *at: pick(rows, labels, positions(*at)), convert, cache)

    def gather(key, resident, inputs) -> Batch:
        return convert(key, {}, {k: rows[inputs["index"]] for k, rows in resident.items()})

    resident = pick(rows, labels, slice(None))
    return Feed(seed, resident, lambda *at: {"index": positions(*at)}, gather, cache)


def cache_of(examples: Any, cache: str) -> str:
    """The way for a split that fits this machine, see choose_cache."""
    num_bytes = examples.num_examples * _size_of(examples.shape)
    return choose_cache(num_bytes, cache, *free_memory())


def _size_of(shape: tuple[int, ...]) -> int:
    """Bytes of an example in memory."""
    return math.prod(shape) * np.dtype(kept_as(shape)).itemsize


def read_all(examples: Any) -> tuple[np.ndarray, Int[np.ndarray, " n"] | None]:
    """All images and labels, in the order of the files, decoded in threads."""
    size = examples.num_examples
    images = np.empty((size, *examples.shape), kept_as(examples.shape))
    labels = np.empty(size, np.int32)

    def fill(chosen: Int[np.ndarray, " m"]) -> bool:
        images[chosen], found = examples.read(chosen)
        if found is not None:
            labels[chosen] = found
        return found is not None

    with ThreadPoolExecutor(cores()) as pool:
        labelled = all(pool.map(fill, np.array_split(np.arange(size), -(-size // 512))))
    return images, labels if labelled else None


def mirror(key: Key[Array, ""], images: Float[Array, "k b h w c"]) -> Float[Array, "k b h w c"]:
    """Each image, or with probability one half its mirror image, left for right."""
    flipped = jax.random.bernoulli(key, shape=images.shape[:2])
    return jnp.where(flipped[..., None, None, None], images[..., ::-1, :], images)


def ahead(
    function: Callable, arguments: Iterable[tuple]
) -> Generator[tuple[tuple, Any], None, None]:
    """(a, function(*a)) for each `a` of `arguments`; a thread works on the one to come."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for each in arguments:
            submitted = each, pool.submit(function, *each)
            if pending:
                yield pending[0], pending[1].result()
            pending = submitted
        if pending:
            yield pending[0], pending[1].result()


MAX_READY = 2**29  # bytes of decoded images that wait for their call


class _Decoder:
    """Reads minibatches through Grain: threads decode the ones to come."""

    def __init__(self, examples: Any, positions: Callable, workers: int):
        self.examples, self.positions, self.workers = examples, positions, workers
        self.expected = -1
        self.steps: Iterator[dict[str, np.ndarray]] = iter(())

    def fetch(self, step: int, count: int) -> dict[str, np.ndarray]:
        if step != self.expected:  # the first call; the others follow one another
            self.steps = self._start(step, count)
        parts = [next(self.steps) for _ in range(count)]
        self.expected = step + count  # only now: after a failure Grain would go on one too far
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def _start(self, step: int, count: int) -> Iterator[dict[str, np.ndarray]]:
        import grain  # here: most runs do without it

        step_bytes = self.positions(step, 1).size * _size_of(self.examples.shape)
        endless = grain.MapDataset.range(step, 2**31).map(self._one)
        # A run that goes on may begin with a call of few steps: each thread has one in any case.
        ready = max(min(2 * count, MAX_READY // step_bytes), self.workers)
        options = grain.ReadOptions(num_threads=self.workers, prefetch_buffer_size=ready)
        return iter(endless.to_iter_dataset(options))

    def _one(self, step: int) -> dict[str, np.ndarray]:
        chosen = self.positions(step, 1)[0]
        images, labels = self.examples.read(chosen.reshape(-1))
        batch = {"image": images.reshape(*chosen.shape, -1)}
        return batch if labels is None else {**batch, "label": labels.reshape(chosen.shape)}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --------------------------------------------------------------------------------------------------
# Which way fits


def choose_cache(num_bytes: int, cache: str, free_on_device: int, free_on_host: int) -> str:
    """`cache`, or for "auto" the first of device, host and none for which there is room.

    A set on the device may take a quarter of what is free there, for networks and their gradients
    need the rest; one in the host's memory half. To the device it goes by way of the host. All in
    bytes. Raises UserError where what is asked for cannot fit.
    """
    if cache == "auto":
        if 4 * num_bytes <= free_on_device and num_bytes <= free_on_host:
            return "device"
        return "host" if 2 * num_bytes <= free_on_host else "none"
    free = {"device": min(free_on_device, free_on_host), "host": free_on_host}.get(cache)
    if free is not None and num_bytes > free:
        raise UserError(
            f"data.cache: {cache!r} takes {num_bytes / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB are free; choose 'auto' or 'none'"
        )
    return cache


def free_memory() -> tuple[int, int]:
    """Free bytes on the first local device and on this machine."""
    host = _free_on_host()
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0), host
    return host, host  # a CPU: its memory is the machine's


def _free_on_host() -> int:
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError, KeyError):  # Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        amounts = dict(line.split()[:2] for line in lines)
        free = int(amounts["MemAvailable:"]) * 1024
    with contextlib.suppress(OSError, ValueError, KeyError):  # a container with less than that
        limit, used, details = (
            Path(f"/sys/fs/cgroup/memory.{name}").read_text() for name in ("max", "current", "stat")
        )
        amounts = dict(line.split() for line in details.splitlines())
        # Files that were read lately count as used; the system gives that up when asked.
        free = min(free, int(limit) - int(used) + int(amounts["inactive_file"]))
    return free
