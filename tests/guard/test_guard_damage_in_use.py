"""A store that turns out to be damaged while the guard runs: told, and mended by a start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Kind
from defence.alerts import Severity
from defence.errors import Damaged
from supervisors import Guard, Trade


def spoil(data: Path, text: bytes) -> None:
    """Change a text in the file of a store, also in the map that the guard reads."""
    raw = data.read_bytes()
    places = [at for at in range(len(raw)) if raw.startswith(text, at)]
    assert places
    with data.open("r+b") as file:
        for at in places:
            file.seek(at)
            file.write(text[::-1])
        file.flush()
        os.fsync(file.fileno())


def told(guard: Guard) -> list[str]:
    return [a.key for a in guard.alerts() if a.severity is Severity.CRITICAL]


def test_a_damaged_record_is_told_and_the_next_start_mends_it(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore")
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.2, sl=1.0)
    guard.register(Trade(ticket=ticket, managed_by="spoil-me"))
    guard.admin("backup", timeout=60)
    data = guard.data_dir / "trades" / "data.mdb"
    spoil(data, b"registered")
    with pytest.raises(Damaged):
        guard.actions()
    sim.runtime.run_for(1.0)
    assert told(guard) == ["store_damaged:trades"]
    assert "Restart the guard" in guard.alerts()[0].text
    assert guard.trade(ticket).managed_by == "spoil-me"  # from memory
    assert guard.health().ready
    guard.stop()
    again = sim.start(adoption="ignore")
    assert again.trade(ticket).managed_by == "spoil-me"
    assert again.actions()[-1].kind == "registered"
    assert kinds(again, Kind.SET_ASIDE)[0].facts["source"] is not None


def test_a_store_that_refuses_a_commit_as_damaged_is_not_ready(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = sim.start(adoption="ignore")
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.2, sl=1.0)
    store = guard._house.premises.stores.trades

    def fail(*_: object) -> None:
        raise Damaged("told by the test", field="trades")

    monkeypatch.setattr(type(store), "commit", fail)
    with pytest.raises(Damaged):
        guard.register(Trade(ticket=ticket))
    sim.runtime.run_for(1.0)
    assert told(guard) == ["store_damaged:trades"]
    assert guard.trades() == ()
    judged = guard.health()
    assert not judged.ready
    assert any("told by the test" in reason for reason in judged.reasons)
