"""A guard's terminal over the connection: deadlines, deaths, orders, forks, same answers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shared_kit import LONG, START, Here, InCall, buy, descriptors, in_fork, of_clients, until

from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from defence.errors import Invalid, NotReady
from supervisors.settings import Settings
from supervisors.terminal_choice import make_terminal
from terminals import GeneratedMarket, SimulatedTerminal
from terminals.protocol import Abortable
from terminals.shared import line as line_module
from terminals.shared.address import Address
from terminals.shared.line import CONNECT_WAIT, Line
from terminals.shared.proof import challenge, new_token, nonce, welcome
from terminals.shared.remote import RemoteTerminal
from terminals.sim.faults import Effect, Fault
from terminals.worker import child
from terminals.worker.frames import MAX_FRAME, Frames, frame
from terminals.worker.hearing import EndedError

# -- the same answers as here


def test_it_answers_as_the_terminal_itself(here: Here) -> None:
    guard = here.remote()
    alone = SimulatedTerminal(
        market=GeneratedMarket(1, START), now=lambda: START, speed=0.0, step=0.001
    )
    assert alone.initialize()
    for terminal in (guard, alone):
        assert terminal.order_send(buy(sl=1.0)) is not None
    looks: list[Callable[[Any], Any]] = [
        lambda t: t.account_info(),
        lambda t: t.terminal_info(),
        lambda t: t.symbol_info("EURUSD"),
        lambda t: t.symbol_info_tick("EURUSD"),
        lambda t: t.symbol_info_tick("NOTHING"),
        lambda t: t.symbol_select("NOTHING", True),
        lambda t: t.positions_get(),
        lambda t: t.positions_get(symbol="GBPUSD"),
        lambda t: t.orders_get(),
        lambda t: t.history_deals_get(0, 4e9),
        lambda t: t.history_orders_get(0, 4e9),
        lambda t: t.order_check(buy()),
        lambda t: t.order_send(buy(volume=1e9)),
        lambda t: t.order_send(buy(comment="x" * 40)),
        lambda t: t.copy_rates_from_pos("EURUSD", 1, 0, 5).tolist(),
    ]
    for place, look in enumerate(looks):
        assert look(guard) == look(alone), place
        assert guard.last_error() == alone.last_error(), place
    assert (guard.name, guard.real) == ("simulated", False)
    assert isinstance(guard, Abortable)


def test_credentials_go_with_initialize(here: Here) -> None:
    account = here.terminal._broker.book.account
    assert here.remote(login=account.login, server=account.server).account_info() is not None
    wrong = here.remote(login=account.login + 1, connected=False)
    assert wrong.initialize() is False
    assert wrong.last_error()[0] == -6
    assert wrong.account_info() is None
    assert "hunter2" not in repr(here.remote(password="hunter2", login=account.login))


# -- brokers that fail


class Fake:
    """A broker that greets, answers what its script says, and then does as the script says."""

    def __init__(self, behave: Callable[[socket.socket, Any], bool]) -> None:
        self.behave = behave
        self.seen: list[Any] = []
        self.greetings: list[Any] = []
        self.connections = 0
        self.token = new_token()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1], self.token)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with line:
                self._talk(line)

    def _talk(self, line: socket.socket) -> None:
        mine, frames = nonce(), Frames()
        line.sendall(frame(challenge(mine)))
        while piece := line.recv(65_536):
            for message in frames.feed(piece):
                if message[1] == "hello":
                    self.greetings.append(message)
                    proof = welcome(self.token, mine, message[3])
                    line.sendall(frame((0, True, proof, (1, "Success"), None)))
                    continue
                self.seen.append(message)
                if message[1] == "initialize":
                    line.sendall(frame((message[0], True, True, (1, "Success"), None)))
                elif not self.behave(line, message):
                    return

    def close(self) -> None:
        """End."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LONG)


Fakes = Callable[..., tuple[Fake, RemoteTerminal]]


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    """Brokers that fail, and a terminal at each."""
    made: list[Any] = []

    def make(
        behave: Callable[[socket.socket, Any], bool], **options: Any
    ) -> tuple[Fake, RemoteTerminal]:
        fake = Fake(behave)
        terminal = RemoteTerminal(lambda: fake.address, **{"call_timeout": LONG, **options})
        made.extend([fake, terminal])
        assert terminal.initialize(), terminal.last_error()
        return fake, terminal

    yield make
    for one in reversed(made):
        one.close()


def orders(fake: Fake) -> int:
    """How many orders the broker has met."""
    return sum(message[1] == "order_send" for message in fake.seen)


def hangs_up(_: socket.socket, __: Any) -> bool:
    return False


def half_an_answer(line: socket.socket, message: Any) -> bool:
    line.sendall(frame((message[0], True, None, (1, "Success"), None))[:-2])
    return False


def says(data: bytes) -> Callable[[socket.socket, Any], bool]:
    def behave(line: socket.socket, _: Any) -> bool:
        line.sendall(data)
        return True

    return behave


def says_nothing(_: socket.socket, __: Any) -> bool:
    return True


BROKEN: dict[str, Callable[[socket.socket, Any], bool]] = {
    "it hangs up": hangs_up,
    "it hangs up in the middle of an answer": half_an_answer,
    "it answers another question": says(frame((77, True, None, (1, "Success"), None))),
    "it says no message": says(b"\x00\x00\x00\x01\xc1"),
    "it says too much": says(b"\xff\xff\xff\xff"),
    "it says a number": says(frame(5)),
    "its answer is too short": says(frame((2, True, None))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_order_whose_answer_is_lost_is_unknown_and_never_sent_again(
    fakes: Fakes, name: str
) -> None:
    fake, terminal = fakes(BROKEN[name])
    assert terminal.order_send(buy()) is None
    assert terminal.last_error()[0] == -10002, terminal.last_error()
    assert orders(fake) == 1
    assert terminal.order_send(buy()) is None
    assert terminal.last_error()[0] == -10004
    assert terminal.initialize()
    assert orders(fake) == 1


def test_an_order_past_its_time_is_unknown(fakes: Fakes) -> None:
    fake, terminal = fakes(says_nothing, call_timeout=0.2)
    began = time.monotonic()
    assert terminal.order_send(buy()) is None
    assert time.monotonic() - began < 5
    assert terminal.last_error()[0] == -10005
    assert terminal.order_send(buy()) is None
    assert terminal.last_error()[0] == -10004
    assert orders(fake) == 1


def test_a_connection_that_ended_unnoticed_sent_nothing(fakes: Fakes) -> None:
    def behave(line: socket.socket, message: Any) -> bool:
        line.sendall(frame((message[0], True, False, (1, "Success"), None)))
        return False  # and hangs up after it has answered

    fake, terminal = fakes(behave)
    assert terminal.symbol_select("EURUSD") is False
    until(lambda: fake.connections == 1 and len(fake.seen) == 2)
    time.sleep(0.05)
    assert terminal.order_send(buy()) is None
    assert terminal.last_error()[0] == -10004
    assert orders(fake) == 0
    assert terminal.initialize()


def test_a_broker_that_talks_unasked_is_left(fakes: Fakes) -> None:
    def behave(line: socket.socket, message: Any) -> bool:
        answer = frame((message[0], True, True, (1, "Success"), None))
        line.sendall(answer + answer)
        return True

    fake, terminal = fakes(behave)
    assert terminal.symbol_select("EURUSD") is True
    assert terminal.order_send(buy()) is None
    assert terminal.last_error()[0] == -10004
    assert orders(fake) == 0


def test_abort_ends_a_call_from_any_thread(fakes: Fakes) -> None:
    fake, terminal = fakes(says_nothing)
    hanging = InCall(lambda: (terminal.order_send(buy()), terminal.last_error()))
    until(lambda: orders(fake) == 1)
    terminal.abort("the connector is replaced")
    answer, error = hanging.result()
    assert answer is None
    assert error[0] == -10002
    assert "the connector is replaced" in error[1]
    assert terminal.initialize()


def test_the_permit_is_held_until_the_answer_or_the_end(fakes: Fakes) -> None:
    fake, terminal = fakes(says_nothing)
    inside = threading.Event()

    class Permit:
        def __enter__(self) -> None:
            inside.set()

        def __exit__(self, *_: object) -> None:
            inside.clear()

    hanging = InCall(lambda: terminal.send_under(Permit(), buy()))
    until(lambda: orders(fake) == 1)
    assert inside.is_set()
    terminal.abort("enough")
    assert hanging.result() is None
    assert not inside.is_set()


def test_a_permit_that_is_refused_sends_nothing(here: Here) -> None:
    class Refused:
        def __enter__(self) -> None:
            raise NotReady("fenced")

        def __exit__(self, *_: object) -> None:
            """Hold nothing."""

    guard = here.remote()
    with pytest.raises(NotReady, match="fenced"):
        guard.send_under(Refused(), buy())
    assert here.terminal.calls["order_send"] == 0


def test_the_account_is_looked_at_again_in_the_same_call(here: Here) -> None:
    guard = here.remote()

    class Looks:
        """What the guard's own permit does."""

        def __enter__(self) -> None:
            assert guard.account_info() is not None

        def __exit__(self, *_: object) -> None:
            """Hold nothing."""

    class Switched(Looks):
        def __enter__(self) -> None:
            super().__enter__()
            here.terminal.switch_account(99, "Other")

    assert guard.send_under(Looks(), buy()) is not None
    assert guard.send_under(Switched(), buy()) is None
    assert guard.last_error()[0] == -10004
    assert "login is 99" in guard.last_error()[1]
    assert guard.positions_get() == ()


def test_what_a_call_raises_there_is_raised_here(here: Here) -> None:
    guard = here.remote()
    here.terminal.add_fault(Fault(call="account_info", effect=Effect.RAISE))
    with pytest.raises(ConnectionError, match="scripted"):
        guard.account_info()
    assert guard.account_info() is not None


def test_a_request_that_cannot_be_sent_is_refused_here(here: Here) -> None:
    guard = here.remote()
    for wrong in ({"comment": object()}, {"comment": "x" * 70_000}):
        assert guard.order_send(buy(**wrong)) is None
        assert guard.last_error()[0] == -2
    assert here.terminal.calls["order_send"] == 0
    assert guard.account_info() is not None


def test_what_the_office_cannot_be_asked_is_told(here: Here) -> None:
    guard = here.remote()
    with pytest.raises(Invalid, match="was not sent") as caught:
        guard.open_position("EURUSD", "BUY", 0.1, comment="x" * 70_000)
    assert caught.value.field == "open_position"
    assert guard.open_position("EURUSD", "BUY", 0.1) > 0


def test_after_an_answer_that_is_too_large_the_next_is_read(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = here.remote()
    guard.open_position("EURUSD", "BUY", 0.1)
    monkeypatch.setattr(child, "frame", lambda said: frame(said, 10 if said[1] else MAX_FRAME))
    with pytest.raises(Invalid, match="at most 10"):
        guard.account_info()
    with pytest.raises(Invalid, match="at most 10"):
        guard.symbol_info("EURUSD")
    monkeypatch.undo()
    assert guard.account_info() is not None
    assert guard.symbol_info("EURUSD") is not None


# -- its life


def test_nobody_there_is_told_each_time(here: Here) -> None:
    guard = here.remote()
    here.server.close()
    for _ in range(3):
        assert guard.initialize() is False
        code, text = guard.last_error()
        assert code == -10003
        assert "no broker answers" in text
        assert "run.py broker" in text
    with pytest.raises(NotReady, match=r"run\.py broker"):
        guard.start()


def test_who_listens_there_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address("127.0.0.1", listener.getsockname()[1], new_token())
        terminal = RemoteTerminal(lambda: address)
        answering = InCall(terminal.initialize)
        line, _ = listener.accept()
        line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert answering.result() is False
        assert terminal.last_error()[0] == -10003
        line.close()
        terminal.close()


def test_a_port_that_a_liar_has_taken_gives_nothing_away(fakes: Fakes) -> None:
    """It says the words of a broker, but does not know the token."""
    fake, first = fakes(says_nothing)
    first.close()
    until(lambda: len(fake.seen) == 2)  # `initialize` and the end
    liar = Address(fake.address.host, fake.address.port, new_token())
    fake.token = "something else that is long enough"
    terminal = RemoteTerminal(lambda: liar, login=5, password="hunter2", server="secret")
    seen = len(fake.seen)
    assert terminal.initialize() is False
    assert "does not know the token" in terminal.last_error()[1]
    assert len(fake.seen) == seen
    assert len(fake.greetings) == 2
    assert "hunter2" not in repr(fake.greetings)
    terminal.close()


def test_who_does_not_greet_costs_no_more_than_a_call() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address("127.0.0.1", listener.getsockname()[1], new_token())
        terminal = RemoteTerminal(lambda: address, call_timeout=0.2)
        began = time.monotonic()
        assert terminal.initialize() is False
        assert time.monotonic() - began < CONNECT_WAIT / 2
        assert terminal.last_error()[0] == -10003
        began = time.monotonic()
        with pytest.raises(NotReady):
            terminal.start()
        assert time.monotonic() - began < CONNECT_WAIT / 2
        terminal.close()


def test_abort_ends_a_greeting_that_does_not_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address("127.0.0.1", listener.getsockname()[1], new_token())
        terminal = RemoteTerminal(lambda: address, call_timeout=LONG)
        connecting = InCall(lambda: (terminal.initialize(), terminal.last_error()))
        line, _ = listener.accept()
        began = time.monotonic()
        terminal.abort("the connector is replaced")
        done, error = connecting.result()
        assert time.monotonic() - began < CONNECT_WAIT / 2
        assert done is False
        assert "the connector is replaced" in error[1]
        line.close()
        terminal.close()


def test_abort_while_the_system_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = Address.connect

    def aborted(address: Address, timeout: float) -> socket.socket:
        found = connect(address, timeout)
        terminal.abort("too late")
        return found

    monkeypatch.setattr(Address, "connect", aborted)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address("127.0.0.1", listener.getsockname()[1], new_token())
        terminal = RemoteTerminal(lambda: address, call_timeout=LONG)
        began = time.monotonic()
        assert terminal.initialize() is False
        assert time.monotonic() - began < CONNECT_WAIT / 2
        assert "too late" in terminal.last_error()[1]
        terminal.close()


def test_nothing_is_left_open(here: Here) -> None:
    here.remote().close()
    here.bot().shutdown()
    until(lambda: here.server.clients == 0 and not of_clients())
    threads, before = threading.active_count(), descriptors()
    for _ in range(5):
        guard, bot = here.remote(), here.bot()
        guard.abort("now")
        guard.abort("and again")
        assert guard.initialize()
        guard.close()
        guard.close()
        assert guard.initialize() is False
        bot.initialize()
        bot.shutdown()
    until(lambda: here.server.clients == 0 and not of_clients())
    until(lambda: threading.active_count() == threads)
    assert descriptors() == before


def test_it_has_no_thread_of_its_own(here: Here) -> None:
    before = {thread.name for thread in threading.enumerate()}
    guard = here.remote()
    assert guard.account_info() is not None
    others = {thread.name for thread in threading.enumerate()} - before
    assert others <= {"dtms-broker-client"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_a_forks_child_cannot_use_or_end_the_connection(here: Here) -> None:
    guard = here.remote()

    def refused() -> bool:
        found = guard.account_info() is None and guard.last_error()[0] in (-10004, -10002)
        guard.abort("in the child")
        guard.close()
        return found

    assert in_fork(refused)
    assert guard.account_info() is not None


# -- the setting


def test_the_setting_makes_one(here: Here) -> None:
    runtime = ThreadRuntime()
    settings = Settings(broker=str(here.server.address), broker_token=here.token)
    terminal = make_terminal(settings, runtime)
    try:
        assert isinstance(terminal, RemoteTerminal)
        assert terminal.initialize(), terminal.last_error()
        assert terminal.account_info() is not None
    finally:
        terminal.close()
        runtime.close()
    assert here.token not in repr(settings)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"seed": 5}, "seed"),
        ({"speed": 2.0}, "speed"),
        ({"sim_state": "f"}, "sim_state"),
        ({"sim_faults": "f"}, "sim_faults"),
        ({"sim_conditions": "typical"}, "sim_conditions"),
        ({"prices": ("f",)}, "prices"),
        ({"isolate": True}, "isolate"),
        ({"terminal": "native"}, "broker"),
        ({"terminal": "bridge"}, "broker"),
        ({"broker": "in-process"}, "broker"),
    ],
)
def test_what_contradicts_it_is_refused(more: dict[str, Any], field: str) -> None:
    runtime = ThreadRuntime()
    with pytest.raises(Invalid) as caught:
        make_terminal(Settings(**{"broker": "broker.json", **more}), runtime)
    assert caught.value.field == field
    runtime.close()


def test_it_is_not_for_virtual_time() -> None:
    with pytest.raises(Invalid, match="virtual time"):
        make_terminal(Settings(broker="broker.json"), SimulatedRuntime(0))


def test_a_call_must_be_over_before_its_connector_is_hung() -> None:
    with pytest.raises(Invalid) as caught:
        Settings(broker="broker.json", call_timeout=25.0)
    assert caught.value.field == "call_timeout"


def test_a_broker_that_never_stops_talking_lets_no_deadline_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_PIECE", "_LARGEST_PIECE"):
        monkeypatch.setattr(line_module, name, 4)
    here, there = socket.socketpair()
    line = Line(lambda: Address("127.0.0.1", 1, "no token", 1))
    line._socket, line._begun = here, True
    answer = (1, True, "x" * 100, (1, "Success"), None)
    with there:
        there.sendall(frame(answer))
        assert [line.answer(1, 0.0) for _ in range(2)] == [None, answer]
    line.kill("the test is over")


class LateUse:
    """The lock of a conversation; somebody ends the line at the last moment of having it."""

    def __init__(self, line: Line) -> None:
        self._line, self._lock = line, threading.Lock()
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._line.kill("too late to be seen")
        self._lock.release()


@pytest.mark.parametrize("doing", ["send", "answer", "answer in time", "answer that is none"])
def test_who_is_ended_at_the_last_moment_of_a_call_is_closed(doing: str) -> None:
    here, there = socket.socketpair()
    line = Line(lambda: Address("127.0.0.1", 1, "no token", 1))
    line._socket, line._begun = here, True
    line._use = LateUse(line)  # type: ignore[assignment]  # what a lock has of it
    with there:
        if doing == "send":
            assert line.send((1, "account_info", (), {}, None)) is True
        elif doing == "answer":
            assert line.answer(1, 0.0) is None
        elif doing == "answer in time":
            there.sendall(frame((1, True, None, (1, "Success"), None)))
            assert line.answer(1, time.monotonic() + LONG) is not None
        else:
            there.close()
            with pytest.raises(EndedError):
                line.answer(1, time.monotonic() + LONG)
    assert line.gone.is_set()
    assert here.fileno() == -1
