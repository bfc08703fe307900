"""WGAN with gradient penalty (Gulrajani et al., NIPS 2017, https://arxiv.org/abs/1704.00028).

    python train.py --config configs/wgan_gp.py

Algorithm 1 with the paper's settings: a penalty of weight 10, five critic updates a step, Adam
with b1 = 0 and b2 = 0.9, batches of 64, and no BatchNorm in the critic; on the DCGAN of dcgan.py.
For few steps the learning rate is 5e-4: with the paper's 1e-4 samples were blurred after 800.

Expected: eight minutes on two CPU cores, beside other work; coverage 63.7 ± 0.2 % (three seeds on
a GPU, RESULTS.md).
"""

from configs import dcgan


def get_config():
    config = dcgan.get_config()
    config.steps = 1_000
    config.loss = "wasserstein"
    config.penalties.wgan_gp = 10.0
    config.n_critic = 5
    config.model.discriminator.norm = "none"
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = 5e-4
        config.optimizer[player].b1 = 0.0
        config.optimizer[player].b2 = 0.9
    return config
