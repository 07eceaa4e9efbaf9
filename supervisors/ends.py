"""What follows when an incarnation ends: fencing, the charge, the restart or the escalation."""

from __future__ import annotations

from typing import Final

from actors.events import Kind
from actors.incarnation import Incarnation
from actors.letters import answer
from actors.life import Answer, ExitReport, Freed, Poison, StartChild
from actors.poisoning import condemn
from defence.errors import DtmsError, Fault, StoreLost
from supervisors.owner import ChargeUnwritten, Escalated, Leaked, Poisoned
from supervisors.roster import Roster
from supervisors.slot import ChildSlot, ChildState
from supervisors.spec import Escalation, Restart
from supervisors.starting import Starting, refusal
from supervisors.stopping import Stopping

REVOKE_WAIT: Final = 0.5  # seconds that an order under way may take before its lease is stuck
RELEASE_WAIT: Final = 2.0  # seconds that a spec's `release` may take
RELEASES: Final = 2  # how often it is called before nothing can be kept safe any more
LATE: Final = 1.0  # seconds by which a restart is later than planned, and worth a note
LEAK_WAIT: Final = 60.0  # seconds until a child is tried again when too many threads hang
STUCK: Final = ("hung", "not ready in time")  # ends that leave a thread behind


class Ends:
    """Takes exit reports, makes those of the hung, and decides what comes after."""

    def __init__(self, roster: Roster, starting: Starting, stopping: Stopping) -> None:
        self._roster = roster
        self._starting = starting
        self._stopping = stopping
        self.leaked: list[Incarnation] = []

    def fence(self, slot: ChildSlot, how: str, *, blame: bool = False) -> None:
        """End an incarnation that does not end by itself; `blame` what it has in hand."""
        incarnation = slot.incarnation
        if incarnation is None or not incarnation.claim_report():
            return  # it has ended by itself; its own report is on the way, or `look_for_lost` acts
        busy = "" if slot.vitals is None else slot.vitals.busy_with
        seconds = slot.busy_for(self._roster.now())
        error = f"in {busy} for {seconds:.1f} s" if busy else ""
        poison = self._blame(slot, f"hung {error}") if blame else None
        slot.mailbox.fence()
        self._roster.emit(slot, Kind.FENCED, how=how)
        self.exited(ExitReport(slot.name, slot.number, how, error, poison=poison))

    def look_for_lost(self) -> None:
        """Take the ends whose reports were lost, as when there was no memory for one."""
        for slot in self._roster.order:
            if self._unreported(slot):
                self.exited(ExitReport(slot.name, slot.number, "crashed", "its report was lost"))

    def _unreported(self, slot: ChildSlot) -> bool:
        """Whether its thread had ended at an earlier look too, and no report has come."""
        one = slot.incarnation
        if one is None or not slot.live or slot.ending is not None or not one.done:
            return False
        if not self._roster.context.runtime.join(one, 0.0):
            return False
        before, slot.found_dead = slot.found_dead, slot.number
        return before == slot.number

    def _blame(self, slot: ChildSlot, error: str) -> Poison | None:
        """Fence; set aside what is in hand, if a forerunner failed over it too."""
        letter = slot.mailbox.fence_hung()
        if letter is None:
            return None
        ours = self._roster.context
        at = ours.runtime.clock.wall()
        poison = condemn(letter, slot.name, slot.number, error, ours.events, at)
        fault = Fault(f"{slot.name} hung on this message again: {error}", remedy="report it")
        answer(letter, None, fault)
        if (back := letter.answer_to) is not None:
            said = Answer(back.request_id, back.incarnation, slot.name, error=fault)
            ours.post.send(back.child, said)
        return poison

    def exited(self, report: ExitReport) -> None:
        """Take an exit report. It is the only one of its incarnation, or stale."""
        roster, slot = self._roster, self._roster.slots[report.child]
        if report.incarnation != slot.number or not slot.live or slot.ending is not None:
            roster.emit(slot, Kind.STALE_REPORT, of=report.incarnation, how=report.how)
            return
        slot.cancel_timer()
        slot.mailbox.fence()
        if report.poison is not None:
            roster.owner.poisoned(Poisoned(slot.name, report.incarnation, report.poison))
        if slot.spec.release is not None and report.how in STUCK:
            slot.state = ChildState.STOPPING
            self._release(slot, report, 1)
        elif self._revoked(slot, REVOKE_WAIT):
            self._over(slot, report)
        else:
            self._cannot_be_fenced(slot)

    # -- releasing what a child is stuck in, without waiting for it

    def _release(self, slot: ChildSlot, report: ExitReport, nth: int) -> None:
        """Have the spec's `release` called; `freed` goes on when it is done, or takes too long."""
        roster, freed = self._roster, Freed(slot.name, slot.number, nth)
        slot.ending, slot.releases = report, nth
        self._revoked(slot, 0.0)  # at once: from here on nothing new may begin
        log, name = roster.context.log, slot.name

        def done(result: object) -> None:
            if isinstance(result, Exception):
                log.opt(exception=result).error("{} cannot be released", name)
            roster.to_root(freed)

        slot.timer = roster.after(RELEASE_WAIT, freed)
        try:
            roster.context.runtime.aside(slot.spec.release or (lambda: None), done)
        except RuntimeError as error:  # no thread to be had: the time-out goes on
            log.error("{} cannot be released: {}", name, error)

    def freed(self, message: Freed) -> None:
        """Go on with an end that waited for `release`."""
        slot = self._roster.slots[message.child]
        report = slot.ending
        if report is None or (message.incarnation, message.nth) != (slot.number, slot.releases):
            return
        slot.cancel_timer()
        if self._revoked(slot, REVOKE_WAIT):
            slot.ending = None
            self._over(slot, report)
        elif message.nth < RELEASES:
            self._release(slot, report, message.nth + 1)
        else:
            self._cannot_be_fenced(slot)

    def _revoked(self, slot: ChildSlot, timeout: float) -> bool:
        return slot.lease is None or slot.lease.revoke(timeout)

    def _cannot_be_fenced(self, slot: ChildSlot) -> None:
        self._roster.give_up(f"{slot.name} cannot be fenced: an order is stuck in it")

    # -- what comes after

    def _over(self, slot: ChildSlot, report: ExitReport) -> None:
        roster = self._roster
        if slot.incarnation is not None and self._left_a_thread(slot, report):
            self._note_leak(slot.incarnation)
        slot.incarnation, slot.live = None, False
        roster.emit(slot, Kind.EXITED, how=report.how, error=report.error)
        if roster.stopping:
            self._stopping.ended(slot)
        elif slot.manual:
            slot.manual = False
            self._starting.spawn(slot)
        elif roster.starting and not slot.was_ready:
            self.refuse_start(refusal(report))
        elif slot.spec.restart is Restart.TEMPORARY or (
            slot.spec.restart is Restart.TRANSIENT and report.normal
        ):
            slot.state = ChildState.STOPPED
            for letter in slot.mailbox.close(until_opened=True):
                message = type(letter.message).__name__
                roster.emit(slot, Kind.DEAD_LETTER, message=message, why="ended")
        else:
            failure = f"{report.how}: {report.error}".rstrip(": ")
            slot.failures = [*slot.failures, failure][-(slot.spec.max_restarts + 1) :]
            self._charge_and_restart(slot)

    def refuse_start(self, cause: DtmsError) -> None:
        """Give the whole start up, and stop what was started."""
        self._roster.starting = False
        self._roster.owner.start_refused(cause)
        self._stopping.shut_down("a refused start", brief=True)

    def _charge_and_restart(self, slot: ChildSlot) -> None:
        roster, now = self._roster, self._roster.now()
        if self.count_leaked() > roster.settings.max_leaked:
            self._escalate(slot, "too many of its threads hang", LEAK_WAIT)
            return
        if not slot.budget.allows(now):
            self._escalate(slot, "its restart budget is used up", 1.0)
            return
        backoff = slot.spec.backoff
        nth = slot.budget.in_a_row(now, backoff.reset_after) + 1
        delay = backoff.delay(nth, roster.context.runtime.random)
        # Dated at the restart, not at the failure: it is restarts that a window limits.
        slot.budget.charge(now + delay)
        if not self._written(slot, delay):
            return
        roster.publish_budget(slot, Kind.CHARGED)
        if delay <= 0:
            self._restart_now(slot)
            return
        slot.state = ChildState.BACKOFF
        slot.epoch += 1
        roster.emit(slot, Kind.RESTARTING, delay=round(delay, 3), nth=nth)
        slot.timer = roster.after(delay, StartChild(slot.name, slot.epoch))

    def _written(self, slot: ChildSlot, delay: float) -> bool:
        """Write a charge that is dated `delay` seconds from now; False if all ends with it."""
        roster = self._roster
        try:
            roster.ledger.add(slot.name, roster.context.runtime.clock.wall() + delay)
        except StoreLost as lost:
            # The charge would be gone with the file, and a restart unbudgeted.
            roster.give_up(str(lost))
            return False
        except (DtmsError, OSError) as error:
            roster.owner.charge_unwritten(ChargeUnwritten(slot.name, str(error)))
        return True

    def _escalate(self, slot: ChildSlot, why: str, at_least: float) -> None:
        """Say that the child is down; plan to try again in `at_least` seconds or later."""
        roster, now = self._roster, self._roster.now()
        slot.state = ChildState.ESCALATED
        slot.epoch += 1
        failures, slot.failures = slot.failures, []
        frees_at = slot.budget.frees_at(now)
        retry = slot.spec.escalation is Escalation.RETRY and frees_at is not None
        again = max(at_least, frees_at - now) if frees_at is not None and retry else None
        roster.emit(
            slot,
            Kind.ESCALATED,
            failures=failures,
            retry_in=None if again is None else round(again, 1),
        )
        roster.owner.escalated(Escalated(slot.name, slot.number, why, tuple(failures), again))
        if again is not None:
            slot.timer = roster.after(again, StartChild(slot.name, slot.epoch))

    def start_again(self, message: StartChild) -> None:
        """Start a child whose backoff, or whose escalation, is over."""
        slot = self._roster.slots[message.child]
        if self._roster.stopping or message.epoch != slot.epoch:
            return
        if slot.state is ChildState.BACKOFF:
            self._restart_now(slot)
        elif slot.state is ChildState.ESCALATED:
            now = self._roster.now()
            frees_at = slot.budget.frees_at(now)
            if frees_at is not None and frees_at > now:  # rounding: the timer came a moment early
                slot.timer = self._roster.after(frees_at - now, message)
            else:
                self._charge_and_restart(slot)

    def _restart_now(self, slot: ChildSlot) -> None:
        """Start a child that has been charged, and date the charge at this moment."""
        late = slot.budget.took_effect(self._roster.now())
        # The host slept through the backoff, or the ledger took its time: the next process must
        # not count from the plan. That charge stays in the ledger: one too many, never one less.
        if late > LATE and not self._written(slot, 0.0):
            return
        slot.budget.took_effect(self._roster.now())  # that took its time, too
        self._starting.spawn(slot)

    # -- threads that stay behind

    def _left_a_thread(self, slot: ChildSlot, report: ExitReport) -> bool:
        """Whether it is in a handler. One that only waits sees the fence, and ends."""
        busy = slot.vitals is not None and slot.vitals.busy_since is not None
        return busy and (report.how in STUCK or report.how == "silent")

    def _note_leak(self, incarnation: Incarnation) -> None:
        if not self._roster.context.runtime.join(incarnation, 0.0):
            self.leaked.append(incarnation)
            self._tell_leak(incarnation, ended=False)

    def count_leaked(self) -> int:
        """Return how many hung threads are behind, and tell of those that have ended."""
        join = self._roster.context.runtime.join
        for one in [one for one in self.leaked if join(one, 0.0)]:
            self.leaked.remove(one)
            self._tell_leak(one, ended=True)
        return len(self.leaked)

    def _tell_leak(self, one: Incarnation, *, ended: bool) -> None:
        roster, threads = self._roster, len(self.leaked)
        roster.context.events.publish(
            Kind.LEAKED, one.name, one.number, threads=threads, ended=ended
        )
        roster.owner.leaked(Leaked(one.name, one.number, threads, ended))
