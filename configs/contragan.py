"""ContraGAN (Kang and Park, NeurIPS 2020, https://arxiv.org/abs/2006.12681).

    python train.py --config configs/contragan.py

The conditional contrastive (2C) loss: embeddings of images are drawn to those of their class in the
minibatch and to their label's. Weight and temperature 1 as in the paper. Otherwise acgan.py.

Expected: three minutes on two CPU cores; coverage 62.5 ± 1.7 %, but accuracy 36.9 ± 8.5 %: each
label has a class of its own, and for six of ten it is another label's (three seeds on a GPU,
RESULTS.md). Published figures of intra-class distances show the like.
"""

from configs import acgan


def get_config():
    config = acgan.get_config()
    config.model.discriminator.conditioning = "contragan"
    return config
