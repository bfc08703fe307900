"""Which number was the first that is none, and what lines of metrics.jsonl warn of."""

import numpy as np
import pytest

from jaxgan import health


def call(**bad):
    """Four steps' metrics; `bad`: {name: (step, value)}."""
    names = ["real_logit", "fake_logit", "d_loss", "r1", "g_loss", "d_accuracy", "fake_diversity"]
    names += [f"{p}_gradient_norm{b}" for p in "dgis" for b in ("", "/Conv_0", "/Dense_0")]
    metrics = {name: np.ones(4, np.float32) for name in sorted(names)}
    for name, (step, value) in bad.items():
        metrics[name][step:] = value
    return metrics


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("bad", "position", "what"),
    [
        ({"d_loss": (2, NAN), "g_loss": (1, INF)}, 1, "g_loss is inf"),
        ({"d_loss": (1, -INF), "g_loss": (1, NAN)}, 1, "d_loss is -inf"),
        ({"d_loss": (3, NAN), "fake_logit": (3, NAN)}, 3, "fake_logit is nan"),
        ({"r1": (0, NAN), "d_gradient_norm": (0, NAN)}, 0, "r1 is nan"),
        (
            {"i_gradient_norm": (0, NAN), "i_gradient_norm/Conv_0": (0, NAN)},
            0,
            "the gradient of the inverse is not finite in Conv_0",
        ),
        (
            {"d_gradient_norm": (1, NAN), "d_gradient_norm/Conv_0": (1, NAN), "g_loss": (1, NAN)},
            1,
            "the gradient of the discriminator is not finite in Conv_0",
        ),
        (
            {f"g_gradient_norm{b}": (2, NAN) for b in ("", "/Conv_0", "/Dense_0")},
            2,
            "the gradient of the generator is not finite in all 2 blocks",
        ),
        ({"g_gradient_norm": (0, INF)}, 0, "the norm of the generator's gradient is inf"),
    ],
)
def test_the_first_number_that_is_none(bad, position, what):
    assert health.first_nonfinite(call(**bad)) == (position, what)


def test_finite_numbers_are_well():
    assert health.first_nonfinite(call()) is None


def lines(*values):
    names = ("d_accuracy", "fake_diversity")
    return [
        {"step": n, "kimg": 20 + n, "real_diversity": 0.5, **dict(zip(names, each, strict=True))}
        for n, each in enumerate(values)
    ]


WELL, WON, COLLAPSED = (0.8, 0.4), (0.995, 0.4), (0.8, 0.1)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([WELL] * 9, None),
        ([WON] * 4, None),
        ([WON] * 5, "the discriminator has won: it is right on 99.5% of images"),
        ([WON] * 6, None),  # said before
        ([WELL] * 3 + [WON] * 4, None),
        ([WELL] + [WON] * 5, "the discriminator has won"),
        ([WON] * 5 + [WELL] + [WON] * 5, "the discriminator has won"),
        ([WON] * 2 + [WELL] + [WON] * 4, None),
        ([COLLAPSED] * 5, "samples collapse: in standard deviation they are 20% as varied"),
        ([(0.8, 0.251)] * 5, None),
    ],
)
def test_warnings_come_once_and_for_what_lasts(seen, said):
    found = health.warnings(lines(*seen))
    assert len(found) == (said is not None)
    assert all(said in text for text in found)


def test_both_signs_are_told():
    assert len(health.warnings(lines(*[(1.0, 0.0)] * 5))) == 2


def test_an_untrained_generator_has_not_collapsed():
    early = [{**line, "kimg": line["kimg"] - 3} for line in lines(*[COLLAPSED] * 8)]
    assert [n for n in range(9) if health.warnings(early[:n])] == [8]


def test_lines_without_the_numbers_warn_of_nothing():
    for line in ({}, {"d_accuracy": None, "fake_diversity": None, "real_diversity": None}):
        assert health.warnings([{"step": n, "kimg": 99, **line} for n in range(9)]) == []
