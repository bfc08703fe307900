"""The first GAN (Goodfellow et al., NIPS 2014, https://arxiv.org/abs/1406.2661).

    python train.py --config configs/gan_mlp.py

Fully connected networks, no labels, the generator's loss that does not saturate. LeakyReLU stands
in for the discriminator's maxout and dropout, tanh for the sigmoid, Adam for momentum; the
generator has BatchNorm.

Expected: one to two minutes on two CPU cores; every kind of clothing, with speckles; Fréchet
distance 43.2 ± 0.3, coverage 81.3 ± 0.2 % (three seeds on a GPU, RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.steps = 10_000
    config.model.name = "mlp"
    config.model.generator = {"features": (256, 512, 1024), "norm": "batch"}
    config.model.discriminator = {"features": (512, 256), "norm": "none"}
    config.sample_every = 1_000
    config.checkpoint_every = 2_000
    return config
