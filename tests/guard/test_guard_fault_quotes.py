"""The guard meets quotes that stand, jump, lie, or come in the wrong order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fault_kit import ENTRY, PIP, START, Meeting, meets, moving
from guard_kit import GuardKit, kinds

from actors.events import Kind
from defence.broker import Quote
from defence.newest import NewestQuotes
from defence.policy import Skip
from defence.trade import TradeState

CALM, DANGER = ENTRY - PIP, 1.0945


def test_the_market_of_these_tests_leads_to_an_order(sim: GuardKit) -> None:
    met = Meeting(sim, moving([(0, CALM), (600, DANGER)]), quote_stale_after=120.0)
    met.rest(700.0)
    assert len(met.done) == 1


@meets("quotes stand still")
def test_a_quote_that_stands_is_not_acted_on(sim: GuardKit) -> None:
    """It stands in danger while the guard is paused; what it does then is the point."""
    met = Meeting(sim, moving([(0, CALM), (600, DANGER), (640, CALM)]), quote_stale_after=120.0)
    met.guard.admin("pause")
    met.inject("quotes stand still", second=620.0)
    met.rest_until(800.0)
    tick = met.terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    assert (tick.bid, tick.time) == (DANGER, START + 620.0)
    met.guard.admin("resume")
    met.rest(100.0)
    assert met.skipped() == {"the price is stale": 1}
    assert met.sent == 0
    assert met.record.state is TradeState.HEALTHY
    assert met.guard.health().ready  # skipped with a reason
    met.rest(1000.0)
    assert met.sent == 0  # the market had been calm for long
    assert met.skipped() == {}


@meets("the spread widens at the rollover")
def test_a_wide_spread_puts_no_stop_into_the_market(sim: GuardKit) -> None:
    met = Meeting(sim, moving([(0, CALM), (900, 1.0955)]), quote_stale_after=120.0)
    met.inject("the spread widens at the rollover", second=600.0)
    met.rest_until(700.0)
    tick = met.terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    assert tick.ask - tick.bid == pytest.approx(25 * PIP)
    assert met.sent == 0  # a quarter of the way is no danger
    met.rest_until(1200.0)
    assert met.record.state is TradeState.WARNING_L1  # by the price that would close it
    assert met.skipped() == {Skip.NO_ROOM: 1}
    assert met.sent == 0
    met.rest_until(1700.0)
    assert met.sent == 0  # at its usual spread the trade is in no danger
    assert met.skipped() == {}


@meets("a quote of zero", "a crossed quote")
@pytest.mark.parametrize("mishap", ["a quote of zero", "a crossed quote"])
def test_a_quote_that_is_none(sim: GuardKit, mishap: str) -> None:
    met = Meeting(sim)
    met.inject(mishap)
    met.price(DANGER)
    met.rest(200.0)
    assert met.skipped() == {"no price": 1}
    assert met.sent == 0
    assert met.position is not None
    met.rest(200.0)
    assert len(met.done) == 1


@meets("ticks twice")
def test_a_quote_shown_again_is_no_news(sim: GuardKit) -> None:
    met = Meeting(sim, moving([(0, CALM), (600, DANGER)]), quote_stale_after=120.0)
    met.inject("ticks twice")
    met.rest(1500.0)
    assert len(met.done) == 1
    assert not kinds(met.guard, Kind.CHARGED)


@meets("an older tick after a newer one")
def test_an_older_tick_is_not_acted_on(sim: GuardKit) -> None:
    """A dip that was over before the guard looked comes back as an old tick."""
    # Looks are 30 s apart: only a tick of 70 s ago can show a dip of which they saw nothing.
    path = [(0.0, CALM)]
    for look in range(60, 1200, 30):
        path += [(look + 18.0, DANGER), (look + 26.0, CALM)]
    met = Meeting(sim, moving(path), quote_stale_after=120.0)
    shown: list[float] = []
    original = met.terminal.symbol_info_tick

    def noted(symbol: str, /) -> object:
        tick = original(symbol)
        assert tick is not None
        shown.append(tick.bid)
        return tick

    met.terminal.symbol_info_tick = noted  # type: ignore[method-assign,assignment]
    met.rest_until(100.0)
    assert DANGER not in shown
    met.inject("an older tick after a newer one")
    met.rest(900.0)
    assert DANGER in shown
    assert met.sent == 0
    assert met.record.state is TradeState.HEALTHY


def test_the_newest_quote_is_followed_by_the_brokers_own_clock() -> None:
    quotes = NewestQuotes()

    def follow(time: float, bid: float, now: float) -> tuple[float, float | None]:
        found = quotes.follow(Quote(symbol="EURUSD", bid=bid, ask=bid + PIP, time=time), now)
        return found.bid, found.seen_at

    assert follow(1000.0, 1.1, 0.0) == (1.1, 0.0)
    assert follow(1000.0, 1.1, 30.0) == (1.1, 0.0)  # the same again: it ages
    assert follow(930.0, 1.2, 60.0) == (1.1, 0.0)  # older: held back
    assert follow(930.0, 1.2, 90.0) == (1.1, 0.0)
    assert follow(1120.0, 1.3, 120.0) == (1.3, 120.0)
    assert follow(1050.0, 1.4, 150.0) == (1.3, 120.0)
    assert follow(1180.0, 1.5, 180.0) == (1.5, 180.0)
    # The server's clock is set back by an hour: known at the second look.
    assert follow(-2390.0, 1.6, 210.0) == (1.5, 180.0)
    assert follow(-2360.0, 1.7, 240.0) == (1.7, 240.0)
    assert follow(-2330.0, 1.8, 270.0) == (1.8, 270.0)
    assert follow(-2330.0, 1.9, 300.0) == (1.9, 300.0)  # another price of the same second


def test_two_older_quotes_with_the_newest_between_them_are_no_clock_set_back() -> None:
    quotes = NewestQuotes()
    newest = Quote(symbol="EURUSD", bid=1.5, ask=1.5 + PIP, time=100.0)
    older = [replace(newest, bid=bid, time=time) for bid, time in ((1.1, 50.0), (1.2, 51.0))]
    for now, quote in enumerate([newest, older[0], newest, newest, older[1]]):
        assert quotes.follow(quote, float(now)).time == newest.time


@meets("the server's clock jumps ahead", "the server's clock jumps back")
@pytest.mark.parametrize(
    "mishap", ["the server's clock jumps ahead", "the server's clock jumps back"]
)
def test_a_clock_that_is_wrong(sim: GuardKit, mishap: str) -> None:
    market = moving([(0, CALM), (1200, DANGER)])
    met = Meeting(sim, market, quote_stale_after=120.0)
    met.inject(mishap, second=300.0)
    met.rest_until(900.0)
    tick = met.terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    assert abs(tick.time - met.terminal.market_time) > 3000.0
    assert met.skipped() == {}
    assert met.guard.health().ready
    assert met.sent == 0
    met.rest(400.0)
    assert len(met.done) == 1
    assert not kinds(met.guard, Kind.CHARGED, Kind.HOST_PAUSED)
