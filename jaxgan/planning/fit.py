"""The largest batch that fits."""

from collections.abc import Callable
from typing import NamedTuple

COMPILATIONS = 10
ENOUGH = 0.98  # of the memory: a compilation more is not worth what is left
MOST = 2**20  # images in a batch that is looked for


class Need(NamedTuple):
    """Of a batch: the bytes that it needs, and has, on a device."""

    needed: int
    available: int

    @property
    def fits(self) -> bool:
        return self.needed <= self.available


class Fit(NamedTuple):
    largest: int  # 0: none fits
    refused: int  # the smallest that was seen not to fit; 0: none was
    tries: dict[int, Need]


def largest(need: Callable[[int], Need], grain: int, start: int, most: int) -> Fit:
    """The largest multiple of `grain` up to `most` that fits, or one that leaves little.

    Memory grows about as a line. Through the needs of two tries, of one that fits and one that does
    not if there are such, it says where to try next; every answer has been tried. On TPU that holds
    for whole tiles, so that eight grains are one, unless they do not fit.
    """
    if 8 * grain <= most:
        found = _largest(need, 8 * grain, start, most)
        if found.largest:
            return found
        rest = _largest(need, grain, start, 8 * grain - 1)
        return Fit(rest.largest, rest.refused or found.refused, {**found.tries, **rest.tries})
    return _largest(need, grain, start, most)


def _largest(need: Callable[[int], Need], grain: int, start: int, most: int) -> Fit:
    tries: dict[int, Need] = {}
    low, high = 0, most // grain + 1  # that fits, and does not or may not; in grains
    n = min(max(start // grain, 1), high - 1)
    while low + 1 < high and high - low > low // 32 and len(tries) < COMPILATIONS:
        tries[n * grain] = found = need(n * grain)
        low, high = (n, high) if found.fits else (low, n)
        if found.fits and found.needed > ENOUGH * found.available:
            break
        n = min(max(_next(tries, low * grain, high * grain) // grain, low + 1), high - 1)
    refused = [batch for batch, each in tries.items() if not each.fits]
    return Fit(low * grain, min(refused, default=0), tries)


def _next(tries: dict[int, Need], low: int, high: int) -> int:
    """Which batch to try after these, between the one that fits and the one that does not."""
    if low not in tries:
        return high // 2
    inside = high in tries
    known = sorted(batch for batch in tries if batch <= low)
    other = high if inside else known[-2] if len(known) > 1 else 0
    if not other:
        return 2 * low
    slope = (tries[other].needed - tries[low].needed) / (other - low)
    room = tries[low].available - tries[low].needed
    ahead = int(room / slope) if slope > 0 else low
    if inside:  # no line is to be trusted so far that it comes no further
        ahead = min(max(ahead, (high - low) // 8), (high - low) * 7 // 8)
    return low + ahead
