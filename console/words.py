"""What the running log says: a level and a sentence for every kind of event.

One row a kind; the sentence stands after the child's name and incarnation, as
in `monitor#2  died: killed (killed by ops)`. Facts that are missing become
`?`: a log line must never be the reason that something fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from actors.events import Event, Kind
from defence.orders import IntentKind, OutcomeKind
from defence.trade import Step, TradeState

DEBUG: Final = "DEBUG"
INFO: Final = "INFO"
WARNING: Final = "WARNING"
ERROR: Final = "ERROR"
CRITICAL: Final = "CRITICAL"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log."""

    level: str
    text: str


class Facts:
    """An event's facts, and the child they are about; a missing fact is `?`."""

    def __init__(self, event: Event) -> None:
        self.all: Mapping[str, object] = event.facts
        self.child = event.child
        self.incarnation = event.incarnation or 0  # 0: none has lived yet
        self.again = self.incarnation > 1

    def __getitem__(self, name: str) -> Any:
        return self.all.get(name, "?")

    def has(self, name: str) -> bool:
        """Whether the fact is there and says something."""
        return self.all.get(name) not in (None, "", 0, False)

    @property
    def trade(self) -> str:
        """The trade as people name it: `GBPUSD #123456`."""
        symbol = self.all.get("symbol")
        return f"#{self['ticket']}" if symbol is None else f"{symbol} #{self['ticket']}"


def line_of(event: Event) -> Line:
    """Return what the log says of an event."""
    return SENTENCES[event.kind](Facts(event))


def price(value: object, places: int = 0) -> str:
    """Return a price with at least `places` decimals; `none` where there is none."""
    if value is None:
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.{max(places, _places(value))}f}"


def _places(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return len(f"{value:.8f}".rstrip("0").partition(".")[2])


def count(number: object, word: str) -> str:
    """Return `1 trade`, `2 trades`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


# -- the guard

_STAGES: Final[dict[tuple[str, str], str]] = {
    ("locks", "done"): "data folder {folder} is ours",
    ("stores", "done"): "stores checked and open",
    ("account", "done"): "account {login} on {server} is ours",
    ("ready", "done"): "every child has become ready",
    ("stores", "closed"): "stores closed",
    ("locks", "released"): "locks released",
}


def _stage(facts: Facts) -> Line:
    stage, what = str(facts["stage"]), str(facts["what"])
    known = _STAGES.get((stage, what))
    if known is None:
        lived = facts.incarnation > 0 or stage != facts.child
        text = what if stage == facts.child else f"{stage} {what}"
        return Line(INFO if lived else DEBUG, text)
    values = {name: facts[name] for name in ("folder", "login", "server")}
    return Line(DEBUG if stage == "ready" else INFO, known.format(**values))


def _host_paused(facts: Facts) -> Line:
    text = f"the host paused: {facts['late']} s late, its clock moved by {facts['clock_jump']} s"
    return Line(WARNING, f"{text}; reconciling first")


# -- a child's life

_MODULE: Final = re.compile(r"^(?:[a-z_]\w*\.)+(?=[A-Z])")  # where an error's class is at home


def _exited(facts: Facts) -> Line:
    why = f" ({_MODULE.sub('', str(facts['error']))})" if facts.has("error") else ""
    if facts["how"] == "stopped":
        return Line(DEBUG, f"ended{why}")
    return Line(WARNING, f"died: {facts['how']}{why}")


def _budget_of(facts: Facts) -> tuple[int, int]:
    """Return the restarts that are charged, and how many there may be."""
    used, left = facts["restarts_in_window"], facts["budget_left"]
    if not isinstance(used, int) or not isinstance(left, int):
        return 0, 0
    return used, used + left


def _charged(facts: Facts) -> Line:
    used, most = _budget_of(facts)
    return Line(WARNING, f"charged {used} of {most}, restarting")


def _budget(facts: Facts) -> Line:
    used, most = _budget_of(facts)
    text = f"restart budget: {used} of {most} used"
    return Line(INFO if used else DEBUG, text)


def _escalated(facts: Facts) -> Line:
    failures = facts["failures"]
    told = "; ".join(map(str, failures)) if isinstance(failures, list | tuple) else str(failures)
    plan = "waits for ops"
    if facts.all.get("retry_in") is not None:
        plan = f"tried again in {facts['retry_in']} s"
    text = f"escalated: restart budget used up; {plan} (now: ctl reset-budget {facts.child})"
    return Line(CRITICAL, f"{text}; failures: {told}" if told else text)


def _poisoned(facts: Facts) -> Line:
    return Line(ERROR, f"message {facts['message']} set aside: it crashed twice, {facts['error']}")


def _leaked(facts: Facts) -> Line:
    if facts["ended"] is True:
        return Line(INFO, f"its hung thread has ended; {count(facts['threads'], 'thread')} left")
    text = f"its hung thread stays behind, fenced; {count(facts['threads'], 'thread')} by now"
    return Line(WARNING, text)


def _dead_letter(facts: Facts) -> Line:
    level = WARNING if facts["why"] == "MailboxFull" else DEBUG
    return Line(level, f"message {facts['message']} was not handled: {facts['why']}")


# -- the terminal


def _connecting(facts: Facts) -> Line:
    first = facts["attempt"] == 1
    text = f"connecting to the {facts['terminal']} terminal, attempt {facts['attempt']}"
    return Line(INFO if first else DEBUG, text)


def _connect_failed(facts: Facts) -> Line:
    text = f"connect attempt {facts['attempt']} failed: {facts['error']}"
    return Line(WARNING, f"{text}; next in {facts['retry_in']} s")


def _connected(facts: Facts) -> Line:
    orders = "orders reach a broker" if facts["real"] is True else "no real money"
    text = (
        f"connected to account {facts['login']} on {facts['server']}: {facts['currency']}, "
        f"{facts['margin_mode']}, {facts['terminal']} terminal build {facts['build']} ({orders})"
    )
    return Line(INFO, text)


def _snapshot(facts: Facts) -> Line:
    return Line(DEBUG, f"read {count(facts['positions'], 'position')}, equity {facts['equity']}")


def _cannot_act(facts: Facts) -> Line:
    if facts.all.get("reason") is None:
        return Line(INFO, "orders may be sent again")
    return Line(ERROR, f"cannot act: {facts['reason']}")


# -- the trades

_ALARMING: Final = frozenset({"unexplained", "reversed", "manual_change"})
_STATE_OF: Final = {
    Step.L1_STOP.value: TradeState.WARNING_L1.value,
    Step.L2_HALF.value: TradeState.WARNING_L2.value,
    Step.L2_STOP.value: TradeState.WARNING_L2.value,
}
_DEEDS: Final = {
    IntentKind.MOVE_STOP.value: "move the stop",
    IntentKind.CLOSE_PART.value: "close a part",
    IntentKind.CLOSE.value: "close",
    IntentKind.DELETE_ORDER.value: "delete the order",
}
_OUTCOMES: Final = {
    OutcomeKind.DONE.value: (INFO, "order done"),
    OutcomeKind.PARTIAL.value: (WARNING, "order done in part"),
    OutcomeKind.NOT_DONE.value: (WARNING, "order refused by the broker"),
    OutcomeKind.NOT_SENT.value: (WARNING, "order not sent"),
    OutcomeKind.UNKNOWN.value: (ERROR, "order in doubt, the trade is frozen until it is resolved"),
}


def _trade_changed(facts: Facts) -> Line:
    what = str(facts["what"])
    level = WARNING if what in _ALARMING else INFO
    return Line(level, f"{facts.trade} {what.replace('_', ' ')}: {facts['detail']}")


def _book(facts: Facts) -> Line:
    text = (
        f"{count(facts['active'], 'trade')}, {facts['observed']} of them only observed, "
        f"{count(facts['in_doubt'], 'order')} without an outcome"
    )
    return Line(DEBUG, text)  # an order just sent counts; a lost answer has its own line


def _reconciled(facts: Facts) -> Line:
    news = facts.has("changes") or facts.has("left_open") or facts["reason"] == "start"
    left = f", {facts['left_open']} left open" if facts.has("left_open") else ""
    text = f"reconciled ({facts['reason']}): {count(facts['changes'], 'change')}{left}"
    return Line(INFO if news else DEBUG, text)


def _cycle(facts: Facts) -> Line:
    text = f"cycle {facts['cycle']}: {facts['evaluated']} of {facts['trades']} trades evaluated"
    skipped = facts.all.get("skipped")
    if isinstance(skipped, Mapping) and skipped:
        text += ", skipped: " + ", ".join(f"{n} {why}" for why, n in skipped.items())
    return Line(DEBUG, f"{text}, {count(facts['intents'], 'order')}, took {facts['took']} s")


def _would(facts: Facts) -> Line:
    deed = _DEEDS.get(str(facts["what"]), facts["what"])
    return Line(INFO, f"{facts.trade} would {deed}, but nothing is sent: {facts['reason']}")


def _intent(facts: Facts) -> Line:
    what = str(facts["what"])
    if what == IntentKind.MOVE_STOP.value:
        old, new = facts["stop_before"], facts["stop_loss"]
        places = max(_places(old), _places(new))
        deed = f"stop {price(old, places)} -> {price(new, places)}"
    elif what in (IntentKind.CLOSE_PART.value, IntentKind.CLOSE.value):
        deed = f"close {price(facts['volume'])} lots"
    else:
        deed = str(_DEEDS.get(what, what))
    state = _STATE_OF.get(str(facts.all.get("step")))
    who = facts.trade if state is None else f"{facts.trade} {state}"
    return Line(INFO, f"{who}: {deed} ({facts['reason']})")


def _outcome(facts: Facts) -> Line:
    level, text = _OUTCOMES.get(str(facts["outcome"]), (WARNING, f"order {facts['outcome']}"))
    by = "" if facts["by"] in ("broker", "?") else f", said by {facts['by']}"
    detail = f": {facts['detail']}" if facts.has("detail") else ""
    return Line(level, f"{facts.trade} {text}{by}{detail}")


# -- people

_SEVERITIES: Final = {"info": INFO, "warning": WARNING, "critical": CRITICAL}


def _alert(facts: Facts) -> Line:
    again = facts["count"]
    times = f" ({again} times)" if isinstance(again, int) and again > 1 else ""
    level = _SEVERITIES.get(str(facts["severity"]), WARNING)
    return Line(level, f"ALERT {facts['title']}{times}: {facts['text']}")


def _command(facts: Facts) -> Line:
    rest = " ".join(f"{k}={v}" for k, v in facts.all.items() if k not in ("command", "by"))
    return Line(INFO, f"{facts['by']} says: {facts['command']} {rest}".rstrip())


def _control(facts: Facts) -> Line:
    what = "orders are sent" if facts["mode"] == "armed" else "nothing is sent"
    paused = ", paused" if facts.has("paused") else ""
    why = f": {facts['why']}" if facts.has("why") else ""
    by = f" (by {facts['by']}{why})" if facts.has("by") else ""
    return Line(INFO, f"mode {facts['mode']}{paused}, {what}{by}")


def _frozen(facts: Facts) -> Line:
    why = f": {facts['why']}" if facts.has("why") else ""
    if facts["frozen"]:
        return Line(WARNING, f"frozen by {facts['by']}{why}: no order is sent at all")
    return Line(DEBUG, f"not frozen (by {facts['by']}): orders are sent as the mode allows")


def _set_aside(facts: Facts) -> Line:
    if facts["why"] == "migrated":
        kept = f"; the old one is kept as {facts['path']}"
        return Line(INFO, f"the store {facts['store']!r} was migrated: {facts['reason']}{kept}")
    kept = f"; kept as {facts['path']}" if facts.has("path") else ""
    came = f"; {facts['source']} came in its place" if facts.has("source") else ""
    lost = f"; {count(facts['missing'], 'commit')} missing" if facts.has("missing") else ""
    text = f"the store {facts['store']!r} gave way ({facts['why']}): {facts['reason']}"
    return Line(WARNING if facts["why"] == "restored" else ERROR, text + kept + came + lost)


def _backup(facts: Facts) -> Line:
    if facts["by"] == "before":
        return Line(DEBUG, f"newest backup: {facts['path']}")
    gone = facts.all.get("removed")
    removed = (
        f"; no longer kept: {', '.join(map(str, gone))}" if isinstance(gone, list) and gone else ""
    )
    return Line(INFO, f"backup by {facts['by']}: {facts['path']}{removed}")


def _store_fails(facts: Facts) -> Line:
    return Line(ERROR, f"the store {facts['store']!r} takes no writes: {facts['reason']}")


SENTENCES: Final[Mapping[Kind, Callable[[Facts], Line]]] = {
    Kind.STAGE: _stage,
    Kind.GUARD_READY: lambda f: Line(INFO, f"ready: {count(f['active_trades'], 'trade')} watched"),
    # the command prints the cause as its last line
    Kind.START_REFUSED: lambda f: Line(DEBUG, f"start refused ({f['code']}): {f['cause']}"),
    Kind.STOPPING: lambda f: Line(INFO, f"stopping, asked by {f['by']}"),
    Kind.STOPPED: lambda _: Line(INFO, "stopped"),
    Kind.DIED: lambda f: Line(CRITICAL, f"the guard has died: {f['cause']}"),
    Kind.HOST_PAUSED: _host_paused,
    Kind.STARTED: lambda f: Line(INFO if f.again else DEBUG, "started"),
    Kind.READY: lambda f: Line(INFO if f.again else DEBUG, "ready"),
    Kind.PARKED: lambda f: Line(INFO, f"waits: {f['reason']}"),
    Kind.UNPARKED: lambda _: Line(INFO, "goes on"),
    Kind.EXITED: _exited,
    Kind.FENCED: lambda f: Line(WARNING, f"fenced: {f['how']}"),
    Kind.CHARGED: _charged,
    Kind.RESTARTING: lambda f: Line(INFO, f"next start in {f['delay']} s"),
    Kind.ESCALATED: _escalated,
    Kind.BUDGET: _budget,
    Kind.BUDGET_RESET: lambda f: Line(
        INFO, f"restart budget reset by {f['by']}: {count(f['budget_left'], 'restart')} left"
    ),
    Kind.STALE_REPORT: lambda f: Line(
        DEBUG, f"late report of incarnation {f['of']} ignored: {f['how']}"
    ),
    Kind.POISONED: _poisoned,
    Kind.LEAKED: _leaked,
    Kind.DEAD_LETTER: _dead_letter,
    Kind.CONNECTING: _connecting,
    Kind.CONNECT_FAILED: _connect_failed,
    Kind.CONNECTED: _connected,
    Kind.TERMINAL_LOST: lambda f: Line(WARNING, f"the terminal is lost: {f['reason']}"),
    Kind.TERMINAL_BACK: lambda _: Line(INFO, "the terminal is back"),
    Kind.SNAPSHOT: _snapshot,
    Kind.CANNOT_ACT: _cannot_act,
    Kind.FROZEN: _frozen,
    Kind.TERMINAL_UPDATED: lambda f: Line(
        INFO, f"the terminal was updated: build {f['build']}, before it was {f['before']}"
    ),
    Kind.REGISTERED: lambda f: Line(INFO, f"{f.trade} registered by {f['by']}"),
    Kind.RELEASED: lambda f: Line(INFO, f"{f.trade} released by {f['by']}"),
    Kind.TRADE_CHANGED: _trade_changed,
    Kind.BOOK: _book,
    Kind.RECONCILED: _reconciled,
    Kind.CYCLE: _cycle,
    Kind.WOULD: _would,
    Kind.INTENT: _intent,
    Kind.OUTCOME: _outcome,
    Kind.ALERT: _alert,
    Kind.ACKNOWLEDGED: lambda f: Line(INFO, f"alert {f['key']} acknowledged by {f['by']}"),
    Kind.COMMAND: _command,
    Kind.CONTROL: _control,
    Kind.SET_ASIDE: _set_aside,
    Kind.STORE_FAILS: _store_fails,
    Kind.STORE_WORKS: lambda f: Line(INFO, f"the store {f['store']!r} takes writes again"),
    Kind.BACKUP: _backup,
    Kind.BACKUP_FAILED: lambda f: Line(ERROR, f"backup failed: {f['reason']}"),
}
