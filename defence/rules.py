"""The numbers of the policy, and the words that mark a trade's origin."""

from __future__ import annotations

import math
from dataclasses import dataclass

from defence.errors import Invalid

ADOPTED = "adopted"  # `managed_by` of a trade that reconciliation found and guards
WATCHED = "observed"  # `managed_by` of a trade that reconciliation found and only watches


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The policy's numbers. Givebacks in R, times in seconds.

    `quote_stale_after` None never calls a price stale. Raises `Invalid`.
    """

    l1_giveback: float = 0.5
    l2_giveback: float = 0.8
    max_attempts: int = 3
    retry_after: float = 60.0
    quote_stale_after: float | None = 120.0

    def __post_init__(self) -> None:
        """Refuse numbers with which the rules make no sense."""
        _need(0 < self.l1_giveback < math.inf, "l1_giveback", self.l1_giveback, "give R above 0")
        _need(
            self.l1_giveback <= self.l2_giveback < math.inf,
            "l2_giveback",
            self.l2_giveback,
            "give R not below l1_giveback",
        )
        _need(self.max_attempts >= 1, "max_attempts", self.max_attempts, "give 1 or more")
        _need(0 <= self.retry_after < math.inf, "retry_after", self.retry_after, "give seconds")
        stale = self.quote_stale_after
        _need(stale is None or stale > 0, "quote_stale_after", stale, "give seconds, or leave out")


def _need(good: bool, field: str, value: object, remedy: str) -> None:
    if not good:
        raise Invalid("does not fit the policy", field=field, value=value, remedy=remedy)
