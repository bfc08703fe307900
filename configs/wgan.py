"""Wasserstein GAN (Arjovsky, Chintala and Bottou, ICML 2017, https://arxiv.org/abs/1701.07875).

    python train.py --config configs/wgan.py

Algorithm 1 with the paper's RMSProp, weights of the critic clipped to 0.01 after each update, five
critic updates a step and batches of 64; on the DCGAN of dcgan.py. For few steps the learning rates
are 2e-4 (critic) and 1e-3: with the paper's 5e-5 samples were blurs after as many steps.

Expected: five minutes on two CPU cores, beside other work; coverage 35.8 ± 0.6 % (three seeds on
a GPU, RESULTS.md).
"""

from configs import dcgan


def get_config():
    config = dcgan.get_config()
    config.steps = 1_000
    config.loss = "wasserstein"
    config.n_critic = 5
    for player, rate in (("generator", 1e-3), ("discriminator", 2e-4)):
        config.optimizer[player].name = "rmsprop"
        config.optimizer[player].learning_rate = rate
        config.optimizer[player].b1 = 0.0  # no momentum
        config.optimizer[player].b2 = 0.99
    config.optimizer.discriminator.clip_weights = 0.01
    return config
