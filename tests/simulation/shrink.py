"""Make a script that breaks something as short as it can be, while it breaks the same thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.simulation.script import Blow

Breaks = Callable[[Sequence[Blow]], bool]


def shrink(script: Sequence[Blow], breaks: Breaks, *, tries: int = 400) -> list[Blow]:
    """Return a part of `script` that still breaks and of which no blow can be left out.

    With fewer than `tries` runs, that is; then simpler times are tried.
    """
    left, kept, size = tries, list(script), max(1, len(script) // 2)
    while size >= 1 and left > 0:
        at, smaller = 0, False
        while at < len(kept) and left > 0:
            without = kept[:at] + kept[at + size :]
            left -= 1
            if breaks(without):
                kept, smaller = without, True
            else:
                at += size
        if not smaller or size > len(kept):
            size //= 2
    for n, blow in enumerate(kept):
        rounded = [*kept[:n], replace(blow, at=float(round(blow.at))), *kept[n + 1 :]]
        if left > 0 and rounded != kept and breaks(rounded):
            kept = rounded
        left -= 1
    return kept
