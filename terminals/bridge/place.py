"""Where an mt5linux server is. Loopback unless told otherwise: its port runs any code."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Final

from defence.errors import Invalid

HOST: Final = "127.0.0.1"
PORT: Final = 18812  # of mt5linux and of RPyC's classic server
TUNNEL: Final = "ssh -N -L 18812:127.0.0.1:18812 HOST, and leave --bridge-host out"
WARNING: Final = (
    "the bridge leaves this machine: the protocol has no password and no encryption, and "
    "whoever reaches that port runs any program there; better: " + TUNNEL
)


@dataclass(frozen=True, slots=True)
class Place:
    """Host and port of a server. `remote` allows one that is not on this machine.

    Raises Invalid for a port that is none, and for another machine without `remote`.
    """

    host: str = HOST
    port: int = PORT
    remote: bool = False

    def __post_init__(self) -> None:
        """Check what can be told without asking anybody for a name."""
        if not 0 < self.port < 65_536:
            raise Invalid(
                f"is no port: {self.port}",
                field="bridge_port",
                value=self.port,
                remedy=f"mt5linux listens on {PORT} unless told otherwise",
            )
        if not self.remote and not self.near:
            raise Invalid(
                f"{self.host} is not this machine, and the bridge's protocol lets whoever reaches "
                "the port run any program there",
                field="bridge_host",
                value=self.host,
                remedy=f"{TUNNEL}; or give --bridge-remote for a network that nobody else is in",
            )

    def __str__(self) -> str:
        """Return `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def near(self) -> bool:
        """Whether the name says this machine; where it leads to is looked at again when connected.

        0.0.0.0, which mt5linux's own client has as default, is an address to
        listen on and not one to call.
        """
        return self.host == "localhost" or _loopback(self.host)

    def connect(self, timeout: float) -> socket.socket:
        """Return a connected socket. Raises OSError, saying what is wrong.

        `timeout` is for each of the name's addresses; asking for the name is
        the system's affair and may take longer.
        """
        found = socket.create_connection((self.host, self.port), timeout)
        try:
            self._check(found)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            found.close()
            raise
        return found

    def _check(self, found: socket.socket) -> None:
        peer = found.getpeername()
        if peer == found.getsockname():
            # TCP joins a socket to itself if the system gave it the very port it calls.
            raise ConnectionRefusedError("nobody listens there")
        if not self.remote and not _loopback(peer[0]):
            raise ConnectionAbortedError(f"{self.host} is {peer[0]}, which is not this machine")


def _loopback(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (found if mapped is None else mapped).is_loopback
