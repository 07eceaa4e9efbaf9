"""uvicorn as a guest: no signal handler, no logging configuration, bounded in every way."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_WITHIN: Final = 10.0  # seconds that a request's head may take to arrive
SAY_SO_WITHIN: Final = 0.5  # seconds
MAX_CONNECTIONS: Final = 1024


class Connection(H11Protocol):
    """One connection: with a limit to its silence, and to how many there are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False  # the gateway logs by itself; the host's handlers are its own
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or drop it if there are too many."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a request that has begun must get on."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_headers()
        else:
            self._forget_patience()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._forget_patience()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEADERS_WITHIN, self.transport.abort)

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _Config(uvicorn.Config):
    def configure_logging(self) -> None:
        """Leave logging as the host has it."""


class WebServer(uvicorn.Server):
    """A server for one bound socket, to be run on a thread of its own."""

    def __init__(self, app: Any) -> None:
        super().__init__(
            _Config(
                app,
                loop="asyncio",
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                proxy_headers=False,  # who asks is who is connected, whatever a header says
                server_header=False,
                timeout_keep_alive=5,
            )
        )
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is under way within `timeout_graceful_shutdown`, then break off the rest."""
        await super().shutdown(sockets=sockets)
        if self.server_state.tasks:  # they have been cancelled, and may say so to their clients
            await asyncio.wait(list(self.server_state.tasks), timeout=SAY_SO_WITHIN)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
