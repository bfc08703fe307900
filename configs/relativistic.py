"""Relativistic average GAN (Jolicoeur-Martineau, ICLR 2019, https://arxiv.org/abs/1807.00734).

    python train.py --config configs/relativistic.py

Each image is judged against the mean of the others' logits; as in the paper's RaSGAN with Adam at
2e-4, b1 = 0.5, on the DCGAN of dcgan.py. --config.loss=relativistic_paired judges pairs (RSGAN).

Expected: two minutes on two CPU cores; coverage 47.0 ± 0.7 % (three seeds on a GPU, RESULTS.md).
"""

from configs import dcgan


def get_config():
    config = dcgan.get_config()
    config.steps = 2_500
    config.loss = "relativistic_average"
    return config
