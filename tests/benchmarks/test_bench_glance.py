"""A registration reads what it needs, and nothing can be taken for gone because of it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from bench_kit import Asked, Rig

from actors.events import Kind
from actors.messages import Observe
from actors.names import REGISTRY
from defence.broker import Empty, Glance, Known, Unknown
from defence.errors import BrokerUnknown, Conflict, Fault, Invalid, NotFound
from defence.plans import ReconcileRules
from defence.reconcile import plan
from defence.registration import find_position
from defence.trade import Registration, Trade
from terminals.glancing import Pace, glance
from terminals.reading import SymbolCache
from terminals.sim.faults import Effect
from terminals.sim.faults import Fault as Spoil
from terminals.sim.generated import GeneratedMarket


def look(terminal: Asked, *wanted: tuple[int, int | None], **changes: Any) -> Glance | Unknown:
    """Glance at a terminal without a guard."""
    values: dict[str, Any] = {
        "expected_login": None,
        "expected_server": None,
        "now": lambda: 5.0,
        "monotonic": lambda: 0.0,
        "symbols": SymbolCache(),
        "pace": Pace(open=10_000),
    }
    return glance(terminal, wanted, **{**values, **changes})


@pytest.fixture
def terminal() -> Asked:
    made = Asked(
        market=GeneratedMarket(seed=1, start=1_700_000_000.0),
        now=lambda: 0.0,
        speed=0.0,
        step=0.001,
        demo=False,
    )
    made.initialize()
    made.calls.clear()
    return made


def known(found: Glance | Unknown) -> Glance:
    assert isinstance(found, Glance), found
    return found


# -- what is read


def test_one_registration_among_many_positions_asks_for_one(rig: Rig) -> None:
    tickets = rig.terminal.open(200)
    rig.guard.register(Trade(ticket=tickets[50]))
    rig.guard.register(Trade(ticket=tickets[60]))
    assert rig.terminal.asked == [tickets[50], tickets[60]]
    assert rig.terminal.calls["account_info"] == rig.terminal.calls["terminal_info"] == 4
    assert rig.terminal.calls["symbol_info_tick"] == 2  # the quote of now, each time
    assert rig.terminal.calls["symbol_info"] <= 1  # facts are good for a minute


def test_many_at_once_are_one_look_at_all(rig: Rig) -> None:
    tickets = rig.terminal.open(64)
    answers = rig.guard.register_many([Trade(ticket=ticket) for ticket in tickets])
    assert all(isinstance(one, Registration) and one.created for one in answers)
    assert rig.terminal.asked == [None]
    assert [trade.ticket for trade in rig.guard.trades()] == tickets


def test_an_old_ticket_is_found_by_its_identifier(rig: Rig) -> None:
    first, second = rig.terminal.open(2)
    rig.terminal.change_ticket(first, 77_000_001)
    assert rig.guard.register(Trade(ticket=first)).trade.ticket == 77_000_001
    by_other = rig.guard.register(Trade(ticket=77_000_002, identifier=second))
    assert by_other.trade.identifier == second
    assert rig.terminal.asked == [first, None, 77_000_002, None]


def test_a_ticket_wins_over_an_identifier(terminal: Asked) -> None:
    first, second = terminal.open(2)
    terminal.change_ticket(first, 77_000_001)
    found = known(look(terminal, (second, first)))
    assert find_position(Trade(ticket=second, identifier=first), found).identifier == second


def test_no_such_position(rig: Rig) -> None:
    rig.terminal.open(3)
    with pytest.raises(NotFound) as caught:
        rig.guard.register(Trade(ticket=5))
    assert caught.value.field == "ticket"


# -- three values


def test_a_position_without_sense_spoils_no_other(rig: Rig) -> None:
    good, bad, other = rig.terminal.open(3)
    rig.terminal.spoiled[bad] = {"volume": -1.0}
    answers = rig.guard.register_many([Trade(ticket=one) for one in (good, bad, other)])
    kinds = [type(one) for one in answers]
    assert kinds == [Registration, BrokerUnknown, Registration]
    rig.terminal.spoiled.clear()
    assert rig.guard.register(Trade(ticket=bad)).created


@pytest.mark.parametrize("prefer_all", [False, True])
def test_empty_is_not_unknown(terminal: Asked, prefer_all: bool) -> None:
    good, bad = terminal.open(2)
    terminal.spoiled[bad] = {"symbol": ""}
    pace = Pace(open=0 if prefer_all else 10_000)
    found = known(look(terminal, (good, None), (bad, None), (9, None), pace=pace))
    assert (terminal.asked[0] is None) is prefer_all
    assert isinstance(found.by_ticket[good], Known)
    assert isinstance(found.by_ticket[bad], Unknown)
    assert isinstance(found.by_ticket[9], Empty)


@pytest.mark.parametrize("call", ["account_info", "terminal_info", "positions_get"])
@pytest.mark.parametrize("after", [0, 1])
def test_a_read_that_fails_is_unknown_and_changes_nothing(rig: Rig, call: str, after: int) -> None:
    (ticket,) = rig.terminal.open(1)
    if call == "positions_get" and after:
        rig.terminal.change_ticket(ticket, 77_000_001)  # the second read is the whole list
    rig.terminal.add_fault(Spoil(call=call, effect=Effect.UNKNOWN, after=after))
    with pytest.raises(BrokerUnknown):
        rig.guard.register(Trade(ticket=ticket))
    assert rig.guard.trades() == ()
    assert rig.guard.register(Trade(ticket=ticket)).created


def test_another_account_between_is_unknown(terminal: Asked) -> None:
    (ticket,) = terminal.open(1)
    home = terminal.account_info()
    assert home is not None

    class Switching(SymbolCache):
        def belong_to(self, login: int, server: str) -> None:
            terminal.switch_account(99, "Other")

    found = look(terminal, (ticket, None), symbols=Switching())
    assert isinstance(found, Unknown)
    assert "after the read" in found.reason
    elsewhere = look(terminal, (ticket, None), expected_login=home.login)
    assert isinstance(elsewhere, Unknown)


def test_a_doubled_row_is_unknown(terminal: Asked) -> None:
    first, second = terminal.open(2)
    terminal.spoiled[second] = {"ticket": first}
    found = known(look(terminal, (first, None), (4, None), pace=Pace(open=1)))
    assert isinstance(found.by_ticket[first], Unknown)
    terminal.spoiled[second] = {"identifier": first}
    assert isinstance(look(terminal, (4, first)), Unknown)


# -- never for reconciliation


def test_a_glance_shows_no_list_that_could_lack_something(terminal: Asked) -> None:
    (ticket,) = terminal.open(1)
    found = known(look(terminal, (ticket, None)))
    assert not hasattr(found, "positions")
    assert not hasattr(found, "open_positions")
    with pytest.raises(Fault):
        find_position(Trade(ticket=ticket + 1), found)  # it did not look for this one


def test_reconciliation_refuses_a_glance(terminal: Asked) -> None:
    found: Any = known(look(terminal, *((one, None) for one in terminal.open(1))))
    with pytest.raises(AttributeError):
        plan(
            trades={},
            pending={},
            snapshot=found,
            histories={},
            now=1.0,
            rules=ReconcileRules(),
            plan_id="p",
        )


def test_an_observation_by_a_glance_removes_nothing(sim: Rig) -> None:
    first, second = sim.terminal.open(2)
    sim.guard.register_many([Trade(ticket=first), Trade(ticket=second)])
    found: Any = known(look(sim.terminal, (first, None), now=sim.runtime.clock.wall))
    with pytest.raises(Fault):
        sim.guard._house.ask(REGISTRY, Observe(found), 600.0)
    assert {trade.ticket for trade in sim.guard.trades()} == {first, second}


def test_registering_one_leaves_the_others_alone(rig: Rig) -> None:
    tickets = rig.terminal.open(6)
    rig.guard.register_many([Trade(ticket=one) for one in tickets[:5]])
    before = rig.guard.trades()
    rig.terminal.close_position(tickets[0])  # nobody has looked for it since
    rig.guard.register(Trade(ticket=tickets[5]))
    assert set(before) < set(rig.guard.trades())
    assert not [event for event in rig.guard.events.since() if event.kind is Kind.TRADE_CHANGED]


def test_only_registration_knows_what_a_glance_is() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    users = set()
    for package in ("defence", "actors", "supervisors", "terminals", "storage", "gateway"):
        for path in sorted((root / package).rglob("*.py")):
            names = {
                node.id
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Name)
            }
            if "Glance" in names:
                users.add(f"{package}/{path.name}")
    assert users == {
        "actors/connector.py",
        "actors/messages.py",
        "defence/registration.py",
        "terminals/glancing.py",
    }


# -- what is cheaper


@pytest.mark.parametrize(
    ("tickets", "open_", "call", "row", "expected"),
    [
        (1, 0, 0.0, 0.0, False),  # one is always asked for by itself
        (2, 2, 0.0, 0.0, True),
        (2, 33, 0.0, 0.0, False),  # unmeasured: a call is worth sixteen rows
        (2, 32, 0.0, 0.0, True),
        (10, 1000, 1e-3, 1e-6, True),  # a dear pipe
        (10, 1000, 1e-5, 1e-5, False),  # a cheap call
        (1000, 1000, 1e-5, 1e-5, True),
    ],
)
def test_the_cheaper_way(tickets: int, open_: int, call: float, row: float, expected: bool) -> None:
    pace = Pace()
    pace.note_calls(1, call)
    pace.note_all(100, row * 100)
    pace.open = open_
    assert pace.prefers_all(tickets) is expected


def test_a_measurement_blends_in() -> None:
    pace = Pace()
    pace.note_all(10, 10e-6)
    for _ in range(50):
        pace.note_calls(4, 4e-3)
    assert pace.open == 10
    assert pace.prefers_all(2)
    pace.open = 1_000_000
    assert not pace.prefers_all(2)
    pace.note_calls(0, 1.0)  # nothing was called: nothing was learned
    assert not pace.prefers_all(2)


# -- the batch


def test_each_of_a_batch_has_its_own_answer(rig: Rig) -> None:
    one, two = rig.terminal.open(2)
    trades = [
        Trade(ticket=one, managed_by="a"),
        Trade(ticket=-1),
        Trade(ticket=5),
        Trade(ticket=two, direction="SELL"),
        Trade(ticket=one, managed_by="b"),
        Trade(ticket=two),
    ]
    answers = rig.guard.register_many(trades)
    kinds = [type(answer) for answer in answers]
    assert kinds == [Registration, Invalid, NotFound, Invalid, Conflict, Registration]
    ids = ["r1", "r2"]
    first = rig.guard.register_many([Trade(ticket=one), Trade(ticket=two)], request_ids=ids)
    assert [getattr(answer, "created", None) for answer in first] == [False, False]
    assert rig.guard.register_many([]) == []
    assert [type(answer) for answer in rig.guard.register_many([Trade(ticket=0)])] == [Invalid]


def test_a_batch_sent_again_is_answered_again(rig: Rig) -> None:
    tickets = rig.terminal.open(5)
    trades, ids = [Trade(ticket=one) for one in tickets], [f"b:{one}" for one in tickets]
    first = rig.guard.register_many(trades, request_ids=ids)
    assert rig.guard.register_many(trades, request_ids=ids) == first
    assert all(isinstance(one, Registration) and one.created for one in first)
