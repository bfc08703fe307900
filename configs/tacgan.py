"""Twin auxiliary classifiers GAN (Gong et al., NeurIPS 2019, https://arxiv.org/abs/1907.02690).

    python train.py --config configs/tacgan.py

A second classifier learns generated images alone, and the generator wants it to be no better than
the first: what AC-GAN's generator gains by drawing only what is easily classified, it loses there.
Otherwise acgan.py.

Expected: three minutes on two CPU cores; accuracy 97.6 ± 0.5 %, coverage 68.0 ± 1.0 % (three
seeds on a GPU, RESULTS.md).
"""

from configs import acgan


def get_config():
    config = acgan.get_config()
    config.model.discriminator.conditioning = "tacgan"
    return config
