"""The doctor trades on the account that it examined alone, and believes no empty answer easily."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from console.deep.probe import Probe, Verdict
from console.deep.reading import Ground, connect, ground, opening
from console.deep.tidying import Broom
from console.deep.trading import Session
from terminals import GeneratedMarket, SimulatedTerminal
from terminals.rows import Unreadable

Opened: TypeAlias = tuple[Any, Probe, Ground, Broom]


def simulated(kind: type[SimulatedTerminal] = SimulatedTerminal) -> Any:
    """Return a terminal of a market that stands practically still, on this machine's clock."""
    market = GeneratedMarket(seed=1, start=time.time())
    return kind(market=market, now=time.time, speed=0.0, step=0.001)


def grounded(terminal: Any) -> tuple[Probe, Ground, Broom]:
    probe = Probe(terminal)
    assert connect(probe, None)
    on = ground(probe, "EURUSD")
    return probe, on, Broom(probe, on, lambda _: None)


def test_nothing_is_sent_to_an_account_that_was_switched_to_meanwhile() -> None:
    """Trading was off when it was read; on the other account it is on."""
    terminal = simulated()
    terminal.set_autotrading(False)
    probe, on, broom = grounded(terminal)
    terminal.switch_account(77, "Real-Money")
    terminal.set_autotrading(True)
    Session(probe, on, broom, lambda _: None).run()
    assert terminal.orders_sent == []
    assert probe.findings["off"].verdict is Verdict.NOT_TRIED
    assert "77" not in probe.findings["off"].seen


class Switching(SimulatedTerminal):
    """Somebody logs in elsewhere, and back, or the terminal connects anew, as the test says."""

    blind = ""  # the call that answers () and no success: it connects anew
    newest = ""
    at_looking: Callable[[], None] = staticmethod(lambda: None)
    at_closing: Callable[[], None] = staticmethod(lambda: None)

    def positions_get(self, *unnamed: Any, **filters: Any) -> Any:
        self.at_looking()
        self.newest = "positions_get"
        found = super().positions_get(*unnamed, **filters)
        return () if self.blind == self.newest else found

    def orders_get(self, *unnamed: Any, **filters: Any) -> Any:
        self.newest = "orders_get"
        found = super().orders_get(*unnamed, **filters)
        return () if self.blind == self.newest else found

    def last_error(self) -> tuple[int, str]:
        if self.newest and self.blind == self.newest:
            return (-10002, "IPC recv failed")
        return super().last_error()

    def account_info(self) -> Any:
        self.newest = ""
        return super().account_info()

    def symbol_info_tick(self, symbol: str, /) -> Any:
        self.at_closing()
        return super().symbol_info_tick(symbol)


@pytest.fixture
def opened() -> Opened:
    """Return a terminal with one position of the doctor's."""
    terminal = simulated(Switching)
    probe, on, broom = grounded(terminal)
    request = opening(on, 0.02)
    assert broom.send(request, lambda: probe.call("order_send", request)).retcode == 10009
    return terminal, probe, on, broom


def test_what_another_account_shows_does_not_mean_that_nothing_is_left(opened: Opened) -> None:
    terminal, _, on, broom = opened
    terminal.switch_account(77, "Elsewhere")
    assert broom.left() is broom.sweep() is None
    terminal.switch_account(on.account.login, on.account.server)
    assert broom.sweep() == []
    assert terminal.positions_get() == terminal.orders_get() == ()


@pytest.mark.parametrize("to_another", [True, False])
def test_the_account_is_looked_at_before_the_look_and_after_it(
    opened: Opened, to_another: bool
) -> None:
    terminal, _, on, broom = opened
    accounts = [(on.account.login, on.account.server), (77, "Elsewhere")]
    before, after = accounts if to_another else accounts[::-1]
    terminal.switch_account(*before)
    terminal.at_looking = lambda: terminal.switch_account(*after)
    assert broom.left() is None


@pytest.mark.parametrize("call", ["positions_get", "orders_get"])
def test_nothing_in_the_moment_of_a_reconnect_is_not_believed(opened: Opened, call: str) -> None:
    terminal, probe, on, broom = opened
    terminal.blind = call
    assert broom.left() is broom.sweep() is None
    with pytest.raises(Unreadable, match="answered with nothing"):
        Broom(probe, on)
    terminal.blind = ""
    assert broom.sweep() == []


def test_nothing_is_closed_on_an_account_that_was_switched_to_meanwhile(opened: Opened) -> None:
    terminal, _, on, broom = opened
    sent = len(terminal.orders_sent)
    terminal.at_closing = lambda: terminal.switch_account(77, "Elsewhere")
    assert broom.sweep() is None
    assert len(terminal.orders_sent) == sent
    terminal.at_closing = lambda: None
    terminal.switch_account(on.account.login, on.account.server)
    assert broom.sweep() == []
