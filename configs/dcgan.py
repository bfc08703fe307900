"""DCGAN (Radford, Metz and Chintala, ICLR 2016, https://arxiv.org/abs/1511.06434).

    python train.py --config configs/dcgan.py

The paper's guidelines and its optimiser (Adam, 2e-4, b1 0.5) on 28 x 28 images: BatchNorm in both
networks, weights from N(0, 0.02^2), LeakyReLU 0.2. `width` is a quarter of the paper's 128 and the
batch half of its 128, for two CPU cores.

Expected: four minutes on two CPU cores; sharper pictures than gan_mlp.py's; Fréchet distance
31.6 ± 0.4, coverage 68.0 ± 0.8 % (three seeds on a GPU, RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.steps = 5_000
    config.model.name = "dcgan"
    config.model.generator = {"width": 32, "norm": "batch"}
    config.model.discriminator = {"width": 32, "norm": "batch"}
    return config
