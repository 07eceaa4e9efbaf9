"""What the tests of the cases share: a crash, a question, and how long a child is away."""

from __future__ import annotations

from runtime_kit import (
    Call,
    House,
    Note,
    die_once,
)

from actors.events import Kind
from supervisors.slot import ChildState

HOUR = 3600.0
DAY = 24 * HOUR


def crash(house: House, name: str = "one") -> None:
    """Have a message crash its handler once, and wait for what follows."""
    slot = house.slot(name)
    number = slot.number
    house.address(name).tell(Call(die_once(RuntimeError("Expected"))))
    house.until(
        lambda: slot.state is ChildState.ESCALATED or (name, number + 1) in house.lives(Kind.READY)
    )


def ping(house: House, name: str = "one") -> int:
    number = house.ask(name, Note("ping"))
    assert isinstance(number, int)
    return number


def delays(house: House, many: int, name: str = "one") -> list[float]:
    """Kill the child `many` times, each time when it is back; return how long it was away."""
    away = []
    for _ in range(many):
        slot = house.slot(name)
        number, before = slot.number, house.clock.monotonic()
        house.kill(name)
        house.until(lambda: (name, number + 1) in house.lives(Kind.READY), 200.0)  # noqa: B023
        away.append(house.clock.monotonic() - before)
    return away
