"""Gaussian mixtures in the plane: which methods find all modes.

`ring` and `grid` are Table 1 of PacGAN (Lin et al., NeurIPS 2018, https://arxiv.org/abs/1712.04086)
by its code: a generator of four hidden layers of 400 with BatchNorm, a discriminator of three
maxout layers of 200 units of five pieces, weights of N(0, 0.02^2), batches of 100 packs, both
players at once, Adam at 1e-4 with b1 = 0.8; after training 2,500 samples, of which those within
three standard deviations of a mean are of high quality and count for its mode. Beside its rows the
same networks with unrolling, WGAN-GP and R3GAN's objective.

`unrolled_ring` is the figure of unrolled GANs (Metz et al., ICLR 2017) over time, by the settings
of their notebook, which has no figures: networks of two tanh layers of 128, latents of 256, batches
of 512, learning rates of 1e-3 and, for the discriminator, 1e-4, the minimax loss, both players at
once. Its ring has seven modes, one of them twice; here it has eight.
"""

from typing import Any

from jaxgan.reproductions.suite import Column, Figure, Row, Suite

COLUMNS = (
    Column("modes", "modes", digits=1),
    Column("counted", "high quality, %", times=100.0, digits=1),
    Column("reverse_kl", "reverse KL", digits=2),
)

SETTINGS: dict[str, Any] = {
    "steps_per_call": 500,
    "log_every": 2_500,
    "sample_every": 10_000,
    "checkpoint_every": 2_500,
    "evaluate_every": 2_500,
    "evaluation.metrics": "modes",
    "evaluation.samples": 2_500,
    "best_metric": "reverse_kl",
    # A seed that breaks stays where it was; the others go on.
    "on_nonfinite": "skip",
    "nonfinite_attempts": 2**31 - 1,
}

DEPARTURES = (
    "Points are drawn anew for each batch, not from 100,000 that are fixed. Rows without published "
    "figures are none of the paper's."
)


def _published(*figures: tuple[float, float]) -> dict[str, Figure]:
    return {column.metric: Figure(*each) for column, each in zip(COLUMNS, figures, strict=True)}


def _packed(count: int) -> dict[str, int]:
    return {"pack": count, "batch_size": 100 * count}


ALONE = _packed(1)
UNROLLED = {
    **ALONE,
    "algorithm": "unrolled",
    "unrolled_steps": 5,
    "optimizer.discriminator.arguments.eps_root": 1e-16,
}
WGAN_GP = {
    **ALONE,
    "loss": "wasserstein",
    "updates": "alternating",
    "n_critic": 5,
    "penalties.wgan_gp": 0.1,
    **{f"optimizer.{player}.b1": 0.5 for player in ("generator", "discriminator")},
    **{f"optimizer.{player}.b2": 0.9 for player in ("generator", "discriminator")},
}


def _r3gan(gamma: float) -> dict[str, Any]:
    return {
        **ALONE,
        "loss": "relativistic_paired",
        "penalties.r1": gamma,
        "penalties.r2": gamma,
    }


RING = Suite(
    summary="eight Gaussians on a circle: PacGAN's Table 1 (Lin et al. 2018)",
    config="pacgan_ring",
    settings={**SETTINGS, "model.generator.momentum": 0.95},
    rows=(
        Row("GAN", ALONE, _published((6.3, 0.5), (98.2, 0.2), (0.45, 0.09))),
        Row("PacGAN2", _packed(2), _published((7.9, 0.1), (95.6, 2.0), (0.07, 0.03))),
        Row("PacGAN3", _packed(3), _published((7.8, 0.1), (97.7, 0.3), (0.10, 0.02))),
        Row("PacGAN4", _packed(4), _published((7.8, 0.1), (95.9, 1.4), (0.07, 0.02))),
        Row("RpGAN + R1 + R2, 0.1", _r3gan(0.1)),
        Row("WGAN-GP, 0.1", WGAN_GP),
        Row("unrolled GAN, 5", UNROLLED),
    ),
    columns=COLUMNS,
    seeds=5,
    steps=50_000,
    published_steps=400_000,
    marks={"modes": 8.0, "counted": 98.89, "reverse_kl": 0.0014},
    departures=DEPARTURES,
)

GRID = RING._replace(
    summary="25 Gaussians on a grid: PacGAN's Table 1 (Lin et al. 2018)",
    settings={**RING.settings, "data.name": "grid"},
    rows=(
        Row("GAN", ALONE, _published((17.3, 0.8), (94.8, 0.7), (0.70, 0.07))),
        Row("PacGAN2", _packed(2), _published((23.8, 0.7), (91.3, 0.8), (0.13, 0.04))),
        Row("PacGAN3", _packed(3), _published((24.6, 0.4), (94.2, 0.4), (0.06, 0.02))),
        Row("PacGAN4", _packed(4), _published((24.8, 0.2), (93.6, 0.6), (0.04, 0.01))),
        *RING.rows[4:],
    ),
    marks={"modes": 25.0, "counted": 98.89, "reverse_kl": 0.0048},
)

_NOTEBOOK = {"optimizer.discriminator.learning_rate": 1e-4, "updates": "simultaneous"}

UNROLLED_RING = RING._replace(
    summary="eight Gaussians over time: the figure of unrolled GANs (Metz et al. 2017)",
    config="unrolled_ring",
    settings={**SETTINGS, "sample_every": 5_000},
    rows=(
        Row("GAN", {**_NOTEBOOK, "unrolled_steps": 0}),
        Row("unrolled GAN, 5", {**_NOTEBOOK, "unrolled_steps": 5}),
        Row("unrolled GAN, 10", {**_NOTEBOOK, "unrolled_steps": 10}),
        Row("GAN, alternating, both rates 1e-3", {"unrolled_steps": 0}),
        Row("unrolled GAN, 5, alternating, both rates 1e-3", {"unrolled_steps": 5}),
    ),
    seeds=3,
    steps=25_000,
    published_steps=25_000,
    over_time=True,
    departures="The ring has all eight modes, not seven.",
)
