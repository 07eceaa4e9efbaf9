"""Who may ask what: Host, origin and token, as pure decisions (DESIGN, HTTP)."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import ForeignHost, ForeignOrigin, Unauthorized

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES = frozenset({"/livez", "/readyz", "/startupz"})  # they tell nothing worth a token
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/@]+)(?::([0-9]{1,5}))?")
_BEARER = re.compile(rb"bearer +([\x21-\x7e\x80-\xff]+)", re.IGNORECASE)
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """Where the gateway listens: `host` as it was asked for, `address` as it was resolved."""

    host: str = "127.0.0.1"
    address: str = "127.0.0.1"
    machine: str = ""  # this machine's name

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return not ipaddress.ip_address(self.address.partition("%")[0]).is_loopback

    def knows(self, name: str) -> bool:
        """Return whether a Host name (lower case, IPv6 in brackets) means us."""
        if name in _LOCAL_NAMES or name in (_written(self.host), _written(self.address)):
            return True
        if not ipaddress.ip_address(self.address.partition("%")[0]).is_unspecified:
            return False
        # On all interfaces any address may be ours. A page that rebinds DNS has a name.
        return _is_address(name) or (self.machine != "" and name == self.machine.lower())


def _written(host: str) -> str:
    return f"[{host.lower()}]" if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def check_host(bound: Bound, header: str | None) -> None:
    """Raise `ForeignHost` unless the Host header means us.

    A page whose name was rebound to our address still sends its own name. The
    port is not compared: it does not protect, and tunnels change it.
    """
    match = _HOST.fullmatch(header or "")
    if match is None or int(match[2] or 0) > 65_535 or not bound.knows(_name(match[1])):
        raise ForeignHost(
            "this guard is not meant",
            field="Host",
            value=header,
            remedy=f"ask for http://{_written(bound.host)} or http://127.0.0.1, with the port",
        )


def _name(host: str) -> str:
    return host.lower().removesuffix(".")


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Raise `ForeignOrigin` for what a browser sends on behalf of another site.

    A link to the ops page is no harm, so a top-level navigation may come from anywhere.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    navigates = method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    foreign = site is not None and site not in ("same-origin", "none") and not navigates
    if foreign or (origin is not None and not _same(origin, headers.get("host", ""))):
        raise ForeignOrigin(
            "another site may not use this guard",
            field="Origin",
            value=origin,
            remedy="use the ops page of the guard itself, or a program instead of a browser",
        )


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        ours = urlsplit(f"{parts.scheme}://{host}")
        return default is not None and (parts.hostname, parts.port or default) == (
            ours.hostname,
            ours.port or default,
        )
    except ValueError:
        return False


def needs_token(method: str, path: str, *, exposed: bool) -> bool:
    """Return whether a request needs the token: every mutation; beyond loopback all but probes."""
    return method not in SAFE_METHODS or (exposed and path not in PROBES)


def check_token(expected: str, authorization: list[bytes]) -> None:
    """Raise `Unauthorized` unless the one Authorization header holds the token.

    Compared in constant time: how long it takes tells nothing about the token.
    """
    match = _BEARER.fullmatch(authorization[0].strip()) if len(authorization) == 1 else None
    given = b"" if match is None else match[1]
    # An empty token would let everybody in.
    if not hmac.compare_digest(given, expected.encode("utf-8")) or not expected:
        raise Unauthorized(
            "the bearer token is missing" if not authorization else "the bearer token is wrong",
            field="Authorization",
            remedy="send `Authorization: Bearer ...` with the file `token` of the data folder, "
            "or the token that was configured",
        )
