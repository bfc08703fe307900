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
# # jaxgan: why GANs need regularisation
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxgan/jaxgan/blob/main/notebooks/convergence.ipynb)
#
# Two small games in which one sees what training does: the Dirac-GAN, which has one number for each
# player, and eight points in the plane. With the losses, penalties and updates that train images,
# in some two minutes on two CPU cores.

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
import matplotlib.pyplot as plt
from IPython.display import Image, display
from matplotlib.animation import FuncAnimation, PillowWriter

from jaxgan import config, loop, writer
from jaxgan.reproductions import dirac

changes = os.environ.get("JAXGAN_CHANGES", "").split()
print(jax.__version__, jax.devices())

# %% [markdown]
# ## One number for each player
#
# All real data are the point 0. The generator is one point $\theta$, the discriminator
# $D(x) = \psi x$ a line through 0 ([Mescheder et al. 2018](https://arxiv.org/abs/1801.04406)).
# The only equilibrium is $(0, 0)$: the generated point is where the real ones are, and no slope
# tells them apart. Both players descend at once, from $(1, 1)$.

# %%
names = ["NSGAN", "WGAN, no clip", "WGAN-GP, 0.7", "GP, gamma 1"]
paths = {name: dirac.trajectory(dirac.METHODS[name], updates=0, seed=0) for name in names}

figure, panels = plt.subplots(1, len(names), figsize=(3 * len(names), 3.2), layout="constrained")
lines = []
for axes, name in zip(panels, names):
    axes.plot(0, 0, "k+", markersize=10)
    axes.set(title=name, xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), xlabel=r"$\theta$", ylabel=r"$\psi$")
    axes.set_aspect("equal")
    lines.append(axes.plot([], [], linewidth=0.8)[0])


def show(step):
    for line, name in zip(lines, names):
        line.set_data(*paths[name][: step + 1].T)


FuncAnimation(figure, show, range(0, 501, 20)).save("dirac.gif", PillowWriter(fps=8))
plt.close(figure)
display(Image("dirac.gif"))

# %% [markdown]
# Without a penalty the players run after each other, and outwards. The one-centred gradient penalty
# of WGAN-GP keeps the slope near 1, which is not where the equilibrium is: they circle for ever. A
# gradient penalty that is centred at 0 (R1, $\gamma / 2\, \psi^2$ here) draws them in.
#
# How fast, the eigenvalues of the linearised step tell: what they multiply a small distance by is
# what is measured.

# %%
for name in ["GP, gamma 0.3", "GP, gamma 1"]:
    for updates in (0, 1):
        method = dirac.METHODS[name]
        measured = dirac.measured_rate(dirac.trajectory(method, updates, seed=0))
        predicted = dirac.predicted_rate(method, updates)
        told = f"{name}, {'alternating' if updates else 'simultaneous'}"
        print(f"{told:<30} measured {measured:.4f}  predicted {predicted:.4f}")

# %% [markdown]
# ## Eight points in the plane
#
# The same on a ring of eight Gaussians, with networks of three layers, again both players at once:
# two losses without a penalty, then with R1, and R3GAN's relativistic loss with R1 and R2. Grey are
# real points, coloured generated ones.

# %%
games = {
    "Wasserstein": ["loss=wasserstein", "penalties.r1=0.0"],
    "non-saturating": ["penalties.r1=0.0"],
    "non-saturating, R1": [],
    "relativistic, R1 and R2": ["loss=relativistic_paired", "penalties.r2=0.1"],
}
shared = ["updates=simultaneous", "steps=5000", "sample_every=250"]
runs = {}
for title, own in games.items():
    settings = config.load("configs/ring.py", [*shared, *own, *changes])
    runs[title] = Path("runs/convergence") / re.sub(r"\W+", "_", title)
    loop.train(settings, runs[title])

# %%
frames = [sorted((run / "samples").glob("*.png")) for run in runs.values()]
figure, panels = plt.subplots(1, len(runs), figsize=(3.6 * len(runs), 3.9), layout="constrained")
shown = [axes.imshow(plt.imread(paths[0])) for axes, paths in zip(panels, frames)]
for axes, title in zip(panels, runs):
    axes.set_title(title)
    axes.axis("off")


def show(n):
    for picture, paths in zip(shown, frames):
        picture.set_data(plt.imread(paths[n]))


FuncAnimation(figure, show, len(frames[0])).save("ring.gif", PillowWriter(fps=4))
plt.close(figure)
display(Image("ring.gif"))

# %% [markdown]
# Without a penalty Wasserstein's critic has no bound, and the generated points chase a slope that
# only grows, as on the line above; the non-saturating loss loses a mode, if it gets there. With R1
# all eight stay. (When the players take turns, `updates=alternating`, these small networks get
# there without a penalty, too: a penalty helps, and is not all that does.)
#
# ## In numbers
#
# The norm of the discriminator's gradient: with a penalty the game comes to rest.

# %%
figure, axes = plt.subplots(figsize=(9, 3.5), layout="constrained")
for title, run in runs.items():
    lines = writer.read_metrics(run)
    norms = [line["d_gradient_norm"] for line in lines]
    axes.semilogy([line["step"] for line in lines], norms, label=title)
axes.set(xlabel="step", ylabel="norm of the discriminator's gradient")
figure.legend(loc="outside right center")
plt.show()
