"""What a signal does to the program, from the first moment to the last.

SIGINT (Ctrl-C, Slurm), SIGTERM (Slurm, Kubernetes, `docker stop`; without a handler it does nothing to process 1 of a
container) and SIGHUP (a lost terminal) end every command in the same way: the main thread unwinds, which ends the
workers and frees the store; one line says so; the status is 128 + the signal's number. At a second signal, or if the
main thread has not unwound after `GRACE_S` because a library holds or swallows the exception, the process ends at once:
nothing that is stored needs a clean end.
"""

import multiprocessing
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 8.0  # `docker stop` kills after ten
MESSAGE = "interrupted ({name}): what is done is safe; run the same command to resume"


class Interrupted(SystemExit):
    """A signal has come: no `Exception`, so that nobody takes it for a failed task."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


_interrupted = _told = False
_first: int | None = None  #: the signal that ends the program


def end(number: int) -> NoReturn:
    """The end, at once: what libraries would still do in a dying interpreter can only fail, and print a traceback."""
    for child in multiprocessing.active_children():
        child.terminate()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(128 + number)


def end_if_interrupted(error: Exception) -> None:
    """Interrupted where a signal has come: what a library raises after that is not the cause, such as a time-out."""
    if _first is not None:
        raise Interrupted(_first) from error


def take_signals() -> None:
    receive, send = os.pipe()
    os.set_blocking(send, False)
    for number in SIGNALS:
        # `nohup` keeps its meaning. A shell ignores SIGINT for what a script runs in the background; we do not.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    # Python's handlers wait for the main thread, which may be inside compiled code; this pipe does not.
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    threading.Thread(target=_insist, args=(receive,), name="ldas-signals", daemon=True).start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """In the main thread, at the first signal; the others are for `_insist`."""
    global _interrupted, _first
    if not _interrupted:
        _interrupted, _first = True, number
        raise Interrupted(number)


def _insist(receive: int) -> None:
    """In a thread: the end of the program at the second signal, or when the first one has had its time."""
    first = _next_signal(receive, None)
    assert first is not None
    number = _next_signal(receive, GRACE_S) or first
    tell(number)
    os._exit(128 + number)


def _next_signal(receive: int, timeout: float | None) -> int | None:
    """Number of the next signal that ends the program; None when none comes in time."""
    while select.select([receive], [], [], timeout)[0]:
        (number,) = os.read(receive, 1)
        if number in SIGNALS:
            return int(number)
    return None


def tell(number: int) -> None:
    """The one line."""
    global _told
    if not _told:
        _told = True
        with suppress(OSError):  # nobody reads it
            os.write(2, f"{MESSAGE.format(name=signal.Signals(number).name)}\n".encode())
