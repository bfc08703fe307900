"""ReACGAN (Kang et al., NeurIPS 2021, https://arxiv.org/abs/2111.01118).

    python train.py --config configs/reacgan.py

The data-to-data cross-entropy (D2D-CE) on normalised embeddings, with the paper's margins 0.98 and
0.02 and its temperature 0.5 and weight 0.5 for CIFAR-10. Otherwise acgan.py.

Expected: seven minutes on two CPU cores, beside other work; accuracy 98.5 ± 0.3 %, coverage
74.3 ± 0.3 % (three seeds on a GPU, RESULTS.md).
"""

from configs import acgan


def get_config():
    config = acgan.get_config()
    config.model.discriminator.conditioning = "reacgan"
    config.class_loss.temperature = 0.5
    config.class_loss.discriminator_weight = 0.5
    config.class_loss.generator_weight = 0.5
    return config
