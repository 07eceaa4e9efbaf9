"""The world of a run: a broker, a disk, people, and one guard process after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from actors.clock import VirtualClock
from actors.mailbox import Lane
from actors.messages import ListTrades
from actors.names import CONNECTOR
from actors.points import Killed
from defence.errors import Conflict, DtmsError, MailboxFull, StartRefused
from defence.trade import Trade
from supervisors import Settings
from supervisors.children import VITAL
from supervisors.slot import ChildState
from terminals.faults import Effect, Fault
from terminals.simulated import SimulatedTerminal
from tests.simulation.disk import Disk
from tests.simulation.market import SYMBOLS, SteppedMarket
from tests.simulation.process import Process, ProcessDied
from tests.simulation.script import HOUR, TROUBLE, Blow
from tests.simulation.strikes import Crash
from tests.simulation.witness import Violated, Witness

INTERVAL = 60.0  # seconds between cycles
BACK_WITHIN = 300.0  # seconds in which a guard that nothing harms any more is ready again
ASK = 10.0  # seconds that callers wait
HANGS = (Effect.HANG, Effect.DELAY)
PEOPLE = 0.004  # how far a stop set by hand is from the price, as a part of it


@cache
def _settings(escalation: str) -> Settings:
    return Settings(
        data_dir="/memory",
        interval=INTERVAL,
        check_every=20.0,
        stale_after=180.0,
        backup_every=0,
        alert_repeat=1200.0,
        reconcile_every=600.0,
        quote_stale_after=1e9,
        escalation=escalation,
        mode="armed",
        adoption="adopt",
        chaos=True,
    )


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


class World:
    """Runs one script. `told` False keeps no trace, which is faster."""

    def __init__(self, seed: int, script: list[Blow], *, told: bool = False) -> None:
        self.story = Story()
        self._seed = seed
        self._script = script
        self._told = told
        self.clock = VirtualClock()
        self.disk = Disk()
        self.market = SteppedMarket(self.clock.wall())
        self.terminal = SimulatedTerminal(
            market=self.market, now=self._market_now, hang=self._hang, login=None
        )
        self.terminal.initialize()
        self.witness = Witness(self.clock, self.disk, self.terminal)
        self._tickets: list[int] = []
        for n in range(3):
            self._open(n)
        self.terminal.shutdown()
        self.process: Process | None = None
        self._next_start = 0.0
        self._calls_hang = False  # some fault of the terminal made a call hang, or will
        self._settings = _settings("stay_down" if seed % 5 == 4 else "retry")

    # -- the run

    def run(self) -> Story:
        """Live through the hour; the story holds the first violation, if any."""
        try:
            for blow in self._script:
                self._until(blow.at)
                self._note(f"-- {blow.line().strip()}")
                getattr(self, f"do_{blow.what}")(*blow.args)
            self._until(TROUBLE)
            self._heal()
            self._come_back()
            self._until(HOUR)
            self._finish()
        except Violated as violation:
            self.story.violation = violation
            self._note(f"!! {violation}")
        finally:
            if self.process is not None:
                self._bury("the run is over")
        return self.story

    def _until(self, at: float) -> None:
        """Let time pass until `at`, with processes dying and starting in it."""
        while (now := self.clock.monotonic()) < at:
            process = self.process
            if process is None:
                if self._next_start > now:
                    self.clock.advance(min(at, self._next_start) - now)
                else:
                    self._start()
                continue
            wait = partial(process.runtime.wait_until, self._is_over, at - now)
            self._drive(wait)
            if self.process is process and process.guard.over:
                self._exited("the guard has died")

    def _is_over(self) -> bool:
        process = self.process
        if process is None or not process.alive:
            raise ProcessDied
        return process.guard.over

    def _choose_threads(self, process: Process) -> None:
        hanging = process.strikes.hanging()
        if self._calls_hang:
            armed = self.terminal._script._armed
            self._calls_hang = any(one.fault.effect in HANGS for one in armed)
            hanging.append(CONNECTOR)
        process.runtime.may_hang = hanging

    def _drive(self, work: Callable[[], Any]) -> Any:
        """Do what drives the scheduler; a process that dies in it is buried."""
        process = self.process
        try:
            if process is not None:
                self._choose_threads(process)
            return work()
        except ProcessDied:
            self._bury("killed")
            self._next_start = self.clock.monotonic() + 5.0
        return None

    def _start(self) -> None:
        self.story.processes += 1
        self._note(f"== process {self.story.processes}")
        process = Process(
            self.story.processes,
            self._seed,
            self.clock,
            self.disk,
            self.terminal,
            self._settings,
            self.witness,
            self._note,
        )
        struck = self.disk.struck

        def committed(store: str, when: str) -> None:
            self.witness.committed(store, when)
            struck(store, when)

        self.disk.struck = committed
        self.process = process
        self.witness.begins(process)
        watch = process.runtime.watch
        assert watch is not None

        def after_turn() -> None:
            if not process.alive:
                raise ProcessDied
            watch()
            self._choose_threads(process)

        process.runtime.watch = after_turn
        if self._told:
            process.guard.events.listen(
                lambda event: self._note(f"{event.line()}") if process.alive else None
            )
        self._drive(lambda: self._started(process))

    def _started(self, process: Process) -> None:
        try:
            process.guard.start()
        except StartRefused as refusal:
            self._note(f"refused: {refusal}")
            self._exited("the start was refused")
        except DtmsError as error:
            self._note(f"the start failed: {error}")
            self._exited("the start failed")

    def _exited(self, why: str) -> None:
        """The process ends by itself; whoever runs it starts it again."""
        process = self.process
        if process is not None:
            self._drive(process.guard.stop)
        if self.process is not None:
            self._bury(why)
        self._next_start = self.clock.monotonic() + 5.0

    def _bury(self, why: str) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        self._note(f"== process {process.number} is over: {why}")
        if self._told:
            self.story.lines.extend(f"   {line}" for line in process.runtime.trace)
        process.end()
        self.disk.locked = False
        self.disk.struck = lambda _store, _when: None
        self.terminal.shutdown()

    # -- when nothing goes wrong any more

    def _heal(self) -> None:
        self._note("-- nothing goes wrong any more")
        self.do_disk_full(0.0)
        self.terminal.clear_faults()
        self.terminal.reconnect()
        if self.process is not None:
            self.process.strikes.armed.clear()
            for point in list(self.process.points._armed):
                self.process.points.disarm(point)

    def _come_back(self) -> None:
        end = self.clock.monotonic() + BACK_WITHIN
        while self.clock.monotonic() < end:
            self._resume()
            if self.process is not None and self.process.guard.health().ready:
                self.story.ready = True
                return
            self._until(min(end, self.clock.monotonic() + 20.0))
        process = self.process
        if process is None:
            self.witness.not_ready("no process came up")
        elif process.guard.health().ready:
            self.story.ready = True
        elif not self._down():
            reasons = process.guard.health().reasons
            self.witness.not_ready(f"not ready after {BACK_WITHIN:.0f} s: {list(reasons)}")

    def _resume(self) -> None:
        """Take back what people had said; a guard that was told nothing is told nothing now."""
        process = self.process
        if process is None or process.guard.over or self._down():
            return
        status = process.guard.status()
        if status["paused"]:
            self.do_ops("resume", "")
        if status["mode"] != "armed" and self.process is process:
            self.do_ops("arm", "")

    def _down(self) -> list[str]:
        """Return the vital children that are escalated: nobody is to be told ready then."""
        process = self.process
        if process is None:
            return []
        slots = process.slots
        return [n for n in VITAL if n in slots and slots[n].state is ChildState.ESCALATED]

    def _finish(self) -> None:
        settled = self.story.ready and not self._down()
        self.witness.at_the_end(settled=settled)
        process = self.process
        if process is not None:
            self._drive(process.guard.stop)
            if self.process is process and process.guard._house.died is None:
                self.witness.ends_in_order()

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
        self.disk.full = seconds > 0
        self.witness.disk_was_full()
        if seconds > 0 and self.process is not None:
            disk = self.disk

            def room_again() -> None:
                disk.full = False

            self.process.runtime.call_later(seconds, room_again)

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
        life = self.witness.life
        if command == "restart" and life is not None:
            life.manual.add(child)  # even if the answer is lost
        refused = self._calling(lambda guard: guard.admin(command, timeout=ASK, **arguments))
        if isinstance(refused, Conflict) and life is not None:
            life.manual.discard(child)

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
                return error if isinstance(error, Conflict) else None

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
