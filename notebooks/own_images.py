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
# # jaxgan: your own images
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxgan/jaxgan/blob/main/notebooks/own_images.ipynb)
#
# From a folder of pictures to a trained generator that others can use: prepare, train with ADA (which
# small sets need), look, export. As an example it draws 2,000 pictures itself, of two kinds; put your
# own folder in their place.

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
from PIL import Image as Picture
from PIL import ImageDraw

import jaxgan
from jaxgan import config, loop, writer
from jaxgan.cli.main import main as command

changes = os.environ.get("JAXGAN_CHANGES", "").split()
print(jax.__version__, jax.devices())

# %% [markdown]
# ## A folder
#
# A folder in `pictures` is a class. Here they are suns and houses.

# %%
pictures = Path("pictures")
count = int(os.environ.get("JAXGAN_PICTURES", "1000"))
rng = np.random.default_rng(0)


def sun(draw, size):
    x, y = rng.uniform(0.3, 0.7, 2) * size
    radius = rng.uniform(0.12, 0.25) * size
    for angle in np.linspace(0, 2 * np.pi, rng.integers(8, 14), endpoint=False):
        end = x + 1.7 * radius * np.cos(angle), y + 1.7 * radius * np.sin(angle)
        draw.line([(x, y), end], fill=(250, 200, 60), width=3)
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(245, 170, 30))


def house(draw, size):
    w, h = rng.uniform(0.35, 0.6, 2) * size
    x, y = rng.uniform(0.1, 0.35) * size, rng.uniform(0.85, 0.95) * size
    wall, roof = (tuple(int(c) for c in rng.integers(60, 220, 3)) for _ in range(2))
    draw.rectangle([x, y - h, x + w, y], fill=wall)
    draw.polygon([(x - 4, y - h), (x + w + 4, y - h), (x + w / 2, y - 1.5 * h)], fill=roof)
    draw.rectangle([x + 0.4 * w, y - 0.5 * h, x + 0.6 * w, y], fill=(70, 50, 40))


if not pictures.exists():
    for kind in (sun, house):
        (pictures / kind.__name__).mkdir(parents=True)
        for n in range(count):
            sky = tuple(int(c) for c in rng.integers((130, 180, 220), (200, 220, 255)))
            image = Picture.new("RGB", (96, 96), sky)
            kind(ImageDraw.Draw(image), 96)
            image.save(pictures / kind.__name__ / f"{n}.png")

# %% [markdown]
# ## Prepare
#
# Cropped, resized with an antialiasing filter, checked: look at what will be trained on.

# %%
if not Path("prepared").exists():
    command(["prepare", "--source", "pictures", "--out", "prepared", "--image_size", "32"])
display(Image("prepared/contact_sheet.png"))

# %% [markdown]
# ## Train
#
# With labels and ADA, which augments what the discriminator sees as much as it must, so that it
# does not learn a small set by heart. For pictures without classes leave out `conditional`.

# %%
own = ["data.name=folder", "data.path=prepared", "conditional=True", "data.flip=True"]
ada = ["augment.policy=ada_bgc", "augment.target=0.6", "augment.kimg=50"]
small = ["steps=1500", "model.generator.width=32", "model.discriminator.width=32"]
settings = config.load("configs/dcgan.py", [*small, *own, *ada, *changes])
loop.train(settings, Path("runs/own_images"))
display(Image(str(max(Path("runs/own_images/samples").glob("*.png")))))

# %% [markdown]
# ## Is it well?
#
# How strong the augmentation has become, and how varied the pictures are beside the real ones.

# %%
last = writer.read_metrics(Path("runs/own_images"))[-1]
print({name: last[name] for name in ("augment_p", "real_diversity", "fake_diversity")})
samples = os.environ.get("JAXGAN_SAMPLES", "1000")
measured = "sliced_wasserstein,prdc"
command(["evaluate", "--workdir", "runs/own_images", "--samples", samples, "--metrics", measured])

# %% [markdown]
# ## Give it to others
#
# The folder `mine` can be uploaded to the Hugging Face Hub as it is; `jaxgan.load` reads it from
# there, or from here.

# %%
if not Path("mine").exists():
    command(["export", "--workdir", "runs/own_images", "--format", "safetensors", "--out", "mine"])
images = jaxgan.load("mine").sample(seed=1, n=16, labels=["house", "sun"])
print(images.shape, images.dtype)
writer.write_png(Path("drawn.png"), writer.grid(images, 8))
display(Image("drawn.png", width=600))
