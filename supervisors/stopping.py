"""How children are stopped: in reverse order, each timed, going on past one that will not."""

from __future__ import annotations

from actors.events import Kind
from actors.life import Stop, StopTimedOut
from supervisors.roster import Roster
from supervisors.slot import ChildSlot, ChildState

BRIEF = 0.3  # seconds for each child when the start was refused: somebody waits for the answer


class Stopping:
    """Asks one child after the other to end; whether it did is its own exit report's news."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._to_stop: list[ChildSlot] = []
        self._brief = False

    def shut_down(self, by: str, *, brief: bool = False) -> None:
        """Stop all children. A second time does nothing."""
        roster = self._roster
        if roster.stopping:
            return
        roster.stopping = True
        roster.starting = False
        roster.context.events.publish(
            Kind.STOPPING, roster.context.name, roster.context.incarnation, by=by
        )
        self._brief = brief
        self._to_stop = list(reversed(roster.order))
        self._next()

    def _next(self) -> None:
        while self._to_stop:
            slot = self._to_stop[0]
            if slot.ending is None:  # else its timer goes on when `release` does not
                slot.cancel_timer()
            slot.epoch += 1
            if slot.live:
                if slot.ending is None:  # else it is fenced already, and its end is awaited
                    self.ask(slot, BRIEF if self._brief else slot.spec.stop_timeout)
                slot.state = ChildState.STOPPING
                return
            self._to_stop.pop(0)
            self._close(slot)
        self._roster.owner.all_stopped()

    def ask(self, slot: ChildSlot, timeout: float) -> None:
        """Ask a child to end within `timeout` seconds."""
        slot.cancel_timer()
        self._roster.put(slot, Stop(slot.number))
        slot.timer = self._roster.after(timeout, StopTimedOut(slot.name, slot.number))

    def timed_out(self, message: StopTimedOut) -> bool:
        """Whether the child has to be fenced."""
        slot = self._roster.slots[message.child]
        return message.incarnation == slot.number and slot.live

    def ended(self, slot: ChildSlot) -> None:
        """Go on with the next one, if this was the one waited for."""
        if self._to_stop and self._to_stop[0] is slot:
            self._to_stop.pop(0)
            self._close(slot)
            self._next()

    def _close(self, slot: ChildSlot) -> None:
        slot.state = ChildState.STOPPED
        for letter in slot.mailbox.close():
            self._roster.emit(
                slot, Kind.DEAD_LETTER, message=type(letter.message).__name__, why="stopped"
            )
        self._roster.emit(slot, Kind.STAGE, stage=slot.name, what="stopped")
