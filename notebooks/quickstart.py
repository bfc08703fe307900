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
# # jaxgan: train a conditional GAN
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxgan/jaxgan/blob/main/notebooks/quickstart.ipynb)
#
# This notebook trains a conditional GAN on 10,000 images of clothes, shows how its pictures
# improve, measures them, and draws one class. It runs on a CPU, GPU or TPU runtime of Colab, and on your own
# machine: some five minutes on two CPU cores.

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
from IPython.display import Image, display

from jaxgan import config, loop
from jaxgan.cli.main import main as jaxgan

print(jax.__version__, jax.devices())

# %% [markdown]
# ## Train
#
# A config is a Python file; any of its keys can be changed here, as in `"steps=2000"`. The run's
# folder keeps checkpoints: after an interruption this cell goes on where it stopped. It trains in
# three legs, each of which goes on from the checkpoint of the one before.

# %%
changes = os.environ.get("JAXGAN_CHANGES", "").split()
steps = config.load("configs/cgan.py", changes).steps
workdir = Path("runs/quickstart")

for part in (0.1, 0.4, 1.0):  # three legs of one run, to look at it in between
    settings = config.load("configs/cgan.py", [*changes, f"steps={max(round(part * steps), 1)}"])
    if loop.train(settings, workdir):
        break  # the kernel was interrupted
    grid = max((workdir / "samples").glob("*.png"))
    display(f"step {int(grid.stem):,}: one row a class", Image(str(grid)))

# %% [markdown]
# ## Losses
#
# Neither loss should vanish: it is a game, and a discriminator that is always right teaches
# nothing.

# %%
display(Image(str(workdir / "curves.png"), width=800))

# %% [markdown]
# ## Measure
#
# Two thousand samples beside as many training images, by a small classifier of the data: their
# Fréchet distance, whether the pictures are of the class asked for, how varied they are. The
# numbers, with how they were measured, are added to `evaluation.json` in the run's folder.

# %%
samples = os.environ.get("JAXGAN_SAMPLES", "2000")
jaxgan(["evaluate", "--workdir", str(workdir), "--samples", samples])

# %% [markdown]
# ## Draw one class
#
# The same as `python -m jaxgan sample --workdir runs/quickstart --labels Bag --out bags.png`.

# %%
jaxgan(["sample", "--workdir", str(workdir), "--num", "36", "--labels", "Bag", "--out", "bags.png"])
display(Image("bags.png", width=360))
