"""CycleGAN (Zhu et al., ICCV 2017, https://arxiv.org/abs/1703.10593): digits to fashion and back.

    python -m jaxgan prepare --name mnist
    python -m jaxgan prepare --name fashion_mnist
    python train.py --config configs/cyclegan.py

For two folders of your own, below one:

    python train.py --config configs/cyclegan.py --config.data.name=unpaired:folder \
        --config.data.path=horses_and_zebras --config.data.image_size=128 \
        --config.model.generator.width=64 --config.model.generator.blocks=6 \
        --config.model.discriminator.width=64 --config.model.discriminator.layers=3 \
        --config.batch_size=1

Expected: half an hour on two CPU cores; clothes, most of them whole, out of which the digits come
back, and not by classes: 13.3 ± 1.4 % keep the number of theirs (three seeds, RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "unpaired:mnist,fashion_mnist"
    config.algorithm = "cyclegan"
    config.loss = "least_squares"
    config.translate.cycle = 5.0  # the paper's 10, of whose adversarial loss this one is half
    config.steps = 6_000
    config.batch_size = 16
    config.model.name = "cyclegan"
    config.model.generator = {"width": 16, "blocks": 3}
    config.model.discriminator = {"width": 32, "layers": 2}
    config.evaluation.metrics = "frechet,agreement"
    config.evaluation.split = "test"
    config.best_metric = "frechet"
    rate = {"kind": "linear", "start": 2e-4, "end": 0.0, "steps": 6_000}
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = rate
    return config
