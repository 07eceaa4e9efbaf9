"""The gateway: a guard's HTTP interface on a port, in a thread of its own.

    with Guard() as guard, gateway.serve(guard) as served:
        print(served.url)

A blocking start binds first, so that a port in use fails early, and listens
when the guard is ready:

    served = Gateway(guard).bind()
    with guard, served.listen():
        ...
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from loguru import logger

from defence.errors import DtmsError, StartRefused
from gateway.app import Backstage, make_app
from gateway.errors import HostRefused
from gateway.face import Guarded
from gateway.security import Bound
from gateway.sockets import bind, bound_for, listen, url_of
from gateway.wire import WebServer
from supervisors.settings import Settings

UP_WITHIN = 10.0  # seconds


class Gateway:
    """Serves a guard. `bind`, then `listen`, then `stop`; each from any thread.

    The guard does not know it: stop the gateway before the guard, or clients
    are told 503 in between.
    """

    def __init__(
        self,
        guard: Guarded,
        settings: Settings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives monotonic seconds, for limits; a seam for tests."""
        self._guard = guard
        self._clock = clock
        self._settings = settings or guard.settings
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._bound = Bound()
        self._port = 0
        self._backstage: Backstage | None = None
        self._server: WebServer | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._stopped = False

    # -- life

    def bind(self, host: str | None = None, port: int | None = None) -> Self:
        """Take the port without listening on it: connections are still refused.

        Host and port default to the settings'; port 0 takes a free one. Raises
        `PortRefused`, or `HostRefused` for an address beyond loopback without
        a token that the user has configured (DESIGN, HTTP).
        """
        host = self._settings.host if host is None else host
        port = self._settings.port if port is None else port
        with self._lock:
            if self._socket is not None or self._stopped:
                raise StartRefused("a gateway is bound once", remedy="make a new Gateway")
            made = bind(host, port)
            address = made.getsockname()
            bound = bound_for(host, str(address[0]))
            if bound.exposed and not self._has_own_token():
                made.close()
                raise HostRefused(
                    "other machines could reach the guard, and no token is configured",
                    field="host",
                    value=host,
                    remedy="configure a token (DTMS_TOKEN), or bind 127.0.0.1",
                )
            self._socket, self._bound, self._port = made, bound, int(address[1])
        return self

    def _has_own_token(self) -> bool:
        token = self._settings.token
        return token is not None and token.get_secret_value().strip() != ""

    def listen(self) -> Self:
        """Serve from now on; returns when connections are accepted. Binds if nobody has.

        Raises `StartRefused`.
        """
        if self._socket is None:
            self.bind()
        with self._lock:
            if self._stopped:
                raise StartRefused("the gateway was stopped", remedy="make a new Gateway")
            if self._thread is not None:
                return self
            assert self._socket is not None  # noqa: S101 - bound above
            listen(self._socket)
            app = make_app(
                self._guard, settings=self._settings, bound=self._bound, clock=self._clock
            )
            self._backstage = app.state.backstage
            self._server = WebServer(app)
            self._thread = threading.Thread(
                target=self._serve, args=(self._server, self._socket), name="dtms-http", daemon=True
            )
            self._thread.start()
            up = self._server.up.wait(UP_WITHIN)
        if not up or self._failure is not None:
            self.stop()
            raise StartRefused(
                f"the web server did not start: {self._failure or 'no sign of life'}",
                remedy="see the log",
            )
        logger.bind(child="gateway").info("listening on {}", self.url)
        return self

    start = listen

    def stop(self, timeout: float = 5.0) -> None:
        """Stop: streams end, what is under way has `timeout` seconds. Idempotent, and bounded."""
        with self._lock:
            self._stopped = True
            backstage, server, thread = self._backstage, self._server, self._thread
            if thread is None and self._socket is not None:
                self._socket.close()
        if thread is None or server is None or backstage is None:
            return
        # uvicorn hands it to `asyncio.wait_for`, which takes parts of a second.
        server.config.timeout_graceful_shutdown = timeout  # type: ignore[assignment]
        server.should_exit = True
        backstage.hub.close()
        if thread is not threading.current_thread():
            thread.join(timeout + 1.0)
        backstage.close()
        if thread.is_alive() and thread is not threading.current_thread():
            server.force_exit = True
            logger.bind(child="gateway").error("the web server did not stop within {} s", timeout)

    def _serve(self, server: WebServer, bound: socket.socket) -> None:
        try:
            server.run(sockets=[bound])
        except BaseException as error:  # noqa: BLE001 - nobody above this: it is told, not raised
            self._failure = error
            logger.bind(child="gateway").opt(exception=error).critical("the web server has failed")
        finally:
            bound.close()
            server.up.set()

    def __enter__(self) -> Self:
        return self.listen()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- looking

    @property
    def serving(self) -> bool:
        """Whether connections are accepted."""
        thread, server = self._thread, self._server
        if thread is None or server is None or self._stopped:
            return False
        return thread.is_alive() and server.started

    @property
    def host(self) -> str:
        """The host it was bound to."""
        return self._bound.host

    @property
    def port(self) -> int:
        """The port; the real one if 0 was asked for. Raises `StartRefused` before `bind`."""
        if self._socket is None:
            raise StartRefused("the gateway is not bound", remedy="call bind() or listen() first")
        return self._port

    @property
    def url(self) -> str:
        """Where clients on this machine find it, without a slash at the end."""
        return url_of(self._bound.address, self.port)


def serve(guard: Guarded, *, host: str | None = None, port: int | None = None) -> Gateway:
    """Serve a guard from now on; return the gateway, to be stopped by the caller.

    After a blocking start the guard is ready, and so is the first answer.
    After `guard.start(block=False)` clients hear 503 until it is ready, and
    500 if the start is refused (DESIGN, Listening). Raises `PortRefused`,
    `HostRefused`.
    """
    gateway = Gateway(guard).bind(host, port)
    try:
        return gateway.listen()
    except DtmsError:
        gateway.stop()
        raise
