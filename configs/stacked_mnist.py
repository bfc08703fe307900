"""Unrolled GANs' networks (Metz et al., ICLR 2017) on stacked MNIST, with PacGAN's packing.

    python train.py --config configs/stacked_mnist.py

Three random digits are the colours of an image, so there are 1,000 modes. The protocol is that of
PacGAN's Table 3 (Lin et al. 2018, https://arxiv.org/abs/1712.04086): a discriminator of 1/4 of the
generator's features, batches of 128 packs, Adam at 2e-4 for the discriminator and 1e-4 for the
generator with b1 = 0.5, b2 = 0.99; two digits of each in a pack. 25,600 samples are told apart by a
classifier of digits. 20,000 steps of the paper's 500,000; `python -m jaxgan reproduce
stacked_mnist` has the table's rows.

Expected: about half an hour on two CPU cores (72 ms a step). It was not run to its end yet.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "stacked_mnist"
    config.pack = 2
    config.batch_size = 256  # images: 128 packs
    config.z_dim = 256
    config.steps = 20_000
    config.steps_per_call = 50
    config.model.name = "metz"
    config.model.discriminator.features = (2, 4, 8)
    config.optimizer.discriminator.learning_rate = 2e-4
    config.optimizer.generator.learning_rate = 1e-4
    for player in ("generator", "discriminator"):
        config.optimizer[player].b2 = 0.99
    config.ema.halflife_kimg = 0.0
    config.log_every = 500
    config.sample_every = 2_000
    config.checkpoint_every = 2_000
    config.evaluate_every = 2_000
    config.evaluation.metrics = "modes"
    config.evaluation.samples = 25_600
    config.best_metric = "reverse_kl"
    return config
