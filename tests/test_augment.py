"""Augmentation against numpy's own flips and shifts, scipy's resampling and rotations, and closed
forms; and what is drawn at random against the distributions of the papers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from scipy import ndimage, stats
from scipy.spatial.transform import Rotation

from jaxgan import augment
from jaxgan.augment import ada, diffaugment, geometry
from jaxgan.errors import UserError

NAMES = [
    *("color", "translation", "cutout", "diffaugment", "flip"),
    *("ada_blit", "ada_geometry", "ada_color", "ada_filter", "ada_noise", "ada_cutout"),
    *("ada_bgc", "ada"),
]
KEY = random.key(0)
SHAPE = (1000, 16, 16, 3)  # of the images in most tests, so that a policy compiles once for all


def noise(*shape, seed=0):
    """Images of which no two pixels are alike."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@functools.cache
def compiled(policy):
    return jax.jit(augment.make(policy))


def run(policy, images, p, key=KEY):
    return np.asarray(compiled(policy)(key, images, p))


def distribution(samples, cdf):
    """The samples (of a fixed seed) are not unlikely to be of this distribution."""
    assert stats.kstest(np.asarray(samples), cdf).pvalue > 1e-3


UNIFORM = stats.uniform(-np.pi, 2 * np.pi).cdf


# --------------------------------------------------------------------------------------------------
# Every policy


def test_the_policies_are_these():
    assert sorted(augment.POLICIES) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_happens_at_p_0(name):
    images = noise(*SHAPE)
    np.testing.assert_allclose(run(name, images, 0.0), images, atol=5e-7, rtol=0)


# The probability that an image of 16x16x3 comes out changed: not all flips, turns and shifts move.
CHANGED = {
    "color": lambda p: 1 - (1 - p) ** 3,
    "translation": lambda p: p * 24 / 25,
    "cutout": lambda p: p,
    "diffaugment": lambda p: 1 - (1 - p) ** 4 * (1 - p * 24 / 25),
    "flip": lambda p: p / 2,
    "ada_blit": lambda p: 1 - (1 - p / 2) * (1 - p * 3 / 4) * (1 - p * 15 / 16),
    "ada_geometry": lambda p: 1 - (1 - p) ** 4,
    "ada_color": lambda p: 1 - (1 - p) ** 4 * (1 - p / 2),
    "ada_filter": lambda p: 1 - (1 - p) ** 4,
    "ada_noise": lambda p: p,
    "ada_cutout": lambda p: p,
}


@pytest.mark.parametrize("p", [0.3, 1.0])
@pytest.mark.parametrize("name", CHANGED)
def test_each_image_is_transformed_with_probability_p(name, p):
    images = np.broadcast_to(noise(1, *SHAPE[1:]), SHAPE)
    changed = np.abs(run(name, images, p) - images).max((1, 2, 3)) > 1e-6
    expected = CHANGED[name](p)
    error = np.sqrt(expected * (1 - expected) / len(images))
    assert abs(np.mean(changed) - expected) <= 3.5 * error
    # and each image has its own draw: as many changes from one image to the next as chance has
    switches = np.mean(changed[1:] != changed[:-1])
    assert abs(switches - 2 * expected * (1 - expected)) <= 0.06


@pytest.mark.parametrize("name", ["diffaugment", "flip", "ada"])
def test_images_do_not_see_each_other_and_draws_differ(name):
    images = np.broadcast_to(noise(1, *SHAPE[1:]), SHAPE).copy()
    before = run(name, images, 1.0)
    outcomes = len(np.unique(before.reshape(len(images), -1).round(4), axis=0))
    assert outcomes == (2 if name == "flip" else len(images))
    images[3] = noise(*SHAPE[1:], seed=1)
    after = run(name, images, 1.0)
    others = np.arange(len(images)) != 3
    np.testing.assert_allclose(before[others], after[others], atol=1e-6)
    assert np.abs(before[3] - after[3]).max() > 0.1


def test_the_same_key_draws_the_same_and_another_key_another():
    images = noise(*SHAPE)
    np.testing.assert_array_equal(run("ada", images, 0.5), run("ada", images, 0.5))
    assert np.abs(run("ada", images, 0.5) - run("ada", images, 0.5, random.key(1))).max() > 0.1


@pytest.mark.parametrize("policy", ["diffaugment", "ada_geometry", "ada_filter"])
def test_vmapped_over_keys_and_images_it_is_a_loop(policy):
    images, keys, p = noise(2, *SHAPE), random.split(KEY, 2), jnp.array([0.3, 1.0])
    got = jax.jit(jax.vmap(augment.make(policy)))(keys, images, p)
    for i in range(2):
        np.testing.assert_allclose(got[i], run(policy, images[i], p[i], keys[i]), atol=5e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_shape_and_dtype_stay(name, channels, dtype):
    images = jax.ShapeDtypeStruct((3, 8, 13, channels), dtype)
    got = jax.eval_shape(augment.make(name), KEY, images, 0.5)
    assert (got.shape, got.dtype) == (images.shape, images.dtype)


def test_values_of_other_shapes_and_types():
    images = jnp.asarray(noise(64, 8, 13, 2), jnp.bfloat16)
    np.testing.assert_array_equal(run("ada_bgc", images, 0.0), np.asarray(images))
    got = run("ada_bgc", images, 1.0).astype(np.float32)
    assert np.all(np.isfinite(got)) and np.abs(got).max() < 100
    assert len(np.unique(got.reshape(64, -1), axis=0)) == 64


@pytest.mark.parametrize("policy", ["diffaugment,flip", "ada"])
def test_first_and_second_derivatives_equal_finite_differences(policy):
    transform = augment.make(policy)
    with jax.enable_x64(True):
        x, v = (jnp.asarray(noise(6, 8, 8, 3, seed=s), jnp.float64) for s in (0, 1))
        value = lambda x: jnp.sum(jnp.sin(2 * transform(KEY, x, 0.7)))  # noqa: E731

        @jax.jit
        def derivatives(x, v):
            f, tangent = jax.jvp(value, (x,), (v,))
            gradient = jax.grad(value)(x)
            # In reverse over reverse, as gradient penalties are differentiated.
            second = jax.grad(lambda x: jnp.vdot(jax.grad(value)(x), v))(x)
            return f, gradient, tangent, second

        h = 1e-5
        (high, after, *_), (low, before, *_) = (derivatives(x + e * v, v) for e in (h, -h))
        _, gradient, tangent, second = derivatives(x, v)
        slope, change = (high - low) / (2 * h), (after - before) / (2 * h)
        assert abs(slope) > 1 and np.abs(change).max() > 1
        np.testing.assert_allclose(jnp.vdot(gradient, v), slope, rtol=1e-6)
        np.testing.assert_allclose(tangent, slope, rtol=1e-6)
        np.testing.assert_allclose(second, change, rtol=1e-5, atol=1e-6)


# --------------------------------------------------------------------------------------------------
# Names


def test_policies_are_applied_in_order_each_with_its_own_key(monkeypatch):
    seen = []

    def transform(factor):
        def apply(key, images, p):
            seen.append((tuple(random.key_data(key).tolist()), p))
            return factor * images + 1

        return apply

    monkeypatch.setitem(augment.POLICIES, "double", transform(2))
    monkeypatch.setitem(augment.POLICIES, "triple", transform(3))
    got = augment.make("double, triple,double")(KEY, jnp.ones((1, 2, 2, 1)), 0.25)
    np.testing.assert_array_equal(got, np.full((1, 2, 2, 1), 2 * (3 * (2 + 1) + 1) + 1))
    assert len({key for key, _ in seen}) == 3 and {p for _, p in seen} == {0.25}
    assert seen[0][0] == tuple(random.key_data(random.fold_in(KEY, 0)).tolist())


def test_diffaugment_is_the_three_and_ada_is_all():
    images = np.ones(SHAPE, np.float32)
    got = run("diffaugment", images, 1.0)
    grey = np.all(got == 0, -1)
    # One colour is left, and grey where it was cut (up to a quarter) or came in from outside.
    assert np.all(grey.any((1, 2))) and 0.15 < grey.mean() < 0.45
    assert got.max((1, 2, 3)).std() > 0.2
    # Constant images keep one colour through blitting, geometry and colour.
    got = run("ada_bgc", images, 1.0)
    np.testing.assert_allclose(got, np.broadcast_to(got[:, :1, :1], got.shape), atol=1e-4)
    assert np.std(got[:, 0, 0, 0]) > 0.2
    got = run("ada", images, 1.0)
    assert np.all(np.all(got == 0, -1).any((1, 2))) and np.median(got.std((1, 2, 3))) > 0.1


@pytest.mark.parametrize("policy", ["colour", "ada,colour", ""])
def test_an_unknown_policy_is_an_error_that_names_the_key_and_lists_what_exists(policy):
    with pytest.raises(UserError, match=r"augment\.policy: there is no .*ada_bgc.*translation"):
        augment.make(policy)


# --------------------------------------------------------------------------------------------------
# DiffAugment, flips and shifts


def test_diffaugments_colours():
    images = noise(1000, 4, 4, 3).astype(np.float64)
    apply = lambda f: np.asarray(jax.jit(f)(KEY, jnp.float32(images), 1.0))  # noqa: E731

    added = apply(diffaugment.brightness) - images
    assert np.ptp(added, (1, 2, 3)).max() < 1e-6
    distribution(added[:, 0, 0, 0], stats.uniform(-0.5, 1).cdf)

    for f, axes, low in (
        (diffaugment.saturation, -1, 0.0),
        (diffaugment.contrast, (1, 2, 3), 0.5),
    ):
        mean = images.mean(axes, keepdims=True)
        x, y = (images - mean).reshape(1000, -1), (apply(f) - mean).reshape(1000, -1)
        factor = np.sum(x * y, 1) / np.sum(x * x, 1)
        np.testing.assert_allclose(y, factor[:, None] * x, atol=1e-5)
        distribution(factor, stats.uniform(low, 2 * (1 - low)).cdf)


def moved(image, down, right, mode, most):
    h, w, _ = image.shape
    padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode=mode)
    return padded[most - down : most - down + h, most - right : most - right + w]


def which(got, candidates):
    """For each image the candidate that it equals exactly; exactly one must."""
    stack = np.stack([np.asarray(c) for c in candidates])
    equal = np.all(got[:, None] == stack[None], (2, 3, 4))
    assert np.all(equal.sum(1) == 1)
    return np.argmax(equal, 1)


def evenly(indices, n):
    """Whether each of the n is as frequent as the others, but for chance."""
    return stats.chisquare(np.bincount(indices, minlength=n)).pvalue > 1e-3


def test_translation_is_by_whole_pixels_with_zeros_from_outside():
    image = noise(16, 24, 3)
    got = run("translation", np.broadcast_to(image, (1500, 16, 24, 3)), 1.0)
    shifts = [(y, x) for y in range(-2, 3) for x in range(-3, 4)]  # an eighth of the size
    assert evenly(which(got, [moved(image, y, x, "constant", 3) for y, x in shifts]), len(shifts))


def test_flip_mirrors_half_of_the_images():
    image = noise(5, 6, 3)
    got = run("flip", np.broadcast_to(image, (1000, 5, 6, 3)), 1.0)
    assert evenly(which(got, [image, image[:, ::-1]]), 2)


def test_consistency_regularisations_shift_and_flip():
    image = noise(10, 12, 3)
    images = np.broadcast_to(image, (3000, 10, 12, 3))
    transform = jax.jit(augment.shift_and_flip)
    got = np.asarray(transform(KEY, images))
    shifts = [(y, x) for y in range(-4, 5) for x in range(-4, 5)]
    reflected = [moved(image, y, x, "reflect", 4) for y, x in shifts]
    assert evenly(which(got, reflected + [x[:, ::-1] for x in reflected]), 162)
    np.testing.assert_array_equal(got, transform(KEY, images))


@pytest.mark.parametrize("name", ["cutout", "ada_cutout"])
@pytest.mark.parametrize("h, w", [(16, 24), (15, 9)])
def test_cutouts_are_rectangles_of_half_the_size_centred_anywhere_in_the_image(name, h, w):
    images = 1 + np.abs(noise(2000, h, w, 3))
    got = run(name, images, 1.0)
    cut = np.all(got == 0, -1)
    np.testing.assert_array_equal(got, np.where(cut[..., None], 0, images))
    for axis, n in ((2, h), (1, w)):
        marked = cut.any(axis)
        other = cut.any(3 - axis)
        np.testing.assert_array_equal(cut.sum((1, 2)), marked.sum(1) * other.sum(1))  # a rectangle
        low, size = marked.argmax(1), marked.sum(1)
        np.testing.assert_array_equal(n - marked[:, ::-1].argmax(1), low + size)  # no gaps
        inside = (low > 0) & (low + size < n)
        assert np.all(np.abs(size[inside] - n / 2) <= (0.5 if name == "cutout" else 1))
        assert size.min() >= n // 4 and inside.any()
        # Both halves are cut alike, and the middle most: by the half of all centres.
        np.testing.assert_allclose(marked.mean(0), marked.mean(0)[::-1], atol=0.06)
        assert abs(marked.mean(0)[n // 2] - 0.5) < 0.06 and marked.mean(0)[0] < 0.4
        if n % 4 == 0:  # elsewhere rounding makes the outer places less likely
            assert evenly(low[inside] - low[inside].min(), np.ptp(low[inside]) + 1)


# --------------------------------------------------------------------------------------------------
# ADA: blitting and geometry


def test_sym6_is_the_least_asymmetric_wavelet_with_six_vanishing_moments():
    h, k = geometry.SYM6, np.arange(12)
    lags = [h[: 12 - 2 * m] @ h[2 * m :] for m in range(6)]
    np.testing.assert_allclose(lags, [1, 0, 0, 0, 0, 0], atol=1e-12)
    # k^m about the middle keeps the sums' terms small
    moments = [np.sum((-1.0) ** k * ((k - 5.5) / 5.5) ** m * h) for m in range(7)]
    np.testing.assert_allclose(moments[:6], 0, atol=1e-10)
    assert abs(moments[6]) > 1e-5
    # Of the eight such filters those of other phases have their centre more than 1.4 away.
    assert abs(np.sum(k * h) / np.sum(h) - 5.5) < 0.5


def test_blits_are_exact():
    image = noise(16, 16, 3)
    got = run("ada_blit", np.broadcast_to(image, (2000, 16, 16, 3)), 1.0)
    turned = [np.rot90(x, k) for x in (image, image[:, ::-1]) for k in range(4)]
    shifts = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    found = which(got, [moved(t, y, x, "reflect", 2) for t in turned for y, x in shifts])
    assert evenly(found // 25, 8)
    # round(U(-2, 2)): the outer shifts are half as likely as the inner ones
    once = np.array([0.5, 1, 1, 1, 0.5]) / 4
    expected = np.outer(once, once).ravel() * len(got)
    assert stats.chisquare(np.bincount(found % 25, minlength=25), expected).pvalue > 1e-3
    # Of images that are not square, an eighth of each side.
    inverse = jax.jit(geometry._blit)(KEY, jnp.zeros((500, 16, 32, 1)), 1.0)
    shifts = np.linalg.inv(inverse)[:, :2, 2]
    np.testing.assert_array_equal(np.abs(shifts).max(0), [4, 2])


@pytest.mark.parametrize("p", [1, 0.5, np.float32(0.5)])
def test_p_may_be_a_number_outside_jit(p):
    images = jnp.asarray(noise(2, 4, 4, 1))
    p = jnp.asarray(p) if isinstance(p, np.float32) else p
    transform = augment.make("ada,diffaugment,flip")
    got = jax.eval_shape(lambda images: transform(KEY, images, p), images)  # p is no tracer here
    assert got.shape == images.shape


def wave(x, y):
    """A smooth image, at pixels from the centre."""
    a, b = 2 * np.pi * (1.5 * x + 0.7 * y) / 32 + 0.3, 2 * np.pi * (2.2 * y - 0.8 * x) / 32
    return 0.6 * np.cos(a) + 0.3 * np.sin(b)


def pixels(h, w):
    y, x = np.meshgrid(np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2, indexing="ij")
    return x, y


def matrix(angle=0.0, x=1.0, y=1.0, tx=0.0, ty=0.0):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c * x, -s * y, tx], [s * x, c * y, ty], [0, 0, 1]])


def resampled(image, inverse):
    image = jnp.float32(image)[None, ..., None]
    return np.asarray(_resample(image, jnp.float32(inverse)[None]))[0, ..., 0]


_resample = jax.jit(geometry.resample)


@pytest.mark.parametrize(
    "inverse",
    [
        matrix(0.4),
        matrix(1.2, 1.2, 0.8, 1.3, -0.7),
        matrix(-2.0, 0.8, 0.9, -0.4),
        matrix(np.pi / 2),
        matrix(tx=0.5, ty=-0.25),
        matrix(tx=9.3, ty=70.0),  # past several reflections
    ],
)
@pytest.mark.parametrize("h, w", [(32, 32), (28, 37)])
def test_resampling_against_the_closed_form_and_scipys_splines(inverse, h, w):
    x, y = pixels(h, w)
    got = resampled(wave(x, y), inverse)
    sx, sy = (inverse[i, 0] * x + inverse[i, 1] * y + inverse[i, 2] for i in (0, 1))
    inside = (np.abs(sx) < w / 2 - 4) & (np.abs(sy) < h / 2 - 4)
    np.testing.assert_allclose(got[inside], wave(sx, sy)[inside], atol=0.005)
    # Reflections have kinks, which no two resamplers smooth alike.
    where = sy + (h - 1) / 2, sx + (w - 1) / 2
    spline = ndimage.map_coordinates(wave(x, y), where, order=3, mode="mirror")
    np.testing.assert_allclose(got, spline, atol=0.08)
    assert np.sqrt(np.mean((got - spline) ** 2)) < 0.012


def test_resampling_is_exact_where_nothing_or_whole_pixels_move():
    image = noise(16, 20)
    np.testing.assert_allclose(resampled(image, matrix()), image, atol=5e-6)
    got = resampled(image, matrix(tx=-2, ty=3))
    expected = np.pad(image, ((3, 3), (3, 3)), mode="reflect")[6 : 6 + 16, 1 : 1 + 20]
    np.testing.assert_allclose(got, expected, atol=5e-6)


def test_shrinking_does_not_alias():
    x, _ = pixels(64, 64)
    fine = np.cos(0.9 * np.pi * x)  # at every second pixel a wave of a slow beat
    inner = slice(8, -8)
    plain = np.cos(0.9 * np.pi * 2 * x)[inner, inner]
    got = resampled(fine, matrix(0.0, 2.0, 2.0))[20:44, 20:44]
    assert np.sqrt(np.mean(plain**2)) > 0.6 and np.sqrt(np.mean(got**2)) < 0.05


def test_the_matrices_of_general_geometry_have_the_papers_distributions():
    images = jnp.zeros((4000, 16, 32, 1))
    inverse, changed = jax.jit(geometry._general)(KEY, images, 1.0)
    assert np.all(changed)
    forward = np.linalg.inv(np.asarray(inverse, np.float64))
    distribution(forward[:, 0, 2] / 32, stats.norm(0, 0.125).cdf)
    distribution(forward[:, 1, 2] / 16, stats.norm(0, 0.125).cdf)
    u, values, v = np.linalg.svd(forward[:, :2, :2])
    distribution(np.log2(values.prod(1)) / 2, stats.norm(0, 0.2).cdf)
    distribution(np.log2(values[:, 0] / values[:, 1]) / 2, stats.halfnorm(0, 0.2).cdf)
    turn = u @ v  # both rotations together
    assert np.all(np.linalg.det(turn) > 0)
    distribution(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]), UNIFORM)
    first = np.arctan2(v[:, 0, 1], v[:, 0, 0])  # up to a half turn
    distribution(first % np.pi, stats.uniform(0, np.pi).cdf)
    # At p each of the two rotations has 1 - sqrt(1 - p), and one or the other p.
    inverse, _ = jax.jit(geometry._general)(KEY, images, 0.3)
    linear = np.asarray(inverse)[:, :2, :2]
    straight = np.mean((linear[:, 0, 1] == 0) & (linear[:, 1, 0] == 0))
    assert abs(straight - 0.7) < 3.5 * np.sqrt(0.21 / 4000)


def test_blitting_and_geometry_are_one_resampling():
    h = w = 64
    x, y = pixels(h, w)
    images = jnp.tile(jnp.float32(wave(x, y))[None, ..., None], (32, 1, 1, 1))

    @jax.jit
    def transform(key, images, p):
        both, (first, second) = geometry.ada_blit_and_geometry(key, images, p), random.split(key)
        twice = geometry.ada_geometry(second, geometry.ada_blit(first, images, p), p)
        return both, twice, geometry._blit(first, images, p), *geometry._general(second, images, p)

    both, twice, blit, general, changed = transform(KEY, images, 0.3)
    product = np.asarray(blit, np.float64) @ np.asarray(general, np.float64)
    sx, sy = (
        (product[:, i, :2, None, None] * np.stack([x, y])).sum(1) + product[:, i, 2, None, None]
        for i in (0, 1)
    )
    inside = (np.abs(sx) < w / 2 - 12) & (np.abs(sy) < h / 2 - 12)
    assert inside.mean() > 0.2 and 0.5 < np.mean(changed) < 1
    for got in (both, twice):
        np.testing.assert_allclose(np.asarray(got)[..., 0][inside], wave(sx, sy)[inside], atol=0.01)
    still = ~np.asarray(changed)
    np.testing.assert_array_equal(both[still], twice[still])


# --------------------------------------------------------------------------------------------------
# ADA: colour


def homogeneous(brightness, contrast, luma, hue, saturation):
    """The paper's product of 4x4 matrices, in float64."""
    v = np.array([1, 1, 1, 0]) / np.sqrt(3)
    shift, scale, turn = np.eye(4), np.diag([contrast] * 3 + [1]), np.eye(4)
    shift[:3, 3] = brightness
    turn[:3, :3] = Rotation.from_rotvec(hue * v[:3]).as_matrix()
    mirror = np.eye(4) - (1 - luma) * np.outer(v, v)
    across = np.outer(v, v) + (np.eye(4) - np.outer(v, v)) * saturation
    return across @ turn @ mirror @ scale @ shift


def test_recolouring_is_the_product_of_the_papers_matrices():
    rng = np.random.default_rng(0)
    b = 50
    values = (
        rng.normal(size=b),
        2 ** rng.normal(size=b),
        rng.choice([-1.0, 1.0], b),
        rng.uniform(-3, 3, b),
        2 ** rng.normal(size=b),
    )
    images = noise(b, 4, 5, 3)
    got = ada.recolor(jnp.asarray(images), *(jnp.float32(v) for v in values))
    grey = ada.recolor(jnp.asarray(images[..., :1]), *(jnp.float32(v) for v in values))
    for i in range(b):
        m = homogeneous(*(v[i] for v in values))
        expected = images[i] @ m[:3, :3].T + m[:3, 3]
        np.testing.assert_allclose(got[i], expected, atol=2e-5, rtol=1e-5)
        x = np.repeat(images[i, ..., :1], 3, -1)  # as a grey image of three channels
        expected = (x @ m[:3, :3].T + m[:3, 3]).mean(-1, keepdims=True)
        np.testing.assert_allclose(grey[i], expected, atol=2e-5, rtol=1e-5)


def test_colours_have_the_papers_distributions():
    images = noise(3000, 4, 4, 3)
    got = run("ada_color", images, 1.0)
    x = np.concatenate([images.reshape(3000, 16, 3), np.ones((3000, 16, 1))], -1).astype(float)
    affine = np.linalg.pinv(x) @ got.reshape(3000, 16, 3)  # x @ affine = got: linear part, offset
    np.testing.assert_allclose(x @ affine, got.reshape(3000, 16, 3), atol=1e-4)
    linear, offset = affine[:, :3].swapaxes(1, 2), affine[:, 3]
    axis, plane = np.ones(3) / np.sqrt(3), np.array([[1, -1, 0], [1, 1, -2]]).T / np.sqrt([2, 6])
    luma = axis @ linear @ axis
    chroma = plane.T @ linear @ plane
    size = np.sqrt(np.linalg.det(chroma))
    distribution(np.log2(np.abs(luma)), stats.norm(0, 0.5).cdf)
    distribution(offset.mean(1) / luma, stats.norm(0, 0.2).cdf)
    distribution(np.log2(size / np.abs(luma)), stats.norm(0, 1).cdf)
    distribution(np.arctan2(chroma[:, 1, 0], chroma[:, 0, 0]), UNIFORM)
    assert abs(np.mean(luma < 0) - 0.5) < 3.5 * 0.5 / np.sqrt(3000)


def test_images_of_two_channels_change_in_brightness_and_contrast_alone():
    images = noise(500, 3, 3, 2)
    got = run("ada_color", images, 1.0)
    x, y = images.reshape(500, -1), got.reshape(500, -1)
    slope = (y[:, 0] - y[:, 1]) / (x[:, 0] - x[:, 1])
    expected = y[:, :1] + slope[:, None] * (x - x[:, :1])
    np.testing.assert_allclose(y, expected, atol=1e-3, rtol=1e-3)
    assert np.all(slope > 0)


# --------------------------------------------------------------------------------------------------
# ADA: filtering and noise


def response(omega):
    """The four bands at a frequency: 4 values. Daubechies' half-band filter with two vanishing
    moments is cos(w/2)^4 (1 + 2 sin(w/2)^2)."""
    low = lambda w: np.cos(w / 2) ** 4 * (1 + 2 * np.sin(w / 2) ** 2)  # noqa: E731
    a, b, c = low(omega), low(2 * omega), low(4 * omega)
    return np.array([a * b * c, a * b * (1 - c), a * (1 - b), 1 - a])


@pytest.mark.parametrize("h, w", [(32, 32), (9, 28)])  # 9 is shorter than the filters' reach
def test_bands_amplify_their_frequencies(h, w):
    # cos(pi k i / (n - 1)) goes on through reflections, so that filters only scale it.
    gains = np.array([[1, 1, 1, 1], [2, 1, 1, 1], [1, 3, 1, 1], [1, 1, 4, 1], [1, 1, 1, 5]])
    for k, j in ((0, 0), (1, 0), (0, 3), (h // 4, w // 2), (h // 2, 2), (h - 1, w - 1)):
        rows, columns = (np.cos(np.pi * f * np.arange(n) / (n - 1)) for f, n in ((k, h), (j, w)))
        images = np.broadcast_to(np.outer(rows, columns)[None, ..., None], (5, h, w, 1))
        got = _equalize(jnp.float32(images), jnp.float32(gains))
        factor = (gains @ response(np.pi * k / (h - 1))) * (gains @ response(np.pi * j / (w - 1)))
        np.testing.assert_allclose(got, factor[:, None, None, None] * images, atol=2e-5)


_equalize = jax.jit(ada.equalize)


def test_each_band_holds_its_octave():
    for i, (low, high) in enumerate([(0, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 1)]):
        middle = response(np.pi * (low + high) / 2)
        taps = ada.BANDS[i]
        shift = np.arange(len(taps)) - len(taps) // 2
        np.testing.assert_allclose(
            np.sum(taps * np.cos(np.pi * (low + high) / 2 * shift)), middle[i], atol=1e-12
        )
        assert middle[i] == max(middle) and middle[i] > 0.5
    impulse = np.arange(43) == 21
    np.testing.assert_allclose(ada.BANDS.sum(0), impulse, atol=1e-12)


def test_gains_are_lognormal_and_keep_the_power_of_natural_images():
    # An impulse's cosine transform is the response at all frequencies, of rows times columns.
    n = 33
    images = np.zeros((4000, n, n, 1), np.float32)
    images[:, 0, 0] = 1
    got = run("ada_filter", images, 0.3)[..., 0]
    frequencies = np.arange(n) * np.pi / (n - 1)
    weight = np.where(np.isin(np.arange(n), (0, n - 1)), 1, 2)
    cosines = np.cos(np.outer(frequencies, np.arange(n)))
    # The mirrored impulse at a corner is one, so its transform is sum over the whole period.
    spectrum = np.einsum("ky,byx,x->bk", cosines * weight, got, weight.astype(float))
    spectrum /= np.sqrt(np.einsum("y,byx,x->b", weight, got, weight))[:, None]  # R(0)^2 -> R(0)
    gains = np.linalg.lstsq(response(frequencies).T, spectrum.T, rcond=None)[0].T
    np.testing.assert_allclose(gains @ response(frequencies), spectrum, atol=1e-4, rtol=1e-4)

    power, seen = np.array([10, 1, 1, 1]) / 13, []
    for i in range(4):
        rest = np.delete(gains, i, 1)
        alone = (np.ptp(rest, 1) < 1e-4 * rest[:, 0]) & (np.abs(gains[:, i] - rest[:, 0]) > 1e-3)
        assert abs(np.mean(alone) - 0.3 * 0.7**3) < 3.5 * np.sqrt(0.1 * 0.9 / 4000)
        np.testing.assert_allclose(gains[alone] ** 2 @ power, 1, rtol=1e-4)
        seen.append(np.log2(gains[alone, i] / rest[alone, 0]))
    for t in seen:
        distribution(t, stats.norm(0, 1).cdf)


def test_noise_is_normal_with_a_half_normal_deviation():
    images = noise(*SHAPE)
    added = run("ada_noise", images, 1.0) - images
    deviation = added.std((1, 2, 3))
    distribution(deviation, stats.halfnorm(0, 0.1).cdf)
    loud = deviation > 0.01
    distribution((added[loud, 5, 7] / deviation[loud, None]).ravel(), stats.norm(0, 1).cdf)
    assert abs(np.corrcoef(added[:, 0, 0, 0], added[:, 0, 0, 1])[0, 1]) < 0.15


# --------------------------------------------------------------------------------------------------
# The controller, and APA


@pytest.mark.parametrize(
    "p, signs, expected",
    [
        (0.25, 0.9, 0.25 + 0.125),
        (0.25, 0.1, 0.25 - 0.125),
        (0.25, 0.6, 0.25),
        (0.0, 0.1, 0.0),
        (1.0, 0.9, 1.0),
        (0.05, -1.0, 0.0),
    ],
)
def test_p_moves_by_the_images_seen_towards_the_target(p, signs, expected):
    got = jax.jit(augment.adapt)(jnp.float32(p), jnp.float32(signs), 0.6, 1000.0, 8.0)
    assert (got, got.dtype, got.shape) == (np.float32(expected), jnp.float32, ())


def test_p_goes_from_0_to_1_in_kimg_thousand_images():
    p = jnp.float32(0)
    for _ in range(31):
        p = augment.adapt(p, jnp.float32(1), 0.6, 250.0, 8.0)
    assert p == 31 / 32
    assert augment.adapt(p, jnp.float32(1), 0.6, 250.0, 8.0) == 1


def test_p_settles_where_the_signs_meet_the_target():
    # A discriminator that overfits less the more is augmented, seen through noise.
    def move(p, key):
        signs = jnp.clip(0.95 - 1.4 * p + 0.05 * random.normal(key), -1, 1)
        p = augment.adapt(p, signs, 0.6, 1000.0, 100.0)
        return p, p

    _, path = jax.lax.scan(move, jnp.float32(0.9), random.split(KEY, 300))
    assert path[10] > 0.75
    np.testing.assert_allclose(path[-100:], 0.25, atol=0.06)


def test_pseudo_puts_generated_images_at_the_places_of_real_ones():
    for shape in ((2000, 3, 4, 1), (2000, 2)):
        real, generated = jnp.asarray(noise(*shape)), jnp.asarray(noise(*shape, seed=1))
        got = np.asarray(jax.jit(augment.pseudo)(KEY, real, generated, 0.3))
        replaced = np.all(got == generated, tuple(range(1, len(shape))))
        kept = np.all(got == real, tuple(range(1, len(shape))))
        assert np.all(replaced ^ kept)
        assert abs(np.mean(replaced) - 0.3) < 3.5 * np.sqrt(0.21 / 2000)
        np.testing.assert_array_equal(augment.pseudo(KEY, real, generated, 0.0), real)
        np.testing.assert_array_equal(augment.pseudo(KEY, real, generated, 1.0), generated)
