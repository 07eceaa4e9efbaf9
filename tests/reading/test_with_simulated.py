"""Reading and ordering against the simulated terminal: its faults, its market, its retcodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from order_samples import intent

from defence.broker import (
    Direction,
    Empty,
    Known,
    MarginMode,
    Position,
    Quote,
    Snapshot,
    SymbolFacts,
    Unknown,
)
from defence.orders import IntentKind, Outcome, OutcomeKind
from defence.retcodes import MEANINGS, Meaning
from terminals import Effect, Fault, GeneratedMarket, SimulatedTerminal, Terminal
from terminals.lease import Lease, Permit
from terminals.ordering import delete_pending, execute
from terminals.reading import SymbolCache, account_check, account_of, read_histories, take_snapshot
from terminals.reading import pending_orders as waiting_orders

MOVE, PART, CLOSE = IntentKind.MOVE_STOP, IntentKind.CLOSE_PART, IntentKind.CLOSE


class Rig:
    """A simulated terminal with one guarded position, and what the connector would know of it."""

    def __init__(self) -> None:
        self.clock = 1_800_000_000.0
        self.simulated = SimulatedTerminal(market=GeneratedMarket(seed=3), now=lambda: self.clock)
        self.terminal: Terminal = self.simulated
        assert self.simulated.initialize()
        self.simulated.set_price("EURUSD", 1.10000, 1.10010)
        self.ticket = self.simulated.open_position(
            "EURUSD", Direction.BUY, 1.0, sl=1.0950, tp=1.1100, magic=7
        )
        account = account_of(self.terminal)
        assert not isinstance(account, Unknown)
        self.account = account
        self.symbols = SymbolCache()
        self.lease = Lease("connector", 1)
        self.permit = Permit(
            self.lease,
            check=account_check(
                self.terminal, expected_login=account.login, expected_server=account.server
            ),
        )

    def snapshot(self) -> Snapshot | Unknown:
        return take_snapshot(
            self.terminal,
            snapshot_id="s",
            expected_login=self.account.login,
            expected_server=self.account.server,
            now=lambda: self.clock,
            symbols=self.symbols,
        )

    def seen(self) -> tuple[Position, SymbolFacts, Quote]:
        snapshot = self.snapshot()
        assert isinstance(snapshot, Snapshot), snapshot
        (position,) = snapshot.open_positions()
        return position, snapshot.symbols["EURUSD"], snapshot.quotes["EURUSD"]

    def order(self, kind: IntentKind, **changes: Any) -> Outcome:
        position, facts, quote = self.seen()
        values: dict[str, Any] = {
            "identifier": position.identifier,
            "ticket": position.ticket,
            "volume_before": position.volume,
            "stop_before": position.stop_loss,
            "take_profit": position.take_profit,
            "stop_loss": 1.0980,
        }
        return execute(
            self.terminal,
            self.permit,
            intent(kind, **{**values, **changes}),
            facts=facts,
            quote=quote,
            margin_mode=MarginMode.HEDGING,
            now=lambda: self.clock,
        )

    def spoil(self, call: str, effect: Effect, **more: Any) -> None:
        self.simulated.add_fault(Fault(call=call, effect=effect, **more))

    def book(self) -> dict[int, tuple[float, float]]:
        rows = self.simulated.positions_get()
        assert rows is not None
        return {row.ticket: (row.volume, row.sl) for row in rows}


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.simulated.close()


def test_a_snapshot_of_the_simulated_account(rig: Rig) -> None:
    position, facts, quote = rig.seen()
    assert (position.direction, position.volume, position.magic) == (Direction.BUY, 1.0, 7)
    assert (position.stop_loss, position.take_profit) == (1.0950, 1.1100)
    assert position.price_open == 1.10010
    assert (quote.bid, quote.ask) == (1.10000, 1.10010)
    assert (facts.digits, facts.trade_mode) == (5, 4)


Change = Callable[[Rig], object]
WRONG: list[tuple[str, Change]] = [
    ("another account", lambda rig: rig.simulated.switch_account(42, "Elsewhere")),
    ("disconnected", lambda rig: rig.simulated.disconnect()),
    ("shut down", lambda rig: rig.simulated.shutdown()),
    ("closed", lambda rig: rig.simulated.close()),
    ("positions unknown", lambda rig: rig.spoil("positions_get", Effect.UNKNOWN)),
    ("positions raise", lambda rig: rig.spoil("positions_get", Effect.RAISE)),
    ("positions disconnect", lambda rig: rig.spoil("positions_get", Effect.DISCONNECT)),
    ("account unknown after", lambda rig: rig.spoil("account_info", Effect.UNKNOWN, after=1)),
    ("terminal unknown after", lambda rig: rig.spoil("terminal_info", Effect.UNKNOWN, after=1)),
    ("account raises after", lambda rig: rig.spoil("account_info", Effect.RAISE, after=1)),
]


@pytest.mark.parametrize("wrong", [case[1] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_read_that_went_wrong_is_unknown(rig: Rig, wrong: Change) -> None:
    wrong(rig)
    assert isinstance(rig.snapshot(), Unknown)


def test_an_empty_book_is_empty(rig: Rig) -> None:
    rig.simulated.close_position(rig.ticket)
    snapshot = rig.snapshot()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.positions == Empty()


def test_a_trade_from_opening_to_closing(rig: Rig) -> None:
    moved = rig.order(MOVE)
    assert moved.kind is OutcomeKind.DONE, moved
    assert rig.book() == {rig.ticket: (1.0, 1.0980)}
    half = rig.order(PART)
    assert (half.kind, half.volume) == (OutcomeKind.DONE, 0.5), half
    assert rig.book() == {rig.ticket: (0.5, 1.0980)}
    rest = rig.order(CLOSE, volume=0.5)
    assert (rest.kind, rest.price) == (OutcomeKind.DONE, 1.10000), rest
    assert not rig.book()
    histories = read_histories(
        rig.terminal,
        [rig.ticket, 999_999],
        expected_login=rig.account.login,
        expected_server=rig.account.server,
    )
    assert histories[999_999] == Empty()
    found = histories[rig.ticket]
    assert isinstance(found, Known)
    assert [(deal.entry, deal.direction, deal.volume) for deal in found.value.deals] == [
        (0, Direction.BUY, 1.0),
        (1, Direction.SELL, 0.5),
        (1, Direction.SELL, 0.5),
    ]
    assert found.value.opening_stop == 1.0950
    assert {half.order, rest.order} == {deal.order for deal in found.value.deals[1:]}


def test_a_sell_likewise(rig: Rig) -> None:
    rig.simulated.close_position(rig.ticket)
    rig.simulated.open_position("EURUSD", Direction.SELL, 0.3, sl=1.1050)
    sell = {"direction": Direction.SELL, "stop_loss": 1.1020}
    assert rig.order(MOVE, **sell).kind is OutcomeKind.DONE
    outcome = rig.order(CLOSE, volume=0.3, **sell)
    assert (outcome.kind, outcome.price) == (OutcomeKind.DONE, 1.10010)
    assert not rig.book()


def test_the_same_stop_once_more_is_done(rig: Rig) -> None:
    outcome = rig.order(MOVE, stop_loss=1.0950)
    assert (outcome.kind, outcome.retcode) == (OutcomeKind.DONE, 10025)


@pytest.mark.parametrize("kind", [MOVE, PART, CLOSE])
@pytest.mark.parametrize(
    "retcode", [code for code, meaning in MEANINGS.items() if meaning is not Meaning.DONE]
)
def test_every_retcode_that_the_broker_may_answer(rig: Rig, retcode: int, kind: IntentKind) -> None:
    before = rig.book()
    rig.spoil("order_send", Effect.RETCODE, retcode=retcode, count=None)
    outcome = rig.order(kind, **({"volume": 1.0} if kind is CLOSE else {}))
    expected = {
        Meaning.NO_CHANGES: OutcomeKind.DONE,
        Meaning.PLACED: OutcomeKind.UNKNOWN,
        Meaning.PARTIAL: OutcomeKind.UNKNOWN,
        Meaning.OUTCOME_UNKNOWN: OutcomeKind.UNKNOWN,
    }
    assert outcome.kind is expected.get(MEANINGS[retcode], OutcomeKind.NOT_DONE)
    assert outcome.retcode == retcode
    assert rig.book() == before


@pytest.mark.parametrize("retcode", [10004, 10020, 10021, 10030])
def test_refused_once_then_done(rig: Rig, retcode: int) -> None:
    rig.spoil("order_send", Effect.RETCODE, retcode=retcode)
    assert rig.order(CLOSE).kind is OutcomeKind.DONE
    assert not rig.book()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", [Effect.UNKNOWN, Effect.RAISE])
def test_a_lost_answer_is_unknown_and_never_sent_again(
    rig: Rig, effect: Effect, when: Literal["before", "after"]
) -> None:
    rig.spoil("order_send", effect, when=when)
    outcome = rig.order(PART)
    assert outcome.kind is OutcomeKind.UNKNOWN
    assert rig.simulated.calls["order_send"] == 1
    assert rig.book()[rig.ticket][0] == (1.0 if when == "before" else 0.5)


def test_the_brokers_own_refusals(rig: Rig) -> None:
    rig.permit = Permit(rig.lease)  # the switches are not looked at before
    rig.simulated.set_autotrading(False)
    off = rig.order(CLOSE)
    assert (off.kind, off.retcode) == (OutcomeKind.NOT_DONE, 10027)
    assert "a person must switch it on" in off.detail
    rig.simulated.set_autotrading(True)
    rig.simulated.set_trading(expert=False)
    assert rig.order(CLOSE).retcode == 10026
    assert rig.book()


def test_nothing_is_sent_where_programs_may_not_trade(rig: Rig) -> None:
    for switch in (
        rig.simulated.set_autotrading,
        lambda on: rig.simulated.set_trading(allowed=on),
        lambda on: rig.simulated.set_trading(expert=on),
    ):
        switch(False)
        outcome = rig.order(CLOSE)
        assert outcome.kind is OutcomeKind.NOT_SENT
        assert outcome.detail.startswith("cannot act: ")
        switch(True)
    assert rig.simulated.orders_sent == []
    assert rig.order(CLOSE).kind is OutcomeKind.DONE


def test_a_manual_change_in_between_is_not_undone(rig: Rig) -> None:
    position, _, _ = rig.seen()
    rig.simulated.modify(rig.ticket, sl=1.0990)
    tighter = rig.order(MOVE, stop_before=position.stop_loss)
    assert tighter.kind is OutcomeKind.NOT_SENT
    assert "already tighter" in tighter.detail
    rig.simulated.modify(rig.ticket, sl=1.0900)
    changed = rig.order(MOVE, stop_before=position.stop_loss)
    assert "stop was changed to 1.09 since" in changed.detail
    assert rig.book() == {rig.ticket: (1.0, 1.09)}
    assert not rig.simulated.orders_sent


def test_another_account_at_the_moment_of_the_order(rig: Rig) -> None:
    # Logged in elsewhere after the snapshot: the check in the permit sees it.
    rig.seen()
    wanted = intent(CLOSE, identifier=rig.ticket, ticket=rig.ticket)
    _, facts, quote = rig.seen()
    rig.simulated.switch_account(42, "Elsewhere")
    outcome = execute(
        rig.terminal,
        rig.permit,
        wanted,
        facts=facts,
        quote=quote,
        margin_mode=MarginMode.HEDGING,
        now=lambda: rig.clock,
    )
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert "login at the order is 42" in outcome.detail
    assert not rig.simulated.orders_sent


@pytest.mark.parametrize("call", ["order_send", "positions_get"])
def test_an_order_that_hung_until_it_was_fenced_is_never_done(rig: Rig, call: str) -> None:
    # order_send hangs before its permit, the last look's positions_get within it.
    hung, go = threading.Event(), threading.Event()

    def hang(_: float | None) -> None:
        hung.set()
        assert go.wait(5)

    rig.simulated._hang = hang
    position, facts, quote = rig.seen()
    rig.spoil(call, Effect.HANG)
    outcomes: list[Outcome] = []

    def act() -> None:
        outcomes.append(
            execute(
                rig.terminal,
                rig.permit,
                intent(CLOSE, identifier=position.identifier, ticket=position.ticket),
                facts=facts,
                quote=quote,
                margin_mode=MarginMode.HEDGING,
                now=lambda: rig.clock,
            )
        )

    thread = threading.Thread(target=act)
    thread.start()
    assert hung.wait(5)
    assert rig.lease.revoke(0) is (call == "order_send")  # inside its permit or not
    go.set()
    thread.join(5)
    assert not thread.is_alive()
    assert rig.lease.revoke(0)
    assert [(outcome.kind, outcome.detail) for outcome in outcomes] == [
        (OutcomeKind.NOT_SENT, "fenced")
    ]
    assert rig.book() == {rig.ticket: (1.0, 1.0950)}


def test_pending_orders_are_seen_and_deleted(rig: Rig) -> None:
    assert waiting_orders(rig.terminal) == Empty()
    request = {
        "action": 5,
        "symbol": "EURUSD",
        "volume": 0.2,
        "type": 2,
        "price": 1.0900,
        "type_filling": 2,
        "type_time": 0,
    }
    placed = rig.simulated.order_send(request)
    assert placed is not None
    found = waiting_orders(rig.terminal, expected_login=rig.account.login)
    assert isinstance(found, Known), found
    (order,) = found.value
    assert (order.symbol, order.volume, order.price) == ("EURUSD", 0.2, 1.09)
    outcome = delete_pending(
        rig.terminal, rig.permit, order.ticket, intent_id="i", now=lambda: rig.clock
    )
    assert outcome.kind is OutcomeKind.DONE, outcome
    assert waiting_orders(rig.terminal) == Empty()
