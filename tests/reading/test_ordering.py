"""Orders: what is sure is said, what is not is unknown, and nothing is sent twice for nothing."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_terminal import LOGIN, SERVER, Fails, FakeTerminal, deal, position, row
from order_samples import QUOTE, facts, intent

from actors.sending import Sending
from defence.broker import Account, Direction, MarginMode
from defence.errors import Fenced, Invalid
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind
from defence.retcodes import MEANINGS, Meaning
from terminals.lease import Lease, Permit
from terminals.ordering import delete_pending, execute
from terminals.reading import SymbolCache, account_check, account_of
from terminals.structs import OrderSendResult, Tick, TradeOrder, TradePosition

DONE, PARTIAL = OutcomeKind.DONE, OutcomeKind.PARTIAL
NOT_DONE, NOT_SENT, UNKNOWN = OutcomeKind.NOT_DONE, OutcomeKind.NOT_SENT, OutcomeKind.UNKNOWN
MOVE, PART, CLOSE = IntentKind.MOVE_STOP, IntentKind.CLOSE_PART, IntentKind.CLOSE
KINDS = [MOVE, PART, CLOSE]


def run(
    terminal: Any, wanted: Intent | IntentKind, permit: Permit | None = None, **changes: Any
) -> Outcome:
    if isinstance(wanted, IntentKind):
        wanted = intent(wanted)
    values: dict[str, Any] = {
        "facts": facts(),
        "quote": QUOTE,
        "margin_mode": MarginMode.HEDGING,
        "now": lambda: 1234.5,
    }
    outcome = execute(
        terminal, permit or Permit(Lease("connector", 1)), wanted, **{**values, **changes}
    )
    assert outcome.intent_id == wanted.id
    assert outcome.at == 1234.5
    return outcome


def with_position(**changes: Any) -> FakeTerminal:
    return FakeTerminal(position(11, **changes))


def test_a_stop_is_moved_and_read_back() -> None:
    terminal = with_position()
    outcome = run(terminal, MOVE)
    assert (outcome.kind, outcome.retcode) == (DONE, 10009)
    assert "read back: stop 1.098" in outcome.detail
    assert terminal.positions[11].sl == 1.0980
    assert terminal.positions[11].tp == 1.1200


@pytest.mark.parametrize(("kind", "left"), [(PART, 0.5), (CLOSE, None)])
def test_a_close(kind: IntentKind, left: float | None) -> None:
    terminal = with_position()
    outcome = run(terminal, kind)
    assert (outcome.kind, outcome.retcode, outcome.order, outcome.deal) == (DONE, 10009, 501, 601)
    assert outcome.volume == intent(kind).volume
    assert outcome.price == QUOTE.bid
    held = terminal.positions.get(11)
    assert (held and held.volume) == left


# What each retcode means for the intent, when it is the answer to every send
# and nothing was done. Same codes and order as the table in MT5.md.
BY_MEANING = {
    Meaning.PLACED: UNKNOWN,
    Meaning.NO_CHANGES: DONE,
    Meaning.RETRY_FRESH_TICK: NOT_DONE,
    Meaning.OUTCOME_UNKNOWN: UNKNOWN,
    Meaning.WAIT: NOT_DONE,
    Meaning.CANNOT_ACT: NOT_DONE,
    Meaning.CHANGE_REQUEST: NOT_DONE,
    Meaning.ALREADY_GONE: NOT_DONE,
    Meaning.NEVER: NOT_DONE,
    # DONE and PARTIAL without any effect to be read back:
    Meaning.DONE: {MOVE: UNKNOWN, PART: DONE, CLOSE: DONE},
    Meaning.PARTIAL: {MOVE: UNKNOWN, PART: UNKNOWN, CLOSE: UNKNOWN},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("retcode", [*MEANINGS, 0, 10005, 10023, 10041, 10046, 12345])
def test_outcome_of_every_retcode(retcode: int, kind: IntentKind) -> None:
    terminal = with_position()
    terminal.on("order_send", lambda: OrderSendResult(retcode=retcode, comment="said"))
    outcome = run(terminal, kind)
    expected: Any = BY_MEANING[MEANINGS.get(retcode, Meaning.OUTCOME_UNKNOWN)]
    assert outcome.kind is (expected[kind] if isinstance(expected, dict) else expected)
    assert outcome.retcode == retcode
    assert outcome.detail.startswith(f"{retcode} ")
    assert "(said)" in outcome.detail
    sends = {10004: 3, 10020: 3, 10021: 3, 10030: 2}.get(retcode, 1)
    assert terminal.calls["order_send"] == sends


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ((-2, 'Invalid "comment" argument'), NOT_SENT),
        ((-10004, "No IPC connection"), NOT_SENT),
        ((-8, "Auto-Trading using Python API disabled in Terminal"), NOT_DONE),
        ((-10001, "IPC send failed"), UNKNOWN),
        ((-10002, "IPC recv failed"), UNKNOWN),
        ((-10005, "IPC timeout"), UNKNOWN),
        ((-10003, "IPC initialize failed, MetaTrader 5 x64 not found"), UNKNOWN),
        ((-10000, "IPC call failed"), UNKNOWN),
        ((-1, "Terminal: Call failed"), UNKNOWN),
        ((-3, "out of memory"), UNKNOWN),
        ((1, "Success"), UNKNOWN),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_result_is_judged_by_last_error(
    error: tuple[int, str], expected: OutcomeKind, kind: IntentKind
) -> None:
    terminal = with_position()
    terminal.on("order_send", Fails(*error))
    outcome = run(terminal, kind)
    assert outcome.kind is expected
    assert f"last_error {error[0]}: {error[1]}" in outcome.detail
    assert outcome.retcode is None
    assert terminal.calls["order_send"] == 1
    assert terminal.trail[-2:] == ["order_send", "last_error"]


def test_no_result_and_no_last_error_is_unknown() -> None:
    terminal = with_position()
    terminal.on("order_send", Fails(-10001))
    terminal.on("last_error", OSError("pipe"))
    assert run(terminal, MOVE).kind is UNKNOWN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [OSError("pipe"), EOFError(), TimeoutError("rpyc"), ValueError()])
def test_an_exception_under_the_permit_is_unknown(error: Exception, kind: IntentKind) -> None:
    terminal = with_position()
    terminal.on("order_send", error)
    outcome = run(terminal, kind)
    assert outcome.kind is UNKNOWN
    assert type(error).__name__ in outcome.detail
    assert terminal.calls["order_send"] == 1


@pytest.mark.parametrize("error", [OSError("no pipe"), Fenced("not by the permit")])
def test_an_exception_without_the_permit_is_unknown_too(error: Exception) -> None:
    # Where in its own ways a terminal broke, only the terminal could know.
    terminal = with_position()

    def breaks(permit: object, request: object) -> None:
        raise error

    terminal.send_under = breaks  # type: ignore[method-assign]
    assert run(terminal, CLOSE).kind is UNKNOWN


@pytest.mark.parametrize("error", [ValueError("bad check"), OSError("pipe")])
def test_a_check_that_raises_anything_is_not_sent(error: Exception) -> None:
    terminal = with_position()

    def check() -> None:
        raise error

    outcome = run(terminal, CLOSE, Permit(Lease("connector", 1), check=check))
    assert (outcome.kind, outcome.detail) == (NOT_SENT, f"{type(error).__name__}: {error}")
    assert not terminal.sent


def test_a_refusal_that_the_terminal_turns_into_another_error_is_not_sent() -> None:
    terminal, lease = with_position(), Lease("connector", 1)
    lease.revoke(0)
    send = terminal.send_under

    def wraps(permit: object, request: Any) -> None:
        try:
            send(permit, request)
        except Exception as problem:
            raise RuntimeError("remote") from problem

    terminal.send_under = wraps  # type: ignore[method-assign]
    outcome = run(terminal, CLOSE, Permit(lease))
    assert (outcome.kind, outcome.detail) == (NOT_SENT, "fenced")


def test_an_exception_after_the_permit_was_left_is_unknown() -> None:
    terminal = with_position()
    send = terminal.send_under

    def lost(permit: object, request: Any) -> None:
        send(permit, request)
        raise EOFError("the answer was lost")

    terminal.send_under = lost  # type: ignore[method-assign]
    outcome = run(terminal, CLOSE)
    assert outcome.kind is UNKNOWN
    assert terminal.effects == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through_and_leave_the_permit(interrupt: type[BaseException]) -> None:
    terminal, lease = with_position(), Lease("connector", 1)
    terminal.on("order_send", interrupt())
    with pytest.raises(interrupt):
        run(terminal, CLOSE, Permit(lease))
    assert lease.revoke(0)


@pytest.mark.parametrize("result", [object(), False, OrderSendResult(retcode=None)])  # type: ignore[arg-type]
def test_a_result_that_cannot_be_read_is_unknown(result: Any) -> None:
    terminal = with_position()
    terminal.on("order_send", lambda: result)
    outcome = run(terminal, CLOSE)
    assert outcome.kind is UNKNOWN
    assert "retcode" in outcome.detail


def test_a_result_with_nonsense_beside_its_retcode_counts() -> None:
    terminal = with_position()
    nonsense: Any = {"volume": float("nan"), "price": "x", "order": None, "comment": None}
    terminal.on("order_send", lambda: OrderSendResult(retcode=10009, **nonsense))
    outcome = run(terminal, CLOSE)
    assert (outcome.kind, outcome.volume, outcome.price, outcome.order) == (DONE, 1.0, None, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", [0, 1])
def test_a_fenced_incarnation_sends_nothing(which: int, kind: IntentKind) -> None:
    terminal = with_position()
    leases = [Lease("connector", 1), Lease("monitor", 1)]
    leases[which].revoke(0)
    outcome = run(terminal, kind, Permit(*leases))
    assert (outcome.kind, outcome.detail) == (NOT_SENT, "fenced")
    assert not terminal.sent


def test_fenced_between_two_sends() -> None:
    terminal, lease = with_position(), Lease("monitor", 1)
    terminal.replies = [10004]

    def tick() -> Tick:
        assert lease.revoke(0)  # between the sends nobody is inside
        return Tick(time=1, time_msc=1, bid=1.1, ask=1.1)

    terminal.on("symbol_info_tick", tick)
    outcome = run(terminal, CLOSE, Permit(lease))
    assert (outcome.kind, outcome.detail) == (NOT_SENT, "fenced")
    assert terminal.effects == 0


def test_another_account_at_the_order_sends_nothing() -> None:
    terminal = with_position()
    check = account_check(terminal, expected_login=LOGIN, expected_server=SERVER)
    terminal.login = 7
    outcome = run(terminal, CLOSE, Permit(Lease("connector", 1), check=check))
    assert outcome.kind is NOT_SENT
    assert "login at the order is 7" in outcome.detail
    assert not terminal.sent


def test_a_requote_is_sent_again_with_a_fresh_price() -> None:
    terminal = with_position()
    terminal.replies = [10004, 10020]
    prices = iter([(1.1005, 1.1007), (1.1003, 1.1005)])

    def tick() -> Tick:
        bid, ask = next(prices)
        return Tick(time=1, time_msc=1, bid=bid, ask=ask)

    terminal.on("symbol_info_tick", tick)
    outcome = run(terminal, CLOSE)
    assert outcome.kind is DONE
    assert [request["price"] for request in terminal.sent] == [1.1010, 1.1005, 1.1003]
    assert terminal.effects == 1


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_never_more_sends_than_attempts(attempts: int) -> None:
    terminal = with_position()
    terminal.replies = [10004, 10021, 10020, 10004, 10030, 10004, 10004]
    outcome = run(terminal, CLOSE, attempts=attempts)
    assert outcome.kind is NOT_DONE
    assert len(terminal.sent) == attempts
    assert terminal.effects == 0


def test_without_a_fresh_price_it_is_not_sent_again() -> None:
    terminal = with_position()
    terminal.replies = [10021]
    terminal.on("symbol_info_tick", Fails(-4))
    outcome = run(terminal, CLOSE)
    assert (outcome.kind, outcome.retcode) == (NOT_DONE, 10021)
    assert len(terminal.sent) == 1


@pytest.mark.parametrize("attempts", [0, -1])
def test_attempts_below_one_are_refused(attempts: int) -> None:
    with pytest.raises(Invalid, match="attempts"):
        run(with_position(), CLOSE, attempts=attempts)


def test_the_next_filling_mode_once() -> None:
    terminal = with_position()
    terminal.replies = [10030]
    assert run(terminal, CLOSE).kind is DONE
    assert [request["type_filling"] for request in terminal.sent] == [0, 1]
    terminal = with_position()
    terminal.replies = [10030, 10030]
    assert run(terminal, CLOSE).kind is NOT_DONE
    assert [request["type_filling"] for request in terminal.sent] == [0, 1]
    terminal = with_position()
    terminal.replies = [10030, 10004]  # the mode that was accepted is kept for the requote
    assert run(terminal, CLOSE).kind is DONE
    assert [request["type_filling"] for request in terminal.sent] == [0, 1, 1]


def gone(terminal: FakeTerminal) -> None:
    terminal.positions.clear()


SELL = {"type": 1, "sl": 1.1100, "tp": 1.0900, "price_current": 1.1012}
SELL_INTENT = {
    "direction": Direction.SELL,
    "stop_loss": 1.1050,
    "take_profit": 1.0900,
    "stop_before": 1.1100,
}

WITHHELD: list[tuple[str, list[IntentKind], dict[str, Any], dict[str, Any], str]] = [
    ("other identifier", KINDS, {"identifier": 99}, {}, "identifier of the position is 99"),
    ("other direction", KINDS, {"type": 1}, {}, "direction of the position is SELL"),
    ("other symbol", KINDS, {"symbol": "GBPUSD"}, {}, "symbol of the position is GBPUSD"),
    ("less than to close", [CLOSE], {"volume": 0.9}, {}, "only 0.9 of the 1 lots"),
    ("one step less", [CLOSE], {"volume": 0.99}, {}, "only 0.99 of the 1 lots"),
    ("less than the part", [PART], {"volume": 0.4}, {}, "only 0.4 of the 0.5 lots"),
    ("a part is out already", [PART], {"volume": 0.8}, {}, "volume was reduced from 1 to 0.8"),
    ("one step is out already", [PART], {"volume": 0.99}, {}, "volume was reduced from 1 to 0.99"),
    ("stop is one tick tighter", [MOVE], {"sl": 1.09801}, {}, "stop is already tighter: 1.09801"),
    ("stop is one tick off", [MOVE], {"sl": 1.09501}, {}, "stop was changed to 1.09501 since"),
    ("stop is tighter", [MOVE], {"sl": 1.0981}, {}, "stop is already tighter: 1.0981"),
    (
        "stop is tighter, SELL",
        [MOVE],
        {**SELL, "sl": 1.1049},
        SELL_INTENT,
        "stop is already tighter: 1.1049",
    ),
    ("stop was widened", [MOVE], {"sl": 1.0900}, {}, "stop was changed to 1.09 since"),
    ("stop was removed", [MOVE], {"sl": 0.0}, {}, "stop was changed to None since"),
    ("stop was set", [MOVE], {"sl": 1.0940}, {"stop_before": None}, "stop was changed to 1.094"),
    ("target was moved", [MOVE], {"tp": 1.1300}, {}, "take profit was changed to 1.13"),
    ("target was removed", [MOVE], {"tp": 0.0}, {}, "take profit was changed to None"),
    ("target was set", [MOVE], {}, {"take_profit": None}, "take profit was changed to 1.12"),
    ("stop at the price", [MOVE], {"price_current": 1.0980}, {}, "wrong side of the price"),
    ("stop above the price", [MOVE], {"price_current": 1.0970}, {}, "wrong side of the price"),
    (
        "stop below the price, SELL",
        [MOVE],
        {**SELL, "price_current": 1.1060},
        SELL_INTENT,
        "wrong side of the price",
    ),
    (
        "under one",
        [MOVE],
        {"price_current": 0.65, "sl": 0.0, "tp": 0.0},
        {"stop_loss": 0.66, "stop_before": None, "take_profit": None},
        "wrong side of the price 0.65",
    ),
    (
        "no current price: by the quote",
        [MOVE],
        {"price_current": 0.0},
        {"stop_loss": 1.1011},
        "wrong side of the price 1.101",
    ),
]


@pytest.mark.parametrize(
    ("kind", "held", "wanted", "reason"),
    [
        pytest.param(kind, held, wanted, reason, id=f"{name}-{kind}")
        for name, kinds, held, wanted, reason in WITHHELD
        for kind in kinds
    ],
)
def test_a_position_that_is_not_as_decided_on_is_left_alone(
    kind: IntentKind, held: dict[str, Any], wanted: dict[str, Any], reason: str
) -> None:
    terminal = with_position(**held)
    outcome = run(terminal, intent(kind, **wanted))
    assert (outcome.kind, outcome.retcode) == (NOT_SENT, None)
    assert reason in outcome.detail
    assert not terminal.sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((), "the position is gone"),
        (Fails(-10002, "IPC recv failed"), "cannot be read: positions_get failed: last_error -100"),
        (EOFError("closed"), "cannot be read: positions_get raised EOFError"),
        ((position(12),), "the terminal answered with 12"),
        ((position(11), position(12)), "the terminal answered with 11, 12"),
        ((position(11, volume=float("nan")),), "volume is nan"),
    ],
)
def test_a_position_that_cannot_be_seen_is_left_alone(
    answer: Any, reason: str, kind: IntentKind
) -> None:
    terminal = with_position()
    terminal.on("positions_get", answer)
    outcome = run(terminal, kind)
    assert outcome.kind is NOT_SENT
    assert reason in outcome.detail
    assert not terminal.sent


def test_the_last_look_is_under_the_permit_right_before_the_order() -> None:
    terminal, lease = with_position(), Lease("connector", 1)
    seen: list[str] = []

    @contextmanager
    def gate(permit: Any) -> Any:
        seen.append("enter")
        with permit:
            seen.append("inside")
            assert not lease.revoke(0)  # held
            yield
        seen.append("left")

    send = terminal.send_under
    terminal.send_under = lambda permit, request: send(gate(permit), request)  # type: ignore[method-assign]
    outcome = run(terminal, CLOSE, Permit(lease))
    assert outcome.kind is DONE
    assert seen == ["enter", "inside", "left"]
    assert terminal.trail == ["positions_get", "order_send"]


def test_a_request_that_cannot_be_right_is_not_sent() -> None:
    terminal = with_position()
    outcome = run(terminal, intent(PART, volume=0.001))
    assert outcome.kind is NOT_SENT
    assert "volume: 0 lots are under the symbol's minimum" in outcome.detail
    assert not terminal.calls


def test_the_same_stop_again_is_done() -> None:
    terminal = with_position(sl=1.0980)
    terminal.replies = [10025]
    assert run(terminal, MOVE).kind is DONE
    assert terminal.sent


# What reading the stop back says after the broker's answer.
READ_BACK: list[tuple[str, int, Any, OutcomeKind, str]] = [
    ("done, shown", 10009, (position(11, sl=1.0980),), DONE, "read back: stop 1.098"),
    ("done, half a tick off", 10009, (position(11, sl=1.098004),), DONE, "read back"),
    ("done, another", 10009, (position(11, sl=1.0950),), UNKNOWN, "the stop is 1.095, not 1.098"),
    ("done, removed", 10009, (position(11, sl=0.0),), UNKNOWN, "the stop is None"),
    ("done, unreadable", 10009, Fails(-10002), DONE, "the broker's word, not read back"),
    ("done, gone", 10009, (), DONE, "has closed since"),
    ("placed, shown", 10008, (position(11, sl=1.0980),), DONE, "read back: stop 1.098"),
    ("placed, another", 10008, (position(11, sl=1.0950),), UNKNOWN, "the stop is 1.095"),
    ("placed, unreadable", 10008, EOFError(), UNKNOWN, "not read back"),
    ("placed, gone", 10008, (), UNKNOWN, "has closed since"),
]


@pytest.mark.parametrize(
    ("retcode", "shown", "kind", "detail"),
    [case[1:] for case in READ_BACK],
    ids=[case[0] for case in READ_BACK],
)
def test_a_stop_is_read_back(retcode: int, shown: Any, kind: OutcomeKind, detail: str) -> None:
    terminal = with_position()
    terminal.on("order_send", lambda: OrderSendResult(retcode=retcode))
    terminal.on("positions_get", shown, nth=2)  # the first is the last look
    outcome = run(terminal, MOVE)
    assert (outcome.kind, outcome.retcode) == (kind, retcode)
    assert detail in outcome.detail


def fills(*parts: tuple[float, float]) -> list[Any]:
    return [
        deal(70 + n, order=501, entry=1, type=1, volume=volume, price=price)
        for n, (volume, price) in enumerate(parts)
    ]


# What a close comes to: retcode, the answer's volume, the order's own deals.
CLOSED: list[tuple[str, int, float, Any, OutcomeKind, float | None, float | None]] = [
    ("done", 10009, 1.0, [], DONE, 1.0, 1.5),
    ("done, volume left out", 10009, 0.0, [], DONE, 1.0, 1.5),
    ("done for less", 10009, 0.6, [], PARTIAL, 0.6, 1.5),
    ("done for one step less", 10009, 0.99, [], PARTIAL, 0.99, 1.5),
    ("partial", 10010, 0.4, [], PARTIAL, 0.4, 1.5),
    ("partial, volume by deals", 10010, 0.0, fills((0.1, 1.1), (0.2, 1.4)), PARTIAL, 0.3, 1.3),
    ("partial, no volume at all", 10010, 0.0, [], UNKNOWN, None, 1.5),
    ("placed, then filled", 10008, 1.0, fills((0.5, 1.1), (0.5, 1.3)), DONE, 1.0, 1.2),
    ("placed, filled in part", 10008, 1.0, fills((0.5, 1.1)), UNKNOWN, 1.0, 1.5),
    ("placed, nothing yet", 10008, 1.0, [], UNKNOWN, 1.0, 1.5),
    ("placed, unreadable", 10008, 1.0, Fails(-10002), UNKNOWN, 1.0, 1.5),
]


@pytest.mark.parametrize(
    ("retcode", "volume", "deals", "kind", "closed", "price"),
    [case[1:] for case in CLOSED],
    ids=[case[0] for case in CLOSED],
)
def test_a_close_is_done_for_what_was_filled(
    retcode: int,
    volume: float,
    deals: Any,
    kind: OutcomeKind,
    closed: float | None,
    price: float | None,
) -> None:
    terminal = with_position()
    answer = OrderSendResult(retcode=retcode, volume=volume, price=1.5, order=501)
    terminal.on("order_send", lambda: answer)
    if isinstance(deals, Fails):
        terminal.on("history_deals_get", deals)
    else:
        terminal.deals = deals
    outcome = run(terminal, CLOSE)
    assert outcome.kind is kind
    assert outcome.volume == (None if closed is None else pytest.approx(closed))
    assert outcome.price == (None if price is None else pytest.approx(price))


def test_placed_without_an_order_number_is_unknown() -> None:
    terminal = with_position()
    terminal.on("order_send", lambda: OrderSendResult(retcode=10008, volume=1.0))
    assert run(terminal, CLOSE).kind is UNKNOWN


def test_capped_at_the_symbols_maximum_is_partial() -> None:
    terminal = with_position()
    outcome = run(terminal, CLOSE, facts=facts(volume_max=0.3))
    assert (outcome.kind, outcome.volume) == (PARTIAL, 0.3)


def waiting() -> FakeTerminal:
    terminal = FakeTerminal()
    terminal.orders[31] = TradeOrder(
        ticket=31, type=2, symbol="EURUSD", volume_current=1.0, price_open=1.05
    )
    return terminal


def delete(terminal: FakeTerminal, lease: Lease | None = None) -> Outcome:
    permit = Permit(lease or Lease("connector", 1))
    return delete_pending(terminal, permit, 31, intent_id="i-9", now=lambda: 5.0)


def test_a_waiting_order_is_deleted() -> None:
    terminal = waiting()
    outcome = delete(terminal)
    assert (outcome.kind, outcome.intent_id, outcome.at) == (DONE, "i-9", 5.0)
    assert not terminal.orders


def test_an_intent_to_delete_goes_the_same_way() -> None:
    terminal = waiting()
    outcome = run(terminal, intent(IntentKind.DELETE_ORDER, ticket=31))
    assert outcome.kind is DONE
    assert not terminal.orders


def test_deleting_what_waits_no_longer_or_cannot_be_seen() -> None:
    outcome = delete(FakeTerminal())
    assert (outcome.kind, outcome.detail) == (NOT_SENT, "the order waits no longer")
    terminal = waiting()
    terminal.on("orders_get", Fails(-10001))
    outcome = delete(terminal)
    assert outcome.kind is NOT_SENT
    assert "cannot be read" in outcome.detail
    terminal.on("orders_get", (TradeOrder(ticket=32, type=2, symbol="EURUSD"),))
    assert delete(terminal).detail == "the order waits no longer"  # another one does
    lease = Lease("connector", 1)
    lease.revoke(0)
    assert delete(waiting(), lease).detail == "fenced"


@pytest.mark.parametrize(
    ("retcode", "kind"),
    [(10006, NOT_DONE), (10035, NOT_DONE), (10012, UNKNOWN), (10008, UNKNOWN), (10010, UNKNOWN)],
)
def test_deleting_refused_or_unknown(retcode: int, kind: OutcomeKind) -> None:
    terminal = waiting()
    terminal.replies = [retcode]
    assert delete(terminal).kind is kind


@pytest.mark.parametrize(
    ("past", "kind"),
    [
        ((TradeOrder(ticket=31, state=2),), DONE),  # canceled
        ((TradeOrder(ticket=31, state=4),), UNKNOWN),  # filled: a position is open now
        ((TradeOrder(ticket=31, state=6),), UNKNOWN),  # expired
        ((), UNKNOWN),
        (Fails(-10001), UNKNOWN),
    ],
)
def test_a_deletion_that_was_accepted_is_done_only_if_history_says_so(
    past: Any, kind: OutcomeKind
) -> None:
    terminal = waiting()
    terminal.replies = [10008]
    terminal.on("orders_get", (), nth=2)  # it waits no longer, as after a fill
    terminal.on("history_orders_get", past)
    assert delete(terminal).kind is kind


def test_facts_read_for_an_order_are_forgotten_if_another_account_is_logged_in() -> None:
    terminal, cache = with_position(), SymbolCache()
    account = account_of(terminal)
    assert isinstance(account, Account)
    cache.belong_to(LOGIN, SERVER)
    lease, clock = Lease("connector", 1), SimpleNamespace(wall=lambda: 5.0)
    owner = SimpleNamespace(context=SimpleNamespace(lease=lease), clock=clock)
    sending = Sending(
        cast(Any, owner),
        terminal=lambda: terminal,
        account=lambda: account,
        symbols=cache,
        news=cast(Any, None),
    )
    terminal.login = 77
    outcome = sending.for_ops(intent(CLOSE))
    assert outcome.kind is NOT_SENT
    assert "login at the order is 77" in outcome.detail
    read = terminal.calls["symbol_info"]
    cache.belong_to(LOGIN, SERVER)
    assert cache.facts(terminal, "EURUSD", 6.0) is not None
    assert terminal.calls["symbol_info"] == read + 1


def test_a_hung_last_look_that_ends_after_the_revocation_does_not_send() -> None:
    terminal, lease = with_position(), Lease("connector", 1)

    def slow() -> tuple[TradePosition, ...]:
        assert not lease.revoke(0)  # given up while it hung
        return (row(TradePosition, position(11)),)

    terminal.on("positions_get", slow)
    outcome = run(terminal, CLOSE, Permit(lease))
    assert (outcome.kind, outcome.detail) == (NOT_SENT, "fenced")
    assert not terminal.sent
    assert lease.revoke(0)
