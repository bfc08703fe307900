"""Unrolled GAN (Metz et al., ICLR 2017, https://arxiv.org/abs/1611.02163) on eight Gaussians.

    python train.py --config configs/unrolled_ring.py
    python train.py --config configs/unrolled_ring.py --workdir runs/plain --config.unrolled_steps=0

The authors' notebook: tanh networks of two hidden layers of 128, orthogonal weights of gain 1.4,
latents of 256 dimensions, batches of 512, Adam with b1 = 0.5, the minimax loss, and a generator
that looks five updates of the discriminator ahead. Both learning rates are 1e-3, the notebook's for
the generator; with its 1e-4 for the discriminator points were still scattered after its 25,000
steps. The ring is PacGAN's, with all eight modes (the notebook's has seven, one twice).

Expected: three minutes on two CPU cores, beside other work; all eight modes, 85.0 ± 0.5 % of
points within three standard deviations of one, reverse KL 0.003. At these rates the plain GAN of
the second command does as well (86.1 ± 1.3 %, 0.003) in half a minute (three seeds on a GPU,
RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "ring"
    config.algorithm = "unrolled"
    config.unrolled_steps = 5
    config.loss = "minimax"
    config.steps = 5_000
    config.batch_size = 512
    config.z_dim = 256
    config.steps_per_call = 250
    config.model.name = "mlp"
    network = {"norm": "none", "activation": "tanh", "initial": "orthogonal", "gain": 1.4}
    config.model.generator = {"features": (128, 128), **network}
    config.model.discriminator = {"features": (128, 128), **network}
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = 1e-3
    config.optimizer.discriminator.arguments.eps_root = 1e-16
    config.ema.halflife_kimg = 0.0
    config.log_every = 500
    config.sample_every = 1_000
    config.checkpoint_every = 5_000
    return config
