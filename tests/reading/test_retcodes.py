"""The retcode table of MT5.md, "Trade retcodes: what a guard should do", row by row."""

from __future__ import annotations

import pytest

from defence.retcodes import MEANINGS, Meaning, classify, name_of
from terminals import constants

ROWS = [
    # Done
    (10009, "DONE", Meaning.DONE),
    (10010, "DONE_PARTIAL", Meaning.PARTIAL),
    (10008, "PLACED", Meaning.PLACED),
    (10025, "NO_CHANGES", Meaning.NO_CHANGES),
    # Retry with a FRESH tick, few times
    (10004, "REQUOTE", Meaning.RETRY_FRESH_TICK),
    (10020, "PRICE_CHANGED", Meaning.RETRY_FRESH_TICK),
    (10021, "PRICE_OFF", Meaning.RETRY_FRESH_TICK),
    # OUTCOME UNKNOWN
    (10012, "TIMEOUT", Meaning.OUTCOME_UNKNOWN),
    (10031, "CONNECTION", Meaning.OUTCOME_UNKNOWN),
    (10011, "ERROR", Meaning.OUTCOME_UNKNOWN),
    # Wait then retry
    (10024, "TOO_MANY_REQUESTS", Meaning.WAIT),
    (10028, "LOCKED", Meaning.WAIT),
    (10029, "FROZEN", Meaning.WAIT),
    (10018, "MARKET_CLOSED", Meaning.WAIT),
    (10026, "SERVER_DISABLES_AT", Meaning.CANNOT_ACT),
    (10027, "CLIENT_DISABLES_AT", Meaning.CANNOT_ACT),
    # Change the request, then once more
    (10030, "INVALID_FILL", Meaning.CHANGE_REQUEST),
    (10016, "INVALID_STOPS", Meaning.CHANGE_REQUEST),
    (10014, "INVALID_VOLUME", Meaning.CHANGE_REQUEST),
    (10015, "INVALID_PRICE", Meaning.CHANGE_REQUEST),
    (10038, "INVALID_CLOSE_VOLUME", Meaning.CHANGE_REQUEST),
    (10039, "CLOSE_ORDER_EXIST", Meaning.CHANGE_REQUEST),
    # Already gone; FIFO; close only, long only, short only
    (10036, "POSITION_CLOSED", Meaning.ALREADY_GONE),
    (10045, "FIFO_CLOSE", Meaning.NEVER),
    (10044, "CLOSE_ONLY", Meaning.NEVER),
    (10042, "LONG_ONLY", Meaning.NEVER),
    (10043, "SHORT_ONLY", Meaning.NEVER),
    # Never retry as is
    (10006, "REJECT", Meaning.NEVER),
    (10007, "CANCEL", Meaning.NEVER),
    (10013, "INVALID", Meaning.NEVER),
    (10017, "TRADE_DISABLED", Meaning.NEVER),
    (10019, "NO_MONEY", Meaning.NEVER),
    (10022, "INVALID_EXPIRATION", Meaning.NEVER),
    (10032, "ONLY_REAL", Meaning.NEVER),
    (10033, "LIMIT_ORDERS", Meaning.NEVER),
    (10034, "LIMIT_VOLUME", Meaning.NEVER),
    (10035, "INVALID_ORDER", Meaning.NEVER),
    (10040, "LIMIT_POSITIONS", Meaning.NEVER),
]


@pytest.mark.parametrize(("code", "name", "meaning"), ROWS)
def test_row(code: int, name: str, meaning: Meaning) -> None:
    assert classify(code) is meaning
    assert name_of(code) == name
    assert getattr(constants, f"TRADE_RETCODE_{name}") == code


def test_the_table_has_these_rows_in_this_order_and_no_other() -> None:
    assert list(MEANINGS) == [code for code, _, _ in ROWS]


@pytest.mark.parametrize("code", [0, -1, 1, 10005, 10023, 10041, 10046, 99999])
def test_a_code_that_is_not_in_the_table_is_an_unknown_outcome(code: int) -> None:
    assert classify(code) is Meaning.OUTCOME_UNKNOWN
    assert name_of(code) == "UNLISTED"


def test_every_meaning_has_a_code() -> None:
    assert set(MEANINGS.values()) == set(Meaning)
