"""The first words of a connection: both sides show that they know the token, and neither tells it.

    broker  (0, "challenge", VERSION, nonce)
    client  (0, "hello", proof, nonce of its own)
    broker  (0, True, proof, last error, None)   or  (0, False, why, last error, None)

A proof is an HMAC over both nonces. A program that has taken the port of a
broker that died learns nothing with which it could ask a real one, and cannot
answer in its place: credentials go with `initialize`, to whom has proved the
token. Comparisons take the same time wherever the difference is.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any, Final

from defence.errors import Forbidden, Invalid

VERSION: Final = 2
CHALLENGE: Final = "challenge"
HELLO: Final = "hello"
_NONCE: Final = 32  # bytes
_CLIENT: Final = b"dtms client"
_BROKER: Final = b"dtms broker"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(32)


def nonce() -> bytes:
    """Return bytes that were never used before."""
    return secrets.token_bytes(_NONCE)


def challenge(mine: bytes) -> tuple[Any, ...]:
    """Return the broker's first message."""
    return (0, CHALLENGE, VERSION, mine)


def challenged(message: Any) -> bytes:
    """Return the broker's nonce. Raises Invalid for what is no challenge of this version."""
    match message:
        case (0, "challenge", int(version), bytes(theirs)) if len(theirs) == _NONCE:
            if version == VERSION:
                return theirs
            raise Invalid(
                f"the broker speaks version {version}, this is {VERSION}",
                field="broker",
                value=version,
                remedy="run both from the same release",
            )
    raise Invalid(
        "who listens there is no broker of DTMS",
        field="broker",
        remedy="its file may be left from one that has died: start a broker",
    )


def hello(token: str, theirs: bytes, mine: bytes) -> tuple[Any, ...]:
    """Return the client's answer."""
    return (0, HELLO, _proof(token, _CLIENT, theirs, mine), mine)


def greeted(token: str, mine: bytes, message: Any) -> bytes:
    """Return the client's nonce.

    Raises Invalid for what is no answer to the challenge, Forbidden for a
    client that does not know the token.
    """
    match message:
        case (0, "hello", bytes(shown), bytes(theirs)) if len(theirs) == _NONCE:
            if hmac.compare_digest(shown, _proof(token, _CLIENT, mine, theirs)):
                return theirs
            raise Forbidden(
                "the token is not this broker's",
                field="broker",
                remedy="read the broker's file anew: it has another token after each start",
            )
    raise Invalid("holds no greeting", field="frame", remedy="connect by terminals.shared")


def welcome(token: str, mine: bytes, theirs: bytes) -> bytes:
    """Return the broker's proof."""
    return _proof(token, _BROKER, mine, theirs)


def check_welcome(token: str, theirs: bytes, mine: bytes, shown: Any) -> None:
    """Raise Forbidden if who answers does not know the token."""
    expected = _proof(token, _BROKER, theirs, mine)
    if not isinstance(shown, bytes) or not hmac.compare_digest(shown, expected):
        raise Forbidden("who listens there does not know the token", field="broker")


def _proof(token: str, side: bytes, brokers: bytes, clients: bytes) -> bytes:
    return hmac.digest(token.encode(), side + brokers + clients, "sha256")
