"""One device and eight (fake ones, see conftest.py) give the same training and share the work."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan import data, parallel, programs
from jaxgan.algorithms import player
from jaxgan.algorithms.gan import GAN
from jaxgan.errors import UserError
from jaxgan.experiment import abstract_state
from jaxgan.losses import LOSSES
from jaxgan.models import dcgan, mlp

LEARNING_RATE, STEPS, EXAMPLES = 2e-4, 4, 64
SHAPES = {"dcgan": (16, 16, 1), "mlp": (8, 8, 1)}
BATCHES = {"dcgan": 16, "mlp": 256}
# Without labels nothing ties the real batch to the latents: the step must split each of them.
CLASSES = {"dcgan": 3, "mlp": 0}
CONFIG = configs.load("configs/default.py")


def small(model):
    shape, classes = SHAPES[model], CLASSES[model]
    if model == "dcgan":  # BatchNorm in both
        networks = dcgan.Generator(shape, classes, 4), dcgan.Discriminator(classes, 4)
    else:
        networks = mlp.Generator(shape, classes, (16,)), mlp.Discriminator(classes, (16,))
    adam = player.make_optimizer("adam", LEARNING_RATE, 0.5, 0.999, clip_norm=0.0)
    return GAN(
        *networks,
        generator_optimizer=lambda step: adam,
        discriminator_optimizer=lambda step: adam,
        loss=LOSSES["nonsaturating"],
        n_critic=1,
        batch_size=BATCHES[model],
        z_dim=8,
        num_classes=classes,
        ema_halflife=1000.0,
        ema_rampup=0.05,
    )


def make_feed(model):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (EXAMPLES, *SHAPES[model])).astype(np.uint8)
    labels = random.integers(0, CLASSES[model] or 1, EXAMPLES).astype(np.int32)
    examples = types.SimpleNamespace(
        num_examples=EXAMPLES,
        shape=SHAPES[model],
        read=lambda chosen: (images[chosen], labels[chosen]),
    )
    return data.make_feed(
        examples, "device", flip=True, seed=0, minibatches=1, batch_size=BATCHES[model]
    )


def placed(feed, mesh):
    """The data set, and which examples the steps see, as the loop places them."""
    inputs = parallel.place(mesh, feed.inputs(0, STEPS), batch_axis=2)
    return parallel.place(mesh, feed.resident), inputs


@functools.cache
def initial(model):
    return small(model).init(jax.random.key(0))


@functools.cache
def program(model, num_devices):
    """What the loop calls, compiled, and its mesh."""
    algorithm = small(model)
    mesh = parallel.make_mesh(num_devices, algorithm.batch_size)
    state = abstract_state(algorithm, mesh)
    with jax.set_mesh(mesh):
        feed = make_feed(model)
        arguments = state, *placed(feed, mesh)
        return programs.compile_call(CONFIG, algorithm, mesh, feed, *arguments), mesh


@functools.cache
def trained(num_devices):
    """The players and the average after STEPS steps of the dcgan, and the metrics."""
    call, mesh = program("dcgan", num_devices)
    # device_put may share the buffers that the call will delete
    state = jax.device_put(jax.tree.map(jnp.copy, initial("dcgan")), parallel.replicated(mesh))
    with jax.set_mesh(mesh):
        state, metrics = call(state, *placed(make_feed("dcgan"), mesh), None)
    assert len(state.generator.params["Dense_0"]["kernel"].sharding.device_set) == num_devices
    return jax.device_get(((state.generator, state.discriminator, state.ema), metrics))


def test_the_suite_runs_on_eight_fake_devices_without_rank_promotion():
    assert [d.platform for d in jax.devices()] == ["cpu"] * 8
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 3)) + jnp.ones(3)


@pytest.mark.parametrize("num_devices", [8])
def test_training_is_the_same_on_one_device_and_on_many(num_devices):
    # Adam moves a weight by up to the learning rate in each step, 8e-4 in all. Only the order of
    # additions may differ: float32 rounding, a part in 1e7 of gradients and moments, which after
    # Adam's division is some 1e-4 of the way where a gradient nearly cancels. 2e-6 is 1/400 of it.
    (one, one_metrics), (many, metrics) = trained(1), trained(num_devices)
    kernel = lambda player: np.asarray(player.params["Dense_0"]["kernel"])  # noqa: E731
    way = np.abs(kernel(one[0]) - kernel(initial("dcgan").generator))
    assert way.max() > STEPS * LEARNING_RATE / 2
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-6)
    jax.tree.map(close, many, one)
    jax.tree.map(close, metrics, one_metrics)
    assert many[0].stats and many[1].stats  # BatchNorm's moments were among them


@pytest.mark.parametrize("model, largest", [("dcgan", 0.17), ("mlp", 0.15)])
def test_eight_devices_share_the_work(model, largest):
    # 1/8, and what each device does in full: the optimisers, the averages, sums over devices.
    one, eight = (program(model, n)[0].cost_analysis()["flops"] for n in (1, 8))
    assert 1 / 8 <= eight / one < largest


def test_a_mesh_takes_the_devices_asked_for():
    assert parallel.make_mesh(2, 16).devices.flatten().tolist() == jax.devices()[:2]
    assert parallel.make_mesh(0, 16).devices.flatten().tolist() == jax.devices()
    assert dict(parallel.make_mesh(0, 16).shape) == {"data": 8, "fsdp": 1}
    assert dict(parallel.make_mesh(0, 16, fsdp=4).shape) == {"data": 2, "fsdp": 4}


@pytest.mark.parametrize(
    "num_devices, batch_size, more, message",
    [
        (8, 16, {"fsdp": 3}, r"^parallel\.fsdp: 3 does not divide the 8 devices"),
        (8, 16, {"group": 4}, r"^batch_size: a replica's 2 images .* accumulate x pack = 4"),
        (9, 18, {}, r"^parallel\.data: 9 devices asked for, 8 are here"),
        (0, 12, {}, r"^batch_size: 12 is not a multiple of the 8 devices .*parallel\.data"),
        (3, 16, {}, r"^batch_size: 16 is not a multiple of the 3 devices"),
    ],
)
def test_an_impossible_mesh_is_the_users_error(num_devices, batch_size, more, message):
    with pytest.raises(UserError, match=message):
        parallel.make_mesh(num_devices, batch_size, **more)


def test_of_several_processes_all_devices_take_part(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"^parallel\.data: of several processes all 8 devices"):
        parallel.make_mesh(4, 8)


def test_shardings_split_the_batch_and_only_that():
    mesh = parallel.make_mesh(8, 16)
    x = jax.device_put(jnp.zeros((3, 16, 2)), parallel.split(mesh, 1))
    assert x.sharding.shard_shape(x.shape) == (3, 2, 2)
    assert jax.device_put(x, parallel.replicated(mesh)).sharding.is_fully_replicated


def test_constrain_batch_splits_where_there_is_a_mesh():
    tree = {"image": jnp.zeros((16, 2)), "label": jnp.zeros(16)}
    assert parallel.constrain_batch(tree) is tree
    with jax.set_mesh(parallel.make_mesh(8, 16)):
        placed = jax.jit(parallel.constrain_batch)(tree)
    assert [x.sharding.shard_shape(x.shape) for x in placed.values()] == [(2, 2), (2,)]
