"""The chips that can be planned for, their public figures, and the names of topologies.

Nothing here imports JAX: what libtpu and JAX are told has to be set before.

A device is what JAX calls one: of v2 and v3 a core, two of which share a chip; of the others a chip
(v4's and v5p's two cores work as one). Figures are those of a device. `usable` is the memory that
the compiler leaves to programs, as libtpu 0.0.52 says when one does not fit.

Peak operations, memory and its bandwidth are those of Google's pages (`source`; v2's are those of
Jouppi et al. 2020). One way through one port a chip sends `port` bytes a second:

    v5e, v6e, v5p   the page's bidirectional bandwidth of a chip, 400, 800 and 1,200 GB/s, over 4,
                    4 and 6 ports in 2 directions
    v4              6 ports of 50 GB/s (Jouppi et al. 2023, https://arxiv.org/abs/2304.01433)
    v2, v3          4 ports of 496 and 656 Gbit/s (Jouppi et al. 2020, CACM 63(7),
                    https://doi.org/10.1145/3360307); v3's page has the same as 340 TB/s of a pod
"""

import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxgan.errors import UserError, lookup

GIB = 2**30


class Chip(NamedTuple):
    flops: float  # of bfloat16 products, a second
    hbm: int  # bytes
    usable: int  # bytes
    bandwidth: float  # of HBM, bytes a second
    port: float  # bytes a second, one way
    units: int  # multipliers: products begun in a cycle
    axes: int  # of the mesh or torus of chips
    source: str
    one_host: tuple[tuple[int, ...], ...] = ()  # shapes that are one host, against libtpu's default
    config: str = ""  # libtpu's name for both cores as one device
    devices: int = 1  # on a chip

    @property
    def clock(self) -> float:
        """Cycles a second, at which all multipliers together reach the peak."""
        return self.flops / (2 * self.units)


_DOCS = "https://cloud.google.com/tpu/docs/"
_MXU = 128 * 128  # a matrix unit; v6e has four of 256 x 256
_LITE = ((1, 1), (2, 2), (2, 4))
_2020 = "https://doi.org/10.1145/3360307"

CHIPS = {
    "v2": Chip(23e12, 8 * GIB, int(7.48 * GIB), 350e9, 62e9, _MXU, 2, _2020, devices=2),
    "v3": Chip(
        61.5e12, 16 * GIB, int(15.48 * GIB), 450e9, 82e9, 2 * _MXU, 2, _DOCS + "v3", devices=2
    ),
    "v4": Chip(
        275e12,
        32 * GIB,
        int(30.75 * GIB),
        1200e9,
        50e9,
        8 * _MXU,
        3,
        _DOCS + "v4",
        config="megacore",
    ),
    "v5e": Chip(197e12, 16 * GIB, int(15.75 * GIB), 819e9, 50e9, 4 * _MXU, 2, _DOCS + "v5e", _LITE),
    "v5p": Chip(459e12, 95 * GIB, int(95 * GIB), 2765e9, 100e9, 8 * _MXU, 3, _DOCS + "v5p"),
    "v6e": Chip(
        918e12, 32 * GIB, int(31.24 * GIB), 1600e9, 100e9, 16 * _MXU, 2, _DOCS + "v6e", _LITE
    ),
}


class Topology(NamedTuple):
    """Devices to plan for: an array of TPU chips, or so many fake devices of this machine's CPU."""

    name: str
    chip: Chip | None  # None: CPU
    shape: tuple[int, ...]

    @property
    def devices(self) -> int:
        return math.prod(self.shape) * (self.chip.devices if self.chip else 1)


def parse(text: str) -> list[Topology]:
    """The topologies of "v5e:2x4,v5p:2x2x2,cpu:8". Raises UserError."""
    names = [name.strip() for name in text.split(",")]
    return [_parse(name) for name in dict.fromkeys(names)]


def _parse(name: str) -> Topology:
    match = re.fullmatch(r"(\w+):([1-9]\d{0,3}(?:x[1-9]\d{0,3})*)", name)
    if match is None:
        raise UserError(
            f"--topology: {name!r} is no topology; one is a chip and how many of them lie along "
            f"each axis, as in v5e:2x4 or v5p:2x2x2, or cpu:8"
        )
    kind, shape = match[1], tuple(map(int, match[2].split("x")))
    chip = lookup({"cpu": None, **CHIPS}, kind, "--topology")
    axes = chip.axes if chip else 1
    if len(shape) != axes:
        right = {1: "cpu:8", 2: f"{kind}:2x2", 3: f"{kind}:2x2x1"}[axes]
        raise UserError(f"--topology: {name} should be of the form {right}")
    return Topology(name, chip, shape)


def options(topology: Topology) -> dict:
    """What libtpu's description of the topology takes beside its name."""
    assert topology.chip
    found: dict = {}
    if topology.shape in topology.chip.one_host:
        found["chips_per_host_bounds"] = (*topology.shape, 1)
    if topology.chip.config:
        found["chip_config_name"] = topology.chip.config
    return found


def prepare_environment(topologies: Sequence[Topology]) -> None:
    """Sets what JAX and libtpu must find when they start. Raises UserError where libtpu lacks."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    fake = max((each.devices for each in topologies if each.chip is None), default=0)
    if fake and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["JAX_NUM_CPU_DEVICES"] = str(fake)
    if fake and all(each.chip is None for each in topologies):
        return
    found = importlib.util.find_spec("libtpu")
    if found is None or found.origin is None:  # or just a folder of that name
        raise UserError(
            "--topology: to compile for TPUs takes their compiler, which runs on any Linux "
            'machine: pip install "jaxgan[plan]"'
        )
    quiet = {"TPU_MIN_LOG_LEVEL": "3", "TPU_STDERR_LOG_LEVEL": "3", "TPU_LOG_DIR": "disabled"}
    here = {  # no machine of Google's is asked what it is
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
    }
    alone = {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # no device is taken, so others may compile, too
    for key, value in {**quiet, **here, **alone}.items():
        os.environ.setdefault(key, value)
