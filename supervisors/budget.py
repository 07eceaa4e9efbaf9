"""How often a child may be restarted: a sliding, half-open window."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class RestartBudget:
    """At most `max_restarts` charges in any half-open window of `period` seconds.

    A charge at `t` counts in `[t, t + period)`. All times are of one
    monotonic clock; what comes from the ledger is converted by `restore`.
    (Erlang/OTP keeps a true sliding log too, but lets one more through when
    its seconds are truncated; tumbling windows let through even more: see
    docs/facts/SUPERVISION.md.)
    """

    max_restarts: int
    period: float
    charges: list[float] = field(default_factory=list)

    def in_window(self, now: float) -> int:
        """Return how many charges count at `now`."""
        # The same sum as in `frees_at`: one comparison everywhere, also for the last bit.
        self.charges = [at for at in self.charges if now < at + self.period]
        return len(self.charges)

    def left(self, now: float) -> int:
        """Return how many restarts are still allowed at `now`."""
        return max(0, self.max_restarts - self.in_window(now))

    def allows(self, now: float) -> bool:
        """Whether a restart may be charged at `now`."""
        return self.in_window(now) < self.max_restarts

    def charge(self, now: float) -> None:
        """Count a restart at `now`."""
        self.charges.append(now)

    def frees_at(self, now: float) -> float | None:
        """Return when the next restart becomes possible, None if a charge will never leave."""
        if self.allows(now):
            return now
        if self.max_restarts <= 0:
            return None
        # The charge whose leaving brings the count below the limit.
        return sorted(self.charges)[-self.max_restarts] + self.period

    def reset(self) -> None:
        """Forget all charges (ops)."""
        self.charges.clear()

    def restore(self, wall_times: list[float], *, wall: float, now: float) -> None:
        """Take over charges from the ledger. One dated in the future counts as now."""
        self.charges = sorted(now - max(0.0, wall - at) for at in wall_times)
        self.in_window(now)
