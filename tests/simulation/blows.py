"""The blows: what a script's lines do to processes, terminal, market, disk and clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actors.clock import VirtualClock
from actors.mailbox import Lane
from actors.messages import ListTrades
from actors.points import Killed
from defence.errors import DtmsError, MailboxFull
from defence.trade import Trade
from terminals.sim.faults import Effect, Fault
from terminals.sim.terminal import SimulatedTerminal
from tests.simulation.disk import Disk
from tests.simulation.lives import Violated
from tests.simulation.market import SYMBOLS, SteppedMarket
from tests.simulation.process import Process
from tests.simulation.strikes import Crash
from tests.simulation.witness import Witness

ASK = 10.0  # seconds that callers wait
PEOPLE = 0.004  # how far a stop set by hand is from the price, as a part of it


@dataclass(slots=True)
class Story:
    """What a run was: the same for the same seed and script, byte for byte."""

    lines: list[str] = field(default_factory=list)
    violation: Violated | None = None
    ready: bool = False
    processes: int = 0

    def text(self) -> str:
        """Return the whole trace."""
        return "\n".join(self.lines) + "\n"


class Blows:
    """The things of a world, and what happens to them. `World` runs processes among them."""

    def __init__(self) -> None:
        self.story = Story()
        self.clock = VirtualClock()
        self.disk = Disk(self.clock.monotonic)
        self.market = SteppedMarket(self.clock.wall())
        self.terminal = SimulatedTerminal(market=self.market, now=self._market_now, hang=self._hang)
        self.witness = Witness(self.clock, self.disk, self.terminal)
        self.process: Process | None = None
        self._told = False
        self._tickets: list[int] = []
        self._next_start = 0.0
        self._calls_hang = False  # some fault of the terminal made a call hang, or will

    def _drive(self, work: Callable[[], Any]) -> Any:
        raise NotImplementedError

    def _bury(self, why: str) -> None:
        raise NotImplementedError

    # -- blows: the processes

    def do_kill(self, child: str) -> None:
        """Kill a child by a message, as ops would."""
        self._tell_root("kill", child)

    def _tell_root(self, command: str, child: str) -> None:
        self._calling(lambda guard: guard.admin(command, child=child, timeout=ASK))

    def do_strike(
        self, child: str, nth: int, when: str, what: str, seconds: float, times: int
    ) -> None:
        """Strike a child at its n-th effect from now."""
        if self.process is not None:
            self.process.strikes.arm(child, None, when, what, seconds, nth, times)

    def do_strike_at(self, child: str, where: str, when: str, what: str, seconds: float) -> None:
        """Strike a child at one kind of effect."""
        if self.process is not None:
            self.process.strikes.arm(child, where, when, what, seconds)

    def do_point(self, point: str, what: str, times: int) -> None:
        """Let a start or a stop of a child fail."""

        def act() -> None:
            raise Killed(point) if what == "kill" else Crash(point)

        if self.process is not None:
            self.process.points.arm(point, act, times)

    def do_die(self, down: float) -> None:
        """Kill the process."""
        if self.process is not None:
            self._bury("killed")
            self._next_start = self.clock.monotonic() + down

    def do_stop(self, down: float) -> None:
        """Stop the process in order."""
        process = self.process
        if process is None:
            return
        self._drive(process.guard.stop)
        if self.process is process:
            if process.guard._house.died is None:
                self.witness.ends_in_order()
            self._bury("stopped")
        self._next_start = self.clock.monotonic() + down

    def do_jump(self, seconds: float) -> None:
        """The wall clock is set."""
        self.clock.jump_wall(seconds)

    def do_sleep(self, seconds: float) -> None:
        """The machine sleeps: both clocks go on, nobody runs."""
        self.clock.advance(seconds)

    def do_disk_full(self, seconds: float) -> None:
        """The disk has no room for a while."""
        self.disk.full_until = self.clock.monotonic() + seconds
        if seconds > 0:
            self.witness.disk_was_full(seconds)

    # -- blows: the terminal and the market

    def do_fault(
        self,
        call: str,
        effect: str,
        after: int,
        count: int,
        seconds: float | None,
        retcode: int | None,
        when: str,
    ) -> None:
        """A call of the terminal goes wrong."""
        if effect in (Effect.HANG, Effect.DELAY):
            self._calls_hang = True
        self.terminal.add_fault(
            Fault(
                call=call,
                effect=Effect(effect),
                after=after,
                count=count,
                seconds=seconds,
                retcode=retcode,
                when="after" if when == "after" else "before",
            )
        )

    def do_disconnect(self, seconds: float) -> None:
        """The terminal loses its broker."""
        self.terminal.disconnect(seconds)

    def do_lose_terminal(self) -> None:
        """The connection to the terminal program breaks: only `initialize` makes a new one."""
        self.terminal.shutdown()

    def do_move(self, symbol: str, by: float) -> None:
        """The market moves."""
        self.market.move(symbol, by, self._market_now())

    # -- blows: people

    def do_register(self, nth: int, how: int) -> None:
        """A bot puts a trade under guard."""
        ticket = self._ticket(nth)
        request = f"r{self.clock.monotonic():.3f}-{nth}-{how}"
        self._register([(ticket, request)])

    def do_again(self, nth: int, how: int) -> None:
        """A bot registers twice: with one request id, or with two."""
        ticket = self._ticket(nth)
        request = f"a{self.clock.monotonic():.3f}-{nth}"
        self._register([(ticket, request)])
        self._register([(ticket, request if how % 2 else f"{request}x")])

    def do_batch(self, nth: int, how: int) -> None:
        """A bot registers several at once."""
        at = f"{self.clock.monotonic():.3f}"
        self._register([(self._ticket(n), f"b{at}-{n}") for n in range(nth, nth + how + 2)])

    def _register(self, wanted: list[tuple[int, str]]) -> None:
        positions = self.terminal._broker.book.positions
        there = [(t, r) for t, r in wanted if t in positions]
        if not there:
            return
        known = {ticket: positions[ticket].identifier for ticket, _ in there}
        answers = self._calling(
            lambda guard: guard.register_many(
                [Trade(ticket=ticket) for ticket, _ in there],
                request_ids=[request for _, request in there],
                timeout=ASK,
            )
        )
        for (ticket, request), answer in zip(there, answers or [], strict=False):
            if isinstance(answer, DtmsError):
                self._note(f"{ticket}: {type(answer).__name__}")
                continue
            self._note(f"{ticket}: acknowledged, created {answer.created}")
            self.witness.acknowledge(known[ticket], request, answer.created)

    def do_release(self, nth: int, _how: int) -> None:
        """A trade is given back to its user."""
        ticket = self._ticket(nth)
        one = self.terminal._broker.book.positions.get(ticket)
        if one is not None:
            self.witness.released[one.identifier] += 1  # even if the answer is lost
            self._calling(lambda guard: guard.release(ticket, timeout=ASK))

    def do_open(self, nth: int, _how: int) -> None:
        """A person opens a position."""
        self._open(nth)

    def do_close(self, nth: int, _how: int) -> None:
        """A person closes a position."""
        self._by_hand(lambda: self.terminal.close_position(self._ticket(nth)))

    def do_part(self, nth: int, _how: int) -> None:
        """A person closes a part."""
        self._by_hand(lambda: self.terminal.close_position(self._ticket(nth), 0.1))

    def do_stop_by_hand(self, nth: int, _how: int) -> None:
        """A person moves a stop."""
        ticket = self._ticket(nth)
        one = self.terminal._broker.book.positions.get(ticket)
        if one is not None:
            stop = round(one.price_current * (1.0 - one.sign * PEOPLE), 5)
            self._by_hand(lambda: self.terminal.modify(ticket, sl=stop))

    def do_ticket(self, nth: int, _how: int) -> None:
        """The broker gives a position another ticket."""
        ticket = self._ticket(nth)
        one = self.terminal._broker.book.positions.get(ticket)
        if one is not None:
            new = ticket + 500_000
            self._by_hand(lambda: self.terminal.change_ticket(one.identifier, new))
            self._tickets.append(new)

    def do_ops(self, command: str, child: str) -> None:
        """A person gives a command."""
        arguments: dict[str, object] = {}
        if command in ("restart", "reset-budget"):
            arguments["child"] = child
        elif command == "set-mode":
            arguments["mode"] = "observe"
        elif command == "arm":
            command, arguments = "set-mode", {"mode": "armed"}
        elif command == "flatten":
            arguments["confirm"] = self.terminal._broker.book.account.login
        if command == "restart":
            self.witness.ops_restart(child)  # even if the answer is lost
        self._calling(lambda guard: guard.admin(command, timeout=ASK, **arguments))

    def do_storm(self, child: str, letters: int) -> None:
        """Somebody floods a mailbox."""
        process = self.process
        if process is None or process.guard.over:
            return
        address = process.guard._house.address(child)
        for _ in range(letters):
            try:
                address.tell(ListTrades(), lane=Lane.DATA)
            except (MailboxFull, DtmsError):
                return

    # -- small help

    def _calling(self, call: Callable[[Any], Any]) -> Any:
        """Call the guard from outside. Whatever it refuses has a name."""
        process = self.process
        if process is None:
            return None

        def asked() -> Any:
            try:
                return call(process.guard)
            except DtmsError as error:
                self._note(f"refused: {type(error).__name__}: {error}")
                return None

        return self._drive(asked)

    def _by_hand(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DtmsError as error:
            self._note(f"refused by the broker: {error}")

    def _open(self, nth: int) -> None:
        symbol = SYMBOLS[nth % len(SYMBOLS)]
        price = self.market.price(symbol, 2**62)
        assert price is not None
        side = "BUY" if nth % 3 else "SELL"
        stop = price.bid * (0.99 if side == "BUY" else 1.01)
        self._tickets.append(
            self.terminal.open_position(symbol, side, 1.0, sl=round(stop, 5), magic=nth)
        )

    def _ticket(self, nth: int) -> int:
        return self._tickets[nth % len(self._tickets)]

    def _market_now(self) -> float:
        """The broker's clock is its own: it does not jump with ours."""
        return self.clock.monotonic() + 1_700_000_000.0

    def _hang(self, seconds: float | None) -> None:
        if self.process is not None:
            self.process.runtime.hang(seconds)

    def _note(self, line: str) -> None:
        if self._told:
            self.story.lines.append(f"{self.clock.monotonic():9.3f} {line}")
