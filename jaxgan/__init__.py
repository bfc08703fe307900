"""jaxgan: a small JAX library for training and studying generative adversarial networks."""

__version__ = "0.1.0"
