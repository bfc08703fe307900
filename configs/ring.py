"""A GAN on eight Gaussians in a ring: points in the plane, where a lost mode is seen at once.

    python train.py --config configs/ring.py
    python train.py --config configs/ring.py --workdir runs/swiss_roll --config.data.name=swiss_roll

The distribution is that of VEEGAN and PacGAN (Lin et al. 2018, https://arxiv.org/abs/1712.04086).
Networks and optimisers are plain ones, not their protocols'.

Expected: 20 seconds on two CPU cores; samples/ shows the generated points, in colour, on all
eight Gaussians, with a few on the way from one to the next; the real ones are grey. 90.4 ± 1.4 %
of points are within three standard deviations of a mode, reverse KL 0.002 (three seeds on a GPU,
RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "ring"
    config.steps = 10_000
    config.batch_size = 256
    config.z_dim = 8
    config.steps_per_call = 250
    config.log_every = 500
    config.sample_every = 1_000
    config.checkpoint_every = 5_000
    config.penalties.r1 = 0.1
    config.model.name = "mlp"
    config.model.generator = {"features": (128, 128, 128), "norm": "none"}
    config.model.discriminator = {"features": (128, 128, 128)}
    config.optimizer.generator.learning_rate = 1e-3
    config.optimizer.discriminator.learning_rate = 1e-3
    return config
