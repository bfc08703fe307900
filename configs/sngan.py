"""SNGAN (Miyato et al., ICLR 2018, https://arxiv.org/abs/1802.05957) on small images.

    python train.py --config configs/sngan.py

Spectral normalisation in every layer of a residual discriminator, the hinge loss, Adam with b1 = 0
and b2 = 0.9 and a learning rate that falls to 0, as in the paper. `width` is an eighth of the
paper's, its five discriminator updates a step are one, and its 100,000 steps are 2,000, for two CPU
cores; sngan_cifar10.py is the paper's.

Expected: twelve minutes on two CPU cores, beside other work; coverage 26.2 ± 2.7 %. In 10,000
steps, with the rate falling as long, it is 66.9 ± 1.2 % (three seeds on a GPU, RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.steps = 2_000
    config.loss = "hinge"
    config.z_dim = 128
    config.model.name = "resnet"
    config.model.generator = {"width": 32}
    config.model.discriminator = {"width": 16}
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = {
            "kind": "linear",
            "start": 5e-4,
            "end": 0.0,
            "steps": 2_000,
        }
        config.optimizer[player].b1 = 0.0
        config.optimizer[player].b2 = 0.9
    return config
