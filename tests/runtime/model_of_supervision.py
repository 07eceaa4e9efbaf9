"""The rules of supervision once more, plainly: what a house must have come to.

A second opinion for `test_cases_model`. It knows no mailbox, no thread and no
scheduler: a child is a few fields, time is a list of what is due, and the
window is counted anew from all charges at every look. Written from DESIGN,
Supervision, and SUPERVISION, Corner rules; it shares no code with the root.
"""

from __future__ import annotations

from collections.abc import Sequence

from child_of_supervision import Child, Mail

from supervisors.spec import ChildSpec, Escalation, Restart

PAUSED = 5.0  # seconds of lateness, or of jump, that are a pause of the host
LEAK_WAIT = 60.0  # seconds until a child is tried again that has left too many stuck threads
LATE = 1.0  # seconds by which a restart is later than planned, and written down anew
BRIEF = 0.3  # seconds that a child gets to stop when the start was refused


class Model:
    """One process of a supervised program, and what becomes of its children."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        ledger: dict[str, list[float]],
        *,
        wall: float,
        max_leaked: int,
        startup_timeout: float,
        every: float = 1.0,
    ) -> None:
        self.now, self.offset = 0.0, wall
        self.children = [Child(spec) for spec in specs]
        self.ledger = ledger
        self.ledger_works = True
        self.max_leaked = max_leaked
        self.startup_timeout = startup_timeout
        self.every = every
        self.starting = self.stopping = self.gave_up = False
        self.to_start: list[Child] = []
        self.to_stop: list[Child] = []
        self.patience: float | None = None  # to stop; None: the child's own
        self.leaked: list[tuple[str, int]] = []
        self.start_from = 0.0
        self.looked_at, self.looked_offset = 0.0, wall
        self.due: list[tuple[float, int, str, Child | None, int]] = []
        self.order = 0
        self.ready = self.refused = self.stopped = 0
        self.pauses = 0
        for child in self.children:
            period, name = child.spec.period, child.spec.name
            kept = [at for at in ledger.get(name, []) if at >= wall - period]
            if kept != ledger.get(name, []):
                ledger[name] = kept
            child.charges = [0.0 - max(0.0, wall - at) for at in kept]

    @property
    def wall(self) -> float:
        """What the wall clock says."""
        return self.now + self.offset

    # -- time

    def later(self, seconds: float, what: str, child: Child | None, key: int) -> None:
        self.order += 1
        self.due.append((self.now + seconds, self.order, what, child, key))

    def next_due(self) -> float | None:
        """Return when the next thing is due that is no mere look."""
        return min((due for due, _, what, *_ in self.due if what != "tick"), default=None)

    def let_pass(self, seconds: float) -> None:
        """Let time pass; what is due happens one after the other."""
        end = self.now + seconds
        self.settle()
        while self.due:
            entry = min(self.due, key=lambda one: one[:2])
            if entry[0] > end:
                break
            self.due.remove(entry)
            self.now = max(self.now, entry[0])
            self.happen(*entry[2:])
            self.settle()
        self.now = max(self.now, end)

    def happen(self, what: str, child: Child | None, key: int) -> None:
        if what == "tick":
            if not self.stopping:
                self.later(self.every, "tick", None, 0)
                self.judge()
        elif what == "whole":
            self.whole_start_is_over()
        elif child is None:
            raise AssertionError(what)
        elif what == "start" and key == child.number and child.state == "starting":
            self.start_is_over(child)
        elif what == "stop" and key == child.number and child.live:
            self.fence(child, "hung")
        elif what == "again" and key == child.plan and not self.stopping:
            self.again(child)

    def look(self) -> None:
        """Notice that the host was paused: nobody is judged for that time."""
        late = self.now - self.looked_at - self.every
        jump = self.offset - self.looked_offset
        self.looked_at, self.looked_offset = self.now, self.offset
        if max(late, abs(jump)) > PAUSED:
            self.pauses += 1
            self.start_from = self.now
            for child in self.children:
                child.judge_from = self.now

    def judge(self) -> None:
        """Look for those that hang or are silent."""
        if self.stopping:
            return
        self.look()
        for child in self.children:
            if child.state != "ready":
                continue
            if child.busy_for(self.now) > child.spec.hang_after:
                self.fence(child, "hung")
            elif (limit := child.spec.silence_after) is not None and child.quiet_for(
                self.now
            ) > limit:
                self.fence(child, "silent")

    # -- starting

    def begin(self) -> None:
        self.starting = True
        self.to_start = list(self.children)
        self.start_from = self.now
        self.later(self.startup_timeout, "whole", None, 0)
        self.later(self.every, "tick", None, 0)
        self.start_next()
        self.settle()

    def start_next(self) -> None:
        if self.to_start:
            self.spawn(self.to_start.pop(0))
        else:
            self.starting = False
            self.ready += 1

    def spawn(self, child: Child) -> None:
        child.number += 1
        child.plan += 1
        child.state, child.live, child.begun = "starting", True, False
        child.parked, child.stuck_since = False, None
        child.progress_at = child.judge_from = self.now
        if child.starts and child.starts[0] == "unborn":
            child.starts.popleft()
            self.end(child, "failed to start")
        else:
            self.later(child.spec.start_timeout, "start", child, child.number)

    def became_ready(self, child: Child) -> None:
        child.progress_at = self.now
        if child.state != "starting":
            return
        child.state = "ready"
        child.readies.append(child.number)
        first, child.was_ready = not child.was_ready, True
        if first and self.starting and not self.stopping:
            self.start_next()

    def start_is_over(self, child: Child) -> None:
        self.look()
        left = child.judge_from + child.spec.start_timeout - self.now
        if left > 0:
            self.later(left, "start", child, child.number)
        elif child.parked and child.busy_for(self.now) <= child.spec.hang_after:
            self.later(child.spec.start_timeout, "start", child, child.number)
        else:
            self.fence(child, "hung" if child.parked else "not ready in time")

    def whole_start_is_over(self) -> None:
        self.look()
        if not self.starting or self.stopping:
            return
        left = self.start_from + self.startup_timeout - self.now
        if left > 0:
            self.later(left, "whole", None, 0)
        else:
            self.refuse()

    def refuse(self) -> None:
        self.starting = False
        self.refused += 1
        self.patience = BRIEF
        self.shut_down()

    # -- what a child does

    def settle(self) -> None:
        """Let every child do all that it can do now."""
        while any(self.step(child) for child in self.children):
            pass

    def step(self, child: Child) -> bool:
        if not child.live or child.stuck_since is not None:
            return False
        if not child.begun:
            self.on_start(child, child.starts.popleft() if child.starts else "ok")
        elif child.control:
            self.take_order(child, *child.control.popleft())
        elif child.data:
            self.take_mail(child, child.data.popleft())
        else:
            return False
        return True

    def on_start(self, child: Child, outcome: str) -> None:
        child.begun = True
        if "park" in outcome:
            child.parked = True
        if "hang" in outcome:
            child.stuck_since = self.now
        elif outcome == "raise":
            self.end(child, "failed to start")
        elif outcome == "kill":
            self.end(child, "killed")
        elif outcome == "ok":
            self.became_ready(child)

    def take_order(self, child: Child, order: str, number: int | None) -> None:
        if order == "kill":
            self.end(child, "killed")
        elif order == "hang":
            child.stuck_since = self.now
        elif number in (None, child.number):  # a stop, and meant for this one
            outcome = child.stops.popleft() if child.stops else "ok"
            if outcome == "hang":
                child.stuck_since = self.now
            else:
                how = {"ok": "stopped", "raise": "crashed", "kill": "killed"}[outcome]
                self.end(child, how)

    def take_mail(self, child: Child, mail: Mail) -> None:
        if mail.times == 0:
            return
        mail.times -= 1
        if mail.what == "hang":
            child.stuck_since, child.in_hand = self.now, mail
            return
        mail.crashes += 1
        if mail.crashes < 2:
            child.data.appendleft(mail)
        else:
            child.poisoned += 1
        self.end(child, "crashed")

    # -- ends

    def fence(self, child: Child, how: str) -> None:
        if child.stuck_since is not None:
            self.leaked.append((child.spec.name, child.number))
            child.leaks += 1
        if child.in_hand is not None:
            child.data.appendleft(child.in_hand)
            child.in_hand = None
        self.end(child, how)

    def end(self, child: Child, how: str) -> None:
        child.live, child.stuck_since = False, None
        child.exits.append((child.number, how))
        kind = child.spec.restart
        if self.gave_up:
            return
        if self.stopping:
            if self.to_stop and self.to_stop[0] is child:
                self.close(self.to_stop.pop(0))
                self.stop_next()
        elif child.manual:
            child.manual = False
            self.spawn(child)
        elif self.starting and not child.was_ready:
            self.refuse()
        elif kind is Restart.TEMPORARY or (kind is Restart.TRANSIENT and how == "stopped"):
            child.state = "stopped"
            child.data.clear()  # nobody will read it: its senders are told, and later ones refused
            child.control.clear()
        else:
            child.failures = [*child.failures, how][-(child.spec.max_restarts + 1) :]
            self.charge(child)

    def charge(self, child: Child) -> None:
        if len(self.leaked) > self.max_leaked:
            self.escalate(child, LEAK_WAIT)
            return
        if len(child.counted(self.now)) >= child.spec.max_restarts:
            self.escalate(child, 1.0)
            return
        nth = self.nth(child)
        backoff = child.spec.backoff
        growth = backoff.factor ** max(0, nth - 2)
        delay = 0.0 if nth == 1 else min(backoff.limit, backoff.first * growth)
        child.charges.append(self.now + delay)
        child.charged += 1
        if self.ledger_works:
            self.ledger.setdefault(child.spec.name, []).append(self.wall + delay)
        if delay == 0.0:
            self.spawn(child)
            return
        child.state = "backoff"
        child.plan += 1
        child.delays.append((round(delay, 3), nth))
        self.later(delay, "again", child, child.plan)

    def nth(self, child: Child) -> int:
        """Return which restart in a row this is: the first again after a quiet time."""
        row, after = 1, self.now
        for at in sorted(child.counted(self.now), reverse=True):
            if after - at >= child.spec.backoff.reset_after:
                break
            row, after = row + 1, at
        return row

    def escalate(self, child: Child, at_least: float) -> None:
        child.state = "escalated"
        child.plan += 1
        failures, child.failures = tuple(child.failures), []
        wait = self.until_freed(child)
        if wait is None or child.spec.escalation is Escalation.STAY_DOWN:
            child.escalations.append((failures, None))
            return
        wait = max(at_least, wait)
        child.escalations.append((failures, round(wait, 1)))
        self.later(wait, "again", child, child.plan)

    def until_freed(self, child: Child) -> float | None:
        """Return the seconds until a charge is allowed, by looking at every moment in turn."""
        ends = sorted({self.now, *(at + child.spec.period for at in child.counted(self.now))})
        for moment in ends:
            if len(child.counted(moment)) < child.spec.max_restarts:
                return moment - self.now
        return None

    def again(self, child: Child) -> None:
        if child.state == "backoff":
            if child.charges:  # ops may have forgotten them meanwhile
                planned = max(child.charges)
                child.charges.remove(planned)
                child.charges.append(max(planned, self.now))
                if self.now - planned > LATE and self.ledger_works:
                    self.ledger.setdefault(child.spec.name, []).append(self.wall)
            self.spawn(child)
        elif child.state == "escalated":
            wait = self.until_freed(child)
            if wait is not None and wait > 0:
                self.later(wait, "again", child, child.plan)
            else:
                self.charge(child)

    # -- ops

    def restart(self, child: Child) -> bool:
        """Restart by hand; False where that is refused."""
        if child.state == "pending" or self.stopping:
            return False
        if child.live:
            child.manual = True
            self.ask_to_stop(child)
        else:
            self.spawn(child)
        return True

    def reset_budget(self, child: Child) -> bool:
        if self.stopping or not self.ledger_works:
            return False
        self.ledger.pop(child.spec.name, None)
        child.charges, child.failures = [], []
        if child.state == "escalated":
            self.spawn(child)
        return True

    def strike(self, child: Child, blow: str) -> bool:
        if self.stopping or not child.live:
            return False
        child.control.append((blow, None))
        return True

    def shut_down(self) -> None:
        if self.stopping:
            return
        self.stopping, self.starting = True, False
        self.to_stop = list(reversed(self.children))
        self.stop_next()

    def stop_next(self) -> None:
        while self.to_stop and not self.to_stop[0].live:
            self.close(self.to_stop.pop(0))
        if not self.to_stop:
            self.stopped += 1
            return
        self.to_stop[0].plan += 1
        self.to_stop[0].state = "stopping"
        self.ask_to_stop(self.to_stop[0])

    def ask_to_stop(self, child: Child) -> None:
        child.control.append(("stop", child.number))
        wait = child.spec.stop_timeout if self.patience is None else self.patience
        self.later(wait, "stop", child, child.number)

    def close(self, child: Child) -> None:
        child.state, child.closed = "stopped", True
        child.plan += 1
        child.control.clear()
        child.data.clear()

    def thread_ends(self) -> tuple[str, int] | None:
        """Let the oldest stuck thread end at last; return whose it was."""
        return self.leaked.pop(0) if self.leaked else None
