"""R3GAN (Huang et al., NeurIPS 2024, https://arxiv.org/abs/2501.05441) on small images.

    python train.py --config configs/r3gan_mini.py

The relativistic paired loss with R1 and R2, and the paper's network without normalisation, with
narrow stages of one block, for two CPU cores; schedules as in the paper's presets, over 25,000
images, at ten times its learning rate. r3gan_cifar10.py is the paper's.

Expected: six minutes on two CPU cores, beside other work; coverage 22.0 ± 1.0 %: 400 steps show
that it learns, not what it can. Of 2,000, with schedules five times as long, coverage is
50.2 ± 6.9 % (three seeds on a GPU, RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.conditional = True
    config.steps = 400
    config.z_dim = 64
    config.loss = "relativistic_paired"
    gamma = {"kind": "cosine", "start": 2.0, "end": 0.2, "kimg": 25}
    config.penalties.r1 = config.penalties.r2 = gamma
    config.model.name = "r3gan"
    network = {"widths": (64, 32, 16), "cardinalities": (8, 4, 2), "blocks": 1}
    config.model.generator = config.model.discriminator = network
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = {
            "kind": "cosine",
            "start": 2e-3,
            "end": 5e-4,
            "kimg": 25,
        }
        config.optimizer[player].b1 = 0.0
        config.optimizer[player].b2 = {"kind": "cosine", "start": 0.9, "end": 0.99, "kimg": 25}
    config.ema.rampup = 0.15
    return config
