"""Files as an enemy or a bad disk would leave them, for the fuzz tests."""

import os

import hypothesis
from hypothesis import strategies as st

# More examples, other ones each time: JAXGAN_FUZZ_EXAMPLES=20000 python -m pytest -k fuzz
EXAMPLES = int(os.environ.get("JAXGAN_FUZZ_EXAMPLES", "0"))
fuzz = hypothesis.settings(
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    max_examples=EXAMPLES or 200,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@st.composite
def mutated(draw, seeds):
    """One of `seeds` with a few bytes changed, its end cut off, or a piece of another in it."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for change in draw(st.lists(st.sampled_from("ffffts"), min_size=1, max_size=4)):
        # Headers are short: half of all changes are near an end.
        near = draw(st.sampled_from([min(140, len(content)), len(content)]))
        at = draw(st.integers(0, near))
        at = len(content) - at if draw(st.booleans()) else at
        if change == "f":
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
        elif change == "t":
            del content[at:]
        else:
            other = draw(st.sampled_from(seeds))
            start = draw(st.integers(0, len(other)))
            content[at:at] = other[start : start + draw(st.integers(0, 64))]
    return bytes(content)
