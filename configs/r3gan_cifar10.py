"""R3GAN (Huang et al., NeurIPS 2024, https://arxiv.org/abs/2501.05441), its CIFAR-10 preset.

    python train.py --config configs/r3gan_cifar10.py

The relativistic paired loss with R1 and R2, no normalisation, and cosine schedules of all that is
scheduled in the paper, over 20 million images. What differs: the augmentation is ADA's blitting,
geometry and colour with a scheduled probability, where the authors have colour half as often and
cutout beside it; all layers compute in bfloat16, where theirs do but for the lowest stage; and the
generator's embeddings of labels begin at N(0, 1), theirs at a third of it.

Expected, in the paper, after 250 million images: FID 1.96. Not run here: it needs accelerators.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "cifar10"
    config.conditional = True
    config.data.flip = True
    config.steps = 488_281  # 250 million images
    config.batch_size = 512
    config.z_dim = 64
    config.loss = "relativistic_paired"
    gamma = {"kind": "cosine", "start": 0.05, "end": 0.005, "kimg": 20_000}
    config.penalties.r1 = config.penalties.r2 = gamma
    config.model.name = "r3gan"
    network = {"widths": (768, 768, 768, 768), "cardinalities": (96, 96, 96, 96)}
    config.model.generator = config.model.discriminator = network
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = {
            "kind": "cosine",
            "start": 2e-4,
            "end": 5e-5,
            "kimg": 20_000,
        }
        config.optimizer[player].b1 = 0.0
        config.optimizer[player].b2 = {"kind": "cosine", "start": 0.9, "end": 0.99, "kimg": 20_000}
    config.ema.halflife_kimg = {"kind": "cosine", "start": 0.0, "end": 5_000.0, "kimg": 20_000}
    config.ema.rampup = 0.0
    config.augment.policy = "ada_bgc"
    config.augment.p = {"kind": "cosine", "start": 0.0, "end": 0.55, "kimg": 20_000}
    config.precision = "bfloat16"
    config.sample_every = config.checkpoint_every = 5_000
    return config
