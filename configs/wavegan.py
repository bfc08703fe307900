"""WaveGAN (Donahue et al., ICLR 2019, https://arxiv.org/abs/1802.04208): sounds by their samples.

    python -m jaxgan prepare --source WAVS --out digits --sound 8000 --image_size 64 --waves
    python train.py --config configs/wavegan.py --config.data.path=digits
    python -m jaxgan sample --workdir runs/wavegan --num 100 --out sounds

The paper's settings: WGAN-GP with five critic updates a step, Adam at 1e-4 with b1 = 0.5 and
b2 = 0.9, batches of 64, uniform latents; at a quarter of the paper's width and, as prepared above,
with 4,096 samples, half a second, in place of its 16,384. Folders of WAVS are classes, which
`--config.conditional=True` gives to both networks.

Expected: not trained to its end yet; a step is 86 GFLOP, 1.9 seconds on one CPU core. With one
update of the discriminator and batches of 32 (RESULTS.md, "Sound") half of the digits of one run
are right after 4,000 steps, 17 minutes; spectrograms on cgan.py are nearly all right in as long.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "folder"
    config.steps = 4_000
    config.latent = "uniform"
    config.loss = "wasserstein"
    config.penalties.wgan_gp = 10.0
    config.n_critic = 5
    config.model.name = "wavegan"
    for network in (config.model.generator, config.model.discriminator):
        network.width = 16
    for player in ("generator", "discriminator"):
        config.optimizer[player].learning_rate = 1e-4
        config.optimizer[player].b1 = 0.5
        config.optimizer[player].b2 = 0.9
    return config
