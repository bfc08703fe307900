"""A run's folder: one process holds it, whatever became of the one before; its history is kept."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxgan import workdir
from jaxgan.errors import UserError

ROOT = Path(__file__).parents[1]
HOLDER = """
import sys
from pathlib import Path
from jaxgan.workdir import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(folder):
    """Another process that holds `folder`, until its stdin is closed."""
    command = [sys.executable, "-c", HOLDER, folder]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def quick(monkeypatch):
    """A second of the clock on the wall is 30 of theirs."""
    monkeypatch.setattr(workdir, "BEAT", 0.1)
    monkeypatch.setattr(workdir, "PATIENCE", 0.6)


def lock(folder):
    return folder / ".lock"


def foreign(folder, **changes):
    """The lock of a process on another machine."""
    owner = {"host": "node7", "pid": 4321, "since": "2025-01-02T03:04:05+00:00"}
    content = json.dumps({**owner, "machine": "node7 0-1", **changes})
    lock(folder).write_text(content)
    os.utime(lock(folder), (1e9, 1e9))
    return content


def refused(folder):
    """The sentence."""
    with pytest.raises(UserError) as caught, workdir.held(folder):
        pass
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    assert text.startswith(f"--workdir: {folder} is in use by process ")
    return text


@contextlib.contextmanager
def meanwhile(function):
    """Calls it every few milliseconds in a thread."""
    ended = threading.Event()

    def repeat():
        while not ended.wait(0.01):
            with contextlib.suppress(FileNotFoundError):
                function()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def no_locks(*args):
    raise OSError(errno.ENOLCK, "No locks available")


# --------------------------------------------------------------------------------------------------
# One machine


def test_another_process_is_refused_with_the_holder_s_host_and_number(tmp_path):
    with holder(tmp_path) as process:
        before = lock(tmp_path).read_bytes()
        for _ in range(2):  # the one who is refused takes nothing away
            text = refused(tmp_path)
            who = f"process {process.pid} on {re.escape(socket.gethostname())}, since (.*); stop"
            since = datetime.datetime.fromisoformat(re.search(who, text)[1])
            age = datetime.datetime.now(datetime.UTC) - since
            assert -1 < age.total_seconds() < 60
            assert lock(tmp_path).read_bytes() == before
        process.stdin.close()
        assert process.wait(timeout=10) == 0
    assert list(tmp_path.iterdir()) == []
    with workdir.held(tmp_path):
        pass


def test_a_killed_process_holds_nothing(tmp_path, capsys):
    with holder(tmp_path) as process:
        process.kill()
        process.wait(timeout=10)
        assert json.loads(lock(tmp_path).read_text())["pid"] == process.pid
        start = time.monotonic()
        with workdir.held(tmp_path):
            assert time.monotonic() - start < 1
            assert json.loads(lock(tmp_path).read_text())["pid"] == os.getpid()
            refused(tmp_path)
    assert capsys.readouterr().out == ""
    assert not lock(tmp_path).exists()


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, UserError])
def test_it_is_released_at_the_end_whatever_that_is(error, tmp_path):
    threads = threading.enumerate()
    with contextlib.suppress(*filter(None, [error])), workdir.held(tmp_path):
        assert os.listdir(tmp_path) == [".lock"]
        assert f"process {os.getpid()} on" in refused(tmp_path)
        if error:
            raise error
    assert os.listdir(tmp_path) == []
    assert threading.enumerate() == threads
    with workdir.held(tmp_path):
        pass


def test_one_folder_is_not_another(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with workdir.held(tmp_path / "a"), workdir.held(tmp_path / "b"):
        assert str(tmp_path / "a") in refused(tmp_path / "a")


GARBAGE = {
    "nothing": b"",
    "half": b'{"host": "nod',
    "no text": b"\xff\xfe\x00",
    "a list": b'[{"machine": "other"}]',
    "null": b"null",
    "no object in it": b"{}",
    "deep": b"[" * 200_000,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_garbage_in_the_lock_file(content, tmp_path):
    """It is nobody's, unless somebody holds it."""
    lock(tmp_path).write_bytes(content)
    with open(lock(tmp_path)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "process (unknown) on an unknown host, since an unknown time;" in refused(tmp_path)
    start = time.monotonic()
    with workdir.held(tmp_path):
        assert time.monotonic() - start < 1
        assert json.loads(lock(tmp_path).read_text())["pid"] == os.getpid()
    assert not lock(tmp_path).exists()


@pytest.mark.parametrize(
    "odd", [{"pid": {"a": "{b}"}}, {"": 1, "{": 2}, {"host": None}, {"x y": 1}]
)
def test_an_owner_with_odd_values(odd, tmp_path):
    with open(lock(tmp_path), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        foreign(tmp_path, **odd)
        assert "; stop that one first" in refused(tmp_path)


def take(folder, count):
    """How many of `count` takers at once hold it, and the sentences of the others."""
    start, others = threading.Barrier(count), threading.Semaphore(0)
    sentences = []

    def run():
        start.wait()
        try:
            with workdir.held(folder):
                for _ in range(count - 1):  # until all the others have been refused
                    assert others.acquire(timeout=10)
        except UserError as error:
            sentences.append(str(error))
            others.release()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return count - len(sentences), sentences


def test_of_two_at_once_one_has_it(tmp_path):
    for _ in range(20):
        assert take(tmp_path, 2)[0] == 1
        assert os.listdir(tmp_path) == []


def test_of_two_at_once_one_has_it_after_another_machine(tmp_path, quick, capsys):
    foreign(tmp_path)
    number, sentences = take(tmp_path, 4)
    assert (number, len(sentences)) == (1, 3)
    assert capsys.readouterr().out.count("waiting") == 1  # who has no lock does not even wait
    assert os.listdir(tmp_path) == []


def test_never_two_while_others_come_and_go(tmp_path):
    """A file that is removed between its opening and its locking is no lock."""
    inside, worst, entered = [], [], []
    end = time.monotonic() + 1.5

    def run():
        while time.monotonic() < end:
            with contextlib.suppress(UserError), workdir.held(tmp_path):
                inside.append(1)
                worst.append(len(inside))
                entered.append(lock(tmp_path).exists())
                inside.pop()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert max(worst) == 1
    assert len(entered) > 20 and all(entered)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_gone_when_it_is_locked(replaced, tmp_path, monkeypatch):
    """The one before has just ended, and another one may have come."""
    flock, calls = fcntl.flock, []

    def first_gone(file, how):
        flock(file, how)
        if not calls:
            lock(tmp_path).unlink()
            if replaced:
                lock(tmp_path).touch()
        calls.append(file)

    monkeypatch.setattr(fcntl, "flock", first_gone)
    with workdir.held(tmp_path):
        assert len(calls) == 2
        assert json.loads(lock(tmp_path).read_text())["pid"] == os.getpid()
        assert f"process {os.getpid()} on" in refused(tmp_path)
    assert os.listdir(tmp_path) == []


# --------------------------------------------------------------------------------------------------
# Another machine


SAME_HOST = {"host": socket.gethostname(), "machine": f"{socket.gethostname()} of the last start"}


@pytest.mark.parametrize("owner", [{}, SAME_HOST], ids=["another host", "this one, before"])
def test_another_machine_that_lives_is_refused_to(owner, tmp_path, quick, capsys):
    content = foreign(tmp_path, **owner)
    with meanwhile(lambda: os.utime(lock(tmp_path))):
        text = refused(tmp_path)
    host = owner.get("host", "node7")
    assert f"process 4321 on {host}, since 2025-01-02T03:04:05+00:00; stop" in text
    out = capsys.readouterr().out
    assert re.fullmatch(f"{re.escape(str(tmp_path))} was last used on {host}: waiting .*\n", out)
    assert lock(tmp_path).read_text() == content


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux: /proc")
def test_machines_of_one_name_are_told_apart(tmp_path):
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with workdir.held(tmp_path):
        machine = json.loads(lock(tmp_path).read_text())["machine"]
    assert machine == f"{socket.gethostname()} {boot}"


def test_a_late_sign_of_life_is_one(tmp_path, quick):
    foreign(tmp_path)
    timer = threading.Timer(0.4, os.utime, [lock(tmp_path)])
    start = time.monotonic()
    timer.start()
    assert "on node7," in refused(tmp_path)
    assert time.monotonic() - start >= 0.4  # not before the sign
    timer.join()


@pytest.mark.parametrize("owner", [{}, SAME_HOST], ids=["another host", "this one, before"])
def test_another_machine_that_does_not_live_is_taken_over_from(owner, tmp_path, quick):
    foreign(tmp_path, **owner)
    start = time.monotonic()
    with workdir.held(tmp_path):
        assert workdir.PATIENCE < time.monotonic() - start < 10
        assert json.loads(lock(tmp_path).read_text())["pid"] == os.getpid()
        assert f"process {os.getpid()} on" in refused(tmp_path)
    assert os.listdir(tmp_path) == []


def test_of_two_machines_the_last_to_write_has_it(tmp_path, quick, monkeypatch):
    """They may both have found the same stale lock, where locks do not reach that far."""
    monkeypatch.setattr(fcntl, "flock", no_locks)
    foreign(tmp_path)
    theirs = json.dumps({"host": "node8", "pid": 55, "since": "now", "machine": "node8 0-2"})

    def write():
        if f'"pid": {os.getpid()}' in lock(tmp_path).read_text():
            lock(tmp_path).write_text(theirs)

    with meanwhile(write):
        assert "process 55 on node8, since now" in refused(tmp_path)
    assert lock(tmp_path).read_text() == theirs


def test_the_folder_can_be_held_where_there_are_no_locks(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with workdir.held(tmp_path):
        assert json.loads(lock(tmp_path).read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_signs_of_life_count_on_one_machine_too_where_there_are_no_locks(
    tmp_path, quick, monkeypatch
):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    foreign(tmp_path, machine=workdir._machine(), host=socket.gethostname())
    with meanwhile(lambda: os.utime(lock(tmp_path))):
        assert "process 4321 on" in refused(tmp_path)


def test_signs_of_life_are_given_until_the_end(tmp_path, quick):
    with workdir.held(tmp_path):
        for _ in range(3):
            os.utime(lock(tmp_path), (1e9, 1e9))
            end = time.monotonic() + 10 * workdir.BEAT
            while lock(tmp_path).stat().st_mtime == 1e9:
                assert time.monotonic() < end
                time.sleep(0.01)
            assert abs(lock(tmp_path).stat().st_mtime - time.time()) < 5
    lock(tmp_path).touch()
    os.utime(lock(tmp_path), (1e9, 1e9))
    time.sleep(3 * workdir.BEAT)
    assert lock(tmp_path).stat().st_mtime == 1e9


def test_a_lock_that_is_lost_for_a_while_is_no_end(tmp_path, quick):
    """As where a network file system does not answer."""
    with workdir.held(tmp_path):
        content = lock(tmp_path).read_text()
        lock(tmp_path).unlink()
        time.sleep(3 * workdir.BEAT)
        lock(tmp_path).write_text(content)
        os.utime(lock(tmp_path), (1e9, 1e9))
        time.sleep(3 * workdir.BEAT)
        assert lock(tmp_path).stat().st_mtime != 1e9
        lock(tmp_path).unlink()


def test_there_are_several_signs_in_the_time_that_one_waits():
    assert workdir.PATIENCE >= 4 * workdir.BEAT


# --------------------------------------------------------------------------------------------------
# history.jsonl


def history(folder):
    text = (folder / "history.jsonl").read_text()
    assert text.endswith("\n")
    return text.splitlines()


def test_one_object_a_line(tmp_path):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    workdir.record(tmp_path, "start", step=0, changed={"steps": [1, 2]}, host="é\n")
    workdir.record(tmp_path, "finished")
    start, finished = map(json.loads, history(tmp_path))
    time = datetime.datetime.fromisoformat(start.pop("time"))
    assert time.utcoffset() == datetime.timedelta(0)
    assert before <= time <= datetime.datetime.now(datetime.UTC)
    assert start == {"event": "start", "step": 0, "changed": {"steps": [1, 2]}, "host": "é\n"}
    assert list(finished) == ["time", "event"]


@pytest.mark.parametrize("torn", ['{"time": "2025-01-02T03:0', "{", '{"event": "é'])
def test_a_torn_last_line_is_ended_first(torn, tmp_path):
    workdir.record(tmp_path, "start")
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write(torn)
    for event in ("start", "finished"):
        workdir.record(tmp_path, event)
    lines = history(tmp_path)
    assert lines.pop(1) == torn
    assert [json.loads(line)["event"] for line in lines] == ["start", "start", "finished"]


def test_what_is_no_json_leaves_no_half_line(tmp_path):
    workdir.record(tmp_path, "start")
    before = (tmp_path / "history.jsonl").read_bytes()
    with pytest.raises(TypeError):
        workdir.record(tmp_path, "start", step=1, state=object())
    assert (tmp_path / "history.jsonl").read_bytes() == before
