"""Which loss wins, when each is tuned as much: after Lucic et al., NeurIPS 2018.

https://arxiv.org/abs/1711.10337. A small DCGAN on Fashion-MNIST, the same for all losses, as many
updates of both players for all. Each loss is tried with the same SEARCH settings of what they share
(both players' learning rate, b1, the discriminator's normalisation), drawn at random, each beside a
drawn weight of its own penalty, if it has one: one run of one seed that no other run has. The best
by the last Fréchet distance is trained with all seeds, and those alone are told. A run that breaks
counts by where it broke. WGAN-GP has LayerNorm for BatchNorm, as its authors ask. The distance is
in features of a classifier of Fashion-MNIST, so that it cannot be set beside the paper's FIDs,
though the order can: there no loss was always best.
"""

from typing import Any

import numpy as np

from jaxgan.reproductions.suite import Column, Row, Suite

SEARCH = 8  # settings tried for each loss

_RANDOM = np.random.default_rng(0)
_SHARED = [
    (10 ** _RANDOM.uniform(-4.5, -2.5), *map(_RANDOM.choice, ((0.0, 0.5, 0.9), ("batch", "none"))))
    for _ in range(SEARCH)
]
_WEIGHTS = 10 ** _RANDOM.uniform(-1, 2, SEARCH)
_CLIPS = 10 ** _RANDOM.uniform(-3, 0, SEARCH)


def _settings(number: int, penalties: tuple[str, ...], clipped: bool) -> tuple[str, dict[str, Any]]:
    """The `number`-th that a loss is tried with, and what they are called."""
    rate, b1, norm = _SHARED[number]
    if "wgan_gp" in penalties and norm == "batch":
        norm = "layer"
    rate = float(f"{rate:.1e}")
    name = f"rate {rate:g}, b1 {b1:g}, {norm}"
    settings: dict[str, Any] = {"model.discriminator.norm": str(norm)}
    for player in ("generator", "discriminator"):
        settings[f"optimizer.{player}.learning_rate"] = rate
        settings[f"optimizer.{player}.b1"] = float(b1)
    if penalties:
        weight = float(f"{_WEIGHTS[number]:.1e}")
        name += f", weight {weight:g}"
        settings |= {f"penalties.{penalty}": weight for penalty in penalties}
    if clipped:
        largest = float(f"{_CLIPS[number]:.1e}")
        name += f", clip {largest:g}"
        settings["optimizer.discriminator.clip_weights"] = largest
    return name, settings


def _row(name: str, loss: str, *penalties: str, clipped: bool = False) -> Row:
    tried = [_settings(number, penalties, clipped) for number in range(SEARCH)]
    return Row(name, {"loss": loss}, search=dict(tried))


LUCIC = Suite(
    summary="which loss wins on Fashion-MNIST, each tuned as much: after Lucic et al. 2018",
    config="dcgan",
    settings={
        "data.name": "fashion_mnist",
        "model.generator.width": 16,
        "model.discriminator.width": 16,
        "ema.halflife_kimg": 0.0,
        "steps_per_call": 50,
        "log_every": 500,
        "sample_every": 5_000,
        "checkpoint_every": 1_000,
        "evaluate_every": 1_000,
        "evaluation.metrics": "frechet,prdc",
        "evaluation.samples": 5_000,
        "evaluation.split": "test",
        "best_metric": "frechet",
        "on_nonfinite": "skip",
        "nonfinite_attempts": 2**31 - 1,
    },
    rows=(
        _row("minimax", "minimax"),
        _row("non-saturating", "nonsaturating"),
        _row("least squares", "least_squares"),
        _row("WGAN", "wasserstein", clipped=True),
        _row("WGAN-GP", "wasserstein", "wgan_gp"),
        _row("DRAGAN", "nonsaturating", "dragan"),
        _row("hinge", "hinge"),
        _row("RpGAN + R1 + R2", "relativistic_paired", "r1", "r2"),
    ),
    columns=(
        Column("frechet", "Fréchet distance", digits=1),
        Column("precision", "precision, %", times=100.0, digits=1),
        Column("recall", "recall, %", times=100.0, digits=1),
    ),
    seeds=5,
    steps=5_000,
    published_steps=18_750,
    departures="Eight settings a loss, not a hundred, over narrower ranges (rates of 3e-5 to 3e-3; "
    "b1 0, 0.5 or 0.9), none of them the authors' own; one update of the discriminator a step for "
    "all; latents of 100 dimensions, not 64. BEGAN and the VAE are missing, and the last two rows "
    "are none of the paper's.",
)
