"""RPyC's messages, as far as the bridge speaks them: it asks, and is never asked.

RPyC's own `Connection` serves whatever the other side requests while it waits
for an answer, and makes objects of the references that come in, whose methods
are named by the other side. A guard needs neither. So here are four requests
and two answers, in RPyC's own encoding (`rpyc.core.brine`, plain values only),
and everything else that comes in is damage, which ends the connection.

Written from rpyc 6.0.2, core/protocol.py; RPyC 5 and older put the messages
together in another way.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, TypeAlias

from defence.errors import Invalid, TerminalRefused

Reference: TypeAlias = tuple[str, int, int]  # how the server names an object that it keeps
LONGEST_TEXT: Final = 300  # characters of what the server says of an exception


class RaisedError(Exception):
    """The server's Python raised what the far side does not catch; the text says what."""


class Language:
    """Puts requests together, and takes answers apart."""

    def __init__(self) -> None:
        """Load RPyC. Raises TerminalRefused where it is not installed."""
        try:
            self._brine: Any = import_module("rpyc.core.brine")
            self._consts: Any = import_module("rpyc.core.consts")
        except ImportError as error:
            raise TerminalRefused(
                f"the bridge needs RPyC 6, which cannot be imported: {error}",
                field="terminal",
                value="bridge",
                remedy="pip install 'dtms[bridge]', or pip install mt5linux==1.0.11",
            ) from error

    # -- requests

    def root(self, number: int) -> bytes:
        """Ask for the server's root, which runs code."""
        return self._request(number, self._consts.HANDLE_GETROOT, self._value(()))

    def call_method(self, number: int, root: Reference, name: str, text: str) -> bytes:
        """Call a method of the root with one text."""
        arguments = (self._here(root), self._value(name), self._value((text,)), self._value(()))
        return self._request(number, self._consts.HANDLE_CALLATTR, self._several(arguments))

    def call(self, number: int, function: Reference, text: str) -> bytes:
        """Call a function that the server keeps with one text."""
        arguments = (self._here(function), self._value((text,)), self._value(()))
        return self._request(number, self._consts.HANDLE_CALL, self._several(arguments))

    def _request(self, number: int, handler: int, arguments: tuple[int, Any]) -> bytes:
        message: bytes = self._brine.dump((number, (handler, arguments)))
        return bytes((self._consts.MSG_REQUEST,)) + message

    def _value(self, value: object) -> tuple[int, Any]:
        return self._consts.LABEL_VALUE, value

    def _several(self, values: tuple[tuple[int, Any], ...]) -> tuple[int, Any]:
        return self._consts.LABEL_TUPLE, values

    def _here(self, reference: Reference) -> tuple[int, Any]:
        """Name an object of the server's: local to it."""
        return self._consts.LABEL_LOCAL_REF, reference

    # -- answers

    def number_of(self, body: bytes) -> int:
        """Return which request a message answers. Raises Invalid if it is no answer."""
        return self._parts(body)[1]

    def answer(self, body: bytes) -> object:
        """Return the plain value, or the reference, that a message brings.

        Raises RaisedError for an exception of the server's, Invalid for damage.
        """
        kind, _, content = self._parts(body)
        if kind == self._consts.MSG_EXCEPTION:
            raise RaisedError(_described(content))
        label, value = content if _pair(content) else (None, None)
        if label == self._consts.LABEL_VALUE:
            return value
        if label == self._consts.LABEL_REMOTE_REF:
            return reference(value)
        raise _damage("holds neither a value nor a reference")

    def _parts(self, body: bytes) -> tuple[int, int, Any]:
        kinds = (self._consts.MSG_REPLY, self._consts.MSG_EXCEPTION)
        if not body or body[0] not in kinds:
            # A request: to read, to call, to pickle something of the guard's. Nobody serves it.
            raise _damage("is no answer: the server wants something of the guard")
        try:
            found = self._brine.load(body[1:])
        except Exception as error:  # whatever a foreign decoder makes of damage is damage
            raise _damage(f"cannot be read: {type(error).__name__}") from error
        if not _pair(found) or type(found[0]) is not int:
            raise _damage("has no number")
        return body[0], found[0], found[1]


def reference(value: object) -> Reference:
    """Return how the server names an object. Raises Invalid if it does not."""
    if isinstance(value, tuple) and [type(part) for part in value] == [str, int, int]:
        return value
    raise _damage("holds no reference")


def _pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _described(content: object) -> str:
    """Return the exception's name and its first text; never its trace, which has arguments."""
    name, said = "an exception", ""
    if isinstance(content, tuple) and len(content) == 4:
        kind, arguments = content[0], content[1]
        if _pair(kind) and isinstance(kind[1], str):
            name = kind[1][:LONGEST_TEXT]
        if isinstance(arguments, tuple) and arguments and isinstance(arguments[0], str):
            said = f": {arguments[0][:LONGEST_TEXT]}"
    return name + said


def _damage(what: str) -> Invalid:
    return Invalid(what, field="message", remedy="is an mt5linux server of RPyC 6 at that port?")
