"""The simulated broker's accounting, held against a reference that shares no code with it.

Sessions of 1,000 operations on each type of account and under each set of
conditions: after every operation balance, equity, margin, free margin, level,
positions, working orders, history and answers agree.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_broker import Ledger
from ledger_market import Tape, in_time
from ledger_requests import request_of
from ledger_scenes import CONDITIONS, KINDS, MODES, SYMBOLS, Op, Scene, operations, scene
from ledger_session import Differs, Session, shortest
from ledger_terms import (
    BY_EXPERT,
    BY_SL,
    BY_SO,
    BY_TP,
    CANCELED,
    EXPIRED,
    FILLED,
    IN,
    INOUT,
    OUT,
    OUT_BY,
    PLACED,
    REJECTED,
    Account,
)

from terminals import SimulatedTerminal
from terminals.structs import OrderSendResult, TradeOrder

OPERATIONS = 1_000
Rounds = Callable[..., int]
scene_of = cache(scene)


def play(begin: Callable[[], Session], ops: list[Op]) -> Session:
    """Play a session and audit it; where it differs, fail with as few operations as show it."""
    session = begin()
    try:
        session.play(ops)
    except Differs as error:
        few, why = shortest(begin, ops)
        lines = [str(error), f"--- {len(few)} operations are enough:", *map(str, few), str(why)]
        pytest.fail("\n".join(lines), pytrace=False)
    assert session.audit() == []
    return session


@pytest.mark.parametrize("conditions", CONDITIONS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.timeout(3600)
def test_sessions_agree_with_the_reference(mode: str, conditions: str, rounds: Rounds) -> None:
    for seed in range(rounds(ci=3, long=200)):
        where = scene(mode, conditions, seed)
        ops = operations(mode, conditions, seed, OPERATIONS, where.length)
        play(lambda where=where: Session(where), ops)  # type: ignore[misc]


OPS = st.lists(
    st.builds(
        Op,
        wait=st.integers(0, 7_200_000),
        kind=st.sampled_from(list(KINDS)),
        number=st.integers(0, (1 << 30) - 1),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.timeout(3600)
def test_any_operations_agree_with_the_reference(mode: str, rounds: Rounds) -> None:
    @settings(
        max_examples=rounds(ci=40, long=2000),
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(ops=OPS, conditions=st.sampled_from(list(CONDITIONS)), seed=st.integers(0, 3))
    def agree(ops: list[Op], conditions: str, seed: int) -> None:
        session = Session(scene_of(mode, conditions, seed))
        session.play(ops)
        assert session.audit() == []

    agree()


def alone(where: Scene, ops: list[Op]) -> tuple[Ledger, Counter[int]]:
    """Play a session with the reference alone; return it, and its answers counted."""
    tape = Tape(where.symbols, where.ticks, where.terms)
    book = Ledger(copy.copy(where.account), tape, Decimal(10_000) + where.deposit)
    codes: Counter[int] = Counter()
    now = tape.begin
    for op in ops:
        now += op.wait
        book.advance(now)
        request = request_of(op, book)
        if request is not None:
            codes[book.send(request).code] += 1
    return book, codes


def test_the_sessions_meet_every_rule() -> None:
    codes: Counter[int] = Counter()
    deals: Counter[tuple[int, int]] = Counter()
    states: Counter[int] = Counter()
    swaps = doubles = 0
    for mode in MODES:
        for conditions in CONDITIONS:
            for seed in range(2):
                where = scene(mode, conditions, seed)
                book, met = alone(where, operations(mode, conditions, seed, 500, where.length))
                codes += met
                deals += Counter((one.reason, one.entry) for one in book.deals)
                orders = (*book.past, *book.working.values())
                states += Counter(one.state for one in orders)
                swaps += sum(1 for one in book.deals if one.swap)
                fills = Counter(one.order for one in book.deals if one.entry == IN)
                doubles += sum(1 for count in fills.values() if count > 1)
    assert set(codes) >= {10004, 10006, 10009, 10010, 10013, 10014, 10015, 10016, 10018, 10019}
    assert set(codes) >= {10022, 10025, 10029, 10030, 10033, 10034, 10035, 10036, 10038}
    assert set(codes) >= {10042, 10043, 10045}
    expert = {(BY_EXPERT, entry) for entry in (IN, OUT, INOUT, OUT_BY)}
    assert set(deals) >= expert | {(BY_SL, OUT), (BY_TP, OUT), (BY_SO, OUT)}
    assert deals[BY_SO, OUT] > 20
    assert set(states) >= {PLACED, CANCELED, FILLED, REJECTED, EXPIRED}
    assert min(swaps, doubles) > 0  # nights that were paid for, orders filled in parts
    assert states[EXPIRED] > 20


def plain(session: Session, kind: str, wait: int = 0, **wanted: Any) -> Op:
    """An operation without levels whose request, as things are now, has these fields."""

    def fits(number: int) -> bool:
        request = request_of(Op(0, kind, number), session.ledger) or {}
        return not request.keys() & {"sl", "tp"} and wanted.items() <= request.items()

    return Op(wait, kind, next(number for number in range(100_000) if fits(number)))


@pytest.mark.parametrize("second", [1.0, 2.0])
def test_a_position_that_is_being_closed_cannot_be_closed_twice(second: float) -> None:
    """2 of 4 lots are closed at once and 2 wait to be: no other order may close these."""
    begin, price = 1_709_600_400_000, Decimal(18000)
    rows = {"MDAX": [(begin + at * 60_000, price, price + 2) for at in range(30)]}
    where = Scene(
        name="closed twice",
        symbols=tuple(one for one in SYMBOLS if one.name in rows),
        ticks=tuple(in_time(rows)),
        account=Account(),
        terms=CONDITIONS["shallow"],
    )
    session = Session(where)
    whole = {"volume": 4.0, "type_filling": 2}
    session.play([plain(session, "open", type=0, **whole), Op(600_000, "idle", 0)])
    session.play([plain(session, "close", type=1, **whole)])
    assert [one.volume for one in session.ledger.positions.values()] == [2]
    session.play([plain(session, "close", type=1, volume=second), Op(600_000, "idle", 0)])
    assert session.codes == {10010: 2, 10039: 1}
    assert (session.ledger.positions, session.ledger.working) == ({}, {})
    assert session.audit() == []


def test_a_stop_out_by_a_tick_that_only_converts() -> None:
    """The position's own symbol stands still while the pound, in which it loses, rises."""
    begin, minute, spread = 1_709_600_400_000, 60_000, Decimal("0.0001")
    bids = {
        "EURGBP": {0: "0.85500", 20: "0.84500", 45: "0.84500"},
        "GBPUSD": {0: "1.27000", 25: "1.48000", 26: "1.58100", 40: "1.30000", 50: "1.30000"},
    }
    rows = {
        name: [(begin + at * minute, Decimal(bid), Decimal(bid) + spread) for at, bid in of.items()]
        for name, of in bids.items()
    }
    where = Scene(
        name="a tick that only converts",
        symbols=tuple(one for one in SYMBOLS if one.name in rows),
        ticks=tuple(in_time(rows)),
        account=Account(leverage=Decimal(500)),
        terms=CONDITIONS["ideal"],
        deposit=Decimal(-8_400),
    )
    session = Session(where)
    wanted = {"symbol": "EURGBP", "type": 0, "volume": 1.0, "type_filling": 0}
    opening = plain(session, "open", wait=minute, **wanted)
    session.play([opening, Op(45 * minute, "idle", 0), Op(minute, "idle", 0)])
    assert [one.reason for one in session.ledger.deals[2:]] == [BY_EXPERT, BY_SO]
    assert session.ledger.deals[-1].time == begin + 26 * minute
    assert session.audit() == []


class OneCentOff(Session):
    """A session whose reference pays a cent too much for the third deal."""

    def __init__(self, where: Scene) -> None:
        super().__init__(where)
        book, pay = self.ledger, self.ledger._book

        def book_it(deal: object) -> None:
            pay(deal)  # type: ignore[arg-type]
            if len(book.deals) == 3:
                book.account.balance -= Decimal("0.01")

        book._book = book_it  # type: ignore[method-assign]


class Altered(SimulatedTerminal):
    """A terminal that shows one thing wrongly."""

    wrong: ClassVar[str] = ""

    def order_send(self, *request: Any, **fields: Any) -> OrderSendResult | None:
        done = super().order_send(*request, **fields)
        change = {"deal": 1, "order": 2, "price": 0.5}
        if done is None or done.retcode != 10009 or self.wrong not in change:
            return done
        return OrderSendResult(**{**done._asdict(), self.wrong: change[self.wrong]})

    def history_orders_get(self, *dates: Any, **filters: Any) -> tuple[TradeOrder, ...] | None:
        found = super().history_orders_get(*dates, **filters) or ()
        gone = {self.wrong.removeprefix("past "): 0.0} if self.wrong.startswith("past") else {}
        return tuple(TradeOrder(**{**one._asdict(), **gone}) for one in found)

    def orders_get(self, *unnamed: Any, **filters: Any) -> tuple[TradeOrder, ...] | None:
        found = super().orders_get(*unnamed, **filters) or ()
        gone = {self.wrong.removeprefix("now "): 0.0} if self.wrong.startswith("now") else {}
        return tuple(TradeOrder(**{**one._asdict(), **gone}) for one in found)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("", ""),
        ("deal", "answer:"),
        ("order", "answer:"),
        ("price", "answer:"),
        ("past price_open", "price_open is 0.0"),
        ("past price_current", "price_current is 0.0"),
        ("now price_open", "price_open is 0.0"),
        ("now price_current", "price_current is 0.0"),
    ],
)
def test_what_a_terminal_says_wrongly_is_found(wrong: str, told: str) -> None:
    where = scene_of("hedging", "ideal", 0)
    session = Session(where)
    session.terminal.__class__ = type("Altered", (Altered,), {"wrong": wrong})
    ops = operations("hedging", "ideal", 0, 100, where.length)
    if not wrong:
        session.play(ops)
        return
    with pytest.raises(Differs) as caught:
        session.play(ops)
    assert told in str(caught.value)


def test_a_cent_is_found_and_the_session_cut_short() -> None:
    where = scene("hedging", "ideal", 0)
    ops = operations("hedging", "ideal", 0, 200, where.length)
    few, why = shortest(lambda: OneCentOff(where), ops)
    assert len(few) <= 4
    assert "balance" in str(why)
    assert "session 'hedging ideal 0'" in str(why)
