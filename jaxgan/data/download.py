"""The published files of the data sets that this room prepares, and how they are fetched.

A file is downloaded beside its final name as `.NAME.part`, and moved there only when its size and
its SHA-256 are those published: what bears the final name is whole. What has arrived before a
failure stays, and the next attempt, at any mirror and in any later process, asks for the rest.
A lock on the partial file makes a second process wait, and then find the finished file.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import tqdm

from jaxgan.errors import UserError

TIMEOUT_SECONDS = 30  # without a byte
WAIT_SECONDS = (1, 4)  # before the second and the third attempt at one mirror
CHUNK_BYTES = 1 << 18


class File(NamedTuple):
    """One published file: its name, its mirrors (http or https, in order), bytes and SHA-256."""

    name: str
    urls: tuple[str, ...]
    size: int
    sha256: str
    otherwise: str = "put it into a folder and name that folder with data.path"  # what to do then


class _Failed(Exception):
    """One attempt failed; `again` says whether another at the same mirror may do better."""

    def __init__(self, reason: str, again: bool):
        super().__init__(reason)
        self.again = again


def fetch(file: File, folder: Path) -> Path:
    """The path of `file` in `folder`, which is made if need be; downloaded if it is not there.

    A file that is there but is not as published is replaced. Raises UserError where no mirror has
    the file, or the folder cannot take it; then nothing new bears its name.
    """
    target = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_whole(target, file):
            with _locked(folder / f".{file.name}.part") as part:
                if not _is_whole(target, file):  # another process may have finished it
                    _complete(part, file)
                    os.replace(part.name, target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be read or written: {error.strerror or error}; the folder must be "
            f"writable and have room for {file.size:,} bytes"
        ) from error
    return target


def check(path: Path, file: File) -> None:
    """Raises UserError where the content of `path` is not that of `file`."""
    try:
        found = sha256(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    if found != file.sha256:
        raise UserError(
            f"{path}: not {file.name} as published: its SHA-256 is {found}, "
            f"it should be {file.sha256}"
        )


def size(url: str) -> int:
    """The bytes of the file at `url`. Raises UserError where the server does not tell."""
    with tempfile.TemporaryFile() as nothing:
        try:
            with _request(url, nothing, 0) as response:
                length = response.length
        except _Failed as failure:
            raise UserError(f"{url}: cannot be downloaded: {failure}") from failure
    if not length:
        raise UserError(f"{url}: the server does not tell its size; download it, and name the file")
    return length


def _is_whole(path: Path, file: File) -> bool:
    return path.is_file() and sha256(path) == file.sha256


def sha256(path: Path | str) -> str:
    """The checksum of a file's content, 64 hexadecimal digits."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The partial file, open for appending, once no one else has it; removed if left empty."""
    while True:
        with open(path, "ab") as part:
            fcntl.flock(part, fcntl.LOCK_EX)
            # Who had it may have moved it: what is open here would then be the finished file.
            if not _is_at(part, path):
                continue
            try:
                yield part
            finally:
                if _is_at(part, path) and _size(part) == 0:
                    path.unlink()
            return


def _is_at(part: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(part.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _size(part: BinaryIO) -> int:
    part.flush()
    return os.fstat(part.fileno()).st_size


def _complete(part: BinaryIO, file: File) -> None:
    """Downloads what `part` lacks, and checks it; UserError where no mirror has the file."""
    failures = []
    for url in file.urls:
        for wait in (*WAIT_SECONDS, None):
            try:
                return _attempt(url, part, file)
            except _Failed as failure:
                if wait is None or not failure.again:
                    failures.append(f"{url}: {failure}")
                    break
            time.sleep(wait)
    raise UserError(f"{file.name}: cannot be downloaded ({'; '.join(failures)}): {file.otherwise}")


def _attempt(url: str, part: BinaryIO, file: File) -> None:
    start = _size(part)
    if start < file.size:
        _receive(url, part, file, start)
        part.flush()
    found = sha256(part.name)
    if found != file.sha256:
        part.truncate(0)
        # After a resumption it may be the earlier part that was wrong, and not this mirror's.
        raise _Failed(f"its SHA-256 is {found}, it should be {file.sha256}", again=start > 0)


def _receive(url: str, part: BinaryIO, file: File, start: int) -> None:
    """Appends to `part`, which holds `start` bytes, the others, or starts it anew."""
    with _request(url, part, start) as response:
        length = response.length  # None: the server does not say
        if response.status == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                part.truncate(0)
                raise _Failed("the server sends another range than that asked for", again=True)
        elif response.status == 200:  # the whole, whatever was asked for
            start = 0
        else:
            raise _Failed(f"the server answers {response.status}", again=False)
        if length not in (None, file.size - start):
            raise _Failed(f"it has {start + length:,} bytes, not {file.size:,}", again=False)
        if not start:
            part.truncate(0)
        with tqdm.tqdm(
            desc=file.name,
            initial=start,
            total=file.size,
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None,  # unless on a terminal
        ) as bar:
            while start < file.size:
                chunk = _read(response, min(CHUNK_BYTES, file.size - start))
                if not chunk:
                    raise _Failed(f"it ends after {start:,} of {file.size:,} bytes", again=True)
                part.write(chunk)
                start += len(chunk)
                bar.update(len(chunk))
        if length is None and _read(response, 1):
            part.truncate(0)
            raise _Failed(f"it has more than {file.size:,} bytes", again=False)


def _request(url: str, part: BinaryIO, start: int) -> http.client.HTTPResponse:
    # Of urllib's handlers those for http and https only: a redirection leads nowhere else.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        return opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # there is nothing after `start`: what is here is of another file
            part.truncate(0)
        again = error.code == 416 or error.code >= 500
        raise _Failed(f"the server answers {error.code}", again) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Failed(_reason(error), again=True) from error


def _read(response: http.client.HTTPResponse, count: int) -> bytes:
    """At least one byte and at most `count`, or none at the end."""
    try:
        return response.read1(count)
    except http.client.IncompleteRead:
        return b""
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(_reason(error), again=True) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError):
        if not isinstance(error.reason, Exception):
            return str(error.reason)
        error = error.reason
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # What such an error says may be what the server sent, of any length.
    return f"no proper answer ({type(error).__name__})"


def _mirrored(mirrors: tuple[str, ...], *files: tuple[str, int, str]) -> tuple[File, ...]:
    return tuple(
        File(name, tuple(mirror + name for mirror in mirrors), size, sha256)
        for name, size, sha256 in files
    )


# Addresses, sizes and checksums: url_checksums/*.txt of tensorflow_datasets 4.9.10. Only MNIST's
# second mirror is not from there: it is torchvision's.
FILES: dict[str, tuple[File, ...]] = {
    "mnist": _mirrored(
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        (
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion_mnist": _mirrored(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    "cifar10": _mirrored(
        ("https://www.cs.toronto.edu/~kriz/",),
        (
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    "cifar100": _mirrored(
        ("https://www.cs.toronto.edu/~kriz/",),
        (
            "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
}
