"""What goes wrong in an hour, drawn from a seed: a list of blows, each one line."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from actors.names import ADMIN, ALERT, CONNECTOR, MONITOR, RECOVERY, REGISTRY, ROOT
from tests.simulation.market import SYMBOLS

TROUBLE = 2700.0  # seconds in which blows fall; after them nothing goes wrong any more
HOUR = 3600.0
CHILDREN = (MONITOR, MONITOR, MONITOR, REGISTRY, REGISTRY, CONNECTOR, CONNECTOR, RECOVERY, ALERT,
            ADMIN)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that happens `at` seconds after the begin; `what` names a method of the world."""

    at: float
    what: str
    args: tuple[object, ...] = ()

    def line(self) -> str:
        """Return it as a readable line."""
        return f"{self.at:7.1f}  {self.what} {json.dumps(self.args)[1:-1]}".rstrip()

    @staticmethod
    def parse(line: str) -> Blow:
        """Return the blow that `line` wrote. Raises `ValueError` for anything else."""
        at, what, rest = (*line.split(maxsplit=2), "")[:3]
        return Blow(float(at), what, tuple(json.loads(f"[{rest}]")))


def script_for(seed: int) -> list[Blow]:
    """Return the blows of a seed, in the order of their time."""
    dice = random.Random(f"script {seed}")
    favourite = dice.choice(list(DRAWS))  # each seed has a fault that it likes
    blows = [Blow(round(dice.uniform(0.0, 60.0), 1), "register", (n, 0)) for n in range(3)]
    blows += [_move(dice) for _ in range(dice.randint(4, 12))]
    for _ in range(dice.randint(3, 16)):
        kind = favourite if dice.random() < 0.35 else dice.choice(list(DRAWS))
        at = round(dice.uniform(5.0, TROUBLE), 1)
        for what, args, later in DRAWS[kind](dice):
            blows.append(Blow(round(at + later, 1), what, args))
    return sorted(blows, key=lambda blow: blow.at)


Drawn = list[tuple[str, tuple[object, ...], float]]


def _move(dice: random.Random) -> Blow:
    by = dice.choice((-1, 1, 1)) * dice.choice((0.002, 0.004, 0.006, 0.008))
    return Blow(round(dice.uniform(60.0, TROUBLE), 1), "move", (dice.choice(SYMBOLS), by))


def _kill(dice: random.Random) -> Drawn:
    return [("kill", (dice.choice(CHILDREN),), 0.0)]


def _kill_often(dice: random.Random) -> Drawn:
    child, gap = dice.choice(CHILDREN), dice.choice((2.0, 40.0, 300.0, 890.0))
    return [("kill", (child,), n * gap) for n in range(dice.randint(3, 6))]


def _strike(dice: random.Random) -> Drawn:
    what = dice.choice(("kill", "crash", "exit", "hang", "slow", "kill", "crash"))
    args = (
        dice.choice((*CHILDREN, ROOT)) if dice.random() < 0.1 else dice.choice(CHILDREN),
        dice.randint(1, 12),
        dice.choice(("before", "after")),
        what,
        dice.choice((5.0, 20.0, 45.0, 200.0)) if what in ("hang", "slow") else 0.0,
        dice.choice((1, 1, 1, 2)),
    )
    return [("strike", args, 0.0), *_work(dice)]


def _at_order(dice: random.Random) -> Drawn:
    """Strike around an order: the market moves so that one is decided."""
    child = dice.choice((REGISTRY, CONNECTOR, CONNECTOR, MONITOR))
    what = dice.choice(("kill", "crash", "hang", "slow", "die"))
    where = dice.choice(("order_send", "order_send", "in_order", "commit trades", "send Execute",
                         "send RecordOutcome", "send Evaluated"))  # fmt: skip
    args = (child, where, dice.choice(("before", "after")), what, dice.choice((5.0, 40.0, 100.0)))
    symbol = dice.choice(SYMBOLS)
    drawn: Drawn = [("move", (symbol, 0.009), 0.0), ("strike_at", args, 61.0),
             ("move", (symbol, -0.008), 65.0)]  # fmt: skip
    if what in ("hang", "slow") and dice.random() < 0.5:
        drawn.append(("kill", (MONITOR,), dice.uniform(66.0, 160.0)))
    return drawn


def _start_fails(dice: random.Random) -> Drawn:
    child = dice.choice(CHILDREN)
    where = dice.choice(("on_start", "on_start", "on_stop"))
    return [
        ("point", (f"{child}.{where}", dice.choice(("crash", "kill")), dice.randint(1, 5)), 0.0),
        dice.choice((("kill", (child,), 1.0), ("ops", ("restart", child), 1.0))),
    ]


def _terminal(dice: random.Random) -> Drawn:
    effect = dice.choice(("unknown", "unknown", "raise", "disconnect", "delay", "hang"))
    call = dice.choice(("positions_get", "account_info", "terminal_info", "symbol_info_tick",
                        "history_deals_get", "initialize"))  # fmt: skip
    seconds = dice.choice((3.0, 25.0, 90.0)) if effect in ("disconnect", "delay", "hang") else None
    args = (call, effect, dice.randint(0, 3), dice.choice((1, 2, 8)), seconds, None, "before")
    return [("fault", args, 0.0)]


def _order_fault(dice: random.Random) -> Drawn:
    effect = dice.choice(("retcode", "retcode", "unknown", "raise", "hang", "delay"))
    retcode = dice.choice((10004, 10006, 10016, 10018, 10020, 10021, 10024, 10031))
    when = "after" if effect in ("unknown", "raise", "delay") and dice.random() < 0.6 else "before"
    args = (
        "order_send", effect, 0, dice.choice((1, 2, 4)),
        dice.choice((5.0, 45.0)) if effect in ("hang", "delay") else None,
        retcode if effect == "retcode" else None, when,
    )  # fmt: skip
    symbol = dice.choice(SYMBOLS)
    return [("move", (symbol, 0.009), 0.0), ("fault", args, 62.0), ("move", (symbol, -0.008), 65.0)]


def _blind(dice: random.Random) -> Drawn:
    """Several cycles in a row cannot see the positions."""
    effect = dice.choice(("unknown", "unknown", "raise"))
    return [("fault", ("positions_get", effect, 0, dice.choice((4, 8, 12)), None, None, "before"),
             0.0)]  # fmt: skip


def _root(dice: random.Random) -> Drawn:
    """Strike the root supervisor, while it has something to do."""
    what = dice.choice(("kill", "hang", "slow", "crash"))
    args = (ROOT, dice.randint(1, 6), dice.choice(("before", "after")), what,
            dice.choice((5.0, 20.0, 90.0)), 1)  # fmt: skip
    return [("strike", args, 0.0), ("kill", (dice.choice(CHILDREN),), 1.0)]


def _outage(dice: random.Random) -> Drawn:
    if dice.random() < 0.4:
        return [("lose_terminal", (), 0.0), *_work(dice)]
    return [("disconnect", (dice.choice((10.0, 70.0, 400.0)),), 0.0), *_work(dice)]


def _disk(dice: random.Random) -> Drawn:
    return [("disk_full", (dice.choice((3.0, 30.0, 120.0)),), 0.0), *_work(dice), *_kill(dice)]


def _clock(dice: random.Random) -> Drawn:
    if dice.random() < 0.5:
        return [("jump", (dice.choice((-3600.0, -40.0, -3.0, 3.0, 40.0, 3700.0)),), 0.0)]
    return [("sleep", (dice.choice((4.0, 20.0, 900.0)),), 0.0)]


def _process(dice: random.Random) -> Drawn:
    if dice.random() < 0.3:
        return [("stop", (dice.choice((1.0, 30.0)),), 0.0)]
    if dice.random() < 0.5:
        return [("die", (dice.choice((1.0, 30.0)),), 0.0)]
    where = dice.choice(("commit trades", "commit ledger", "commit outbox", "commit audit",
                         "order_send", "send Observe"))  # fmt: skip
    child = {"commit ledger": ROOT, "commit outbox": ALERT, "commit audit": ADMIN,
             "order_send": CONNECTOR}.get(where, REGISTRY)  # fmt: skip
    return [
        ("strike_at", (child, where, dice.choice(("before", "after")), "die", 0.0), 0.0),
        *_work(dice),
        *_kill(dice),
    ]


def _ops(dice: random.Random) -> Drawn:
    child = dice.choice(CHILDREN)
    command = dice.choice(("restart", "restart", "reset-budget", "reconcile", "pause", "freeze",
                           "set-mode", "flatten", "acknowledge"))  # fmt: skip
    drawn: Drawn = [("ops", (command, child), 0.0)]
    if command in ("pause", "freeze", "set-mode"):
        drawn.append(("ops", ("resume" if command == "pause" else "arm", child),
                      dice.uniform(5.0, 200.0)))  # fmt: skip
    return drawn


def _work(dice: random.Random) -> Drawn:
    """Registrations, and what people do at the terminal."""
    drawn: Drawn = []
    for n in range(dice.randint(1, 3)):
        what = dice.choice(("register", "register", "again", "batch", "open", "close", "part",
                            "stop_by_hand", "ticket", "release"))  # fmt: skip
        drawn.append((what, (dice.randint(0, 9), dice.randint(0, 3)), n * dice.uniform(0.0, 20.0)))
    return drawn


def _storm(dice: random.Random) -> Drawn:
    return [("storm", (dice.choice((REGISTRY, CONNECTOR, MONITOR)), 120), 0.0), *_strike(dice)]


DRAWS = {
    "kill": _kill,
    "kill_often": _kill_often,
    "strike": _strike,
    "at_order": _at_order,
    "start_fails": _start_fails,
    "terminal": _terminal,
    "order_fault": _order_fault,
    "outage": _outage,
    "blind": _blind,
    "root": _root,
    "disk": _disk,
    "clock": _clock,
    "process": _process,
    "ops": _ops,
    "work": _work,
    "storm": _storm,
}
