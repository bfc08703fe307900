# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # jaxgan: the latents of a trained GAN
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxgan/jaxgan/blob/main/notebooks/latent_space.ipynb)
#
# A conditional GAN on 10,000 images of clothes, and what its latents are good for: ways between
# images, the latents of a given image, directions along which clothes change. After training, which
# takes as long as in `quickstart`, some two minutes on two CPU cores.

# %%
# On Colab: get jaxgan and what it needs. The runtime's own jax is pinned, since it is the one that
# knows this runtime's accelerator.
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = "https://github.com/jaxgan/jaxgan.git"

if importlib.util.find_spec("google") and importlib.util.find_spec("google.colab"):
    if not Path("train.py").exists():
        if not Path("jaxgan/train.py").exists():
            subprocess.run(["git", "clone", "--depth=1", REPOSITORY, "jaxgan"], check=True)
        os.chdir("jaxgan")
    versions = {d.name or "": d.version for d in importlib.metadata.distributions()}
    own = re.compile(r"jax|jaxlib|jax[-_]cuda.*|libtpu")
    pins = [f"{name}=={version}\n" for name, version in versions.items() if own.fullmatch(name)]
    Path("/tmp/pins.txt").write_text("".join(pins))
    print("kept as they are:", *map(str.strip, pins))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "-c", "/tmp/pins.txt", "-e", "."]
    if subprocess.run(pip).returncode:
        raise SystemExit(
            "pip found no versions that go with this runtime's jax (jaxgan: 0.10, 0.11)"
        )
elif not Path("train.py").exists():
    os.chdir("..")  # from notebooks/ to the project's root
sys.path.insert(0, os.getcwd())

# %%
import jax
import numpy as np
from IPython.display import Image, display

import jaxgan
from jaxgan import config, loop
from jaxgan.cli.main import main as command

changes = os.environ.get("JAXGAN_CHANGES", "").split()
print(jax.__version__, jax.devices())


def draw(verb, out, *flags):
    """What `python -m jaxgan VERB --workdir runs/latent_space --out OUT ...` draws."""
    if command([verb, "--workdir", "runs/latent_space", "--out", out, *flags]) == 0:
        display(Image(out, width=700))


# %% [markdown]
# ## A trained generator
#
# Where `quickstart` has trained one, put `runs/quickstart` in place of this folder.

# %%
loop.train(config.load("configs/cgan.py", changes), Path("runs/latent_space"))

# %% [markdown]
# In Python it is a function of latents and labels.

# %%
model = jaxgan.load("runs/latent_space")
z = np.random.default_rng(0).standard_normal((1, model.config.z_dim), np.float32)
images = model.generate(np.repeat(z, 10, 0), np.arange(10))  # one latent, all classes
print(model.class_names, images.shape, images.min(), images.max())

# %% [markdown]
# ## Ways
#
# From latents to latents, along their sphere: no picture on the way is a mixture of two.

# %%
draw("interpolate", "ways.png", "--rows", "5", "--frames", "12")

# %% [markdown]
# From class to class with the same latents, as a moving picture.

# %%
draw("interpolate", "classes.gif", "--to", "0", "--labels", "Sneaker,Ankle boot,Bag", "--rows", "4")

# %% [markdown]
# ## Has it learnt the training images by heart?
#
# Samples at the left, each with its nearest training images.

# %%
draw("neighbours", "neighbours.png", "--num", "6")

# %% [markdown]
# ## The latents of given images
#
# Four images that training has not seen, and the search for latents that draw them. What cannot be
# drawn is what the generator does not know.

# %%
steps = os.environ.get("JAXGAN_SEARCH_STEPS", "500")
draw("invert", "found.png", "--num", "4", "--split", "test", "--steps", steps)

# %% [markdown]
# ## Directions
#
# The directions in which bags change most (SeFa), and the found images moved along the second. Far
# from where training has drawn latents, and in other classes, pictures fall apart.

# %%
draw("directions", "directions.png", "--labels", "Bag", "--rows", "4")

# %%
draw(
    "edit",
    "moved.png",
    "--latents",
    "found.npz",
    "--directions",
    "directions.npz",
    "--direction",
    "1",
)
