"""`vae_mnist`: log-likelihoods of black and white digits, by Table 1 of importance-weighted
autoencoders (Burda, Grosse and Salakhutdinov, ICLR 2016, https://arxiv.org/abs/1509.00519).

The rows are its models of one stochastic layer, 50 latents; the figure is the bound by 5,000
latents of each of the 10,000 test images. Digits are drawn black or white by their brightness,
those of training anew each time.
"""

from typing import Any

from jaxgan.reproductions.suite import Column, Figure, Row, Suite


def _row(name: str, nats: float, active: int, **settings: Any) -> Row:
    of_vae = {"bound": "elbo", "samples": 1, **settings}
    published = {"importance_bound": Figure(nats), "active_units": Figure(active)}
    return Row(name, {f"vae.{key}": value for key, value in of_vae.items()}, published)


VAE_MNIST = Suite(
    summary="log-likelihood of MNIST by VAE and IWAE: Burda et al. 2016, Table 1",
    config="vae",
    settings={
        "data.name": "mnist",
        "batch_size": 100,
        "steps_per_call": 100,
        "log_every": 1_000,
        "sample_every": 20_000,
        "checkpoint_every": 3_000,
        "evaluate_every": 60_000,
        "evaluation.metrics": "importance_bound,elbo",
        "evaluation.samples": 10_000,
        "evaluation.split": "test",
        "best_metric": "importance_bound",
        "optimizer.generator.learning_rate": {
            "kind": "exponential",
            "start": 1e-3,
            "end": 1e-4,
            "steps": 60_000,
        },
        "optimizer.generator.arguments.eps": 1e-4,
    },
    rows=(
        _row("VAE", 86.76, 19),
        _row("VAE, 5 latents", 86.47, 20, samples=5),
        _row("IWAE, 5 latents", 85.54, 22, bound="iwae", samples=5),
        _row("IWAE, 50 latents", 84.78, 25, bound="iwae", samples=50),
    ),
    columns=(
        Column("importance_bound", "negative log-likelihood, nats", times=-1.0),
        Column("elbo", "by one latent", times=-1.0),
        Column("active_units", "latents in use", digits=1),
    ),
    seeds=3,
    steps=60_000,
    published_steps=9_840_000,
    departures="The hidden layers have 500 units, the paper's 200; minibatches of 100 images, not "
    "20; 100 epochs, in which the rate falls from 1e-3 to 1e-4, where the paper has 3,280 with "
    "steps between the same; the last bias does not begin at the pixels' means.",
)
