"""The benchmarks run: small sizes, no figure is judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import NAMES, main
from benchmarks.machine import machine
from benchmarks.measure import Round, interleaved, percentile, ratios, spread, timed
from benchmarks.report import Table
from benchmarks.stores import RawFsync, Sqlite


@pytest.mark.parametrize("name", NAMES)
def test_each_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json", "--folder", str(tmp_path), name]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"CPU", "Python", "file system", "libraries"} <= found["machine"].keys()
    for table in found["tables"][name]:
        assert table["rows"]
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_tables_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--folder", str(tmp_path), "memory"]) == 0
    shown = capsys.readouterr().out
    assert "Memory, 50 trades" in shown
    assert "file system" in shown


def test_without_a_name_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)


def test_an_unknown_name_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["nosuch"])
    assert caught.value.code == 2
    assert "nosuch" in capsys.readouterr().err


def test_percentiles() -> None:
    samples = [float(n) for n in range(100, 0, -1)]
    assert [percentile(samples, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([3.0], 0.5) == 3.0
    assert percentile([1.0, 2.0], 0.99) == 2.0


def test_medians_and_ratios() -> None:
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    ours = [Round(1.0, [], 10), Round(1.0, [], 30)]
    theirs = [Round(1.0, [], 10), Round(1.0, [], 10)]
    assert ratios(ours, theirs) == (2.0, 1.0, 3.0)


class Counting:
    """A contender that counts."""

    def __init__(self, name: str, order: list[str]) -> None:
        self.name = name
        self.order = order
        self.stored: list[int] = []
        self.fail_at = -1

    def prepare(self, count: int) -> None:
        self.order.append(self.name)

    def store(self, nth: int) -> None:
        if nth == self.fail_at:
            raise ValueError("bad")
        self.stored.append(nth)

    def tidy(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_all_are_stored_once_and_timed() -> None:
    one = Counting("one", [])
    found = timed(one, 3, 10)
    assert sorted(one.stored) == list(range(10))
    assert (len(found.latencies), found.done) == (10, 10)
    assert found.rate > 0


def test_a_failure_is_not_a_figure() -> None:
    one = Counting("one", [])
    one.fail_at = 4
    with pytest.raises(ValueError, match="bad"):
        timed(one, 2, 6)


def test_each_round_begins_with_another() -> None:
    order: list[str] = []
    both = [Counting("a", order), Counting("b", order)]
    found = interleaved(both, 3, lambda one: timed(one, 1, 1))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(rounds) for name, rounds in found.items()} == {"a": 3, "b": 3}


def test_the_stores_store(tmp_path: Path) -> None:
    plain = RawFsync(tmp_path / "plain", b"x" * 10)
    timed(plain, 2, 6)
    plain.close()
    assert (tmp_path / "plain" / "log").read_bytes() == b"x" * 60
    sqlite = Sqlite(tmp_path / "sqlite", b"y")
    timed(sqlite, 1, 3)
    with sqlite._connect() as connection:
        assert connection.execute("SELECT count(*) FROM trades").fetchone() == (3,)
    connection.close()


def test_a_table_has_its_columns() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table("t", ("a", "b")).add("only")


def test_the_machine_is_named(tmp_path: Path) -> None:
    facts = machine(tmp_path)
    assert "cores" in facts["CPU"]
    if sys.platform == "linux":
        assert not facts["file system"].startswith("unknown")
