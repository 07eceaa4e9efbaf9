"""The root supervisor: one for one, within budgets, itself an actor.

It starts children in the order of their specs, each after the one before is
ready, and stops them in reverse. How a child ended reaches it as exactly one
exit report. It never waits: delays and time-outs are messages to itself, so a
shutdown can come between any two of them (SUPERVISION.md, corner rules 4, 5).
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from actors.actor import Context, GuardActor, Vitals
from actors.events import Kind
from actors.incarnation import Incarnation
from actors.life import (
    Begin,
    CannotGoOn,
    CheckHealth,
    ChildReady,
    ExitReport,
    Hang,
    Kill,
    ResetBudget,
    RestartChild,
    ShutDown,
    StartChild,
    StartTimedOut,
    Stop,
    StopTimedOut,
    StrikeChild,
)
from actors.mailbox import Lane, Letter
from actors.names import ROOT
from actors.runtime import Timer
from defence.errors import Conflict, DtmsError, NotFound, StartRefused, StoreLost
from supervisors.clocks import ClockWatch
from supervisors.owner import Ledger, Owner, RootSettings
from supervisors.slot import ChildSlot, ChildState
from supervisors.spec import Escalation, Restart
from supervisors.wording import escalated, refusal, unwritten_charge
from terminals.lease import Lease

WHOLE_START = "*"  # the child name under which the start as a whole times out
REVOKE_WAIT = 0.5  # seconds that an order under way may take before its lease counts as stuck
LEAK_WAIT = 60.0  # seconds until a child is tried again that has left too many hung threads


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
        self._slots = {slot.name: slot for slot in slots}
        self._order = list(slots)
        self._ledger = ledger
        self._owner = owner
        self._settings = settings
        self._to_start: list[ChildSlot] = []
        self._starting = False
        self._stopping = False
        self._to_stop: list[ChildSlot] = []
        self._leaked: list[Incarnation] = []
        self._start_from = 0.0  # the start as a whole is measured from here at the earliest
        self._clocks = ClockWatch(settings.check_every, settings.pause_after)

    def on_start(self) -> None:
        """Load the budgets from the ledger."""
        wall, now = self.clock.wall(), self.clock.monotonic()
        self._clocks.begin(now, wall)
        for slot in self._order:
            charges, oldest = self._ledger.charges(slot.name), wall - slot.spec.period
            if any(at < oldest for at in charges):
                self._ledger.prune(slot.name, oldest)
            slot.budget.restore(charges, wall=wall, now=now)
            self._publish_budget(slot)

    def receive(self, message: object) -> object:
        """See `actors.life`, the root supervisor."""
        match message:
            case ChildReady():
                self._child_ready(message)
            case ExitReport():
                self._child_exited(message)
            case CheckHealth():
                self._check_health(message)
            case StartChild():
                self._start_again(message)
            case StartTimedOut():
                self._start_timed_out(message)
            case StopTimedOut():
                self._stop_timed_out(message)
            case Begin():
                self._begin()
            case RestartChild():
                return self._restart(message)
            case ResetBudget():
                return self._reset_budget(message)
            case StrikeChild():
                return self._strike(message)
            case ShutDown():
                self._shut_down(message.by)
            case CannotGoOn():
                self._give_up(message.cause)
            case _:
                return super().receive(message)
        return None

    # -- starting

    def _begin(self) -> None:
        self._starting = True
        self._to_start = list(self._order)
        self._start_from = self.clock.monotonic()
        self._after(self._settings.startup_timeout, StartTimedOut(WHOLE_START, 0))
        self._next_check()
        self._start_next()

    def _start_next(self) -> None:
        if not self._to_start:
            self._starting = False
            self._owner.all_ready()
            return
        self._spawn(self._to_start.pop(0))

    def _spawn(self, slot: ChildSlot) -> None:
        slot.cancel_timer()
        slot.epoch += 1
        slot.number += 1
        number, now = slot.number, self.clock.monotonic()
        slot.state = ChildState.STARTING
        slot.live = True
        slot.vitals = Vitals(now)
        slot.lease = Lease(slot.name, number)
        slot.judge_from = now
        slot.mailbox.open_for(number)
        self.emit_for(slot, Kind.STARTED)
        try:
            actor = slot.spec.factory(self._context_for(slot, slot.vitals, slot.lease))
            incarnation = Incarnation(actor, self._report)
            slot.incarnation = incarnation
            self.context.runtime.run(incarnation)
        except BaseException as error:  # noqa: BLE001 - any way to fail is one exit report
            text = "".join(traceback.format_exception_only(error)).strip()
            self.context.log.opt(exception=error).error("{} cannot be started", slot.name)
            if slot.incarnation is None or slot.incarnation.claim_report():
                self._report(ExitReport(slot.name, number, "failed to start", text, cause=error))
            return
        slot.timer = self._after(slot.spec.start_timeout, StartTimedOut(slot.name, number))

    def _context_for(self, slot: ChildSlot, vitals: Vitals, lease: Lease) -> Context:
        ready = ChildReady(slot.name, slot.number)
        return Context(
            name=slot.name,
            incarnation=slot.number,
            mailbox=slot.mailbox,
            post=self.context.post,
            runtime=self.context.runtime,
            events=self.context.events,
            lease=lease,
            points=self.context.points,
            vitals=vitals,
            announce=lambda _: self.context.post.send(ROOT, ready, lane=Lane.CONTROL),
            lease_of=self.lease_of,
        )

    def lease_of(self, child: str, number: int) -> Lease | None:
        """Return the lease of incarnation `number` of `child`, None if it is not the current one.

        Read by other children's threads: one look at one attribute.
        """
        lease = self._slots[child].lease
        return lease if lease is not None and lease.incarnation == number else None

    def _report(self, report: ExitReport) -> None:
        self.context.post.send(ROOT, report, lane=Lane.CONTROL)

    def _child_ready(self, message: ChildReady) -> None:
        slot = self._slots[message.child]
        if message.incarnation != slot.number or slot.state is not ChildState.STARTING:
            return
        slot.cancel_timer()
        slot.state = ChildState.READY
        first, slot.was_ready = not slot.was_ready, True
        self.emit_for(slot, Kind.READY)
        if first and self._starting and not self._stopping:
            self._start_next()

    def _start_timed_out(self, message: StartTimedOut) -> None:
        now = self.clock.monotonic()
        self._look_at_the_clocks(now)
        if message.child == WHOLE_START:
            self._whole_start_timed_out(message, now)
            return
        slot = self._slots[message.child]
        if message.incarnation != slot.number or slot.state is not ChildState.STARTING:
            return
        left = slot.judge_from + slot.spec.start_timeout - now
        if left > 0:  # the host paused meanwhile: the child is given its time anew
            slot.timer = self._after(left, message)
            return
        excused = slot.vitals is not None and slot.vitals.excused is not None
        if excused and slot.busy_for(now) <= slot.spec.hang_after:
            # It waits for something that is not its fault: no charge (corner rule 3).
            slot.timer = self._after(slot.spec.start_timeout, message)
            return
        self._fence(slot, "hung" if excused else "not ready in time")

    def _whole_start_timed_out(self, message: StartTimedOut, now: float) -> None:
        if not self._starting or self._stopping:
            return
        left = self._start_from + self._settings.startup_timeout - now
        if left > 0:  # the host paused meanwhile
            self._after(left, message)
            return
        waiting = [slot.name for slot in self._order if not slot.was_ready]
        self._refuse_start(
            StartRefused(
                f"not ready in time; waiting for {waiting[0]}",
                remedy="see the log for what failed, or raise --startup-timeout",
            )
        )

    def _refuse_start(self, cause: DtmsError) -> None:
        self._starting = False
        self._owner.start_refused(cause)
        self._shut_down("a refused start", brief=True)

    # -- ends

    def _child_exited(self, report: ExitReport) -> None:
        slot = self._slots[report.child]
        if report.incarnation != slot.number or not slot.live:
            self.emit_for(slot, Kind.STALE_REPORT, of=report.incarnation, how=report.how)
            return
        slot.cancel_timer()
        slot.mailbox.fence()
        if slot.lease is not None and not slot.lease.revoke(REVOKE_WAIT):
            self._give_up(f"{slot.name} cannot be fenced: an order is stuck in it")
            return
        if slot.incarnation is not None and report.how in ("hung", "not ready in time"):
            self._leaked.append(slot.incarnation)
        slot.incarnation, slot.live = None, False
        self.emit_for(slot, Kind.EXITED, how=report.how, error=report.error)
        if self._stopping:
            self._stopped_one(slot)
        elif slot.manual:
            slot.manual = False
            self._spawn(slot)
        elif self._starting and not slot.was_ready:
            self._refuse_start(refusal(report))
        elif slot.spec.restart is Restart.TEMPORARY or (
            slot.spec.restart is Restart.TRANSIENT and report.normal
        ):
            slot.state = ChildState.STOPPED
        else:
            failure = f"{report.how}: {report.error}".rstrip(": ")
            slot.failures = [*slot.failures, failure][-(slot.spec.max_restarts + 1) :]
            self._charge_and_restart(slot)

    def _give_up(self, cause: str) -> None:
        """Restart nothing any more: what cannot be kept safe is not carried on."""
        self._stopping = True
        self._owner.cannot_go_on(cause)

    def _too_many_leaked(self) -> bool:
        join = self.context.runtime.join
        self._leaked = [one for one in self._leaked if not join(one, 0.0)]
        return len(self._leaked) > self._settings.max_leaked

    def _charge_and_restart(self, slot: ChildSlot) -> None:
        now = self.clock.monotonic()
        if self._too_many_leaked():
            self._escalate(slot, "too many of its threads hang", LEAK_WAIT)
            return
        if not slot.budget.allows(now):
            self._escalate(slot, "its restart budget is used up", 1.0)
            return
        slot.budget.charge(now)
        try:
            self._ledger.add(slot.name, self.clock.wall())
        except StoreLost as lost:
            # The charge would be gone with the file, and a restart unbudgeted.
            self._give_up(str(lost))
            return
        except (DtmsError, OSError) as error:
            self._owner.notify(unwritten_charge(slot.name, error))
        nth = slot.budget.in_window(now)
        delay = slot.spec.backoff.delay(nth, self.context.runtime.random)
        self._publish_budget(slot, Kind.CHARGED)
        if delay <= 0:
            self._spawn(slot)
            return
        slot.state = ChildState.BACKOFF
        slot.epoch += 1
        self.emit_for(slot, Kind.RESTARTING, delay=round(delay, 3), nth=nth)
        slot.timer = self._after(delay, StartChild(slot.name, slot.epoch))

    def _escalate(self, slot: ChildSlot, why: str, at_least: float) -> None:
        """Say that the child is down; plan to try again in `at_least` seconds or later."""
        now = self.clock.monotonic()
        slot.state = ChildState.ESCALATED
        slot.epoch += 1
        failures, slot.failures = slot.failures, []
        frees_at = slot.budget.frees_at(now)
        retry = slot.spec.escalation is Escalation.RETRY and frees_at is not None
        again = max(at_least, frees_at - now) if frees_at is not None and retry else None
        self.emit_for(
            slot,
            Kind.ESCALATED,
            failures=failures,
            retry_in=None if again is None else round(again, 1),
        )
        self._owner.notify(escalated(slot.name, why, failures, again))
        if again is not None:
            slot.timer = self._after(again, StartChild(slot.name, slot.epoch))

    def _start_again(self, message: StartChild) -> None:
        slot = self._slots[message.child]
        if self._stopping or message.epoch != slot.epoch:
            return
        if slot.state is ChildState.BACKOFF:
            self._spawn(slot)
        elif slot.state is ChildState.ESCALATED:
            now = self.clock.monotonic()
            frees_at = slot.budget.frees_at(now)
            if frees_at is not None and frees_at > now:  # rounding: the timer came a moment early
                slot.timer = self._after(frees_at - now, message)
            else:
                self._charge_and_restart(slot)

    # -- hangs and silence

    def _next_check(self) -> None:
        post = self.context.post
        self.context.runtime.call_later(
            self._settings.check_every,
            lambda: post.send(ROOT, CheckHealth(), lane=Lane.CONTROL, merge="check"),
        )

    def _check_health(self, message: CheckHealth) -> None:
        now = self.clock.monotonic()
        if message.by == "timer":
            self.progress()  # asked checks prove nothing about the timers
        if self._stopping:
            return
        if message.by == "timer":
            self._next_check()
        self._look_at_the_clocks(now)
        for slot in self._order:
            if slot.budget.in_window(now) != slot.shown_in_window:
                self._publish_budget(slot)  # the window has slid
            if slot.state is not ChildState.READY or slot.vitals is None:
                continue
            if slot.busy_for(now) > slot.spec.hang_after:
                if slot.vitals.critical:
                    self._give_up(f"{slot.name} is stuck inside a commit")
                    return
                self._fence(slot, "hung")
            elif (
                slot.spec.silence_after is not None
                and slot.quiet_for(now) > slot.spec.silence_after
            ):
                self._fence(slot, "silent")

    def _look_at_the_clocks(self, now: float) -> None:
        pause = self._clocks.look(now, self.clock.wall())
        if pause is None:
            return
        self.emit(Kind.HOST_PAUSED, late=round(pause.late, 1), clock_jump=round(pause.jump, 1))
        for slot in self._order:
            slot.judge_from = now
        self._start_from = now
        self._owner.host_paused(pause.seconds)

    def _fence(self, slot: ChildSlot, how: str) -> None:
        incarnation = slot.incarnation
        if incarnation is None or not incarnation.claim_report():
            return  # it has ended by itself; its own report is on the way
        busy = "" if slot.vitals is None else slot.vitals.busy_with
        error = f"in {busy} for {slot.busy_for(self.clock.monotonic()):.1f} s" if busy else ""
        slot.mailbox.fence()
        self.emit_for(slot, Kind.FENCED, how=how)
        self._child_exited(ExitReport(slot.name, slot.number, how, error))

    # -- ops

    def _restart(self, message: RestartChild) -> object:
        slot = self._find(message.child)
        if slot.state is ChildState.PENDING:
            raise Conflict(
                "its turn to start has not come",
                field="child",
                value=slot.name,
                remedy="wait until the guard is ready",
            )
        if slot.live:
            slot.manual = True
            self._ask_to_stop(slot, slot.spec.stop_timeout)
        else:
            self._spawn(slot)
        return {"child": slot.name, "restarting": True}

    def _reset_budget(self, message: ResetBudget) -> object:
        slot = self._find(message.child)
        try:
            self._ledger.clear(slot.name)  # first: if it fails, nothing is half done
        except StoreLost as lost:
            self._give_up(str(lost))
            raise
        slot.budget.reset()
        slot.failures.clear()
        self._publish_budget(slot, Kind.BUDGET_RESET, by=message.by)
        if slot.state is ChildState.ESCALATED:
            self._spawn(slot)
        now = self.clock.monotonic()
        return {"child": slot.name, "budget_left": slot.budget.left(now), "state": slot.state.value}

    def _strike(self, message: StrikeChild) -> object:
        slot = self._find(message.child)
        if not slot.live:
            raise Conflict(
                f"{slot.name} is {slot.state.value}; there is nothing to {message.what}",
                field="child",
                value=slot.name,
                remedy="wait until it runs",
            )
        blow = Kill("killed by ops") if message.what == "kill" else Hang(message.seconds)
        self._put(slot, blow)
        return {"child": slot.name, "incarnation": slot.number, "struck": message.what}

    def _find(self, name: str) -> ChildSlot:
        if name not in self._slots:
            raise NotFound(
                f"there is no child {name!r}",
                field="child",
                value=name,
                remedy=f"one of {', '.join(self._slots)}",
            )
        if self._stopping:
            raise Conflict("the guard is stopping", remedy="start it again")
        return self._slots[name]

    # -- stopping

    def _shut_down(self, by: str, *, brief: bool = False) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._starting = False
        self.emit(Kind.STOPPING, by=by)
        self._brief = brief
        self._to_stop = list(reversed(self._order))
        self._stop_next()

    def _stop_next(self) -> None:
        while self._to_stop:
            slot = self._to_stop[0]
            slot.cancel_timer()
            slot.epoch += 1
            if slot.live:
                slot.state = ChildState.STOPPING
                self._ask_to_stop(slot, 0.3 if self._brief else slot.spec.stop_timeout)
                return
            self._to_stop.pop(0)
            self._close(slot)
        self._owner.all_stopped()

    def _ask_to_stop(self, slot: ChildSlot, timeout: float) -> None:
        self._put(slot, Stop(slot.number))
        slot.timer = self._after(timeout, StopTimedOut(slot.name, slot.number))

    def _stop_timed_out(self, message: StopTimedOut) -> None:
        slot = self._slots[message.child]
        if message.incarnation == slot.number and slot.live:
            self._fence(slot, "hung")

    def _stopped_one(self, slot: ChildSlot) -> None:
        if self._to_stop and self._to_stop[0] is slot:
            self._to_stop.pop(0)
            self._close(slot)
            self._stop_next()

    def _close(self, slot: ChildSlot) -> None:
        slot.state = ChildState.STOPPED
        for letter in slot.mailbox.close():
            self.emit_for(
                slot, Kind.DEAD_LETTER, message=type(letter.message).__name__, why="stopped"
            )
        self.emit_for(slot, Kind.STAGE, stage=slot.name, what="stopped")

    # -- small help

    def _put(self, slot: ChildSlot, message: object) -> None:
        slot.mailbox.put(Letter(message, id=self.context.runtime.new_id(), lane=Lane.CONTROL))

    def _after(self, delay: float, message: object) -> Timer:
        post = self.context.post
        return self.context.runtime.call_later(
            delay, lambda: post.send(ROOT, message, lane=Lane.CONTROL)
        )

    def emit_for(self, slot: ChildSlot, kind: Kind, /, **facts: object) -> None:
        """Add a fact of a child's life to the stream."""
        self.context.events.publish(kind, slot.name, slot.number, **facts)

    def _publish_budget(self, slot: ChildSlot, kind: Kind = Kind.BUDGET, **facts: object) -> None:
        now = self.clock.monotonic()
        slot.shown_in_window = slot.budget.in_window(now)
        self.emit_for(
            slot,
            kind,
            restarts_in_window=slot.budget.in_window(now),
            budget_left=slot.budget.left(now),
            **facts,
        )
