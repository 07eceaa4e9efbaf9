"""Recorded prices: trades of an exchange, and places found near the last one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import MONDAY, quotes, same, utc

from defence.errors import Invalid
from terminals.sim.market import RecordedMarket
from terminals.sim.prices import load_prices

HEAD = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n"
EXCHANGE = HEAD + (
    "2023.11.13\t09:00:00.100\t100\t102\t\t\t6\n"
    "2023.11.13\t09:00:01.000\t\t\t102\t3\t56\n"
    "2023.11.13\t09:00:02.000\t101\t\t\t\t2\n"
    "2023.11.13\t09:00:03.000\t\t103\t\t\t\n"
    "2023.11.13\t09:00:04.000\t\t\t102\t2\t\n"
)


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_ticks_of_an_exchange_keep_their_trades(tmp_path: Path) -> None:
    one = load_prices([put(tmp_path, "FDXS_ticks.csv", EXCHANGE)])["FDXS"]
    assert one.last is not None
    assert one.volume is not None
    assert one.flags is not None
    assert one.bid.tolist() == [100, 100, 101, 101, 101]
    assert one.ask.tolist() == [102, 102, 102, 103, 103]
    assert one.last.tolist() == [0, 102, 102, 102, 102]
    assert one.volume.tolist() == [0, 3, 0, 0, 2]
    assert one.flags.tolist() == [6, 56, 2, 4, 24]  # the last two were not said, but can be told
    market = RecordedMarket({"FDXS": one})
    begin = utc("2023-11-13 09:00")
    price = market.price("FDXS", begin + 1_500)
    assert price is not None
    assert tuple(price) == (begin + 1_000, 100.0, 102.0, 102.0, 3.0, 56)
    trades = market.ticks("FDXS", begin + 1_000, begin + 4_000).trades
    assert trades is not None
    assert trades.volume.tolist() == [3, 3, 2]  # a quote repeats what the newest trade was
    assert trades.made.tolist() == [False, False, True]


def test_without_a_trade_there_are_none(tmp_path: Path) -> None:
    rows = HEAD + "2023.11.13\t09:00:00.100\t1.1\t1.2\t0\t0\t6\n"
    one = load_prices([put(tmp_path, "EURUSD_ticks.csv", rows)])["EURUSD"]
    assert (one.last, one.volume, one.flags) == (None, None, None)


def test_trades_in_one_of_two_files(tmp_path: Path) -> None:
    plain = "timestamp,bid,ask\n2023-11-12 09:00:00,99,101\n"
    paths = [put(tmp_path, "FDXS_2.csv", EXCHANGE), put(tmp_path, "FDXS_1.csv", plain)]
    one = load_prices(paths)["FDXS"]
    assert one.last is not None
    assert one.last.tolist() == [0, 0, 102, 102, 102, 102]


@pytest.mark.parametrize(
    ("cell", "name"),
    [("x", "last"), ("-1", "volume"), ("nan", "last"), ("inf", "volume"), ("4294967296", "flags")],
)
def test_what_is_no_trade(tmp_path: Path, cell: str, name: str) -> None:
    cells = {"last": "102", "volume": "3", "flags": "56", name: cell}
    row = "\t".join(["2023.11.13", "09:00:01.000", "100", "102", *cells.values()])
    with pytest.raises(Invalid) as caught:
        load_prices([put(tmp_path, "FDXS_ticks.csv", f"{HEAD}{row}\n")])
    assert "line 2" in str(caught.value)
    assert f"({name})" in str(caught.value)
    assert f"is no {name}" in str(caught.value)


times = st.lists(st.integers(0, 2_000), min_size=1, max_size=60).map(sorted)


@settings(max_examples=100, deadline=None)
@given(
    offsets=times,
    asked=st.lists(st.tuples(st.integers(-10, 2_100), st.integers(0, 500), st.booleans())),
)
def test_spans_and_quotes_in_any_order(
    offsets: list[int], asked: list[tuple[int, int, bool]]
) -> None:
    rows = [(MONDAY + at, 1.0 + n / 1e5, 1.1 + n / 1e5) for n, at in enumerate(offsets)]
    market = quotes(rows)
    end = MONDAY - 10
    for at, length, goes_on in asked:
        begin = end if goes_on else MONDAY + at
        end = begin + length
        span = market.ticks("EURUSD", begin, end)
        wanted = [one for one in rows if begin < one[0] <= end]
        assert list(zip(*(one.tolist() for one in span[:3]), strict=True)) == wanted
        before = [one for one in rows if one[0] <= end]
        price = market.price("EURUSD", end)
        assert (price and tuple(price[:3])) == (before[-1] if before else None)


def test_spans_are_views() -> None:
    market = quotes([(MONDAY + n, 1.0, 1.1) for n in range(100)])
    one, other = market.ticks("EURUSD", 0, MONDAY + 50), market.ticks("EURUSD", 0, MONDAY + 99)
    assert np.shares_memory(one.bid, other.bid)
    assert same(one, other.cut(0, 51))
