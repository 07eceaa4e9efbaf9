"""Recorded prices: every format, and what is wrong with malformed files."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import numpy as np
import pytest

from defence.errors import Invalid
from terminals import RecordedMarket, load_prices
from terminals.sim.price_files import side_of, symbol_of

BID = """timestamp,open,high,low,close
2012-02-01 00:00:00+00:00,1.57597,1.57606,1.57576,1.57580
2012-02-01 00:01:00+00:00,1.57576,1.57583,1.57543,1.57583
"""
ASK = """timestamp,open,high,low,close
2012-02-01 00:00:00+00:00,1.57608,1.57610,1.57585,1.57590
2012-02-01 00:01:00+00:00,1.57585,1.57591,1.57552,1.57591
"""
MINUTE = 1_328_054_400_000  # 2012-02-01 00:00 UTC


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_pair_of_bars(tmp_path: Path) -> None:
    bid = put(tmp_path, "gbpusd-m1-bid.csv", BID)
    ask = put(tmp_path, "gbpusd-m1-ask.csv", ASK)
    for paths in ([bid, ask], [ask, bid]):
        one = load_prices(paths)["GBPUSD"]
        assert list(one.time_msc[:5] - MINUTE) == [0, 15_000, 30_000, 45_000, 60_000]
        # A falling bar goes by its high first, a rising one by its low.
        assert list(one.bid[:4]) == [1.57597, 1.57606, 1.57576, 1.57580]
        assert list(one.bid[4:]) == [1.57576, 1.57543, 1.57583, 1.57583]
        assert list(one.ask[:4]) == [1.57608, 1.57610, 1.57585, 1.57590]
        assert list(one.ask[4:]) == [1.57585, 1.57552, 1.57591, 1.57591]
        assert one.bar_ms == 60_000
        assert one.notes == ()


def test_a_pair_in_the_order_given(tmp_path: Path) -> None:
    one, other = put(tmp_path, "gbpusd-a.csv", BID), put(tmp_path, "gbpusd-b.csv", ASK)
    assert load_prices([one, other])["GBPUSD"].ask[0] == 1.57608
    with pytest.raises(Invalid, match="the ask is below the bid"):
        load_prices([other, one])


def test_one_side_only(tmp_path: Path) -> None:
    ask = load_prices([put(tmp_path, "gbpusd-ask.csv", ASK)])["GBPUSD"]
    assert ask.ask[0] == 1.57608
    assert ask.bid[0] == pytest.approx(1.57608 - 0.00011)
    assert ask.notes
    plain = load_prices([put(tmp_path, "gbpusd.csv", BID)])["GBPUSD"]
    assert plain.bid[0] == 1.57597
    assert plain.ask[0] == pytest.approx(1.57597 + 0.00011)


def test_files_of_one_side_follow_each_other(tmp_path: Path) -> None:
    later = BID.replace("2012-02-01", "2012-02-02")
    paths = [put(tmp_path, "gbpusd-2.csv", later), put(tmp_path, "gbpusd-1.csv", BID)]
    one = load_prices(paths)["GBPUSD"]
    assert (np.diff(one.time_msc) > 0).all()
    assert len(one.bid) == 16
    twice = [
        put(tmp_path, "gbpusd-bid-1.csv", BID),
        put(tmp_path, "gbpusd-bid-2.csv", BID),
    ]
    with pytest.raises(Invalid, match="overlaps"):
        load_prices(twice)


def test_a_little_crossing_is_mended_and_noted(tmp_path: Path) -> None:
    ask = ASK.replace("1.57610", "1.57609").replace("1.57608", "1.57590")
    paths = [put(tmp_path, "gbpusd-bid.csv", BID), put(tmp_path, "gbpusd-ask.csv", ask)]
    one = load_prices(paths)["GBPUSD"]
    assert one.ask[0] == one.bid[0] == 1.57597
    assert "1 bars with a bid above the ask" in one.notes[0]


def test_gross_crossing_names_the_line(tmp_path: Path) -> None:
    ask = ASK.replace("1.57585,1.57591,1.57552,1.57591", "1.47585,1.47591,1.47552,1.47591")
    rows = BID + "".join(
        f"2012-02-01 00:{m:02}:00+00:00,1.5757,1.5758,1.5756,1.5757\n" for m in range(2, 6)
    )
    asks = ask + "".join(
        f"2012-02-01 00:{m:02}:00+00:00,1.5759,1.5760,1.5758,1.5759\n" for m in range(2, 6)
    )
    paths = [put(tmp_path, "gbpusd-bid.csv", rows), put(tmp_path, "gbpusd-ask.csv", asks)]
    with pytest.raises(Invalid, match=r"gbpusd-ask.csv, line 3: the ask is far below the bid"):
        load_prices(paths)


def test_bars_that_one_side_only_has_are_left_out(tmp_path: Path) -> None:
    paths = [
        put(tmp_path, "gbpusd-bid.csv", BID),
        put(tmp_path, "gbpusd-ask.csv", "\n".join(ASK.splitlines()[:2])),
    ]
    one = load_prices(paths)["GBPUSD"]
    assert len(one.bid) == 4
    assert "1 bars left out" in one.notes[0]
    paths[1] = put(tmp_path, "gbpusd-ask.csv", ASK.replace("2012-02-01", "2012-02-09"))
    with pytest.raises(Invalid, match="do not cover the same times"):
        load_prices(paths)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's zone cannot be changed")
def test_times_without_a_zone_are_utc_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "GBPUSD_M1.csv", MT5_BARS)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        first = load_prices([path])["GBPUSD"].time_msc[0]
    time.tzset()
    assert first == MINUTE


def test_a_bar_that_is_followed_early_is_walked_faster(tmp_path: Path) -> None:
    rows = [f"2012-02-01 00:00:{at:02},1,1,1,1" for at in (0, 20, 40, 44)]
    text = "timestamp,open,high,low,close\n" + "\n".join(rows)
    one = load_prices([put(tmp_path, "gbpusd.csv", text)])["GBPUSD"]
    assert one.bar_ms == 20_000
    assert (np.diff(one.time_msc) > 0).all()


def test_a_pause_closes_the_market_at_the_end_of_the_bar_before(tmp_path: Path) -> None:
    later = "2012-02-01 00:40:00+00:00,1.57576,1.57583,1.57543,1.57583\n"
    market = RecordedMarket.load([put(tmp_path, "gbpusd.csv", BID + later)])
    last = MINUTE + 105_000  # the newest tick before the pause
    assert [market.is_open("GBPUSD", last + at) for at in (0, 60_000, 60_001)] == [1, 1, 0]
    assert [market.is_open("GBPUSD", MINUTE + 2_400_000 + at) for at in (-1, 0, 45_000)] == [
        0,
        1,
        0,
    ]
    assert not market.is_open("GBPUSD", MINUTE - 1)


def test_hourly_bars(tmp_path: Path) -> None:
    text = (
        "Time,Open,High,Low,Close,Volume\n"
        "01.01.2017 22:00:00.000,1.05236,1.05253,1.05221,1.05227,143539993.3\n"
        "01.01.2017 23:00:00.000,1.05227,1.05426,1.05226,1.05282,253139999.4\n"
    )
    one = load_prices([put(tmp_path, "eurusd-h1-ask-2017.csv", text)])["EURUSD"]
    assert one.time_msc[0] == 1_483_308_000_000
    assert one.bar_ms == 3_600_000
    assert list(one.ask[:2]) == [1.05236, 1.05253]


def test_quote_ticks(tmp_path: Path) -> None:
    text = "timestamp,bid,ask\n2013-01-01 22:00:00.295000+00:00,86.655,86.728\n"
    text += "2013-01-01 22:00:00.295000+00:00,86.656,86.728\n"
    one = load_prices([put(tmp_path, "usdjpy-ticks.csv", text)])["USDJPY"]
    assert list(one.time_msc) == [1_357_077_600_295] * 2
    assert list(one.bid) == [86.655, 86.656]
    assert one.spec.digits == 3


MT5_BARS = (
    "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\r\n"
    "2012.02.01\t00:00:00\t1.57597\t1.57606\t1.57576\t1.57576\t51\t0\t11\r\n"
    "2012.02.01\t00:01:00\t1.57576\t1.57583\t1.57543\t1.57543\t60\t0\t25\r\n"
)
MT5_TICKS = (
    "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\r\n"
    "2012.02.01\t00:00:00.100\t1.57597\t\t\t\t2\r\n"
    "2012.02.01\t00:00:00.200\t1.57597\t1.57608\t\t\t6\r\n"
    "2012.02.01\t00:00:00.300\t\t1.57610\t\t\t4\r\n"
    "2012.02.01\t00:00:00.400\t1.57599\t\t\t\t2\r\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom"])
@pytest.mark.parametrize("packed", [False, True])
def test_metatrader_exports(encoding: str, packed: bool, tmp_path: Path) -> None:
    def raw(text: str) -> bytes:
        if encoding == "utf-16-be-bom":
            data = b"\xfe\xff" + text.encode("utf-16-be")
        else:
            data = text.encode(encoding)
        return gzip.compress(data) if packed else data  # told by content, not by name

    bars = load_prices([put(tmp_path, "GBPUSD_M1_201202010000.csv", raw(MT5_BARS))])["GBPUSD"]
    assert bars.time_msc[0] == MINUTE
    assert bars.bid[0] == 1.57597
    assert bars.ask[0] == pytest.approx(1.57608)
    assert bars.ask[4] == pytest.approx(1.57576 + 0.00025)
    ticks = load_prices([put(tmp_path, "GBPUSD.m_201202.csv", raw(MT5_TICKS))])["GBPUSD.m"]
    assert list(ticks.time_msc - MINUTE) == [200, 300, 400]  # no quote before both sides are known
    assert list(ticks.bid) == [1.57597, 1.57597, 1.57599]
    assert list(ticks.ask) == [1.57608, 1.57610, 1.57610]


def test_daily_export_without_a_time(tmp_path: Path) -> None:
    text = MT5_BARS.replace("\t<TIME>", "").replace("\t00:00:00", "").replace("01\t00:01:00", "02")
    one = load_prices([put(tmp_path, "GBPUSD_Daily.csv", text)])["GBPUSD"]
    assert one.bar_ms == 86_400_000


@pytest.mark.parametrize(
    ("name", "symbol", "side"),
    [
        ("gbpusd-m1-bid-2012-02.csv.gz", "GBPUSD", "bid"),
        ("gbpusd-m1-ask-2012-02.csv.gz", "GBPUSD", "ask"),
        ("EURUSD_M1_201202010000_201202290000.csv", "EURUSD", None),
        ("GBPUSD.m_M1.csv", "GBPUSD.m", None),
        ("gbpusd.pro-bid.csv", "GBPUSD.pro", "bid"),
        ("usdjpy ticks ask.txt", "USDJPY", "ask"),
        ("US500_H1.csv", "US500", None),
        ("xauusd.csv", "XAUUSD", None),
    ],
)
def test_names(name: str, symbol: str, side: str | None) -> None:
    assert symbol_of(Path(name)) == symbol
    assert side_of(Path(name)) == side


@pytest.mark.parametrize("name", ["prices.csv", "2012.csv", "-.csv", "my gbpusd.csv"])
def test_a_name_without_a_symbol(name: str) -> None:
    with pytest.raises(Invalid, match="cannot tell the symbol"):
        symbol_of(Path(name))


ROW = "2012-02-01 00:02:00,1.5,1.6,1.4,1.5"
TICK = "2012-02-01 00:02:00,1.5,1.6"
BARS_HEAD = BID
TICKS_HEAD = "timestamp,bid,ask\n2012-02-01 00:01:00,1.5,1.6\n2012-02-01 00:01:30,1.5,1.6\n"
MALFORMED: list[tuple[str, str, str]] = [
    (BARS_HEAD, ROW.replace("1.6", "abc"), "line 4, column 3 (high): 'abc' is not a price"),
    (BARS_HEAD, ROW.replace("1.6", ""), "line 4, column 3 (high): '' is not a price"),
    (BARS_HEAD, ROW.replace("1.6", "nan"), "line 4, column 3 (high): 'nan' is not a price"),
    (BARS_HEAD, ROW.replace("1.6", "inf"), "line 4, column 3 (high): 'inf' is not a price"),
    (BARS_HEAD, ROW.replace("1.6", "1_6"), "line 4, column 3 (high): '1_6' is not a price"),
    (BARS_HEAD, ROW.replace("1.4", "0"), "line 4, column 4 (low): '0' is not a price"),
    (BARS_HEAD, ROW.replace("1.4", "-1.4"), "line 4, column 4 (low): '-1.4' is not a price"),
    (BARS_HEAD, ROW.replace("1.6", "1.3"), "line 4, column 3 (high): '1.3' is a high below"),
    (BARS_HEAD, ROW.replace(":00,1.5", ":00,1.7"), "line 4, column 2 (open): '1.7' is an open"),
    (BARS_HEAD, ROW[:-3] + "1.3", "line 4, column 5 (close): '1.3' is a close outside"),
    (BARS_HEAD, ROW[:-4], "line 4: 4 columns where the header has 5, close is missing"),
    (BARS_HEAD, ROW + ",9", "line 4: 6 columns where the header has 5"),
    (BARS_HEAD, ROW.replace("00:02", "00:01"), "column 1 (timestamp): '2012-02-01 00:01:00' rep"),
    (BARS_HEAD, ROW.replace("00:02", "00:00"), "line 4, column 1 (timestamp)"),
    (BARS_HEAD, ROW.replace("2012-02-01", "2012-02-31"), "line 4, column 1 (timestamp)"),
    (BARS_HEAD, ROW.replace("2012-02-01 00:02:00", "noon"), "'noon' is not a time"),
    (TICKS_HEAD, TICK.replace("1.5", "1.7"), "line 4, column 2 (bid): '1.7' is a bid above"),
    (TICKS_HEAD, TICK.replace("1.5", "x"), "line 4, column 2 (bid): 'x' is not a price"),
    (TICKS_HEAD, TICK.replace("1.6", "inf"), "line 4, column 3 (ask): 'inf' is not a price"),
    (TICKS_HEAD, TICK.replace("1.5", "nan"), "line 4, column 2 (bid): 'nan' is not a price"),
    (TICKS_HEAD, TICK.replace("1.5", "0"), "line 4, column 2 (bid): '0' is not a price"),
    (TICKS_HEAD, TICK.replace("00:02:00", "00:01:00"), "column 1 (timestamp): '2012-02-01 00:01"),
    (TICKS_HEAD, TICK[:-4], "line 4: 2 columns where the header has 3, ask is missing"),
]


@pytest.mark.parametrize(("head", "row", "words"), MALFORMED, ids=[row[2] for row in MALFORMED])
def test_malformed_rows_name_file_line_and_column(
    head: str, row: str, words: str, tmp_path: Path
) -> None:
    path = put(tmp_path, "gbpusd.csv", head + row + "\n")
    with pytest.raises(Invalid) as caught:
        load_prices([path])
    assert str(path) in caught.value.message
    assert words in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("cell", ["x", "-1", "nan"])
def test_malformed_spread(cell: str, tmp_path: Path) -> None:
    path = put(tmp_path, "GBPUSD_M1.csv", MT5_BARS.replace("\t25\r\n", f"\t{cell}\r\n"))
    with pytest.raises(Invalid, match=r"line 3, column 9 \(spread\): .* is not a spread"):
        load_prices([path])


def test_blank_lines_and_a_zero_spread_are_fine(tmp_path: Path) -> None:
    text = "\r\n" + MT5_BARS.replace("\t25\r\n", "\t0\r\n\r\n  \r\n")
    one = load_prices([put(tmp_path, "GBPUSD_M1.csv", text)])["GBPUSD"]
    assert one.ask[4] == one.bid[4]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (BID.splitlines()[0].encode(), "has a header but no prices"),
        (b"a,b,c\n1,2,3\n", "line 1: unknown header 'a,b,c'"),
        (b"open,high,low,close\n1,1,1,1\n", "line 1: the header has no time column"),
        (b"\x1f\x8bgarbage", "damaged gzip data"),
        (gzip.compress(BID.encode(), mtime=0)[:-9], "damaged gzip data"),
        (b"timestamp,bid,ask\n\xff\xfe\x00", "is not utf-8-sig text"),
        (b"\xff\xfe\x00", "is not utf-16 text"),
    ],
)
def test_unreadable_files(content: bytes, words: str, tmp_path: Path) -> None:
    path = put(tmp_path, "gbpusd.csv", content)
    with pytest.raises(Invalid) as caught:
        load_prices([path])
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.remedy


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        load_prices([tmp_path / "a.csv"])
    with pytest.raises(Invalid, match="cannot be read"):
        load_prices([put(tmp_path, "gbpusd", "").parent / "EURUSD"])
    for empty in (load_prices, RecordedMarket.load):
        with pytest.raises(Invalid, match="no recorded prices"):
            empty([])


def test_ticks_and_bars_of_one_symbol_do_not_mix(tmp_path: Path) -> None:
    paths = [put(tmp_path, "gbpusd-1.csv", BID), put(tmp_path, "gbpusd-2.csv", TICKS_HEAD)]
    with pytest.raises(Invalid, match="holds ticks"):
        load_prices(paths)


def test_loading_sixty_thousand_bars_is_quick(tmp_path: Path) -> None:
    stamps = np.arange(30_000) * 60_000 + MINUTE
    times = [str(np.datetime64(int(at), "ms")).replace("T", " ")[:19] for at in stamps]
    for side, shift in (("bid", 0.0), ("ask", 0.0001)):
        o, h, low = 1.5 + shift, 1.6 + shift, 1.4 + shift
        rows = "\n".join(f"{at},{o:.5f},{h:.5f},{low:.5f},{o:.5f}" for at in times)
        put(tmp_path, f"gbpusd-{side}.csv", "timestamp,open,high,low,close\n" + rows)
    began = time.perf_counter()
    one = load_prices(sorted(tmp_path.iterdir()))["GBPUSD"]
    assert len(one.bid) == 120_000
    assert time.perf_counter() - began < 5.0  # measured 0.25 s, with room for slow hosts


def recorded_data() -> Path | None:
    """Find the folder of real recordings, which is no part of the project."""
    named = os.environ.get("DTMS_DATA")
    places = [Path(named)] if named else []
    places += [up / "shared" / "data" for up in Path(__file__).resolve().parents]
    return next((one for one in places if (one / "gbpusd-m1-bid-2012-02.csv.gz").is_file()), None)


DATA = recorded_data()


@pytest.mark.skipif(DATA is None, reason="no recorded prices here (set DTMS_DATA)")
def test_real_recordings() -> None:
    assert DATA is not None
    pair = sorted(DATA.glob("gbpusd-m1-*.csv.gz"))
    market = RecordedMarket.load(pair)
    ticks = market.ticks("GBPUSD", 0, market.end_msc or 0)
    assert len(ticks.bid) == 4 * 30_117
    assert (ticks.ask >= ticks.bid).all()
    assert (np.diff(ticks.time_msc) > 0).all()
    saturday = 1_328_356_800_000  # 2012-02-04 12:00 UTC
    assert not market.is_open("GBPUSD", saturday)
    assert market.is_open("GBPUSD", saturday - 86_400_000)
    hours = load_prices([DATA / "eurusd-h1-ask-2017.csv.gz"])["EURUSD"]
    assert (len(hours.bid), hours.bar_ms) == (4 * 6225, 3_600_000)
    quotes = load_prices([DATA / "usdjpy-ticks-2013-01-01.csv.gz"])["USDJPY"]
    assert len(quotes.bid) == 1000
