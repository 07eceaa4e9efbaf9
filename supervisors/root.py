"""The root supervisor: one for one, within budgets, itself an actor.

It starts children in the order of their specs, each after the one before is
ready, and stops them in reverse. How a child ended reaches it as exactly one
exit report. It never waits: delays and time-outs are messages to itself, so a
shutdown can come between any two of them (SUPERVISION.md, corner rules 4, 5).
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.actor import Context, GuardActor
from actors.events import Kind
from actors.life import (
    Begin,
    CannotGoOn,
    CheckHealth,
    ChildReady,
    ExitReport,
    Freed,
    Hang,
    Kill,
    ResetBudget,
    RestartChild,
    ShutDown,
    StartChild,
    StartTimedOut,
    StopTimedOut,
    StrikeChild,
)
from defence.errors import Conflict, NotFound, StoreLost
from supervisors.clocks import ClockWatch
from supervisors.ends import Ends
from supervisors.owner import Ledger, Owner, RootSettings
from supervisors.roster import Roster
from supervisors.slot import ChildSlot, ChildState
from supervisors.starting import WHOLE_START, Starting
from supervisors.stopping import Stopping


class RootSupervisor(GuardActor):
    """Owns the children's lives and the restart ledger."""

    def __init__(
        self,
        context: Context,
        slots: Sequence[ChildSlot],
        ledger: Ledger,
        owner: Owner,
        settings: RootSettings,
    ) -> None:
        super().__init__(context)
        self.roster = Roster(context, slots, ledger, owner, settings)
        self.starting = Starting(self.roster)
        self.stopping = Stopping(self.roster)
        self.ends = Ends(self.roster, self.starting, self.stopping)
        self._clocks = ClockWatch(settings.check_every, settings.pause_after)

    def on_start(self) -> None:
        """Load the budgets from the ledger."""
        wall, now = self.clock.wall(), self.clock.monotonic()
        self._clocks.begin(now, wall)
        ledger = self.roster.ledger
        for slot in self.roster.order:
            charges, oldest = ledger.charges(slot.name), wall - slot.spec.period
            if any(at < oldest for at in charges):
                ledger.prune(slot.name, oldest)
            slot.budget.restore(charges, wall=wall, now=now)
            self.roster.publish_budget(slot)

    def receive(self, message: object) -> object:
        """See `actors.life`, the root supervisor."""
        match message:
            case ChildReady():
                self.starting.child_ready(message)
            case ExitReport():
                self.ends.exited(message)
            case Freed():
                self.ends.freed(message)
            case CheckHealth():
                self._check_health(message)
            case StartChild():
                self.ends.start_again(message)
            case StartTimedOut():
                self._start_timed_out(message)
            case StopTimedOut():
                if self.stopping.timed_out(message):
                    self.ends.fence(self.roster.slots[message.child], "hung")
            case Begin():
                self.starting.begin()
                self._next_check()
            case RestartChild():
                return self._restart(message)
            case ResetBudget():
                return self._reset_budget(message)
            case StrikeChild():
                return self._strike(message)
            case ShutDown():
                self.stopping.shut_down(message.by)
            case CannotGoOn():
                self.roster.give_up(message.cause)
            case _:
                return super().receive(message)
        return None

    def _start_timed_out(self, message: StartTimedOut) -> None:
        self._look_at_the_clocks(self.clock.monotonic())
        if message.child == WHOLE_START:
            refused = self.starting.whole_timed_out(message)
            if refused is not None:
                self.ends.refuse_start(refused)
            return
        how = self.starting.timed_out(message)
        if how is not None:
            self.ends.fence(self.roster.slots[message.child], how)

    # -- hangs and silence

    def _next_check(self) -> None:
        roster = self.roster
        self.context.runtime.call_later(
            roster.settings.check_every, lambda: roster.to_root(CheckHealth(), merge="check")
        )

    def _check_health(self, message: CheckHealth) -> None:
        now = self.clock.monotonic()
        if message.by == "timer":
            self.progress()  # asked checks prove nothing about the timers
            self._next_check()  # while stopping too: the watchdog looks at it
            self.ends.look_for_lost()
        if self.roster.stopping:
            return
        self._look_at_the_clocks(now)
        self.ends.count_leaked()
        for slot in self.roster.order:
            if slot.budget.in_window(now) != slot.shown_in_window:
                self.roster.publish_budget(slot)  # the window has slid
            if slot.state is not ChildState.READY or slot.vitals is None:
                continue
            if slot.busy_for(now) > slot.spec.hang_after:
                if slot.vitals.critical:
                    self.roster.give_up(f"{slot.name} is stuck inside a commit")
                    return
                self.ends.fence(slot, "hung", blame=True)
            elif (
                slot.spec.silence_after is not None
                and slot.quiet_for(now) > slot.spec.silence_after
            ):
                self.ends.fence(slot, "silent")

    def _look_at_the_clocks(self, now: float) -> None:
        pause = self._clocks.look(now, self.clock.wall())
        if pause is None:
            return
        self.emit(Kind.HOST_PAUSED, late=round(pause.late, 1), clock_jump=round(pause.jump, 1))
        for slot in self.roster.order:
            slot.judge_from = now
        self.starting.measure_from(now)
        self.roster.owner.host_paused(pause.seconds)

    # -- ops

    def _restart(self, message: RestartChild) -> object:
        slot = self._find(message.child)
        if slot.state is ChildState.PENDING:
            raise Conflict(
                "its turn to start has not come",
                field="child",
                value=slot.name,
                remedy="wait until all is ready",
            )
        if slot.live:
            slot.manual = True
            if slot.ending is None:  # else it is fenced already
                self.stopping.ask(slot, slot.spec.stop_timeout)
        else:
            self.starting.spawn(slot)
        return {"child": slot.name, "restarting": True}

    def _reset_budget(self, message: ResetBudget) -> object:
        slot = self._find(message.child)
        try:
            self.roster.ledger.clear(slot.name)  # first: if it fails, nothing is half done
        except StoreLost as lost:
            self.roster.give_up(str(lost))
            raise
        slot.budget.reset()
        slot.failures.clear()
        self.roster.publish_budget(slot, Kind.BUDGET_RESET, by=message.by)
        if slot.state is ChildState.ESCALATED:
            self.starting.spawn(slot)
        now = self.clock.monotonic()
        return {"child": slot.name, "budget_left": slot.budget.left(now), "state": slot.state.value}

    def _strike(self, message: StrikeChild) -> object:
        slot = self._find(message.child)
        if not slot.live or slot.ending is not None:
            raise Conflict(
                f"{slot.name} is {slot.state.value}; there is nothing to {message.what}",
                field="child",
                value=slot.name,
                remedy="wait until it runs",
            )
        blow = Kill("killed by ops") if message.what == "kill" else Hang(message.seconds)
        self.roster.put(slot, blow)
        return {"child": slot.name, "incarnation": slot.number, "struck": message.what}

    def _find(self, name: str) -> ChildSlot:
        if name not in self.roster.slots:
            raise NotFound(
                f"there is no child {name!r}",
                field="child",
                value=name,
                remedy=f"one of {', '.join(self.roster.slots)}",
            )
        if self.roster.stopping:
            raise Conflict("all is being stopped", remedy="start it again")
        return self.roster.slots[name]
