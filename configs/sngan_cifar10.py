"""SNGAN (Miyato et al., ICLR 2018, https://arxiv.org/abs/1802.05957) on CIFAR-10, as in the paper.

    python train.py --config configs/sngan_cifar10.py

ResNets of appendix B.4 at 32 pixels, the hinge loss, Adam at 2e-4 with b1 = 0 and b2 = 0.9, falling
to 0, five discriminator updates a step, 100,000 steps of the generator with batches of 64 (the
paper's generator has 128 where its discriminator has 64; here both have 64).

Expected, in the paper: inception score 8.22, FID 21.7 (5,000 images against 10,000); Mimicry has
FID 16.77 with 50,000 of each. Not run here: it needs an accelerator.
"""

from configs import sngan


def get_config():
    config = sngan.get_config()
    config.data.name = "cifar10"
    config.data.flip = True
    config.steps = 100_000
    config.n_critic = 5
    config.model.generator.width = 256
    config.model.discriminator.width = 128
    for player in ("generator", "discriminator"):
        rate = config.optimizer[player].learning_rate
        rate.start, rate.steps = 2e-4, 100_000
    config.sample_every = config.checkpoint_every = 5_000
    return config
