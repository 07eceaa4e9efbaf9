"""Rows, arrays and errors cross a process border and are what they were."""

from __future__ import annotations

import struct
import time
from collections import namedtuple
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defence.errors import Conflict, DtmsError, Invalid, NotFound, TerminalRefused
from terminals import structs
from terminals.rows import Unreadable, account_from, position_from
from terminals.worker.frames import Frames, frame
from terminals.worker.goods import (
    MANY,
    MOST_ROWS,
    ONE,
    Packing,
    Unpacking,
    check_note,
    error_of,
    last_error_of,
    packed_error,
)


def across(value: Any) -> Any:
    return next(iter(Frames().feed(frame(value))))


class Border:
    """Both sides, and the wire between."""

    def __init__(self) -> None:
        self.packing, self.unpacking = Packing(), Unpacking()
        self.shapes = 0

    def carry(self, call: str, answer: Any) -> Any:
        packed, shape = across(self.packing.pack(call, answer))
        if shape is not None:
            self.shapes += 1
            self.unpacking.learn(call, shape)
        return self.unpacking.unpack(call, packed)


def filled(kind: type[structs.Struct], salt: int = 0) -> Any:
    """A row whose every field has a value of its own."""
    values: dict[str, Any] = {}
    for nth, (name, default) in enumerate(kind()._asdict().items(), 1 + salt):
        if isinstance(default, bool):
            values[name] = bool(nth % 2)
        elif isinstance(default, structs.Struct):
            values[name] = filled(type(default), nth)
        else:
            values[name] = type(default)(nth)
    return kind(**values)


@pytest.mark.parametrize("call", ONE)
def test_one_row(call: str) -> None:
    border, row = Border(), filled(ONE[call])
    found = border.carry(call, row)
    assert found == row
    assert type(found) is ONE[call]
    if "request" in row._asdict():
        assert type(found.request) is structs.TradeRequest
        assert found.request == row.request
    assert [type(one) for one in found] == [type(one) for one in row]


@pytest.mark.parametrize("call", MANY)
def test_many_rows_name_their_fields_once(call: str) -> None:
    border = Border()
    assert border.carry(call, ()) == ()
    rows = tuple(filled(MANY[call], salt) for salt in range(3))
    for _ in range(2):
        found = border.carry(call, rows)
        assert found == rows
        assert {type(one) for one in found} == {MANY[call]}
    assert border.shapes == 1


@pytest.mark.parametrize("answer", [None, True, False])
def test_what_is_no_row(answer: Any) -> None:
    assert Border().carry("account_info", answer) is answer


def foreign(kind: type[structs.Struct], names: tuple[str, ...], row: Any) -> Any:
    """The row as another package's own type has it."""
    made: Any = namedtuple(kind.__name__, names)
    return made(*(getattr(row, name, 12345) for name in names))


def test_a_newer_package_with_more_fields_in_another_order() -> None:
    row = filled(structs.TradePosition)
    names = ("brand_new", *reversed(structs.TradePosition()._asdict()), "newer_still")
    found = Border().carry("positions_get", (foreign(structs.TradePosition, names, row),))[0]
    for name, value in row._asdict().items():
        assert getattr(found, name) == value
    assert found.brand_new == 12345
    assert tuple(found._asdict()) == names
    usable = foreign(
        structs.TradePosition,
        names,
        structs.TradePosition(ticket=1, identifier=1, symbol="X", volume=1.0, price_open=1.0),
    )
    assert position_from(Border().carry("positions_get", (usable,))[0]).ticket == 1


def test_a_field_that_is_missing_is_missed_and_not_nought() -> None:
    names = tuple(name for name in structs.AccountInfo()._asdict() if name != "equity")
    account = structs.AccountInfo(login=1, server="S", currency="USD", margin_mode=2, leverage=1)
    assert account_from(Border().carry("account_info", account)).equity == 0.0
    found = Border().carry("account_info", foreign(structs.AccountInfo, names, account))
    with pytest.raises(AttributeError):
        _ = found.equity
    with pytest.raises(Unreadable, match="equity"):
        account_from(found)


def test_a_row_of_a_type_that_c_has_made() -> None:
    found = Border().carry("symbol_info_tick", time.gmtime(0))
    assert (found.tm_year, found.tm_yday) == (1970, 1)


WHOLE = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, 0, 1])
CELL = st.one_of(WHOLE, st.floats(), st.text(max_size=5), st.booleans(), st.none())
COLUMN = st.one_of(
    *(
        st.lists(one, min_size=3, max_size=3)
        for one in (
            WHOLE,
            st.floats(),
            st.sampled_from([0.0, -0.0]),
            st.sampled_from(["", "a"]),
            CELL,
        )
    )
)


def shown(value: Any) -> Any:
    """A value and its type; numbers by the bits of a float, as those of one column become alike."""
    if isinstance(value, int | float):
        return struct.pack("d", value) if abs(value) < 2**53 or value != value else float(value)
    return type(value), value


@given(st.lists(COLUMN, min_size=19, max_size=19))
def test_columns_of_any_values(columns: list[list[Any]]) -> None:
    kind = structs.TradePosition
    rows = tuple(kind(tuple(row)) for row in zip(*columns, strict=True))
    found = Border().carry("positions_get", rows)
    assert [[shown(one) for one in row] for row in found] == [[shown(o) for o in r] for r in rows]
    for old, new in zip(columns, zip(*found, strict=True), strict=True):
        if len(set(map(type, old))) == 1:
            assert list(map(type, new)) == list(map(type, old))


@pytest.mark.parametrize(
    "columns",
    [
        ((1, 2), (3,)),
        ((1,), (2,), (3,)),
        ((1,),),
        (msgpack.ExtType(2, b"1234567"), (1,)),
        (msgpack.ExtType(3, b"12345678" * 2), (1,)),
        (msgpack.ExtType(4, b"12345678"), (1,)),
        ("a", "b"),
        (5, (1,)),
        ({0: 1}, ()),
        ({-1: 1}, {-1: "a"}),
        ({MOST_ROWS + 1: 1}, {MOST_ROWS + 1: "a"}),
        ({True: 1}, {True: "a"}),
        ({2: 1}, {3: "a"}),
        ({1: 1, 2: 1}, ("a",)),
    ],
)
def test_columns_that_are_none(columns: Any) -> None:
    border = Unpacking()
    border.learn("positions_get", (("ticket", "symbol"), None))
    assert border.unpack("positions_get", (msgpack.ExtType(3, b"\1" + b"\0" * 7), ("a",)))
    with pytest.raises(Invalid, match="no answer of positions_get"):
        border.unpack("positions_get", columns)


def test_rows_of_several_lengths_are_not_sent() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Packing().pack("positions_get", ((1, 2), (1,)))


def test_the_type_may_change_while_it_runs() -> None:
    border = Border()
    border.carry("symbol_info_tick", filled(structs.Tick))
    names = ("ask", "bid", "time")
    found = border.carry("symbol_info_tick", foreign(structs.Tick, names, filled(structs.Tick)))
    assert (found.ask, found.bid) == (3.0, 2.0)
    assert found._asdict() == {"ask": 3.0, "bid": 2.0, "time": 1}


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("account_info", (1, 2, 3)),
        ("account_info", "nonsense"),
        ("account_info", 5),
        ("positions_get", 5),
        ("positions_get", (5,)),
        ("positions_get", ((1, 2),)),
        ("symbol_info", (1,)),
        ("copy_rates_from_pos", msgpack.ExtType(1, b"nonsense")),
        ("copy_rates_from_pos", msgpack.ExtType(1, msgpack.packb(((("a", "O"),), b"12345678")))),
        ("copy_rates_from_pos", msgpack.ExtType(1, msgpack.packb(((("a", "<i8"),), b"123")))),
    ],
)
def test_an_answer_that_is_none_is_refused(call: str, value: Any) -> None:
    unpacking = Unpacking()
    for known, kind in {**ONE, **MANY}.items():
        if known != "symbol_info":  # whose fields were never named
            unpacking.learn(known, (tuple(kind()._asdict()), None))
    with pytest.raises(Invalid) as caught:
        unpacking.unpack(call, value)
    assert caught.value.field == "frame"


@pytest.mark.parametrize(
    "names",
    [
        *(("_replace",), ("no name",), (5,), "text", None),
        *(("count", "index"), ("login", "n_fields"), ("login", "login")),
    ],
)
def test_fields_that_are_no_names_are_refused(names: Any) -> None:
    with pytest.raises(Invalid):
        Unpacking().learn("account_info", (names, None))


RATES = np.dtype([("time", "<i8"), ("open", "<f8"), ("tick_volume", "<u8"), ("spread", "<i4")])


@pytest.mark.parametrize("count", [0, 1, 1000])
@pytest.mark.parametrize("kind", [RATES, np.dtype(RATES.descr, align=True)])
def test_bars(count: int, kind: np.dtype[np.void]) -> None:
    bars = np.zeros(count, dtype=kind)
    bars["time"], bars["open"] = np.arange(count), 1.5
    found = Border().carry("copy_rates_from_pos", bars)
    assert found.dtype.names == kind.names
    for name in kind.names or ():
        assert (found[name] == bars[name]).all()
        assert found[name].dtype == bars[name].dtype
    found["open"] = 2.0  # what the terminal gives may be written to


def test_an_array_of_objects_is_not_sent() -> None:
    with pytest.raises(TypeError):
        Packing().pack("copy_rates_from_pos", np.zeros(1, dtype=[("a", "O")]))


def all_errors(kind: type[DtmsError] = DtmsError) -> list[type[DtmsError]]:
    """Return the tree of `defence.errors`: what others derive from it no worker raises."""
    own = [one for one in kind.__subclasses__() if one.__module__ == kind.__module__]
    return [kind, *(one for child in own for one in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors())
def test_our_errors_stay_what_they_are(kind: type[DtmsError]) -> None:
    error = kind("what", field="where", value=5, remedy="how")
    found = error_of(across(packed_error(error)))
    assert type(found) is kind
    assert str(found) == str(error)
    assert isinstance(found, DtmsError)
    assert (found.field, found.value, found.remedy) == ("where", 5, "how")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError("gone"), ConnectionError),
        (TypeError("wrong"), TypeError),
        (ValueError("wrong"), ValueError),
        (KeyError("odd"), RuntimeError),
        (ZeroDivisionError("odd"), RuntimeError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), RuntimeError),
    ],
)
def test_other_errors(error: Exception, kind: type[Exception]) -> None:
    found = error_of(across(packed_error(error)))
    assert type(found) is kind
    assert str(error) in str(found)


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "eval", "exit", "__import__"])
def test_an_error_s_name_calls_nothing(name: str) -> None:
    assert type(error_of((name, "0"))) is RuntimeError


@pytest.mark.parametrize(
    "packed",
    [
        *(None, (), ("x",), 5, ("a", "b", "c", "d", "e", "f"), ("x", {}), (5, "x")),
        *(("invalid", "what", {}, 1, None), ("invalid", "what", None, 1, 5), ("a", "b", "c")),
    ],
)
def test_an_error_that_is_none(packed: Any) -> None:
    with pytest.raises(Invalid, match="no answer of an error"):
        error_of(packed)


@pytest.mark.parametrize(
    "packed", [None, (), (1,), (1, "a", "b"), ("1", "x"), (1, None), (True, "x"), ("x", {}), "ab"]
)
def test_a_last_error_that_is_none(packed: Any) -> None:
    assert last_error_of((-2, "Invalid")) == (-2, "Invalid")
    with pytest.raises(Invalid, match="no answer of last_error"):
        last_error_of(packed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("brand_new", 1.0), (5, 1.0), (None, None), ("market_time", "x"), ("market_time", None)),
        *(("faults", None), ("faults", (1,)), ("faults", {}), (("faults",), ())),
    ],
)
def test_a_note_that_is_none(name: Any, value: Any) -> None:
    assert check_note("faults", ({},)) == "faults"
    assert check_note("market_time", 5) == "market_time"
    with pytest.raises(Invalid, match="no answer of a note"):
        check_note(name, value)


def test_the_tree_is_complete() -> None:
    assert {Conflict, NotFound, TerminalRefused} <= set(all_errors())
    assert len({kind.code for kind in all_errors()}) == len(all_errors())
