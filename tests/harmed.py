"""Runs for tests/faults.py: one that tells its phase and comes to harm, and what it has come to.

`python tests/harmed.py FLAGS` is train.py, with a few functions wrapped so that they tell through a
pipe in which phase the run is, and do the harm that must come at a step.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
CONFIG_FILE = """
from configs import default

def get_config():
    config = default.get_config()
    config.model.name, config.data.split = "mlp", "test"
    config.model.generator = {"features": (8,)}
    config.model.discriminator = {"features": (8,)}
    config.steps, config.batch_size = 240, 16
    config.log_every, config.evaluate_every = 20, 60
    config.sample_every = config.checkpoint_every = 40
    return config
"""
STEPS = 240  # as in CONFIG_FILE
TIMES = {"seconds", "images_per_second", "data_wait"}  # of a line of metrics.jsonl
PHASES = ("start", "compile", "step", "evaluation", "sampling", "checkpoint")

# --------------------------------------------------------------------------------------------------
# The child: train.py that tells its phase, and does itself the harm that must come at a step

PIPE = "JAXGAN_FAULTS_PIPE"  # a file descriptor
FILL = "JAXGAN_FAULTS_FILL"  # "PHASE STEP FILE": fills the disk with FILE then
NAN = "JAXGAN_FAULTS_NAN"  # "STEP always", or "STEP once": not with another state's key


class Phases:
    """Writes a line "PHASE STEP TIME" to the pipe when the run enters a phase."""

    def __init__(self) -> None:
        self.pipe, self.step = int(os.environ[PIPE]), 0
        self.fill_at, _, self.filler = os.environ.get(FILL, "").rpartition(" ")

    def enter(self, phase: str) -> None:
        os.write(self.pipe, f"{phase} {self.step} {time.monotonic()}\n".encode())
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and f"{phase} {self.step}" == self.fill_at:
            time.sleep(1)  # for what is being written by then
            fill(Path(self.filler))

    def told(self, phase: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*arguments, **options):
            self.enter(phase)
            try:
                return function(*arguments, **options)
            finally:
                self.enter("step")

        return wrapped

    def counted(self, count: int, call: Callable) -> Callable:
        def counted_call(*arguments):
            self.enter("step")
            result = call(*arguments)
            self.step += count
            return result

        return counted_call


def fill(path: Path) -> None:
    """Write to `path` until nothing more fits on its disk."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def child(arguments: list[str]) -> int:
    phases = Phases()
    phases.enter("start")
    # As a terminal leaves it: in the background of a script it is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, str(ROOT))
    sys.argv = ["train.py", *arguments]
    import train
    from jaxgan import cli
    from jaxgan.checkpoint import Checkpoints
    from jaxgan.programs import Programs
    from jaxgan.writer import Writer

    usual_init, usual_compile = Programs.__init__, Programs.compile

    def init(self, *arguments, **options):
        phases.enter("compile")
        usual_init(self, *arguments, **options)
        self.draw = phases.told("sampling", self.draw)
        self.evaluate = phases.told("evaluation", self.evaluate)

    def compile(self, state, inputs, counts):
        phases.step = int(state.step)
        phases.enter("compile")
        if NAN in os.environ:
            inject_nan(state.key)
        usual_compile(self, state, inputs, counts)
        self.calls |= {n: phases.counted(n, self.calls[n]) for n in counts}

    Programs.__init__, Programs.compile = init, compile
    Writer.samples = phases.told("sampling", Writer.samples)
    Writer.metrics = phases.told("line", Writer.metrics)
    Checkpoints.save = phases.told("checkpoint", Checkpoints.save)
    Checkpoints._write_manifest = phases.told("checkpoint", Checkpoints._write_manifest)
    return cli.run(train.main)


def inject_nan(first_key: Any) -> None:
    """The discriminator's loss is NaN at the step that NAN names, and so are its gradients."""
    import jax
    import jax.numpy as jnp

    from jaxgan.algorithms.gan import GAN

    at, _, when = os.environ[NAN].partition(" ")
    first, usual = jax.device_get(jax.random.key_data(first_key)), GAN.step

    def step(self, state, batch):
        broken = state.step == int(at)
        if when == "once":
            broken &= jnp.all(jax.random.key_data(state.key) == first)

        def discriminator(real, fake):
            return self.loss.discriminator(real, fake) * jnp.where(broken, jnp.nan, 1.0)

        loss = self.loss._replace(discriminator=discriminator)
        return usual(dataclasses.replace(self, loss=loss), state, batch)

    GAN.step = step


# --------------------------------------------------------------------------------------------------
# Runs, each a process of its own


@dataclasses.dataclass(frozen=True)
class Setting:
    """One command to train; `folder` holds its config file, compiled programs and workdirs."""

    folder: Path
    steps_per_call: int = 20
    cache: str = "device"
    devices: int = 1
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.steps_per_call}-{self.cache}-{self.devices}"

    def arguments(self, workdir: Path) -> list[str]:
        path = self.folder / "config.py"
        path.write_text(CONFIG_FILE)
        return [
            f"--config={path}",
            f"--workdir={workdir}",
            f"--config.steps_per_call={self.steps_per_call}",
            f"--config.data.cache={self.cache}",
            *self.flags,
        ]

    def environment(self, programs: str, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={self.devices}",
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / programs),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            **more,
        }

    def train(self, workdir: Path) -> tuple[int, str]:
        """The exit code and all output of train.py."""
        command = [sys.executable, str(ROOT / "train.py"), *self.arguments(workdir)]
        with open(self.folder / f"{workdir.name}.again.log", "w+") as output:
            environment = self.environment("programs")
            code = subprocess.call(command, env=environment, stdout=output, stderr=output)
            output.seek(0)
            return code, output.read()

    def reference(self) -> tuple[Path, dict[str, Any]]:
        """An uninterrupted run, and its outcome."""
        workdir = self.folder / f"reference-{self}"
        code, text = self.train(workdir)
        if code:
            sys.exit(f"the reference run failed:\n{text}")
        return workdir, outcome(workdir)


class Entered(NamedTuple):
    phase: str
    step: int
    time: float  # seconds, of the system's monotonic clock


class Child:
    """A run that tells its phases, to be harmed."""

    def __init__(self, setting: Setting, workdir: Path, programs: str = "programs", **more: str):
        read, write = os.pipe()
        self.log = setting.folder / f"{workdir.name}.harmed.log"
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, __file__, *setting.arguments(workdir)],
                env=setting.environment(programs, **{PIPE: str(write)}, **more),
                pass_fds=[write],
                stdout=output,
                stderr=output,
            )
        os.close(write)
        self.pipe = open(read)  # noqa: SIM115
        self.entered: list[Entered] = []

    def read(self) -> Iterator[Entered]:
        for line in self.pipe:
            phase, step, seconds = line.split()
            self.entered.append(Entered(phase, int(step), float(seconds)))
            yield self.entered[-1]

    def wait_for(self, phase: str, nth: int = 0, step: int = 0) -> None:
        """Returns when a phase begins for the nth time, from 0, at or after `step`; or at the end
        of the run."""
        for entered in self.read():
            nth -= entered.phase == phase and entered.step >= step
            if nth < 0:
                return

    def end(self, number: int = 0) -> tuple[int, str, Entered]:
        """The exit code, all output, and the phase of the run when it got this signal; 0 is none,
        and the run ends as it comes."""
        now = time.monotonic() if number else math.inf
        if number:
            self.process.send_signal(number)
        collections.deque(self.read(), maxlen=0)
        self.pipe.close()
        begun = [entered for entered in self.entered if entered.time <= now]
        at = begun[-1] if begun else Entered("start", 0, now)
        return self.process.wait(), self.log.read_text(), at


# --------------------------------------------------------------------------------------------------
# What a run has come to


def arrays(workdir: Path, step: int | str) -> dict[str, Any]:
    """The leaves of a checkpoint's state by name, as numpy arrays."""
    import jax

    from jaxgan import experiment

    state = experiment.load_run(workdir, step)[2]
    state = state.replace(key=jax.random.key_data(state.key))
    leaves = jax.tree.leaves_with_path(jax.device_get(state))
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def newest(workdir: Path, which: str = "last") -> tuple[int, Any]:
    """The newest checkpoint's step, and its value if it is the best. Raises UserError where any
    checkpoint is not whole."""
    from jaxgan.checkpoint import Checkpoints

    with contextlib.closing(Checkpoints(workdir / "checkpoints" / which)) as there:
        infos = [there.info(step) for step in there.steps()]
    return infos[-1]["step"], infos[-1].get("value")


def outcome(workdir: Path) -> dict[str, Any]:
    """All that two runs to the same step have in common, by name."""
    text = (workdir / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]  # a torn one is a ValueError
    found: dict[str, Any] = {
        "config.json": (workdir / "config.json").read_bytes(),
        "metrics.jsonl": [{k: line[k] for k in line if k not in TIMES} for line in lines],
        "the end of metrics.jsonl": text[-1:],
        "files left over": sorted(
            str(path.relative_to(workdir))
            for pattern in ("*.partial", "*.orbax-checkpoint-tmp*", ".lock")
            for path in workdir.rglob(pattern)
        ),
    }
    for path in (workdir / "samples").iterdir():
        found[f"samples/{path.name}"] = path.read_bytes()
    for which in ("last", "best"):
        step, _ = found[f"checkpoints/{which}"] = newest(workdir, which)
        for name, leaf in arrays(workdir, "best" if which == "best" else step).items():
            found[f"{which} {name}"] = leaf.dtype, leaf.shape, leaf.tobytes()
    return found


def differences(reference: dict[str, Any], workdir: Path) -> list[str]:
    """What differs from the reference; none if the run has ended to the bit as that."""
    from jaxgan.errors import UserError

    try:
        found = outcome(workdir)
    except (UserError, OSError, ValueError, IndexError) as error:
        return [str(error)]
    return [name for name in reference | found if reference.get(name) != found.get(name)]


if __name__ == "__main__":
    sys.exit(child(sys.argv[1:]))
