"""What a guard did upon a damaged folder, judged by the journal and the broker's own books."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from damage_blows import Damage
from damage_journal import EMPTY, STORES, State
from damage_world import Process, World

from actors.events import Event, Kind
from defence.alerts import Severity
from defence.errors import StartRefused
from defence.trade import TradeRecord


class WrongError(AssertionError):
    """The guard did what it must not do."""


@dataclass
class Verdict:
    """How it ended."""

    ended: str  # "harmless", "recovered", "refused"
    replaced: dict[str, str] = field(default_factory=dict)  # by store: what came in its place


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def judge(world: World, damage: Damage, *, again: bool) -> Verdict:
    """Start a guard on the damaged world and judge all that it does; raises WrongError."""
    before = files(world.folder / "data")
    # without marker and trades there is nothing to tell that the folder is ours
    damage.refusal = "dtms.json" not in before and "trades/data.mdb" not in before
    process = Process(world, "judged", world.wall)
    try:
        process.start()
    except StartRefused as refusal:
        return _refused(world, damage, refusal, before)
    _must(not damage.refusal, "it started where it had to refuse")
    case = _Case(world, damage, process, before)
    case.judge()
    process.runtime.run_for(400.0)
    case.compare_with_the_broker()
    ended = case.now()
    alerts = {alert.id: alert.count for alert in process.guard.alerts()}
    mode = process.guard.status()["mode"]
    process.stop()
    if again:
        _again(world, process, ended, alerts, mode)
    replaced = {each.facts["store"]: each.facts["source"] or "nothing" for each in case.told}
    return Verdict("recovered" if case.told else "harmless", replaced)


def _must(true: object, what: object) -> None:
    if not true:
        raise WrongError(str(what)[:2000])


def _refused(
    world: World, damage: Damage, refusal: StartRefused, before: Mapping[str, bytes]
) -> Verdict:
    _must(damage.refusal, f"it refused to start: {refusal}")
    text = str(refusal)
    for part in ("data_dir", "remedy", str(world.folder / "data")):
        _must(part in text or part == "remedy", f"the refusal does not name {part}: {text}")
    cause = refusal.__cause__ if refusal.__cause__ is not None else refusal
    _must(bool(getattr(cause, "remedy", None)), f"the refusal has no remedy: {text}")
    after = files(world.folder / "data")
    left = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    _must(left <= {"guard.lock", "dtms.guard.lock.json"} or not left, f"it changed {left}")
    return Verdict("refused")


@dataclass
class _Case:
    world: World
    damage: Damage
    process: Process
    before: Mapping[str, bytes]
    told: list[Any] = field(default_factory=list)  # events, whose facts are plain
    origin: dict[str, State] = field(default_factory=dict)  # the journal's state that was served

    def judge(self) -> None:
        """Judge what was served first, what people were told, and what is served now."""
        events = self.process.guard.events.since()
        self.told = [each for each in events if each.kind is Kind.SET_ASIDE]
        names = [each.facts["store"] for each in self.told]
        _must(len(names) == len(set(names)), f"told twice: {names}")
        by_store = {each.facts["store"]: each for each in self.told}
        _must(("marker" in by_store) == self.damage.marker, f"the marker: {names}")
        for name in STORES:
            event = by_store.get(name)
            allowed = self._unchanged(name) if event is None else self._replaced(name, event)
            served = self.process.opened[name]
            found = next((state for state in allowed if state == served), None)
            _must(found is not None, _differs(name, served, list(allowed), event))
            self.origin[name] = found or {}
        self._account()
        self._kept()
        self._alerts()
        self._control(by_store)
        self._now()

    def _states(self, name: str, places: set[int]) -> list[State]:
        states = self.world.states[name]
        return [states[place] for place in sorted(places, reverse=True)]

    def _unchanged(self, name: str) -> list[State]:
        """Return what a store may serve that goes on as it is."""
        last, damage = self.world.last[name], self.damage
        _must(name not in damage.lost, f"{name} was taken away, and nobody was told")
        places = {last}
        if name in damage.unmarked:
            places |= damage.could_be.get(name, set())
        return self._states(name, places)

    def _replaced(self, name: str, event: Any) -> list[State]:
        """Return what may have come in a store's place."""
        _must(name in self.damage.spoilt, f"{name} gave way without need: {event.facts}")
        source = event.facts["source"]
        sets = list(reversed(self.world.sets))
        good = [each for each in sets if (each.name, name) not in self.damage.backups]
        if source == name:
            _must(event.facts["why"] == "rolled-back", f"{name} came in its own place: {event}")
            newest = good[0].index[name] if good else -1
            own = self.damage.could_be.get(name, set())
            return self._states(name, {at for at in own if self._as_new(name, at, newest)})
        if source is None:
            _must(not good, f"{name}: {good[:1]} was not used: {event.facts}")
            return [EMPTY[name]]
        chosen = next((each for each in sets if each.name == source), None)
        if chosen is None:
            raise WrongError(f"{name} came from {source}, which is no backup")
        if good:
            newer = sets[: sets.index(good[0]) + 1]  # a spoilt copy may be sound all the same
            _must(chosen in newer, f"{name} came from {source}, {good[0].name} is newer")
        own = self.damage.could_be.get(name, set())
        if event.facts["why"] == "rolled-back":
            as_new = any(self._as_new(name, chosen.index[name], place) for place in own)
            _must(as_new, f"{name} came from {source}, its own is newer")
        return self._states(name, {chosen.index[name]})

    def _as_new(self, name: str, at: int, than: int) -> bool:
        """Whether one place is not behind another: between them may be commits of nothing."""
        states = self.world.states[name]
        return at >= than or states[at] == states[than]

    def _account(self) -> None:
        known, spoilt = self.process.account, "trades" in self.damage.spoilt
        free = known is None and spoilt and self.damage.marker
        _must(known == self.world.account or free, f"the folder's account became {known}")

    def _kept(self) -> None:
        """Every file that gave way lies aside as it was, with the reason beside it."""
        data = self.world.folder / "data"
        for event in self.told:
            name, aside = event.facts["store"], event.facts["path"]
            if name == "marker":
                was = {aside: self.before["dtms.json"]} if aside is not None else {}
            else:
                was = {
                    path.replace(name, aside, 1): content
                    for path, content in self.before.items()
                    if (path == name or path.startswith(f"{name}/")) and "lock.mdb" not in path
                }
            _must(not was or aside is not None, f"{name} gave way, and was not kept")
            for path, content in was.items():
                kept = data / path
                _must(kept.is_file() and kept.read_bytes() == content, f"{path} is not as it was")
            if aside is not None:
                reason = (data / f"{aside}.txt").read_text()
                _must(event.facts["reason"].splitlines()[0] in reason, f"{aside}.txt: {reason}")
        left = [path for path in files(data) if path.split("/")[0].endswith((".new", ".swap"))]
        _must(not left, f"left behind: {left}")

    def _alerts(self) -> None:
        """Every store that gave way is one alert, critical, that names what came and what not."""
        told = {
            alert.key: alert
            for alert in self.process.guard.alerts()
            if alert.key.startswith("set_aside:") and alert.acknowledged_at is None
            and alert.id.startswith("dtms.")
        }  # fmt: skip
        expected = {f"set_aside:{each.facts['store']}": each.facts for each in self.told}
        fresh = {key for key in told if told[key].raised_at >= self.world.wall}
        _must(fresh == set(expected), f"alerts {sorted(fresh)}, not {sorted(expected)}")
        for key, facts in expected.items():
            alert, name = told[key], facts["store"]
            _must(alert.severity is Severity.CRITICAL, f"{key} is {alert.severity}")
            for part in (facts["path"], facts["source"] if facts["source"] != name else None):
                _must(part is None or part in alert.text, f"{part} is not in: {alert.text}")
            if facts["source"] is None and name != "marker":
                _must("Missing: all" in alert.text, alert.text)
            lost = self._lost(name)
            known = name not in self.damage.unmarked  # else nobody knows how far it had come
            if lost and known and name != "marker":
                _must("Missing" in alert.text, f"{name} lost {lost} commits: {alert.text}")

    def _lost(self, name: str) -> bool:
        return name in self.origin and self.origin[name] != self.world.states[name][-1]

    def _control(self, by_store: Mapping[str, Any]) -> None:
        mode, control = self.process.guard.status()["mode"], self.origin["audit"]["control"]
        doubtful = bool({"trades", "audit"} & set(by_store))
        expected = "observe" if doubtful or control.mode not in (None, "armed") else "armed"
        _must(mode == expected, f"the mode is {mode} after {sorted(by_store)}, {control}")
        paused = self.process.guard.status()["paused"] is not None
        _must(paused == control.paused, f"paused: {paused}, {control}")
        if doubtful:
            stored = self.process.stores.audit.control().mode
            _must(stored == "observe", f"the stored mode is {stored}")

    def now(self) -> dict[str, State]:
        """Return what the journal says must be served now."""
        tape = self.world.recorder.tape
        return {name: tape.after(name, self.origin[name]) for name in STORES}

    def _now(self) -> None:
        """Compare what the guard answers after it has reconciled with the journal."""
        from damage_journal import served

        guard, quiet = self.process.guard, False
        while not quiet:
            known = self.now()
            count = _length(self.world)
            answers: dict[str, Any] = {
                "active": {each.identifier: each for each in guard.trades()},
                "actions": {each.id: each for each in guard.actions(limit=1000)},
                "history": {
                    (e.identifier, e.created_by): e for e in guard.history(limit=1000).items
                },
                "alerts": {each.id: each for each in guard.alerts()},
            }
            quiet = _length(self.world) == count
        trades = known["trades"]
        active = {i for i, each in trades["trades"].items() if each.active}
        _must(set(answers["active"]) == active, f"trades {set(answers['active'])}, not {active}")
        for identifier, record in answers["active"].items():
            was = trades["trades"][identifier]
            _must(_same_registration(was, record), f"served {record}, journal {was}")
        _must(answers["actions"] == trades["actions"], "the actions are not the journal's")
        history = {(e.identifier, e.created_by): e for e in trades["history"].values()}
        _must(answers["history"] == history, "the history is not the journal's")
        _must(answers["alerts"] == known["outbox"]["alerts"], "the alerts are not the journal's")
        in_store = served(self.process.stores)
        for name in STORES:
            _must(
                in_store[name] == known[name], _differs(name, in_store[name], [known[name]], None)
            )

    def compare_with_the_broker(self) -> None:
        """What is believed of the broker must stand in its own books."""
        terminal, guard = self.process.terminal, self.process.guard
        positions: Any = terminal.positions_get()
        books = {each.identifier: each for each in positions}
        released = {
            i for i, each in self.now()["trades"]["trades"].items() if not each.active
        }  # fmt: skip
        for record in guard.trades():
            position: Any = books.get(record.identifier)
            _must(position, f"guarded, and not at the broker: {record}")
            for ours, theirs in (
                (record.volume, position.volume),
                (record.stop_loss or 0.0, position.sl),
                (record.ticket, position.ticket),
                (record.symbol, position.symbol),
                (record.entry_price, position.price_open),
            ):
                _must(ours == theirs, f"{record} is not {position}")
        if self.world.adoption != "ignore":
            seen = {each.identifier for each in guard.trades()} | released
            _must(set(books) <= seen, f"at the broker and not watched: {set(books) - seen}")
        # a trade that the journal knew must not be forgotten while its position is open
        known = {i for i, each in self.origin["trades"]["trades"].items() if each.active}
        watched = {each.identifier for each in guard.trades()}
        _must(known & set(books) <= watched, f"forgotten: {known & set(books) - watched}")
        _must(guard.health().ready, f"not ready: {guard.health().reasons}")


def _same_registration(was: TradeRecord, now: TradeRecord) -> bool:
    """Whether a record that is served is the journalled one: what no price changes."""
    names = ("identifier", "ticket", "symbol", "direction", "magic", "managed_by", "standing",
             "registered_at", "created_by", "initial_stop", "initial_volume", "volume",
             "stop_loss", "take_profit", "steps", "closed_volume")  # fmt: skip
    return all(getattr(was, name) == getattr(now, name) for name in names)


def _length(world: World) -> int:
    return sum(len(steps) for steps in world.recorder.tape.steps.values())


def _again(
    world: World,
    first: Process,
    ended: Mapping[str, State],
    alerts: Mapping[str, int],
    mode: object,
) -> None:
    """A second start changes nothing and raises nothing new."""
    second = Process(world, "again", first.runtime.clock.wall() + 60.0)
    second.start()
    for name in STORES:
        _must(
            second.opened[name] == ended[name],
            "second start: " + _differs(name, second.opened[name], [ended[name]], None),
        )
    told = [each for each in second.guard.events.since() if each.kind is Kind.SET_ASIDE]
    _must(not told, f"the second start set aside again: {told}")
    now = {alert.id: alert.count for alert in second.guard.alerts()}
    _must(now == alerts, f"alerts changed: {alerts} to {now}")
    _must(second.guard.status()["mode"] == mode, "the mode changed")
    second.stop()


def _differs(name: str, served: State, allowed: list[State], event: Event | None) -> str:
    """Say shortly in what a store's content is not what it may be."""
    facts = None if event is None else event.facts
    if not allowed:
        return f"{name}: there is nothing that it may hold; {facts}"
    nearest = min(allowed, key=lambda state: len(list(_differences(served, state))))
    return f"{name}: {list(_differences(served, nearest))[:3]}; {facts}"


def _differences(served: State, state: State) -> Iterator[str]:
    for part in state:
        one, other = served[part], state[part]
        if one == other:
            continue
        if not isinstance(one, Mapping):
            yield f"{part}: {str(one)[-300:]} instead of {str(other)[-300:]}"
            continue
        for key in {*one, *other}:
            if one.get(key) != other.get(key):
                yield f"{part}[{key}]: {one.get(key)} instead of {other.get(key)}"
