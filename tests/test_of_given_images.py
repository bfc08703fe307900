"""What is measured of runs that start from images is the same on any devices and processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan import evaluation, experiment, judges, loop, parallel
from jaxgan.sampler import Sampler

ROOT = Path(__file__).parents[1]
SECTION = {"name": "fashion_mnist_mini", "dir": "", "path": "", "split": "train", "image_size": 0}
METRICS = {
    "vae": ("elbo", "sliced_wasserstein"),
    "inpaint": ("completion", "sliced_wasserstein"),
    "pix2pix": ("agreement", "sliced_wasserstein"),
}
SAMPLES = 150  # which neither 64 nor 512 divides


def figures(name, workdir, mesh):
    _, algorithm, state = experiment.load_run(workdir)
    can = judges.abilities(algorithm)
    asked = judges.Asked(METRICS[name], SAMPLES, False, split="test", abilities=can, training=True)
    judge = judges.equip(judges.plan(SECTION, asked), SECTION, asked)
    with jax.set_mesh(mesh):
        trial = evaluation.Trial(judge, mesh, SAMPLES)
        found = trial.of_state(Sampler(algorithm, mesh), state, 1)
    return {value: evaluation.number(number) for value, number in found.items()}


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow) if n == "inpaint" else n for n in METRICS],
)
def run(request, tmp_path_factory):
    """(name, folder) of a tiny run."""
    workdir = tmp_path_factory.mktemp(request.param) / "run"
    settings = configs.tiny(configs.load(f"configs/{request.param}.py"))
    settings.parallel.data, settings.evaluate_every = 1, 0
    assert loop.train(settings, workdir) == 0
    return request.param, workdir


def one_device(name, workdir):
    return figures(name, workdir, parallel.mesh_of(jax.devices()[:1]))


def assert_close(found, expected):
    assert found.keys() == expected.keys() and len(expected) > 2
    for value in expected:
        np.testing.assert_allclose(found[value], expected[value], rtol=2e-4, err_msg=value)


def test_eight_devices_see_what_one_sees(run):
    assert_close(figures(*run, parallel.whole_mesh()), one_device(*run))


TWO_PROCESSES = """
import json, sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from pathlib import Path
from jaxgan import parallel
from tests.test_of_given_images import figures
print(json.dumps(figures(sys.argv[3], Path(sys.argv[4]), parallel.whole_mesh())))
"""


@pytest.mark.slow
def test_two_processes_see_what_one_sees(run, unused_port):
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    env["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", TWO_PROCESSES, f"localhost:{unused_port}"]
    given = {"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([*command, str(n), *map(str, run)], **given) for n in range(2)]
    ended = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], ended
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in ended)
    assert first == second
    assert_close(first, one_device(*run))
