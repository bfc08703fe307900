"""Completion of images (context encoders, Pathak et al., CVPR 2016, https://arxiv.org/abs/1604.07379).

python train.py --config configs/inpaint.py
"""

from configs import default


def get_config():
    config = default.get_config()
    config.algorithm = "inpaint"
    config.loss = "hinge"
    config.steps = 3_000
    config.batch_size = 32
    config.model.name = "gated"
    config.model.generator = {"width": 16}
    config.model.discriminator = {"width": 16}
    config.evaluation.metrics = "completion"
    config.evaluation.split = "test"
    config.best_metric = "hole_psnr"
    return config
