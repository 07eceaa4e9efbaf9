"""One child of `model_of_supervision`: a few fields, and the charges it has had."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from supervisors.spec import ChildSpec


@dataclass
class Mail:
    """A message: it does `what` the first `times` times that it is handled."""

    what: str  # crash, hang, note
    times: int = 0
    crashes: int = 0


@dataclass
class Child:
    """What is true of one child."""

    spec: ChildSpec
    state: str = "pending"
    number: int = 0
    live: bool = False
    begun: bool = False
    was_ready: bool = False
    parked: bool = False
    manual: bool = False
    closed: bool = False
    stuck_since: float | None = None
    in_hand: Mail | None = None
    progress_at: float = 0.0
    judge_from: float = 0.0
    plan: int = 0  # what is due for an older plan is void
    charges: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    control: deque[tuple[str, int | None]] = field(default_factory=deque)
    data: deque[Mail] = field(default_factory=deque)
    starts: deque[str] = field(default_factory=deque)  # how the next starts go; then "ok"
    stops: deque[str] = field(default_factory=deque)
    # what the stream of events must show
    exits: list[tuple[int, str]] = field(default_factory=list)
    readies: list[int] = field(default_factory=list)
    delays: list[tuple[float, int]] = field(default_factory=list)
    escalations: list[tuple[tuple[str, ...], float | None]] = field(default_factory=list)
    poisoned: int = 0
    leaks: int = 0
    charged: int = 0

    @property
    def responsive(self) -> bool:
        """Whether a question is answered at once."""
        return self.live and self.begun and self.stuck_since is None

    def counted(self, now: float) -> list[float]:
        """Return the charges whose half-open period holds `now`, or is still to begin.

        A charge is dated at its restart, which may be planned for later.
        """
        return [at for at in self.charges if now < at + self.spec.period]

    def busy_for(self, now: float) -> float:
        """Return for how long it may be blamed for one message."""
        return 0.0 if self.stuck_since is None else now - max(self.stuck_since, self.judge_from)

    def quiet_for(self, now: float) -> float:
        """Return for how long it may be blamed for doing nothing."""
        return 0.0 if self.parked else now - max(self.progress_at, self.judge_from)
