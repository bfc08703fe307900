"""What must be set before jax is imported, and what child processes inherit.

Eight fake CPU devices, no implicit rank promotion, a folder for data sets, and one cache of
compiled programs for all workers and child processes, which XLA hardly optimises, since compilation
is most of what the tests wait for.
"""

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
from importlib.metadata import version

import pytest

FLAGS = ["--xla_force_host_platform_device_count=8"]
if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":  # a quarter of the compile time
    FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")
    # A process ends at a flag that it does not know, as later versions and libtpu do this one.
    if version("jaxlib").startswith("0.10.") and not importlib.util.find_spec("libtpu"):
        FLAGS.append("--xla_cpu_use_fusion_emitters=false")

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # pytest-xdist's workers inherit it
    folder = tempfile.mkdtemp(prefix="jaxgan-programs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
if "TFDS_DATA_DIR" not in os.environ:  # what is prepared and cached is not the user's
    sets = tempfile.mkdtemp(prefix="jaxgan-sets-")
    atexit.register(shutil.rmtree, sets, ignore_errors=True)
    os.environ["TFDS_DATA_DIR"] = sets
given = os.environ.get("XLA_FLAGS", "").split()
os.environ["XLA_FLAGS"] = " ".join([*given, *(flag for flag in FLAGS if flag not in given)])
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell's `&` leaves it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["JAX_PLATFORMS"] = "cpu"
# XLA hardly optimises: most programs run shorter than they compile. With 0 it does.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """After a module, so that a process that runs them all stays small. One that kept them (1.4
    GiB) was once ended by a crash of the compilation cache, whose cause is not known."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
