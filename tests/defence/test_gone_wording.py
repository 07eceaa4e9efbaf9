"""How a trade's end is told: an average of several deals is called one."""

from __future__ import annotations

from defence_samples import closing, deal, history, record

from defence.gone import closing_of


def test_one_deal_has_a_price() -> None:
    ended = closing_of(record(), history(deal(), closing(price=1.09)).value)
    assert str(ended) == "sl at 1.09, profit -1009.50"


def test_several_deals_have_an_average() -> None:
    half = closing(ticket=199, volume=0.5, price=1.12, profit=1000.0, reason=3, time=15.0)
    rest = closing(volume=0.5, price=1.1, profit=0.0)
    ended = closing_of(record(), history(deal(), rest, half).value)
    assert str(ended) == "last by sl, 2 deals at 1.11 on average, profit 984.50"
