"""What a trading bot calls right after it has opened a position.

    from gateway import client

    result = client.register_trade(position.ticket, stop_loss=1.0950)
    if not result:
        log.warning("not guarded: %s", result.error)

The local guard is asked first (`use_local`), then the HTTP API. Nothing of
DTMS is imported here, so that a bot can use this file alone, and nothing is
opened at import. Rules: DESIGN.md, chapters Clients and HTTP.

    ClientError
    ├── Unreachable      no guard answered: start it, or mend the address
    ├── NotReadyError    the API is not ready: keep the local guard, ask later
    ├── Misconfigured    a setting or an argument is wrong: change it
    └── NoRunningLoop    called outside of an event loop: use the synchronous twin

No token ever appears in an error, a `repr` or a log line of this module.
"""

from __future__ import annotations

import asyncio
import difflib
import email.utils
import enum
import functools
import ipaddress
import math
import operator
import os
import random
import re
import ssl
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, SupportsFloat, SupportsIndex, TypeVar
from weakref import WeakKeyDictionary, ref

import httpx2
import tenacity

ATTEMPTS = 3  # tries of the API in one registration
FIRST_DELAY, GROWTH, JITTER = 0.2, 3.0, 0.5  # 0.2 s, 0.6 s, each up to half as long again
MAX_WAIT = 5.0  # seconds; the most that a Retry-After is honoured
BREAKER_FAILURES, BREAKER_COOLDOWN = 5, 30.0  # failures in a row; seconds until the probe
MAX_CONNECTIONS, MAX_KEPT_ALIVE = 10, 5
OPTIONAL_FIELDS = (
    *("identifier", "symbol", "direction", "volume", "entry_price"),
    *("stop_loss", "take_profit", "magic", "managed_by"),
)
# What a local guard may say that another door to it would only repeat. Every
# other code (not ready, stopped, mailbox full, ...) is a reason to ask the API.
_FINAL_LOCAL = {"invalid": 422, "not_found": 404, "conflict": 409, "forbidden": 403}
_FINAL_LOCAL |= {"refused": 400, "unknown_message": 400}
_FAULTS = {"fault", "asked_inside", "fenced"}
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")  # what a header can carry
T = TypeVar("T")


class ClientError(Exception):
    """Root of the tree above."""

    def __init__(self, message: str, *, field: str | None = None, remedy: str | None = None):
        text = message if field is None else f"{field}: {message}"
        super().__init__(f"{text} ({remedy})" if remedy else text)
        self.message, self.field, self.remedy = message, field, remedy


class Unreachable(ClientError):  # noqa: N818 - the tree is named by what the reader should do
    """No guard answered; `crowded` if the wait was for a connection of our own pool."""

    crowded = False


class NotReadyError(ClientError):
    """The API did not answer that it is ready; the local guard stays in use."""


class Misconfigured(ClientError):  # noqa: N818 - see above
    """A setting or an argument is wrong."""


class NoRunningLoop(ClientError, RuntimeError):  # noqa: N818 - see above
    """An asynchronous client was asked for outside of an event loop."""


class LocalGuard(Protocol):
    """What `use_local` needs of a guard in this process."""

    def register_fields(
        self, fields: dict[str, Any], request_id: str, timeout: float
    ) -> dict[str, Any]:
        """Register and return the body that `POST /dtms/trade/enable` answers."""


@dataclass(frozen=True, slots=True)
class RegistrationResult:
    """How a registration went; true in a condition when the trade is guarded.

    `status` is the HTTP status (for a local guard the one the API would have
    given); `attempts` counts the tries of whoever is named by `via`; `code` is
    the stable name of the error, `error` the text for people.
    """

    ok: bool
    created: bool | None = None
    trade: dict[str, Any] | None = None
    via: str | None = None
    error: str | None = None
    status: int | None = None
    attempts: int = 0
    code: str | None = None

    def __bool__(self) -> bool:
        return self.ok


# --- the pooled clients -----------------------------------------------------------


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the trusted authorities, read once: that takes tens of milliseconds."""
    return httpx2.create_ssl_context(trust_env=False)


def _options() -> dict[str, Any]:
    """Return the settings of both kinds; no proxy or .netrc of the environment sees a token."""
    limits = httpx2.Limits(
        max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_KEPT_ALIVE
    )
    return {"limits": limits, "verify": _tls(), "trust_env": False, "follow_redirects": False}


async def _keep(client: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
    """Close `client` when the loop shuts its generators down, as `asyncio.run` does."""
    try:
        yield
    finally:
        await client.aclose()


class _Held:
    """One loop's client. The loop holds this object, and nobody else does."""

    def __init__(self) -> None:
        self.client = httpx2.AsyncClient(**_options())
        self.thread = threading.get_ident()
        self.keeper = _keep(self.client)
        with suppress(StopIteration):  # runs to the yield, which enrols it with the loop
            self.keeper.__anext__().send(None)


class _Shared:
    """The client of all threads, and how many of our requests are under way on it."""

    def __init__(self) -> None:
        self.client = httpx2.Client(**_options())
        self.pid = os.getpid()
        self.users = 0
        self.retired = False


class _Closing(Awaitable[None]):
    """Returned by `close_http_client`: may be awaited, need not be."""

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, None]:
        if self._task is not None:
            yield from self._task.__await__()


class _Pools:
    """The clients of this process, made on first use: one for threads, one a loop.

    A client with open connections refers to its loop. Were it the value of the
    weak dictionary, no loop would ever be collected; so the value is a weak
    reference and the loop itself carries the client.
    """

    ATTRIBUTE = "_dtms_http_client"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: _Shared | None = None
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Callable[[], _Held | None]]
        self._by_loop = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def get_http_client(self) -> httpx2.AsyncClient:
        """Return the running loop's client; made on first use, and anew after a close.

        Raises NoRunningLoop outside of a loop.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise NoRunningLoop(
                "an asynchronous client belongs to a running event loop, and none is running",
                remedy="use get_sync_http_client()",
            ) from None
        with self._lock:
            held = self._by_loop.get(loop, lambda: None)()
            if held is None or held.client.is_closed:
                held = _Held()
                try:
                    setattr(loop, self.ATTRIBUTE, held)
                    self._by_loop[loop] = ref(held)
                except AttributeError:  # a loop that takes no attribute: kept until closed
                    self._by_loop[loop] = lambda: held
            return held.client

    def get_sync_http_client(self) -> httpx2.Client:
        """Return the one client that all threads share (httpx2.Client is thread-safe)."""
        with self._lock:
            return self._current().client

    def _current(self) -> _Shared:
        shared = self._shared
        # A forked child must not talk on its parent's connections.
        if shared is None or shared.client.is_closed or shared.pid != os.getpid():
            shared = self._shared = _Shared()
        return shared

    @contextmanager
    def borrowed(self) -> Iterator[httpx2.Client]:
        """Lend the shared client for one request; it is not closed before its return."""
        with self._lock:
            shared = self._current()
            shared.users += 1
        try:
            yield shared.client
        finally:
            with self._lock:
                shared.users -= 1
                last = shared.retired and shared.users == 0
            if last:
                shared.client.close()

    def close_sync_http_client(self) -> None:
        """Close the shared client; the next use makes a new one.

        Requests of this module that are under way end first, and the last one
        closes it: a thread does not notice that another closed its socket, and
        would wait for its whole timeout.
        """
        with self._lock:
            shared, self._shared = self._shared, None
            if shared is None or shared.pid != os.getpid():
                return
            shared.retired = True
            idle = shared.users == 0
        if idle:
            shared.client.close()

    def close_http_client(self) -> Awaitable[None]:
        """Close what the caller may close; the next use makes a new client.

        In a running loop: that loop's client; await the result to know it is
        done. Elsewhere: the shared client, and those of this thread's loops
        that are not running; all done at return. A loop that runs in another
        thread keeps its client, which only that loop may close.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.close_sync_http_client()
            for idle in list(self._by_loop):
                held = self._by_loop.get(idle, lambda: None)()
                if idle.is_closed():
                    self._take(idle)
                elif held and held.thread == threading.get_ident() and not idle.is_running():
                    self._take(idle)
                    idle.run_until_complete(held.keeper.aclose())
            return _Closing(None)
        mine = self._take(loop)
        if mine is None:
            return _Closing(None)
        task = loop.create_task(mine.keeper.aclose())
        self._tasks.add(task)  # a loop refers to its tasks weakly
        task.add_done_callback(self._tasks.discard)
        return _Closing(task)

    def _take(self, loop: asyncio.AbstractEventLoop) -> _Held | None:
        with self._lock:
            held = self._by_loop.pop(loop, lambda: None)()
            with suppress(AttributeError):
                delattr(loop, self.ATTRIBUTE)
            return held


# --- the circuit breaker ----------------------------------------------------------


class Breaker:
    """Closed; open after failures in a row; half-open after a while, for one probe.

    Thread-safe. `clock` gives monotonic seconds. A verdict on a request that
    began before the last change of state says nothing about now and is dropped.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failures, self._era = 0, 0
        self._opened_at: float | None = None
        self._probing = False

    def enter(self) -> int | None:
        """Return a pass for one request, or None while the breaker is open."""
        with self._lock:
            if self._opened_at is not None:
                if self._probing or self._clock() - self._opened_at < BREAKER_COOLDOWN:
                    return None
                self._probing = True
            return self._era

    def leave(self, era: int, good: bool | None) -> None:
        """Hand the pass back: `good` is None when the request proved nothing."""
        with self._lock:
            if era != self._era:
                return
            probe, self._probing = self._probing, False
            if good is None:
                return
            self._failures = 0 if good else self._failures + 1
            if good and probe:
                self._opened_at = None
            elif not good and self._failures >= BREAKER_FAILURES:  # a probe comes on top of them
                self._opened_at = self._clock()
                self._era += 1

    def opens_in(self) -> float:
        """Return the seconds until the next probe may go; 0 when it may go now."""
        with self._lock:
            if self._opened_at is None:
                return 0.0
            return max(0.0, self._opened_at + BREAKER_COOLDOWN - self._clock())


# --- pure helpers -----------------------------------------------------------------


def _plain(name: str, value: object) -> str | int | float | None:
    """Return a field as JSON can carry it; numpy's numbers and enums are welcome."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, bool):
        if isinstance(value, SupportsIndex):
            return operator.index(value)
        if isinstance(value, SupportsFloat) and math.isfinite(float(value)):
            return float(value)
    raise Misconfigured(
        f"{value!r} is neither a finite number nor text",
        field=name,
        remedy="give one, or leave it out",
    )


def _fields(ticket: object, fields: Mapping[str, object]) -> dict[str, Any]:
    """Return the body of the registration; raises Misconfigured naming the wrong field."""
    number = None
    if isinstance(ticket, SupportsIndex) and not isinstance(ticket, bool):
        number = operator.index(ticket)
    if number is None or number <= 0:
        raise Misconfigured(
            f"{ticket!r} is not a positive int",
            field="ticket",
            remedy="give the position's ticket as MetaTrader 5 returned it",
        )
    for name in fields:
        if name not in OPTIONAL_FIELDS:
            near = difflib.get_close_matches(name, OPTIONAL_FIELDS, 1)
            known = f"did you mean {near[0]}?" if near else f"known: {', '.join(OPTIONAL_FIELDS)}"
            raise Misconfigured("no such field", field=name, remedy=known)
    return {"ticket": number, **{name: _plain(name, value) for name, value in fields.items()}}


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):  # a name: it may lead anywhere
        return ipaddress.ip_address(host).is_loopback
    return False


def _retry_after(text: str | None, now: float) -> float:
    """Return the seconds that a Retry-After asks for (RFC 9110), within 0 and MAX_WAIT."""
    if text is None:
        return 0.0
    if text.strip().isdecimal():
        return min(float(text), MAX_WAIT)
    with suppress(ValueError):
        moment = email.utils.parsedate_to_datetime(text).timestamp()
        return min(max(0.0, moment - now), MAX_WAIT)
    return 0.0


def _body(response: httpx2.Response) -> Any:
    """Return the JSON of an answer, or its text if it is none."""
    try:
        return response.json()
    except ValueError:
        return response.text


def _explain(status: int, body: object) -> tuple[str, str | None]:
    """Return the text and the code of an error answer (its shape: DESIGN.md, HTTP)."""
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        error = ClientError(body["message"], field=body.get("field"), remedy=body.get("remedy"))
        return str(error), str(body["error"]) if "error" in body else None
    return f"the API answered {status}", None


# --- the client -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Settings:
    base_url: str | None = None
    token: str | None = field(default=None, repr=False)
    data_dir: Path | None = None
    timeout: float = 5.0
    allow_remote: bool = False


class _Call:
    """One registration under way: what all of its attempts share."""

    def __init__(self, fields: dict[str, Any], deadline: float) -> None:
        self.fields, self.deadline = fields, deadline
        self.key = str(uuid.uuid4())
        self.attempts = 0
        self.local_error: str | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one attempt brought; `wait` is the least delay before the next."""

    result: RegistrationResult
    again: bool = False
    wait: float = 0.0


# A conversation yields the arguments of a request, is sent the response (or thrown the
# error) and returns what it made of it: written once, driven by threads and by loops.
_Talk = Generator[dict[str, Any], httpx2.Response, T]

_pools = _Pools()


def _checked_url(url: str, name: str) -> str:
    """Return an address without its closing slash; raises Misconfigured."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise Misconfigured("not an address", field=name, remedy="http://host:port") from error
    extra = parsed.userinfo or parsed.query or parsed.fragment
    port = 80 if parsed.port is None else parsed.port
    plain = parsed.scheme in ("http", "https") and parsed.host and 0 < port < 65536
    if extra or not plain:
        # The address itself is not repeated: it may carry a password.
        raise Misconfigured(
            "not http(s)://host:port", field=name, remedy="no user, query or fragment in it"
        )
    return url.rstrip("/")


def _checked_token(token: str, name: str) -> str:
    """Return a token that a header can carry; httpx2 would put any other into its error."""
    if not _TOKEN.fullmatch(token):
        raise Misconfigured(
            "is empty or holds what no token holds",
            field=name,
            remedy="give the line that the guard wrote into the file token of its data folder",
        )
    return token


def _registered(status: int, body: object, via: str, attempts: int) -> RegistrationResult:
    """Return the success that a body states; raises ClientError if it states none."""
    created = body.get("created") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(created, bool):
        # An acknowledgement that nobody gave must not pass for one.
        raise ClientError(
            "the answer is not a registration", remedy="is something else listening there?"
        )
    trade = body.get("trade")
    shown = trade if isinstance(trade, dict) else None
    return RegistrationResult(True, created, shown, via, None, status, attempts)


def _failed(error: Exception) -> RegistrationResult:
    code = "invalid" if isinstance(error, Misconfigured) else "client_fault"
    text = str(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"
    return RegistrationResult(False, error=text, code=code)


def _with_local_error(result: RegistrationResult, call: _Call) -> RegistrationResult:
    """Name the local guard's reason too where both doors stayed shut."""
    if result.ok or call.local_error is None:
        return result
    return replace(result, error=f"{call.local_error}; API: {result.error}")


def _unreachable(base: str, error: Exception, timeout: float) -> Unreachable:
    if isinstance(error, httpx2.PoolTimeout):
        told = f"no free connection to {base}: {error}"
    elif isinstance(error, httpx2.TimeoutException | TimeoutError):
        told = f"{base} did not answer within {timeout:g} s"
    else:
        told = f"{base} does not answer: {type(error).__name__}: {error}"
    made = Unreachable(told, remedy="is the guard running?")
    made.crowded = isinstance(error, httpx2.PoolTimeout)
    return made


class Client:
    """A way to one guard. The module's functions are those of one default instance.

    What is not given comes from `DTMS_HOST`, `DTMS_PORT`, `DTMS_TOKEN` and
    `DTMS_DATA_DIR`, then from 127.0.0.1:8001, `./dtms-data` and the file
    `token` in there; read at each use, so that a restarted guard is found.
    `clock`, `sleep` and `async_sleep` are the seams for tests.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        allow_remote: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        async_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep, self._async_sleep = clock, sleep, async_sleep
        self._lock = threading.Lock()
        self._local: LocalGuard | None = None
        self.configure(base_url, token, data_dir, timeout, allow_remote)

    def configure(
        self,
        base_url: str | None = None,
        token: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        allow_remote: bool = False,
    ) -> None:
        """State the whole configuration; what is left out has its default again.

        `timeout`: seconds for one attempt, 5 by default; a registration ends
        within three times that. `allow_remote` lets the token travel over plain
        http beyond this machine. A local guard stays, the breaker starts anew.
        Raises Misconfigured.
        """
        seconds = 5.0 if timeout is None else timeout
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not (number and math.isfinite(seconds) and seconds > 0):
            raise Misconfigured(
                f"{timeout!r} is not a positive number", field="timeout", remedy="give seconds"
            )
        if base_url is not None:
            base_url = _checked_url(base_url, "base_url")
        if token is not None:
            token = _checked_token(token, "token")
        folder = None if data_dir is None else Path(data_dir)
        self._settings = _Settings(base_url, token, folder, float(seconds), allow_remote)
        self._breaker = Breaker(self._clock)

    def __repr__(self) -> str:
        local = "with" if self._local is not None else "without"
        return f"<Client {self._settings.base_url or 'by environment'}, {local} a local guard>"

    # --- where to, and as whom

    def base_url(self) -> str:
        """Return the guard's address without a closing slash; raises Misconfigured."""
        if self._settings.base_url is not None:
            return self._settings.base_url
        host = os.environ.get("DTMS_HOST") or "127.0.0.1"
        # Where a guard listens on every address, this machine reaches it on its own.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound
        port = os.environ.get("DTMS_PORT") or "8001"
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
            raise Misconfigured(
                f"{port!r} is not a port", field="DTMS_PORT", remedy="give 1 to 65535"
            )
        bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return _checked_url(f"http://{bracketed}:{port}", "DTMS_HOST")

    def _token_file(self) -> Path:
        folder = self._settings.data_dir or os.environ.get("DTMS_DATA_DIR") or "dtms-data"
        return Path(folder) / "token"

    def _token(self, url: str) -> str | None:
        """Return the token, None if there is none; raises Misconfigured if it may not go."""
        settings = self._settings
        if settings.token is not None:
            token = settings.token
        elif os.environ.get("DTMS_TOKEN"):
            token = _checked_token(os.environ["DTMS_TOKEN"], "DTMS_TOKEN")
        else:
            path = self._token_file()
            try:
                text = path.read_bytes().decode("ascii", "replace").strip()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise Misconfigured(
                    f"{path} cannot be read: {error.strerror}",
                    field="token",
                    remedy="run as the guard's user, or configure(token=...)",
                ) from error
            token = _checked_token(text, str(path))
        target = httpx2.URL(url)
        if target.scheme != "https" and not (_loopback(target.host) or settings.allow_remote):
            raise Misconfigured(
                f"the token would travel in clear text to {target.host}",
                field="base_url",
                remedy="use https, or configure(allow_remote=True)",
            )
        return token

    # --- conversations

    def _exchange(
        self, method: str, path: str, deadline: float | None = None, **request: Any
    ) -> _Talk[httpx2.Response]:
        """Send one request; after a 401 look for the token again and send it once more.

        Reading needs no token, so none is sent until the API asks for it.
        Raises Unreachable and Misconfigured.
        """
        if not path.startswith("/"):  # it must not be able to change the host
            raise Misconfigured(f"{path!r} is no path", field="path", remedy="begin with /")
        base = self.base_url()
        token = None if method == "GET" else self._token(base)
        headers = request.pop("headers", {})
        timeout = request.pop("timeout", None) or self._settings.timeout
        for resent in (False, True):
            if deadline is not None:
                timeout = max(0.001, min(timeout, deadline - self._clock()))
            sent = {**headers, "Authorization": f"Bearer {token}"} if token else headers
            try:
                response = yield {
                    "method": method,
                    "url": base + path,
                    "headers": sent,
                    "timeout": timeout,
                    **request,
                }
            except (httpx2.TransportError, TimeoutError) as error:
                raise _unreachable(base, error, timeout) from error
            except httpx2.HTTPError as error:
                raise Unreachable(
                    f"{base} gave no usable answer: {type(error).__name__}"
                ) from error
            fresh = self._token(base) if response.status_code == 401 and not resent else None
            if fresh is None or fresh == token:
                break
            token = fresh
        return response

    def _drive(self, talk: _Talk[T]) -> T:
        """Hold a conversation on the shared client, in this thread."""
        try:
            request = next(talk)
            while True:
                try:
                    with _pools.borrowed() as pooled:
                        response = pooled.request(**request)
                except BaseException as error:  # noqa: BLE001 - the conversation decides
                    request = talk.throw(error)
                else:
                    request = talk.send(response)
        except StopIteration as done:
            value: T = done.value
            return value

    async def _drive_async(self, talk: _Talk[T]) -> T:
        """Hold a conversation on the running loop's client."""
        if not _tls.cache_info().currsize:  # the loop does not stand still for it
            await asyncio.to_thread(_tls)
        try:
            request = next(talk)
            while True:
                try:
                    pooled = _pools.get_http_client()
                    async with asyncio.timeout(request["timeout"]):
                        response = await pooled.request(**request)
                except BaseException as error:  # noqa: BLE001 - the conversation decides
                    request = talk.throw(error)
                else:
                    request = talk.send(response)
        except StopIteration as done:
            value: T = done.value
            return value

    # --- the local guard

    def use_local(self, guard: LocalGuard | None) -> None:
        """Ask this guard first from now on; None when the host has stopped its guard.

        To go over to the API while the guard runs call `use_remote_only`.
        """
        if guard is not None and not callable(getattr(guard, "register_fields", None)):
            raise Misconfigured(
                f"{type(guard).__name__} has no register_fields",
                field="guard",
                remedy="hand over a supervisors.Guard",
            )
        with self._lock:
            self._local = guard

    def use_remote_only(self) -> None:
        """Let go of the local guard, if the API has answered that it is ready.

        Raises NotReadyError or Misconfigured otherwise; the local guard then
        stays in use.
        """
        guard = self._local
        self._drive(self._see_ready())
        self._let_go(guard)

    async def use_remote_only_async(self) -> None:
        """`use_remote_only` for an event loop."""
        guard = self._local
        await self._drive_async(self._see_ready())
        self._let_go(guard)

    def _let_go(self, guard: LocalGuard | None) -> None:
        with self._lock:
            if self._local is guard:  # not one that was handed over in the meantime
                self._local = None

    def _see_ready(self) -> _Talk[None]:
        """Return if the API says `ready: true`; a bare 200 may come from any web server."""
        for path in ("/readyz", "/health"):
            try:
                response = yield from self._exchange("GET", path)
            except Unreachable as error:
                raise NotReadyError(str(error), remedy="the local guard stays in use") from error
            body = _body(response)
            said = body.get("ready") if isinstance(body, dict) else None
            if response.status_code == 200 and said is True:
                return
            if response.status_code not in (200, 404) or said is not None:
                reasons = body.get("reasons") if isinstance(body, dict) else None
                raise NotReadyError(
                    f"{path} answered {response.status_code}, reasons: {reasons or 'none given'}",
                    remedy="the local guard stays in use; ask again later",
                )
        raise NotReadyError(
            f"{self.base_url()} answers, but not as a guard does",
            remedy="mend the address; the local guard stays in use",
        )

    def _ask_local(self, guard: LocalGuard, call: _Call) -> RegistrationResult | None:
        """Return the local guard's answer, or None where the API should be asked."""
        try:
            timeout = min(self._settings.timeout, max(0.001, call.deadline - self._clock()))
            body = guard.register_fields(dict(call.fields), request_id=call.key, timeout=timeout)
            return _registered(200, body, "local", 1)
        except Exception as error:  # noqa: BLE001 - whatever it is, the trade may still be saved
            code = getattr(error, "code", None)
            if code in _FINAL_LOCAL or code in _FAULTS:
                status = _FINAL_LOCAL.get(str(code))
                return RegistrationResult(
                    False, via="local", error=str(error), status=status, attempts=1, code=str(code)
                )
            call.local_error = f"local guard: {type(error).__name__}: {error}"
            return None

    # --- registration

    def register_trade(self, ticket: int, **fields: Any) -> RegistrationResult:
        """Have an open position guarded; the local guard first, then the API.

        Fields: `identifier`, `symbol`, `direction` (BUY or SELL), `volume`
        (lots), `entry_price`, `stop_loss`, `take_profit` (prices), `magic`,
        `managed_by`; what is left out comes from the position. Three attempts at
        the API, with growing delays, under one Idempotency-Key, within three
        times the timeout. Never raises: read `ok` and `error`.
        """
        try:
            call, guard = self._begin(ticket, fields), self._local
            result = None if guard is None else self._ask_local(guard, call)
            if result is None:
                retrying = tenacity.Retrying(sleep=self._sleep, **self._policy(call))
                answer: _Answer = retrying(lambda: self._drive(self._attempt(call)))
                result = answer.result
        except Exception as error:  # noqa: BLE001 - it never breaks the caller's trade
            return _failed(error)
        return _with_local_error(result, call)

    async def register_trade_async(self, ticket: int, **fields: Any) -> RegistrationResult:
        """`register_trade` for an event loop, which it never blocks."""
        try:
            call, guard = self._begin(ticket, fields), self._local
            result = None
            if guard is not None:
                try:
                    async with asyncio.timeout(self._settings.timeout):
                        result = await asyncio.to_thread(self._ask_local, guard, call)
                except TimeoutError:  # the request's id keeps a late success from counting twice
                    call.local_error = "local guard: no answer in time"
            if result is None:
                retrying = tenacity.AsyncRetrying(sleep=self._async_sleep, **self._policy(call))

                async def attempt() -> _Answer:
                    return await self._drive_async(self._attempt(call))

                answer: _Answer = await retrying(attempt)
                result = answer.result
        except Exception as error:  # noqa: BLE001 - it never breaks the caller's trade
            return _failed(error)
        return _with_local_error(result, call)

    def _begin(self, ticket: object, fields: Mapping[str, object]) -> _Call:
        checked = _fields(ticket, fields)
        return _Call(checked, self._clock() + ATTEMPTS * self._settings.timeout)

    def _policy(self, call: _Call) -> dict[str, Any]:
        """Return when to try again, for tenacity; both flavours share it."""

        def answer(state: tenacity.RetryCallState) -> _Answer:
            assert state.outcome is not None  # noqa: S101 - set before tenacity asks
            given: _Answer = state.outcome.result()
            return given

        def delay(state: tenacity.RetryCallState) -> float:
            grown = FIRST_DELAY * GROWTH ** (state.attempt_number - 1)
            return max(grown * random.uniform(1.0, 1.0 + JITTER), answer(state).wait)

        def enough(state: tenacity.RetryCallState) -> bool:
            late = self._clock() + state.upcoming_sleep >= call.deadline
            return late or state.attempt_number >= ATTEMPTS

        return {
            "retry": tenacity.retry_if_result(lambda given: given.again),
            "wait": delay,
            "stop": enough,
            "retry_error_callback": answer,
        }

    def _attempt(self, call: _Call) -> _Talk[_Answer]:
        """Make one attempt at the API, if the breaker lets it pass."""
        breaker = self._breaker
        era = breaker.enter()
        if era is None:
            return _Answer(
                RegistrationResult(
                    False,
                    error=f"the API failed {BREAKER_FAILURES} times in a row; "
                    f"not asked again for {breaker.opens_in():.0f} s",
                    attempts=call.attempts,
                    code="circuit_open",
                )
            )
        good: bool | None = None  # whatever cuts this short proves nothing about the API
        try:
            call.attempts += 1
            response = yield from self._exchange(
                "POST",
                "/dtms/trade/enable",
                call.deadline,
                json=call.fields,
                headers={"Idempotency-Key": call.key},
            )
            good = response.status_code < 500
        except Unreachable as error:
            good = None if error.crowded else False
            return _Answer(
                RegistrationResult(
                    False, error=str(error), attempts=call.attempts, code="unreachable"
                ),
                again=True,
            )
        finally:
            breaker.leave(era, good)
        return self._judge(response, call.attempts)

    def _judge(self, response: httpx2.Response, attempts: int) -> _Answer:
        status, body = response.status_code, _body(response)
        if status == 200:
            try:
                return _Answer(_registered(status, body, "api", attempts))
            except ClientError as error:
                text, code = str(error), "not_a_guard"
        else:
            text, given = _explain(status, body)
            code = given or f"http_{status}"
        if status == 401:
            text += f" (looked for the token in {self._token_source()})"
        authorization = response.request.headers.get("Authorization", "")
        if authorization:  # a server may echo what it was sent
            text = text.replace(authorization.removeprefix("Bearer "), "***")
        result = RegistrationResult(
            False, via="api", error=text, status=status, attempts=attempts, code=code
        )
        wait = _retry_after(response.headers.get("Retry-After"), time.time())
        return _Answer(result, again=status == 429 or status >= 500, wait=wait)

    def _token_source(self) -> str:
        if self._settings.token is not None:
            return "configure(token=...)"
        return "DTMS_TOKEN" if os.environ.get("DTMS_TOKEN") else str(self._token_file())

    # --- plain requests, for the command line

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> tuple[int, Any]:
        """Return status and body (JSON, else text) of one GET, without retries.

        Raises Unreachable when no guard answers, Misconfigured for a wrong setting.
        """
        return self._plain_request("GET", path, params=params, timeout=timeout)

    def post(self, path: str, json: Any = None, *, timeout: float | None = None) -> tuple[int, Any]:
        """Return status and body of one POST with the token; raises as `get` does.

        No `json` sends an empty object, the shortest that the API takes.
        """
        return self._plain_request("POST", path, json={} if json is None else json, timeout=timeout)

    def delete(self, path: str, *, timeout: float | None = None) -> tuple[int, Any]:
        """Return status and body of one DELETE with the token; raises as `get` does."""
        return self._plain_request("DELETE", path, timeout=timeout)

    def _plain_request(self, method: str, path: str, **request: Any) -> tuple[int, Any]:
        response = self._drive(self._exchange(method, path, **request))
        return response.status_code, _body(response)


_default = Client()

configure = _default.configure
use_local = _default.use_local
use_remote_only = _default.use_remote_only
use_remote_only_async = _default.use_remote_only_async
register_trade = _default.register_trade
register_trade_async = _default.register_trade_async
api_get = _default.get
api_post = _default.post
api_delete = _default.delete

get_http_client = _pools.get_http_client
get_sync_http_client = _pools.get_sync_http_client
close_http_client = _pools.close_http_client
close_sync_http_client = _pools.close_sync_http_client
