"""The variational autoencoder (Kingma and Welling, ICLR 2014, https://arxiv.org/abs/1312.6114).

python train.py --config configs/vae.py
"""

from configs import default


def get_config():
    config = default.get_config()
    config.algorithm = "vae"
    config.steps = 20_000
    config.batch_size = 100
    config.z_dim = 50
    config.model.name = "mlp"
    config.model.generator = {"features": (500, 500), "norm": "none", "activation": "tanh"}
    config.model.encoder = {"features": (500, 500), "activation": "tanh"}
    config.optimizer.generator.learning_rate = 1e-3
    config.optimizer.generator.b1 = 0.9
    config.ema.halflife_kimg = 0.0
    config.evaluation.metrics = "elbo"
    config.best_metric = "elbo"
    return config
