"""Facts come from the broker; nothing is ever removed on unknown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.messages import Observe, Observed
from actors.names import REGISTRY
from defence.errors import BrokerUnknown
from defence.trade import Standing, TradeRecord
from supervisors import Guard, Trade
from terminals.sim.faults import fault_from


def let_pass(kit: GuardKit, seconds: float) -> None:
    """Let virtual time pass."""
    kit.runtime.run_for(seconds)  # type: ignore[attr-defined]  # the simulated runtime alone has it


def with_trades(sim: GuardKit, **options: object) -> Guard:
    """Return a guard with two registered trades."""
    guard = sim.start(adoption="ignore", **options)
    for symbol in ("EURUSD", "GBPUSD"):
        ticket = sim.terminal.open_position(symbol, "BUY", 0.2, sl=0.5)
        guard.register(Trade(ticket=ticket))
    return guard


def fails(call: str) -> Callable[[GuardKit], None]:
    """Return a way to be unreadable: this call answers None, for ever."""

    def break_it(kit: GuardKit) -> None:
        kit.terminal.add_fault(fault_from({"call": call, "effect": "unknown", "count": None}))

    return break_it


def other_account(kit: GuardKit) -> None:
    """Somebody logs in to another account, which is empty."""
    kit.terminal.switch_account(999, "Elsewhere")


def disconnected(kit: GuardKit) -> None:
    """The terminal loses its server and shows an empty list."""
    kit.terminal.disconnect()
    kit.terminal.add_fault(fault_from({"call": "positions_get", "effect": "empty", "count": None}))


def raising(kit: GuardKit) -> None:
    """The call raises."""
    kit.terminal.add_fault(fault_from({"call": "positions_get", "effect": "raise", "count": None}))


UNREADABLE = {
    "positions_get fails": fails("positions_get"),
    "account_info fails": fails("account_info"),
    "terminal_info fails": fails("terminal_info"),
    "an empty read from another account": other_account,
    "an empty read from a disconnected terminal": disconnected,
    "the call raises": raising,
}


def unchanging(trades: tuple[TradeRecord, ...]) -> set[tuple[object, ...]]:
    """Return what must not change while nothing is known."""
    return {(t.identifier, t.standing, t.volume, t.stop_loss, t.missing_since) for t in trades}


@pytest.mark.parametrize("break_it", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unknown_read_removes_nothing(
    sim: GuardKit, break_it: Callable[[GuardKit], None]
) -> None:
    guard = with_trades(sim)
    let_pass(sim, 90.0)
    before = unchanging(guard.trades())
    break_it(sim)
    let_pass(sim, 900.0)
    assert unchanging(guard.trades()) == before
    assert guard.health().status == 503
    with pytest.raises(BrokerUnknown):
        guard.register(Trade(ticket=1))
    assert not kinds(guard, Kind.CHARGED)
    # Also over a restart in the middle of it: the store is as it was.
    guard.stop()
    stored = []
    again = sim.make()
    again._house.premises.take()
    stored = list(again._house.premises.stores.trades.load()[0].values())
    again._house.premises.give_back()
    assert unchanging(tuple(stored)) == before


def test_a_short_unknown_leaves_the_guard_ready(sim: GuardKit) -> None:
    guard = with_trades(sim, stale_after=60.0)
    let_pass(sim, 40.0)
    sim.terminal.add_fault(fault_from({"call": "positions_get", "effect": "unknown", "count": 3}))
    for _ in range(40):
        let_pass(sim, 1.0)
        assert guard.health().ready


def test_gone_with_a_closing_deal_is_archived_as_closed(sim: GuardKit) -> None:
    guard = with_trades(sim)
    ticket = guard.trades()[0].ticket
    sim.terminal.close_position(ticket)
    let_pass(sim, 60.0)
    record = guard.trade(ticket)
    assert record.standing is Standing.CLOSED
    assert record.close_price is not None
    assert record.close_profit is not None
    assert len(guard.trades()) == 1


def test_gone_without_a_deal_needs_two_known_reads_a_minute_apart(sim: GuardKit) -> None:
    guard = with_trades(sim)
    ticket = guard.trades()[0].ticket
    sim.terminal.add_fault(
        fault_from({"call": "history_deals_get", "effect": "empty", "count": None})
    )
    sim.terminal.close_position(ticket)
    let_pass(sim, 31.0)
    assert guard.trade(ticket).missing_since is not None
    let_pass(sim, 25.0)
    assert guard.trade(ticket).standing is Standing.GUARDED
    let_pass(sim, 120.0)
    assert guard.trade(ticket).standing is Standing.UNEXPLAINED
    assert any("unexplained" in alert.key for alert in guard.alerts())


def test_gone_while_history_is_unknown_stays(sim: GuardKit) -> None:
    guard = with_trades(sim)
    ticket = guard.trades()[0].ticket
    sim.terminal.add_fault(
        fault_from({"call": "history_deals_get", "effect": "unknown", "count": None})
    )
    sim.terminal.close_position(ticket)
    let_pass(sim, 3600.0)
    assert guard.trade(ticket).standing is Standing.GUARDED
    sim.terminal.clear_faults()
    let_pass(sim, 120.0)
    assert guard.trade(ticket).standing is Standing.CLOSED


def test_a_second_run_changes_nothing(sim: GuardKit) -> None:
    guard = with_trades(sim)
    sim.terminal.modify(guard.trades()[0].ticket, sl=0.6)
    snapshot = guard.snapshot()
    first: Observed = guard._house.ask(REGISTRY, Observe(snapshot), 10.0)
    book, actions = guard.trades(), guard.actions()
    second: Observed = guard._house.ask(REGISTRY, Observe(snapshot), 10.0)
    assert first.changes == 1
    assert second.changes == 0
    assert (guard.trades(), guard.actions()) == (book, actions)


def test_a_new_process_reconciles_what_happened_meanwhile(sim: GuardKit, tmp_path: Path) -> None:
    state = {"state": tmp_path / "broker.json"}
    guard = with_trades(sim, terminal_options=state)
    closed, kept = (trade.ticket for trade in guard.trades())
    guard.stop()
    again = sim.next_process(state, adoption="ignore")
    sim.terminal.close_position(closed)
    sim.terminal.modify(kept, sl=0.7)
    sim.terminal.change_ticket(kept, kept + 1000)
    again.start()
    found = [(t.identifier, t.ticket, t.stop_loss) for t in again.trades()]
    assert found == [(kept, kept + 1000, 0.7)]
    assert again.trade(closed).standing is Standing.CLOSED


def test_an_older_look_is_not_taken_for_news(sim: GuardKit) -> None:
    guard = with_trades(sim)
    ticket = guard.trades()[0].ticket
    old = guard.snapshot()
    let_pass(sim, 5.0)
    sim.terminal.modify(ticket, sl=0.6)
    guard._house.ask(REGISTRY, Observe(guard.snapshot()), 10.0)
    answer: Observed = guard._house.ask(REGISTRY, Observe(old), 10.0)
    assert answer.unknown is not None
    assert guard.trade(ticket).stop_loss == 0.6


def test_a_damaged_store_is_set_aside_and_filled_from_the_broker(
    sim: GuardKit, tmp_path: Path
) -> None:
    state = {"state": tmp_path / "broker.json"}
    guard = sim.start(adoption="adopt", terminal_options=state, backup_every=0.0)
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.2, sl=0.5)
    let_pass(sim, 60.0)
    guard.stop()
    data = guard.data_dir / "trades" / "data.mdb"
    data.write_bytes(b"\xff" * data.stat().st_size)
    again = sim.next_process(state, adoption="adopt").start()
    assert [trade.ticket for trade in again.trades()] == [ticket]
    aside = kinds(again, Kind.SET_ASIDE)
    assert [(event.facts["store"], event.facts["why"]) for event in aside] == [
        ("trades", "damaged")
    ]
    assert aside[0].facts["source"] is None
    kept = again.data_dir / str(aside[0].facts["path"]) / "data.mdb"
    assert set(kept.read_bytes()) == {0xFF}
    assert [alert.key for alert in again.alerts()] == ["set_aside:trades"]
    assert again.status()["mode"] == "observe"  # until a person confirms
    again.admin("set-mode", mode="armed")
    assert again.status()["mode"] == "armed"


def test_a_damaged_store_comes_back_from_its_backup_and_is_reconciled(
    sim: GuardKit, tmp_path: Path
) -> None:
    """What the broker knows is his, what only the store knew is the backup's."""
    state = {"state": tmp_path / "broker.json"}
    guard = sim.start(adoption="ignore", terminal_options=state)
    stays, goes, later = (
        sim.terminal.open_position("EURUSD", "BUY", 0.2, sl=0.5) for _ in range(3)
    )
    for ticket in (stays, goes):
        guard.register(Trade(ticket=ticket, managed_by="anna"))
    let_pass(sim, 60.0)
    before = guard.trade(stays)
    backup = guard.admin("backup")["backup"]
    guard.register(Trade(ticket=later, managed_by="anna"))  # after the backup
    sim.terminal.modify(stays, sl=0.6)
    sim.terminal.close_position(goes)
    let_pass(sim, 60.0)
    assert guard.trade(stays).stop_loss == 0.6
    guard.stop()
    data = guard.data_dir / "trades" / "data.mdb"
    data.write_bytes(b"\xff" * data.stat().st_size)
    again = sim.next_process(state, adoption="ignore").start()
    (aside,) = kinds(again, Kind.SET_ASIDE)
    assert aside.facts["source"] == Path(str(backup)).name
    restored = again.trade(stays)
    assert (restored.managed_by, restored.registered_at) == ("anna", before.registered_at)
    assert restored.stop_loss == 0.6  # the broker's
    let_pass(sim, 60.0)
    assert again.trade(goes).standing is Standing.CLOSED
    # what came after the backup is missing, and is said to be
    assert [trade.ticket for trade in again.trades()] == [stays]
    (alert,) = (alert for alert in again.alerts() if alert.key == "set_aside:trades")
    assert "Missing: registrations" in alert.text
    assert f"({aside.facts['missing']} commits" in alert.text
    assert again.status()["mode"] == "observe"
