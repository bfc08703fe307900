"""How long a step takes at best: the longest of what its arithmetic, HBM and interconnect take.

A roofline (Williams et al. 2009): all three go on at once and each at its peak, so what is measured
will be longer, unless it is the interconnect that binds: a torus may use more ports than assumed
here. Assumed is, besides:

* Products run at the chip's bfloat16 peak, those of float32 too: TPUs round the factors to bfloat16
  unless jax_default_matmul_precision says otherwise (highest: six such products). How much of a
  128 x 128 or 256 x 256 unit narrow layers fill is not looked at; everything else that is computed
  takes no time beside its memory's.
* A collective is a ring over the n devices of its group, in both directions at once, so that a chip
  sends through two ports (n = 2: one):

      all-reduce                               2 (n - 1) / n x bytes / bandwidth
      all-gather, reduce-scatter, all-to-all     (n - 1) / n x bytes / bandwidth
      collective-permute, -broadcast                           bytes / one port

  Chips of larger tori have more ports (v5e four, v5p six), with which a collective may take half or
  a third of that, and messages have a latency: neither is looked at.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jaxgan.planning.chips import Chip
from jaxgan.planning.traffic import Collective


class Roofline(NamedTuple):
    """Of a step, in seconds."""

    compute: float
    hbm: float
    interconnect: float

    @property
    def step(self) -> float:
        return max(self)

    @property
    def bound(self) -> str:
        """What takes longest."""
        return max(self._fields, key=lambda name: getattr(self, name))


def estimate(
    chip: Chip, flops: float, hbm: float, collectives: Mapping[Collective, float]
) -> Roofline:
    """From a device's operations, bytes and number of each collective in a step."""
    sent = sum((number * seconds(chip, each) for each, number in collectives.items()), 0.0)
    return Roofline(flops / chip.flops, hbm / chip.bandwidth, sent)


def seconds(chip: Chip, collective: Collective) -> float:
    n = collective.devices
    if n == 1:
        return 0.0
    if collective.kind in ("collective-permute", "collective-broadcast"):
        return collective.bytes / chip.port
    times = 2 if collective.kind == "all-reduce" else 1
    bandwidth = chip.port * min(2, n - 1)
    return times * (n - 1) / n * collective.bytes / bandwidth
