"""`doctor --deep`: the simulated terminal is as assumed, what is not is named, nothing is left."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from native_kit import Install

from console.deep.command import examine
from console.deep.probe import Probe, Verdict
from console.deep.reading import MAGIC, SLOW, Ground, ground, leave_and_return, read_all
from console.deep.report import Report, Scrub, as_json
from console.deep.table import ASSUMPTIONS
from console.main import main
from defence.errors import TerminalRefused
from storage.locks import AccountLock
from supervisors.settings import Settings
from terminals import GeneratedMarket, SimulatedTerminal
from terminals.sim.faults import fault_from
from terminals.structs import TerminalInfo

START = 1_700_000_000.0
ROOT = Path(__file__).resolve().parents[2]
# What a simulated terminal with positions, and with trading switched on, cannot show.
UNTRIED = {"connect-path", "empty-all", "off"}


def simulated(kind: type[SimulatedTerminal] = SimulatedTerminal, **options: Any) -> Any:
    """Return a terminal of a market that stands practically still, on this machine's clock."""
    market = GeneratedMarket(seed=1, start=time.time())
    return kind(market=market, now=time.time, speed=0.0, step=0.001, **options)


def examined(terminal: Any, /, *, may_trade: bool = True, **settings: Any) -> Report:
    """Examine a terminal that is at hand, without waiting between two tries."""
    return examine(
        Settings(**settings),
        symbol="EURUSD",
        may_trade=may_trade,
        make=lambda: terminal,
        pause=lambda _: None,
    )


def ground_of(terminal: Any) -> Ground:
    assert terminal.initialize()
    return ground(Probe(terminal), "EURUSD")


def not_tried(report: Report) -> set[str]:
    return {name for name, one in report.findings.items() if one.verdict is Verdict.NOT_TRIED}


def deviating(report: Report) -> dict[str, str]:
    return {name: report.findings[name].seen for name in report.deviations}


# -- all is as assumed


def test_the_simulated_terminal_is_as_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--terminal", "simulated", "--yes-trade-on-demo", "--json")
    status = main(["doctor", "--deep", *flags])
    report = json.loads(capsys.readouterr().out)
    seen = {one["id"]: (one["verdict"], one["seen"]) for one in report["findings"]}
    assert list(seen) == list(ASSUMPTIONS)
    assert {name: seen[name] for name in report["deviations"]} == {}
    assert {name for name, (verdict, _) in seen.items() if verdict == "not tried"} == UNTRIED
    assert (status, report["left_behind"], report["ended"]) == (0, [], "")
    assert report["milliseconds"]["positions_get"]["count"] >= 200
    assert {"p50", "p99", "longest"} < set(report["milliseconds"]["send_under"])
    assert report["facts"]["login"] == "5******"


def test_as_a_table_and_without_an_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--terminal", "simulated", "--deep"]) == 0
    out = capsys.readouterr().out
    assert "needs --yes-trade-on-demo" in out
    assert "none deviates" in out
    assert "p99 ms" in out


def test_a_terminal_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--deep"]) == 2
    assert "--terminal" in capsys.readouterr().err


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["netting", "exchange", "hedging"])
def test_accounts_of_every_kind_and_without_positions(mode: int, tmp_path: Path) -> None:
    state = tmp_path / "broker.json"
    state.write_text(json.dumps({"account": {"margin_mode": mode}}))
    terminal = simulated(state=state)
    report = examined(terminal)
    assert deviating(report) == {}
    reversing = {"too-much", "closed-twice"}  # they could open a position there
    assert not_tried(report) == UNTRIED - {"empty-all"} | (set() if mode == 2 else reversing)
    assert report.left == []


def test_with_trading_switched_off_it_sees_what_an_order_answers() -> None:
    terminal = simulated()
    terminal.set_autotrading(False)
    report = examined(terminal)
    assert report.findings["off"].verdict is Verdict.AS_ASSUMED
    assert "10027" in report.findings["off"].seen
    assert report.findings["open"].verdict is Verdict.NOT_TRIED
    assert deviating(report) == {}


def test_a_closed_market_is_no_deviation() -> None:
    terminal = simulated()
    closed = {"call": "order_send", "effect": "retcode", "retcode": 10018, "count": None}
    terminal.add_fault(fault_from(closed))
    report = examined(terminal)
    assert deviating(report) == {}
    assert "10018" in report.findings["open"].seen
    assert "10018" in report.findings["wait"].seen
    assert report.findings["close"].verdict is Verdict.NOT_TRIED


def test_what_cannot_be_traded_says_so() -> None:
    report = examine(
        Settings(), symbol="NOPE", may_trade=True, make=simulated, pause=lambda _: None
    )
    assert "--symbol" in report.findings["open"].seen
    assert "--symbol" in report.findings["select"].seen
    assert report.findings["select"].verdict is Verdict.NOT_TRIED
    assert report.good


# -- who may trade


class Real(SimulatedTerminal):
    """An account with real money."""

    def account_info(self) -> Any:
        row = super().account_info()
        return None if row is None else type(row)(**{**row._asdict(), "trade_mode": 2})


def test_nothing_is_sent_to_a_real_account() -> None:
    terminal = simulated(Real, demo=True)
    report = examined(terminal)
    assert "no demo account" in report.findings["open"].seen
    assert terminal.orders_sent == []
    assert deviating(report) == {}


def test_another_account_than_the_settings_say_ends_it() -> None:
    terminal = simulated(demo=True)
    report = examined(terminal, login=7, server="Mine")
    assert "another account" in report.ended
    assert not report.good
    assert terminal.orders_sent == []
    assert len(not_tried(report)) > 40


def test_nothing_is_sent_while_a_guard_has_the_account(tmp_path: Path) -> None:
    terminal = simulated()
    terminal.real = True
    lock = AccountLock(tmp_path / "state", "Simulated-Demo", 5_001_000)
    lock.acquire()
    try:
        report = examined(terminal, state_dir=tmp_path / "state")
    finally:
        lock.release()
    assert "a guard runs on this account" in report.findings["open"].seen
    assert terminal.orders_sent == []


def test_nothing_is_sent_while_a_guard_has_the_account_of_a_shared_broker(tmp_path: Path) -> None:
    terminal = simulated()
    lock = AccountLock(tmp_path / "state", "Simulated-Demo", 5_001_000)
    lock.acquire()
    try:
        shared = {"state_dir": tmp_path / "state", "broker": str(tmp_path / "broker.json")}
        report = examined(terminal, **shared)
        alone = examined(simulated(), state_dir=tmp_path / "state")
    finally:
        lock.release()
    assert "a guard runs on this account" in report.findings["open"].seen
    assert terminal.orders_sent == []
    assert alone.findings["open"].verdict is Verdict.AS_ASSUMED  # that broker is its own


def test_a_netted_position_of_a_person_is_not_touched(tmp_path: Path) -> None:
    state = tmp_path / "broker.json"
    state.write_text(json.dumps({"account": {"margin_mode": 0}}))
    terminal = simulated(state=state)
    terminal.open_position("EURUSD", "BUY", 0.1)
    report = examined(terminal)
    assert "there is a position in EURUSD" in report.findings["open"].seen
    assert terminal.orders_sent == []


# -- nothing is left behind


class Broken(SimulatedTerminal):
    """Something goes wrong in the middle of the trials."""

    problem: BaseException = RuntimeError("the history is broken")

    def history_deals_get(self, *dates: Any, **filters: Any) -> Any:
        if filters.get("position", 0) > 1:
            raise self.problem
        return super().history_deals_get(*dates, **filters)


def positions(terminal: Any) -> int:
    assert terminal.initialize()
    return len(terminal.positions_get()) + len(terminal.orders_get())


def test_what_breaks_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "broker.json"
    report = examined(simulated(Broken, demo=True, state=state))
    assert "the history is broken" in report.findings["deal"].seen
    assert report.left == []
    assert positions(simulated(state=state)) == 5


def test_an_interrupt_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    class Interrupted(Broken):
        problem = KeyboardInterrupt()

    state = tmp_path / "broker.json"
    with pytest.raises(KeyboardInterrupt):
        examined(simulated(Interrupted, demo=True, state=state))
    assert positions(simulated(state=state)) == 5


def test_what_was_there_before_stays_whatever_marks_it_has(tmp_path: Path) -> None:
    state = tmp_path / "broker.json"
    terminal = simulated(state=state)
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, magic=MAGIC)
    report = examined(terminal)
    assert deviating(report) == {}
    again = simulated(state=state)
    assert again.initialize()
    assert [one.ticket for one in again.positions_get()] == [ticket]


def test_an_order_whose_answer_is_lost_is_found_and_taken_away(tmp_path: Path) -> None:
    state = tmp_path / "broker.json"
    terminal = simulated(state=state)
    lost = {"call": "order_send", "effect": "unknown", "error": [-10002, "lost"], "when": "after"}
    terminal.add_fault(fault_from({**lost, "count": 2}))  # the waiting order's and the position's
    report = examined(terminal)
    assert {"wait", "open"} <= set(report.deviations)
    assert "-10002" in report.findings["open"].seen
    assert report.left == []
    assert positions(simulated(state=state)) == 0


class Sticky(SimulatedTerminal):
    """A broker that closes nothing and deletes nothing."""

    def _refuses(self, request: Any) -> bool:
        return request["action"] == 8 or (request["action"] == 1 and "position" in request)

    def order_send(self, *request: Any, **fields: Any) -> Any:
        if self._refuses(request[0]):
            return super().order_send({"action": 0})
        return super().order_send(*request, **fields)

    def send_under(self, permit: Any, request: Any) -> Any:
        if self._refuses(request):
            return super().order_send({"action": 0})
        return super().send_under(permit, request)


def test_what_cannot_be_tidied_up_is_said_loudly(capsys: pytest.CaptureFixture[str]) -> None:
    report = examined(simulated(Sticky))
    assert report.left is not None
    assert sorted(one.split()[0] for one in report.left) == ["TradeOrder", "TradePosition"]
    err = capsys.readouterr().err
    assert "COULD NOT TIDY UP" in err
    assert all(one in err for one in report.left)
    assert {"close", "remove", "left-nothing"} <= set(report.deviations)
    assert not report.good


class Lossy(SimulatedTerminal):
    """An opening deal is taken and its answer lost; with `late` it is carried out after that."""

    code = -10005
    late = True
    lost: dict[str, Any] | None = None
    error: tuple[int, str] | None = None

    def send_under(self, permit: Any, request: Any) -> Any:
        if request["action"] == 1 and "position" not in request:
            self.lost, self.error = dict(request), (self.code, "lost")
            return None
        self.error = None
        return super().send_under(permit, request)

    def last_error(self) -> tuple[int, str]:
        return self.error or super().last_error()

    def positions_get(self, *unnamed: Any, **filters: Any) -> Any:
        self.error = None
        return super().positions_get(*unnamed, **filters)


def test_an_order_that_is_filled_long_after_its_answer_was_lost_is_taken_away(
    tmp_path: Path,
) -> None:
    path = tmp_path / "broker.json"
    terminal, waited = simulated(Lossy, state=path), 0.0

    def pause(seconds: float) -> None:
        nonlocal waited
        waited += seconds
        if terminal.lost and waited > 8:
            request, terminal.lost = terminal.lost, None
            assert terminal.order_send(request).retcode == 10009

    report = examine(
        Settings(), symbol="EURUSD", may_trade=True, make=lambda: terminal, pause=pause
    )
    assert waited > 8
    assert report.left == []
    assert positions(simulated(state=path)) == 0


@pytest.mark.parametrize(("code", "left"), [(-10005, None), (-10002, None), (-10004, [])])
def test_an_order_of_which_nobody_knows_is_said_loudly(
    code: int, left: list[str] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = simulated(Lossy)
    terminal.code = code
    report = examined(terminal)
    assert report.left == left
    assert ("cannot be told what is left" in capsys.readouterr().err) is (left is None)
    assert ("left-nothing" in report.deviations) is (left is None)


# -- deviations

PLANTED = {
    "more-fields": "fields-account",
    "comment-cut": "comment",
    "deal-tickets": "deal-by-order",
    "check-done": "check",
    "same-is-done": "levels-same",
    "bars-reversed": "bars-order",
    "late": "visible",
}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in reads and writes files at every call: some of each must do."""
    monkeypatch.setattr("console.deep.reading.REPEATED", 5)


@pytest.mark.usefixtures("few")
def test_planted_deviations_are_named_and_nobody_is_betrayed(install: Install) -> None:
    """The stand-in for the package, in a real worker."""
    account = {"login": 5_123_987, "server": "Broker-Demo 7"}
    home = install("Jane's folder", deviates=list(PLANTED), **account)
    settings = Settings(terminal="native", terminal_path=home.executable, **account)
    report = examine(settings, symbol="EURUSD", may_trade=True)
    assert set(report.deviations) == set(PLANTED.values()), deviating(report)
    assert report.findings["connect-path"].verdict is Verdict.AS_ASSUMED
    assert report.left == []
    said = as_json(report)
    for secret in ("5123987", "Broker-Demo", "Jane", "Broker Ltd", str(home.folder)):
        assert secret not in said


@pytest.mark.usefixtures("few")
def test_none_for_nothing_is_named_and_then_nothing_is_sent(install: Install) -> None:
    """What is open cannot be told there, so what the doctor leaves could not be told either."""
    home = install(deviates=["none-for-nothing"])
    settings = Settings(terminal="native", terminal_path=home.executable)
    report = examine(settings, symbol="EURUSD", may_trade=True)
    assert set(report.deviations) == {"empty-ticket", "empty-all", "snapshot"}, deviating(report)
    assert report.findings["open"].verdict is Verdict.NOT_TRIED
    assert home.given("request") == []


class Crossed(SimulatedTerminal):
    def symbol_info_tick(self, symbol: str, /) -> Any:
        row = super().symbol_info_tick(symbol)
        return None if row is None else type(row)(**{**row._asdict(), "bid": row.ask + 0.1})


class FilterIgnored(SimulatedTerminal):
    def positions_get(self, *unnamed: Any, **filters: Any) -> Any:
        return super().positions_get()


class NothingForUnknown(SimulatedTerminal):
    def orders_get(self, *unnamed: Any, **filters: Any) -> Any:
        return super().orders_get(*unnamed, **filters) or None


class OffByMinutes(SimulatedTerminal):
    def symbol_info_tick(self, symbol: str, /) -> Any:
        row = super().symbol_info_tick(symbol)
        shift = {"time": row.time + 3900, "time_msc": row.time_msc + 3_900_000} if row else {}
        return None if row is None else type(row)(**{**row._asdict(), **shift})


class NoTarget(SimulatedTerminal):
    """SLTP without a target leaves the target."""

    def send_under(self, permit: Any, request: Any) -> Any:
        if request["action"] == 6 and "tp" not in request:
            tp = next(row.tp for row in self.positions_get(ticket=request["position"]) or ())
            request = {**request, "tp": tp}
        return super().send_under(permit, request)


class Elsewhere(SimulatedTerminal):
    def terminal_info(self) -> Any:
        row = super().terminal_info()
        return None if row is None else TerminalInfo(**{**row._asdict(), "path": "/elsewhere"})


class Forgetful(SimulatedTerminal):
    """Another build after each connection."""

    builds = 5000

    def initialize(self, *path: str, **options: Any) -> bool:
        self.builds += 1
        return super().initialize(*path, **options)

    def terminal_info(self) -> Any:
        row = super().terminal_info()
        return None if row is None else TerminalInfo(**{**row._asdict(), "build": self.builds})


class Raising(SimulatedTerminal):
    def copy_rates_from_pos(self, *given: Any) -> Any:
        raise TypeError("no such argument")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Crossed, {"tick"}),
        (FilterIgnored, {"empty-ticket", "filter-ticket", "filter-symbol"}),
        (NothingForUnknown, {"empty-orders"}),
        (OffByMinutes, {"wall-time", "same-clock"}),
        (NoTarget, {"levels-lost"}),
        (Elsewhere, {"connect-path"}),
        (Forgetful, {"again"}),
        (Raising, {"bars-kind", "bars-order"}),
    ],
)
def test_one_deviation_each(
    kind: type[SimulatedTerminal], expected: set[str], tmp_path: Path
) -> None:
    executable = tmp_path / "terminal64.exe"
    executable.touch()
    terminal = simulated(kind, demo=True)
    report = examined(terminal, terminal_path=executable if kind is Elsewhere else None)
    assert expected <= set(report.deviations), deviating(report)
    if kind not in (Crossed, FilterIgnored, NothingForUnknown):  # those spoil other trials too
        assert set(report.deviations) == expected, deviating(report)


class OfBridge(SimulatedTerminal):
    """A terminal of a Windows elsewhere; `account` false: nobody is logged in."""

    name = "bridge"
    account = True

    def terminal_info(self) -> Any:
        row = super().terminal_info()
        path = r"C:\Program Files\Jane MT5"
        return None if row is None else TerminalInfo(**{**row._asdict(), "path": path})

    def account_info(self) -> Any:
        row = super().account_info()
        return row if self.account else None


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        (r"C:\Program Files\Jane MT5\terminal64.exe", Verdict.AS_ASSUMED),
        (r"c:\program files\jane mt5\terminal64.exe", Verdict.AS_ASSUMED),
        (r"C:\Program Files\Other\terminal64.exe", Verdict.DEVIATES),
    ],
)
def test_a_path_of_the_bridges_windows_is_no_path_of_this_machine(
    path: str, verdict: Verdict
) -> None:
    terminal = simulated(OfBridge)
    report = examined(terminal, may_trade=False, terminal="bridge", terminal_path=path)
    assert report.findings["connect-path"].verdict is verdict


def test_the_folder_is_taken_out_also_if_the_account_cannot_be_read(tmp_path: Path) -> None:
    for name in ("Jane MT5", "Other"):  # the one that it shows, and another one
        terminal = simulated(OfBridge)
        terminal.account = False
        path = rf"C:\Program Files\{name}\terminal64.exe"
        report = examined(terminal, terminal="bridge", terminal_path=path)
        assert "account_info failed" in report.ended
        assert report.findings["connect-path"].seen == "<folder>"
        assert "Jane" not in as_json(report)
    executable = tmp_path / "Jane" / "terminal64.exe"

    def gone() -> Any:
        raise TerminalRefused(f"{executable} does not exist")

    settings = Settings(terminal="native", terminal_path=executable)
    report = examine(settings, symbol="EURUSD", may_trade=False, make=gone)
    assert "does not exist" in report.ended
    assert "Jane" not in as_json(report)


def test_slow_calls_are_named() -> None:
    ticks = iter(range(1_000_000))
    probe = Probe(simulated(), clock=lambda: next(ticks) * (SLOW + 1) / 1000)
    assert probe.call("initialize")
    read_all(probe, ground(probe, "EURUSD"))
    assert probe.findings["timing"].verdict is Verdict.DEVIATES
    assert probe.timings()["account_info"].p50 == pytest.approx(SLOW + 1)


def test_a_deviation_that_was_seen_once_stays() -> None:
    probe = Probe(simulated())
    probe.saw("tick", False, "crossed")
    probe.saw("tick", True, "fine now")
    probe.skip("never mind", "tick")
    assert probe.findings["tick"].seen == "crossed"


def test_names_are_taken_out_of_texts() -> None:
    scrub = Scrub(
        [("login", 5_123), ("owner", "Ann"), ("server", "AB"), ("x", None), ("y", "Anna")]
    )
    assert scrub("5123 of Anna and Ann on AB") == "<login> of <y> and <owner> on AB"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"in C:\Users\Jane\MT5 or c:/users/jane/mt5/", "in <folder> or <folder>/"),
        (r"in C:\\Users\\Jane\\MT5\\MQL5", r"in <folder>\\MQL5"),
        (
            r"in C:\Users\Jane\Acme, Ltd MT5 answers, not C:\Users\Jane\MT5",
            "in <folder>, not <folder>",
        ),
        (
            r"2 are installed: C:\Acme, Ltd MT5\terminal64.exe; D:\B (x86)\terminal64.exe; choose",
            r"2 are installed: <folder>\terminal64.exe; <folder>\terminal64.exe; choose",
        ),
        (r"C:\Users\Jane\MT52\terminal64.exe", r"<folder>\terminal64.exe"),
        (r"Access is denied: 'C:\\Jane\'s'", "Access is denied: '<folder>'"),
        (r"\\server\Acme MT5 is away (-10003)", "<folder> (-10003)"),
        ("/opt/Acme MT5/terminal64.exe is none", "<folder>/terminal64.exe is none"),
        (r"on AB\\7 and AB\7", "on <server> and <server>"),
        (
            "login at the order is 77, expected 5123",
            "login at the order is <another>, expected <login>",
        ),
        ("server is 'Acme-Live', expected", "server is <another>, expected"),
        ("see http://a.b/c, 1/2", "see http://a.b/c, 1/2"),
    ],
)
def test_folders_are_taken_out_of_texts_also_those_that_nobody_named(text: str, shown: str) -> None:
    words = [
        ("login", 5_123),
        ("server", r"AB\7"),
        ("folder", PureWindowsPath(r"C:\Users\Jane\MT5")),
        ("folder", PureWindowsPath("C:\\")),
    ]
    assert Scrub(words)(text) == shown


def test_an_error_of_the_package_is_told_as_it_is() -> None:
    """As a tuple its backslashes would be doubled."""

    class Refusing(SimulatedTerminal):
        def initialize(self, *path: str, **options: Any) -> bool:
            return False

        def last_error(self) -> tuple[int, str]:
            return (-10003, r"the terminal in C:\Acme MT5 answers, not another")

    report = examined(simulated(Refusing))
    assert report.ended == "it does not connect: the terminal in <folder>, not another (-10003)"


def test_an_account_that_was_switched_to_is_not_named() -> None:
    terminal = simulated()
    probe, on = Probe(terminal), ground_of(terminal)
    terminal.switch_account(77, "Acme-Live")
    leave_and_return(probe, on)
    assert probe.findings["again"].verdict is Verdict.DEVIATES
    assert probe.findings["again"].seen.startswith("another account, build")


def test_a_terminal_that_cannot_be_had(tmp_path: Path) -> None:
    report = examine(Settings(terminal="native", isolate=False), symbol="EURUSD", may_trade=False)
    assert "MetaTrader5 package cannot be imported" in report.ended
    assert not report.good


def test_every_assumption_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "native.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z][a-z-]*)` \|", text, flags=re.MULTILINE)
    assert listed == list(ASSUMPTIONS)
