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
        if not self.charges:
            return 0  # as at most looks
        counted = self._counted(now)
        # The newest is not forgotten: its restart may be overdue, and still count (`took_effect`).
        self.charges = counted or self.charges[-1:]
        return len(counted)

    def left(self, now: float) -> int:
        """Return how many restarts are still allowed at `now`."""
        return max(0, self.max_restarts - self.in_window(now))

    def allows(self, now: float) -> bool:
        """Whether a restart may be charged at `now`."""
        return self.in_window(now) < self.max_restarts

    def charge(self, now: float) -> None:
        """Count a restart that happens at `now`, or is planned for then."""
        self.charges = sorted([*self.charges, now])

    def took_effect(self, now: float) -> float:
        """Date the newest charge at `now`, if its restart came later than planned.

        Returns by how many seconds; 0 if ops have forgotten the charge meanwhile.
        """
        if not self.charges or self.charges[-1] >= now:
            return 0.0
        late = now - self.charges[-1]
        self.charges[-1] = now
        return late

    def in_a_row(self, now: float, apart: float) -> int:
        """Return how many of the charges that count follow each other up to `now`.

        One that came `apart` seconds or more before the next one begins no
        row, and neither does one of that age.
        """
        row, after = 0, now
        for at in sorted(self._counted(now), reverse=True):
            if after - at >= apart:
                break
            row, after = row + 1, at
        return row

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
        self.charges = self._counted(now)

    def _counted(self, now: float) -> list[float]:
        # The same sum as in `frees_at`: one comparison everywhere, also for the last bit.
        return [at for at in self.charges if now < at + self.period]
