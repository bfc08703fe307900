"""Conditional GAN (Mirza and Osindero 2014) on convolutional networks."""

from configs import default


def get_config():
    config = default.get_config()
    config.conditional = True
    config.model.generator = {"width": 32}
    config.model.discriminator = {"width": 32, "conditioning": "projection", "norm": "batch"}
    return config
