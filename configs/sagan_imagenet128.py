"""SAGAN (Zhang et al., ICML 2019, https://arxiv.org/abs/1805.08318) on ImageNet, as in the paper.

    python train.py --config configs/sagan_imagenet128.py --config.data.path=imagenet128

`imagenet128`: a folder with a subfolder for each of the 1,000 classes, prepared with
`python -m jaxgan prepare --image_size 128`. Batches of 256, a million steps, learning rates 1e-4
and 4e-4.

Expected, in the paper: FID 18.65, inception score 52.52. Not run here: it needs accelerators.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "folder"
    config.conditional = True
    config.steps = 1_000_000
    config.batch_size = 256
    config.loss = "hinge"
    config.z_dim = 128
    config.model.name = "sagan"
    config.model.generator = {"width": 64, "attention": 32}
    config.model.discriminator = {"width": 64, "attention": 32}
    for player, rate in (("generator", 1e-4), ("discriminator", 4e-4)):
        config.optimizer[player].learning_rate = rate
        config.optimizer[player].b1 = 0.0
        config.optimizer[player].b2 = 0.9
    config.sample_every = config.checkpoint_every = 10_000
    return config
