"""What a row of the contract is, and how rows are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from contract_sources import TABLE, code

Module: TypeAlias = Any  # the package's functions as attributes
State: TypeAlias = Literal["fresh", "connected", "holding"]
Error: TypeAlias = tuple[int, str]

SUCCESS: Final = (1, "Success")
INVALID: Final = (-2, "Invalid arguments")
UNNAMED: Final = (-2, "Unnamed arguments not allowed")
COUNT: Final = (-2, "Invalid number of arguments")
NO_IPC: Final = (-10004, "No IPC connection")
NOT_FOUND: Final = (-4, "Terminal: Not found")
FAILED: Final = (-1, "Terminal: Call failed")
OLD: Final = (
    -5,
    (
        "Terminal: Incompatible versions, "
        "please install the latest version of Terminal and Python module"
    ),
)
BUY: Final[dict[str, Any]] = {
    "action": 1,
    "symbol": "EURUSD",
    "volume": 0.1,
    "type": 0,
    "price": 1.0,
    "deviation": 20,
    "magic": 7,
    "comment": "a bot",
    "type_time": 0,
    "type_filling": 0,
}


@dataclass(frozen=True, slots=True)
class Raises:
    """The call raises this."""

    kind: type[BaseException]
    text: str
    cause: type[BaseException] | None = None


@dataclass(frozen=True, slots=True)
class Fits:
    """The answer is of a kind."""

    words: str
    test: Callable[[Any], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fact: what a call answers, and what `last_error()` says after it."""

    fact: str
    call: Callable[[Module], object]
    answer: object  # the very value, or Raises, or Fits
    error: Error | None  # None: no fact about it
    source: str
    state: State = "connected"
    python: bool = False  # Python itself refuses: a rule of C functions, not of the package


def wrong(key: str) -> Error:
    """What is said of a wrong named argument."""
    return (-2, f'Invalid "{key}" argument')


def buy(**changes: Any) -> dict[str, Any]:
    """A market order, changed."""
    return {**BUY, **changes}


def a(kind: type) -> Fits:
    """An answer of exactly that type."""
    return Fits(f"a {kind.__name__}", lambda value: type(value) is kind)


def rows_of(count: int) -> Fits:
    """A tuple of so many rows."""
    return Fits(f"{count} rows", lambda value: type(value) is tuple and len(value) == count)


MANY: Final = Fits("rows", lambda value: type(value) is tuple and len(value) > 1)


def answers(
    fact: str,
    call: Callable[[Module], object],
    answer: object,
    source: str,
    state: State = "connected",
    *,
    error: Error = SUCCESS,
) -> Row:
    """A call that is told in words; it succeeds, if nothing else is said."""
    return Row(fact=fact, call=call, answer=answer, error=error, source=source, state=state)


def asked(
    name: str,
    *unnamed: Any,
    error: Error | None = INVALID,
    answer: object = None,
    source: str | None = None,
    state: State = "connected",
    **named: Any,
) -> Row:
    """A call that tells itself; it is refused, if nothing else is said."""
    shown = [_short(one) for one in unnamed]
    shown += [f"{key}={_short(value)}" for key, value in named.items()]
    return Row(
        fact=f"{name}({', '.join(shown)})" + (" unconnected" if state == "fresh" else ""),
        call=lambda m: getattr(m, name)(*unnamed, **named),
        answer=answer,
        error=error,
        source=code(name) if source is None else source,
        state=state,
    )


def broken(
    name: str,
    cause: type[BaseException],
    *unnamed: Any,
    error: Error | None = INVALID,
    source: str | None = None,
    **named: Any,
) -> Row:
    """A call that leaves an exception behind, which Python reports so."""
    text = f"<built-in function {name}> returned a result with an exception set"
    answer = Raises(SystemError, text, cause)
    return asked(name, *unnamed, error=error, answer=answer, source=source, **named)


def convention(name: str, said: str, *unnamed: Any, **named: Any) -> Row:
    """A call that Python refuses for a C function."""
    row = asked(
        name,
        *unnamed,
        error=None,
        answer=Raises(TypeError, f"MetaTrader5._core.{name}() {said}"),
        source=f"{TABLE}: flags of {name}",
        **named,
    )
    return Row(
        fact=row.fact, call=row.call, answer=row.answer, error=None, source=row.source, python=True
    )


def _short(value: object) -> str:
    if isinstance(value, dict):  # what differs from the usual request
        changes = {key: one for key, one in value.items() if BUY.get(key) is not one}
        shown = f"a request with {changes}" if changes else "a request"
    else:
        shown = repr(value)
    return shown if len(shown) <= 50 else f"{shown[:40]}... ({len(shown)})"
