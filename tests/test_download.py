"""Downloads from a local server that does all that a server can do wrong."""

import contextlib
import errno
import hashlib
import http.server
import io
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxgan.data import download
from jaxgan.data.download import File, check, fetch
from jaxgan.errors import UserError

SIZE = 1_000_000
CONTENT = np.random.default_rng(0).bytes(SIZE)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()


class Server:
    """Answers the requests for a path with its functions in turn, the last one for ever."""

    def __init__(self):
        self.answers = {}
        self.requests = []  # path, and the header Range or None
        self.sent = 0  # bytes of content
        self.release = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.path, self.headers["Range"]))
                answers = outer.answers[self.path]
                with contextlib.suppress(ConnectionError):
                    (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            def start(self, status, **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()

            def send(self, content):
                outer.sent += len(content)
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def file(self, *paths):
        """The published file, at these paths."""
        return File("data.bin", tuple(self.url + path for path in paths), SIZE, SHA256)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "WAIT_SECONDS", (0, 0))
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.release.set()
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def whole(content=CONTENT, ends=None, reset=False):
    """As a good server answers, up to byte `ends` of the content, where it hangs up."""

    def answer(handler):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        start = int(asked[1]) if asked else 0
        if start >= len(content):
            return handler.start(416)
        headers = {"Content_Length": len(content) - start}
        if asked:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.start(206 if asked else 200, **headers)
        handler.send(content[start:ends])
        if reset:
            handler.wfile.flush()
            # Closed with nothing lingering, the connection is reset.
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()

    return answer


def ignores_range(content=CONTENT):
    def answer(handler):
        handler.start(200, Content_Length=len(content))
        handler.send(content)

    return answer


def unsized(content):
    """Without a length: the content goes on until the connection closes."""

    def answer(handler):
        handler.start(200)
        handler.send(content)

    return answer


def chunked(content, end=b"0\r\n\r\n"):
    def answer(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.start(200, Transfer_Encoding="chunked")
        for i in range(0, len(content), 70_000):
            part = content[i : i + 70_000]
            handler.send(b"%x\r\n%b\r\n" % (len(part), part))
        handler.wfile.write(end)
        handler.close_connection = True

    return answer


def status(code, **headers):
    return lambda handler: handler.start(code, **headers)


def raw(content):
    return lambda handler: handler.wfile.write(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def failure(file, folder):
    """What the user reads, after checking that nothing bears the final name."""
    with pytest.raises(UserError) as error:
        fetch(file, folder)
    assert file.name not in names(folder)
    text = str(error.value)
    assert "\n" not in text
    return text


def unfetched(*reasons):
    return (
        f"data.bin: cannot be downloaded ({'; '.join(reasons)}): "
        "put it into a folder and name that folder with data.path"
    )


def test_fetch_downloads_once(server, tmp_path, capfd):
    server.answers["/a"] = [whole()]
    folder = tmp_path / "new" / "folder"
    path = fetch(server.file("/a"), folder)
    assert (path, path.read_bytes()) == (folder / "data.bin", CONTENT)
    assert fetch(server.file("/a"), folder) == path
    assert server.requests == [("/a", None)]
    assert names(folder) == ["data.bin"]
    assert capfd.readouterr() == ("", "")  # the bar is for terminals


@pytest.mark.parametrize("content", [OTHER, CONTENT[:-1], b""])
def test_fetch_replaces_what_is_not_as_published(server, tmp_path, content):
    (tmp_path / "data.bin").write_bytes(content)
    server.answers["/a"] = [whole()]
    assert fetch(server.file("/a"), tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == ["data.bin"]


def test_fetch_does_not_use_what_it_cannot_replace(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(OTHER)
    server.answers["/a"] = [status(404)]
    with pytest.raises(UserError, match="answers 404"):
        fetch(server.file("/a"), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == OTHER


@pytest.mark.parametrize("reset", [False, True])
def test_fetch_resumes_after_a_lost_connection(server, tmp_path, reset):
    server.answers["/a"] = [whole(ends=300_000, reset=reset), whole(ends=500_000), whole()]
    assert fetch(server.file("/a"), tmp_path).read_bytes() == CONTENT
    starts = [int(asked.strip("bytes=-")) for _, asked in server.requests[1:]]
    if reset:  # drops what the client has not read yet
        assert 0 <= starts[0] <= 300_000 and starts[1] == 500_000
    else:
        assert starts == [300_000, 500_000]
        assert server.sent == SIZE


def test_fetch_resumes_in_a_later_call_and_at_another_mirror(server, tmp_path):
    server.answers.update({"/a": [whole(ends=400_000)], "/b": [status(500)], "/c": [whole()]})
    where = f"{server.url}/a: it ends after 400,000 of 1,000,000 bytes"
    text = failure(server.file("/a", "/b"), tmp_path)
    assert text == unfetched(where, f"{server.url}/b: the server answers 500")
    rest = "bytes=400000-"
    expected = [("/a", None), ("/a", rest), ("/a", rest), *[("/b", rest)] * 3]
    assert server.requests == expected
    assert (tmp_path / ".data.bin.part").read_bytes() == CONTENT[:400_000]
    assert fetch(server.file("/c"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/c", "bytes=400000-")
    assert server.sent == SIZE
    assert names(tmp_path) == ["data.bin"]


def test_fetch_waits_longer_each_time(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(download, "WAIT_SECONDS", (1, 4))
    monkeypatch.setattr(download, "time", types.SimpleNamespace(sleep=waits.append))
    server.answers["/a"] = [status(503)]
    failure(server.file("/a"), tmp_path)
    assert (waits, len(server.requests)) == ([1, 4], 3)


@pytest.mark.parametrize(
    ("part", "answer", "requests"),
    [
        (CONTENT[:400_000], ignores_range(), ["bytes=400000-"]),
        (CONTENT[:400_000], status(416), ["bytes=400000-", None]),
        (
            CONTENT[:400_000],
            status(206, Content_Range="bytes 3-999999/1000000", Content_Length=600_000),
            ["bytes=400000-", None],
        ),
        (CONTENT[:400_000], status(206, Content_Length=600_000), ["bytes=400000-", None]),
        (b"x" * 400_000, whole(), ["bytes=400000-", None]),  # the part was wrong, not the server
        (OTHER, whole(), [None]),
        (CONTENT + b"x", whole(), [None]),
        (CONTENT, whole(), []),
    ],
)
def test_fetch_with_a_partial_file(server, tmp_path, part, answer, requests):
    (tmp_path / ".data.bin.part").write_bytes(part)
    server.answers["/a"] = [answer, whole()] if len(requests) > 1 else [answer]
    assert fetch(server.file("/a"), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == requests
    assert names(tmp_path) == ["data.bin"]


@pytest.mark.parametrize("answer", [chunked(CONTENT), unsized(CONTENT)])
def test_fetch_needs_no_content_length(server, tmp_path, answer):
    server.answers["/a"] = [answer]
    assert fetch(server.file("/a"), tmp_path).read_bytes() == CONTENT


WRONG = f"its SHA-256 is {OTHER_SHA256}, it should be {SHA256}"


@pytest.mark.parametrize(
    ("answer", "reason", "attempts"),
    [
        (whole(OTHER), WRONG, 1),
        (whole(CONTENT + b"x"), "it has 1,000,001 bytes, not 1,000,000", 1),
        (whole(CONTENT[:-1]), "it has 999,999 bytes, not 1,000,000", 1),
        (chunked(CONTENT + b"x"), "it has more than 1,000,000 bytes", 1),
        (unsized(CONTENT + bytes(50_000)), "it has more than 1,000,000 bytes", 1),
        (status(404, Content_Length=0), "the server answers 404", 1),
        (status(204), "the server answers 204", 1),
        (status(302, Location="file:///etc/passwd"), "the server answers 302", 1),
        (status(302, Location="ftp://127.0.0.1/x"), "unknown url type: ftp", 3),
        (status(302, Location="http://[x"), "no proper answer (ValueError)", 3),
        (status(500), "the server answers 500", 3),
        (raw(b""), "Remote end closed connection without response", 3),
        (raw(b"\x1b[31mHello\r\n\r\n"), "no proper answer (BadStatusLine)", 3),
    ],
)
def test_fetch_says_what_each_mirror_did_and_tries_the_next(
    server, tmp_path, answer, reason, attempts
):
    server.answers.update({"/a": [answer], "/b": [whole()], "/c": [status(404)]})
    text = failure(server.file("/a", "/c"), tmp_path)
    assert text == unfetched(f"{server.url}/a: {reason}", f"{server.url}/c: the server answers 404")
    assert [path for path, _ in server.requests] == ["/a"] * attempts + ["/c"]
    assert names(tmp_path) == []
    assert fetch(server.file("/a", "/b"), tmp_path).read_bytes() == CONTENT


def test_fetch_keeps_what_came_before_a_broken_chunk(server, tmp_path):
    broken = chunked(CONTENT[:140_000], end=b"ffff\r\n" + CONTENT[140_000:140_003])
    server.answers["/a"] = [broken, broken, broken, whole()]
    text = failure(server.file("/a"), tmp_path)
    assert text == unfetched(f"{server.url}/a: it ends after 140,003 of 1,000,000 bytes")
    assert fetch(server.file("/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/a", "bytes=140003-")


def test_fetch_keeps_the_part_where_a_proxy_answers_with_a_page(server, tmp_path):
    (tmp_path / ".data.bin.part").write_bytes(CONTENT[:400_000])
    server.answers["/a"] = [ignores_range(b"<html>Please log in</html>")]
    assert "it has 26 bytes, not 1,000,000" in failure(server.file("/a"), tmp_path)
    assert (tmp_path / ".data.bin.part").read_bytes() == CONTENT[:400_000]


def test_fetch_never_reads_more_than_there_should_be(server, tmp_path):
    def endless(handler):
        handler.start(200)
        with contextlib.suppress(ConnectionError):
            while not server.release.is_set():
                handler.send(bytes(1 << 16))

    server.answers["/a"] = [endless]
    assert "it has more than 1,000,000 bytes" in failure(server.file("/a"), tmp_path)
    assert len(server.requests) == 1


def test_fetch_gives_up_on_a_silent_server(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)

    def silent(handler):
        handler.start(200, Content_Length=SIZE)
        handler.send(CONTENT[:400_000])
        handler.wfile.flush()
        server.release.wait(10)

    server.answers["/a"] = [silent, lambda handler: server.release.wait(10)]
    text = failure(server.file("/a"), tmp_path)
    assert text == unfetched(f"{server.url}/a: timed out")
    assert [asked for _, asked in server.requests] == [None, "bytes=400000-", "bytes=400000-"]
    assert (tmp_path / ".data.bin.part").stat().st_size == 400_000


def test_fetch_without_a_network(server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
        text = failure(File("data.bin", (url, "http://nowhere.invalid/"), SIZE, SHA256), tmp_path)
    expected = unfetched(f"{url}: Connection refused", "http://nowhere.invalid/: [^;]+")
    assert re.fullmatch(re.escape(expected).replace(re.escape("[^;]+"), "[^;)]+"), text)
    assert names(tmp_path) == []


def test_fetch_on_a_full_disk(server, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, content):
            if self.tell() + len(content) > 600_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(content)

    def open_full(path, mode):
        return io.BufferedWriter(Full(path, mode)) if mode == "ab" else open(path, mode)

    server.answers["/a"] = [whole()]
    with monkeypatch.context() as patch:
        patch.setattr(download, "open", open_full, raising=False)
        text = failure(server.file("/a"), tmp_path)
    assert text == (
        f"{tmp_path}/data.bin: cannot be read or written: No space left on device; "
        "the folder must be writable and have room for 1,000,000 bytes"
    )
    part = (tmp_path / ".data.bin.part").read_bytes()
    assert part and CONTENT.startswith(part)
    assert len(server.requests) == 1
    assert fetch(server.file("/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests[1] == ("/a", f"bytes={len(part)}-")


def test_fetch_into_what_is_no_folder(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/data.bin: cannot be read or written: File exists"):
        fetch(server.file("/a"), tmp_path / "file")


def test_fetch_shows_a_bar_on_a_terminal(server, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    server.answers["/a"] = [whole()]
    (tmp_path / ".data.bin.part").write_bytes(CONTENT[:400_000])
    monkeypatch.setattr(sys, "stderr", Terminal())
    fetch(server.file("/a"), tmp_path)
    shown = sys.stderr.getvalue()
    assert "data.bin:  40%" in shown and "400k/1.00M" in shown and "1.00M/1.00M" in shown


def slow(server, halfway):
    """Sends half, tells, and the rest once it is released."""

    def answer(handler):
        handler.start(200, Content_Length=SIZE)
        handler.send(CONTENT[:500_000])
        handler.wfile.flush()
        halfway.set()
        server.release.wait(30)
        handler.send(CONTENT[500_000:])

    return answer


def test_fetch_in_threads_at_once_downloads_once(server, tmp_path):
    halfway, paths = threading.Event(), []
    server.answers["/a"] = [slow(server, halfway)]
    file = server.file("/a")
    threads = [
        threading.Thread(target=lambda: paths.append(fetch(file, tmp_path))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    assert halfway.wait(10)
    time.sleep(0.05)  # the others come to wait at the lock, or have yet to start
    assert (names(tmp_path), paths) == ([".data.bin.part"], [])
    server.release.set()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / "data.bin"] * 5
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.requests == [("/a", None)]
    assert names(tmp_path) == ["data.bin"]


def test_fetch_in_threads_that_fail_lets_the_next_one_try(server, tmp_path):
    server.answers["/a"] = [*[whole(OTHER)] * 3, whole()]
    outcomes = []

    def run():
        try:
            outcomes.append(fetch(server.file("/a"), tmp_path).read_bytes() == CONTENT)
        except UserError:
            outcomes.append(False)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 3 + [True] * 3
    assert len(server.requests) == 4
    assert names(tmp_path) == ["data.bin"]


def test_fetch_in_processes_at_once_and_after_one_is_killed(server, tmp_path):
    program = f"""
from pathlib import Path
from jaxgan.data.download import File, fetch
print("ready", flush=True)
fetch(File(*{tuple(server.file("/a"))!r}), Path({str(tmp_path)!r}))
"""
    halfway = threading.Event()
    server.answers["/a"] = [slow(server, halfway), whole()]
    command = [sys.executable, "-c", program]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    assert halfway.wait(60)
    part = tmp_path / ".data.bin.part"
    while part.stat().st_size < 400_000:
        time.sleep(0.01)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as second:
        second.stdout.readline()
        time.sleep(0.1)  # it comes to wait at the lock
        assert len(server.requests) == 1
        first.send_signal(signal.SIGKILL)
        assert (first.wait(), second.wait()) == (-signal.SIGKILL, 0)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(server.requests) == 2 and server.requests[1][1]
    assert names(tmp_path) == ["data.bin"]


def test_check(tmp_path):
    file, path = File("data.bin", (), SIZE, SHA256), tmp_path / "mine.bin"
    path.write_bytes(CONTENT)
    check(path, file)
    path.write_bytes(OTHER)
    with pytest.raises(UserError) as error:
        check(path, file)
    assert str(error.value) == f"{path}: not data.bin as published: {WRONG}"
    with pytest.raises(UserError, match=r"nothing: cannot be read: No such file or directory$"):
        check(tmp_path / "nothing", file)


def test_the_published_files_are_those_that_tfds_downloads():
    listed = {}
    for text in (Path(tfds.__file__).parent / "url_checksums").glob("*.txt"):
        rows = (line.split("\t") for line in text.read_text().splitlines())
        listed |= {row[0]: row[1:3] for row in rows if len(row) > 2}
    for files in download.FILES.values():
        for file in files:
            assert listed[file.urls[0]] == [str(file.size), file.sha256]
            assert all(url.endswith("/" + file.name) for url in file.urls)
    assert {name: len(files) for name, files in download.FILES.items()} == {
        "mnist": 4, "fashion_mnist": 4, "cifar10": 1, "cifar100": 1,
    }  # fmt: skip
