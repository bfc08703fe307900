"""Several processes that train together, and end together.

JAX joins them (`jax.distributed`) and carries arrays between them. What it leaves open is here: a
process that fails tells the others why, and one that is gone is missed; all of them end then,
within a minute, with that process's error. They watch one another through the key-value store of
the coordinator, process 0; where that one is gone, JAX itself ends the others at once.
"""

import contextlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from jaxgan.errors import UserError

BEAT = 2.0  # seconds between signs of life
PATIENCE = 20.0  # seconds without one, after which a process is gone
NEWS, ALIVE = "jaxgan/failed/", "jaxgan/alive/"


def launched_together(environment: Mapping[str, str]) -> bool:
    """Whether a launcher that JAX knows has started this process as one of several."""
    names = ["SLURM_STEP_NUM_TASKS"]
    if "OMPI_MCA_orte_hnp_uri" in environment:  # by which JAX knows Open MPI, up to its version 4
        names.append("OMPI_COMM_WORLD_SIZE")
    counts = map(environment.get, names)
    hosts = map(environment.get, ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"))
    many = any(count and count.isdecimal() and int(count) > 1 for count in counts)
    return many or any(names and "," in names for names in hosts)


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes; what is None JAX finds out from the launcher.

    To be called before JAX has looked for devices. Raises UserError where that fails.
    """
    # One that is gone is this module's to tell; by itself JAX would end the others with a stack of
    # addresses. Signals are jaxgan.signals' to catch.
    jax.config.update("jax_enable_recoverability", True)
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=30,
            shutdown_timeout_seconds=30,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--coordinator: the processes cannot be joined: {reason}; see docs/launch"
        ) from error
    if jax.process_index() != 0:  # the first speaks for all
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


@contextlib.contextmanager
def together() -> Iterator[None]:
    """While several processes that have joined work: the failure of one ends all."""
    watch = _Watch()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not isinstance(error, UserError):
            watch.wait_for_news()  # an exchange breaks off where another process is gone
            traceback.print_exc()
        watch.fail(_sentence(error))
    watch.close()


def _sentence(error: BaseException) -> str:
    text = str(error).strip()
    if isinstance(error, UserError):
        return text
    return f"{type(error).__name__}: {(text or 'no more is known').splitlines()[0]}"


class _Watch:
    """A thread that shows this process's signs of life, and looks for the others'."""

    def __init__(self) -> None:
        from jax._src import distributed  # no public way leads to the store

        self.store: Any = distributed.global_state.client
        self.me, self.ended = str(jax.process_index()), threading.Event()
        # Of each process its last sign, and when that came. The first may take longer.
        begin = time.monotonic() + PATIENCE
        names = map(str, range(jax.process_count()))
        self.seen = {ALIVE + name: ("0 an unknown host", begin) for name in names}
        self.beat(0)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        number = 0
        while not self.ended.wait(BEAT):
            number += 1
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # the next one may get through
                self.beat(number)
                self.look()

    def beat(self, number: int) -> None:
        sign = f"{number} {socket.gethostname()}"
        self.store.key_value_set(ALIVE + self.me, sign, allow_overwrite=True)

    def look(self) -> None:
        """Ends this process where another one has failed or is gone."""
        for key, text in self.store.key_value_dir_get(NEWS):
            if key != NEWS + self.me:
                self.end(text)
        now, signs = time.monotonic(), dict(self.store.key_value_dir_get(ALIVE))
        for key, (earlier, then) in self.seen.items():
            sign = signs.get(key, earlier)
            if sign != earlier:
                self.seen[key] = sign, now
            elif now - then > PATIENCE:
                name, host = key.removeprefix(ALIVE), sign.partition(" ")[2]
                self.end(
                    f"process {name} on {host} is gone: no sign of life for {PATIENCE:.0f} s; the "
                    f"same command in all processes goes on from the last checkpoint"
                )

    def wait_for_news(self) -> None:
        self.ended.wait(PATIENCE + 5 * BEAT)  # the thread ends the process if there are any

    def fail(self, reason: str) -> None:
        """Tells the others, and ends this process."""
        text = f"process {self.me} on {socket.gethostname()} failed: {reason}"
        self.ended.set()
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self.store.key_value_set(NEWS + self.me, text, allow_overwrite=True)
        self.end(reason)

    def end(self, text: str) -> None:
        """At once: another thread may wait for ever in an exchange that will not come."""
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            os.write(2, f"\nerror: {text}\n".encode())
        if self.me == "0":  # the others have yet to read it here
            time.sleep(3 * BEAT)
        os._exit(2)

    def close(self) -> None:
        """When all have come to the end; the first leaves last, for it is the coordinator."""
        try:
            self.store.wait_at_barrier("jaxgan/end", 600_000)  # milliseconds
        except jax.errors.JaxRuntimeError as error:
            self.end(f"the other processes did not come to the end: {_sentence(error)}")
        self.ended.set()
        self.thread.join()
        if self.me != "0":
            jax.distributed.shutdown()
        else:
            time.sleep(BEAT)
