"""A GAN that writes arithmetic expressions (Kusner and Hernández-Lobato 2016,
https://arxiv.org/abs/1611.04051): recurrent networks and the Gumbel-softmax distribution.

    python train.py --config configs/gumbel.py
    python -m jaxgan sample --workdir runs/gumbel --num 1000 --out expressions.txt

Expected: some four minutes on one CPU core; 99 % of the samples are valid in two of three seeds,
47 % in the third, which collapsed (RESULTS.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "grammar"
    config.algorithm = "gumbel"
    config.steps = 10_000
    config.batch_size = 128
    config.z_dim = 64
    config.model.name = "lstm"
    config.text.estimator = "straight_through"
    config.text.temperature = {"kind": "exponential", "start": 2.0, "end": 0.3, "steps": 10_000}
    config.penalties.r1 = 1.0
    config.evaluation.metrics = "expressions"
    config.best_metric = "valid"
    return config
