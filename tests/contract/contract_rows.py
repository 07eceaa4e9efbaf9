"""The contract of the package, one fact a row, each with its source.

The rows know nothing of the simulator: a row's `call` gets the package's
functions as attributes (`m.symbol_info(...)`), of which nothing is asked but
that there are EURUSD (which buys 0.1 lots at the market) and USDJPY, and no
positions, orders or connection to begin with. `state` says what comes first:
nothing ("fresh"), `initialize()` ("connected"), and a position ("holding").

`run` runs a row against any such functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final

import pytest
import rows_calling
import rows_reading
import rows_trading
from contract_kit import BUY, Fits, Raises, Row

ROWS: Final[tuple[Row, ...]] = (*rows_calling.ROWS, *rows_reading.ROWS, *rows_trading.ROWS)


def run(row: Row, functions: Mapping[str, Callable[..., Any]]) -> None:
    """Bring the functions into a row's state, make its call, and compare."""
    module = SimpleNamespace(**functions)
    if row.state != "fresh":
        assert module.initialize() is True
    if row.state == "holding":
        assert module.order_send(BUY).retcode == 10009
    if isinstance(row.answer, Raises):
        with pytest.raises(row.answer.kind) as caught:
            row.call(module)
        assert str(caught.value) == row.answer.text
        if row.answer.cause is not None:
            assert type(caught.value.__cause__) is row.answer.cause
    else:
        answer = row.call(module)
        if isinstance(row.answer, Fits):
            assert row.answer.test(answer), f"{answer!r} is not {row.answer.words}"
        else:
            assert answer == row.answer
            assert type(answer) is type(row.answer)
    if row.error is not None:
        assert module.last_error() == row.error
