"""The broker and its clients: who is let in, who is cut off, and that none holds up the others."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_kit import LONG, Here, InCall, Stranger, bare, buy, of_clients, packed, until

from defence.errors import Forbidden, Invalid, NotReady
from terminals.shared.line import REQUEST_LIMIT
from terminals.shared.proof import new_token
from terminals.shared.server import BrokerServer, Limits
from terminals.sim.faults import Effect, Fault
from terminals.worker.child import OtherAccountError
from terminals.worker.frames import frame

QUICK = Limits(greeting=0.2, patience=0.3)


def answers(here: Here) -> bool:
    """Whether the broker serves others."""
    bot = here.bot()
    good = bot.symbol_info_tick("EURUSD") is not None
    bot.shutdown()
    return good


# -- who is let in


def test_a_wrong_token_gets_nothing(here: Here) -> None:
    stranger = here.stranger()
    answer = stranger.greet(new_token())
    assert answer[1] is False
    assert "token is not this broker's" in answer[2]
    assert stranger.hear() is None
    assert here.server.clients == 0
    here.environ["DTMS_BROKER_TOKEN"] = new_token()
    bot = here.bot(connected=False)
    assert bot.initialize() is False
    assert bot.last_error()[0] == -10003
    assert "token is not this broker's" in bot.last_error()[1]
    assert here.token not in "\n".join(here.said)


def test_nothing_is_answered_before_the_proof(here: Here) -> None:
    stranger = here.stranger()
    stranger.hear()
    stranger.say((1, "account_info", (), {}, None))
    answer = stranger.hear()
    assert answer[1] is False
    assert stranger.hear() is None
    assert here.terminal.calls["account_info"] == 0


def test_a_call_sent_along_with_the_greeting_is_not_taken(here: Here) -> None:
    from terminals.shared.proof import challenged, hello, nonce

    stranger = here.stranger()
    said = hello(here.token, challenged(stranger.hear()), nonce())
    stranger.raw(frame(said) + frame((1, "account_info", (), {}, None)))
    assert stranger.hear()[1] is False
    assert here.terminal.calls["account_info"] == 0


def test_who_says_nothing_is_sent_away(here: Here) -> None:
    here.serve(limits=QUICK)
    stranger = here.stranger()
    stranger.hear()
    assert stranger.hear() is None
    assert any("neither reads nor ends" in line for line in here.said)


def cut_off_at(stranger: Stranger, data: bytes, most: int = 60) -> bool:
    """Say a byte now and then, for a second and more; whether that was ended meanwhile."""
    for place in range(most):
        try:
            stranger.raw(data[place : place + 1])
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_who_greets_by_the_byte_has_no_longer(here: Here) -> None:
    here.serve(limits=Limits(greeting=0.1))
    assert cut_off_at(here.stranger(), bare(b"x" * 1000))
    until(lambda: any("neither reads nor ends" in line for line in here.said))


def test_strangers_cannot_fill_the_house(here: Here) -> None:
    here.serve(limits=Limits(strangers=3, greeting=30.0))
    waiting = [here.stranger() for _ in range(3)]
    for one in waiting:
        assert one.hear() is not None
    assert here.stranger().hear() is None
    waiting[0].close()
    until(lambda: here.stranger().hear() is not None)


def test_more_clients_than_there_may_be_are_told(here: Here) -> None:
    here.serve(limits=Limits(clients=2))
    first, second = here.bot(), here.bot()
    third = here.bot(connected=False)
    assert third.initialize() is False
    assert "2 clients are connected, which is the most" in third.last_error()[1]
    first.shutdown()
    until(third.initialize)
    assert second.account_info() is not None


def test_fifty_connections_at_once(here: Here) -> None:
    bots = [here.bot() for _ in range(50)]
    assert here.server.clients == 50
    gate, found = threading.Barrier(50, timeout=LONG), []

    def work(bot: Any) -> None:
        gate.wait()
        found.extend([bot.symbol_info_tick("EURUSD").bid for _ in range(5)])

    threads = [threading.Thread(target=work, args=(bot,), daemon=True) for bot in bots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(found) == 250
    for bot in bots:
        bot.shutdown()
    until(lambda: here.server.clients == 0)


# -- who is cut off


NONSENSE: dict[str, bytes] = {
    "no msgpack": bare(b"\xc1"),
    "an empty frame": bare(b""),
    "two values in a frame": bare(b"\x01\x02"),
    "a number": bare(packed(5)),
    "a text": bare(packed("account_info")),
    "a call without its number": bare(packed(("account_info", (), {}, None, 1))),
    "a call with too few parts": bare(packed((1, "account_info", ()))),
    "arguments that are none": bare(packed((1, "account_info", 5, {}, None))),
    "names that are none": bare(packed((1, "account_info", (), 5, None))),
    "a second greeting": bare(packed((0, "hello", "simulated", {}))),
    "another client's greeting": bare(packed((0, "hello", b"", b"", {}))),
    "a frame that is too long": (REQUEST_LIMIT + 1).to_bytes(4, "big") + b"x",
    "the longest frame there is": b"\xff\xff\xff\xff",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_ends_that_connection_alone(here: Here, name: str) -> None:
    bystander, stranger = here.bot(), here.stranger()
    assert stranger.greet()[1] is True
    stranger.raw(NONSENSE[name])
    told = stranger.hear()
    assert told is None or told[1] is False
    assert stranger.hear() is None
    until(lambda: here.server.clients == 1)
    assert any("cut off: frame" in line for line in here.said)  # at once, not for its slowness
    assert bystander.account_info() is not None


def test_any_bytes_end_a_connection_at_most(here: Here) -> None:
    @settings(max_examples=30)
    @given(st.binary(min_size=1, max_size=60))
    def say(data: bytes) -> None:
        stranger = here.stranger()
        assert stranger.greet()[1] is True
        stranger.raw(data)
        stranger.close()

    say()
    until(lambda: here.server.clients == 0)
    assert answers(here)
    assert not any(line.startswith("ERROR") for line in here.said)


def test_half_a_frame_is_not_waited_for_for_ever(here: Here) -> None:
    here.serve(limits=QUICK)
    stranger = here.stranger()
    assert stranger.greet()[1] is True
    stranger.raw(frame((1, "account_info", (), {}, None))[:-3])
    assert answers(here)
    assert stranger.hear() is None
    assert here.terminal.calls["account_info"] == 0


def test_who_asks_by_the_byte_has_no_longer(here: Here) -> None:
    here.serve(limits=Limits(patience=0.1))
    stranger = here.stranger()
    assert stranger.greet()[1] is True
    asked = frame((1, "account_info", (), {}, None))
    for _ in range(3):  # each has its own time
        stranger.raw(asked[:-2])
        time.sleep(0.03)
        stranger.raw(asked[-2:] + asked[:1])
        assert stranger.hear()[0] == 1
        stranger.raw(asked[1:])
        assert stranger.hear()[0] == 1
    assert cut_off_at(stranger, bare(b"x" * 1000))
    until(lambda: here.server.clients == 0)


def test_who_asks_nothing_stays(here: Here) -> None:
    here.serve(limits=QUICK)
    bot = here.bot()
    time.sleep(3 * QUICK.patience)
    assert bot.account_info() is not None


def test_half_a_frame_and_the_other_half(here: Here) -> None:
    stranger = here.stranger()
    assert stranger.greet()[1] is True
    data = frame((1, "initialize", (), {}, None)) + frame((2, "account_info", (), {}, None))
    for piece in (data[:3], data[3:20], data[20:]):
        stranger.raw(piece)
    assert stranger.hear()[:3] == (1, True, True)
    assert stranger.hear()[0] == 2


def test_a_client_that_never_reads_is_cut_off(here: Here) -> None:
    here.serve(limits=QUICK)
    bystander, stranger = here.bot(), here.stranger()
    assert stranger.greet()[1] is True
    stranger.say((1, "initialize", (), {}, None))
    stranger.hear()
    asked = (2, "copy_rates_from_pos", ("EURUSD", 1, 0, 20_000), {}, None)
    for _ in range(100):
        stranger.say(asked)
    for _ in range(20):
        assert bystander.symbol_info_tick("EURUSD") is not None
    until(lambda: here.server.clients == 1)
    assert any("neither reads" in line for line in here.said)
    assert bystander.account_info() is not None


def test_who_hangs_up_is_forgotten(here: Here) -> None:
    for _ in range(3):
        stranger = here.stranger()
        stranger.greet()
        stranger.close()
    until(lambda: here.server.clients == 0)
    assert not any(line.startswith(("WARNING", "ERROR")) for line in here.said)
    assert answers(here)


# -- seats of their own


def test_each_client_has_its_own_connection_and_last_error(here: Here) -> None:
    one, other = here.bot(), here.bot(connected=False)
    assert other.account_info() is None
    assert other.last_error()[0] == -10004
    assert other.initialize() is True
    assert one.symbol_info("NOTHING") is None
    assert one.last_error()[0] == -4
    assert other.last_error() == (1, "Success")
    assert other.account_info() is not None
    assert one.last_error()[0] == -4
    assert other.shutdown() is True
    assert one.account_info() is not None


def test_a_client_that_has_not_initialised_is_not_helped_by_one_that_has(here: Here) -> None:
    here.bot()
    stranger = here.stranger()
    assert stranger.greet()[1] is True
    stranger.say((1, "account_info", (), {}, None))
    assert stranger.hear() == (1, True, None, (-10004, "No IPC connection"), None)


def test_a_hang_of_one_holds_up_nobody(here: Here) -> None:
    one, other = here.bot(), here.bot()
    here.terminal.add_fault(Fault(call="account_info", effect=Effect.HANG))
    hanging = InCall(one.account_info)
    until(lambda: here.terminal.calls["account_info"] == 1)
    for _ in range(20):
        assert other.symbol_info_tick("EURUSD") is not None
    assert other.order_send(buy()).retcode == 10009
    assert not hanging.over
    here.terminal.close()
    hanging.result()


def test_a_delay_ends_by_itself(here: Here) -> None:
    bot = here.bot()
    here.terminal.add_fault(Fault(call="account_info", effect=Effect.DELAY, seconds=0.2))
    began = time.monotonic()
    assert bot.account_info() is not None
    assert time.monotonic() - began >= 0.2


def test_an_order_that_hangs_is_dropped_with_its_client(here: Here) -> None:
    stranger, other = here.stranger(), here.bot()
    assert stranger.greet()[1] is True
    stranger.say((1, "initialize", (), {}, None))
    stranger.hear()
    here.terminal.add_fault(Fault(call="order_send", effect=Effect.DELAY, seconds=30.0))
    stranger.say((2, "order_send", (buy(),), {}, None))
    until(lambda: here.terminal.calls["order_send"] == 1)
    stranger.close()
    until(lambda: here.server.clients == 1)
    assert other.positions_get() == ()
    assert other.order_send(buy()).retcode == 10009


def test_an_order_is_dropped_if_its_client_goes_while_others_have_the_turn(here: Here) -> None:
    stranger = here.stranger()
    assert stranger.greet()[1] is True
    stranger.say((1, "initialize", (), {}, None))
    stranger.hear()
    with here.terminal.turn:
        stranger.say((2, "order_send", (buy(),), {}, None))
        stranger.close()
        time.sleep(0.1)
    until(lambda: here.server.clients == 0)
    assert here.bot().positions_get() == ()


def test_an_order_is_refused_if_the_account_is_switched_under_it(here: Here) -> None:
    class Switching:
        """A permit after whose look somebody logs in elsewhere."""

        def __enter__(self) -> None:
            here.terminal.switch_account(99, "Other")

        def __exit__(self, *_: object) -> None:
            """Hold nothing."""

    bot = here.bot()
    home = here.terminal.account_key()
    here.terminal.initialize()  # this thread is another client
    with pytest.raises(OtherAccountError, match="switched"):
        here.terminal.send_under(Switching(), buy())
    assert bot.positions_get() == ()
    here.terminal.switch_account(*home)
    assert bot.positions_get() == ()
    assert bot.order_send(buy()).retcode == 10009  # the turn was given back


# -- the back office


def test_the_office_is_for_those_whom_the_broker_lets(here: Here) -> None:
    here.serve(office=False)
    guard = here.remote()
    for office in (lambda: guard.set_price("EURUSD", 1.0, 1.1), lambda: guard.over):
        with pytest.raises(Forbidden, match="started without --chaos"):
            office()
    assert guard.account_info() is not None
    here.serve(office=True)
    assert guard.initialize()
    guard.set_price("EURUSD", 1.0, 1.1)
    tick = guard.symbol_info_tick("EURUSD")
    assert tick is not None
    assert (tick.bid, tick.ask) == (1.0, 1.1)


@pytest.mark.parametrize(
    "name", ["close", "_save", "__init__", "sit", "turn", "last_error", "fact"]
)
def test_what_is_no_function_cannot_be_called(here: Here, name: str) -> None:
    here.serve(office=False)
    stranger, other = here.stranger(), here.bot()
    assert stranger.greet()[1] is True
    stranger.say((1, name, (), {}, None))
    answer = stranger.hear()
    assert answer is None or answer[1] is False
    assert other.account_info() is not None  # a client cannot close the terminal of all


# -- the broker's own end


def test_close_ends_everything(here: Here) -> None:
    bot, guard = here.bot(), here.remote()
    here.terminal.add_fault(Fault(call="account_info", effect=Effect.HANG))
    hanging = InCall(bot.account_info)
    until(lambda: here.terminal.calls["account_info"] == 1)
    here.server.close()
    assert hanging.result() is None
    assert bot.last_error()[0] == -10002
    assert guard.account_info() is None
    assert guard.last_error()[0] == -10004
    with pytest.raises(NotReady):
        guard.deposit(1.0)
    here.server.close()
    until(lambda: not of_clients())
    assert "dtms-broker" not in {thread.name for thread in threading.enumerate()}


def test_a_client_is_counted_until_its_connection_is_closed(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget, open_then = BrokerServer._forget, []

    def noted(server: BrokerServer, line: socket.socket, thread: threading.Thread) -> None:
        open_then.append(line.fileno() >= 0)
        forget(server, line, thread)

    monkeypatch.setattr(BrokerServer, "_forget", noted)
    here.bot().shutdown()
    until(lambda: here.server.clients == 0)
    assert open_then == [False]


def test_a_port_that_is_taken_is_refused(here: Here) -> None:
    with pytest.raises(Invalid, match="cannot be had") as caught:
        BrokerServer(here.terminal, here.token, port=here.server.address.port)
    assert caught.value.field == "port"


def test_two_orders_at_once_are_two_positions(here: Here) -> None:
    bots = [here.bot() for _ in range(4)]
    gate, found = threading.Barrier(4, timeout=LONG), []

    def work(bot: Any) -> None:
        gate.wait()
        found.extend([bot.order_send(buy(0.01)).order for _ in range(5)])

    threads = [threading.Thread(target=work, args=(bot,), daemon=True) for bot in bots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(set(found)) == 20
    assert {one.ticket for one in bots[0].positions_get()} == set(found)
