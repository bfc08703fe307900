"""Schedules at their ends, between and beyond, in both units, and what a mistake in one is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.errors import UserError
from jaxgan.schedules import KINDS, at, make, numbers

LINEAR = {"kind": "linear", "start": 2e-4, "end": 1e-5, "steps": 1000}
COSINE = {"kind": "cosine", "start": 2e-4, "end": 1e-5, "steps": 1000}
EXPONENTIAL = {"kind": "exponential", "start": 2e-4, "end": 1e-5, "steps": 1000}
STEPS = {"kind": "steps", "values": (1e-3, 1e-4, 1e-5), "steps": (500, 750)}
CONSTANT = {"kind": "constant", "value": 2e-4}
ALL = {section["kind"]: section for section in (LINEAR, COSINE, EXPONENTIAL, STEPS, CONSTANT)}


def value_at(section, step, images_per_step=64):
    got = at(make(section, images_per_step), jnp.int32(step))
    assert got.shape == () and got.dtype == jnp.float32
    return got


def test_every_kind_is_tested_here():
    assert KINDS.keys() == ALL.keys()


# --------------------------------------------------------------------------------------------------
# Values


@pytest.mark.parametrize("number", [2e-4, 0, 3, -0.5])
def test_a_number_stays_a_number(number):
    scalar = make(number, 64)
    assert type(scalar) is float and scalar == number
    assert at(scalar, jnp.int32(7)) is scalar


@pytest.mark.parametrize(
    "section", [LINEAR, COSINE, EXPONENTIAL], ids=lambda section: section["kind"]
)
def test_ends_are_exact_and_last(section):
    for step in (-5, 0):
        assert value_at(section, step) == np.float32(section["start"])
    for step in (1000, 1001, 10**9):
        assert value_at(section, step) == np.float32(section["end"])
    # Exact however far they are apart, and to zero
    zeros = () if section is EXPONENTIAL else ((2e-4, 0.0), (0.0, 1.0))
    for start, end in ((0.75, 1e-6), (1e-6, 0.75), *zeros):
        ends = {**section, "start": start, "end": end}
        assert value_at(ends, 0) == np.float32(start)
        assert value_at(ends, 1000) == np.float32(end)


def test_linear_between_its_ends():
    for step in (1, 250, 500, 999):
        expected = 2e-4 + (1e-5 - 2e-4) * step / 1000
        np.testing.assert_allclose(value_at(LINEAR, step), expected, rtol=1e-5)
    rising = {**LINEAR, "start": 0.0, "end": 8.0}
    np.testing.assert_allclose(value_at(rising, 250), 2, rtol=1e-6)


def test_cosine_between_its_ends():
    for step in (1, 250, 500, 999):
        expected = 1e-5 + (2e-4 - 1e-5) * (1 + np.cos(np.pi * step / 1000)) / 2
        np.testing.assert_allclose(value_at(COSINE, step), expected, rtol=1e-5)
    rising = {**COSINE, "start": 0.0, "end": 8.0}
    np.testing.assert_allclose(value_at(rising, 250), 4 * (1 - np.sqrt(0.5)), rtol=1e-5)


def test_exponential_falls_by_one_factor():
    for step in (0, 1, 250, 1000, 2000):
        expected = 2e-4 * (1e-5 / 2e-4) ** min(step / 1000, 1)
        np.testing.assert_allclose(value_at(EXPONENTIAL, step), expected, rtol=1e-5)


def test_steps_change_at_their_lengths():
    expected = {-1: 1e-3, 0: 1e-3, 499: 1e-3, 500: 1e-4, 749: 1e-4, 750: 1e-5, 10**9: 1e-5}
    for step, value in expected.items():
        assert value_at(STEPS, step) == np.float32(value), step


def test_steps_may_have_one_length_or_lists():
    for values, lengths in (((1, 2), 500), ([1, 2], [500])):
        section = {"kind": "steps", "values": values, "steps": lengths}
        assert numbers("x", section) == [1, 2]
        assert [value_at(section, step) for step in (499, 500)] == [1, 2]


def test_a_constant_section_keeps_its_value():
    assert [value_at(CONSTANT, step) for step in (-1, 0, 1, 10**9)] == [np.float32(2e-4)] * 4


@pytest.mark.parametrize("kind", ["linear", "cosine", "exponential", "steps"])
def test_kimg_are_thousands_of_images_seen(kind):
    # 100 kimg at 250 images a step are 400 steps.
    in_kimg = {key: value for key, value in ALL[kind].items() if key != "steps"}
    many = kind == "steps"
    in_kimg["kimg"] = (50, 100) if many else 100
    in_steps = {**ALL[kind], "steps": (200, 400) if many else 400}
    for step in (0, 100, 199, 200, 300, 399, 400, 500):
        got = value_at(in_kimg, step, images_per_step=250)
        assert got == value_at(in_steps, step, images_per_step=7), step
    assert value_at(in_kimg, 300, 250) != value_at(in_kimg, 300, 125)


def test_a_length_need_not_be_whole():
    # 1 kimg at 64 images a step is 15.625 steps: the change comes with the 16th.
    section = {"kind": "steps", "values": (1.0, 2.0), "kimg": (1,)}
    assert [value_at(section, step) for step in (15, 16)] == [1, 2]
    line = {"kind": "linear", "start": 0.0, "end": 15.625, "kimg": 1}
    np.testing.assert_allclose(value_at(line, 10), 10, rtol=1e-6)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("unit, length", [("warmup_steps", 40), ("warmup_kimg", 10)])
def test_warmup_multiplies_by_a_line_from_zero_to_one(kind, unit, length):
    # 10 kimg at 250 images a step are 40 steps.
    warm = {**ALL[kind], unit: length}
    for step, risen in ((-3, 0), (0, 0), (1, 0.025), (20, 0.5), (40, 1), (41, 1), (600, 1)):
        cold = value_at(ALL[kind], step, 250)
        np.testing.assert_allclose(value_at(warm, step, 250), risen * cold, rtol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_schedules_trace_once(kind):
    schedule, traces = make({**ALL[kind], "warmup_steps": 10}, 64), []

    @jax.jit
    def traced(step):
        traces.append(step)
        return at(schedule, step)

    for step in (0, 5, 300, 600, 2000):
        np.testing.assert_allclose(traced(jnp.int32(step)), schedule(jnp.int32(step)), rtol=1e-5)
    assert len(traces) == 1
    over_steps = jax.vmap(schedule)(jnp.arange(0, 2000, 400))
    assert over_steps.shape == (5,)


# --------------------------------------------------------------------------------------------------
# numbers: what values a section passes between, and mistakes


def test_numbers_are_those_that_a_schedule_passes_between():
    assert sorted(numbers("x", LINEAR)) == [1e-5, 2e-4]
    assert sorted(numbers("x", COSINE)) == [1e-5, 2e-4]
    assert numbers("x", STEPS) == [1e-3, 1e-4, 1e-5]
    assert numbers("x", CONSTANT) == [2e-4]
    for unit in ("warmup_steps", "warmup_kimg"):  # which start at zero
        assert sorted(numbers("x", {**CONSTANT, unit: 1})) == [0, 2e-4]


number = st.floats(-10, 10, width=32) | st.integers(-10, 10)
length = st.floats(0.01, 100) | st.integers(1, 100)
warmups = st.dictionaries(st.sampled_from(["warmup_steps", "warmup_kimg"]), length, max_size=1)


@st.composite
def sections(draw):
    kind, unit = draw(st.sampled_from(sorted(KINDS))), draw(st.sampled_from(["steps", "kimg"]))
    section = {"kind": kind, **draw(warmups)}
    if kind == "constant":
        return {**section, "value": draw(number)}
    if kind == "steps":
        lengths = sorted(draw(st.lists(length, max_size=3)))
        values = draw(st.lists(number, min_size=len(lengths) + 1, max_size=len(lengths) + 1))
        return {**section, "values": tuple(values), unit: tuple(lengths)}
    ends = number if kind != "exponential" else st.floats(0.125, 10, width=32)
    return {**section, "start": draw(ends), "end": draw(ends), unit: draw(length)}


# Steps of three numbers have programs of their own; few examples, since each may compile.
@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(sections(), st.integers(1, 5000))
def test_numbers_bound_whatever_a_schedule_gives(section, images_per_step):
    schedule, bounds = make(section, images_per_step), numbers("x", section)
    for step in (-1, 0, 1, 7, 50, 90, 10**6):
        slack = 1e-6 * max(map(abs, bounds))
        assert min(bounds) - slack <= schedule(jnp.int32(step)) <= max(bounds) + slack


def without(section, key):
    return {name: value for name, value in section.items() if name != key}


@pytest.mark.parametrize(
    "section, message",
    [
        ({}, "key: a schedule needs a kind, one of constant, cosine, exponential, linear"),
        (without(LINEAR, "kind"), "key: a schedule needs a kind, one of constant, cosine, exp"),
        (
            {**LINEAR, "kind": "liner"},
            "key.kind: there is no 'liner' (did you mean 'linear'?); there are: constant, cosine",
        ),
        ({**LINEAR, "kind": 3}, "key.kind: there is no '3'; there are: constant, cosine"),
        ({**LINEAR, "kind": ["linear"]}, "key.kind: there is no \"['linear']\""),
        (
            {**LINEAR, "stop": 1.0},
            "key.stop: a schedule of kind linear has no stop; it has start, end, steps, kimg, "
            "warmup_steps, warmup_kimg",
        ),
        ({**LINEAR, "values": (1,)}, "key.values: a schedule of kind linear has no values; it has"),
        (
            {**CONSTANT, "steps": 10},
            "key.steps: a schedule of kind constant has no steps; it has value, warmup_steps",
        ),
        (without(LINEAR, "start"), "key.start: this key is missing"),
        (
            {**EXPONENTIAL, "end": 0.0},
            "key.end: 0.0 is not allowed; it must be above 0",
        ),
        (without(COSINE, "end"), "key.end: this key is missing"),
        (without(STEPS, "values"), "key.values: this key is missing"),
        (without(CONSTANT, "value"), "key.value: this key is missing"),
        (
            without(LINEAR, "steps"),
            "key.steps: this key is missing; a length in steps, or in kimg",
        ),
        ({**LINEAR, "kimg": 1}, "key: a length is in steps or in kimg, not in both"),
        (
            {**LINEAR, "warmup_steps": 1, "warmup_kimg": 1},
            "key: a length is in warmup_steps or in warmup_kimg, not in both",
        ),
        ({**LINEAR, "start": "x"}, "key.start: 'x' is not allowed; it must be a number"),
        ({**LINEAR, "end": None}, "key.end: None is not allowed; it must be a number"),
        ({**LINEAR, "end": True}, "key.end: True is not allowed; it must be a number"),
        ({**LINEAR, "end": (1, 2)}, "key.end: (1, 2) is not allowed; it must be a number"),
        ({**LINEAR, "steps": (1, 2)}, "key.steps: (1, 2) is not allowed; it must be a number"),
        ({**COSINE, "start": float("nan")}, "key.start: nan is not allowed; it must be a number"),
        ({**COSINE, "steps": float("inf")}, "key.steps: inf is not allowed; it must be a number"),
        (
            {**LINEAR, "end": 10**400},
            f"key.end: {10**400} is not allowed; it must be a number",
        ),
        ({**LINEAR, "steps": 0}, "key.steps: 0 is not allowed; it must be above 0"),
        (
            {**without(LINEAR, "steps"), "kimg": -1.5},
            "key.kimg: -1.5 is not allowed; it must be above 0",
        ),
        ({**CONSTANT, "warmup_steps": 0}, "key.warmup_steps: 0 is not allowed; it must be above 0"),
        ({**CONSTANT, "warmup_kimg": (1,)}, "key.warmup_kimg: (1,) is not allowed; it must be a"),
        ({**STEPS, "values": (1, "x", 3)}, "key.values: (1, 'x', 3) is not allowed; it must be a"),
        ({**STEPS, "steps": (0, 5)}, "key.steps: (0, 5) is not allowed; it must be above 0"),
        ({**STEPS, "steps": (5, 4)}, "key: values must be one more than the lengths between them"),
        ({**STEPS, "steps": (5,)}, "key: values must be one more than the lengths between them"),
        ({**STEPS, "values": 1.0}, "key: values must be one more than the lengths between them"),
    ],
)
def test_mistakes_are_told_with_their_key(section, message):
    with pytest.raises(UserError) as error:
        numbers("key", section)
    assert str(error.value).startswith(message), str(error.value)


def test_whatever_numbers_allows_can_be_made():
    whole = {"kind": "linear", "start": 0, "end": 3 * 10**9, "steps": 3 * 10**9}  # past int32
    single = [{"kind": "steps", "values": values, "steps": ()} for values in ((1,), 1)]
    for section in (*ALL.values(), whole, *single):
        assert numbers("key", section)
        value_at(section, 3)
