"""Binding without listening: a port in use is noticed before anything else is started."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from gateway.errors import HostRefused, PortRefused
from gateway.security import Bound


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return where to bind. Raises `HostRefused`."""
    if host.lower() == "localhost":
        host = "127.0.0.1"  # what clients try first differs; the documented address does not
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise HostRefused(
            f"is no address of this machine: {error}",
            field="host",
            value=host,
            remedy="choose another --host, such as 127.0.0.1",
        ) from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def bound_for(host: str, address: str) -> Bound:
    """Return the facts on which Host and token are judged."""
    return Bound(host or address, address, socket.gethostname())


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that has the port and does not listen: a connection is still refused.

    Raises `PortRefused` or `HostRefused`.
    """
    family, address = resolve(host, port)
    try:
        return _bind_alone(family, address)
    except OSError as error:
        raise _refusal(error, host, port) from None


def _bind_alone(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    """Bind so that nobody else can have the port, listening or not."""
    if os.name == "nt":
        return _bind(family, address, getattr(socket, "SO_EXCLUSIVEADDRUSE", None))
    try:
        return _bind(family, address, None)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    # Connections that have ended hold a port for a minute; SO_REUSEADDR passes
    # them by. It would also pass by a socket that is bound and does not listen
    # yet, which is why it is not tried first.
    return _bind(family, address, socket.SO_REUSEADDR)


def _bind(
    family: socket.AddressFamily, address: tuple[str, int], option: int | None
) -> socket.socket:
    # Only for a socket that says TCP does asyncio set TCP_NODELAY, without
    # which each answer waits 40 ms for the client's acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if option is not None:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        if family is socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def listen(bound: socket.socket, backlog: int = 1024) -> None:
    """Accept connections from now on. Raises `PortRefused` if another came first."""
    address = bound.getsockname()
    try:
        bound.listen(backlog)
    except OSError as error:
        raise _refusal(error, str(address[0]), int(address[1])) from None
    bound.setblocking(False)
    if os.name != "nt":
        # Inherited by the connections, so that the next start can pass them by.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _refusal(error: OSError, host: str, port: int) -> PortRefused | HostRefused:
    if error.errno == errno.EADDRNOTAVAIL:
        return HostRefused(
            "is no address of this machine",
            field="host",
            value=host,
            remedy="choose another --host, such as 127.0.0.1",
        )
    in_use = error.errno == errno.EADDRINUSE or getattr(error, "winerror", None) == 10013
    why = "is in use by another program" if in_use else f"cannot be had: {error.strerror}"
    return PortRefused(
        f"port {port} on {host} {why}",
        field="port",
        value=port,
        remedy="choose another --port, or 0 for a free one",
    )


def url_of(address: str, port: int) -> str:
    """Return where clients of this machine find a bound socket."""
    plain = ipaddress.ip_address(address.partition("%")[0])
    if plain.is_unspecified:
        address = "127.0.0.1" if plain.version == 4 else "::1"
    return f"http://[{address}]:{port}" if plain.version == 6 else f"http://{address}:{port}"
