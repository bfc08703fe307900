"""The VAE-GAN (Larsen et al., ICML 2016, https://arxiv.org/abs/1512.09300).

python train.py --config configs/vaegan.py
"""

from configs import default


def get_config():
    config = default.get_config()
    config.algorithm = "vaegan"
    config.steps = 3_000
    config.z_dim = 64
    config.vae.layer = "BatchNorm_0"
    config.model.generator = {"width": 32}
    config.model.encoder = {"width": 32}
    config.model.discriminator = {"width": 32}
    return config
