"""Digits: 1,000 modes of stacked MNIST, and the log-likelihoods of 2014.

`stacked_mnist` is Table 3 of PacGAN (Lin et al. 2018) by its code, which is that of unrolled GANs
(Metz et al. 2017): networks of models/metz.py whose discriminator has 1/4 or 1/2 of the generator's
features, 25,600 samples told apart by a classifier of digits. Beside its rows those of Table 1 of
R3GAN (Huang et al., NeurIPS 2024), whose own network for it was not published, so that their order
alone can be compared (RpGAN + R1 + R2 1,000 modes, GAN + R1 + R2 693, with R1 alone both fail).

`mnist_parzen` is the first row of Table 1 in Goodfellow et al. 2014 and in Mirza and Osindero 2014.
"""

from collections.abc import Mapping
from typing import Any

from jaxgan.reproductions.suite import Column, Figure, Row, Suite

# --------------------------------------------------------------------------------------------------
# Stacked MNIST

GAMMA = 1.0  # of R1 and R2, R3GAN's gamma


def _rows(share: str, features: tuple[int, ...], published: Mapping[str, Any]) -> list[Row]:
    """The methods against a discriminator of these features."""
    # R3GAN's discriminator has no normalisation: with BatchNorm a gradient is of no image alone.
    r1, r2 = {"penalties.r1": GAMMA, "model.discriminator.norm": "none"}, {"penalties.r2": GAMMA}
    paired = {"loss": "relativistic_paired"}
    unrolled = {"algorithm": "unrolled", "optimizer.discriminator.arguments.eps_root": 1e-16}
    methods: dict[str, dict[str, Any]] = {
        "DCGAN": {},
        "unrolled 5": {**unrolled, "unrolled_steps": 5},
        "unrolled 10": {**unrolled, "unrolled_steps": 10},
        "PacDCGAN2": {"pack": 2, "batch_size": 256},
        "GAN + R1": r1,
        "GAN + R1 + R2": {**r1, **r2},
        "RpGAN + R1": {**paired, **r1},
        "RpGAN + R1 + R2": {**paired, **r1, **r2},
    }
    network = {"pack": 1, "batch_size": 128, "model.discriminator.features": features}
    return [
        Row(f"{name}, {share}", {**network, **settings}, published.get(name, {}))
        for name, settings in methods.items()
    ]


def _figures(modes: tuple[float, float], reverse_kl: tuple[float, float]) -> dict[str, Figure]:
    return {"modes": Figure(*modes), "reverse_kl": Figure(*reverse_kl)}


STACKED_MNIST = Suite(
    summary="1,000 modes of stacked MNIST: PacGAN's Table 3 (Lin et al. 2018), R3GAN's rows beside",
    config="stacked_mnist",
    settings={
        "log_every": 1_000,
        "sample_every": 5_000,
        "checkpoint_every": 1_000,
        "evaluate_every": 2_500,
        "on_nonfinite": "skip",
        "nonfinite_attempts": 2**31 - 1,
    },
    rows=(
        *_rows(
            "1/4",
            (2, 4, 8),
            {
                "DCGAN": _figures((78.5, 17.56), (5.21, 0.19)),
                "unrolled 5": _figures((236.4, 63.30), (4.67, 0.43)),
                "unrolled 10": _figures((327.2, 74.67), (4.66, 0.46)),
                "PacDCGAN2": _figures((484.5, 32.99), (2.61, 0.22)),
            },
        ),
        *_rows(
            "1/2",
            (4, 8, 16),
            {
                "DCGAN": _figures((487.7, 34.59), (2.24, 0.15)),
                "unrolled 5": _figures((732.0, 44.98), (1.66, 0.09)),
                "unrolled 10": _figures((817.4, 37.91), (1.43, 0.12)),
                "PacDCGAN2": _figures((840.7, 15.92), (1.00, 0.05)),
            },
        ),
    ),
    columns=(Column("modes", "modes", digits=1), Column("reverse_kl", "reverse KL", digits=2)),
    seeds=3,
    steps=20_000,
    published_steps=500_000,
    marks={"modes": 1000.0, "reverse_kl": 0.0238},
    departures="Samples are drawn with running moments, where the code has those of 128; the two "
    "players' latents of a step differ; a pack's images pass the generator as one batch of 256. "
    "The classifier is jaxgan's. Rows without published figures are R3GAN's methods on these "
    "networks, without BatchNorm in the discriminator, with gamma 1.",
)

# --------------------------------------------------------------------------------------------------
# Parzen windows

# 250 epochs of 50,000 images
_MOMENTUM = {"kind": "linear", "start": 0.5, "end": 0.7, "steps": 125_000}


def _descent(steps: int) -> dict[str, Any]:
    """Of both players; their rates reach 1e-6 after so many steps. The discriminator's objective
    has a factor of one half in the code."""
    settings: dict[str, Any] = {}
    for player, rate in (("generator", 0.1), ("discriminator", 0.05)):
        falling = {"kind": "exponential", "start": rate, "end": 1e-5 * rate, "steps": steps}
        settings[f"optimizer.{player}.name"] = "sgd"
        settings[f"optimizer.{player}.b1"] = _MOMENTUM
        settings[f"optimizer.{player}.learning_rate"] = falling
    return settings


_MEAN = 0.131  # of MNIST's pixels

_GOODFELLOW = {
    "model.generator": {"pixel_mean": _MEAN, "latent_scale": 1.732},  # uniform in +-sqrt(3)
    "model.discriminator": {},
    **_descent(2_878_000),  # a factor of 1.000004 a step
}
_MIRZA = {
    "model.generator": {"latent_features": 200, "dropout": 0.5, "pixel_mean": _MEAN},
    "model.discriminator": {"joint_pieces": 4},
    "conditional": True,
    "sample_dropout": True,
    **_descent(287_800),  # 1.00004
}

MNIST_PARZEN = Suite(
    summary="log-likelihood of MNIST by Parzen windows: Goodfellow et al. 2014, Mirza and Osindero "
    "2014",
    config="gan_mlp",
    settings={
        "data.name": "mnist",
        "data.split": "train[:50000]",
        "updates": "simultaneous",
        "model.name": "goodfellow",
        "batch_size": 100,
        "latent": "uniform",
        "ema.halflife_kimg": 0.0,
        "steps_per_call": 100,
        "log_every": 1_000,
        "sample_every": 10_000,
        "checkpoint_every": 2_000,
        "evaluate_every": 5_000,
        "evaluation.metrics": "parzen",
        "evaluation.samples": 10_000,
        "evaluation.split": "test",
        "best_metric": "parzen",
    },
    rows=(
        Row("GAN", _GOODFELLOW, {"parzen": Figure(225.0, 2.0)}),
        Row("conditional GAN", _MIRZA, {"parzen": Figure(132.0, 1.8)}),
    ),
    columns=(
        Column("parzen", "log-likelihood, nats", digits=1),
        Column("parzen_width", "width", digits=3),
    ),
    seeds=3,
    steps=30_000,
    published_steps=0,
    departures="The papers' ± is the standard error over test images. They do not say how long "
    "they trained (the second: to the best validation); here 60 epochs, in which momentum rises to "
    "0.55. The width is chosen on 1,000 test images and not on training images held back, and all "
    "pixels begin at the mean of all, not each at its own. The second does not say whether its "
    "samples had dropout; here they have.",
)
