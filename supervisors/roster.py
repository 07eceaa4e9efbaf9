"""The children of a root supervisor, and what is done to one of them at a time."""

from __future__ import annotations

from collections.abc import Sequence

from actors.actor import Context
from actors.events import Kind
from actors.mailbox import Lane, Letter
from actors.names import ROOT
from actors.runtime import Timer
from supervisors.owner import Ledger, Owner, RootSettings
from supervisors.slot import ChildSlot
from supervisors.spec import check_names


class Roster:
    """What the parts of the root share. Used on the root's own thread alone."""

    def __init__(
        self,
        context: Context,
        slots: Sequence[ChildSlot],
        ledger: Ledger,
        owner: Owner,
        settings: RootSettings,
    ) -> None:
        check_names([slot.spec for slot in slots])
        self.context = context
        self.order = tuple(slots)  # of the start; the stop is its reverse
        self.slots = {slot.name: slot for slot in slots}
        self.ledger = ledger
        self.owner = owner
        self.settings = settings
        self.starting = False
        self.stopping = False  # nobody is started any more

    def give_up(self, cause: str) -> None:
        """Restart nothing any more: what cannot be kept safe is not carried on."""
        self.stopping = True
        self.owner.cannot_go_on(cause)

    def now(self) -> float:
        """Return the monotonic time."""
        return self.context.runtime.clock.monotonic()

    def put(self, slot: ChildSlot, message: object) -> None:
        """Give a child an order."""
        slot.mailbox.put(Letter(message, id=self.context.runtime.new_id(), lane=Lane.CONTROL))

    def after(self, delay: float, message: object) -> Timer:
        """Send the root `message` after `delay` seconds."""
        return self.context.runtime.call_later(delay, lambda: self.to_root(message))

    def to_root(self, message: object, *, merge: str | None = None) -> None:
        """Send the root a message; from any thread."""
        self.context.post.send(ROOT, message, lane=Lane.CONTROL, merge=merge)

    def emit(self, slot: ChildSlot, kind: Kind, /, **facts: object) -> None:
        """Add a fact of a child's life to the stream."""
        self.context.events.publish(kind, slot.name, slot.number, **facts)

    def publish_budget(self, slot: ChildSlot, kind: Kind = Kind.BUDGET, **facts: object) -> None:
        """Say how much of a child's budget is left."""
        now = self.now()
        slot.shown_in_window = slot.budget.in_window(now)
        self.emit(
            slot,
            kind,
            restarts_in_window=slot.budget.in_window(now),
            budget_left=slot.budget.left(now),
            **facts,
        )
