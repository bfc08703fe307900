"""PacGAN (Lin et al., NeurIPS 2018, https://arxiv.org/abs/1712.04086) on eight Gaussians.

    python train.py --config configs/pacgan_ring.py
    python train.py --config configs/pacgan_ring.py --workdir runs/pacgan_1 --config.pack=1 \
      --config.batch_size=100

The discriminator judges pairs of points. The paper's networks (four hidden layers of 400 with
BatchNorm; three maxout layers of 200 units of five pieces), weights of N(0, 0.02^2), batches of 100
packs, simultaneous updates, Adam at 1e-4 with b1 = 0.8; 20,000 steps of its 400,000.

Expected: four minutes on two CPU cores; all eight modes, 84.5 ± 5.6 % of points within three
standard deviations of one, reverse KL 0.13 ± 0.07 (three seeds on a GPU, RESULTS.md; the paper,
at 400,000 steps: 7.9 modes, 95.6 %, 0.07).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "ring"
    config.pack = 2
    config.batch_size = 200  # points: 100 packs
    config.z_dim = 2
    config.steps = 20_000
    config.updates = "simultaneous"
    config.steps_per_call = 250
    config.model.name = "mlp"
    config.model.generator = {
        "features": (400, 400, 400, 400),
        "norm": "batch",
        "initial": "normal",
    }
    config.model.discriminator = {
        "features": (200, 200, 200),
        "activation": "maxout",
        "pieces": 5,
        "initial": "normal",
    }
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = 1e-4
        config.optimizer[player].b1 = 0.8
    config.ema.halflife_kimg = 0.0
    config.log_every = 500
    config.sample_every = 2_000
    config.checkpoint_every = 5_000
    return config
