"""The Dirac-GAN (Mescheder, Geiger and Nowozin, ICML 2018, https://arxiv.org/abs/1801.04406).

Real data are the point 0, the generator is the point theta, the discriminator the slope psi of a
line: the smallest GAN that shows which training methods converge. Here the algorithm that trains
images (its losses, penalties, optimisers and updates) trains these two numbers, with the step size
and start of the paper's code: h = 0.2, (theta, psi) = (1, 1), 500 steps; both players at once, or
the generator first and then the discriminator once or five times. Beside it stands the paper's
vector field, written out by hand and iterated in float64, and the contraction of a step near the
equilibrium by the eigenvalues of the linearised field.

The paper's discriminator says how fake a point is, ours how real: psi is the negative of our slope.
Beyond its methods: R2 and zero-centred penalties on interpolates, relativistic, hinge and
least-squares losses, unrolling. Training is in float32, so where a path has no limit (the limit
cycles of WGAN-GP and hinge) or noise it agrees with the field's in its range, not point by point.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import writer
from jaxgan.algorithms import player
from jaxgan.algorithms.gan import GAN, GANState
from jaxgan.algorithms.terms import Regulariser
from jaxgan.algorithms.unrolled import UnrolledGAN
from jaxgan.algorithms.view import View
from jaxgan.losses import LOSSES
from jaxgan.penalties import PENALTIES

SUMMARY = "the Dirac-GAN: which training methods converge (Mescheder et al. 2018)"
STEP, STEPS, NOISE, SAMPLES = 0.2, 500, 0.7, 1000
SCHEDULES = {"simultaneous": 0, "alternating, 1": 1, "alternating, 5": 5}  # and updates of psi

Field = Callable[[float, float, np.random.Generator], tuple[float, float]]
Trajectory = np.ndarray  # steps + 1 points (theta, psi)


class Method(NamedTuple):
    loss: str
    penalties: tuple[tuple[str, float], ...] = ()
    clip: float = 0.0
    noise: float = 0.0
    consensus: float = 0.0
    unrolled: int = 0
    # The paper's vector field (v_theta, v_psi), and its Jacobian at (0, 0) where it has one.
    field: Field | None = None
    jacobian: tuple[tuple[float, float], tuple[float, float]] | None = None


def _f(t):
    """f'(t) of f(t) = -log(1 + e^-t)."""
    return 1 / (1 + np.exp(t))


def _damped(field: Field, gamma: float) -> Field:
    def damped(theta, psi, random):
        v_theta, v_psi = field(theta, psi, random)
        return v_theta, v_psi - gamma * psi

    return damped


def _gan(theta, psi, _):
    return -psi * _f(psi * theta), theta * _f(psi * theta)


def _nonsaturating(theta, psi, _):
    return -psi * _f(-psi * theta), theta * _f(psi * theta)


def _wgan(theta, psi, _):
    return -psi, theta


def _wgan_gp(theta, psi, _):
    return -psi, theta - 0.7 * (abs(psi) - 1) * np.sign(psi)


def _noisy(theta, psi, random):
    fake = theta + NOISE * random.normal(size=SAMPLES)
    real = NOISE * random.normal(size=SAMPLES)
    v_psi = np.mean(fake * _f(psi * fake)) - np.mean(real * _f(-psi * real))
    return np.mean(-psi * _f(psi * fake)), v_psi


def _consensus(theta, psi, _):
    # v - J^T v, the Jacobian J of v by hand: f'' = -s(t) s(-t)
    t = theta * psi
    first, second = _f(t), -_f(t) * _f(-t)
    v = np.array([-psi * first, theta * first])
    mixed = first + t * second
    jacobian = np.array([[-(psi**2) * second, -mixed], [mixed, theta**2 * second]])
    return tuple(v - jacobian.T @ v)


def _least_squares(theta, psi, _):
    return -psi * (1 + psi * theta), -psi * theta**2


def _hinge(theta, psi, _):
    return -psi, theta * (psi * theta < 1)


def _unrolled(theta, psi, _):
    # psi moves five times, each time as theta says; theta follows the gradient through all of it
    slope = 0.0  # of psi by theta
    moved = psi
    for _step in range(5):
        t = theta * moved
        slope_t = moved + theta * slope
        slope = slope + STEP * (_f(t) - theta * _f(t) * _f(-t) * slope_t)
        moved = moved + STEP * theta * _f(t)
    v_theta = -_f(theta * moved) * (moved + theta * slope)
    return v_theta, theta * _f(theta * psi)


TURN = ((0.0, -0.5), (0.5, 0.0))  # of GAN and NSGAN


def _with_damping(gamma: float):
    return (TURN[0], (0.5, -gamma))


METHODS = {
    "GAN": Method("minimax", field=_gan, jacobian=TURN),
    "NSGAN": Method("nonsaturating", field=_nonsaturating, jacobian=TURN),
    "WGAN, clip 1": Method("wasserstein", clip=1.0, field=_wgan),
    "WGAN, no clip": Method("wasserstein", field=_wgan, jacobian=((0.0, -1.0), (1.0, 0.0))),
    "WGAN-GP, 0.7": Method("wasserstein", (("wgan_gp", 0.35),), field=_wgan_gp),
    "GP, gamma 0.3": Method(
        "minimax", (("r1", 0.3),), field=_damped(_gan, 0.3), jacobian=_with_damping(0.3)
    ),
    "GP, gamma 1": Method(
        "minimax", (("r1", 1.0),), field=_damped(_gan, 1.0), jacobian=_with_damping(1.0)
    ),
    "NSGAN + GP, gamma 0.3": Method(
        "nonsaturating",
        (("r1", 0.3),),
        field=_damped(_nonsaturating, 0.3),
        jacobian=_with_damping(0.3),
    ),
    "consensus, 1": Method(
        "minimax", consensus=1.0, field=_consensus, jacobian=((-0.25, -0.5), (0.5, -0.25))
    ),
    "instance noise, 0.7": Method(
        "minimax", noise=NOISE, field=_noisy, jacobian=((0.0, -0.5), (0.5, -(NOISE**2) / 2))
    ),
    "R2, gamma 0.3": Method(
        "minimax", (("r2", 0.3),), field=_damped(_gan, 0.3), jacobian=_with_damping(0.3)
    ),
    "zero-centred GP on interpolates, 0.15": Method(
        "minimax", (("zero_gp", 0.15),), field=_damped(_gan, 0.3), jacobian=_with_damping(0.3)
    ),
    "relativistic paired": Method("relativistic_paired", field=_nonsaturating, jacobian=TURN),
    "relativistic paired + R1 + R2, 0.15": Method(
        "relativistic_paired",
        (("r1", 0.15), ("r2", 0.15)),
        field=_damped(_nonsaturating, 0.3),
        jacobian=_with_damping(0.3),
    ),
    "hinge": Method("hinge", field=_hinge, jacobian=((0.0, -1.0), (1.0, 0.0))),
    "least squares": Method("least_squares", field=_least_squares),
    "unrolled GAN, 5": Method(
        "minimax", unrolled=5, field=_unrolled, jacobian=((-0.5, -0.5), (0.5, 0.0))
    ),
}

# --------------------------------------------------------------------------------------------------
# By the algorithm that trains images


class Generator(nn.Module):
    image_shape: tuple[int, ...] = (1,)

    @nn.compact
    def __call__(self, z, labels, train):
        theta = self.param("theta", nn.initializers.ones, ())
        return jnp.full((len(z), 1), theta)


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x, labels, train):
        return -self.param("psi", nn.initializers.ones, ()) * x[:, 0]


def build(method: Method) -> GAN:
    optimizer = player.make_optimizer("sgd", STEP, 0.0, 0.0)
    clipping = player.make_optimizer("sgd", STEP, 0.0, 0.0, clip_weights=method.clip)
    return UnrolledGAN(
        generator=Generator(),
        discriminator=Discriminator(),
        generator_optimizer=lambda step: optimizer,
        discriminator_optimizer=lambda step: clipping,
        loss=LOSSES[method.loss],
        n_critic=1,
        batch_size=SAMPLES if method.noise else 1,
        z_dim=1,
        num_classes=0,
        ema_halflife=0.0,
        ema_rampup=0.0,
        penalties=tuple(Regulariser(name, PENALTIES[name], w) for name, w in method.penalties),
        view=View(noise=method.noise),
        simultaneous=True,
        unrolled_steps=method.unrolled,
    )


def trajectory(method: Method, updates: int, seed: int) -> Trajectory:
    """The points after 0 to 500 steps; `updates` of psi after one of theta, or 0: both at once."""
    gan = build(method)
    minibatch = {"image": jnp.zeros((gan.batch_size, 1))}
    batch = {"image": jnp.zeros((gan.minibatches, gan.batch_size, 1))}
    step: Callable[[GANState], GANState]
    if method.consensus:
        step = functools.partial(_consensus_step, gan, method.consensus, minibatch, updates)
    elif updates == 0:
        step = lambda state: gan.step(state, batch)[0]  # noqa: E731
    else:
        step = functools.partial(_generator_first, gan, minibatch, updates)
    point = lambda state: jnp.stack(  # noqa: E731
        [state.generator.params["theta"], state.discriminator.params["psi"]]
    )

    def scanned(state, _):
        state = step(state)
        return state, point(state)

    start = gan.init(jax.random.key(seed))
    points = jax.jit(lambda state: jax.lax.scan(scanned, state, None, STEPS)[1])(start)
    return np.concatenate([point(start)[None], points]).astype(np.float64)


def _generator_first(gan: GAN, minibatch: Any, updates: int, state: GANState) -> GANState:
    state = state.replace(generator=gan.update_generator(state, minibatch)[0])
    for _ in range(updates):  # each counts as a step, so that each draws noise of its own
        state, _ = gan.update_discriminator(state, minibatch, 0)
        state = state.replace(step=state.step + 1)
    return state


def _consensus_step(gan: GAN, weight: float, minibatch, updates: int, state: GANState) -> GANState:
    """Mescheder et al. 2017: each player also descends weight / 2 ||v||^2, v both gradients."""
    part = {**minibatch, "z": jnp.zeros((1, 1)), "key": state.key}

    def losses(generator: Any, discriminator: Any) -> tuple:
        here = state.replace(
            generator=state.generator.replace(params=generator),
            discriminator=state.discriminator.replace(params=discriminator),
        )
        opponent = here.discriminator
        g_loss = lambda params: gan.generator_loss(params, {}, here, part, opponent)[0]  # noqa: E731
        d_loss = lambda params: gan.discriminator_loss(params, {}, here, part, state.step)[0]  # noqa: E731
        return jax.grad(g_loss)(generator), jax.grad(d_loss)(discriminator)

    def energy(generator, discriminator):
        squares = map(jnp.square, jax.tree.leaves(losses(generator, discriminator)))
        return weight / 2 * sum(squares)

    def moved(state: GANState, role: int) -> player.Player:
        names = ("generator", "discriminator")
        params = [getattr(state, name).params for name in names]
        gradient = jax.tree.map(jnp.add, losses(*params)[role], jax.grad(energy, role)(*params))
        optimizer = (gan.generator_optimizer, gan.discriminator_optimizer)[role](state.step)
        return player.update(getattr(state, names[role]), optimizer, gradient, {})

    if updates == 0:
        return state.replace(generator=moved(state, 0), discriminator=moved(state, 1))
    state = state.replace(generator=moved(state, 0))
    for _ in range(updates):
        state = state.replace(discriminator=moved(state, 1))
    return state


# --------------------------------------------------------------------------------------------------
# By hand


def by_hand(method: Method, updates: int, seed: int) -> Trajectory:
    """The same by the vector field."""
    assert method.field
    random = np.random.default_rng(seed)
    theta = psi = 1.0
    points = [(theta, psi)]
    clip = lambda psi: np.clip(psi, -method.clip, method.clip) if method.clip else psi  # noqa: E731
    for _ in range(STEPS):
        v_theta, v_psi = method.field(theta, psi, random)
        theta = theta + STEP * v_theta
        if updates == 0:
            psi = clip(psi + STEP * v_psi)
        for _ in range(updates):
            psi = clip(psi + STEP * method.field(theta, psi, random)[1])
        points.append((theta, psi))
    return np.array(points)


def predicted_rate(method: Method, updates: int) -> float | None:
    """What a step multiplies a small distance to (0, 0) by: the largest absolute eigenvalue of the
    linearised step."""
    if method.jacobian is None:
        return None
    jacobian = np.array(method.jacobian)
    theta, psi = np.eye(2), np.eye(2)
    theta[0] += STEP * jacobian[0]
    psi[1] += STEP * jacobian[1]
    step = np.eye(2) + STEP * jacobian
    if updates:
        step = np.linalg.matrix_power(psi, updates) @ theta
    return float(np.abs(np.linalg.eigvals(step)).max())


def measured_rate(points: Trajectory) -> float | None:
    """The contraction of a step between radii of 1e-3 and 1e-30; None where it is not reached."""
    r = np.linalg.norm(points, axis=1)
    near = np.flatnonzero((r < 1e-3) & (r > 1e-30))
    if len(near) < 20:
        return None
    slope, _ = np.polyfit(near, np.log(r[near]), 1)
    return float(np.exp(slope))


# --------------------------------------------------------------------------------------------------
# The table and the picture


def run(out: Path, seed: int) -> tuple[list[str], dict]:
    lines = [
        f"h = {STEP}, from (1, 1), {STEPS} steps. Radius: sqrt(theta^2 + psi^2) at the end, its",
        "range over the last 100 steps, and by hand. Rate: what a step multiplies a small radius",
        "by, measured, and by the eigenvalues of the linearised field (below 1: it converges).",
    ]
    results: dict[str, Any] = {"step_size": STEP, "steps": STEPS, "seed": seed, "methods": {}}
    paths: dict[str, list[Trajectory]] = {}
    for schedule, updates in SCHEDULES.items():
        lines += [
            "",
            f"{schedule:<38} radius    range over 100 steps   by hand    rate      predicted",
        ]
        for name, method in METHODS.items():
            points = trajectory(method, updates, seed)
            paths.setdefault(name, []).append(points)
            last, hand = (
                np.linalg.norm(points, axis=1)[-100:],
                np.linalg.norm(by_hand(method, updates, seed), axis=1)[-1],
            )
            rates = [measured_rate(points), predicted_rate(method, updates)]
            shown = [f"{rate:.5f}" if rate else "-" for rate in rates]
            spread = f"{last.min():.3g} to {last.max():.3g}"
            lines.append(
                f"{name:<38} {last[-1]:<9.3g} {spread:<22} {hand:<10.3g} {shown[0]:<9} {shown[1]}"
            )
            results["methods"].setdefault(name, {})[schedule] = {
                "radius": float(last[-1]),
                "least": float(last.min()),
                "most": float(last.max()),
                "by_hand": float(hand),
                "rate": rates[0],
                "predicted_rate": rates[1],
            }
    picture = out / "portraits.png"
    _draw(picture, paths)
    return [*lines, "", f"picture: {picture}"], results


def _draw(path: Path, paths: dict[str, list[Trajectory]]) -> None:
    """Phase portraits: the field by hand as arrows, and where training went."""
    from matplotlib.figure import Figure

    columns = 5
    rows = -(-len(paths) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.3 * rows), layout="constrained")
    axis = np.linspace(-2, 2, 15)
    random = np.random.default_rng(0)
    for n, (name, trajectories) in enumerate(paths.items()):
        axes = figure.add_subplot(rows, columns, n + 1)
        field = METHODS[name].field
        assert field
        arrows = np.array([[field(theta, psi, random) for theta in axis] for psi in axis])
        axes.quiver(axis, axis, arrows[..., 0], arrows[..., 1], color="0.75", width=0.004)
        for points, label in zip(trajectories, SCHEDULES, strict=True):
            near = np.clip(points, -9, 9)
            [line] = axes.plot(*near.T, linewidth=0.8, label=label)
            axes.plot(*near[-1], "o", color=line.get_color(), markersize=4)
        axes.plot([0], [0], "k+", markersize=10)
        axes.set(title=name, xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), xlabel="θ", ylabel="ψ")
        axes.set_aspect("equal")
        if n == 0:
            axes.legend(loc="upper left", fontsize=7)
    with writer.whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=80)
