"""What the Connector tells once when it changes: whether orders may be sent, and the build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from actors.actor import GuardActor
from actors.events import Kind
from actors.messages import Raise
from actors.names import ALERT
from defence.alerts import Notice, Severity
from defence.broker import Account, TerminalState
from defence.orders import Outcome
from defence.outcomes import refused_to_programs
from defence.permission import why_cannot_act

# Seconds until another order is tried after one that was refused to programs as
# such, while every switch says that they may: nothing tells when that ends but
# an order. Doubled with each refusal in a row.
WAIT_FIRST: Final = 30.0
WAIT_LIMIT: Final = 300.0
# Seconds of trying without another refusal until people are told that it is over.
GRACE: Final = 120.0


@dataclass(slots=True)
class Build:
    """The build of the terminal that was seen last, over all incarnations; None before that."""

    newest: int | None = None


class TerminalNews:
    """Compares what is read with what was read before; tells events, and people of an update."""

    def __init__(self, owner: GuardActor, build: Build) -> None:
        self._owner = owner
        self._build = build
        # A later incarnation says it anew, whatever its forerunner said last.
        self._said: str | None = None if owner.context.incarnation == 1 else ""
        self._refused: str | None = None
        self._again_at = 0.0  # monotonic
        self._wait = WAIT_FIRST

    def read(self, account: Account, state: TerminalState, kind: str, *, real: bool) -> None:
        """Take note of a look at the terminal; `kind` and `real` are the terminal's."""
        switched_off = why_cannot_act(account, state)
        if switched_off is not None:
            # The switches explain the refusals: they also say when it is over.
            self._refused, self._wait = None, WAIT_FIRST
        elif self._refused is not None and self._owner.clock.monotonic() >= self._again_at + GRACE:
            self._refused, self._wait = None, WAIT_FIRST
        self._say(switched_off or self._refused)
        before, self._build.newest = self._build.newest, state.build
        if before not in (None, state.build):
            self._owner.emit(
                Kind.TERMINAL_UPDATED, before=before, build=state.build, terminal=kind, real=real
            )
            notice = Notice(
                key="terminal_updated",
                severity=Severity.INFO,
                title="The terminal was updated",
                text=f"Its build is {state.build}, before it was {before}. "
                "Look whether trading by programs is still switched on.",
            )
            self._owner.tell(ALERT, Raise(notice))

    def answered(self, outcome: Outcome) -> None:
        """Take note of what became of an order that was tried."""
        if refused_to_programs(outcome):
            self._refused = f"an order was refused although all switches are on: {outcome.detail}"
            self._again_at = self._owner.clock.monotonic() + self._wait
            self._wait = min(2 * self._wait, WAIT_LIMIT)
            self._say(self._refused)
        elif outcome.retcode is not None:
            self._refused, self._wait = None, WAIT_FIRST

    @property
    def refusal(self) -> str | None:
        """Why the newest order was refused to programs as such, though every switch is on."""
        return self._refused

    @property
    def probing(self) -> bool:
        """Whether orders are tried again after a refusal."""
        return self._refused is not None and self._owner.clock.monotonic() >= self._again_at

    def _say(self, reason: str | None) -> None:
        if reason != self._said:
            self._said = reason
            self._owner.emit(Kind.CANNOT_ACT, reason=reason)
