"""Virtual hours of kills leave nothing behind: what lives is what lived an hour before."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import soak

Rounds = Callable[..., int]
OURS = ("actors", "supervisors", "defence", "storage", "terminals")
# The simulated broker keeps its books; the stream keeps its newest thousand events, and what
# those that are kept hold may be of any kind.
GROW = {"TradeDeal", "TradeOrder", "Event"}


def our_types() -> set[str]:
    """Return the names of the types that our packages made."""
    return {
        type(one).__name__ for one in gc.get_objects() if str(type(one).__module__).startswith(OURS)
    }


def test_hours_of_kills_leave_nothing_behind(rounds: Rounds, tmp_path: Path) -> None:
    hours = rounds(ci=4, long=48)
    soaked = soak.soak(tmp_path / "soak", hours, trace=False)
    # After the first hour everything that is bounded is full.
    before, after = soaked.looks[1], soaked.looks[-1]
    deaths = soaked.deaths[-1] - soaked.deaths[1]
    assert deaths >= 15 * (hours - 2)
    assert soaked.registered >= deaths
    assert (after.threads, after.files) == (before.threads, before.files)
    more = {
        name: after.objects[name] - before.objects[name]
        for name in our_types() - GROW
        if after.objects[name] > before.objects[name] + 4
    }
    assert more == {}, f"after {deaths} ends there are more of these"
    plain = after.objects.total() - before.objects.total()
    broker = sum(after.objects[name] - before.objects[name] for name in GROW)
    assert plain - broker < 4 * deaths, "something of no type of ours grows with every end"


def test_the_table_names_what_grew() -> None:
    first = soak.Look(1, 1, Counter({"Letter": 5, "dict": 7}), 1, 1)
    last = soak.Look(1, 1, Counter({"Letter": 25, "dict": 6}), 1, 1)
    assert soak.grown(first, last, 10).rows == [("Letter", "5", "25", "2.00")]
    assert soak.grown(last, last, 10).rows[0][0] == "nothing"


@pytest.mark.timeout(120)
def test_seconds_of_kills_on_threads_end_with_the_threads_that_there_were(tmp_path: Path) -> None:
    table, _kinds = soak.real(tmp_path / "real", 1.0)
    threads = {row[5] for row in table.rows}
    assert len(threads) == 1
    assert table.notes[-1] == "threads more than before, when the guard has stopped: 0"
