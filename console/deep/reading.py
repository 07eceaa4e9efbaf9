"""What can be tried without an order. Nothing here changes the account."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from console.deep.probe import Probe, shown
from console.look_at_terminal import still_connects
from defence.broker import Account, MarginMode, Quote, Snapshot, SymbolFacts
from terminals import constants as mt5
from terminals.installed import EXECUTABLE, same_folder
from terminals.reading import SymbolCache, take_snapshot
from terminals.requests import OrderRequest, filling_modes, on_tick
from terminals.rows import Unreadable, account_from, facts_from, quote_from, terminal_from
from terminals.structs import AccountInfo, OrderCheckResult, SymbolInfo, TerminalInfo, Tick

NOWHERE: Final = "DTMS.NO.SUCH.SYMBOL"
MAGIC: Final = 84_367_000  # marks what the doctor opens; a guard's trades have other magics
COMMENT: Final = "dtms doctor 12345678"
REPEATED: Final = 100
SLOW: Final = 250.0  # milliseconds
_QUARTER: Final = 900  # seconds
_FARTHEST: Final = 15 * 3600  # seconds that a server's wall time may be off from UTC
_BARS: Final = [
    *(("time", "<i8"), ("open", "<f8"), ("high", "<f8"), ("low", "<f8"), ("close", "<f8")),
    *(("tick_volume", "<u8"), ("spread", "<i4"), ("real_volume", "<u8")),
]


@dataclass(frozen=True, slots=True)
class Ground:
    """What the trials stand on: the account, and one symbol that can be traded."""

    account: Account
    rows: Mapping[str, Any]  # the terminal's own: "account", "terminal", "symbol"
    symbol: str
    facts: SymbolFacts | None
    quote: Quote | None

    @property
    def hedging(self) -> bool:
        """Whether an opposite deal could open a second position."""
        return self.account.margin_mode is MarginMode.HEDGING


def connect(probe: Probe, folder: PurePath | None) -> bool:
    """Connect, patiently as the guard does; note how it went. `folder` is the terminal's."""
    answer = probe.call("initialize")
    while not answer and still_connects(probe.terminal):
        answer = probe.call("initialize")  # a hosted one waits on, until its own time is over
    code, text = probe.error
    if not probe.saw("connect", answer is True and code == 1, f"{answer}, {code} {text}"):
        return False
    info = probe.call("terminal_info")
    probe.folder = getattr(info, "path", "")
    if folder is None:
        probe.skip("no executable was given", "connect-path")
    else:
        probe.saw("connect-path", _is_folder(probe.folder or "?", folder), probe.folder)
    return True


def _is_folder(shown: str, folder: PurePath) -> bool:
    if isinstance(folder, Path):
        return same_folder(shown, str(folder / EXECUTABLE))
    return type(folder)(shown) == folder  # another machine's: only the names can be compared


def ground(probe: Probe, symbol: str) -> Ground:
    """Read account, switches and symbol. Raises `Unreadable` where a guard could not start."""
    row = probe.call("account_info")
    code, text = probe.error
    probe.saw("success", code == 1, f"{code} {text}")
    if row is None:
        raise Unreadable(f"account_info failed: {code} {text}")
    account = account_from(row)
    probe.saw("account", True, f"{account.margin_mode.value}, trade_mode {row.trade_mode}")
    probe.fields("fields-account", row, AccountInfo)
    state_row = probe.call("terminal_info")
    if state_row is None:
        raise Unreadable(f"terminal_info failed: {probe.said}")
    state = terminal_from(state_row)
    probe.saw("switches", True, f"build {state.build}, trading {state.trade_allowed}")
    probe.fields("fields-terminal", state_row, TerminalInfo)
    selected = probe.call("symbol_select", symbol, True)
    facts, symbol_row = _facts(probe, symbol)
    if symbol_row is not None or selected:  # else it is no known symbol, and False is right
        probe.saw("select", selected, "once")
        probe.saw("select", probe.call("symbol_select", symbol, True), "twice")
    quote = _quote(probe, symbol)
    rows = {"account": row, "terminal": state_row, "symbol": symbol_row}
    return Ground(account, rows, symbol, facts, quote)


def _facts(probe: Probe, symbol: str) -> tuple[SymbolFacts | None, Any]:
    row = probe.call("symbol_info", symbol)
    if row is None:
        why = f"{symbol} is unknown here: give another --symbol"
        probe.skip(why, "symbol", "select", "fields-symbol", "check", "check-volume")
        probe.skip(why, "check-fill", "fields-check", "comment-long")
        return None, None
    probe.fields("fields-symbol", row, SymbolInfo)
    try:
        facts = facts_from(symbol, row)
    except Unreadable as problem:
        probe.saw("symbol", False, problem)
        return None, row
    text = f"filling {facts.filling_mode}, execution {facts.execution_mode}"
    text = f"{text}, stops {facts.stops_level}, freeze {facts.freeze_level}"
    known = 0 <= facts.filling_mode <= 7 and 0 <= facts.execution_mode <= 3
    probe.saw("symbol", known, f"{text}, trade_mode {facts.trade_mode}")
    return facts, row


def _quote(probe: Probe, symbol: str) -> Quote | None:
    row = probe.call("symbol_info_tick", symbol)
    if row is None:
        probe.skip(f"{symbol} has no tick", "tick", "fields-tick", "wall-time")
        return None
    probe.fields("fields-tick", row, Tick)
    sane = 0 < row.bid <= row.ask and row.time == row.time_msc // 1000
    probe.saw("tick", sane, f"spread {row.ask - row.bid:.5g}, {row.time_msc - row.time * 1000} ms")
    _wall_time(probe, row.time)
    return quote_from(symbol, row)


def _wall_time(probe: Probe, at: float) -> None:
    ahead = at - time.time()
    offset = round(ahead / _QUARTER) * _QUARTER
    if abs(offset) > _FARTHEST or ahead - offset < -120:
        probe.skip("the newest tick is too old to tell", "wall-time")
        return
    text = f"UTC{offset / 3600:+g} h, and {ahead - offset:+.1f} s"
    probe.saw("wall-time", abs(ahead - offset) <= 120, text)


def read_all(probe: Probe, on: Ground) -> None:
    """Try everything that needs no order."""
    trials: tuple[tuple[Callable[[Probe, Ground], None], tuple[str, ...]], ...] = (
        (_unknown, ("no-symbol", "no-tick", "no-select")),
        (_empty, ("empty-ticket", "empty-orders", "empty-all", "no-deals", "no-past")),
        (_dates, ("dates",)),
        (_bars, ("bars-kind", "bars-order")),
        (_checks, ("check", "check-volume", "check-fill", "comment-long", "fields-check")),
        (_snapshot, ("snapshot",)),
        (_timing, ("timing",)),
    )
    for trial, names in trials:
        probe.attempt(lambda trial=trial: trial(probe, on), *names)  # type: ignore[misc]


def _unknown(probe: Probe, _: Ground) -> None:
    for name, call in (("no-symbol", "symbol_info"), ("no-tick", "symbol_info_tick")):
        answer = probe.call(call, NOWHERE)
        code, text = probe.error
        probe.saw(name, answer is None and code < 0, f"{shown(answer)}, {code} {text}")
    answer = probe.call("symbol_select", NOWHERE, True)
    probe.saw("no-select", answer is False, f"{answer}, {probe.error[0]} {probe.error[1]}")


def _empty(probe: Probe, _: Ground) -> None:
    probe.empty("empty-ticket", probe.call("positions_get", ticket=1))
    probe.empty("empty-orders", probe.call("orders_get", ticket=1))
    probe.empty("no-deals", probe.call("history_deals_get", position=1))
    probe.empty("no-past", probe.call("history_orders_get", ticket=1))
    everything = probe.call("positions_get")
    if everything:
        probe.skip(f"{len(everything)} positions are open", "empty-all")
    else:
        probe.empty("empty-all", everything)


def _dates(probe: Probe, _: Ground) -> None:
    now = int(time.time())
    deals = probe.call("history_deals_get", now - 30 * 86_400, now + 2 * 86_400)
    probe.saw("dates", isinstance(deals, tuple), f"{shown(deals)}, {probe.error[0]}")


def _bars(probe: Probe, on: Ground) -> None:
    bars = probe.call("copy_rates_from_pos", on.symbol, 1, 0, 100)
    if bars is None or not len(bars):
        probe.skip(f"no bars: {probe.said}", "bars-kind", "bars-order")
        return
    kind = [(one[0], one[1]) for one in bars.dtype.descr]
    probe.saw("bars-kind", kind == _BARS, kind if kind != _BARS else "as listed")
    times = bars["time"].tolist()
    newest = on.quote is None or abs(on.quote.time - times[-1]) < 86_400
    rising = times == sorted(set(times))
    probe.saw("bars-order", rising and newest, f"{len(times)} bars, rising {rising}")


def opening(on: Ground, volume: float, filling: int | None = None) -> OrderRequest:
    """Return the request that buys `volume` lots. Raises `Unreadable` without a quote."""
    if on.facts is None or on.quote is None:
        raise Unreadable(f"{on.symbol} has no price just now")
    return {
        "action": mt5.TRADE_ACTION_DEAL,
        "symbol": on.symbol,
        "volume": volume,
        "type": mt5.ORDER_TYPE_BUY,
        "price": on_tick(on.quote.ask, on.facts),
        "deviation": 100,
        "magic": MAGIC,
        "comment": COMMENT,
        "type_time": mt5.ORDER_TIME_GTC,
        "type_filling": filling_modes(on.facts)[0] if filling is None else filling,
    }


def _checks(probe: Probe, on: Ground) -> None:
    names = ("check", "check-volume", "check-fill", "comment-long", "fields-check")
    if on.facts is None or on.quote is None:
        probe.skip(f"{on.symbol} has no price just now", *names)
        return
    good = opening(on, on.facts.volume_min)
    long = probe.call("order_check", {**good, "comment": "x" * 32})
    code, text = probe.error
    probe.saw("comment-long", long is None and code == -2, f"{shown(long)}, {code} {text}")
    if not on.rows["terminal"].trade_allowed:
        probe.skip("trading is switched off", *names)
        return
    found = probe.call("order_check", good)
    if found is None:
        probe.saw("check", False, f"None, {probe.said}")
        return
    probe.fields("fields-check", found, OrderCheckResult)
    probe.saw("check", found.retcode == 0, f"{found.retcode} {found.comment}")
    _refused(probe, "check-volume", {**good, "volume": 0.0}, (10_014, 10_013))
    allowed = filling_modes(on.facts)
    forbidden = [one for one in allowed[1:] if not _allows(on.facts, one)]
    if forbidden:
        _refused(probe, "check-fill", opening(on, on.facts.volume_min, forbidden[0]), (10_030,))
    else:
        probe.skip("every mode is allowed", "check-fill")


def _refused(probe: Probe, name: str, request: OrderRequest, codes: tuple[int, ...]) -> None:
    found = probe.call("order_check", request)
    retcode = getattr(found, "retcode", None)
    probe.saw(name, retcode in codes, f"{retcode} {getattr(found, 'comment', probe.said)}")


def _allows(facts: SymbolFacts, mode: int) -> bool:
    masks = {mt5.ORDER_FILLING_FOK: 1, mt5.ORDER_FILLING_IOC: 2}
    if mode in masks:
        return bool(facts.filling_mode & masks[mode])
    return facts.execution_mode != mt5.SYMBOL_TRADE_EXECUTION_MARKET


def _snapshot(probe: Probe, on: Ground) -> None:
    look = take_snapshot(
        probe.terminal,
        snapshot_id="doctor",
        expected_login=on.account.login,
        expected_server=on.account.server,
        now=time.time,
        symbols=SymbolCache(),
    )
    if isinstance(look, Snapshot):
        took = (look.taken_at - look.asked_at) * 1000
        probe.saw("snapshot", True, f"{len(look.open_positions())} positions in {took:.1f} ms")
    else:
        probe.saw("snapshot", False, look.reason)


def _timing(probe: Probe, on: Ground) -> None:
    for _ in range(REPEATED):
        probe.call("account_info")
        probe.call("terminal_info")
        probe.call("symbol_info", on.symbol)
        probe.call("symbol_info_tick", on.symbol)
        probe.call("positions_get")
        probe.call("positions_get", ticket=1)
        probe.call("orders_get")
    slowest = max(
        (
            (timing.p99, name)
            for name, timing in probe.timings().items()
            if timing.count >= REPEATED
        ),
    )
    probe.saw("timing", slowest[0] < SLOW, f"slowest: {slowest[1]}, {slowest[0]:.2f} ms")


def leave_and_return(probe: Probe, on: Ground) -> None:
    """Disconnect and connect again: the same account and build must be found."""
    answer = probe.call("shutdown")
    probe.saw("shutdown", answer is True, answer)
    after = probe.call("account_info")
    code, text = probe.error
    probe.saw("after-shutdown", after is None and code == -10_004, f"{shown(after)}, {code} {text}")
    if not probe.call("initialize"):
        probe.saw("again", False, probe.said)
        return
    row, state = probe.call("account_info"), probe.call("terminal_info")
    account, build = (on.account.login, on.account.server), on.rows["terminal"].build
    same = row is not None and (row.login, row.server) == account
    who = "no account" if row is None else "the same account" if same else "another account"
    found = None if state is None else state.build
    probe.saw("again", same and found == build, f"{who}, build {found}, before {build}")
