"""The command `doctor --deep`: what may be done to which account, in which order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from console.deep.probe import Probe
from console.deep.reading import Ground, connect, ground, leave_and_return, read_all
from console.deep.report import Report, Scrub, as_json, draw, report_of, scrub_of
from console.deep.tidying import Broom
from console.deep.trading import TRADES, Session
from console.ends import DONE, FAILED, Usage, told
from console.settings import load
from defence.errors import AlreadyGuarded, DtmsError
from storage.locks import AccountLock
from terminals import constants as mt5
from terminals.rows import Unreadable

if TYPE_CHECKING:
    from supervisors.settings import Settings
    from terminals.protocol import Terminal

Pause = Callable[[float], None]


def deep(given: Mapping[str, Any], *, symbol: str, may_trade: bool, json: bool = False) -> int:
    """Examine, show, and return 0, or 1 if anything deviates or was left behind.

    Raises `Usage` without `--terminal`: a connection may start its program.
    """
    if "terminal" not in given:
        raise Usage("--deep: says nothing without a terminal; give --terminal too")
    # No store is touched, so no data folder needs to be told.
    settings = load({"data_dir": Path("unused"), **given})
    report = examine(settings, symbol=symbol, may_trade=may_trade)
    if json:
        sys.stdout.write(f"{as_json(report)}\n")
    else:
        draw(report)
    return DONE if report.good else FAILED


def examine(
    settings: Settings,
    *,
    symbol: str,
    may_trade: bool,
    make: Callable[[], Terminal] | None = None,
    pause: Pause = time.sleep,
) -> Report:
    """Return the report; the terminal is closed again. `make` and `pause` are seams for tests."""
    hidden = _scrub(settings, None)
    try:
        terminal = (make or _maker(settings))()
    except DtmsError as error:
        return Report(
            kind=settings.terminal,
            hosted=settings.isolated,
            ended=hidden(told(error)),
            findings={},
            timings={},
            facts={},
            left=[],
        )
    try:
        return _examined(Examination(settings, Probe(terminal), pause), symbol, may_trade)
    finally:
        terminal.close()


class Examination:
    """One terminal under examination, and how far it has come."""

    def __init__(self, settings: Settings, probe: Probe, pause: Pause) -> None:
        """Nothing is asked yet."""
        self.settings = settings
        self.probe = probe
        self.pause = pause
        self.on: Ground | None = None
        self.ended = ""
        self.left: list[str] | None = []

    def read(self, symbol: str) -> None:
        """Connect and try what needs no order."""
        if not connect(self.probe, _folder_asked_for(self.settings)):
            self.ended = f"it does not connect: {self.probe.said}"
            return
        try:
            self.on = on = ground(self.probe, symbol)
        except Unreadable as problem:
            self.ended = str(problem)
            return
        wanted = (self.settings.login, self.settings.server)
        if any(
            asked not in (None, found)
            for asked, found in zip(wanted, (on.account.login, on.account.server), strict=True)
        ):
            self.ended = "the terminal is logged in to another account than the settings say"
            return
        read_all(self.probe, on)

    def why_not_trade(self, may_trade: bool) -> str | None:
        """Return why no order may be sent, None if orders may be."""
        if self.on is None or self.ended:
            return "the examination ended before"
        if self.on.rows["account"].trade_mode != mt5.ACCOUNT_TRADE_MODE_DEMO:
            return "this is no demo account: nothing is sent"
        if not may_trade:
            return "needs --yes-trade-on-demo"
        return None

    def trade(self, on: Ground) -> None:
        """Try what needs orders, with the account locked against a guard; then tidy up."""
        lock = AccountLock(self.settings.locks_dir, on.account.server, on.account.login)
        try:
            # A simulated broker of its own has no other client; a shared one may have a guard.
            if self.probe.terminal.real or self.settings.broker is not None:
                lock.acquire()
        except AlreadyGuarded as error:
            self.probe.skip(f"a guard runs on this account: {error.message}", *TRADES)
            return
        try:
            self._trade(on)
        finally:
            lock.release()

    def _trade(self, on: Ground) -> None:
        try:
            broom = Broom(self.probe, on, self.pause)
        except Unreadable as problem:
            self.probe.skip(str(problem), *TRADES)
            return
        self.left = None
        try:
            Session(self.probe, on, broom, self.pause).run()
        finally:
            try:
                self.left = broom.sweep()
            finally:
                _say_loudly(self.left)
            self.probe.saw("left-nothing", self.left == [], f"{self.left}")


def _examined(at: Examination, symbol: str, may_trade: bool) -> Report:
    at.read(symbol)
    on, why_not = at.on, at.why_not_trade(may_trade)
    if why_not is not None or on is None:
        at.probe.skip(why_not or "", *TRADES)
    else:
        at.probe.attempt(lambda: at.trade(on), "left-nothing")
    if on is not None and not at.ended:
        at.probe.attempt(lambda: leave_and_return(at.probe, on), "shutdown", "again")
    at.probe.attempt(lambda: at.probe.call("shutdown"))
    settings = at.settings
    scrub = _scrub(settings, on, at.probe.folder)
    return report_of(
        at.probe, on, hosted=settings.isolated, ended=at.ended, left=at.left, scrub=scrub
    )


def _folder_asked_for(settings: Settings) -> PurePath | None:
    """Return where the terminal must be: on this machine, or on the bridge's Windows."""
    path = settings.terminal_path
    if path is None:
        return None
    if settings.terminal == "bridge":
        return PureWindowsPath(str(path)).parent
    return path.absolute().parent


def _scrub(settings: Settings, on: Ground | None, shown: str = "") -> Scrub:
    path = settings.terminal_path
    given = None if path is None else path.parent
    folders = (shown, given, _folder_asked_for(settings))
    return scrub_of(on, login=settings.login, server=settings.server, folders=folders)


def _say_loudly(left: list[str] | None) -> None:
    """Say on standard error what a person must take away by hand."""
    if left == []:
        return
    what = "it cannot be told what is left" if left is None else f"left behind: {', '.join(left)}"
    sys.stderr.write(
        f"\n{'!' * 70}\n!! THE DOCTOR COULD NOT TIDY UP: {what}\n"
        f"!! Look at the terminal now, and close or delete it there by hand.\n{'!' * 70}\n"
    )


def _maker(settings: Settings) -> Callable[[], Terminal]:
    from console.look_at_terminal import maker

    return maker(settings)
