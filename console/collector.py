"""Python's garbage collector, in a process that is the guard's own.

With its defaults the collector walks through every object of the process again
and again while trades are registered: with some 10,000 trades those pauses are
the slowest answers over HTTP (p99 137 ms against 72 ms, `python -m benchmarks
http`). What is there when the guard is ready mostly stays, so it is set apart,
and the rest is looked at less often. A host that embeds a guard decides itself.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (10_000, 20, 100)


@contextmanager
def calm() -> Iterator[None]:
    """Collect less often, and not what is there now; as it was, afterwards."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
