"""R3GAN (Huang et al., NeurIPS 2024, https://arxiv.org/abs/2501.05441), its FFHQ-256 preset.

    python train.py --config configs/r3gan_ffhq256.py --config.data.path=ffhq256

`ffhq256`: a folder prepared with `python -m jaxgan prepare --image_size 256`. Otherwise
r3gan_ffhq64.py.

Expected, in the paper: FID 2.75. Not run here: it needs accelerators.
"""

from configs import r3gan_ffhq64


def get_config():
    config = r3gan_ffhq64.get_config()
    config.data.image_size = 256
    gamma = {"kind": "cosine", "start": 150.0, "end": 15.0, "kimg": 20_000}
    config.penalties.r1 = config.penalties.r2 = gamma
    network = {
        "widths": (768, 768, 768, 768, 384, 192, 96),
        "cardinalities": (96, 96, 96, 96, 48, 24, 12),
    }
    config.model.generator = config.model.discriminator = network
    return config
