"""R3GAN (Huang et al., NeurIPS 2024, https://arxiv.org/abs/2501.05441), its FFHQ-256 preset.

    python train.py --config configs/r3gan_ffhq256.py --config.data.path=ffhq256

`ffhq256`: a folder prepared with `python -m jaxgan prepare --image_size 256`. See r3gan_cifar10.py.

Expected, in the paper: FID 2.75. Not run here: it needs accelerators.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "folder"
    config.conditional = False
    config.data.flip = True
    config.steps = 390_625  # 100 million images
    config.batch_size = 256
    config.z_dim = 64
    config.loss = "relativistic_paired"
    gamma = {"kind": "cosine", "start": 150.0, "end": 15.0, "kimg": 20_000}
    config.penalties.r1 = config.penalties.r2 = gamma
    config.model.name = "r3gan"
    network = {
        "widths": (768, 768, 768, 768, 384, 192, 96),
        "cardinalities": (96, 96, 96, 96, 48, 24, 12),
    }
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
    config.ema.halflife_kimg = {"kind": "cosine", "start": 0.0, "end": 500.0, "kimg": 20_000}
    config.ema.rampup = 0.0
    config.augment.policy = "ada_bgc"
    config.augment.p = {"kind": "cosine", "start": 0.0, "end": 0.3, "kimg": 20_000}
    config.precision = "bfloat16"
    config.sample_every = config.checkpoint_every = 5_000
    return config
