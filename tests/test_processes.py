"""Several processes on this machine, joined by JAX's own runtime, train as one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import experiment, parallel, processes

ROOT = Path(__file__).parents[1]
TINY = {
    "batch_size": 16,
    "steps": 8,
    "steps_per_call": 2,
    "log_every": 2,
    "sample_every": 4,
    "checkpoint_every": 4,
    "data.split": "train[:512]",
    "model.generator.width": 4,
    "model.discriminator.width": 4,
}
EVALUATED = {"evaluate_every": 4, "evaluation.samples": 128}
ALONE = {**os.environ, "XLA_FLAGS": "", "JAX_NUM_CPU_DEVICES": "1"}  # one device a process


def start(workdir, number, each=None, **changes):
    """So many processes; `each`: keys of the config that differ from one to the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "train.py", "--config", "configs/dcgan.py", "--workdir", workdir]
    command += [f"--config.{key}={value}" for key, value in {**TINY, **changes}.items()]
    together = ["--coordinator", f"127.0.0.1:{port}", "--num_processes", str(number)]
    children = []
    for n in range(number):
        own = [*together, "--process_id", str(n)] if number > 1 else []
        own += [f"--config.{key}={values[n]}" for key, values in (each or {}).items()]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        children.append(subprocess.Popen([*command, *own], cwd=ROOT, env=ALONE, **pipes))
    return children


def end(children, seconds=300):
    """Of each its exit code, what it printed, and its errors."""
    told = [child.communicate(timeout=seconds) for child in children]
    return [(child.returncode, *texts) for child, texts in zip(children, told, strict=True)]


def run(workdir, number, **changes):
    ended = end(start(workdir, number, **changes))
    assert [code for code, _, _ in ended] == [0] * number, ended
    return ended


def arrays(workdir):
    state = experiment.load_run(Path(workdir))[2]
    parts = state.generator, state.discriminator, state.ema
    return [np.asarray(leaf) for leaf in jax.tree.leaves(parts)]


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def wait_for(path, children, seconds=200):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        assert all(child.poll() is None for child in children), end(children)
        time.sleep(0.1)


def assert_close(found, wanted):
    # As in test_parallel.py: rounding, after Adam's division, of 8 steps of up to 2e-4.
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=4e-6)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "one"
    run(workdir, 1, **EVALUATED)
    return workdir


def test_two_processes_train_as_one(by_one, tmp_path):
    first, second = run(tmp_path / "two", 2, **EVALUATED)
    assert_close(arrays(tmp_path / "two"), arrays(by_one))
    assert "8 steps (0 kimg)" in first[1] and "steps" not in second[1]  # the first speaks for all
    lines, wanted = lines_of(tmp_path / "two"), lines_of(by_one)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert lines[-1]["sliced_wasserstein"] == pytest.approx(wanted[-1]["sliced_wasserstein"], 1e-3)
    best = [
        sorted(p.name for p in (each / "checkpoints/best").glob("[0-9]*"))
        for each in (by_one, tmp_path / "two")
    ]
    assert best[0] == best[1] and best[0]
    assert sorted(p.name for p in (tmp_path / "two/samples").iterdir()) == [
        "00000004.png",
        "00000008.png",
    ]
    # A checkpoint of two is read by one.
    code, out, _ = end(start(tmp_path / "two", 1, steps=12))[0]
    assert code == 0 and "going on from step 8 of 12" in out


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [1, 4])
def test_four_processes_train_as_one_and_read_its_checkpoint(by_one, tmp_path, fsdp):
    run(tmp_path / "four", 4, **{"parallel.fsdp": fsdp})
    assert_close(arrays(tmp_path / "four"), arrays(by_one))
    run(tmp_path / "mixed", 1, steps=4)
    run(tmp_path / "mixed", 4, **{"parallel.fsdp": fsdp})
    assert_close(arrays(tmp_path / "mixed"), arrays(by_one))


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_the_run_goes_on_to_the_bit(tmp_path):
    long = {"steps": 200, "sample_every": 40}
    run(tmp_path / "straight", 2, **long)
    children = start(tmp_path / "killed", 2, **long)
    wait_for(tmp_path / "killed/checkpoints/last/8", children)
    children[1].kill()
    killed = time.monotonic()
    code, _, errors = end(children)[0]
    assert time.monotonic() - killed < 60
    assert code == 2 and "error: process 1 on " in errors and "is gone" in errors
    ended = run(tmp_path / "killed", 2, **long)
    assert "going on from step" in ended[0][1]
    for a, b in zip(arrays(tmp_path / "killed"), arrays(tmp_path / "straight"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_mistake_of_one_process_ends_all_and_is_told_by_each(tmp_path):
    each = {"optimizer.generator.learning_rate": [1e-4, 3e-4]}
    first, second = end(start(tmp_path / "run", 2, each=each), seconds=120)
    told = "--config: the first process was started with other settings: "
    assert first[0] == second[0] == 2
    assert f"error: {told}optimizer.generator.learning_rate (0.0001 " in second[2]
    assert f"failed: {told}" in first[2] and "error: process 1 on " in first[2]


@pytest.mark.slow
def test_where_the_first_process_is_killed_the_others_end(tmp_path):
    children = start(tmp_path / "run", 2, steps=4000, checkpoint_every=4, sample_every=4000)
    wait_for(tmp_path / "run/checkpoints/last/8", children)
    children[0].kill()
    killed = time.monotonic()
    code, _, errors = end(children)[1]
    assert time.monotonic() - killed < 60
    assert code not in (0, None) and "coordination service" in errors  # JAX's own words


@pytest.mark.slow
def test_a_mistake_in_one_command_is_told_by_each(tmp_path):
    first, second = end(start(tmp_path / "run", 2, each={"no_such_key": [1, 2]}), seconds=120)
    assert (first[0], second[0]) == (2, 2)
    broken = {"steps": [8, "many"]}
    first, second = end(start(tmp_path / "run", 2, each=broken), seconds=120)
    assert (first[0], second[0]) == (2, 2)
    assert "error: steps: 'many' is not allowed" in second[2]
    assert "error: process 1 on " in first[2] and "failed: steps: 'many' is not" in first[2]


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path):
    children = start(tmp_path / "run", 2, steps=4000, checkpoint_every=400, sample_every=4000)
    wait_for(tmp_path / "run/metrics.jsonl", children)
    while not (tmp_path / "run/metrics.jsonl").read_text():
        time.sleep(0.1)
    children[1].send_signal(signal.SIGTERM)
    ended = end(children)
    assert [code for code, _, _ in ended] == [128 + signal.SIGTERM] * 2, ended
    assert "the checkpoint is written" in ended[0][1]
    assert len([*(tmp_path / "run/checkpoints/last").glob("[0-9]*")]) == 1


@pytest.mark.parametrize(
    "environment, many",
    [
        ({}, False),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"}, False),  # a script, before srun
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, False),  # version 5, which JAX does not know
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1"}, True),
    ],
)
def test_a_launcher_of_many_is_known_by_its_environment(environment, many):
    assert processes.launched_together(environment) is many


def test_joining_without_all_that_it_takes_is_the_users_error():
    command = [sys.executable, "train.py", "--config", "configs/dcgan.py", "--num_processes", "2"]
    child = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True)
    assert child.returncode == 2
    assert child.stderr.startswith("error: --coordinator: the processes cannot be joined: ")


def test_one_process_is_the_first_and_agrees_with_itself():
    assert parallel.is_first() and parallel.everywhere(True) and not parallel.everywhere(False)
    assert parallel.largest(3) == 3 and parallel.of_first(lambda: {"a": 1}) == {"a": 1}
