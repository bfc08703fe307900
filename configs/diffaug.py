"""DiffAugment (Zhao et al., NeurIPS 2020, https://arxiv.org/abs/2006.10738) on 500 images.

    python train.py --config configs/diffaug.py
    python train.py --config configs/diffaug.py --workdir runs/plain --config.augment.policy=none

The discriminator sees translated and partly covered images, real and generated alike (the paper's
policy for little data; its colour transforms mean little to grey images). On the first 500 images
of the data set, where without it the discriminator learns them by heart. Networks of cgan.py.

Expected on two CPU cores: minutes; not measured yet (RESULTS.md).
"""

from configs import cgan


def get_config():
    config = cgan.get_config()
    config.steps = 3_000
    config.data.split = "train[:500]"
    config.augment.policy = "translation,cutout"
    config.augment.p = 1.0
    return config
