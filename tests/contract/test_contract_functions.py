"""The functions as objects, and the three that the package has in Python."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import takewhile
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from defence.errors import Invalid
from terminals import GeneratedMarket, SimulatedTerminal
from terminals.arguments import READERS, read
from terminals.c_values import BadArgumentError
from terminals.functions import FUNCTIONS, NOARGS
from terminals.helpers import helpers_over
from terminals.masks import in_group
from terminals.module import CONSTANTS, TYPES, module_functions
from terminals.structs import OrderSendResult, Tick, TradePosition

START = 1_700_000_000.0
REQUOTE, PRICE_OFF, DONE, REJECT = 10004, 10021, 10009, 10006


@pytest.fixture(scope="module")
def functions() -> dict[str, Callable[..., Any]]:
    terminal = SimulatedTerminal(market=GeneratedMarket(7, START, ("EURUSD",)), now=lambda: START)
    found = module_functions(terminal)
    assert found["initialize"]()
    return found


def test_functions_stored_on_a_class_do_not_bind(functions: dict[str, Any]) -> None:
    class Client:
        tick = functions["symbol_info_tick"]
        total = functions["positions_total"]

    assert Client().total() == 0
    assert Client().tick("EURUSD").bid > 0
    assert not hasattr(functions["login"], "__get__")


def test_functions_look_like_those_of_c(functions: dict[str, Any]) -> None:
    one = functions["symbol_info"]
    assert repr(one) == "<built-in function symbol_info>"
    assert (one.__name__, one.__qualname__) == ("symbol_info", "symbol_info")
    assert one.__module__ == "MetaTrader5._core"
    assert one.__doc__.startswith("symbol_info(symbol)\n\n")
    assert inspect.getdoc(one) == one.__doc__
    assert copy.copy(one) is copy.deepcopy(one) is one
    with pytest.raises(ValueError, match="no signature found for builtin"):
        inspect.signature(one)


def test_every_function_is_there(functions: dict[str, Any]) -> None:
    assert set(functions) == {*FUNCTIONS, "Buy", "Sell", "Close"}
    assert set(READERS) | NOARGS == set(FUNCTIONS)
    assert len(CONSTANTS) == 223
    assert len(TYPES) == 11


def test_a_terminal_without_all_functions_is_refused() -> None:
    with pytest.raises(Invalid, match="has no initialize"):
        module_functions(SimpleNamespace())


def test_errors_of_arguments_and_of_the_terminal_are_one(functions: dict[str, Any]) -> None:
    assert functions["symbol_info"]("NOPE") is None
    assert functions["last_error"]()[0] == -4
    assert functions["symbol_info"](5) is None
    assert functions["last_error"]() == (-2, "Invalid arguments")
    assert functions["symbol_info"]("NOPE") is None
    assert functions["last_error"]()[0] == -4


def test_wrong_arguments_never_reach_the_terminal() -> None:
    asked: list[str] = []
    terminal = SimpleNamespace(
        **{name: lambda *_, name=name, **__: asked.append(name) for name in FUNCTIONS}
    )
    found = module_functions(terminal)
    found["order_send"]({"volume": 1})
    found["positions_get"]("EURUSD")
    found["last_error"]()
    assert asked == []
    found["initialize"](path=5)
    assert asked == ["shutdown"]


@given(st.sampled_from(sorted(READERS)), st.data())
def test_what_was_read_can_be_read_again(name: str, data: st.DataObject) -> None:
    values: st.SearchStrategy[Any] = st.one_of(
        st.sampled_from(["EURUSD", "*", "", 0, 1, 5, True, None, 1.5, 4e9, float("nan"), {}]),
        st.just({"action": 1, "volume": 0.1, "symbol": "EURUSD", "tp": 0, "comment": "x"}),
    )
    keys = ["ticket", "symbol", "group", "position", "login", "server", "path", "volume"]
    unnamed = data.draw(st.lists(values, max_size=5))
    named = data.draw(st.dictionaries(st.sampled_from(keys), values, max_size=2))
    try:
        once = read(name, tuple(unnamed), named)
    except (BadArgumentError, TypeError):
        return
    assert repr(read(name, once.unnamed, once.named)) == repr(once)
    plain = (str, int, float, bool, dict)
    assert all(type(one) in plain for one in (*once.unnamed, *once.named.values()))


def fits_without_backing_up(name: str, mask: str) -> bool:
    """What the package's masks fit, told part by part: what was compared is not looked at again."""
    first, *others = mask.split("*")
    if not others:
        return mask == name != ""
    if not name.startswith(first):
        return False
    rest = name[len(first) :]
    for nth, part in enumerate(others, 1):
        alike = ""
        while rest and alike != part:
            pairs = zip(part, rest, strict=False)
            alike = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            rest = rest[len(alike) or 1 :]
            if nth == len(others) and rest:  # the last part is at the end of the name
                alike = ""
        if alike != part:
            return False
    return True


@given(st.text("AB*", max_size=6), st.text("AB", min_size=1, max_size=7))
@example("*AA", "AAA")
@example("*AAB", "AAAB")
@example("*AB*", "AAB")
@example("**A", "BA")
def test_masks_fit_what_they_should(mask: str, name: str) -> None:
    """Whatever fits is a fit in the usual sense; the package misses some that it backs up for."""
    fits = in_group(name, mask)
    assert fits is fits_without_backing_up(name, mask)
    if fits:
        assert fnmatchcase(name, mask)
    elif fnmatchcase(name, mask):
        assert "*" in mask


def test_a_mask_of_more_than_255_letters_goes_on_as_the_next() -> None:
    long = "A" * 255
    assert in_group(long, long)
    assert in_group(long, f"{long}B")
    assert in_group("B", f"{long}B")
    assert not in_group(f"{long}B", f"{long}B")


@pytest.mark.parametrize(
    ("group", "inside"),
    [
        ("", False),
        (",,", False),
        ("EURUSD", True),
        ("EUR*", True),
        ("*USD", True),
        ("*U*U*", True),
        ("E*D", True),
        ("*RUS*", True),
        ("*USDX*", False),
        ("!EURUSD,*", False),
        ("!!EUR*,*", False),
        ("*,!GBP*", True),
        ("!GBP*", False),
        ("GBPUSD , EURUSD ", True),
        ("*EURUSD", True),
    ],
)
def test_groups(group: str, inside: bool) -> None:
    assert in_group("EURUSD", group) is inside


def test_a_mask_does_not_back_up() -> None:
    assert not in_group("AAAB", "*AAB")
    assert in_group("AAB", "*AAB")


class Script:
    """Functions that answer from a list, and note what was sent."""

    def __init__(self, *retcodes: int | None, positions: int = 0) -> None:
        self.retcodes = list(retcodes)
        self.sent: list[dict[str, Any]] = []
        self.quoted = 0
        self.positions = tuple(
            TradePosition(ticket=7 + n, type=n % 2, volume=0.1 + n) for n in range(positions)
        )

    def order_send(self, request: dict[str, Any]) -> OrderSendResult | None:
        self.sent.append(request)
        retcode = self.retcodes.pop(0)
        return None if retcode is None else OrderSendResult(retcode=retcode)

    def symbol_info_tick(self, _: str) -> Tick:
        self.quoted += 1
        return Tick(bid=1.0, ask=2.0)

    def positions_get(self, **filters: Any) -> tuple[TradePosition, ...]:
        self.filters = filters
        return self.positions

    def helpers(self) -> Any:
        names = ("order_send", "symbol_info_tick", "positions_get")
        return SimpleNamespace(**helpers_over({name: getattr(self, name) for name in names}))


def test_buy_and_sell_send_what_the_package_sends() -> None:
    script = Script(DONE, DONE, DONE)
    m = script.helpers()
    m.Buy("EURUSD", 0.1)
    m.Sell("EURUSD", 0.2, comment="c", ticket=9)
    m.Buy("EURUSD", 0.3, 1.5)
    base = {"action": 1, "symbol": "EURUSD", "deviation": 10}
    assert script.sent == [
        {**base, "volume": 0.1, "type": 0, "price": 2.0},
        {**base, "volume": 0.2, "type": 1, "price": 1.0, "comment": "c", "position": 9},
        {**base, "volume": 0.3, "type": 0, "price": 1.5},
    ]
    assert script.quoted == 2
    assert not {"type_filling", "type_time", "magic"} & set().union(*script.sent)


@pytest.mark.parametrize("name", ["Buy", "Sell"])
@pytest.mark.parametrize(
    ("retcodes", "last", "tries"),
    [
        ((REQUOTE, PRICE_OFF, DONE), DONE, 3),
        ((REJECT,), REJECT, 1),
        ((REQUOTE,) * 11, REQUOTE, 10),
        ((REQUOTE, None, DONE), None, 2),
    ],
)
def test_how_often_they_try(
    name: str, retcodes: tuple[int | None, ...], last: int | None, tries: int
) -> None:
    script = Script(*retcodes)
    answer = getattr(script.helpers(), name)("EURUSD", 0.1)
    assert (None if answer is None else answer.retcode) == last
    assert len(script.sent) == tries


@pytest.mark.parametrize(
    ("retcodes", "positions", "answer"),
    [
        ((), 0, False),
        ((DONE,), 1, True),
        ((DONE, DONE), 2, True),
        ((DONE, REJECT), 2, "Partially"),
        ((REJECT, REJECT), 2, False),
        ((REQUOTE, DONE), 1, True),
        ((REQUOTE,) * 10, 1, False),
        ((None,), 1, None),
        ((DONE, None), 2, None),
    ],
)
def test_close(retcodes: tuple[int | None, ...], positions: int, answer: object) -> None:
    script = Script(*retcodes, positions=positions)
    found = script.helpers().Close("EURUSD")
    assert (type(found), found) == (type(answer), answer)
    assert script.filters == {"symbol": "EURUSD"}
    for number, request in enumerate(script.sent[: len(script.positions)]):
        if REQUOTE not in retcodes:
            assert (request["position"], request["type"]) == (7 + number, 1 - number % 2)
            assert request["price"] == (1.0 if number % 2 == 0 else 2.0)


def test_close_partially_says_so() -> None:
    assert Script(DONE, REJECT, positions=2).helpers().Close("EURUSD") == "Partially"
    script = Script(DONE, positions=1)
    assert script.helpers().Close("EURUSD", ticket=7, comment="out") is True
    assert script.filters == {"ticket": 7}
    assert script.sent[0]["comment"] == "out"


def test_without_a_quote_or_positions_they_raise_as_the_package_does() -> None:
    none = helpers_over({"symbol_info_tick": lambda _: None, "positions_get": lambda **_: None})
    with pytest.raises(AttributeError):
        none["Buy"]("EURUSD", 0.1)
    with pytest.raises(TypeError):
        none["Close"]("EURUSD")
