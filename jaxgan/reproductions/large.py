"""Published results that need an accelerator, by the papers' settings and weights of InceptionV3.

Each is a config of its own, trained with three seeds in one program. What a run would cost is what
`python -m jaxgan plan` expects of eight chips: compiled, not run.
"""

from jaxgan.reproductions.suite import Column, Figure, Row, Suite

_COLUMNS = (Column("fid", "FID", digits=2), Column("is", "inception score", digits=2))
_EVALUATION = {
    "evaluation.metrics": "frechet,score",
    "evaluation.features": "inception_v3_fid",
    "evaluation.samples": 50_000,
    "best_metric": "frechet",
}


def _suite(name: str, row: Row, steps: int, every: int, departures: str) -> Suite:
    return Suite(
        summary=f"{row.name}, by configs/{name}.py",
        config=name,
        settings={**_EVALUATION, "evaluate_every": every},
        rows=(row,),
        columns=_COLUMNS,
        seeds=3,
        steps=steps,
        published_steps=steps,
        departures=f"FID of 50,000 samples by running moments and all training images.{departures}",
    )


def _published(fid: Figure, score: Figure | None = None) -> dict[str, Figure]:
    return {"fid": fid, **({"is": score} if score else {})}


LARGE = {
    "sngan_cifar10": _suite(
        "sngan_cifar10",
        Row(
            "SNGAN, CIFAR-10",
            {},
            _published(Figure(21.7, 0.21), Figure(8.22, 0.05)),
            cost="planned: 3 to 11 minutes a seed on v5e:2x4",
        ),
        100_000,
        10_000,
        " The paper's is of 5,000 samples against 10,000 test images; with 50,000 of each "
        "Mimicry's code has 16.77. Its generator's batches have 128, ours 64.",
    ),
    "r3gan_cifar10": _suite(
        "r3gan_cifar10",
        Row(
            "R3GAN, CIFAR-10",
            {},
            _published(Figure(1.96)),
            cost="planned: 27 hours to 40 days a seed on v5e:2x4",
        ),
        488_281,
        20_000,
        "",
    ),
    "sngan_imagenet128": _suite(
        "sngan_imagenet128",
        Row(
            "SNGAN with projection, ImageNet at 128 pixels",
            {},
            _published(Figure(27.62), Figure(36.80)),
            cost="planned: 3.3 to 10 hours a seed on v5e:2x4",
        ),
        450_000,
        50_000,
        "",
    ),
    "biggan_imagenet128": _suite(
        "biggan_imagenet128",
        Row("BigGAN, ImageNet at 128 pixels", {}, _published(Figure(8.7), Figure(98.8))),
        165_000,
        15_000,
        "",
    ),
    "sagan_imagenet128": _suite(
        "sagan_imagenet128",
        Row(
            "SAGAN, ImageNet at 128 pixels",
            {},
            _published(Figure(18.65), Figure(52.52)),
            cost="planned: 7.3 to 24 hours a seed on v5e:2x4",
        ),
        1_000_000,
        50_000,
        "",
    ),
}
