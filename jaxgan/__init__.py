"""jaxgan: a small JAX library for training and studying generative adversarial networks."""

__version__ = "0.1.0"


def load(path, step=None, member=0, revision=None):
    """A trained generator to draw from, of a run's folder, an exported one, or a repository
    "owner/name" of the Hugging Face Hub: see jaxgan.pretrained.

        model = jaxgan.load("runs/cgan")
        images = model.sample(seed=0, n=64)  # uint8 n h w c

    `step` and `member` are of a run, `revision` of a repository. Raises jaxgan.errors.UserError.
    """
    from jaxgan import pretrained  # here: it imports JAX

    return pretrained.load(path, step, member, revision)
