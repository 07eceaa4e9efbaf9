"""A whole guard in a storm: a terminal that judges every order, callers, ops with blows."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from actors.events import Event, Kind
from actors.life import Kill
from actors.mailbox import Lane
from actors.names import CONNECTOR, MONITOR
from actors.points import Points
from defence.errors import (
    BrokerUnknown,
    Conflict,
    DeadlinePassed,
    MailboxFull,
    NotFound,
    NotReady,
)
from supervisors import Guard, Trade
from supervisors.slot import ChildSlot, ChildState
from terminals.constants import TRADE_ACTION_SLTP
from terminals.protocol import Permit, Request
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal
from terminals.structs import OrderSendResult

PATIENCE = 60.0  # seconds, on a busy machine
PIP = 0.0001
LOST = 0.3  # of the answers to orders
# what a caller may hear while children die: it sends the same again
AGAIN = (NotReady, BrokerUnknown, MailboxFull, DeadlinePassed)


class JudgingTerminal(SimulatedTerminal):
    """The simulated terminal, which looks at every order while its permit is held."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            market=GeneratedMarket(seed=1, start=1_700_000_000.0),
            now=time.time,
            speed=0.0,
            step=0.001,
            demo=False,
            **options,
        )
        self.slots: dict[str, ChildSlot] = {}
        self.durable: Callable[[], dict[str, Any]] = dict
        self.sent: list[dict[str, Any]] = []
        self.faults: list[str] = []

    def send_under(self, permit: Permit, request: Request) -> OrderSendResult | None:
        """Send, and note what was wrong with it."""
        with permit:
            leases = {one.holder: one.incarnation for one in permit._permit._leases}  # type: ignore[attr-defined]  # the gate around it
            asked, before = dict(request), self._stop_of(request)
            fitting = [
                one.intent for one in self.durable().values() if self._fits(one.intent, asked)
            ]
            if not fitting:
                self.faults.append(f"{asked} is not in the journal")
            elif self.slots[MONITOR].number not in {one.decided_by for one in fitting}:
                self.faults.append(f"{asked} was decided by a Monitor that was replaced")
            self.sent.append({**asked, "intent": fitting[0].id if fitting else None})
            time.sleep(random.random() * 0.005)  # a terminal takes its time
            lost = random.random() < LOST
            result = None if lost else super().order_send(request)
            after = self._stop_of(request)
            # Nobody may have followed while the permit was held.
            now = {name: self.slots[name].number for name in leases}
            if set(leases) != {CONNECTOR, MONITOR}:
                self.faults.append(f"{asked} under the leases of {sorted(leases)}")
            if now != leases:
                self.faults.append(f"{asked} by {leases}, when {now} lived")
            if before is not None and after is not None and after < before - 1e-9:
                self.faults.append(f"{asked} widened the stop from {before} to {after}")
            if lost:  # and not executed: only reconciliation may find that out
                self._error = (-10002, "IPC recv failed")
            return result

    def _stop_of(self, request: Request) -> float | None:
        one = self._broker.book.positions.get(dict(request).get("position", 0))
        return None if one is None else one.sl

    @staticmethod
    def _fits(intent: Any, asked: dict[str, Any]) -> bool:
        if intent.ticket != asked.get("position"):
            return False
        if asked["action"] == TRADE_ACTION_SLTP:
            return bool(intent.stop_loss == asked["sl"])
        return bool(asked.get("comment") == f"dtms {intent.id[:20]}")


class Callers:
    """Threads that open positions and register them until each is acknowledged."""

    def __init__(self, guard: Guard, terminal: JudgingTerminal, count: int, seed: int) -> None:
        self.acknowledged: dict[int, str] = {}
        self.heard: Counter[str] = Counter()
        self.faults: list[str] = []
        self._guard, self._terminal = guard, terminal
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(nth, random.Random(f"{seed}.{nth}")))
            for nth in range(count)
        ]
        self._threads.append(threading.Thread(target=self._move, args=(random.Random(seed),)))
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop; every registration under way comes to its end."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
            assert not thread.is_alive(), "a caller waits for ever"

    def _move(self, chance: random.Random) -> None:
        """Let the price swing, so that trades get into danger and out of it."""
        bid = 1.1000
        while not self._over.wait(0.03):
            bid = min(1.1600, max(1.0600, bid + chance.choice((-45, -30, -10, 15, 30, 50)) * PIP))
            self._terminal.set_price("EURUSD", round(bid, 5), round(bid + PIP, 5))

    def _run(self, nth: int, chance: random.Random) -> None:
        mine: list[tuple[int, str]] = []
        while not self._over.wait(chance.uniform(0.0, 0.05)):
            if mine and chance.random() < 0.3:
                ticket, request = chance.choice(mine)  # the same again: the same answer
            else:
                tick = self._terminal.symbol_info_tick("EURUSD")
                if tick is None:
                    continue  # the connector is between two lives
                ticket = self._terminal.open_position(
                    "EURUSD", "BUY", 0.2, sl=round(tick.ask - 0.01, 5)
                )
                request = f"{nth}-{ticket}"
            try:
                if self._register(ticket, request):
                    mine.append((ticket, request))
            except BaseException as error:  # noqa: BLE001 - a thread has no other voice
                self.faults.append(f"{ticket}: {error!r}")
                return

    def _register(self, ticket: int, request: str) -> bool:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                done = self._guard.register(Trade(ticket=ticket), request_id=request, timeout=5.0)
            except AGAIN as error:
                self._note(type(error).__name__)
                time.sleep(0.005)
            except NotFound:
                self._note("NotFound")
                if ticket in self.acknowledged:
                    self.faults.append(f"{ticket} was acknowledged, and is not found")
                return False  # its stop was hit before anybody looked
            else:
                self._note("created" if done.created else "known")
                if not done.created:
                    self.faults.append(f"{ticket}: {request} heard that it was not new")
                with self._lock:
                    self.acknowledged[ticket] = request
                return True
        self.faults.append(f"{ticket} was not accepted in {PATIENCE} s")
        return False

    def _note(self, what: str) -> None:
        with self._lock:
            self.heard[what] += 1


class Ops:
    """Strikes one child after the other by ops commands and at points; keeps budgets open."""

    def __init__(self, guard: Guard, points: Points, name: str, seed: int) -> None:
        self.guard, self.points, self.name = guard, points, name
        self.chance = random.Random(f"{seed}/{name}")
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._slot = slot_of(guard, name)

    def run(self, kills: int, hangs: int, wakes: float) -> None:
        """Strike so often; a hang at a point lasts `wakes` seconds."""
        blows = ["kill"] * kills + ["hang"] * hangs
        self.chance.shuffle(blows)
        for nth, blow in enumerate(blows):
            try:
                if nth % 5 == 4:
                    self._command("reset-budget")
                number = self._ready()
                with (
                    HANGING if blow == "hang" else nullcontext(),
                    AT_THE_REGISTRY if self.name in AROUND_AN_ORDER else nullcontext(),
                ):
                    self._strike(blow, wakes)
                    self._await(lambda number=number: self._slot.number > number, "lives on")
                    if blow == "hang":
                        time.sleep(wakes / 2)  # until its thread has woken up and gone
                self.done[blow] += 1
            except BaseException as error:  # noqa: BLE001 - a thread has no other voice
                self.faults.append(f"{self.name}, {blow}: {error!r}")
                return
        self._ready()

    def _strike(self, blow: str, wakes: float) -> None:
        points, draw = POINTS[self.name], self.chance.random()
        if blow == "kill" and self.name in AROUND_AN_ORDER and draw < 0.3:
            self._around_an_order()
        elif draw < 0.6:
            self._command(blow, **({"seconds": wakes} if blow == "hang" else {}))
            self.done[f"{blow} by ops"] += 1
        else:
            self._at_a_point(blow, points, wakes)

    def _around_an_order(self) -> None:
        """Have it die between an order's being journalled, told, and answered for."""
        if self.name == "registry":  # once it has told the order, with its letter in hand
            then = lambda: self.points.kill_at("registry.before_reply")  # noqa: E731 - it is armed
        else:  # the Monitor, before the order that it has decided is told
            then = self._die_before_it_is_told
        self._at_point("registry.before_execute", then)
        self.done["kill around an order"] += 1

    def _die_before_it_is_told(self) -> None:
        """On the Registry's thread: wait, but not for so long that it counts as hung."""
        number, end = self._slot.number, time.monotonic() + 0.4
        self.guard._house.address(self.name).tell(Kill("with an order untold"), lane=Lane.CONTROL)
        while self._slot.number == number and time.monotonic() < end:
            time.sleep(0.002)

    def _at_a_point(self, blow: str, points: Sequence[str], wakes: float) -> None:
        point = self.chance.choice(points)
        runtime = self.guard._runtime
        if blow == "kill":
            self._at_point(point, lambda: self.points.kill_at(point), now=True)
        else:
            self._at_point(point, lambda: runtime.hang(wakes), blow=blow)
        self.done[f"{blow} at a point"] += 1

    def _at_point(
        self, point: str, then: Callable[[], None], *, blow: str = "kill", now: bool = False
    ) -> None:
        """Do `then` when somebody comes by the point, or `now` to arm it; strike if nobody does."""
        reached, end = self.points.reached.get(point, 0), time.monotonic() + 0.5
        if now:
            then()
        else:
            self.points.arm(point, then)
        while self.points.reached.get(point, 0) == reached and time.monotonic() < end:
            time.sleep(0.005)
        self.points.disarm(point)
        if self.points.reached.get(point, 0) == reached:  # nobody came by
            self._command(blow)

    def _ready(self) -> int:
        self._await(lambda: self._slot.state is ChildState.READY, "does not get ready")
        return self._slot.number

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.guard._house.died is None, self.guard._house.died
            assert time.monotonic() < end, f"{self.name} {what}"
            time.sleep(0.005)

    def _command(self, command: str, **arguments: object) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.guard.admin(command, child=self.name, timeout=5.0, **arguments)
            except (DeadlinePassed, Conflict) as error:
                if time.monotonic() > end:
                    raise AssertionError(f"{self.name}: {command} is not carried out") from error
                time.sleep(0.01)  # the admin, or the child, is between two lives
            else:
                return


# Where a death or a hang parts an effect from what tells of it. None is inside a
# commit: a hang there ends the guard, as it must.
# With more than five threads that hang, whoever dies next is not restarted for a minute.
HANGING = threading.Semaphore(2)
AT_THE_REGISTRY = threading.Lock()  # two of them strike at its points, one at a time
AROUND_AN_ORDER = ("registry", "monitor")
POINTS = {
    "connector": ("connector.before_send", "connector.after_send", "connector.before_reply"),
    "registry": ("registry.before_commit", "registry.after_commit", "registry.before_execute"),
    "monitor": ("monitor.before_reply", "monitor.schedule"),
    "recovery": ("recovery.before_reply",),
    "alert": ("alert.before_reply",),
    "admin": ("admin.before_reply",),
}


def slot_of(guard: Guard, name: str) -> ChildSlot:
    """Return a child's slot."""
    return next(slot for slot in guard._house._slots if slot.name == name)


def budgets_hold(events: list[Event], limits: dict[str, int]) -> list[str]:
    """Return what is wrong with charges and escalations, by a plain reading of the events."""
    charges: Counter[str] = Counter()
    wrong: list[str] = []
    for event in events:
        child = event.child or ""
        if event.kind is Kind.CHARGED:
            charges[child] += 1
            if charges[child] > limits[child]:
                wrong.append(f"{child} was restarted {charges[child]} times: {event.line()}")
        elif event.kind is Kind.BUDGET_RESET:
            charges[child] = 0
        elif event.kind is Kind.ESCALATED and charges[child] < limits[child]:
            wrong.append(f"{child} escalated after {charges[child]}: {event.line()}")
    return wrong
