"""Self-attention GAN (Zhang et al., ICML 2019, https://arxiv.org/abs/1805.08318) on small images.

    python train.py --config configs/sagan.py

Spectral normalisation in both players, self-attention with a gate that begins at 0 (here on the
14 x 14 map), conditional BatchNorm, projection, the hinge loss, one update of each player, Adam
with b1 = 0 and b2 = 0.9 at twice the paper's two rates (1e-4 and 4e-4), for fewer steps. The
paper's images have 128 pixels: sagan_imagenet128.py.

Expected: seven minutes on two CPU cores, beside other work; accuracy 46.7 ± 2.6 %, coverage
29.8 ± 2.0 %: classes are recognisable, not sharp. After 7,500 steps accuracy is 86.5 ± 1.3 %,
coverage 73.0 ± 1.8 % (three seeds on a GPU, RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.conditional = True
    config.steps = 1_500
    config.loss = "hinge"
    config.z_dim = 128
    config.model.name = "sagan"
    config.model.generator = {"width": 32, "attention": 14}
    config.model.discriminator = {"width": 16, "attention": 14}
    for player, rate in (("generator", 2e-4), ("discriminator", 8e-4)):
        config.optimizer[player].learning_rate = rate
        config.optimizer[player].b1 = 0.0
        config.optimizer[player].b2 = 0.9
    config.ema.rampup = 0.15
    return config
