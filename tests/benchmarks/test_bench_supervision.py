"""The figures of supervision come from what they say, and the optional rival may be absent."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from actors.life import Kill
from actors.mailbox import Lane
from benchmarks import supervision, thespian_side
from benchmarks.measure import Options
from benchmarks.small_house import Echo, SmallHouse, house


def test_a_death_is_measured_to_the_next_lifes_first_message() -> None:
    with house() as made:
        took = [supervision._one_death(made, waiting) for waiting in (0, 50)]
        assert all(0.0 < one < 10.0 for one in took)
        lives = made.made["child"]
        assert [life.context.incarnation for life in lives] == [1, 2, 3]
        assert made.ends("child") == 2


def test_a_hang_is_measured_beyond_hang_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "HANG_AFTER", 0.1)
    with house(check_every=0.02, hang_after=0.1) as made:
        took = supervision._one_hang(made)
        assert -0.01 < took < 5.0
        assert made.ends("child") == 1


def test_a_tree_that_failed_gives_no_figure() -> None:
    made = SmallHouse(["child"]).start()
    made.tree._declare_dead("a reason")
    with pytest.raises(RuntimeError, match="a reason"):
        made.stop()
    assert made.runtime.alive() == []


def test_waiting_messages_are_all_handled_before_the_next_death() -> None:
    with house() as made:
        supervision._one_death(made, 200)
        counts = made.tree.counts()["child"]
        assert (counts.waiting, counts.dead, counts.balanced) == (0, 0, True)
        made.address("child").tell(Kill(), lane=Lane.CONTROL)
        assert made.address("child").ask(Echo(3), timeout=10.0) == 3


def test_ratios_are_of_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    table = supervision.Table("t", ("what", "DTMS", "pykka", "DTMS takes", "least", "most"))
    ours, theirs = iter([9.0, 2e-6, 4e-6]), iter([9.0, 1e-6, 1e-6])
    supervision._compare(table, "ask", lambda: next(ours), lambda: next(theirs), 2)
    assert table.rows == [("ask", "3.0 us", "1.0 us", "3.00 x", "2.00 x", "4.00 x")]


def test_without_thespian_the_table_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    table = thespian_side.table(Options(tmp_path, quick=True))
    assert table.rows == [("not installed", "-", "-", "-", "-")]
    assert "dtms[bench]" in table.notes[0]


def test_a_rival_that_fails_is_not_left_out(tmp_path: Path) -> None:
    said = thespian_side._measured("nosuchBase", Options(tmp_path, quick=True))
    assert set(said) == {"failed"}
    assert thespian_side._row("nosuchBase", said)[1].startswith("failed: ")
