"""SNGAN with a projection discriminator (Miyato and Koyama, ICLR 2018,
https://arxiv.org/abs/1802.05637) on ImageNet at 128 pixels, as in the paper.

    python train.py --config configs/sngan_imagenet128.py --config.data.path=imagenet128

`imagenet128`: a folder with a subfolder for each of the 1,000 classes, prepared with
`python -m jaxgan prepare --image_size 128`. ResNets of width 64, conditional BatchNorm in the
generator, the hinge loss, five discriminator updates a step, 450,000 steps, Adam with b1 = 0 and
b2 = 0.9 at 2e-4, which falls to 0 in the last 50,000 (here by ten stairs). Batches are those of the
authors' discriminator, 16 images on each of four GPUs; their generator's are twice as large.

Expected, in the paper's code: inception score 29.7 after 450,000 steps; after 850,000 it is 36.8,
and FID 27.62. Not run here: it needs accelerators.
"""

from configs import sngan_projection


def get_config():
    config = sngan_projection.get_config()
    config.data.name = "folder"
    config.data.image_size = 128
    config.steps = 450_000
    config.batch_size = 64
    config.n_critic = 5
    config.model.generator = {"width": 64}
    config.model.discriminator = {"width": 64}
    stairs = range(10)
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = {
            "kind": "steps",
            "values": (2e-4, *(2e-4 * (19 - 2 * n) / 20 for n in stairs)),
            "steps": tuple(400_000 + 5_000 * n for n in stairs),
        }
    config.sample_every = config.checkpoint_every = 10_000
    return config
