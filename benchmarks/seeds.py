"""Eight seeds of PacGAN's ring in one program, beside one after the other, and beside PyTorch.

    python -m benchmarks.seeds [--torch PYTHON] [--seeds 8] [--rounds 9] [--out FILE.json]

Milliseconds for one step of one seed, of the protocol of configs/pacgan_ring.py without packing
(100 points, both players at once):

    together          all seeds in one program, by the way that training chooses (seeds.py)
    one by one        one seed in such a loop
    eager, compile    one seed in PyTorch, whose two players share the passes of generated points

Before anything is timed the losses of three steps from jaxgan's weights, points and latents are
compared. Each side runs in a process of its own and all take turns; a ratio is the median of those
of the rounds.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.steps import Side

SIDES = ("together", "one by one")
PYTORCH = ("eager", "compile")
COMPARED, WITHIN = 3, 1e-4
STEPS = {"together": 50, "one by one": 100, "eager": 50, "compile": 50}  # of a turn


def jax_side(count: int, folder: Path):
    import jax

    from configs import pacgan_ring
    from jaxgan import experiment, seeds

    config = pacgan_ring.get_config()
    config.pack, config.batch_size, config.seeds = 1, 100, count
    config, dataset = experiment.prepare(config)
    algorithm = experiment.build(config)
    points = np.asarray(dataset.draw(jax.random.key(1), COMPARED * 100)[0]).reshape(-1, 1, 100, 2)

    way = experiment.way(config, algorithm)
    inits = [jax.jit(algorithm.init)(jax.random.key(seed)) for seed in range(count)]
    state = jax.jit(seeds.stacked)(inits) if count > 1 else inits[0]

    def compare() -> list:
        """The losses of the first seed, or of the only one."""
        step, now, losses, latents = algorithm.step, state, [], []
        step = jax.jit(step if count == 1 else seeds.each(step, way, shared=(1,)))
        for number in range(COMPARED):
            if count == 1:
                latents.append(np.asarray(algorithm.latents(now, 0)))
            now, metrics = step(now, {"image": points[number]})
            losses.append([float(np.ravel(metrics[name])[0]) for name in ("d_loss", "g_loss")])
        if count == 1:
            params = {**state.generator.params, "discriminator": state.discriminator.params}
            flat = jax.tree_util.tree_leaves_with_path(params)
            named = {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in flat}
            np.savez(folder / "given.npz", z=latents, points=points[:, 0], **named)
        return losses

    def of_one(state, number):
        key = jax.random.fold_in(state.key, number)
        return algorithm.step(state, {"image": dataset.draw(key, 100)[0][None]})

    loop = lambda state, numbers: jax.lax.scan(of_one, state, numbers)  # noqa: E731
    call = jax.jit(loop if count == 1 else seeds.each(loop, way, shared=(1,)))

    def run(steps: int) -> None:
        nonlocal state
        state, _ = call(state, np.arange(steps))
        jax.block_until_ready(state)

    return compare, run


def torch_side(variant: str, folder: Path):
    import torch
    import torch.nn.functional as F
    from torch import nn

    given = dict(np.load(folder / "given.npz"))

    class Maxout(nn.Linear):
        def forward(self, x):
            return super().forward(x).view(len(x), 5, -1).amax(1)

    class Hidden(nn.Sequential):
        def __init__(self, inputs: int):
            norm = nn.BatchNorm1d(400, momentum=0.1)
            super().__init__(nn.Linear(inputs, 400, bias=False), norm, nn.ReLU())

    layers = [Hidden(2), *(Hidden(400) for _ in range(3)), nn.Linear(400, 2)]
    generator = nn.Sequential(*layers)
    maxouts = [Maxout(2, 1000), Maxout(200, 1000), Maxout(200, 1000)]
    discriminator = nn.Sequential(*maxouts, nn.Linear(200, 1))

    def load(layer: nn.Linear, name: str) -> None:
        layer.weight.data = torch.from_numpy(given[f"{name}/kernel"].T.copy())
        if layer.bias is not None:
            layer.bias.data = torch.from_numpy(given[f"{name}/bias"])

    for number, layer in enumerate([*(each[0] for each in layers[:4]), layers[4]]):
        load(layer, f"Dense_{number}")
    for number, layer in enumerate(maxouts):
        load(layer, f"discriminator/Dense_{number}")
    load(discriminator[3], next(k for k in given if "Logit_0" in k).rpartition("/")[0])
    players = [list(network.parameters()) for network in (generator, discriminator)]
    adams = [torch.optim.Adam(p, 1e-4, (0.8, 0.999), fused=True) for p in players]

    def losses_of(points, z):
        fake = generator(z)
        real_logits, fake_logits = discriminator(points), discriminator(fake)
        d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        return d_loss, F.softplus(-fake_logits).mean()

    losses_of = torch.compile(losses_of) if variant == "compile" else losses_of

    def step(points, z):
        d_loss, g_loss = losses_of(points, z)
        g_gradients = torch.autograd.grad(g_loss, players[0], retain_graph=True)
        d_gradients = torch.autograd.grad(d_loss, players[1])
        for adam, params, gradients in zip(adams, players, (g_gradients, d_gradients), strict=True):
            for param, gradient in zip(params, gradients, strict=True):
                param.grad = gradient
            adam.step()
        return d_loss.detach(), g_loss.detach()

    def compare() -> list:
        pairs = zip(given["points"], given["z"], strict=True)
        return [[float(x) for x in step(*map(torch.from_numpy, pair))] for pair in pairs]

    points = torch.from_numpy(given["points"][0])

    def run(steps: int) -> None:
        for _ in range(steps):
            step(points, torch.randn(100, 2))

    return compare, run


def serve(side: str, count: int, folder: Path) -> None:
    """Answers each line of the standard input, `compare` or `run N`, by one of JSON."""
    if side in PYTORCH:
        compare, run = torch_side(side, folder)
    else:
        compare, run = jax_side(count if side == "together" else 1, folder)
    for line in sys.stdin:
        what, _, number = line.strip().partition(" ")
        begin = time.perf_counter()
        answer = compare() if what == "compare" else run(int(number))
        seconds = time.perf_counter() - begin
        print(json.dumps({"losses": answer, "seconds": seconds}), flush=True)


def measure(pythons: dict[str, str], count: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds for a step of a seed, in each round."""
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Side] = {}
        losses: dict[str, np.ndarray] = {}
        try:
            for name in ("one by one", *(name for name in pythons if name != "one by one")):
                arguments = [name, str(count), folder]
                sides[name] = Side(pythons[name], name, arguments, "benchmarks.seeds")
                losses[name] = np.array(sides[name].ask("compare")["losses"])
                apart = float(np.abs(losses[name] - losses["one by one"]).max())
                print(f"{name}: losses of {COMPARED} steps within {apart:.1e}", flush=True)
                if not apart < WITHIN:
                    raise SystemExit(f"{name} does not compute the same step")
                sides[name].ask(f"run {STEPS[name]}")
            times: dict[str, list[float]] = {name: [] for name in sides}
            for number in range(rounds):
                for name in list(sides)[:: 1 if number % 2 else -1]:
                    seconds = sides[name].ask(f"run {STEPS[name]}")["seconds"]
                    shared = count if name == "together" else 1
                    times[name].append(1000 * seconds / STEPS[name] / shared)
        finally:
            for side in sides.values():
                side.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    if arguments.rounds < 2 or arguments.seeds < 2:
        parser.error("--rounds, --seeds: two or more")
    pythons = dict.fromkeys(SIDES, sys.executable)
    pythons |= dict.fromkeys(PYTORCH, arguments.torch) if arguments.torch else {}
    print(f"load {os.getloadavg()[0]:.1f}, {arguments.seeds} seeds, {arguments.rounds} rounds")
    times = measure(pythons, arguments.seeds, arguments.rounds)
    print(f"\n{'':<12}ms a step and seed (quartiles)   time of together / this")
    for name, each in times.items():
        low, middle, high = statistics.quantiles(each, n=4)
        ratios = [a / b for a, b in zip(times["together"], each, strict=True)]
        print(
            f"{name:<12}{middle:6.2f} ({low:.2f} to {high:.2f})            "
            f"{statistics.median(ratios):.2f}"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(times, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in (*SIDES, *PYTORCH):
        serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
