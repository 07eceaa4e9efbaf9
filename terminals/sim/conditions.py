"""How the simulated broker deals: its terms beside the symbols' own (docs/broker.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from defence.errors import Invalid

UTC: Final = "UTC"
NEW_YORK_CLOSE: Final = "New York close"  # GMT+2, GMT+3 while New York has daylight saving


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The broker's terms. The defaults are ideal: what is quoted is what is dealt."""

    seed: int = 1  # of what is drawn: slippage and requotes
    slippage: int = 0  # points, at most, against the client
    requotes: float = 0.0  # probability of a requote in INSTANT execution, 0 to 1
    depth: bool = False  # whether the symbols' depth limits a fill
    swaps: bool = False
    sessions: bool = False  # whether generated prices keep the symbols' hours
    zone: str = UTC  # the server's clock: UTC, "New York close", or an IANA name


IDEAL: Final = Conditions()
TYPICAL: Final = Conditions(
    slippage=3, requotes=0.05, depth=True, swaps=True, sessions=True, zone=NEW_YORK_CLOSE
)
BY_NAME: Final[Mapping[str, Conditions]] = {"ideal": IDEAL, "typical": TYPICAL}


def conditions_named(name: str, *, seed: int = 1) -> Conditions:
    """Return the terms of a name, with a seed of any sign. Raises Invalid for an unknown name."""
    found = BY_NAME.get(name)
    if found is None:
        raise Invalid(
            f"there are no {name!r} conditions",
            field="sim_conditions",
            value=name,
            remedy=f"one of {', '.join(BY_NAME)}",
        )
    return replace(found, seed=seed & 0xFFFF_FFFF_FFFF_FFFF)  # generators take none below 0
