"""R3GAN (Huang et al., NeurIPS 2024, https://arxiv.org/abs/2501.05441), its FFHQ-64 preset.

    python train.py --config configs/r3gan_ffhq64.py --config.data.path=ffhq64

`ffhq64`: a folder prepared with `python -m jaxgan prepare --image_size 64`. See r3gan_cifar10.py.

Expected, in the paper: FID 1.95. Not run here: it needs accelerators.
"""

from configs import r3gan_cifar10


def get_config():
    config = r3gan_cifar10.get_config()
    config.data.name = "folder"
    config.conditional = False
    config.steps = 390_625  # 100 million images
    config.batch_size = 256
    gamma = {"kind": "cosine", "start": 2.0, "end": 0.2, "kimg": 20_000}
    config.penalties.r1 = config.penalties.r2 = gamma
    network = {
        "widths": (768, 768, 768, 768, 384),
        "cardinalities": (96, 96, 96, 96, 48),
    }
    config.model.generator = config.model.discriminator = network
    config.ema.halflife_kimg.end = 500.0
    config.augment.p.end = 0.3
    return config
