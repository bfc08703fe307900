"""pix2pix (Isola et al., CVPR 2017, https://arxiv.org/abs/1611.07004): images from their edges.

python train.py --config configs/pix2pix.py

`--config.translate.gan=0.0` is the paper's ablation, L1 alone. For pairs of your own, side by side
in a picture:

    python -m jaxgan prepare --source facades --out facades_256 --fit pair --image_size 256
    python train.py --config configs/pix2pix.py --config.translate.source= \
        --config.data.name=folder --config.data.path=facades_256 \
        --config.model.generator.width=64 --config.model.discriminator.width=64 \
        --config.model.discriminator.layers=3 --config.batch_size=1

Expected: two or three minutes on two CPU cores; what is made of test images' edges has a Fréchet
distance of 16.0 ± 0.3, by L1 alone 23.8 ± 0.2 (three seeds, RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.algorithm = "pix2pix"
    config.steps = 3_000
    config.batch_size = 16
    config.translate.source = "edges"
    config.model.name = "pix2pix"
    config.model.generator = {"width": 16}
    config.model.discriminator = {"width": 32, "layers": 1}
    config.evaluation.metrics = "frechet,agreement"
    config.evaluation.split = "test"
    config.best_metric = "frechet"
    return config
