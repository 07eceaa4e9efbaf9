"""What runs in the server: plain Python, one step for a call and its error, nothing too late."""

from __future__ import annotations

import ast
import functools
import json
import math
import struct
import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.errors import Invalid
from terminals.bridge.connection import far_side_text
from terminals.bridge.far_side import UNDER_WAY, FarSide
from terminals.bridge.packed import Packed, unpacked
from terminals.structs import TradePosition
from terminals.worker.goods import Unpacking

OLDEST = (3, 8)
LIBRARIES = {"__future__", "functools", "json", "os", "struct", "sys", "time", "typing"}


class Package(ModuleType):
    """Stands in for MetaTrader5; what is called answers what was put in."""

    def __init__(self, **answers: Any) -> None:
        super().__init__("MetaTrader5")
        self.error = (1, "Success")
        self.sent: list[Any] = []
        self.account = TradePosition()  # replaced where an account is looked at
        for name, answer in answers.items():
            setattr(self, name, lambda *_, answer=answer, **__: answer)

    def last_error(self) -> tuple[int, str]:
        return self.error

    def order_send(self, request: Any) -> Any:
        self.sent.append((request, len(vars(self)[UNDER_WAY])))
        return None


class Account:
    def __init__(self, login: int, server: str) -> None:
        self.login, self.server = login, server


def far_side(package: Package, monkeypatch: pytest.MonkeyPatch) -> FarSide:
    monkeypatch.setitem(sys.modules, "MetaTrader5", package)
    made = FarSide()
    assert ask(made, "hello").value["orders"] == 0
    return made


def ask(side: FarSide, call: str, *arguments: Any, **message: Any) -> Packed:
    expected, latest = message.pop("expected", None), message.pop("latest", None)
    return unpacked(side.answer(json.dumps([call, arguments, message, expected, latest])))


# -- the text


def test_any_python_from_3_8_on_can_read_it_and_it_needs_nothing_else() -> None:
    tree = ast.parse(far_side_text(), feature_version=OLDEST)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
        # Newer than 3.8 without a syntax of its own: arguments and operators.
        assert not isinstance(node, ast.keyword) or node.arg != "strict"
    assert imported <= LIBRARIES | {"MetaTrader5"}
    assert far_side_text().isascii()


def test_it_is_run_in_a_bare_namespace() -> None:
    namespace: dict[str, Any] = {}
    exec(far_side_text(), namespace)  # noqa: S102 - as the server does it
    answer = unpacked(namespace["dtms_far_side"]('["last_error", [], {}, null, null]'))
    assert not answer.ok, "without a hello there is no package"


# -- answers

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.integers(-(2**63), 2**63 - 1)
COLUMNS = st.sampled_from(
    [
        NUMBERS,
        st.integers(-(2**31), 2**31),
        st.floats(),
        st.text(st.characters()),
        st.booleans(),
        st.booleans() | st.integers(0, 1),
        st.integers(0, 1) | st.sampled_from([0.0, 1.0]),
        NUMBERS | st.floats() | st.text(max_size=3) | st.none(),
    ]
)


@st.composite
def rows(draw: st.DrawFn) -> list[TradePosition]:
    columns = [draw(COLUMNS) for _ in TradePosition.__annotations__]
    count = draw(st.integers(1, 4))
    values = [[draw(column) for column in columns] for _ in range(count)]
    return [tuple.__new__(TradePosition, row) for row in values]


@settings(max_examples=40)
@given(found=rows())
def test_rows_arrive_value_by_value(found: list[TradePosition]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        side = far_side(Package(positions_get=tuple(found)), patch)
        first, second = ask(side, "positions_get"), ask(side, "positions_get")
    unpacking = Unpacking()
    assert first.shape is not None
    assert second.shape is None, "fields are named once"
    unpacking.learn("positions_get", first.shape)
    for answer in (first, second):
        there = unpacking.unpack("positions_get", answer.value)
        assert [[same(v) for v in row] for row in there] == [[same(v) for v in r] for r in found]
        assert {type(row) for row in there} == {TradePosition}


def same(value: Any) -> Any:
    """A value with its type; nan is nan."""
    return type(value), "nan" if isinstance(value, float) and math.isnan(value) else value


def test_rows_of_c_are_named_by_their_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the package's own: struct sequences, with no `_fields`."""
    moment = time.gmtime(0)
    answer = ask(far_side(Package(account_info=moment), monkeypatch), "account_info")
    assert answer.shape is not None
    assert answer.shape[0][:3] == ("tm_year", "tm_mon", "tm_mday")
    assert answer.value == tuple(moment)


@pytest.mark.parametrize("odd", [(time.gmtime(0), TradePosition()), (TradePosition(), 5), object()])
def test_what_are_no_rows_is_refused(odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask(far_side(Package(positions_get=odd), monkeypatch), "positions_get")
    assert not answer.ok
    assert answer.value[0] == "TypeError"


def test_a_call_and_its_error_are_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client's call on another thread must not put its error under ours.

    Both calls here are C, as the package's are, and the first is so long that
    a second thread, which writes an error of its own again and again, has asked
    for its turn meanwhile.
    """
    state: dict[Any, int] = dict.fromkeys(range(20_000), 0) | {"error": 0}
    package: Any = Package()
    package.positions_get = functools.partial(state.update, {**state, "error": 5})
    package.last_error = functools.partial(state.__getitem__, "error")
    monkeypatch.setitem(sys.modules, "MetaTrader5", package)
    side = FarSide()
    side._hello()
    stop = threading.Event()

    def another() -> None:
        while not stop.is_set():
            state["error"] = 7

    thread = threading.Thread(target=another)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        errors = {side._do("positions_get", (), {})[1] for _ in range(200)}
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    assert errors == {5}


def test_an_exception_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """RPyC would send its trace, which has the arguments, and write it into its log."""

    def wrong(**_: Any) -> None:
        raise KeyError("so")

    package: Any = Package()
    package.initialize = wrong
    answer = ask(far_side(package, monkeypatch), "initialize", password="secret")
    assert (answer.ok, answer.value) == (False, ("KeyError", "'so'"))


# -- orders


def test_an_order_that_comes_too_late_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package()
    side = far_side(package, monkeypatch)
    now, wall = time.monotonic(), time.time()
    for latest in ([now - 0.001, wall + 60], [now + 60, wall - 0.001]):
        late = ask(side, "order_send", {}, latest=latest)
        assert (late.ok, late.value, late.error[0]) == (True, None, -10004)
        assert "too late" in late.error[1]
    assert package.sent == []
    assert ask(side, "order_send", {"a": 1}, latest=[now + 60, wall + 60]).error == (1, "Success")
    assert package.sent == [({"a": 1}, 1)]
    assert vars(package)[UNDER_WAY] == [], "it is over"


@pytest.mark.parametrize(
    ("expected", "found", "says"),
    [
        ([5, "S"], Account(5, "S"), None),
        ([None, "S"], Account(6, "S"), None),
        ([5, None], Account(5, "T"), None),
        ([5, "S"], Account(6, "S"), "login is 6, expected 5"),
        ([5, "S"], Account(5, "T"), "server is 'T', expected 'S'"),
        ([5, "S"], None, "the account cannot be read"),
        (None, None, None),
    ],
)
def test_the_account_is_looked_at_right_before_the_order(
    expected: Any, found: Any, says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Package(account_info=found)
    answer = ask(far_side(package, monkeypatch), "order_send", {}, expected=expected)
    assert len(package.sent) == (says is None)
    if says is not None:
        assert answer.error[0] == -10004
        assert says in answer.error[1]


def test_an_order_that_is_still_checked_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    package: Any = Package()
    heard = []

    def look() -> Account:
        heard.append(ask(FarSide(), "hello").value["orders"])
        return Account(5, "S")

    package.account_info = look
    ask(far_side(package, monkeypatch), "order_send", {}, expected=[5, "S"])
    assert heard == [1]


def test_another_connection_hears_of_an_order_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package()
    side = far_side(package, monkeypatch)
    begun, goes_on = threading.Event(), threading.Event()

    def slow(request: Any) -> None:
        begun.set()
        goes_on.wait()
        raise OSError("it broke")

    package.order_send = slow  # type: ignore[method-assign]
    thread = threading.Thread(target=ask, args=(side, "order_send", {}))
    thread.start()
    begun.wait()
    assert ask(FarSide(), "hello").value["orders"] == 1
    goes_on.set()
    thread.join()
    assert ask(FarSide(), "hello").value["orders"] == 0


# -- damage


@given(data=st.binary(max_size=60) | st.binary(max_size=60).map(lambda b: struct.pack("<I", 9) + b))
def test_any_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(Invalid):
        unpacked(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
HEADS = JSON | st.tuples(
    st.booleans(),
    JSON | st.tuples(st.sampled_from(["plain", "row", "rows", "array", "x"]), JSON, JSON, JSON),
    JSON | st.just([1, "Success"]),
    st.lists(st.floats(), min_size=2, max_size=2) | JSON,
)


@given(head=HEADS, rest=st.binary(max_size=20))
def test_an_answer_that_makes_no_sense_is_damage_or_plain(head: Any, rest: bytes) -> None:
    text = json.dumps(head).encode()
    try:
        found = unpacked(struct.pack("<I", len(text)) + text + rest)
    except Invalid:
        return
    assert type(found.ok) is bool
    assert all(map(math.isfinite, found.clocks))
    assert isinstance(found.error, tuple)


def packed_head(told: Any, rest: bytes = b"") -> bytes:
    text = json.dumps([True, told, [1, "Success"], [0.5, 0.5]]).encode()
    return struct.pack("<I", len(text)) + text + rest


@pytest.mark.parametrize(
    ("told", "rest"),
    [
        (["rows", None, 1, ["q"]], b"1234567"),
        (["rows", None, 1, ["q"]], b"123456789"),
        (["rows", None, 2, ["q", [1]]], bytes(16)),
        (["rows", None, 2**40, ["q"]], bytes(16)),
        (["rows", None, -1, []], b""),
        (["rows", None, 1, []], b""),
        (["rows", None, 0, ["q"]], b""),
        (["rows", None, True, [[1]]], b""),
        (["rows", None, 1, ["O"]], bytes(8)),
        (["rows", None, 1, [5]], b""),
        (["rows", ["a", None], 1, [[1]]], b""),
        (["rows", [["a"], 5], 1, [[1]]], b""),
        (["row", None, 5], b""),
        (["row", None, []], b"x"),
        (["row", None], b""),
        (["plain", 1], b"x"),
        (["plain", 2**64], b""),
        (["row", None, [10**400]], b""),
        (["rows", None, 1, [[-(2**63) - 1]]], b""),
        (["array", [["a", "O"]]], bytes(8)),
        (["array", [["a", "<i8"]]], bytes(7)),
        (["array", [["a", "nonsense"]]], bytes(8)),
        (["array", 5], bytes(8)),
        (["array", [5]], bytes(8)),
        ([["rows"], None, 0, []], b""),
        ([], b""),
        ({}, b""),
    ],
)
def test_each_part_of_an_answer_is_checked(told: Any, rest: bytes) -> None:
    with pytest.raises(Invalid):
        unpacked(packed_head(told, rest))


def test_a_whole_number_of_64_bits_is_none_too_large() -> None:
    numbers = (2**64 - 1, -(2**63), 10**18, -(10**17))
    assert unpacked(packed_head(["plain", numbers])).value == numbers


def test_deep_nesting_and_long_numbers_are_damage() -> None:
    deep = b"[" * 100_000
    with pytest.raises(Invalid):
        unpacked(struct.pack("<I", len(deep)) + deep)
    long = b"[true, [" + b"9" * 5_000 + b"], [], [0.5, 0.5]]"
    with pytest.raises(Invalid):
        unpacked(struct.pack("<I", len(long)) + long)
