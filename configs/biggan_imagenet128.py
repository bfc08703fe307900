"""BigGAN (Brock et al., ICLR 2019, https://arxiv.org/abs/1809.11096) on ImageNet, as in the paper.

    python train.py --config configs/biggan_imagenet128.py --config.data.path=imagenet128

`imagenet128`: a folder with a subfolder for each of the 1,000 classes, prepared with
`python -m jaxgan prepare --image_size 128`. Networks of width 96, batches of 2,048, two updates of
the discriminator a step, the hinge loss, Adam at 5e-5 and 2e-4 with b1 = 0, orthogonal
regularisation of 1e-4, an average with a decay of 0.9999 a step; `python -m jaxgan sample
--truncation 0.5 --statistics standing` draws as the paper does. Some of its runs collapsed after
about 165,000 steps.

Expected, in the paper: FID 8.7, inception score 98.8, the best before collapse. Not run here: it
needs accelerators.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.conditional = True
    config.data.name = "folder"
    config.data.image_size = 128
    config.data.flip = True
    config.steps = 165_000
    config.batch_size = 2_048
    config.n_critic = 2
    config.z_dim = 120
    config.loss = "hinge"
    config.generator_penalties.orthogonal = 1e-4
    config.model.name = "biggan"
    config.model.generator = {"width": 96, "remat": True}
    config.model.discriminator = {"width": 96, "remat": True}
    for player, rate in (("generator", 5e-5), ("discriminator", 2e-4)):
        config.optimizer[player].learning_rate = rate
        config.optimizer[player].b1 = 0.0
    config.ema.halflife_kimg = 28_400.0  # 6,931 steps of 4,096 images: a decay of 0.9999
    config.precision = "bfloat16"
    config.sample_every = config.checkpoint_every = 5_000
    return config
