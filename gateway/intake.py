"""Reading a request's body, and its path and query, without trusting any of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.requests import Request

from defence.errors import Invalid
from defence.shape import MAX_TEXT, MAX_ULONG
from gateway.bodies import parse
from gateway.errors import NotJson, TooLarge, TooSlow, WrongMethod

BODY_WITHIN: Final = 10.0  # seconds that a body may take to arrive
_SWALLOW: Final = 16  # bodies' worth that is read and thrown away, so that the refusal arrives
_SWALLOW_WITHIN: Final = 2.0  # seconds
_JSON: Final = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE)
_MAX_KEY: Final = 200  # characters of an Idempotency-Key


async def read_json(request: Request, max_body: int, *, empty: bool = False) -> dict[str, Any]:
    """Return the JSON object in the body; with `empty` no body is an empty object.

    Raises `TooLarge` beyond `max_body` bytes, whatever Content-Length said,
    `TooSlow` after `BODY_WITHIN` seconds, `NotJson` for another content type, and
    `Invalid` for what is not one object.
    """
    raw = await _read(request, max_body, BODY_WITHIN)
    if empty and not raw:
        return {}
    kind = request.headers.get("content-type", "")
    if not _JSON.fullmatch(kind.partition(";")[0].strip()):
        raise NotJson(
            f"the body is declared as {kind[:MAX_TEXT] or 'nothing'}",
            field="Content-Type",
            value=kind,
            remedy="send `Content-Type: application/json`",
        )
    return parse(raw)


async def _read(request: Request, limit: int, within: float) -> bytes:
    declared = request.headers.get("content-length", "")
    too_large = declared.isdecimal() and int(declared) > limit
    stream = request.stream()
    parts: list[bytes] = []
    if not too_large:
        size = 0
        try:
            async with asyncio.timeout(within):
                async for part in stream:
                    size += len(part)
                    too_large = size > limit
                    if too_large:
                        break
                    parts.append(part)
        except TimeoutError:
            raise TooSlow(
                f"the body did not arrive within {within:g} s", field="body", remedy="send it again"
            ) from None
    if too_large:
        if "expect" not in request.headers:  # who waits for leave to send has sent nothing
            await _swallow(stream, _SWALLOW * limit)
        raise TooLarge(
            f"the body is larger than {limit} bytes", field="body", remedy="send it in parts"
        )
    return b"".join(parts)


async def _swallow(stream: AsyncIterator[bytes], limit: int) -> None:
    """Read on for a while: a client that still sends would lose the answer to a reset."""
    try:
        async with asyncio.timeout(_SWALLOW_WITHIN):
            size = 0
            async for part in stream:
                size += len(part)
                if size > limit:
                    return
    except TimeoutError:
        return


def ticket_in_path(text: str) -> int:
    """Return a ticket from the path. Raises `Invalid`, or `WrongMethod` for another route."""
    if text == "enable":
        raise WrongMethod(
            "trades are enabled with POST", field="method", value="POST", remedy="use POST"
        )
    return ticket_of(text)


def ticket_of(text: str) -> int:
    """Return a ticket. Raises `Invalid`."""
    return whole(text, "ticket", 1, MAX_ULONG)


def whole(text: str, field: str, least: int, most: int) -> int:
    """Return a whole number written in plain digits. Raises `Invalid`."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise Invalid(
            "is not a whole number", field=field, value=text, remedy="give an integer in digits"
        )
    if not least <= int(text) <= most:
        raise Invalid(
            "is out of range",
            field=field,
            value=text,
            remedy=f"give an integer from {least} to {most}",
        )
    return int(text)


def idempotency_key(request: Request) -> str | None:
    """Return the request's id, None if it has none. Raises `Invalid`."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= _MAX_KEY or not all("!" <= sign <= "~" for sign in key):
        raise Invalid(
            "is no usable request id",
            field="Idempotency-Key",
            value=key[:MAX_TEXT],
            remedy=f"give 1 to {_MAX_KEY} printable ASCII characters without spaces, such as a "
            "UUID",
        )
    return key


def client_of(request: Request) -> str:
    """Return the client's address; proxies' headers are not believed."""
    return "" if request.client is None else request.client.host
