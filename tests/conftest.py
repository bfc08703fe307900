"""What must be set before jax is imported, and what child processes inherit.

Eight fake CPU devices, no implicit rank promotion, a folder for data sets, and one cache of
compiled programs for all workers and child processes, which XLA hardly optimises, since compilation
is most of what the tests wait for.
"""

import atexit
import os
import shutil
import signal
import socket
import tempfile

import pytest

FAKE_DEVICES = "--xla_force_host_platform_device_count=8"

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # pytest-xdist's workers inherit it
    folder = tempfile.mkdtemp(prefix="jaxgan-programs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
if "TFDS_DATA_DIR" not in os.environ:  # what is prepared and cached is not the user's
    sets = tempfile.mkdtemp(prefix="jaxgan-sets-")
    atexit.register(shutil.rmtree, sets, ignore_errors=True)
    os.environ["TFDS_DATA_DIR"] = sets
if FAKE_DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAKE_DEVICES}".strip()
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell's `&` leaves it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["JAX_PLATFORMS"] = "cpu"
# XLA hardly optimises: most programs run shorter than they compile. With 0 it does.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
