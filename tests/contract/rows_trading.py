"""The contract: prices, calculations, orders, and what answers are made of."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
from typing import Any, Final

import numpy as np
from contract_kit import (
    BUY,
    COUNT,
    NOT_FOUND,
    UNNAMED,
    Fits,
    Row,
    a,
    answers,
    asked,
    broken,
    buy,
    wrong,
)
from contract_sources import (
    AS_DICT,
    FAILURE_TEXTS,
    NUMBERS,
    REQUEST_PARSER,
    STRUCTS,
    TEXTS,
    aiomql,
    code,
    docs,
)

POS: Final = "copy_rates_from_pos"


def _now(m: Any) -> int:
    return int(m.symbol_info_tick("EURUSD").time)


RATES: Final = [
    ("time", "<i8"),
    ("open", "<f8"),
    ("high", "<f8"),
    ("low", "<f8"),
    ("close", "<f8"),
    ("tick_volume", "<u8"),
    ("spread", "<i4"),
    ("real_volume", "<u8"),
]
TICKS: Final = [
    ("time", "<i8"),
    ("bid", "<f8"),
    ("ask", "<f8"),
    ("last", "<f8"),
    ("volume", "<u8"),
    ("time_msc", "<i8"),
    ("flags", "<u4"),
    ("volume_real", "<f8"),
]
PRICES: Final = (
    answers(
        "bars from a position",
        lambda m: len(m.copy_rates_from_pos("EURUSD", 1, 0, 10)),
        10,
        aiomql("test_copy_rates_from_pos"),
    ),
    answers(
        "bars up to a date",
        lambda m: len(m.copy_rates_from("EURUSD", 1, _now(m), 10)),
        10,
        aiomql("test_copy_rates_from"),
    ),
    answers(
        "bars between dates",
        lambda m: len(m.copy_rates_range("EURUSD", 1, _now(m) // 60 * 60 - 540, _now(m))),
        10,
        aiomql("test_copy_rates_range"),
    ),
    answers(
        "ticks from a date",
        lambda m: len(m.copy_ticks_from("EURUSD", _now(m) - 600, 10, -1)),
        10,
        aiomql("test_copy_ticks_from"),
    ),
    answers(
        "bars are oldest first, the newest is not finished",
        lambda m: (np.diff(m.copy_rates_from_pos("EURUSD", 1, 0, 3)["time"]) > 0).all(),
        np.True_,
        docs("mt5copyratesfrompos_py"),
    ),
    answers(
        "the fields of bars",
        lambda m: m.copy_rates_from_pos("EURUSD", 1, 0, 1).dtype.descr,
        RATES,
        docs("mt5copyratesfrompos_py"),
    ),
    answers(
        "the fields of ticks",
        lambda m: m.copy_ticks_from("EURUSD", _now(m) - 60, 1, -1).dtype.descr,
        TICKS,
        docs("mt5copyticksfrom_py"),
    ),
    answers(
        "numpy's whole numbers count",
        lambda m: len(m.copy_rates_from_pos("EURUSD", np.int64(1), np.int32(0), np.int16(2))),
        2,
        code(POS),
    ),
    asked(POS, "NOPE", 1, 0, 1, error=NOT_FOUND, source=FAILURE_TEXTS),
    broken(POS, TypeError, "EURUSD", 1, 0, 1.5),
    broken(POS, TypeError, "EURUSD", "M1", 0, 1),
    broken(POS, TypeError, "EURUSD", 1, None, 1),
    broken(POS, OverflowError, "EURUSD", 1, 0, 2**31),
    broken(POS, TypeError, 5, "M1", 0, 1),
    asked(POS, 5, 1, 0, 1),
    asked("copy_rates_from", "EURUSD", 1, "now", 1),
    asked("copy_rates_range", "EURUSD", 1, 1, "now"),
    asked("copy_ticks_from", "EURUSD", None, 1, -1),
    broken("copy_ticks_range", TypeError, "EURUSD", 1, 2, "all"),
)
CALCULATIONS: Final = (
    answers(
        "margin of a deal",
        lambda m: m.order_calc_margin(0, "EURUSD", 0.1, 1.1),
        a(float),
        aiomql("test_order_calc_margin"),
    ),
    answers(
        "profit of a deal",
        lambda m: m.order_calc_profit(0, "EURUSD", 0.1, 1.1, 1.2),
        a(float),
        aiomql("test_order_calc_profit"),
    ),
    answers(
        "whole numbers will do for prices here",
        lambda m: m.order_calc_profit(0, "EURUSD", 1, 1, 2),
        a(float),
        code("order_calc_profit"),
    ),
    broken("order_calc_margin", TypeError, 0, "EURUSD", "1", 1.1),
    broken("order_calc_margin", TypeError, np.int64(0), "EURUSD", 0.1, 1.1),
    broken("order_calc_profit", TypeError, 0, "EURUSD", 0.1, 1.1, None),
    asked("order_calc_margin", 0, 5, 0.1, 1.1),
)
WRONG_FIELDS: Final = (
    ("action", 1.0, REQUEST_PARSER),
    ("action", None, REQUEST_PARSER),
    ("magic", "7", REQUEST_PARSER),
    ("magic", np.int64(7), REQUEST_PARSER),
    ("order", 1.5, REQUEST_PARSER),
    ("symbol", None, TEXTS),
    ("symbol", "E" * 30, TEXTS),
    ("volume", 1, NUMBERS),
    ("volume", "0.1", NUMBERS),
    ("volume", None, NUMBERS),
    ("price", 1, NUMBERS),
    ("stoplimit", 0, NUMBERS),
    ("sl", 0, NUMBERS),
    ("sl", None, NUMBERS),
    ("tp", np.int32(0), NUMBERS),
    ("tp", np.float32(0), NUMBERS),
    ("deviation", 20.0, REQUEST_PARSER),
    ("type", "BUY", REQUEST_PARSER),
    ("type_filling", None, REQUEST_PARSER),
    ("type_time", 0.0, REQUEST_PARSER),
    ("expiration", dt.datetime(2030, 1, 1, tzinfo=dt.UTC), REQUEST_PARSER),
    ("expiration", 1.0, REQUEST_PARSER),
    ("comment", 5, TEXTS),
    ("comment", "c" * 30, TEXTS),
    ("comment", "\N{OX}" * 15, TEXTS),  # letters count as UTF-16 has them
    ("position", "1", REQUEST_PARSER),
    ("position_by", 1.0, REQUEST_PARSER),
)


def _of_request(name: str) -> tuple[Row, ...]:
    return (
        asked(name, error=COUNT),
        asked(name, BUY, BUY, error=COUNT),
        asked(name, BUY, volume=1.0, error=UNNAMED),
        asked(name, [1], source=REQUEST_PARSER),
        asked(name, None, source=REQUEST_PARSER),
    )


def _checked(fact: str, source: str, **changes: Any) -> Row:
    return answers(fact, lambda m: m.order_check(buy(**changes)).retcode, 0, source)


ORDERS: Final = (
    *_of_request("order_check"),
    *_of_request("order_send"),
    *(
        asked("order_send", buy(**{key: value}), error=wrong(key), source=source)
        for key, value, source in WRONG_FIELDS
    ),
    *(
        broken(
            "order_send",
            OverflowError,
            buy(**{key: value}),
            error=wrong(key),
            source=REQUEST_PARSER,
        )
        for key, value in (
            ("magic", -1),
            ("position", 2**64),
            ("type", 2**32),
            ("type_time", -1),
            ("expiration", 2**63),
        )
    ),
    asked(
        "order_send",
        {"tp": 0, "volume": 1, "action": None},
        error=wrong("action"),
        source=REQUEST_PARSER,
    ),
    asked("order_send", buy(sl=0), error=wrong("sl"), state="fresh"),
    asked("order_check", buy(sl=0), error=wrong("sl"), state="fresh"),
    _checked("order_check of a good order", aiomql("test_order_check")),
    _checked("numpy's float64 is a float", NUMBERS, volume=np.float64(0.1)),
    _checked("a bool is an int", REQUEST_PARSER, action=True),
    _checked("a comment of 29 letters", TEXTS, comment="c" * 29),
    _checked("unknown fields mean nothing", REQUEST_PARSER, nonsense=object()),
    answers(
        "order_check says Done",
        lambda m: m.order_check(BUY).comment,
        "Done",
        docs("mt5ordercheck_py"),
    ),
    answers(
        "order_send of a good order",
        lambda m: m.order_send(BUY).retcode,
        10009,
        aiomql("test_order_send"),
    ),
    answers(
        "order_send of a good order says so",
        lambda m: m.order_send(BUY).comment,
        "Request executed",
        docs("mt5ordersend_py"),
    ),
    answers(
        "the fields of a request may be keywords",
        lambda m: m.order_send(**BUY).retcode,
        10009,
        code("order_send"),
    ),
    answers(
        "requests are numbered",
        lambda m: m.order_send(BUY).request_id < m.order_send(BUY).request_id,
        True,
        docs("mt5ordersend_py"),
    ),
    answers(
        "a request of nothing but zeros is answered, not refused here",
        lambda m: m.order_send({}).retcode > 10009,
        True,
        REQUEST_PARSER,
    ),
)


def _raised(call: Any) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one is the fact
        return type(error).__name__
    return "nothing"


RESULTS: Final = (
    answers(
        "the answer has the request in it, as a struct that _asdict leaves alone",
        lambda m: type(m.order_send(BUY)._asdict()["request"]).__name__,
        "TradeRequest",
        AS_DICT,
    ),
    answers(
        "the request comes back as it was understood",
        lambda m: m.order_send(BUY).request._asdict(),
        Fits("the request", lambda v: len(v) == 17 and {key: v[key] for key in BUY} == BUY),
        docs("mt5ordersend_py"),
    ),
    answers(
        "structs are tuples with names",
        lambda m: (lambda one: one == tuple(one) and one[1] == one.bid)(  # noqa: PLC3002
            m.symbol_info_tick("EURUSD")
        ),
        True,
        STRUCTS,
    ),
    answers(
        "structs are not namedtuples",
        lambda m: [hasattr(m.account_info(), one) for one in ("_fields", "_replace", "_make")],
        [False, False, False],
        STRUCTS,
    ),
    answers(
        "the number of fields is known",
        lambda m: (m.symbol_info("EURUSD").n_fields, len(m.account_info())),
        (96, 28),
        STRUCTS,
    ),
    answers(
        "structs show their names",
        lambda m: repr(m.symbol_info_tick("EURUSD")).startswith("Tick(time="),
        True,
        docs("mt5symbolinfotick_py"),
    ),
    answers(
        "structs do not pickle",
        lambda m: _raised(lambda: pickle.dumps(m.account_info())),
        "PicklingError",
        STRUCTS,
    ),
    answers(
        "structs can be copied",
        lambda m: (lambda one: copy.copy(one) == one)(m.terminal_info()),  # noqa: PLC3002
        True,
        STRUCTS,
    ),
    answers(
        "fields cannot be changed",
        lambda m: _raised(lambda: setattr(m.account_info(), "balance", 1.0)),
        "AttributeError",
        STRUCTS,
    ),
)

ROWS: Final[tuple[Row, ...]] = (*PRICES, *CALCULATIONS, *ORDERS, *RESULTS)
