"""Conditional GAN (Mirza and Osindero, 2014, https://arxiv.org/abs/1411.1784), convolutional.

    python train.py --config configs/cgan.py

The paper's idea, labels given to both players, on the networks of Radford et al. 2016 (dcgan.py).
The label's embedding is joined to z; the discriminator takes it by projection (Miyato and Koyama
2018) and has R1 (Mescheder et al. 2018) in place of BatchNorm. Without R1 each class fell to a few
pictures: in a trial of 3,000 steps, to between a quarter and 60 % of the real images' diversity.

Expected: four to six minutes on two CPU cores; Fréchet distance 9.8 ± 0.4 (of training images
3.5), a classifier assigns 91.3 ± 0.1 % of samples to the class that was asked for (of real test
images 91.5 %), and each class is 88 % as diverse as real images or more (three seeds on a GPU,
RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.conditional = True
    config.steps = 6_000
    config.penalties.r1 = 0.5
    config.model.generator = {"width": 32, "embedding": 50, "norm": "batch"}
    config.model.discriminator = {"width": 32, "norm": "none", "conditioning": "projection"}
    config.optimizer.generator.learning_rate = 4e-4
    config.optimizer.discriminator.learning_rate = 4e-4
    config.ema.rampup = 0.15
    return config
