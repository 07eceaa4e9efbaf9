"""Scripted faults, permits and threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal_kit import START, Clock, books_balance, generated, order, playing, recorded

from defence.errors import Fenced, Invalid
from terminals import Effect, Fault, GeneratedMarket, SimulatedTerminal, load_faults
from terminals import constants as mt5
from terminals.sim.conditions import Conditions
from terminals.sim.fault_seed import as_json, chosen_faults, seeded_faults
from terminals.sim.faults import entries_from, fault_from, plain_fault

READS: list[tuple[str, tuple[Any, ...]]] = [
    ("account_info", ()),
    ("terminal_info", ()),
    ("symbol_info", ("EURUSD",)),
    ("symbol_info_tick", ("EURUSD",)),
    ("positions_get", ()),
    ("orders_get", ()),
    ("history_deals_get", (0, 4e9)),
    ("history_orders_get", (0, 4e9)),
    ("copy_rates_from_pos", ("EURUSD", 1, 0, 2)),
    ("order_check", (order(),)),
    ("order_send", (order(),)),
]


def fault(call: str, effect: str, **more: Any) -> Fault:
    return Fault(call=call, effect=Effect(effect), **more)


@pytest.mark.parametrize(("name", "arguments"), READS)
def test_unknown(name: str, arguments: tuple[Any, ...]) -> None:
    terminal = generated(faults=[fault(name, "unknown")])
    call = getattr(terminal, name)
    assert call(*arguments) is None
    assert terminal.last_error() == (-10001, "IPC send failed")
    assert call(*arguments) is not None
    assert terminal.last_error() == (1, "Success")


@pytest.mark.parametrize("name", ["initialize", "symbol_select"])
def test_unknown_is_false_where_true_is_the_answer(name: str) -> None:
    terminal = generated()
    terminal.add_fault(fault(name, "unknown", error=(-10005, "IPC timeout")))
    arguments = ("EURUSD",) if name == "symbol_select" else ()
    assert getattr(terminal, name)(*arguments) is False
    assert terminal.last_error() == (-10005, "IPC timeout")
    assert getattr(terminal, name)(*arguments) is True


def test_a_failing_first_initialize() -> None:
    terminal = SimulatedTerminal(
        market=GeneratedMarket(7), now=Clock(), faults=[fault("initialize", "unknown", count=2)]
    )
    assert [terminal.initialize() for _ in range(3)] == [False, False, True]


def test_after_and_count() -> None:
    terminal = generated(faults=[fault("positions_get", "unknown", after=2, count=3)])
    seen = [terminal.positions_get() is None for _ in range(7)]
    assert seen == [False, False, True, True, True, False, False]
    terminal.add_fault(fault("positions_get", "unknown", count=None))
    assert all(terminal.positions_get() is None for _ in range(50))
    terminal.clear_faults()
    assert terminal.positions_get() == ()


def test_empty_is_a_lie_with_success() -> None:
    terminal = generated(demo=True, faults=[fault("positions_get", "empty")])
    assert terminal.positions_get() == ()
    assert terminal.last_error() == (1, "Success")
    assert terminal.positions_get() != ()
    terminal.add_fault(fault("copy_rates_from_pos", "empty"))
    rates = terminal.copy_rates_from_pos("EURUSD", 1, 0, 5)
    assert rates is not None
    assert len(rates) == 0


def test_raise() -> None:
    terminal = generated(faults=[fault("account_info", "raise")])
    with pytest.raises(ConnectionError):
        terminal.account_info()
    assert terminal.account_info() is not None


def test_disconnect_for_a_while() -> None:
    clock = Clock()
    terminal = generated(now=clock, faults=[fault("positions_get", "disconnect", seconds=60)])
    assert terminal.positions_get() == ()

    def connected() -> bool:
        info = terminal.terminal_info()
        assert info is not None
        return info.connected

    assert not connected()
    clock.at += 59
    assert not connected()
    clock.at += 1
    assert connected()
    terminal.add_fault(fault("account_info", "disconnect"))
    terminal.account_info()
    clock.at += 1e6
    assert not connected()
    terminal.reconnect()
    assert connected()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", ["unknown", "raise"])
def test_an_order_lost_before_or_after_its_effect(effect: str, when: Any) -> None:
    terminal = generated(faults=[fault("order_send", effect, when=when)])
    if effect == "raise":
        with pytest.raises(ConnectionError):
            terminal.order_send(order())
    else:
        assert terminal.order_send(order()) is None
        assert terminal.last_error()[0] == -10001
    executed = when == "after"
    assert len(terminal.positions_get() or ()) == executed
    assert len(terminal.orders_sent) == executed
    books_balance(terminal)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_scripted_retcode(when: Any) -> None:
    terminal = generated(faults=[fault("order_send", "retcode", retcode=10012, when=when)])
    done = terminal.order_send(order())
    assert done is not None
    assert done.retcode == 10012
    assert len(terminal.positions_get() or ()) == (when == "after")
    terminal.add_fault(fault("order_check", "retcode", retcode=10019))
    checked = terminal.order_check(order())
    assert checked is not None
    assert checked.retcode == 10019


def test_waits_are_the_callers_to_make() -> None:
    waited: list[float | None] = []
    terminal = generated(
        hang=waited.append,
        faults=[
            fault("positions_get", "delay", seconds=3.5),
            fault("account_info", "hang"),
            fault("account_info", "hang", seconds=9.0, when="after"),
        ],
    )
    assert terminal.positions_get() == ()
    assert terminal.account_info() is not None
    assert waited == [3.5, None, 9.0]


class Gate:
    """A permit that notes what happens in and around it."""

    def __init__(self) -> None:
        self.held = False
        self.notes: list[str] = []
        self.refuse = False

    @contextmanager
    def pass_(self) -> Iterator[None]:
        if self.refuse:
            raise Fenced("revoked")
        self.held = True
        try:
            yield
        finally:
            self.held = False


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", ["hang", "delay"])
def test_waits_are_outside_of_the_permit(effect: str, when: Any) -> None:
    gate = Gate()
    seen: list[tuple[bool, int]] = []

    def hang(seconds: float | None) -> None:
        seen.append((gate.held, len(terminal.orders_sent)))

    terminal = generated(hang=hang, faults=[fault("order_send", effect, seconds=1.0, when=when)])
    done = terminal.send_under(gate.pass_(), order())
    assert done is not None
    assert done.retcode == 10009
    assert seen == [(False, 1 if when == "after" else 0)]


def test_the_effect_is_inside_of_the_permit() -> None:
    terminal = generated()
    seen = []

    @contextmanager
    def permit() -> Iterator[None]:
        seen.append(len(terminal.positions_get() or ()))
        yield
        seen.append(len(terminal.positions_get() or ()))

    done = terminal.send_under(permit(), order())
    assert done is not None
    assert seen == [0, 1]


def test_a_permit_that_refuses_stops_the_order() -> None:
    gate = Gate()
    gate.refuse = True
    terminal = generated()
    with pytest.raises(Fenced):
        terminal.send_under(gate.pass_(), order())
    assert terminal.orders_sent == []
    assert terminal.positions_get() == ()


def test_a_permit_revoked_while_the_order_hung() -> None:
    gate = Gate()

    def hang(seconds: float | None) -> None:
        gate.refuse = True

    terminal = generated(hang=hang, faults=[fault("order_send", "hang")])
    with pytest.raises(Fenced):
        terminal.send_under(gate.pass_(), order())
    assert terminal.positions_get() == ()


def test_the_permit_is_not_entered_for_what_is_never_sent() -> None:
    gate = Gate()
    gate.refuse = True  # would raise
    terminal = generated(faults=[fault("order_send", "unknown")])
    assert terminal.send_under(gate.pass_(), order(comment="x" * 32)) is None
    assert terminal.send_under(gate.pass_(), order()) is None
    terminal.shutdown()
    assert terminal.send_under(gate.pass_(), order()) is None
    assert terminal.last_error()[0] == -10004


@pytest.mark.timeout(20)
def test_close_releases_whoever_hangs_and_nothing_happens_after() -> None:
    terminal = generated(
        faults=[fault("order_send", "hang"), fault("positions_get", "hang", when="after")]
    )
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(terminal.order_send(order())), daemon=True),
        threading.Thread(target=lambda: answers.append(terminal.positions_get()), daemon=True),
    ]
    for one in threads:
        one.start()
    while terminal.calls["order_send"] + terminal.calls["positions_get"] < 2:
        threading.Event().wait(0.001)
    assert terminal.account_info() is not None  # others are not held up
    terminal.close()
    terminal.close()
    for one in threads:
        one.join(5)
        assert not one.is_alive()
    assert None in answers
    assert terminal.orders_sent == []
    assert terminal.account_info() is None
    assert terminal.last_error()[0] == -10004
    assert terminal.initialize() is False
    assert terminal.last_error() == (-10003, "IPC initialize failed, terminal closed")


@pytest.mark.timeout(30)
def test_many_threads() -> None:
    clock = Clock()
    terminal = generated(now=clock, market=GeneratedMarket(2, START, volatility=10.0))
    failures: list[BaseException] = []

    def work(side: int) -> None:
        try:
            for step in range(40):
                done = terminal.order_send(order(type=side, volume=0.01))
                assert done is not None
                clock.at += 1
                if step % 3 == 0 and done.retcode == 10009:
                    terminal.order_send(order(type=1 - side, volume=0.01, position=done.order))
                assert terminal.positions_get() is not None
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index % 2,), daemon=True) for index in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures
    assert len(terminal.orders_sent) == terminal.calls["order_send"]
    tickets = [one.ticket for one in terminal.history_deals_get(0, 4e9) or ()]
    assert len(tickets) == len(set(tickets))
    books_balance(terminal)


def test_script_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(
        json.dumps(
            [
                {"call": "positions_get", "effect": "unknown", "after": 3, "count": None},
                {"call": "order_send", "effect": "retcode", "retcode": 10004, "count": 2},
                {"call": "initialize", "effect": "unknown", "error": [-6, "no"], "when": "after"},
                {"call": "account_info", "effect": "delay", "seconds": 1},
            ]
        )
    )
    assert load_faults(path) == [
        fault("positions_get", "unknown", after=3, count=None),
        fault("order_send", "retcode", retcode=10004, count=2),
        fault("initialize", "unknown", error=(-6, "no"), when="after"),
        fault("account_info", "delay", seconds=1),
    ]


BAD: list[tuple[object, str]] = [
    ({"effect": "unknown"}, "entry 1: call: None is missing"),
    ({"call": "positions_get"}, "entry 1: effect"),
    ({"call": "positions", "effect": "unknown"}, "entry 1: call: 'positions' is no call"),
    ({"call": "positions_get", "effect": "boom"}, "entry 1: effect: 'boom' is no effect"),
    ({"call": ["x"], "effect": "unknown"}, "entry 1: call"),
    ({"call": "positions_get", "effect": ["x"]}, "entry 1: effect"),
    ({"call": "positions_get", "effect": "unknown", "after": -1}, "entry 1: after: -1"),
    ({"call": "positions_get", "effect": "unknown", "after": 1.5}, "entry 1: after: 1.5"),
    ({"call": "positions_get", "effect": "unknown", "count": 0}, "entry 1: count: 0"),
    ({"call": "positions_get", "effect": "unknown", "count": True}, "entry 1: count: True"),
    ({"call": "positions_get", "effect": "hang", "seconds": "5"}, "entry 1: seconds: '5'"),
    ({"call": "positions_get", "effect": "hang", "seconds": -5}, "entry 1: seconds: -5"),
    ({"call": "positions_get", "effect": "delay"}, "entry 1: seconds: None is missing"),
    ({"call": "positions_get", "effect": "retcode", "retcode": 1}, "only for orders"),
    ({"call": "order_send", "effect": "retcode"}, "entry 1: retcode: None"),
    ({"call": "order_send", "effect": "unknown", "retcode": 1}, "entry 1: retcode: 1 means"),
    ({"call": "account_info", "effect": "empty"}, "has no empty answer"),
    ({"call": "order_send", "effect": "unknown", "when": "later"}, "entry 1: when: 'later'"),
    ({"call": "order_send", "effect": "unknown", "error": "no"}, "entry 1: error: 'no'"),
    ({"call": "order_send", "effect": "unknown", "error": [1]}, "entry 1: error"),
    ({"call": "order_send", "effect": "unknown", "times": 3}, "entry 1: times"),
    ("unknown", "entry 1: fault: 'unknown' is no object"),
]


@pytest.mark.parametrize(("entry", "words"), BAD)
def test_bad_entries_name_file_entry_and_field(entry: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    good = {"call": "positions_get", "effect": "unknown"}
    path.write_text(json.dumps([good, entry]))
    with pytest.raises(Invalid) as caught:
        load_faults(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.field == "sim_faults"
    assert caught.value.remedy


@pytest.mark.parametrize(("text", "words"), [("{", "is not JSON"), ("{}", "no list"), ("", "JSON")])
def test_bad_script_files(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(Invalid, match=words):
        load_faults(path)


def test_missing_script_file(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        load_faults(tmp_path / "none.json")


def test_faults_are_not_used_up_by_calls_that_never_left() -> None:
    terminal = SimulatedTerminal(
        market=GeneratedMarket(7), now=Clock(), faults=[fault("positions_get", "unknown")]
    )
    assert terminal.positions_get() is None
    assert terminal.last_error()[0] == -10004
    assert terminal.initialize()
    assert terminal.positions_get() is None
    assert terminal.last_error()[0] == -10001


def test_without_time_passing_nothing_happens_twice() -> None:
    terminal, clock = playing({"EURUSD": [(0, 1.1, 1.1001), (9, 1.0, 1.0001), (99, 1.0, 1.0001)]})
    terminal.open_position("EURUSD", "BUY", 0.1, sl=1.05)
    clock.at += 20
    for _ in range(3):
        assert terminal.positions_get() == ()
    assert len(terminal.history_deals_get(0, 4e9) or ()) == 3
    assert terminal.last_error()[0] == mt5.RES_S_OK


# -- what lasts, and what comes with time


def ticking(seconds: int = 7200, **options: Any) -> tuple[SimulatedTerminal, Clock]:
    """A terminal on a tick a second; the bid rises by a pip a second from 1.0."""
    ticks = [(at, 1.0 + at * 1e-4, 1.0 + at * 1e-4 + 2e-4) for at in range(seconds)]
    return playing({"EURUSD": ticks}, **options)


def quote(terminal: SimulatedTerminal) -> tuple[float, float, float]:
    tick = terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    return tick.time - START, round(tick.bid, 5), round(tick.ask, 5)


def effects(terminal: SimulatedTerminal) -> list[tuple[float, str, str]]:
    return [(round(one.at - START, 3), one.effect, one.what) for one in terminal.mishaps]


def entry(**fields: Any) -> Fault:
    return fault_from(fields)


def test_at_a_time_and_for_a_while() -> None:
    script = [entry(effect="no_trading", who="server", at=60, seconds=30)]
    terminal, clock = ticking(faults=script)

    def allowed() -> bool:
        info = terminal.account_info()
        assert info is not None
        return info.trade_expert

    seen = []
    for at in (0, 59, 60, 89, 90, 500):
        clock.at = START + at
        seen.append(allowed())
    assert seen == [True, True, False, False, True, True]
    assert effects(terminal) == [(60, "no_trading", "begins"), (90, "no_trading", "ends")]


@pytest.mark.parametrize("step", [1.0, 7.0, 1000.0])
def test_what_happens_does_not_depend_on_who_looks(step: float) -> None:
    """A stop is reached while quotes stand still, and a position closed between two ticks."""
    script = [
        entry(effect="freeze", at=100, seconds=50),
        entry(effect="close", volume=0.04, at=120),
        entry(effect="close", volume=0.01, every=200, times=3),
        entry(effect="widen", factor=10, at=300, seconds=10),
    ]
    terminal, clock = ticking(faults=script)
    terminal.open_position("EURUSD", "BUY", 0.1, tp=1.0125)
    while clock.at < START + 1000:
        clock.at += step
        terminal.positions_get()
    deals = terminal.history_deals_get(0, 4e9) or ()
    out = [(one.time - START, one.volume, round(one.price, 5)) for one in deals if one.entry == 1]
    # At 120 the quote of 100 counts; the target of 125 is met by the first tick that gets through.
    assert out == [(120, 0.04, 1.01), (150, 0.06, 1.015)]
    assert effects(terminal)[2:] == [
        (150, "freeze", "ends"),
        (200, "close", "there is no such position"),
        (300, "widen", "begins"),
        (310, "widen", "ends"),
        (400, "close", "there is no such position"),
        (600, "close", "there is no such position"),
    ]
    books_balance(terminal)


def test_calls_are_counted_from_the_time_on() -> None:
    script = [entry(effect="unknown", call="positions_get", at=60, after=1, count=2)]
    terminal, clock = ticking(faults=script)
    seen = []
    for at in (0, 30, 60, 61, 62, 63):
        clock.at = START + at
        seen.append(terminal.positions_get() is None)
    assert seen == [False, False, False, True, True, False]


@pytest.mark.parametrize(
    ("zone", "minutes"),
    # START is 22:13:20 UTC, which is 00:13:20 where the day ends with New York (winter: GMT+2).
    [("UTC", 104 + 2 / 3), ("New York close", 23 * 60 + 44 + 2 / 3)],
)
def test_daily_is_the_brokers_own_time_of_day(zone: str, minutes: float) -> None:
    clock = Clock()
    script = [entry(effect="vanish", daily="23:58", times=2)]
    terminal = generated(now=clock, faults=script, conditions=Conditions(zone=zone))
    for hour in range(1, 97):
        clock.at = START + hour * 3600.0
        terminal.account_info()
    times = [at / 60.0 for at, _, _ in effects(terminal)]
    assert times == pytest.approx([minutes, minutes + 24 * 60], abs=0.01)


def test_jitter_is_drawn_from_the_seed() -> None:
    def times(seed: int) -> list[float]:
        fault = entry(effect="vanish", every=100, jitter=50, seed=seed, times=5)
        terminal, clock = ticking(faults=[fault])
        clock.at = START + 1000
        terminal.account_info()
        return [at for at, _, _ in effects(terminal)]

    assert times(1) == times(1) != times(2)
    late = [at - 100 * (number + 1) for number, at in enumerate(times(1))]
    assert all(0 <= one <= 50 for one in late)
    assert len(set(late)) == 5


def test_what_is_left_goes_on_elsewhere_at_the_same_times() -> None:
    """A script that is handed on, again and again, does what one that is not handed on does."""
    script = [
        entry(effect="vanish", every=100, jitter=40, seed=3),
        entry(effect="no_trading", who="client", at=130, seconds=400),
        entry(effect="close", at=700),
        entry(effect="unknown", call="orders_get", after=3, count=2),
        entry(effect="freeze", daily="22:20", seconds=20),
        entry(effect="raise", call="orders_total", at=50),
    ]
    whole, clock = ticking(faults=script)
    for at in range(0, 1000, 50):
        clock.at = START + at
        whole.account_info()
    parts: list[tuple[float, str, str]] = []
    left: list[Fault] = script
    for since in range(0, 1000, 250):
        ticks = [(at, 1.1, 1.1002) for at in range(7200)]
        clock = Clock(START + since)
        market = recorded({"EURUSD": ticks})
        market.start_msc = round((START + since) * 1000)
        part = generated(market=market, now=clock, faults=left)
        for at in range(since, since + 250, 50):
            clock.at = START + at
            part.account_info()
        parts += effects(part)
        left = [fault_from(json.loads(json.dumps(plain_fault(one)))) for one in part._script.left()]
    expected = effects(whole)
    assert [one for one in expected if one[1] != "no_trading"] == [
        one for one in parts if one[1] != "no_trading"
    ]
    assert (530.0, "no_trading", "ends") in parts
    assert [one.call for one in left if one.call] == ["orders_get", "orders_total"]
    assert left[-1].at is not None or left[-1].daily is not None


def test_an_entry_without_trigger_happens_now_also_when_added_later() -> None:
    terminal, clock = ticking()
    ticket = terminal.open_position("EURUSD", "BUY", 0.1)
    clock.at += 300
    terminal.add_fault(entry(effect="change_ticket"))
    terminal.add_fault(entry(effect="close", at=60))
    terminal.add_fault(entry(effect="vanish", call="orders_get", after=1))
    assert effects(terminal) == [
        (300, "change_ticket", f"position {ticket} has ticket {terminal.positions_get()[0].ticket}")  # type: ignore[index]
    ]
    clock.at += 59
    assert len(terminal.positions_get() or ()) == 1
    clock.at += 1
    assert terminal.positions_get() == ()
    assert effects(terminal)[-1][:2] == (360, "close")
    assert terminal.orders_get() == ()
    assert terminal.orders_get() == ()
    assert effects(terminal)[-1] == (360, "vanish", "there is no such position")


def test_clearing_ends_what_lasts() -> None:
    terminal, clock = ticking()
    for effect, more in (
        ("no_trading", {"who": "account"}),
        ("switch_account", {"login": 7, "server": "There"}),
        ("freeze", {}),
        ("zero", {}),
        ("restart", {"seconds": 600}),
    ):
        terminal.add_fault(entry(effect=effect, **more))
    clock.at += 100
    state = terminal.terminal_info()
    assert state is not None
    assert not state.connected
    assert quote(terminal)[1] == 0.0
    terminal.clear_faults()
    state, account = terminal.terminal_info(), terminal.account_info()
    assert state is not None
    assert account is not None
    assert (state.connected, account.login, account.trade_allowed) == (True, 5_001_000, True)
    assert quote(terminal)[0] == 100.0
    assert terminal._script.left() == []


def test_two_spells_of_one_kind_end_with_the_later_one() -> None:
    script = [
        entry(effect="no_trading", who="client", at=10, seconds=100),
        entry(effect="no_trading", who="client", at=50, seconds=10),
    ]
    terminal, clock = ticking(faults=script)
    seen = []
    for at in (20, 55, 70, 109, 110):
        clock.at = START + at
        info = terminal.terminal_info()
        assert info is not None
        seen.append(info.trade_allowed)
    assert seen == [False, False, False, False, True]


# -- what is shown, and what is quoted


def test_quotes_on_the_screen() -> None:
    terminal, clock = ticking()
    clock.at += 100
    terminal.add_fault(entry(effect="crossed", symbol="EURUSD", seconds=10))
    assert quote(terminal) == (100, 1.0102, 1.01)
    info = terminal.symbol_info("EURUSD")
    assert info is not None
    assert info.bid > info.ask
    clock.at += 10
    assert quote(terminal) == (110, 1.011, 1.0112)
    terminal.add_fault(entry(effect="zero", symbol="GBPUSD"))
    assert quote(terminal)[1] > 0
    terminal.clear_faults()
    terminal.add_fault(entry(effect="reorder", lag=30))
    assert [quote(terminal)[0] for _ in range(4)] == [110, 80, 110, 80]
    terminal.clear_faults()
    terminal.add_fault(entry(effect="repeat"))
    seen = []
    for _ in range(4):
        clock.at += 1
        seen.append(quote(terminal)[0])
    assert seen == [111, 111, 113, 113]


def test_arrays_of_ticks_are_as_spoiled_as_single_ones() -> None:
    terminal, clock = ticking()
    clock.at += 100

    def bids() -> list[float]:
        found = terminal.copy_ticks_from("EURUSD", START + 10, 4, mt5.COPY_TICKS_ALL)
        assert found is not None
        return [round(one, 4) for one in found["bid"].tolist()]

    assert bids() == [1.001, 1.0011, 1.0012, 1.0013]
    for effect, expected in (
        ("reorder", [1.0011, 1.001, 1.0013, 1.0012]),
        ("repeat", [1.001, 1.001, 1.0011, 1.0011, 1.0012, 1.0012, 1.0013, 1.0013]),
        ("zero", [0.0] * 4),
        ("crossed", [1.0012, 1.0013, 1.0014, 1.0015]),
    ):
        terminal.add_fault(entry(effect=effect, **({"lag": 5} if effect == "reorder" else {})))
        assert bids() == expected, effect
        terminal.clear_faults()


def test_a_clock_that_is_wrong_stamps_what_is_new() -> None:
    terminal, clock = ticking()
    first = terminal.open_position("EURUSD", "BUY", 0.1)
    clock.at += 100
    terminal.add_fault(entry(effect="skew", offset=3600))
    second = terminal.open_position("EURUSD", "BUY", 0.1)
    stamps = {one.ticket: one.time - START for one in terminal.positions_get() or ()}
    assert stamps == {first: 0, second: 3700}
    deals = terminal.history_deals_get(0, 4e9) or ()
    assert [one.time - START for one in deals][-2:] == [0, 3700]
    assert quote(terminal)[0] == 3700
    assert terminal.market_time == START + 100


def test_deals_that_are_late() -> None:
    terminal, clock = ticking()
    ticket = terminal.open_position("EURUSD", "BUY", 0.1)
    clock.at += 10
    terminal.add_fault(entry(effect="late_deals", lag=30))
    terminal.close_position(ticket)

    def deals() -> int:
        return len(terminal.history_deals_get(position=ticket) or ())

    assert terminal.positions_get() == ()
    clock.at += 29
    assert deals() == 1
    clock.at += 1
    assert deals() == 2


def test_a_market_that_stands_and_one_that_is_wide() -> None:
    terminal, clock = ticking()
    terminal.add_fault(entry(effect="freeze", at=100, seconds=50))
    terminal.add_fault(entry(effect="widen", factor=4, at=200, seconds=50))
    seen = {}
    for at in (99, 101, 149, 150, 200, 250):
        clock.at = START + at
        when, bid, ask = quote(terminal)
        seen[at] = (when, bid, ask)
    assert seen == {
        99: (99, 1.0099, 1.0101),
        101: (100, 1.01, 1.0102),
        149: (100, 1.01, 1.0102),
        150: (150, 1.015, 1.0152),
        200: (200, 1.0197, 1.0205),
        250: (250, 1.025, 1.0252),
    }
    ticks = terminal.copy_ticks_range("EURUSD", START + 98, START + 152, mt5.COPY_TICKS_ALL)
    assert ticks is not None
    assert (ticks["time"] - START).tolist() == [98, 99, 100, 150, 151, 152]


def test_a_wide_spread_reaches_a_stop() -> None:
    terminal, clock = ticking(faults=[entry(effect="widen", factor=100, at=50, seconds=10)])
    terminal.open_position("EURUSD", "BUY", 0.1, sl=0.996)
    clock.at += 60
    assert terminal.positions_get() == ()
    deal = (terminal.history_deals_get(0, 4e9) or ())[-1]
    assert (deal.reason, deal.time - START) == (mt5.DEAL_REASON_SL, 51)


# -- orders


def test_an_order_that_works_and_is_filled_under_its_ticket() -> None:
    terminal, clock = ticking(faults=[entry(effect="placed", seconds=20)])
    done = terminal.order_send(order())
    assert done is not None
    assert (done.retcode, done.deal) == (10008, 0)
    (working,) = terminal.orders_get() or ()
    assert (working.ticket, working.state) == (done.order, mt5.ORDER_STATE_STARTED)
    assert terminal.positions_get() == ()
    clock.at += 20
    assert terminal.orders_get() == ()
    (deal,) = terminal.history_deals_get(ticket=done.order) or ()
    assert (deal.volume, deal.time - START) == (0.1, 20)
    (past,) = terminal.history_orders_get(ticket=done.order) or ()
    assert past.state == mt5.ORDER_STATE_FILLED
    again = terminal.order_send(order())
    assert again is not None
    tickets = [one.ticket for one in terminal.history_deals_get(0, 4e9) or ()]
    assert len(tickets) == len(set(tickets))
    books_balance(terminal)


def test_an_order_that_works_and_is_rejected() -> None:
    terminal, clock = ticking(faults=[entry(effect="placed", seconds=20, then="rejected")])
    done = terminal.order_send(order())
    assert done is not None
    clock.at += 20
    assert terminal.orders_get() == ()
    assert terminal.positions_get() == ()
    assert terminal.history_deals_get(ticket=done.order) == ()
    (past,) = terminal.history_orders_get(ticket=done.order) or ()
    assert past.state == mt5.ORDER_STATE_REJECTED
    assert past.price_current == quote(terminal)[2]  # where the market was at its end
    bad = terminal.order_send(order(volume=1e9))
    assert bad is not None
    assert bad.retcode == mt5.TRADE_RETCODE_INVALID_VOLUME


def test_a_part_is_filled_and_comments_are_the_brokers() -> None:
    script = [
        entry(effect="partial", volume=0.04),
        entry(effect="comment", length=3, seconds=60),
    ]
    terminal, clock = ticking(faults=script)
    done = terminal.order_send(order(comment="my own words"))
    assert done is not None
    assert (done.retcode, done.volume) == (10010, 0.04)
    (one,) = terminal.positions_get() or ()
    assert (one.volume, one.comment) == (0.04, "my ")
    clock.at += 60
    terminal.order_send(order(comment="my own words"))
    assert (terminal.positions_get() or ())[-1].comment == "my own words"


def test_another_account_for_a_while_and_for_a_call() -> None:
    terminal, clock = ticking(
        faults=[
            entry(effect="wrong_account", after=1),
            entry(effect="switch_account", login=7, server="There", at=60, seconds=60),
        ]
    )
    terminal.open_position("EURUSD", "BUY", 0.1)
    seen = []
    for at in (0, 10, 20, 60, 119, 120):
        clock.at = START + at
        account = terminal.account_info()
        assert account is not None
        seen.append((account.login, len(terminal.positions_get() or ())))
    here, there = (5_001_000, 1), (7, 0)
    assert seen == [here, (5_001_001, 1), here, there, there, here]


def test_a_slow_broker_is_slow_in_every_call() -> None:
    waited: list[float | None] = []
    terminal, _ = ticking(hang=waited.append, faults=[entry(effect="slow", seconds=0.3, count=3)])
    terminal.account_info()
    terminal.positions_get()
    terminal.order_send(order())
    terminal.account_info()
    # The terminal has been connected before: that was the first call.
    assert waited == [0.3] * 3


def test_a_held_price_is_held_on_every_account() -> None:
    terminal, _ = ticking()
    terminal.set_price("EURUSD", 1.5, 1.6)
    terminal.switch_account(7, "There")
    assert quote(terminal)[1:] == (1.5, 1.6)
    terminal.set_price("EURUSD", 1.7, 1.8)
    terminal.switch_account(5_001_000, "Simulated-Demo")
    assert quote(terminal)[1:] == (1.7, 1.8)
    terminal.release_price("EURUSD")
    assert quote(terminal)[1] == 1.0


# -- scripts: what they say, and from a seed

NO_SENSE: list[tuple[dict[str, Any], str]] = [
    ({"effect": "restart"}, "seconds"),
    ({"effect": "freeze", "factor": 2}, "factor"),
    ({"effect": "widen", "factor": 0}, "factor"),
    ({"effect": "skew", "offset": "an hour"}, "offset"),
    ({"effect": "no_trading", "who": "nobody"}, "who"),
    ({"effect": "switch_account", "login": 0, "server": "x"}, "login"),
    ({"effect": "comment"}, "text"),
    ({"effect": "comment", "text": "x", "length": 3}, "text"),
    ({"effect": "placed", "seconds": 3, "then": "lost"}, "then"),
    ({"effect": "placed", "seconds": 3, "call": "order_check"}, "effect"),
    ({"effect": "partial"}, "volume"),
    ({"effect": "vanish", "count": 3}, "count"),
    ({"effect": "vanish", "after": 3}, "after"),
    ({"effect": "vanish", "daily": "24:00"}, "daily"),
    ({"effect": "vanish", "daily": "9:00"}, "daily"),
    ({"effect": "vanish", "daily": "23:58", "at": 3}, "daily"),
    ({"effect": "vanish", "every": 0.5}, "every"),
    ({"effect": "vanish", "jitter": 5}, "jitter"),
    ({"effect": "vanish", "times": 5}, "times"),
    ({"effect": "vanish", "at": -1}, "at"),
    ({"effect": "vanish", "symbol": 5}, "symbol"),
    ({"effect": "vanish", "since": True}, "since"),
    ({"effect": "hang", "call": "positions_get", "at": float("inf")}, "at"),
]


@pytest.mark.parametrize(("fields", "field"), NO_SENSE)
def test_entries_that_make_no_sense(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        fault_from(fields)
    assert caught.value.field == field
    assert caught.value.remedy


@given(
    st.builds(
        dict,
        effect=st.sampled_from(["vanish", "close", "change_ticket"]),
        every=st.floats(1, 500),
        at=st.none() | st.floats(0, 500),
        jitter=st.floats(0, 300),
        seed=st.integers(0, 9),
        times=st.none() | st.integers(1, 9),
    )
)
def test_entries_are_read_as_they_are_written(fields: dict[str, Any]) -> None:
    fault = fault_from(fields)
    assert fault_from(json.loads(json.dumps(plain_fault(fault)))) == fault


def test_a_seed_is_a_schedule() -> None:
    assert seeded_faults(7) == seeded_faults(7) != seeded_faults(8)
    assert chosen_faults(Path("seed:7")) == seeded_faults(7)
    assert chosen_faults(Path("seed:7:60")) == seeded_faults(7, 60.0)
    assert entries_from(json.loads(as_json(seeded_faults(7))), "here") == seeded_faults(7)
    clock = Clock()
    terminal = generated(now=clock, faults=seeded_faults(3, rate=120.0), hang=lambda _: None)
    for _ in range(120):
        clock.at += 30.0
        with suppress(ConnectionError):
            terminal.positions_get()
    happened = [one for one in terminal.mishaps if one.what != "ends"]
    assert 20 <= len(happened) <= 120
    for bad in ("seed:", "seed:x", "seed:-1", "seed:1:0", "seed:1:x", "seed:1:nan", "seed:1:9e9"):
        with pytest.raises(Invalid, match="seed"):
            chosen_faults(Path(bad))


def test_chosen_faults_reads_files_too(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"effect": "freeze", "seconds": 5}]')
    assert chosen_faults(path) == [entry(effect="freeze", seconds=5)]


def test_what_happens_behind_a_lost_connection_is_seen_when_it_is_back() -> None:
    script = [
        entry(effect="disconnect", at=10, seconds=60),
        entry(effect="close", at=20),
        entry(effect="zero", at=30),
    ]
    terminal, clock = ticking(faults=script)
    terminal.open_position("EURUSD", "BUY", 0.1)
    clock.at += 10
    terminal.positions_get()  # its seconds are of the caller's clock, from the first look on
    clock.at += 30
    assert len(terminal.positions_get() or ()) == 1
    assert quote(terminal) == (10, 1.001, 1.0012)
    clock.at += 30
    assert terminal.positions_get() == ()
    deal = (terminal.history_deals_get(0, 4e9) or ())[-1]
    assert (deal.time - START, round(deal.price, 5)) == (20, 1.002)
    assert quote(terminal)[1] == 0.0


def test_clearing_finds_a_broker_that_a_fault_has_lost() -> None:
    terminal, _ = ticking(faults=[entry(effect="disconnect", call="positions_get")])
    terminal.positions_get()
    state = terminal.terminal_info()
    assert state is not None
    assert not state.connected
    terminal.clear_faults()
    state = terminal.terminal_info()
    assert state is not None
    assert state.connected


def test_an_order_that_waits_takes_nobodys_tickets() -> None:
    terminal, clock = ticking(faults=[entry(effect="placed", seconds=20)])
    waiting, other = terminal.order_send(order()), terminal.order_send(order())
    assert waiting is not None
    assert other is not None
    clock.at += 20
    orders = terminal.history_orders_get(0, 4e9) or ()
    deals = terminal.history_deals_get(0, 4e9) or ()
    assert {waiting.order, other.order} <= {one.ticket for one in orders}
    tickets = [one.ticket for one in (*orders, *deals)]
    assert len(tickets) == len(set(tickets))
    books_balance(terminal)
