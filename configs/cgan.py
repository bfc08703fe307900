"""Conditional GAN (Mirza and Osindero, 2014, https://arxiv.org/abs/1411.1784), convolutional.

    python train.py --config configs/cgan.py

The paper's idea, labels given to both players, on the networks of Radford et al. 2016 (dcgan.py) at
half their width. The label's embedding is joined to z; the discriminator takes it by projection
(Miyato and Koyama 2018). It has R1 (Mescheder et al. 2018) in place of BatchNorm: without it each
class falls to a few pictures, a quarter to a half of the real images' diversity instead of nine
tenths.

Expected: see RESULTS.md.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.conditional = True
    config.penalties.r1 = 1.0
    config.model.generator = {"width": 32, "embedding": 50, "norm": "batch"}
    config.model.discriminator = {"width": 32, "norm": "none", "conditioning": "projection"}
    return config
