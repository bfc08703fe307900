"""Ctrl-C and SIGTERM, each in a process of its own: noted once, obeyed at once the second time."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgan.signals import AT_ONCE, STOPPING

ROOT = Path(__file__).parents[1]
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="of Linux: /proc, zeros are a mutex")

PRELUDE = """
import ctypes, os, signal, sys, threading, time
from jaxgan.signals import caught

def kill(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)

def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)

def ready():
    print("ready", flush=True)

def hang():
    '''In C, which no signal interrupts, without Python's lock: as XLA compiles.'''
    mutex = ctypes.create_string_buffer(256)
    library = ctypes.CDLL(None)
    ready()
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)

def descriptors():
    names = os.listdir("/proc/self/fd")
    return {name for name in names if os.path.lexists(f"/proc/self/fd/{name}")}
"""


@contextlib.contextmanager
def child(code, **options):
    """A process that runs `code`; it is killed at the end if it is still there."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", PRELUDE + code]
    with subprocess.Popen(command, **{**pipes, **options}, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def run(code):
    """The exit code and what was written."""
    with child(code) as process:
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def assert_passes(code):
    assert run(code) == (0, "", "")


def read(file, text):
    """Reads up to the end of `text`, which is all that there is to read."""
    assert file.read(len(text)) == text


@BOTH
def test_the_first_is_noted_and_the_process_goes_on(number):
    code = """
with caught() as stopped:
    assert stopped() == 0
    ready()
    wait_for(stopped)
    time.sleep(0.05)
    print("noted", stopped(), flush=True)
print("after", stopped(), flush=True)
"""
    with child(code) as process:
        read(process.stdout, "ready\n")
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, f"noted {number:d}\nafter {number:d}\n")
    assert err == STOPPING.decode()


@LINUX
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_the_second_ends_at_once(first, second):
    """The main thread is in C all the time, and never back in Python."""
    code = """
with caught() as stopped:
    hang()
"""
    with child(code) as process:
        read(process.stdout, "ready\n")
        process.send_signal(first)
        read(process.stderr, STOPPING.decode())
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
        process.send_signal(second)
        assert process.wait(timeout=5) == 128 + second
        assert process.stderr.read() == AT_ONCE.decode()


@LINUX
@pytest.mark.parametrize("gone", ["before the first", "before the second"])
def test_the_second_ends_at_once_though_nobody_hears(gone):
    """As in `python train.py 2>&1 | tee log`, where Ctrl-C ends tee as well."""
    code = """
with caught() as stopped:
    ready()
    wait_for(stopped)
    hang()
"""
    with child(code) as process:
        read(process.stdout, "ready\n")
        if gone == "before the first":
            process.stderr.close()
        process.send_signal(signal.SIGINT)
        read(process.stdout, "ready\n")
        if gone == "before the second":
            read(process.stderr, STOPPING.decode())
            process.stderr.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=3) == 128 + signal.SIGINT


@pytest.mark.parametrize("raises", [False, True])
def test_all_is_as_before_after_the_block(raises):
    assert_passes(f"""
import contextlib
received = []
def own(number, frame):
    received.append(number)
signal.signal(signal.SIGTERM, own)
read, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)
with contextlib.suppress(ZeroDivisionError), caught() as stopped:
    assert signal.getsignal(signal.SIGTERM) is not own
    {raises} and 1 / 0
assert signal.getsignal(signal.SIGTERM) is own
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
kill(signal.SIGTERM)
wait_for(lambda: received)
assert os.read(read, 9) == bytes([signal.SIGTERM])
try:
    kill(signal.SIGINT)
    time.sleep(1)
    sys.exit("nothing was raised")
except KeyboardInterrupt:
    pass
assert os.read(read, 9) == bytes([signal.SIGINT])
assert (stopped(), received) == (0, [signal.SIGTERM])
assert signal.set_wakeup_fd(-1) == write
""")


def test_what_was_the_system_s_own_is_so_again():
    with child("with caught(): pass\nready(); time.sleep(20)") as process:
        read(process.stdout, "ready\n")
        process.terminate()
        assert process.wait(timeout=10) == -signal.SIGTERM


@BOTH
def test_what_is_ignored_at_the_start_stays_so(number):
    """As with nohup, or in a script's background."""
    other = {signal.SIGINT: signal.SIGTERM, signal.SIGTERM: signal.SIGINT}[number]
    code = f"""
signal.signal({number:d}, signal.SIG_IGN)
with caught() as stopped:
    assert signal.getsignal({number:d}) == signal.SIG_IGN
    kill(*[{number:d}] * 3)
    time.sleep(0.1)
    assert stopped() == 0
    kill({other:d})
    wait_for(stopped)
    kill(*[{number:d}] * 3)
    time.sleep(0.1)
    assert stopped() == {other:d}
assert signal.getsignal({number:d}) == signal.SIG_IGN
kill({number:d})
"""
    assert run(code) == (0, "", STOPPING.decode())


def test_other_signals_are_no_reason_to_stop():
    assert_passes("""
received = []
signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
with caught() as stopped:
    kill(signal.SIGUSR1, signal.SIGUSR1)
    wait_for(lambda: received)
    time.sleep(0.05)
    assert stopped() == 0
""")


@BOTH
def test_outside_the_main_thread_nothing_is_caught(number):
    code = """
before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
results = []
def other():
    threads = threading.enumerate()
    with caught() as stopped:
        results.append(stopped() == 0 and threading.enumerate() == threads)
thread = threading.Thread(target=other)
thread.start()
thread.join()
assert results == [True]
assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
assert signal.set_wakeup_fd(-1) == -1
inside = threading.Event()
def wait():
    with caught():
        inside.set()
        time.sleep(20)
threading.Thread(target=wait, daemon=True).start()
inside.wait()
try:
    ready()
    time.sleep(20)
except KeyboardInterrupt:
    sys.exit(3)
"""
    with child(code) as process:
        read(process.stdout, "ready\n")
        process.send_signal(number)
        assert process.wait(timeout=10) == {signal.SIGINT: 3}.get(number, -number)


@LINUX
@pytest.mark.parametrize("noted", [False, True])
def test_nothing_is_left(noted):
    code = f"""
import contextlib
before = threading.enumerate(), descriptors()
for _ in range(5):
    with contextlib.suppress(ZeroDivisionError), caught() as stopped:
        assert len(threading.enumerate()) == 2
        assert descriptors() != before[1]
        if {noted}:
            kill(signal.SIGTERM)
            wait_for(stopped)
        1 / 0
    assert (threading.enumerate(), descriptors()) == before
"""
    assert run(code) == (0, "", STOPPING.decode() * 5 if noted else "")


def test_a_block_after_another_begins_anew():
    code = """
for number in (signal.SIGINT, signal.SIGTERM):
    with caught() as stopped:
        assert stopped() == 0
        kill(number)
        wait_for(stopped)
        assert stopped() == number
"""
    assert run(code) == (0, "", STOPPING.decode() * 2)


def test_nothing_holds_up_the_end_of_python():
    """The thread is no reason to stay where the block is never left."""
    code = "block = caught(); block.__enter__(); sys.exit(5)"
    assert run(code) == (5, "", "")


def test_of_many_at_once_the_second_ends_it():
    code = """
with caught() as stopped:
    kill(*[signal.SIGINT] * 50)
    time.sleep(10)
"""
    status, _, err = run(code)
    assert (status, err) == (128 + signal.SIGINT, STOPPING.decode() + AT_ONCE.decode())


def test_the_messages_end_a_line_of_the_progress_bar():
    for text in (STOPPING, AT_ONCE):
        assert text.startswith(b"\n") and text.endswith(b"\n")
        assert text.count(b"\n") == 2
