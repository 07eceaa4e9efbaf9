"""How a worker's answers are heard: by the asker himself, or by a thread of their own.

Where a pipe can be waited for with a deadline (not on Windows), whoever asks
reads it himself: an answer that has to pass through a second thread comes
some 20 us later. Elsewhere a thread reads and hands on by a queue.
"""

from __future__ import annotations

import math
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, Any, Final, Protocol, TypeAlias

from defence.errors import Invalid
from terminals.worker.frames import LATE_PIECES, Frames

Answer: TypeAlias = tuple[Any, ...]
Take: TypeAlias = Callable[[Any], Answer | None]  # None for a note; raises Invalid for damage

CAN_POLL: Final = sys.platform != "win32" and hasattr(select, "poll") and hasattr(os, "sched_yield")
DRAIN: Final = 0.5  # seconds for a process that has closed its pipe to end
GLANCE: Final = 150e-6  # seconds
_PIECE: Final = 65_536
_LARGEST_PIECE: Final = 1 << 20


class EndedError(Exception):
    """The process has ended; the text says why."""


class Owner(Protocol):
    """The process that is heard."""

    why: str

    def take(self, message: Any) -> Answer | None:
        """Return an answer, None for a note. Raises Invalid for what is neither."""

    def kill(self, why: str) -> None:
        """End the process now."""

    def runs_no_more(self, within: float) -> bool:
        """Whether it has ended, after so many seconds at most."""


class Hearing(Protocol):
    """Where answers come from. `get` is for one thread at a time, the rest for any."""

    def get(self, until: float) -> Answer | None:
        """Return the next answer, None if there is none `until` (monotonic).

        Raises EndedError once the process is gone and has said everything.
        """

    def deaf(self) -> bool:
        """Whether it is known that no answer will ever come."""

    def close(self) -> None:
        """Take what the ended process still said, and close its pipe."""

    def over(self) -> None:
        """Note that the process is gone; whoever waits is told."""


class Polled:
    """The asker reads. Two descriptors of its own wake him when the process ends."""

    def __init__(self, stream: IO[bytes], owner: Owner) -> None:
        """Raise OSError if no descriptor is to be had; the stream stays the caller's then."""
        self._wake, self._waker = os.pipe()
        self._stream = stream
        self._pipe = stream.fileno()
        self._owner = owner
        self._frames = Frames()
        self._ready: deque[Answer] = deque()
        self._open = True  # more may come
        self._ending = False  # the process runs no more
        self._gone = threading.Event()
        self._reading = threading.Lock()
        os.set_blocking(self._pipe, False)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def get(self, until: float) -> Answer | None:
        """Wait for the pipe, and read it; after its end, for the process's."""
        late = 0  # pieces read after the deadline
        with self._reading:
            while not self._ready and not self._ending:
                now = time.monotonic()
                left = until - now
                found = self._glance(now) or self._poll.poll(max(0, math.ceil(left * 1000.0)))
                if left <= 0 and (not found or late == LATE_PIECES):
                    return None
                late += left <= 0
                self._read()
            if self._ready:
                return self._ready.popleft()
        if not self._gone.wait(max(0.0, until - time.monotonic())):
            return None
        if self._ready:
            return self._ready.popleft()
        raise EndedError(self._owner.why)

    def _glance(self, began: float) -> bool:
        """Look again and again for a moment: most answers are there before one falls asleep."""
        while time.monotonic() - began < GLANCE:
            if self._poll.poll(0):
                return True
            os.sched_yield()
        return False

    def deaf(self) -> bool:
        """Look whether the pipe has ended."""
        with self._reading:
            if not self._ending and self._poll.poll(0):
                self._read()
            return not self._open

    def close(self) -> None:
        """Read the rest; the pipe has an end, unless somebody inherited it."""
        self._ending = True
        os.write(self._waker, b"!")
        with self._reading:
            while self._read():
                pass
            self._open = False
            with suppress(OSError):
                self._stream.close()
            for one in (self._wake, self._waker):
                os.close(one)

    def over(self) -> None:
        """Let whoever waits go on."""
        self._gone.set()

    def _read(self) -> bool:
        """Take one piece; whether there was one. An end, or damage, ends the process.

        One at a time: whoever waits looks at his deadline after each.
        """
        if not self._open:
            return False
        try:
            piece = os.read(self._pipe, _size(self._frames))
            for message in self._frames.feed(piece):
                found = self._owner.take(message)
                if found is not None:
                    self._ready.append(found)
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(f"its pipe failed: {error}")
        except Invalid as damage:
            self._end(f"its answer is damaged: {damage}")
        else:
            if not piece:
                _ended(self._frames, self._owner)
                self._end("")
        return True

    def _end(self, why: str) -> None:
        self._open = False
        self._poll.unregister(self._pipe)  # an end would be told again and again
        if why:
            self._owner.kill(why)


class Threaded:
    """A thread reads, and ends with the pipe."""

    def __init__(self, stream: IO[bytes], owner: Owner) -> None:
        """Begin to read. Raises RuntimeError if no thread can be started."""
        self._answers: SimpleQueue[Answer | None] = SimpleQueue()
        self._owner = owner
        self._stream = stream
        self._thread = threading.Thread(target=self._read, name="dtms-worker-answers", daemon=True)
        self._thread.start()

    def get(self, until: float) -> Answer | None:
        """Wait on the queue, so that a deadline is kept even if the pipe says nothing."""
        left = until - time.monotonic()
        try:
            found = self._answers.get(timeout=left) if left > 0 else self._answers.get_nowait()
        except Empty:
            return None
        if found is None:
            self._answers.put(None)  # for whoever asks next
            raise EndedError(self._owner.why)
        return found

    def deaf(self) -> bool:
        """Say no: the thread ends the process when the pipe ends."""
        return False

    def close(self) -> None:
        """Wait a while for the thread, which closes the pipe."""
        self._thread.join(DRAIN)

    def over(self) -> None:
        """Put the end behind all answers."""
        self._answers.put(None)

    def _read(self) -> None:
        frames, pipe = Frames(), self._stream.fileno()
        try:
            while piece := os.read(pipe, _size(frames)):
                for message in frames.feed(piece):
                    found = self._owner.take(message)
                    if found is not None:
                        self._answers.put(found)
            _ended(frames, self._owner)
        except Invalid as damage:
            self._owner.kill(f"its answer is damaged: {damage}")
        except OSError as error:
            self._owner.kill(f"its pipe failed: {error}")
        with suppress(OSError):
            self._stream.close()


def _size(frames: Frames) -> int:
    return min(_LARGEST_PIECE, max(_PIECE, frames.missing))


def _ended(frames: Frames, owner: Owner) -> None:
    """Judge the end of the pipe: one who has closed it can answer nobody any more."""
    if frames.begun:
        owner.kill("it ended in the middle of an answer")
    elif not owner.runs_no_more(DRAIN):
        owner.kill("it closed its pipe")
