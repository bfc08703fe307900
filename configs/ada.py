"""ADA (Karras et al., NeurIPS 2020, https://arxiv.org/abs/2006.06676) on 500 images.

    python train.py --config configs/ada.py

The paper's transforms (blitting, geometry, colour) with a probability that rises while more than
0.6 of the real images' logits are, on balance, positive, by at most 1 in 500 kimg in the paper and
in 100 here, where training is short. Otherwise diffaug.py.

Expected: eight minutes on two CPU cores, beside other work; accuracy 93.1 ± 0.3 %, coverage of
500 images 90.8 ± 1.0 % (three seeds on a GPU, RESULTS.md).
"""

from configs import diffaug


def get_config():
    config = diffaug.get_config()
    config.augment.policy = "ada_bgc"
    config.augment.p = 0.0
    config.augment.target = 0.6
    config.augment.kimg = 100.0
    return config
