"""The three ways to deliver minibatches: the same ones, whatever the way, the threads, the number
of processes, the steps in a call, and wherever a run is taken up again."""

import concurrent.futures
import functools
import gc
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config, data, experiment, loop, parallel, writer
from jaxgan.data import feed as feeds
from jaxgan.errors import UserError

ROOT = Path(__file__).parents[1]
CACHES = ["device", "host", "none"]
SEED, K, B, SIZE = 3, 2, 8, 97  # 16 examples a step; 97 is a prime: minibatches straddle epochs
EPOCHS = 3
SHAPE = 28, 28, 1
STEPS = -(-EPOCHS * SIZE // (K * B))


@functools.cache
def opened():
    return data.open_set("fashion_mnist_mini", split=f"test[:{SIZE}]")


@functools.cache
def examples():
    """The images, uint8, none of them symmetric, no two alike or mirrored; and the labels."""
    images, labels = opened().read(np.arange(SIZE))
    both = np.concatenate([images, images[:, :, ::-1]])
    assert len({image.tobytes() for image in both}) == 2 * SIZE
    return images, labels


def make_feed(cache, *, source=None, flip=True, seed=SEED, **settings):
    source = opened() if source is None else source
    shape = {"minibatches": K, "batch_size": B, **settings}
    return data.make_feed(source, cache, flip=flip, seed=seed, **shape)


def in_memory(labels=True):
    """Examples as make_feed takes them; `asked` lists all numbers it was asked for."""
    images, numbers = examples()
    asked = []

    def read(chosen):
        asked.append(chosen)
        return images[chosen], numbers[chosen] if labels else None

    return types.SimpleNamespace(num_examples=SIZE, shape=SHAPE, read=read, asked=asked)


def stream(feed, first=0, last=STEPS, count=5):
    """The minibatches of steps `first` to `last` - 1, made as the loop makes them."""
    mesh = parallel.make_mesh(2, B)

    @jax.jit
    def call(resident, inputs):
        step = lambda _, inputs: (None, feed.minibatches(resident, inputs))  # noqa: E731
        return jax.lax.scan(step, None, inputs)[1]

    made = []
    with jax.set_mesh(mesh):
        resident = parallel.place(mesh, feed.resident)
        for step in range(first, last, count):
            inputs = feed.inputs(step, min(count, last - step))
            made.append(call(resident, parallel.place(mesh, inputs, batch_axis=2)))
    made = jax.device_get(made)
    return {name: np.concatenate([part[name] for part in made]) for name in made[0]}


@functools.cache
def whole(cache):
    return stream(make_feed(cache))


def fetched(feed, first, count):
    """What a feed that reads on the host delivers, as images."""
    batch = feed.fetch(first, count)
    assert batch["image"].dtype == np.uint8
    return {**batch, "image": batch["image"].reshape(*batch["image"].shape[:-1], *SHAPE)}


def expected(first=0, last=STEPS, flip=True, seed=SEED):
    """The same by numpy, from the order of examples and from the coins of each step."""
    images, labels = examples()
    order = np.concatenate([data.indices(seed, e * SIZE, SIZE, SIZE) for e in range(EPOCHS + 1)])
    chosen = order[first * K * B : last * K * B].reshape(-1, K, B)
    pixels = images[chosen]
    if flip:
        key = jax.random.fold_in(jax.random.key(seed), 5)
        for i, step in enumerate(range(first, last)):
            coins = np.asarray(jax.random.bernoulli(jax.random.fold_in(key, step), shape=(K, B)))
            pixels[i][coins] = pixels[i][coins][:, :, ::-1]
    return {"image": pixels, "label": labels[chosen]}


def assert_equal(batch, other):
    """To the bit; uint8 on one side stands for the float that each of its pixels becomes."""
    assert batch.keys() == other.keys()
    for name in batch:
        left, right = batch[name], other[name]
        if left.dtype != right.dtype:
            assert left.dtype == np.float32 and abs(left).max() <= 1
            left = (left + 1) * 127.5
            assert abs(left - np.round(left)).max() < 1e-4
            left = np.round(left).astype(np.uint8)
        np.testing.assert_array_equal(left, right, err_msg=name, strict=True)


def numbers_of(images):
    """Which example each uint8 image is, and whether it is mirrored."""
    known = {}
    for number, image in enumerate(examples()[0]):
        known[image.tobytes()] = number, False
        known[image[:, ::-1].tobytes()] = number, True
    found = [known[image.tobytes()] for image in images.reshape(-1, *images.shape[-3:])]
    return tuple(np.reshape(each, images.shape[:-3]) for each in zip(*found, strict=True))


def pixels_of(batch):
    return np.asarray(data.to_uint8(batch["image"]))


# --------------------------------------------------------------------------------------------------
# The same minibatches


@pytest.mark.parametrize("cache", CACHES)
def test_each_way_delivers_what_the_order_of_examples_says(cache):
    batch = whole(cache)
    assert batch["image"].shape == (STEPS, K, B, 28, 28, 1)
    assert (batch["label"].shape, batch["label"].dtype) == ((STEPS, K, B), np.int32)
    assert_equal(batch, expected())


@pytest.mark.parametrize("cache", ["host", "none"])
def test_the_ways_agree_to_the_bit(cache):
    assert_equal(whole(cache), whole("device"))


@pytest.mark.parametrize("cache", CACHES)
def test_without_flip_the_images_are_as_they_were(cache):
    assert_equal(stream(make_feed(cache, flip=False), last=3), expected(last=3, flip=False))


@pytest.mark.parametrize("cache", CACHES)
def test_an_unlabelled_set_has_no_labels(cache):
    batch = stream(make_feed(cache, source=in_memory(labels=False)), last=3)
    assert_equal(batch, {"image": expected(last=3)["image"]})


@pytest.mark.parametrize("cache", CACHES)
def test_another_seed_is_another_order(cache):
    batch = stream(make_feed(cache, seed=2**32 - 1), last=3)  # the largest that a config allows
    assert_equal(batch, expected(last=3, seed=2**32 - 1))
    assert (batch["label"] != whole(cache)["label"][:3]).any()


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize(("first", "count"), [(0, 1), (7, 3), (12, 12)])
def test_a_stream_taken_up_anywhere_and_in_other_calls_is_the_same(cache, first, count):
    batch = stream(make_feed(cache), first, count=count)
    assert_equal(batch, {name: array[first:] for name, array in whole(cache).items()})


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_change_nothing(workers):
    feed = make_feed("none", workers=workers)
    for first, last in ((4, 9), (9, 12), (2, 3), (3, 4)):  # goes on, goes back, goes on
        assert_equal(fetched(feed, first, last - first), expected(first, last, flip=False))


def test_slow_examples_change_no_order():
    source = in_memory()
    read, waits = source.read, itertools.cycle([0.02, 0.0, 0.005])
    source.read = lambda chosen: time.sleep(next(waits)) or read(chosen)
    feed = make_feed("none", source=source, workers=3)
    assert_equal(fetched(feed, 0, 9), expected(last=9, flip=False))


def test_only_the_first_way_keeps_the_set_on_the_device_and_only_the_last_reads_as_it_goes():
    for cache in CACHES:
        source = in_memory()
        feed = make_feed(cache, source=source)
        assert sum(map(len, source.asked)) == {"device": SIZE, "host": SIZE, "none": 0}[cache]
        inputs = feed.inputs(6, 2)
        np.testing.assert_array_equal(inputs["step"], np.array([6, 7], np.int32), strict=True)
        if cache == "device":
            assert feed.resident["image"].dtype == np.uint8
            assert feed.resident["image"].shape == (SIZE, 28 * 28)  # rows: see the module
            assert inputs.keys() == {"step", "index"}
            assert inputs["index"].nbytes == 2 * K * B * 4
        else:
            assert feed.resident == {}
            assert inputs["image"].dtype == np.uint8
            assert inputs["image"].shape == (2, K, B, 28 * 28)
        if cache != "none":
            assert sum(map(len, source.asked)) == SIZE  # nothing is read twice


# --------------------------------------------------------------------------------------------------
# Each example once an epoch, mirrored or not


@pytest.mark.parametrize("cache", CACHES)
def test_each_example_comes_once_an_epoch_in_a_fresh_order(cache):
    numbers, _ = numbers_of(pixels_of(whole(cache)))
    epochs = numbers.reshape(-1)[: EPOCHS * SIZE].reshape(EPOCHS, SIZE)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(SIZE))
    assert len({tuple(epoch) for epoch in epochs}) == EPOCHS


@pytest.mark.parametrize("cache", CACHES)
def test_about_half_of_the_images_are_mirrored(cache):
    _, mirrored = numbers_of(pixels_of(whole(cache)))
    # 304 coins: the standard error is 0.029; of one place over the steps, 19 coins, 0.115
    assert abs(mirrored.mean() - 0.5) < 4 * 0.029
    assert abs(mirrored.mean(axis=0) - 0.5).max() < 4 * 0.115
    assert len({coins.tobytes() for coins in mirrored}) == STEPS  # of no two steps alike
    assert (mirrored[:, 0] != mirrored[:, 1]).any()  # nor of a step's minibatches


def test_mirror_turns_left_and_right_and_twice_changes_nothing():
    images = jnp.arange(2 * 3 * 2 * 3 * 3, dtype=jnp.float32).reshape(2, 3, 2, 3, 3)
    for key in map(jax.random.key, range(8)):
        once = feeds.mirror(key, images)
        for before, after in zip(images.reshape(6, 2, 3, 3), once.reshape(6, 2, 3, 3), strict=True):
            turned = np.stack([before[:, 2 - column] for column in range(3)], axis=1)
            assert any(np.array_equal(after, each) for each in (before, turned))
        assert not np.array_equal(once, images)  # these keys turn some
        np.testing.assert_array_equal(feeds.mirror(key, once), images)


# --------------------------------------------------------------------------------------------------
# Several processes


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_together_deliver_the_one_process_minibatches(cache, processes):
    source = in_memory() if cache != "none" else opened()
    parts = []
    for number in range(processes):
        feed = make_feed(cache, source=source, process=(number, processes))
        if cache == "device":
            chosen = feed.fetch(0, STEPS)["index"]
        else:
            batch = fetched(feed, 0, STEPS)
            chosen, _ = numbers_of(batch["image"])
            np.testing.assert_array_equal(batch["label"], examples()[1][chosen])
        assert chosen.shape == (STEPS, K, B // processes)
        parts.append(chosen)
    together = np.concatenate(parts, axis=2)
    order, _ = numbers_of(expected(flip=False)["image"])
    np.testing.assert_array_equal(together, order)
    for epoch in together.reshape(-1)[: EPOCHS * SIZE].reshape(EPOCHS, SIZE):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(SIZE))


def test_a_process_reads_its_own_share_only():
    source = in_memory()
    make_feed("none", source=source, process=(1, 4), workers=1).fetch(0, 2)
    assert {len(chosen) for chosen in source.asked} == {K * B // 4}


def test_processes_that_do_not_divide_a_batch_are_the_users_error():
    with pytest.raises(UserError) as error:
        make_feed("none", process=(0, 3))
    message = "batch_size: 8 is not a multiple of the 3 processes that share it"
    assert str(error.value) == message


# One of two processes with two devices each: what the loop does, on a mesh over all four.
PROCESS = """
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

jax.config.update("jax_cpu_collectives_implementation", "gloo")
address, number, out, size, seed, k, b = sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(
    int, sys.argv[4:]
)
jax.distributed.initialize(address, 2, number)
assert (len(jax.devices()), len(jax.local_devices())) == (4, 2)

from jaxgan import data, parallel

mesh = parallel.whole_mesh()
opened = data.open_set("fashion_mnist_mini", split=f"test[:{size}]")
for cache in ("host", "none", "device"):
    feed = opened.feed(
        cache, flip=True, seed=seed, minibatches=k, batch_size=b,
        process=(jax.process_index(), jax.process_count()),
    )
    local = feed.inputs(4, 3)
    with jax.set_mesh(mesh):
        resident = parallel.place(mesh, feed.resident)
        inputs = parallel.place(mesh, local, batch_axis=2)
        if cache != "device":
            assert local["image"].shape[:3] == (3, k, b // 2)
            assert inputs["image"].shape[:3] == (3, k, b)
            assert {s.data.shape[2] for s in inputs["image"].addressable_shards} == {b // 4}
        call = jax.jit(
            lambda resident, inputs: jax.lax.scan(
                lambda _, each: (None, feed.minibatches(resident, each)), None, inputs
            )[1],
            out_shardings=parallel.split(mesh, 2),
        )
        made = call(resident, inputs)
    placed = {f"placed_{name}": inputs[name] for name in inputs if name != "step"}
    gathered = multihost_utils.process_allgather({**placed, **made}, tiled=True)
    np.savez(f"{out}/{cache}{number}.npz", **gathered)
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """The folder that two processes, joined by jax.distributed, left their arrays in."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(number), folder]
            + [str(each) for each in (SIZE, SEED, K, B)],
            env=env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)
    return folder


@pytest.mark.parametrize("cache", CACHES)
def test_two_real_processes_make_the_one_process_minibatches(cache, two_processes):
    one_process = make_feed(cache).fetch(4, 3)
    for number in range(2):
        with np.load(two_processes / f"{cache}{number}.npz") as file:
            placed = {name: file[f"placed_{name}"] for name in one_process}
            made = {name: file[name] for name in ("image", "label")}
            assert len(file) == len(placed) + len(made)
        assert_equal(placed, one_process)
        assert_equal(made, {name: array[4:7] for name, array in whole(cache).items()})


# --------------------------------------------------------------------------------------------------
# Training


def settings(cache, *overrides):
    """Four steps, two in a call, of 2 x 8 examples of 20: epochs end within minibatches."""
    tiny = config.tiny(config.load(ROOT / "configs" / "dcgan.py"))
    tiny.data.split, tiny.data.flip, tiny.data.cache = "test[:20]", True, cache
    tiny.n_critic, tiny.parallel.data, tiny.conditional = 2, 2, True
    tiny.evaluate_every = 2  # a run ends with an evaluation, wherever it ends
    for override in overrides:
        config._override(tiny, *override.split("=", 1))
    return tiny


def trained(workdir):
    """The state's leaves by name as bytes, the metrics without times, the pictures."""
    _, _, state = experiment.load_run(workdir)
    state = state.replace(key=jax.random.key_data(state.key))
    leaves = jax.tree.leaves_with_path(state)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}
    times = {"seconds", "images_per_second", "data_wait"}
    metrics = [
        {k: v for k, v in line.items() if k not in times} for line in writer.read_metrics(workdir)
    ]
    pictures = {p.name: p.read_bytes() for p in sorted((workdir / "samples").iterdir())}
    assert len(arrays) > 10 and len(metrics) == len(pictures) == 2
    return arrays, metrics, pictures


@pytest.fixture(scope="module")
def on_the_device(tmp_path_factory):
    """What training leaves with cache=device."""
    workdir = tmp_path_factory.mktemp("device") / "run"
    assert loop.train(settings("device"), workdir) == 0
    return trained(workdir)


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["host", "none"])
def test_training_is_the_same_to_the_bit(cache, on_the_device, tmp_path):
    assert loop.train(settings(cache), tmp_path / "run") == 0
    assert trained(tmp_path / "run") == on_the_device


def test_a_run_goes_on_with_another_cache(on_the_device, tmp_path, capsys):
    assert loop.train(settings("device", "steps=2"), tmp_path / "run") == 0
    assert loop.train(settings("none"), tmp_path / "run") == 0
    assert "going on from step 2 of 4" in capsys.readouterr().out
    assert experiment.read_config(tmp_path / "run").data.cache == "none"
    assert trained(tmp_path / "run") == on_the_device


# --------------------------------------------------------------------------------------------------
# What goes wrong


def damaged(record):
    """Examples of which this one cannot be read."""
    source = in_memory()
    read = source.read

    def fail(chosen):
        if record in chosen:
            raise UserError(f"set: damaged: record {record}")
        return read(chosen)

    source.read = fail
    return source


def threads():
    return set(threading.enumerate())


def assert_ends(before):
    """All threads but those of before end by themselves, within moments."""
    deadline = time.monotonic() + 60
    while threads() - before:
        gc.collect()
        assert time.monotonic() < deadline, threads() - before
        time.sleep(0.01)


def test_a_damaged_record_reaches_the_loop_as_its_sentence():
    before = threads()
    record = data.indices(SEED, 4 * K * B, K * B, SIZE)[-1]  # of step 4, in the first epoch
    feed = make_feed("none", source=damaged(record), workers=2)
    seen = []
    with pytest.raises(UserError) as error:
        for (step, _), inputs in data.ahead(feed.inputs, ((step, 2) for step in range(0, 40, 2))):
            seen.append(step)
            labels = expected(step, step + 2)["label"]
            np.testing.assert_array_equal(inputs["label"], labels)
    assert str(error.value) == f"set: damaged: record {record}"
    assert seen == [0, 2]  # all that came before it
    del feed, error
    assert_ends(before)


@pytest.mark.parametrize("cache", ["device", "host"])
def test_a_damaged_record_of_a_set_in_memory_is_known_at_once(cache):
    with pytest.raises(UserError, match=r"^set: damaged: record 7$"):
        make_feed(cache, source=damaged(7))


def test_after_a_failure_no_minibatch_takes_the_place_of_another():
    source = in_memory()
    read, calls = source.read, itertools.count()

    def fail_once(chosen):
        if next(calls) == 1:
            raise UserError("a moment's trouble")
        return read(chosen)

    source.read = fail_once
    feed = make_feed("none", source=source, workers=1)
    with pytest.raises(UserError, match="a moment's trouble"):
        feed.fetch(0, 3)
    assert_equal(fetched(feed, 3, 3), expected(3, 6, flip=False))


def test_few_steps_in_the_first_call_do_not_idle_the_threads():
    source, held, calls = in_memory(), threading.Barrier(5), itertools.count()
    read = source.read

    def wait(chosen):
        if next(calls) < 5:
            held.wait(timeout=10)  # until five read at once; breaks otherwise
        return read(chosen)

    source.read = wait
    make_feed("none", source=source, workers=5).fetch(0, 1)
    assert not held.broken


# --------------------------------------------------------------------------------------------------
# One call ahead


def test_ahead_yields_each_in_order_with_its_result():
    made = list(data.ahead(lambda a, b: a * b, zip("abcd", range(4), strict=True)))
    assert made == [(("a", 0), ""), (("b", 1), "b"), (("c", 2), "cc"), (("d", 3), "ddd")]
    assert list(data.ahead(lambda a: -a, [(7,)])) == [((7,), -7)]
    assert list(data.ahead(lambda a: -a, [])) == []


def test_ahead_is_one_ahead_and_no_more():
    begun, ended, taken = [], threading.Semaphore(0), []

    def work(n):
        begun.append(n)
        ended.release()
        return n

    def arguments():
        for n in range(6):
            taken.append(n)
            yield (n,)

    for i, ((n,), result) in enumerate(data.ahead(work, arguments())):
        assert n == result == i
        for _ in range(2 if i == 0 else i < 5):  # the one to come is made though nobody asked
            assert ended.acquire(timeout=10)
        assert begun == taken == list(range(min(i + 2, 6)))


def test_ahead_works_while_the_caller_does():
    main, elsewhere = threading.get_ident(), []
    together = threading.Barrier(2)

    def work(n):
        elsewhere.append(threading.get_ident())
        if n == 1:
            together.wait(timeout=10)

    made = data.ahead(work, [(0,), (1,)])
    next(made)
    together.wait(timeout=10)  # 1 is at work while the caller has 0
    assert list(made) == [((1,), None)]
    assert main not in elsewhere


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_ahead_closed_early_returns_promptly_and_leaves_no_thread(taken):
    before, begun = threads(), []
    made = data.ahead(begun.append, ((n,) for n in itertools.count()))
    for _ in range(taken):
        next(made)
    start = time.monotonic()
    made.close()
    assert time.monotonic() - start < 5
    assert threads() <= before
    assert len(begun) <= taken + 1


def test_ahead_passes_on_what_its_arguments_raise():
    before = threads()

    def arguments():
        yield (1,)
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        list(data.ahead(lambda n: n, arguments()))
    assert_ends(before)


@pytest.mark.parametrize("taken", [1, 2])
def test_a_reading_that_is_given_up_leaves_no_thread(taken):
    before = threads()
    feed = make_feed("none", workers=2)
    made = data.ahead(feed.inputs, ((step, 2) for step in range(0, 2**20, 2)))
    for _ in range(taken):
        next(made)
    start = time.monotonic()
    made.close()
    assert time.monotonic() - start < 5
    del feed, made
    assert_ends(before)


# --------------------------------------------------------------------------------------------------
# Which way fits


@pytest.mark.parametrize(
    ("num_bytes", "on_device", "on_host", "chosen"),
    [
        (100, 400, 200, "device"),
        (101, 400, 202, "host"),
        (100, 399, 200, "host"),
        (101, 400, 201, "none"),
        (100, 399, 199, "none"),
        (100, 0, 0, "none"),
        (100, 4000, 99, "none"),  # it could not come to the device
        (100, 4000, 100, "device"),
    ],
)
def test_auto_takes_the_first_way_for_which_there_is_room(num_bytes, on_device, on_host, chosen):
    assert feeds.choose_cache(num_bytes, "auto", on_device, on_host) == chosen


def test_what_is_asked_for_is_taken_up_to_what_is_free():
    assert feeds.choose_cache(100, "device", 100, 100) == "device"
    assert feeds.choose_cache(100, "host", 0, 100) == "host"
    assert feeds.choose_cache(100, "none", 0, 0) == "none"
    with pytest.raises(UserError, match=r"^data\.cache: 'device' takes"):
        feeds.choose_cache(100, "device", 100, 99)  # it could not come to the device


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        (
            "device",
            "data.cache: 'device' takes 2.5 GB of memory, and 1.0 GB are free; choose 'auto' or "
            "'none'",
        ),
        (
            "host",
            "data.cache: 'host' takes 2.5 GB of memory, and 2.4 GB are free; choose 'auto' or "
            "'none'",
        ),
    ],
)
def test_what_cannot_fit_is_refused(cache, message):
    with pytest.raises(UserError) as error:
        feeds.choose_cache(2_500_000_000, cache, 1_000_000_000, 2_400_000_000)
    assert str(error.value) == message


def test_a_set_is_delivered_the_way_that_fits(monkeypatch):
    rest = {"flip": False, "seed": 0, "minibatches": K, "batch_size": B}
    num_bytes = SIZE * 28 * 28
    monkeypatch.setattr(feeds, "free_memory", lambda: (4 * num_bytes, 2 * num_bytes))
    assert "index" in opened().feed("auto", **rest).fetch(0, 1)
    monkeypatch.setattr(feeds, "free_memory", lambda: (4 * num_bytes - 1, 2 * num_bytes))
    feed = opened().feed("auto", **rest)
    assert feed.resident == {} and "image" in feed.fetch(0, 1)
    with pytest.raises(UserError, match=r"^data\.cache: 'device' takes"):
        monkeypatch.setattr(feeds, "free_memory", lambda: (num_bytes - 1, num_bytes))
        opened().feed("device", **rest)


def device_with(monkeypatch, stats):
    device = types.SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])


def machine_with(monkeypatch, files):
    """As if the system's files said this; those not in `files` are not there."""

    usual = feeds.Path.read_text

    def read_text(path, *rest, **named):
        if str(path) in files:
            return files[str(path)]
        if str(path).startswith(("/proc/meminfo", GROUP)):
            raise FileNotFoundError(path)
        return usual(path, *rest, **named)

    monkeypatch.setattr(feeds.Path, "read_text", read_text)


GROUP = "/sys/fs/cgroup"
MACHINE = {"/proc/meminfo": "MemTotal: 900 kB\nMemAvailable:    800 kB\nHugePages_Total:  0\n"}


def test_free_memory_here_is_plausible():
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for free in feeds.free_memory():
        assert isinstance(free, int)
        assert 2**20 < free <= physical


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({"bytes_limit": 1000, "bytes_in_use": 300}, 700),
        ({"bytes_limit": 1000}, 1000),
        ({"bytes_in_use": 300}, 800 * 1024),  # no limit told: the machine's
        (None, 800 * 1024),
    ],
)
def test_free_memory_of_a_device(stats, expected, monkeypatch):
    device_with(monkeypatch, stats)
    machine_with(monkeypatch, MACHINE)
    assert feeds.free_memory() == (expected, 800 * 1024)


@pytest.mark.parametrize(
    ("limit", "stat", "free"),
    [
        ("500000\n", "anon 1\ninactive_file 0\n", 400_000),
        ("500000\n", "anon 1\ninactive_file 70000\n", 470_000),  # the system gives that back
        ("5000000\n", "inactive_file 0\n", 800 * 1024),  # more than there is
        ("max\n", "inactive_file 0\n", 800 * 1024),
    ],
)
def test_free_memory_of_a_container(limit, stat, free, monkeypatch):
    files = {
        f"{GROUP}/memory.max": limit,
        f"{GROUP}/memory.current": "100000\n",
        f"{GROUP}/memory.stat": stat,
    }
    machine_with(monkeypatch, MACHINE | files)
    assert feeds.free_memory() == (free, free)


@pytest.mark.parametrize("files", [{}, {"/proc/meminfo": "MemTotal: 900 kB\n"}])
def test_free_memory_where_the_system_tells_less(files, monkeypatch):
    machine_with(monkeypatch, files)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert feeds.free_memory() == (physical, physical)


def test_the_threads_are_one_a_core(monkeypatch):
    started = []
    executor = concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(feeds, "cores", lambda: 3)
    monkeypatch.setattr(
        concurrent.futures,
        "ThreadPoolExecutor",
        lambda n, **rest: started.append((n, rest)) or executor(n, **rest),
    )
    make_feed("none").fetch(0, 1)
    assert [n for n, rest in started if "grain" in str(rest)] == [3]
