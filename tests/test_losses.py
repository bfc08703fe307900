"""Losses against PyTorch's numbers and float64 logistic functions, and what their fields say.

golden/losses.json holds what golden/make_losses.py, an implementation of its own, made of the
papers' formulas. To write it again: `python tests/golden/make_losses.py` in an environment with
torch. The closed forms are written out here in numpy with s(t) = 1 / (1 + exp(-t)) and natural
logarithms, without softplus.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.losses import CLASS_LOSSES, LOSSES, cross_entropy

GOLDEN = json.loads((Path(__file__).parent / "golden" / "losses.json").read_text())
REAL = np.array([-3.0, -0.5, 0.0, 0.7, 2.5])
FAKE = np.array([1.5, -2.0, 0.3, -0.1, 4.0])
N = len(REAL)


def s(t):
    return 1 / (1 + np.exp(-t))


def logits(*values):
    return jnp.asarray(values, jnp.float32)


def arrays(tree):
    """The JSON file's lists as arrays, of float64 in an x64 world."""
    if isinstance(tree, dict):
        return {name: arrays(value) for name, value in tree.items()}
    return jnp.asarray(tree)


def with_gradients(loss, *arguments):
    """Losses image by image, and the gradients of their mean by every argument."""

    def mean(*arguments):
        values = loss(*arguments)
        return jnp.mean(values), values

    argnums = tuple(range(len(arguments)))
    (_, values), by = jax.value_and_grad(mean, argnums, has_aux=True)(*arguments)
    return values, by


@functools.cache  # one program for all tests
def judge(name, smoothing=None):
    """(real, fake logits) -> losses of both players, each with its gradients by real and fake."""
    loss = LOSSES[name]

    def judged(real, fake):
        discriminator = loss.discriminator
        if smoothing is not None:
            discriminator = functools.partial(loss.smooth, smoothing=smoothing)
        generator = lambda real, fake: loss.generator(fake, real)  # noqa: E731
        return (
            with_gradients(discriminator, real, fake),
            with_gradients(generator, real, fake),
        )

    return jax.jit(judged)


@functools.cache
def judge_classes(name):
    """(outputs of real, of fake images, labels) -> losses of both players with their gradients."""
    loss = CLASS_LOSSES[name]
    settings = GOLDEN["classes"]["losses"][name]["settings"]

    def judged(real, fake, labels):
        return (
            with_gradients(lambda r, f: loss.discriminator(r, f, labels, **settings), real, fake),
            with_gradients(lambda r, f: loss.generator(f, labels, **settings), real, fake),
        )

    return jax.jit(judged)


def assert_golden(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


# --------------------------------------------------------------------------------------------------
# PyTorch


def test_every_loss_has_golden_numbers():
    golden = GOLDEN["adversarial"]
    assert LOSSES.keys() == golden["losses"].keys()
    assert {name for name, loss in LOSSES.items() if loss.smooth} == golden["smoothed"].keys()
    assert CLASS_LOSSES.keys() == GOLDEN["classes"]["losses"].keys()


def both_sides():
    return (jnp.asarray(GOLDEN["adversarial"]["logits"][side]) for side in ("real", "fake"))


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_are_pytorchs(name):
    golden = GOLDEN["adversarial"]["losses"][name]
    with jax.enable_x64(True):
        judged = judge(name)(*both_sides())
    for player, (values, by) in zip(("discriminator", "generator"), judged, strict=True):
        assert_golden(values, golden[player]["values"])
        assert_golden(by, [golden[player]["by"]["real"], golden[player]["by"]["fake"]])


@pytest.mark.parametrize("name", GOLDEN["adversarial"]["smoothed"])
def test_smoothed_values_and_gradients_are_pytorchs(name):
    golden = GOLDEN["adversarial"]["smoothed"][name]
    with jax.enable_x64(True):
        (values, by), _ = judge(name, GOLDEN["adversarial"]["smoothing"])(*both_sides())
        (unsmoothed, _), _ = judge(name, 0.0)(*both_sides())
        (plain, _), _ = judge(name)(*both_sides())
    assert_golden(values, golden["values"])
    assert_golden(by, [golden["by"]["real"], golden["by"]["fake"]])
    assert_golden(unsmoothed, plain)


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_values_and_gradients_of_class_losses_are_pytorchs(name):
    golden = GOLDEN["classes"]["losses"][name]
    assert golden["settings"].keys() == set(CLASS_LOSSES[name].settings)
    with jax.enable_x64(True):
        seen = arrays(GOLDEN["classes"]["outputs"])
        judged = judge_classes(name)(
            seen["real"], seen["fake"], arrays(GOLDEN["classes"]["labels"])
        )
    for player, (values, by) in zip(("discriminator", "generator"), judged, strict=True):
        assert_golden(values, golden[player]["values"])
        assert any(golden[player]["by"].values())
        for side, outputs in zip(("real", "fake"), by, strict=True):
            for key, gradient in outputs.items():  # 0 where the paper's loss does not look
                nothing = np.zeros(gradient.shape)
                assert_golden(gradient, golden[player]["by"][side].get(key, nothing))


# --------------------------------------------------------------------------------------------------
# Closed forms

# name: the discriminator's losses, the gradient of their sum by the real and by the fake logits;
# then the generator's, by the same.
ONES, ZEROS = np.ones(N), np.zeros(N)
BY_AVERAGE = s(np.mean(FAKE) - REAL), s(FAKE - np.mean(REAL))
CLOSED_FORMS = {
    "minimax": (
        -np.log(s(REAL)) - np.log(1 - s(FAKE)),
        -(1 - s(REAL)),
        s(FAKE),
        np.log(1 - s(FAKE)),
        ZEROS,
        -s(FAKE),
    ),
    "nonsaturating": (
        -np.log(s(REAL)) - np.log(1 - s(FAKE)),
        -(1 - s(REAL)),
        s(FAKE),
        -np.log(s(FAKE)),
        ZEROS,
        -(1 - s(FAKE)),
    ),
    "least_squares": (
        (REAL - 1) ** 2 / 2 + FAKE**2 / 2,
        REAL - 1,
        FAKE,
        (FAKE - 1) ** 2 / 2,
        ZEROS,
        FAKE - 1,
    ),
    "wasserstein": (FAKE - REAL, -ONES, ONES, -FAKE, ZEROS, -ONES),
    "hinge": (
        np.maximum(0, 1 - REAL) + np.maximum(0, 1 + FAKE),
        np.where(REAL < 1, -1, 0),
        np.where(FAKE > -1, 1, 0),
        -FAKE,
        ZEROS,
        -ONES,
    ),
    "relativistic_paired": (
        -np.log(s(REAL - FAKE)),
        -(1 - s(REAL - FAKE)),
        1 - s(REAL - FAKE),
        -np.log(s(FAKE - REAL)),
        1 - s(FAKE - REAL),
        -(1 - s(FAKE - REAL)),
    ),
    "relativistic_average": (
        -np.log(s(REAL - np.mean(FAKE))) - np.log(1 - s(FAKE - np.mean(REAL))),
        -BY_AVERAGE[0] - np.mean(BY_AVERAGE[1]),
        BY_AVERAGE[1] + np.mean(BY_AVERAGE[0]),
        -np.log(s(FAKE - np.mean(REAL))) - np.log(1 - s(REAL - np.mean(FAKE))),
        (1 - BY_AVERAGE[0]) + np.mean(1 - BY_AVERAGE[1]),
        -(1 - BY_AVERAGE[1]) - np.mean(1 - BY_AVERAGE[0]),
    ),
}


def test_every_loss_has_a_closed_form_here():
    assert LOSSES.keys() == CLOSED_FORMS.keys()


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_values_and_gradients_in_float32(name):
    judged = judge(name)(logits(*REAL), logits(*FAKE))
    closed = CLOSED_FORMS[name][:3], CLOSED_FORMS[name][3:]
    for (got, gradients), (values, *by) in zip(judged, closed, strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, values, rtol=2e-6)
        np.testing.assert_allclose(gradients, np.array(by) / N, rtol=1e-5, atol=1e-7)


# The logistic losses far out, where log s(t) is 0 or t to float32's precision.
@pytest.mark.parametrize(
    "names, real, fake, value, by_real, by_fake",
    [
        ("minimax nonsaturating", 1e4, -1e4, 0, 0, 0),  # the discriminator is sure and right
        ("minimax nonsaturating", -1e4, 1e4, 2e4, -1, 1),  # sure and wrong
        ("minimax nonsaturating", 1e4, 1e4, 1e4, 0, 1),
        ("relativistic_paired relativistic_average", 1e4, -1e4, 0, 0, 0),
        ("relativistic_paired", -1e4, 1e4, 2e4, -1, 1),
        ("relativistic_average", -1e4, 1e4, 4e4, -2, 2),
    ],
)
def test_the_discriminators_loss_is_stable_far_out(names, real, fake, value, by_real, by_fake):
    for name in names.split():
        (got, by), _ = judge(name)(logits(real), logits(fake))
        assert (got, *by) == (value, by_real, by_fake), name


@pytest.mark.parametrize(
    "name, fake, value, gradient",
    [
        ("minimax", -1e4, 0, 0),  # saturates where the discriminator is sure ...
        ("minimax", 1e4, -1e4, -1),
        ("nonsaturating", -1e4, 1e4, -1),  # ... and these do not
        ("nonsaturating", 1e4, 0, 0),
        ("relativistic_paired", -1e4, 1e4, -1),
        ("relativistic_paired", 1e4, 0, 0),
        ("relativistic_average", -1e4, 2e4, -2),
        ("relativistic_average", 1e4, 0, 0),
    ],
)
def test_the_generators_loss_is_stable_far_out(name, fake, value, gradient):
    _, (got, by) = judge(name)(logits(0), logits(fake))
    assert (got, by[1]) == (value, gradient)


def test_minimax_and_nonsaturating_generators_pull_the_same_way_with_other_strengths():
    # s(t) and 1 - s(t) at t = -3: the ratio of the gradients is exp(t).
    minimax, nonsaturating = (
        judge(name)(logits(0), logits(-3))[1][1][1][0] for name in ("minimax", "nonsaturating")
    )
    assert minimax < 0 and nonsaturating < 0
    np.testing.assert_allclose(minimax / nonsaturating, np.exp(-3), rtol=1e-5)


@pytest.mark.parametrize("name", ["minimax", "wasserstein"])
def test_games_of_zero_sum(name):
    # What the generator gains by its images the discriminator loses, and nothing else.
    (_, (_, lost)), (_, (_, gained)) = judge(name)(logits(*REAL), logits(*FAKE))
    np.testing.assert_allclose(lost, -gained, rtol=1e-6)


@pytest.mark.parametrize("name", ["relativistic_paired", "relativistic_average"])
def test_relativistic_players_differ_in_what_they_call_real_alone(name):
    (discriminator, _), (generator, _) = judge(name)(logits(*REAL), logits(*FAKE))
    (exchanged, _), _ = judge(name)(logits(*FAKE), logits(*REAL))
    np.testing.assert_allclose(generator, exchanged, rtol=1e-6)
    assert not np.allclose(generator, discriminator)


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].smooth])
def test_a_smoothed_discriminator_is_drawn_to_the_smoothed_target_of_real_images_alone(name):
    best = {"least_squares": 0.75}.get(name, np.log(0.75 / 0.25))  # s(best) = 0.75
    (_, (by_real, by_fake)), _ = judge(name, 0.25)(logits(best), logits(1.5))
    (_, (_, plain_by_fake)), _ = judge(name)(logits(best), logits(1.5))
    np.testing.assert_allclose(by_real, 0, atol=1e-6)
    np.testing.assert_allclose(by_fake, plain_by_fake, rtol=1e-6)


# --------------------------------------------------------------------------------------------------
# What the fields say


@pytest.mark.parametrize("name", LOSSES)
def test_couples_and_uses_real_are_true_where_they_are(name):
    loss, real, fake = LOSSES[name], logits(*REAL), logits(*FAKE)
    (discriminator, _), (generator, (by_real, _)) = judge(name)(real, fake)
    assert loss.uses_real == bool(jnp.any(by_real != 0))
    # What the other images' losses have of the first real and the first fake one
    (with_others, _), (generator_with_others, _) = judge(name)(real.at[0].add(1), fake.at[0].add(1))
    assert loss.couples == bool(jnp.any(with_others[1:] != discriminator[1:]))
    assert loss.couples == bool(jnp.any(generator_with_others[1:] != generator[1:]))


@pytest.mark.parametrize("name", LOSSES)
def test_the_boundary_is_what_a_discriminator_says_that_cannot_tell(name):
    # The one logit that it gives to all images is best there. Hinge: anything in [-1, 1].
    def slope(real, fake):
        """The derivative of the discriminator's loss by a number added to all logits."""
        (_, by), _ = judge(name)(logits(real), logits(fake))
        return np.sum(by)

    boundary = LOSSES[name].boundary
    if boundary is None:  # only the difference counts
        np.testing.assert_allclose([slope(-1, 2), slope(1, 2), slope(3, 3)], 0, atol=1e-6)
    else:
        assert slope(boundary, boundary) == 0
        assert slope(boundary - 1.1, boundary - 1.1) < 0 < slope(boundary + 1.1, boundary + 1.1)


@pytest.mark.parametrize("name", LOSSES)
def test_images_in_another_order_have_the_same_losses(name):
    real, fake, order = logits(*REAL), logits(*FAKE), jnp.array([3, 0, 4, 1, 2])
    judged, moved = judge(name)(real, fake), judge(name)(real[order], fake[order])
    for (values, _), (moved_values, _) in zip(judged, moved, strict=True):
        np.testing.assert_allclose(moved_values, values[order], rtol=1e-6)


# --------------------------------------------------------------------------------------------------
# Losses of classes

TEMPERATURE = GOLDEN["classes"]["losses"]["reacgan"]["settings"]["temperature"]
MARGIN = GOLDEN["classes"]["losses"]["reacgan"]["settings"]["margin"]
LABELS = GOLDEN["classes"]["labels"]


def outputs(side):
    return {k: jnp.float32(v) for k, v in GOLDEN["classes"]["outputs"][side].items()}


def of(name, outputs, labels):
    """Each player's losses and gradients where real and fake images have the same outputs."""
    return judge_classes(name)(outputs, outputs, jnp.array(labels))


def embedded(vectors, proxies):
    return {"embedding": jnp.float32(vectors), "proxy": jnp.float32(proxies)}


def test_cross_entropy_of_three_classes():
    got = cross_entropy(logits([0, 0, 0], [np.log(6), np.log(3), 0]), jnp.array([1, 0]))
    np.testing.assert_allclose(got, [np.log(3), np.log(10 / 6)], rtol=1e-6)
    far = lambda x: cross_entropy(x, jnp.array([0]))  # noqa: E731
    values, (by,) = with_gradients(far, logits([-1e4, 1e4]))
    assert values == 2e4 and by.tolist() == [[-1, 1]]


def test_acgan_counts_real_and_fake_alike():
    guess = {"classes": jnp.zeros((3, 4))}
    (discriminator, (by_real, by_fake)), (generator, _) = of("acgan", guess, [0, 3, 1])
    np.testing.assert_allclose(discriminator, 2 * np.log(4), rtol=1e-6)
    np.testing.assert_allclose(generator, np.log(4), rtol=1e-6)
    np.testing.assert_array_equal(by_real["classes"], by_fake["classes"])


def test_tacgans_generator_gains_nothing_where_the_twins_agree():
    classes = outputs("fake")["classes"]
    _, (generator, _) = of("tacgan", {"classes": classes, "twin": classes}, LABELS)
    np.testing.assert_array_equal(generator, np.zeros(len(LABELS)))


def test_contragan_of_orthogonal_embeddings():
    # Each on its own proxy, at right angles to the others: e^(1/t) of it against b - 1 ones.
    e = np.exp(1 / TEMPERATURE)
    for got, _ in of("contragan", embedded(np.eye(4), np.eye(4)), [0, 1, 2, 3]):
        np.testing.assert_allclose(got, -np.log(e / (e + 3)), rtol=1e-6)
    # Three of one class attract one another, so that the last alone is wrong.
    for got, _ in of("contragan", embedded(np.eye(4), np.eye(4)), [1, 1, 1, 0]):
        np.testing.assert_allclose(got[:3], -np.log((e + 2) / (e + 3)), rtol=1e-5)
        np.testing.assert_allclose(got[3], -np.log(e / (e + 3)), rtol=1e-6)


@pytest.mark.parametrize("labels", [[2], [1] * 6])
@pytest.mark.parametrize("name", ["contragan", "reacgan"])
def test_a_minibatch_without_another_class_is_right_whatever_it_says(name, labels):
    some = {key: outputs("real")[key][: len(labels)] for key in ("embedding", "proxy")}
    for leaf in jax.tree.leaves(of(name, some, labels)):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)


def test_reacgan_gives_no_gradient_beyond_the_margins():
    for values, by in of("reacgan", embedded(np.eye(4), np.eye(4)), [0, 1, 2, 3]):
        np.testing.assert_allclose(values, np.log(4), rtol=1e-6)  # exp(0) of itself and 3 others
        assert all(np.all(gradient == 0) for gradient in jax.tree.leaves(by))
    # A proxy within its margin counts, by what it lacks of it.
    lack = np.exp((0.9 - MARGIN) / TEMPERATURE)
    for values, by in of("reacgan", embedded(np.eye(4), 0.9 * np.eye(4)), [0, 1, 2, 3]):
        np.testing.assert_allclose(values, -np.log(lack / (lack + 3)), rtol=1e-5)
        assert any(np.any(gradient != 0) for gradient in jax.tree.leaves(by))


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_class_losses_in_another_order_couple_as_they_say(name):
    labels, order = jnp.array(LABELS), jnp.array([3, 0, 5, 4, 1, 2])
    real, fake = outputs("real"), outputs("fake")
    take = lambda tree: jax.tree.map(lambda x: x[order], tree)  # noqa: E731
    first = lambda tree: jax.tree.map(lambda x: x.at[0].multiply(0.5), tree)  # noqa: E731
    judged = judge_classes(name)(real, fake, labels)
    moved = judge_classes(name)(take(real), take(fake), labels[order])
    other = judge_classes(name)(first(real), first(fake), labels)
    for (values, _), (moved_values, _), (others, _) in zip(judged, moved, other, strict=True):
        assert values.shape == (6,) and values.dtype == jnp.float32
        np.testing.assert_allclose(moved_values, values[order], rtol=1e-5, atol=1e-6)
        assert CLASS_LOSSES[name].couples == bool(jnp.any(others[1:] != values[1:]))


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_class_losses_are_finite_far_out(name):
    far = jax.tree.map(lambda x: 1e4 * x, (outputs("real"), outputs("fake")))
    for leaf in jax.tree.leaves(judge_classes(name)(*far, jnp.array(LABELS))):
        assert np.all(np.isfinite(leaf))
