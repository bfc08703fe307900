"""What is added to a player's loss beside the adversarial one, each with the config's weight.

Gradient penalties and their kin are pure functions of a critic, a closure from images to logits
that judges as the discriminator does in training, its augmentation and noise included. PENALTIES
names what each of them looks at in one update of the discriminator (`Scene`), GENERATOR_PENALTIES
the same for the generator; both give scalars. Their keyword arguments may be set in the config, as
in `penalties.wgan_gp = {"weight": 10.0, "target": 1.0}`.

A weight is the paper's: where that has 1/2 gamma, as R1 and R2, the 1/2 is here. With BatchNorm in
the discriminator an image's gradient is also of the other images' logits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, Float, Key, Params

Images = Float[Array, "b ..."]
Critic = Callable[[Images], Float[Array, " b"]]
Scalar = Float[Array, ""]


Draw = Callable[..., Array]  # (function, key, shape): function(key, shape), a row an image


def _draw(function: Callable, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    return function(key, shape)


class Scene(NamedTuple):
    """One update of a player, as its penalties see it; None is what only the other player has."""

    params: Params  # of the player
    key: Key[Array, ""]
    critic: Any = None  # a Critic
    real: Any = None  # Images, as is `fake`
    fake: Any = None
    real_logits: Any = None  # Float[Array, " b"], as are `fake_logits`
    fake_logits: Any = None
    shift: Any = None  # (key, Images) -> Images, moved and flipped a little
    generate: Any = None  # Float[Array, "b z"] -> Images
    z: Any = None  # Float[Array, "b z"], of which `fake` was made
    anchors: Any = None  # {"real": scalar, "fake": scalar}, moving averages of earlier logits
    draw: Draw = _draw


# --------------------------------------------------------------------------------------------------
# Gradients


def squared_gradient_norms(critic: Critic, images: Images) -> Float[Array, " b"]:
    """||grad_x D(x)||^2 of each image."""
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(images)
    return jnp.sum(jnp.square(gradient), tuple(range(1, gradient.ndim)))


def zero_centred(critic: Critic, images: Images) -> Scalar:
    # Mescheder et al. 2018, equations 9 (R1, on real images) and 10 (R2, on generated ones), the
    # weight being gamma: 1/2 E ||grad_x D(x)||^2
    return 0.5 * jnp.mean(squared_gradient_norms(critic, images))


def one_centred(critic: Critic, images: Images, target: float = 1.0) -> Scalar:
    # Gulrajani et al. 2017, equation 3: E (||grad_x D(x)|| - 1)^2
    squares = squared_gradient_norms(critic, images)
    # The root has no slope at 0, where a critic that ignores its input would otherwise give NaN.
    norms = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
    return jnp.mean(jnp.square(norms - target))


def interpolate(key: Key[Array, ""], a: Images, b: Images, draw: Draw = _draw) -> Images:
    """A point on the line from each a to its b, uniform."""
    share = draw(jax.random.uniform, key, (a.shape[0],) + (1,) * (a.ndim - 1))
    return a + share * (b - a)


def around(key: Key[Array, ""], real: Images, scale: float = 0.5, draw: Draw = _draw) -> Images:
    """Kodali et al. 2017 (DRAGAN, the authors' code): real images moved by up to `scale` of the
    standard deviation of all pixels, in the same direction: x + share * scale * std * U(0, 1)."""
    noise_key, share_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    moved = real + scale * jnp.std(real) * draw(jax.random.uniform, noise_key, real.shape)
    return interpolate(share_key, real, moved, draw)


# --------------------------------------------------------------------------------------------------
# Consistency, logits, weights


def consistency(critic: Critic, images: Images, changed: Images) -> Scalar:
    # Zhang et al. 2020, equation 2 (CR): E (D(x) - D(T(x)))^2
    return jnp.mean(jnp.square(critic(images) - critic(changed)))


def latent_consistency(scene: Scene, sigma: float = 0.07) -> Scalar:
    # Zhao et al. 2021 (ICR-GAN), section 3.2, of the discriminator: E (D(G(z)) - D(G(T(z))))^2 with
    # T(z) = z + N(0, sigma^2)
    nearby = scene.z + sigma * scene.draw(jax.random.normal, scene.key, scene.z.shape)
    return consistency(scene.critic, scene.fake, scene.generate(nearby))


def latent_diversity(scene: Scene, sigma: float = 0.07) -> Scalar:
    # The same of the generator, to be kept large: -E ||G(z) - G(T(z))||^2, a mean over pixels
    nearby = scene.z + sigma * scene.draw(jax.random.normal, scene.key, scene.z.shape)
    return -jnp.mean(jnp.square(scene.fake - scene.generate(nearby)))


def lecam(real: Float[Array, " b"], fake: Float[Array, " b"], anchors: dict[str, Scalar]) -> Scalar:
    # Tseng et al. 2021, equation 5: E (D(x) - a_F)^2 + E (D(G(z)) - a_R)^2, where a_R and a_F are
    # moving averages of the logits of real and of generated images; the authors' code clips the
    # differences at 0, which the paper does not
    to_fake = jnp.mean(jnp.square(real - anchors["fake"]))
    return to_fake + jnp.mean(jnp.square(fake - anchors["real"]))


def orthogonal(params: Params, strict: bool = False) -> Scalar:
    """Brock et al. 2019, equation 3: the sum over kernels of ||W^T W * (1 - I)||_F^2, of the
    columns' inner products with one another; with `strict` ||W^T W - I||_F^2 (Brock et al. 2017).

    Kernels of all layers, as matrices with a column for each output; embeddings are left out, and
    grouped kernels (r3gan), whose columns do not meet the same inputs.
    """
    total = jnp.zeros(())
    for path, kernel in jax.tree_util.tree_leaves_with_path(params):
        if str(getattr(path[-1], "key", path[-1])) == "kernel":
            matrix = kernel.reshape(-1, kernel.shape[-1])
            gram = jnp.matmul(matrix.T, matrix, precision="highest")
            identity = jnp.eye(len(gram))
            total += jnp.sum(jnp.square(gram - identity if strict else gram * (1 - identity)))
    return total


# --------------------------------------------------------------------------------------------------
# What each looks at

Penalty = Callable[..., Any]  # (scene, **settings) -> scalar


def _between(scene: Scene) -> Images:
    return interpolate(scene.key, scene.real, scene.fake, scene.draw)


def _moved(scene: Scene, images: Images, number: int) -> Images:
    return scene.shift(jax.random.fold_in(scene.key, number), images)


def _cr(scene: Scene) -> Scalar:
    return consistency(scene.critic, scene.real, _moved(scene, scene.real, 0))


def _bcr(scene: Scene) -> Scalar:
    # Zhao et al. 2021, section 3.1 (balanced CR): of real and of generated images, one weight here
    return _cr(scene) + consistency(scene.critic, scene.fake, _moved(scene, scene.fake, 1))


PENALTIES: dict[str, Penalty] = {
    "r1": lambda scene: zero_centred(scene.critic, scene.real),
    "r2": lambda scene: zero_centred(scene.critic, scene.fake),
    # Thanh-Tung et al. 2019: zero-centred on interpolates, E ||grad_x D(x)||^2, without a half
    "zero_gp": lambda scene: 2 * zero_centred(scene.critic, _between(scene)),
    "wgan_gp": lambda scene, target=1.0: one_centred(scene.critic, _between(scene), target),
    "dragan": lambda scene, target=1.0, scale=0.5: one_centred(
        scene.critic, around(scene.key, scene.real, scale, scene.draw), target
    ),
    "lecam": lambda scene: lecam(scene.real_logits, scene.fake_logits, scene.anchors),
    "cr": _cr,
    "bcr": _bcr,
    "zcr": latent_consistency,
    "orthogonal": lambda scene, strict=False: orthogonal(scene.params, strict),
}
GENERATOR_PENALTIES: dict[str, Penalty] = {
    "zcr": latent_diversity,
    "orthogonal": PENALTIES["orthogonal"],
}
