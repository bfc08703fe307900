"""SAGAN (Zhang et al., ICML 2019, https://arxiv.org/abs/1805.08318) on ImageNet, as in the paper.

    python train.py --config configs/sagan_imagenet128.py --config.data.path=imagenet128

`imagenet128`: a folder with a subfolder for each of the 1,000 classes, prepared with
`python -m jaxgan prepare --image_size 128`. Batches of 256, a million steps, learning rates 1e-4
and 4e-4; otherwise sagan.py.

Expected, in the paper: FID 18.65, inception score 52.52. Not run here: it needs accelerators.
"""

from configs import sagan


def get_config():
    config = sagan.get_config()
    config.data.name = "folder"
    config.data.image_size = 128
    config.steps = 1_000_000
    config.batch_size = 256
    config.model.generator = {"width": 64, "attention": 32}
    config.model.discriminator = {"width": 64, "attention": 32}
    config.optimizer.generator.learning_rate = 1e-4
    config.optimizer.discriminator.learning_rate = 4e-4
    config.ema.rampup = 0.05
    config.sample_every = config.checkpoint_every = 10_000
    return config
