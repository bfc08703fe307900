"""What steps.py compares: one training step by jaxgan, by plain Flax and by PyTorch.

    python -m benchmarks.sides SIDE CASE CHANGES FOLDER     (as steps.py starts it)

A process is one side of one case and answers each line of its standard input by a line of JSON:

    compare     losses of three steps, the last one's seconds; the weights after them in SIDE.npz
    run N       the seconds of N steps
    peak        GFLOP/s of a product of two matrices

The side jaxgan writes what the others begin with to the folder: its weights, its latents, the case.
Imports are inside the functions: PyTorch's Python need not have JAX, nor JAX's PyTorch.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

CASES = {
    "cgan_mlp": {"batch_size": 128},
    "dcgan": {"image_shape": (32, 32, 3), "width": 64},
    "cgan": {},
    "sngan": {"image_shape": (32, 32, 3)},
    "sagan": {},
    "r3gan_mini": {},
}
PYTORCH = ("eager", "channels_last", "compile")
ROLES = ("generator", "discriminator")
COMPARED = 3  # steps
ROOT = Path(__file__).parents[1]


# --------------------------------------------------------------------------------------------------
# Cases


def start_of(value):
    """A schedule's first number."""
    return value["start"] if hasattr(value, "keys") else value


def resolved(name: str, changes: dict):
    """The case's config with schedules held at their start, of images as large as asked for."""
    from jaxgan import config as configs
    from jaxgan import experiment

    config = configs.load(ROOT / f"configs/{name}.py", ["ema.rampup=0.0"])
    config.batch_size = changes.get("batch_size", config.batch_size)
    if "width" in changes:
        for role in ROLES:
            config.model[role].width = changes["width"]
    for player in config.optimizer.values():
        for key in ("learning_rate", "b1", "b2"):
            player[key] = start_of(player[key])
    for key, weight in config.penalties.items():
        config.penalties[key] = start_of(weight)
    config, _ = experiment.prepare(config)
    config.derived.image_shape = list(changes.get("image_shape", config.derived.image_shape))
    return config


def case_of(config) -> dict:
    """What `torch_gan.Training` wants to know."""
    rates = ("learning_rate", "b1", "b2")
    return {
        "model": config.model.name,
        "image_shape": config.derived.image_shape,
        "num_classes": config.derived.num_classes,
        **{role: config.model[role].to_dict() for role in ROLES},
        "loss": config.loss,
        "r1": config.penalties.get("r1", 0.0),
        "r2": config.penalties.get("r2", 0.0),
        "z_dim": config.z_dim,
        "batch_size": config.batch_size,
        "optimizer": {role: {key: config.optimizer[role][key] for key in rates} for role in ROLES},
        "ema_decay": 0.5 ** (config.batch_size / (1000 * config.ema.halflife_kimg)),
    }


def weights_of(state) -> dict[str, np.ndarray]:
    """Both players' parameters and statistics by name."""
    from flax import traverse_util

    players = {role: getattr(state, role) for role in ROLES}
    tree = {role: {"params": p.params, "stats": dict(p.stats)} for role, p in players.items()}
    flat = traverse_util.flatten_dict(tree, sep="/")
    return {key: np.asarray(value) for key, value in flat.items()}


def batches(case: dict, number: int, minibatches: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(number)
    size = minibatches, case["batch_size"]
    images = np.tanh(random.normal(size=(*size, *case["image_shape"])))
    batch = {"image": np.float32(images)}
    if case["num_classes"]:
        batch["label"] = random.integers(0, case["num_classes"], size).astype(np.int32)
    return batch


# --------------------------------------------------------------------------------------------------
# Sides: each is (compare, run, facts); compare() -> losses, weights; run(steps) returns when done


def on_flax_lowerings() -> None:
    """Layers get back what Flax's own compute: XLA's convolutions and their derivatives."""
    from jax import lax

    from jaxgan.models import layers, r3gan
    from jaxgan.ops.conv import average_pool, upsample

    numbers = ("NHWC", "HWIO", "NHWC")

    def conv(x, kernel, stride=1, padding=None):
        pads = "SAME" if padding is None else padding
        pads = [(pads, pads)] * 2 if isinstance(pads, int) else pads
        return lax.conv_general_dilated(x, kernel, (stride,) * 2, pads, dimension_numbers=numbers)

    def conv_transpose(y, kernel, stride=1):
        kernel = kernel.swapaxes(2, 3)
        return lax.conv_transpose(y, kernel, (stride,) * 2, "SAME", transpose_kernel=True)

    def grouped_conv(x, kernel):
        groups = x.shape[-1] // kernel.shape[2]
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups
        )

    changes = {
        "upsample": lambda x, kernel: conv(upsample(x), kernel),
        "average_pool": lambda x, kernel: average_pool(conv(x, kernel)),
    }
    # One that is not named here would be jaxgan's on both sides.
    assert set(changes) == set(layers.CHANGES)
    assert hasattr(layers, "conv") and hasattr(layers, "conv_transpose")
    assert hasattr(r3gan, "grouped_conv")
    layers.conv, layers.conv_transpose, r3gan.grouped_conv = conv, conv_transpose, grouped_conv
    layers.CHANGES.update(changes)


def jax_side(name: str, changes: dict, folder: Path, side: str):
    import jax

    from jaxgan.assembly import build

    if side == "flax":
        on_flax_lowerings()
    config = resolved(name, changes)
    algorithm, case = build(config), case_of(config)
    state = jax.jit(algorithm.init)(jax.random.key(1))
    batch = jax.device_put(batches(case, 0, algorithm.minibatches))
    step = jax.jit(algorithm.step, donate_argnums=0).lower(state, batch).compile()
    copy = lambda: jax.tree.map(lambda x: x.copy(), state)  # noqa: E731 (steps consume theirs)

    def compare():
        now, losses, latents = copy(), [], {}
        if side == "jaxgan":
            told = case | {"minibatches": algorithm.minibatches}
            (folder / "case.json").write_text(json.dumps(told))
            np.savez(folder / "weights.npz", **weights_of(now))
        for number in range(COMPARED):
            latents[f"d{number}"] = np.asarray(algorithm.latents(now, 0))
            latents[f"g{number}"] = np.asarray(algorithm.latents(now, algorithm.n_critic))
            given = jax.device_put(batches(case, number, algorithm.minibatches))
            begin = time.perf_counter()
            now, metrics = step(now, given)
            losses.append([float(metrics["d_loss"]), float(metrics["g_loss"])])
            seconds = time.perf_counter() - begin
        if side == "jaxgan":
            np.savez(folder / "latents.npz", **latents)
        return losses, seconds, weights_of(now)

    run = jax_calls(step, copy(), batch) if side == "flax" else jax_loop(algorithm, copy(), batch)
    return compare, run, {"gflop": (step.cost_analysis() or {}).get("flops", 0.0) / 1e9}


def jax_calls(step, state, batch):
    """Steps called one by one."""
    import jax

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = step(state, batch)
        jax.block_until_ready(state)

    return run


def jax_loop(algorithm, state, batch):
    """All steps in one compiled loop, as in training."""
    import jax

    def loop(state, batch, steps: int):
        return jax.lax.scan(lambda s, _: algorithm.step(s, batch), state, length=steps)

    call = jax.jit(loop, static_argnums=2, donate_argnums=0)

    def run(steps: int) -> None:
        nonlocal state
        state, _ = call(state, batch, steps)
        jax.block_until_ready(state)

    return run


def torch_side(folder: Path, variant: str):
    import torch

    from benchmarks.torch_gan import Training

    case = json.loads((folder / "case.json").read_text())
    minibatches = case.pop("minibatches")
    latents = {k: torch.from_numpy(v) for k, v in np.load(folder / "latents.npz").items()}
    training = Training(case, dict(np.load(folder / "weights.npz")), variant)

    def given(number: int):
        made = batches(case, number, minibatches)
        labels = made.get("label", [None] * minibatches)
        return [training.batch(made["image"][n], labels[n]) for n in (0, -1)]

    def compare():
        losses = []
        for number in range(COMPARED):
            players, z = given(number), (latents[f"d{number}"], latents[f"g{number}"])
            begin = time.perf_counter()
            losses.append([float(each) for each in training.step(*players, *z)])
            seconds = time.perf_counter() - begin
        return losses, seconds, training.parameters_by_name()

    batch, shape = given(0), (case["batch_size"], case["z_dim"])

    def run(steps: int) -> None:
        for _ in range(steps):
            training.step(*batch, torch.randn(shape), torch.randn(shape))

    return compare, run, {}


def peak() -> float:
    """GFLOP/s of a product of two float32 matrices."""
    import jax
    import jax.numpy as jnp

    size, repeats = 2048, 3
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(size, size)), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    multiply(matrix, matrix).block_until_ready()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        multiply(matrix, matrix).block_until_ready()
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / statistics.median(times) / 1e9


def main(side: str, name: str, changes: dict, folder: Path) -> None:
    sides = torch_side(folder, side) if side in PYTORCH else jax_side(name, changes, folder, side)
    compare, run, facts = sides
    for line in sys.stdin:
        what, _, number = line.strip().partition(" ")
        if what == "compare":
            losses, seconds, weights = compare()
            np.savez(folder / f"{side}.npz", **weights)
            answer = {"losses": losses, "seconds": seconds, **facts}
        elif what == "peak":
            answer = {"peak": peak()}
        else:
            begin = time.perf_counter()
            run(int(number))
            answer = {"seconds": time.perf_counter() - begin}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), Path(sys.argv[4]))
