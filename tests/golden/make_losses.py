"""Writes losses.json: what losses and penalties are according to PyTorch, in float64.

    python tests/golden/make_losses.py

in an environment with torch; jaxgan and jax are not needed, and the tests need no torch. It is
written from the papers' formulas with torch's own losses and torch.autograd, apart from jaxgan's
code. The inputs are in the file too: logits, outputs of a classifying discriminator, and a small
game: a critic, convolution -> tanh -> linear, NHWC and HWIO as in jaxgan, and a generator
tanh(z W), with whatever a penalty draws.
"""

import json
import math
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import autograd

torch.set_default_dtype(torch.float64)
HERE = Path(__file__).parent


def waves(*shape, seed, scale=1.0, centre=0.0):
    """Numbers of three decimals that look like any others."""
    n = math.prod(shape)
    flat = [round(centre + scale * math.sin(seed + 1.7 * i + 0.3 * i * i), 3) for i in range(n)]
    return torch.tensor(flat).reshape(shape)


def plain(value):
    """Tensors as lists with 12 digits."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    return float(f"{value:.12g}") if isinstance(value, float) else value


def leaves(tree):
    for value in tree.values():
        yield from leaves(value) if isinstance(value, dict) else [value]


def like(tree, values):
    """`values`, an iterator, in the place of the leaves of `tree`."""
    return {k: like(v, values) if isinstance(v, dict) else next(values) for k, v in tree.items()}


def learnt(tree):
    return like(tree, (leaf.clone().requires_grad_() for leaf in leaves(tree)))


def gradients(value, tree):
    got = autograd.grad(value, list(leaves(tree)), allow_unused=True)
    none = lambda leaf, by: torch.zeros_like(leaf) if by is None else by  # noqa: E731
    return like(tree, (none(leaf, by) for leaf, by in zip(leaves(tree), got, strict=True)))


# --------------------------------------------------------------------------------------------------
# Adversarial losses, each (logits of real, of fake images) -> one number an image

LOGITS = {
    "real": torch.tensor([-3.0, -0.5, 0.0, 0.7, 2.5]),
    "fake": torch.tensor([1.5, -2.0, 0.3, -0.1, 4.0]),
}
SMOOTHING = 0.1


def bce(logits, target):
    """The cross-entropy with a Bernoulli variable of mean `target`."""
    return F.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, target), reduction="none"
    )


def squares(logits, target):
    return F.mse_loss(logits, torch.full_like(logits, target), reduction="none")


def hinge(margin):
    """max(0, 1 - margin)."""
    return F.hinge_embedding_loss(margin, torch.full_like(margin, -1), margin=1, reduction="none")


LOSSES = {  # the discriminator's, the generator's
    "minimax": (lambda r, f: bce(r, 1) + bce(f, 0), lambda r, f: -bce(f, 0)),
    "nonsaturating": (lambda r, f: bce(r, 1) + bce(f, 0), lambda r, f: bce(f, 1)),
    "least_squares": (
        lambda r, f: (squares(r, 1) + squares(f, 0)) / 2,
        lambda r, f: squares(f, 1) / 2,
    ),
    "wasserstein": (lambda r, f: -(r - f), lambda r, f: -f),
    "hinge": (lambda r, f: hinge(r) + hinge(-f), lambda r, f: -f),
    "relativistic_paired": (lambda r, f: bce(r - f, 1), lambda r, f: bce(f - r, 1)),
    "relativistic_average": (
        lambda r, f: bce(r - f.mean(), 1) + bce(f - r.mean(), 0),
        lambda r, f: bce(f - r.mean(), 1) + bce(r - f.mean(), 0),
    ),
}
SMOOTHED = {
    "minimax": lambda r, f: bce(r, 1 - SMOOTHING) + bce(f, 0),
    "nonsaturating": lambda r, f: bce(r, 1 - SMOOTHING) + bce(f, 0),
    "least_squares": lambda r, f: (squares(r, 1 - SMOOTHING) + squares(f, 0)) / 2,
}


def judged(loss):
    logits = learnt(LOGITS)
    values = loss(logits["real"], logits["fake"])
    return {"values": values, "by": gradients(values.mean(), logits)}


def adversarial():
    return {
        "logits": LOGITS,
        "losses": {
            name: {"discriminator": judged(d), "generator": judged(g)}
            for name, (d, g) in LOSSES.items()
        },
        "smoothing": SMOOTHING,
        "smoothed": {name: judged(d) for name, d in SMOOTHED.items()},
    }


# --------------------------------------------------------------------------------------------------
# Losses of classes. Of four classes one is in the minibatch twice, one three times, one not at all.

LABELS = [2, 0, 2, 3, 2, 0]
TEMPERATURE, MARGIN = 0.5, 0.98


def outputs(seed):
    b = len(LABELS)
    direction = lambda *shape, seed: F.normalize(waves(*shape, seed=seed), dim=-1)  # noqa: E731
    proxies = direction(4, 3, seed=seed + 3)
    embedding = direction(b, 3, seed=seed + 4)
    embedding[1] = proxies[LABELS[1]]  # nearer to its proxy than the margin
    return {
        "classes": waves(b, 4, seed=seed, scale=2),
        "twin": waves(b, 4, seed=seed + 1, scale=2),
        "embedding": (1000 * embedding).round() / 1000,
        "proxy": (1000 * proxies[LABELS]).round() / 1000,
    }


def labelled(logits):
    return F.cross_entropy(logits, torch.tensor(LABELS), reduction="none")


def contragan(o):
    # Kang and Park 2020, equation 8, term by term
    losses = []
    for i, y in enumerate(LABELS):
        to_proxy = torch.exp(o["embedding"][i] @ o["proxy"][i] / TEMPERATURE)
        numerator, denominator = to_proxy, to_proxy
        for k, other in enumerate(LABELS):
            if k != i:
                to_other = torch.exp(o["embedding"][i] @ o["embedding"][k] / TEMPERATURE)
                denominator = denominator + to_other
                if other == y:
                    numerator = numerator + to_other
        losses.append(-torch.log(numerator / denominator))
    return torch.stack(losses)


def reacgan(o):
    # Kang et al. 2021, D2D-CE with margins m_p and m_n = 1 - m_p, term by term
    m_p, m_n = MARGIN, 1 - MARGIN
    losses = []
    for i, y in enumerate(LABELS):
        hard = torch.clamp(o["embedding"][i] @ o["proxy"][i] - m_p, max=0)
        numerator = torch.exp(hard / TEMPERATURE)
        denominator = numerator
        for j, other in enumerate(LABELS):
            if other != y:
                hard = torch.clamp(o["embedding"][i] @ o["embedding"][j] - m_n, min=0)
                denominator = denominator + torch.exp(hard / TEMPERATURE)
        losses.append(-torch.log(numerator / denominator))
    return torch.stack(losses)


CLASS_LOSSES = {  # the discriminator's of real and fake outputs, the generator's of fake ones
    "acgan": (
        lambda r, f: labelled(r["classes"]) + labelled(f["classes"]),
        lambda f: labelled(f["classes"]),
    ),
    "tacgan": (
        lambda r, f: labelled(r["classes"]) + labelled(f["twin"]),
        lambda f: labelled(f["classes"]) - labelled(f["twin"]),
    ),
    "contragan": (lambda r, f: contragan(r), contragan),
    "reacgan": (lambda r, f: reacgan(r), reacgan),
}
USED = {"acgan": (), "tacgan": (), "contragan": ("temperature",)}
USED["reacgan"] = ("temperature", "margin")


def of_classes():
    seen = {"real": outputs(0.1), "fake": outputs(0.6)}
    # Both sides of both margins occur, or clamping would go untested.
    for o in seen.values():
        near = (o["embedding"] * o["proxy"]).sum(1) > MARGIN
        apart = [a != b for a in LABELS for b in LABELS]
        close = (o["embedding"] @ o["embedding"].T).flatten()[apart] > 1 - MARGIN
        assert near.any() and not near.all() and close.any() and not close.all()
    settings = {"temperature": TEMPERATURE, "margin": MARGIN}
    losses = {}
    for name, (discriminator, generator) in CLASS_LOSSES.items():
        losses[name] = {"settings": {key: settings[key] for key in USED[name]}}
        for player, loss in (
            ("discriminator", lambda o, loss=discriminator: loss(o["real"], o["fake"])),
            ("generator", lambda o, loss=generator: loss(o["fake"])),
        ):
            o = learnt(seen)
            values = loss(o)
            by = gradients(values.mean(), o)
            by = {  # without what it does not look at
                side: {key: by[side][key] for key in by[side] if by[side][key].abs().max() > 0}
                for side in by
            }
            losses[name][player] = {"values": values, "by": by}
    return {"labels": LABELS, "outputs": seen, "losses": losses}


# --------------------------------------------------------------------------------------------------
# Penalties

GAME = {
    "critic": {
        "conv": {"kernel": waves(2, 2, 2, 3, seed=0.2), "bias": waves(3, seed=1.1, scale=0.5)},
        "dense": {"kernel": waves(12, 1, seed=2.3), "bias": waves(1, seed=0.5)},
    },
    "generator": {"kernel": waves(2, 18, seed=3.1)},
    "real": waves(3, 3, 3, 2, seed=0.9),
    "z": waves(3, 2, seed=4.2, scale=1.5),
    "share": torch.tensor([0.125, 0.5, 0.875]),  # of a line from one image to another
    "noise": waves(3, 3, 3, 2, seed=5.3, scale=0.5, centre=0.5),  # uniform
    "nearby": waves(3, 2, seed=6.4, scale=1.5),  # normal
    "anchors": {"real": 0.4, "fake": -0.3},
}


def critic(p, x):
    kernel = p["conv"]["kernel"].permute(3, 2, 0, 1)
    y = torch.tanh(F.conv2d(x.permute(0, 3, 1, 2), kernel, p["conv"]["bias"]))
    features = y.permute(0, 2, 3, 1).flatten(1)
    return F.linear(features, p["dense"]["kernel"].T, p["dense"]["bias"]).squeeze(1)


def generate(p, z):
    return torch.tanh(z @ p["kernel"]).reshape(len(z), 3, 3, 2)


def norms(p, x):
    """||grad_x D(x)|| of each image."""
    x = x.detach().requires_grad_()
    (gradient,) = autograd.grad(critic(p, x).sum(), x, create_graph=True)
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


def lines(a, b):
    share = GAME["share"].view(-1, 1, 1, 1)
    return (1 - share) * a + share * b


def dragan(p, real, scale):
    moved = real + scale * real.std(correction=0) * GAME["noise"]
    return ((norms(p, lines(real, moved)) - 1) ** 2).mean()


def cr(p, x):
    return F.mse_loss(critic(p, x), critic(p, x.flip(2)))


def zcr(p, fake, sigma):
    near = generate(GAME["generator"], GAME["z"] + sigma * GAME["nearby"])
    return F.mse_loss(critic(p, fake), critic(p, near))


def lecam(p, real, fake):
    a = GAME["anchors"]
    return squares(critic(p, real), a["fake"]).mean() + squares(critic(p, fake), a["real"]).mean()


def orthogonal(kernels, strict):
    """Over pairs of output units i, j of each layer: (w_i . w_j)^2, and (w_i . w_i - 1)^2."""
    total = torch.zeros(())
    for kernel in kernels:
        units = kernel.movedim(-1, 0).flatten(1)
        for i, a in enumerate(units):
            for j, b in enumerate(units):
                if i != j:
                    total = total + (a @ b) ** 2
                elif strict:
                    total = total + (a @ a - 1) ** 2
    return total


def kernels_of(p):
    return [p["conv"]["kernel"], p["dense"]["kernel"]]


PENALTIES = [  # name, settings, value given the critic's weights, real and fake images
    ("r1", {}, lambda p, r, f: (norms(p, r) ** 2).mean() / 2),
    ("r2", {}, lambda p, r, f: (norms(p, f) ** 2).mean() / 2),
    ("zero_gp", {}, lambda p, r, f: (norms(p, lines(r, f)) ** 2).mean()),
    ("wgan_gp", {}, lambda p, r, f: ((norms(p, lines(r, f)) - 1) ** 2).mean()),
    ("wgan_gp", {"target": 2.5}, lambda p, r, f: ((norms(p, lines(r, f)) - 2.5) ** 2).mean()),
    ("dragan", {}, lambda p, r, f: dragan(p, r, 0.5)),
    ("dragan", {"scale": 2.0}, lambda p, r, f: dragan(p, r, 2.0)),
    ("lecam", {}, lambda p, r, f: lecam(p, r, f)),
    ("cr", {}, lambda p, r, f: cr(p, r)),
    ("bcr", {}, lambda p, r, f: cr(p, r) + cr(p, f)),
    ("zcr", {}, lambda p, r, f: zcr(p, f, 0.07)),
    ("zcr", {"sigma": 0.5}, lambda p, r, f: zcr(p, f, 0.5)),
    ("orthogonal", {}, lambda p, r, f: orthogonal(kernels_of(p), False)),
    ("orthogonal", {"strict": True}, lambda p, r, f: orthogonal(kernels_of(p), True)),
]


def diversity(p, sigma):
    return -F.mse_loss(generate(p, GAME["z"]), generate(p, GAME["z"] + sigma * GAME["nearby"]))


GENERATOR_PENALTIES = [
    ("zcr", {}, lambda p: diversity(p, 0.07)),
    ("zcr", {"sigma": 0.5}, lambda p: diversity(p, 0.5)),
    ("orthogonal", {}, lambda p: orthogonal([p["kernel"]], False)),
]


def penalised(cases, params, *images):
    got = []
    for name, settings, penalty in cases:
        p = learnt(params)
        value = penalty(p, *images)
        by = gradients(value, p)
        got.append({"name": name, "settings": settings, "value": value, "by": by})
    return got


def penalties():
    fake = generate(GAME["generator"], GAME["z"])
    return {
        "game": GAME,
        "discriminator": penalised(PENALTIES, GAME["critic"], GAME["real"], fake),
        "generator": penalised(GENERATOR_PENALTIES, GAME["generator"]),
    }


def main():
    numbers = {
        "about": f"written by make_losses.py with torch {torch.__version__.split('+')[0]}",
        "adversarial": adversarial(),
        "classes": of_classes(),
        "penalties": penalties(),
    }
    text = json.dumps(plain(numbers), indent=1)
    # One line for each innermost list
    text = re.sub(r"\[[^][{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]).replace("[ ", "["), text)
    text = text.replace(" ]", "]")
    (HERE / "losses.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
