"""GAN on fully connected networks (Goodfellow et al. 2014)."""

from configs import default


def get_config():
    config = default.get_config()
    config.model.name = "mlp"
    config.model.generator = {"features": (256, 512, 1024)}
    config.model.discriminator = {"features": (512, 256)}
    return config
