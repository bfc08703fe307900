"""DCGAN (Radford, Metz and Chintala 2016)."""

from configs import default


def get_config():
    config = default.get_config()
    config.model.name = "dcgan"
    config.model.generator = {"width": 64}
    config.model.discriminator = {"width": 64}
    return config
