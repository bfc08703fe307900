"""Least-squares GAN (Mao et al., ICCV 2017, https://arxiv.org/abs/1611.04076).

    python train.py --config configs/lsgan.py

The paper's loss with targets 0 and 1 (its equation 9) and its setting b1 = 0.5 of Adam, on the
DCGAN of dcgan.py in place of the paper's deeper one.

Expected: three minutes on two CPU cores; coverage 62.9 ± 0.8 % (three seeds on a GPU,
RESULTS.md).
"""

from configs import dcgan


def get_config():
    config = dcgan.get_config()
    config.steps = 4_000
    config.loss = "least_squares"
    return config
