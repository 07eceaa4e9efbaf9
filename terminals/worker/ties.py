"""What ties a worker to its guard: it dies with it, and not before it. In the child.

The pipe's end is noticed by a thread of the child, which needs Python's GIL. A
native call that hangs holds the GIL, so there the system has to do it: Linux by
the parent-death signal, Windows by the guard's job object (job.py). Elsewhere
only a worker that hangs with the GIL held stays until its call returns.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Final, Protocol

_LOOK_EVERY: Final = 0.25  # seconds
_PR_SET_PDEATHSIG: Final = 1
ORPHANED: Final = 70  # exit status of a worker whose guard was gone before it had begun


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux).

    Ends at once if `parent` has gone meanwhile. That it is the THREAD is why
    the guard starts a worker from a thread that lives as long as the worker.
    """
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            reason = os.strerror(ctypes.get_errno())
            print(f"no parent-death signal: {reason}", file=sys.stderr, flush=True)  # noqa: T201
    if sys.platform != "win32" and os.getppid() != parent:
        os._exit(ORPHANED)


class Busy(Protocol):
    """Who reads the pipe when not busy."""

    busy: bool


def end_with(pipe: int, reader: Busy) -> None:
    """End this process when the other end of `pipe` is closed, also while a call hangs.

    For a thread of its own; it never returns. It reads nothing: the process's
    main thread does.
    """
    if sys.platform == "win32":
        _end_with_handle(pipe, reader)
    else:
        poll = select.poll()
        poll.register(pipe, 0)  # only the end is asked for, and always told
        poll.poll()
    os._exit(0)


def _end_with_handle(pipe: int, reader: Busy) -> None:
    """Look now and then, as Windows cannot wait for a pipe's end.

    Not while the main thread reads: a look would wait for that read, which
    sees the end by itself.
    """
    if sys.platform == "win32":
        import _winapi
        import msvcrt

        handle = msvcrt.get_osfhandle(pipe)
        while True:
            time.sleep(_LOOK_EVERY)
            try:
                if reader.busy:
                    _winapi.PeekNamedPipe(handle, 0)
            except OSError:
                return


def outlive_signals() -> None:
    """Ignore what is meant for the guard: it ends its worker in order, by the pipe.

    Ctrl-C reaches every process of a terminal window, a service manager's stop
    signal every process of a service.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)


def claim_pipes() -> tuple[int, int]:
    """Take the two pipes away from standard input and output; return their descriptors.

    What a library prints goes to standard error, where it damages no frame;
    what it reads is empty. Nobody that this process starts inherits the pipes.
    """
    incoming, outgoing = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for pipe in (incoming, outgoing):
            msvcrt.setmode(pipe, os.O_BINARY)
    return incoming, outgoing


def quiet_crashes() -> None:
    """Leave a trace of a crash in native code on standard error, and open no window."""
    import faulthandler

    faulthandler.enable(file=2)
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.SetErrorMode(0x0001 | 0x0002)
