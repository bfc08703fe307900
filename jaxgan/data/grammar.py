"""Arithmetic expressions of one variable, as sequences of one-hot symbols: the context-free grammar
of Kusner and Hernández-Lobato 2016 (https://arxiv.org/abs/1611.04051, section 4),

    S -> x | S + S | S - S | S * S | S / S

of 12 symbols at most, 5,000 of them: x, or operators between x. The paper does not say how often
which is drawn; here 0 to 5 operators are equally frequent, and each is any of the four. (Rules
chosen with equal probability, and what becomes too long thrown away, give "x" four times in five.)
Shorter ones end in spaces.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.toys import Toy
from jaxgan.typing import Array, Float, Int

ALPHABET = "x+-*/ "  # the last one stands behind the end
LENGTH = 12
COUNT = 5_000
EXPRESSION = re.compile(r"x([-+*/]x)*")


@functools.cache
def training() -> tuple[str, ...]:
    """The expressions trained on, always the same, without the spaces; some are there often."""
    drawn = np.random.Philox(key=0).random_raw((COUNT, LENGTH // 2))
    operators = ["".join(ALPHABET[1 + s % 4] for s in row[1 : 1 + row[0] % 6]) for row in drawn]
    return tuple("x" + "".join(f"{operator}x" for operator in each) for each in operators)


def is_valid(text: str) -> bool:
    """Whether the grammar makes the text."""
    return bool(EXPRESSION.fullmatch(text))


def to_symbols(texts: tuple[str, ...]) -> Int[np.ndarray, "n l"]:
    return np.array([[ALPHABET.index(s) for s in text.ljust(LENGTH)] for text in texts], np.int32)


def to_texts(sequences: Float[np.ndarray | Array, "n l s"]) -> list[str]:
    """The most likely symbols, without the spaces behind the end."""
    chosen = np.asarray(sequences).argmax(-1)
    return ["".join(ALPHABET[s] for s in row).rstrip(" ") for row in chosen]


def grammar() -> Toy:
    """Expressions of the 5,000, drawn with replacement; "points" are l s, one-hot."""

    def draw(key, number):
        rows = jax.random.randint(key, (number,), 0, COUNT)
        symbols = jnp.asarray(to_symbols(training()))[rows]
        return jax.nn.one_hot(symbols, len(ALPHABET)), None

    return Toy(draw, (), shape=(LENGTH, len(ALPHABET)))
