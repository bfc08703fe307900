"""Ctrl-C and SIGTERM: the first is noted, for training to end well; the second ends at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

STOPPING = b"\nstopping after the steps at hand, with a checkpoint; once more to stop at once\n"
AT_ONCE = b"\nstopped at once; the same command again goes on from the last checkpoint\n"


@contextlib.contextmanager
def caught() -> Iterator[Callable[[], int]]:
    """Yields a function that tells the number of the first stop signal received, 0 if none.

    The second one ends the process with the exit code 128 + its number, whatever it is doing: a
    thread answers, because Python runs handlers only between two of its own instructions, and XLA
    may compile for minutes within one. Outside the main thread, where no signals can be handled,
    nothing is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    received = 0
    usual = {n: signal.getsignal(n) or signal.SIG_DFL for n in (signal.SIGINT, signal.SIGTERM)}
    numbers = [n for n in usual if usual[n] != signal.SIG_IGN]  # as nohup and `&` leave them
    read, write = os.pipe()
    os.set_blocking(write, False)

    def tell(text: bytes) -> None:
        with contextlib.suppress(OSError):  # whoever read it may be gone
            os.write(2, text)

    def watch() -> None:
        nonlocal received
        while number := os.read(read, 1)[0]:
            if number not in numbers:
                continue
            if received:
                tell(AT_ONCE)
                os._exit(128 + number)
            received = number
            tell(STOPPING)

    usual_fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda number, frame: None)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: received
    finally:
        for number in numbers:
            signal.signal(number, usual[number])
        signal.set_wakeup_fd(usual_fd)
        os.write(write, b"\0")
        watcher.join()
        os.close(read)
        os.close(write)
