"""Completion of images: context encoders (Pathak et al., CVPR 2016) with the gated convolutions and
the discriminator of Yu et al., ICCV 2019.

https://arxiv.org/abs/1604.07379, https://arxiv.org/abs/1806.03589

    python train.py --config configs/inpaint.py
    python -m jaxgan inpaint --workdir runs/inpaint --image shoe.png --mask hole.png --out whole.png

Holes are boxes, strokes of a brush and halves; `--config.inpaint.adversarial=0.0` leaves the
distance alone, `--config.model.generator.gated=False` is the plain convolution.

Expected: 35 minutes on one CPU core; missing pixels with a PSNR of 20.8 and an LPIPS of
0.099, where the nearest training image gives 19.2 and 0.111 (one run, RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.algorithm = "inpaint"
    config.loss = "hinge"
    config.steps = 8_000
    config.batch_size = 32
    config.inpaint.adversarial = 0.1
    config.model.name = "gated"
    config.model.generator = {"width": 16}
    config.model.discriminator = {"width": 16}
    config.evaluation.metrics = "completion"
    config.evaluation.split = "test"
    config.best_metric = "hole_psnr"
    return config
