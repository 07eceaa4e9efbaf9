"""The MetaTrader5 package's functions over any terminal, to be called exactly as the real ones.

`module_functions(terminal)` gives what `import MetaTrader5` would: callables
that behave like C builtins (stored on a class they do not bind, keywords are
refused or ignored as the package does it, wrong arguments are told through
`last_error()`), and the three functions that the package has in Python.
`CONSTANTS` and `TYPES` are the rest of its names.

A terminal is asked with plain values only (`terminals.arguments`), so that it
may live in another process. How exact this is: docs/module.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn

from defence.errors import Invalid
from terminals import constants, structs
from terminals.arguments import broken_call, read
from terminals.c_values import BadArgumentError
from terminals.functions import FUNCTIONS, refused_value
from terminals.helpers import helpers_over

VERSION: Final = "5.0.6231"
CONSTANTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        name: value
        for name, value in vars(constants).items()
        if name.isupper() and name not in constants.OURS and type(value) is int
    }
)
TYPES: Final[Mapping[str, type[structs.Struct]]] = MappingProxyType(
    {one.__name__: one for one in structs.Struct.__subclasses__()}
)


class BuiltinFunction:
    """A callable that looks like a C function: it does not bind, and shows no signature."""

    def __init__(self, name: str, doc: str, call: Callable[..., Any]) -> None:
        """Take the function that does the work."""
        self.__name__ = self.__qualname__ = name
        self.__module__ = "MetaTrader5._core"
        self.__doc__ = doc
        self.__text_signature__ = None
        self._call = call

    def __call__(self, *unnamed: Any, **named: Any) -> Any:
        """Call the function."""
        return self._call(unnamed, named)

    def __repr__(self) -> str:
        """Look as a builtin does."""
        return f"<built-in function {self.__name__}>"

    def __reduce__(self) -> str:
        """Copy as a builtin does: it stays the same."""
        return self.__name__

    @property
    def __signature__(self) -> NoReturn:
        """Tell `inspect` that there is none."""
        raise ValueError(f"no signature found for builtin {self!r}")


class _Module:
    """The state that the package keeps for the process: how the newest call ended, if it did not
    get as far as the terminal."""

    def __init__(self, terminal: Any) -> None:
        self._terminal = terminal
        self._refused: tuple[int, str] | None = None

    def function(self, name: str) -> BuiltinFunction:
        method = getattr(self._terminal, name, None)
        if not callable(method):
            raise Invalid(
                f"the terminal has no {name}",
                field="terminal",
                value=type(self._terminal).__name__,
                remedy=f"it needs every function of the package: {', '.join(FUNCTIONS)}",
            )
        if name == "last_error":
            return BuiltinFunction(name, FUNCTIONS[name], self._last_error(method))
        return BuiltinFunction(name, FUNCTIONS[name], self._plain(name, method))

    def _last_error(self, method: Callable[[], Any]) -> Callable[..., Any]:
        def call(unnamed: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
            read("last_error", unnamed, named)
            return method() if self._refused is None else self._refused

        return call

    def _plain(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(unnamed: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
            try:
                asked = read(name, unnamed, named)
            except BadArgumentError as refusal:
                if name == "initialize":
                    self._terminal.shutdown()  # the package leaves its old connection first
                self._refused = refusal.error
                if refusal.cause is not None:
                    raise broken_call(name, refusal.cause) from refusal.cause
                return refused_value(name)
            self._refused = None
            return method(*asked.unnamed, **asked.named)

        return call


def module_functions(terminal: Any) -> dict[str, Callable[..., Any]]:
    """Return every function of the package by its name, over a terminal that has them as methods.

    All of them share one `last_error()`, as in the package. Raises Invalid if
    the terminal lacks one.
    """
    module = _Module(terminal)
    functions: dict[str, Callable[..., Any]] = {name: module.function(name) for name in FUNCTIONS}
    functions.update(helpers_over(functions))
    return functions
