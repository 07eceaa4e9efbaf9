"""A small HTTP server that plays the API as it is told, a guard, and a clock."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENABLE = "/dtms/trade/enable"
DROP = "drop"  # close the connection without an answer
HANG = "hang"  # answer nothing until the server stops


@dataclass(frozen=True)
class Seen:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


@dataclass(frozen=True)
class Says:
    """One scripted answer."""

    status: int
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


def accepted(ticket: int = 7, created: bool = True) -> Says:
    return Says(200, {"created": created, "trade": {"ticket": ticket}})


def refusal(status: int, code: str, field: str | None = None) -> Says:
    body = {"error": code, "message": "told so", "field": field, "remedy": "do otherwise"}
    return Says(status, body)


class FakeApi:
    """Answers by script, then by `default`; remembers every request."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.seen: list[Seen] = []
        self.connections = 0
        self.script: list[Says | str] = []
        self.default: Says | str | Callable[[Seen], Says | str] = accepted()
        self.stopping = threading.Event()
        self._lock = threading.Condition()

    def wait_for(self, requests: int) -> None:
        """Return when so many requests have arrived."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.seen) >= requests, 10)

    def answer(self, seen: Seen) -> Says | str:
        with self._lock:
            self.seen.append(seen)
            self._lock.notify_all()
            said = self.script.pop(0) if self.script else self.default
        return said(seen) if callable(said) else said

    def connected(self) -> None:
        with self._lock:
            self.connections += 1


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            api.connected()

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, json.loads(raw) if raw else None)
            said = api.answer(seen)
            if said == HANG:
                api.stopping.wait(10)
            if isinstance(said, str):
                self.close_connection = True
                return
            text = said.body if isinstance(said.body, str) else json.dumps(said.body)
            self.send_response(said.status)
            for name, value in said.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *where: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up
            super().handle_error(*where)


@contextmanager
def serving() -> Iterator[FakeApi]:
    server = _Server(("127.0.0.1", 0), BaseHTTPRequestHandler)
    api = FakeApi(server.server_address[1])
    server.RequestHandlerClass = _handler(api)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)


class Told(Exception):  # noqa: N818 - plays an error of the guard
    """An error as a guard raises it: with a code and a body."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the guard says {code}")
        self.code = code

    def body(self) -> dict[str, object]:
        return {"error": self.code, "message": str(self), "field": None, "remedy": None}


class FakeGuard:
    """A local guard that answers, or raises what it was given."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = {"created": True, "trade": {"ticket": 7}} if answer is None else answer
        self.calls: list[tuple[dict[str, Any], str, float]] = []

    def register_fields(
        self, fields: dict[str, Any], request_id: str, timeout: float
    ) -> dict[str, Any]:
        self.calls.append((fields, request_id, timeout))
        if isinstance(self.answer, BaseException):
            raise self.answer
        given: dict[str, Any] = self.answer
        return given
