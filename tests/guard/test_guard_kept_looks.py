"""What is said of a trade rests on looks that were written, and on all that was read."""

from __future__ import annotations

from typing import Any

import pytest
from fault_kit import Meeting
from guard_kit import GuardKit

from defence.errors import StoreFull
from defence.trade import Standing
from storage.trades import Batch, TradeStore
from terminals.sim.faults import fault_from


def faulty(met: Meeting, **fault: Any) -> None:
    met.terminal.add_fault(fault_from(fault))


def no_room_for(monkeypatch: pytest.MonkeyPatch, *, missing: bool, once: bool = True) -> list[int]:
    """Refuse commits that note a trade as missing, or as there; return a line for each."""
    commit: Any = TradeStore.commit
    refused: list[int] = []

    def failing(store: TradeStore, *batches: Batch) -> None:
        trades = [trade for batch in batches for trade in batch.trades]
        if trades and (trades[0].missing_since is not None) is missing and not (once and refused):
            refused.append(len(trades))
            raise StoreFull("no room")
        commit(store, *batches)

    monkeypatch.setattr(TradeStore, "commit", failing)
    return refused


def test_a_look_that_was_not_written_joins_no_two_moments(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = Meeting(sim)
    faulty(met, effect="empty", call="positions_get", count=2)
    met.rest(35.0)
    assert met.record.missing_since is not None
    faulty(met, effect="disconnect", seconds=900)
    met.rest(895.0)
    faulty(met, effect="empty", call="positions_get", count=5)
    refused = no_room_for(monkeypatch, missing=True)
    met.rest(40.0)
    assert refused
    assert met.position is not None
    assert met.record.standing is Standing.GUARDED


def test_a_look_that_saw_it_counts_though_it_was_not_written(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = Meeting(sim, interval=20.0)
    faulty(met, effect="empty", call="positions_get", count=None)
    met.rest(20.0)
    first = met.record.missing_since
    assert first is not None
    met.terminal.clear_faults()
    refused = no_room_for(monkeypatch, missing=False)
    for _ in range(25):
        if not refused:
            met.rest(1.0)
    faulty(met, effect="empty", call="positions_get", count=None)
    met.rest(50.0)
    assert met.record.standing is Standing.GUARDED
    assert met.record.missing_since > first


def test_a_closing_deal_counts_though_the_orders_cannot_be_read(sim: GuardKit) -> None:
    met = Meeting(sim)
    faulty(met, effect="unknown", call="orders_get", count=None)
    met.inject("a person closes a position")
    met.rest(100.0)
    assert (met.record.standing, met.record.close_reason) == (Standing.CLOSED, "client")
    assert met.record.close_profit is not None
