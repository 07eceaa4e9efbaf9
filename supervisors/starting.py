"""How children are started: in the order of their specs, each when the one before is ready."""

from __future__ import annotations

from actors.actor import Context, Vitals
from actors.events import Kind
from actors.incarnation import Incarnation
from actors.life import ChildReady, ExitReport, StartTimedOut
from actors.log import words_of
from defence.errors import DtmsError, StartRefused
from supervisors.roster import Roster
from supervisors.slot import ChildSlot, ChildState
from terminals.lease import Lease

WHOLE_START = "*"  # the child name under which the start as a whole times out


class Starting:
    """Begins incarnations, and the whole; a start that fails is refused, not tried for ever."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._to_start: list[ChildSlot] = []
        self._from = 0.0  # the start as a whole is measured from here at the earliest

    def begin(self) -> None:
        """Start the first child, and give the whole its time."""
        roster = self._roster
        roster.starting = True
        self._to_start = list(roster.order)
        self._from = roster.now()
        roster.after(roster.settings.startup_timeout, StartTimedOut(WHOLE_START, 0))
        self._next()

    def measure_from(self, now: float) -> None:
        """Give the whole start its time anew: the host paused."""
        self._from = now

    def _next(self) -> None:
        if not self._to_start:
            self._roster.starting = False
            self._roster.owner.all_ready()
            return
        self.spawn(self._to_start.pop(0))

    def spawn(self, slot: ChildSlot) -> None:
        """Begin the next incarnation of a child."""
        roster = self._roster
        slot.cancel_timer()
        slot.epoch += 1
        slot.number += 1
        number, now = slot.number, roster.now()
        slot.state = ChildState.STARTING
        slot.live = True
        slot.vitals = Vitals(now)
        slot.lease = Lease(slot.name, number)
        slot.judge_from = now
        slot.mailbox.open_for(number)
        roster.emit(slot, Kind.STARTED)
        try:
            actor = slot.spec.factory(self._context_for(slot, slot.vitals, slot.lease))
            incarnation = Incarnation(actor, self._report)
            slot.incarnation = incarnation
            roster.context.runtime.run(incarnation)
        except BaseException as error:  # noqa: BLE001 - any way to fail is one exit report
            text = words_of(error)
            roster.context.log.opt(exception=error).error("{} cannot be started", slot.name)
            if slot.incarnation is None or slot.incarnation.claim_report():
                self._report(ExitReport(slot.name, number, "failed to start", text, cause=error))
            return
        slot.timer = roster.after(slot.spec.start_timeout, StartTimedOut(slot.name, number))

    def _context_for(self, slot: ChildSlot, vitals: Vitals, lease: Lease) -> Context:
        roster, ours = self._roster, self._roster.context
        ready = ChildReady(slot.name, slot.number)
        return Context(
            name=slot.name,
            incarnation=slot.number,
            mailbox=slot.mailbox,
            post=ours.post,
            runtime=ours.runtime,
            events=ours.events,
            lease=lease,
            points=ours.points,
            vitals=vitals,
            announce=lambda _: roster.to_root(ready),
            lease_of=self.lease_of,
        )

    def lease_of(self, child: str, number: int) -> Lease | None:
        """Return the lease of incarnation `number` of `child`, None if it is not the current one.

        Read by other children's threads: one look at one attribute.
        """
        lease = self._roster.slots[child].lease
        return lease if lease is not None and lease.incarnation == number else None

    def _report(self, report: ExitReport) -> None:
        self._roster.to_root(report)

    def child_ready(self, message: ChildReady) -> None:
        """Start the next one, if this was a child's first time."""
        roster = self._roster
        slot = roster.slots[message.child]
        if message.incarnation != slot.number or slot.state is not ChildState.STARTING:
            return
        if not slot.manual:  # else it has been asked to stop, and has its time for that
            slot.cancel_timer()
        slot.state = ChildState.READY
        first, slot.was_ready = not slot.was_ready, True
        roster.emit(slot, Kind.READY)
        if first and roster.starting and not roster.stopping:
            self._next()

    def timed_out(self, message: StartTimedOut) -> str | None:
        """Return how the child is to be fenced, None if it is not, or not yet."""
        now = self._roster.now()
        slot = self._roster.slots[message.child]
        if message.incarnation != slot.number or slot.state is not ChildState.STARTING:
            return None
        left = slot.judge_from + slot.spec.start_timeout - now
        if left > 0:  # the host paused meanwhile: the child is given its time anew
            slot.timer = self._roster.after(left, message)
            return None
        excused = slot.vitals is not None and slot.vitals.excused is not None
        if excused and slot.busy_for(now) <= slot.spec.hang_after:
            # It waits for something that is not its fault: no charge (corner rule 3).
            slot.timer = self._roster.after(slot.spec.start_timeout, message)
            return None
        return "hung" if excused else "not ready in time"

    def whole_timed_out(self, message: StartTimedOut) -> StartRefused | None:
        """Return the cause with which the start is to be refused, if it is."""
        roster = self._roster
        if not roster.starting or roster.stopping:
            return None
        left = self._from + roster.settings.startup_timeout - roster.now()
        if left > 0:  # the host paused meanwhile
            roster.after(left, message)
            return None
        waiting = [slot.name for slot in roster.order if not slot.was_ready]
        return StartRefused(
            f"not ready in time; waiting for {waiting[0]}",
            remedy="see the log for what failed, or raise the startup time-out",
        )


def refusal(report: ExitReport) -> DtmsError:
    """Return the cause with which a failed first start is refused."""
    cause = report.cause
    if isinstance(cause, StartRefused):
        return cause
    if isinstance(cause, DtmsError):  # such as a bad file of prices: its field and remedy count
        return StartRefused(
            cause.message, field=cause.field, value=cause.value, remedy=cause.remedy
        )
    return StartRefused(
        f"{report.child} {report.how}: {report.error}", remedy="see the log for the whole error"
    )
