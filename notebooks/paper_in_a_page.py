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
# # jaxgan: a paper in a page
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxgan/jaxgan/blob/main/notebooks/paper_in_a_page.ipynb)
#
# A new loss and a new generator, written here in the notebook and trained by the whole loop: with
# checkpoints, metrics and pictures, beside what they are to beat. The loss is the dual contrastive one
# of [Yu et al. 2021](https://arxiv.org/abs/2103.09742), which jaxgan does not have. Some three minutes
# on two CPU cores.

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
import jax.numpy as jnp
import matplotlib.pyplot as plt
from IPython.display import Image, display

import jaxgan.models
from jaxgan import config, loop, losses, writer

changes = os.environ.get("JAXGAN_CHANGES", "").split()
print(jax.__version__, jax.devices())

# %% [markdown]
# ## The loss
#
# The discriminator tells a real image from all fake ones of the minibatch, and a fake one from all
# real ones (the paper's equations 2 and 3), with $D$ the logits:
#
# $$L_{real} = E_x \log\Big(1 + \sum_z e^{D(G(z)) - D(x)}\Big), \qquad
# L_{fake} = E_z \log\Big(1 + \sum_x e^{D(G(z)) - D(x)}\Big)$$
#
# It minimises their sum, the generator maximises it. A loss in jaxgan is a pair of functions of
# logits, an image's beside an image's; one line of `LOSSES` gives it a name.


# %%
def dual_contrastive(real, fake):
    apart = fake[:, None] - real[None, :]
    one = jnp.zeros((len(real), 1))
    of_real = jax.nn.logsumexp(jnp.concatenate([one, apart.T], 1), 1)
    of_fake = jax.nn.logsumexp(jnp.concatenate([one, apart], 1), 1)
    return of_real + of_fake


losses.LOSSES["dual_contrastive"] = losses.Loss(
    discriminator=dual_contrastive,
    generator=lambda fake, real: -dual_contrastive(real, fake),
    boundary=None,  # only differences of logits mean something
    uses_real=True,
    couples=True,  # an image's loss depends on the others of its minibatch
)

# %% [markdown]
# By hand, for two real and two fake images:

# %%
real, fake = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0])
first = jnp.log(1 + jnp.exp(0.5 - 1.0) + jnp.exp(-1.0 - 1.0))
second = jnp.log(1 + jnp.exp(0.5 - 1.0) + jnp.exp(0.5 - 2.0))
print(dual_contrastive(real, fake)[0], first + second)

# %% [markdown]
# ## The generator
#
# A model is a module with a `Generator` and a `Discriminator` of Flax. This generator makes its
# images larger by copying pixels and convolving, where DCGAN's has transposed convolutions; the
# discriminator is DCGAN's. A folder of such files is added to where jaxgan looks for models.

# %%
Path("mine").mkdir(exist_ok=True)
Path(
    "mine/nearest.py"
).write_text('''"""DCGAN's sizes, by nearest neighbours and convolutions (Odena et al. 2016)."""

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.models.conditions import LabelledLatent
from jaxgan.models.dcgan import Discriminator  # noqa: F401  # the other player
from jaxgan.models.layers import Conv, Dense


class Generator(nn.Module):
    image_shape: tuple[int, ...]
    num_classes: int = 0
    width: int = 32

    @nn.compact
    def __call__(self, z, labels, train):
        h, w, c = self.image_shape
        x = Dense(h // 4 * (w // 4) * 2 * self.width)(LabelledLatent(self.num_classes, 16)(z, labels))
        x = x.reshape(-1, h // 4, w // 4, 2 * self.width)
        for width in (self.width, self.width // 2):
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
            x = Conv(width, 3)(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
        return jnp.tanh(Conv(c, 3)(nn.relu(x)))
''')
jaxgan.models.__path__.append(os.path.abspath("mine"))

# %% [markdown]
# ## The experiment
#
# Both losses, both generators, the same steps and images, narrow networks; the distance is measured
# every 200 steps. All have an R1 penalty, as in the paper.

# %%
shared = ["steps=800", "evaluate_every=200", "evaluation.metrics=frechet", "best_metric=frechet"]
shared += ["model.generator={'width': 16}", "model.discriminator.width=16", "penalties.r1=0.1"]
tries = {
    "DCGAN, non-saturating": [],
    "DCGAN, dual contrastive": ["loss=dual_contrastive"],
    "nearest, non-saturating": ["model.name=nearest"],
    "nearest, dual contrastive": ["model.name=nearest", "loss=dual_contrastive"],
}
runs = {}
for title, own in tries.items():
    settings = config.load("configs/dcgan.py", [*shared, *own, *changes])
    runs[title] = Path("runs/paper") / re.sub(r"\W+", "_", title)
    loop.train(settings, runs[title])

# %%
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
for title, run in runs.items():
    found = [line for line in writer.read_metrics(run) if line.get("frechet") is not None]
    axes.plot(
        [line["step"] for line in found], [line["frechet"] for line in found], "o-", label=title
    )
    print(f"{title:<28} Fréchet distance {found[-1]['frechet']:.1f}")
axes.set(xlabel="step", ylabel="Fréchet distance", yscale="log")
axes.legend()
plt.show()

# %% [markdown]
# In our run the new loss did not win: Fréchet distances of 708 (DCGAN) and 209 (nearest) beside 180
# and 181 of the non-saturating one. That is a result, too, of narrow networks, few steps and one
# seed: `seeds=3` in `shared` trains three of each in one program, and draws bands.

# %%
best = min(runs, key=lambda title: writer.read_metrics(runs[title])[-1]["frechet"])
display(best, Image(str(max((runs[best] / "samples").glob("*.png")))))
