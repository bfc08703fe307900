"""The features that metrics are compared with others' on."""

import numpy as np

FEW = 40


def draw():
    """float64: real and fake features n 64, and logits n 10; not Gaussian, and correlated."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(64, 64)) / 8
    real = np.maximum(random.normal(size=(500, 64)) @ mixing, 0)
    fake = np.maximum(1.1 * random.normal(size=(500, 64)) @ mixing + 0.05, 0)
    return real, fake, 2 * random.normal(size=(500, 10))
