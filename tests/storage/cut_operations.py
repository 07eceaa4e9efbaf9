"""The operations that are cut at every step, and what they must come to."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import lmdb
from damage_journal import STORES, Recorder, served
from damage_world import Process, World, build

from actors.clock import VirtualClock
from actors.events import EventStream
from defence.broker import Account, MarginMode
from storage import layout, recovery, steps
from storage.backups import prune, sets, take
from storage.folder import BACKUPS, ENVIRONMENTS, DataFolder, open_stores
from storage.locks import FolderLock
from storage.preflight import look
from storage.records import decode, encode
from storage.steps import Row
from supervisors import Settings
from supervisors.premises import Premises

ACCOUNT: Final = Account(
    login=5_001_000,
    server="Simulated-Demo",
    currency="USD",
    balance=10_000.0,
    equity=10_000.0,
    margin_mode=MarginMode.HEDGING,
    trade_allowed=True,
    trade_expert=True,
)
KEPT: Final = 2  # backup sets
_STAMP: Final = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
_FOLDER: Final = re.compile(r"/[^ ]*/data\b")
_MARK: Final = re.compile(r"-[0-9a-f]{8}\b")


def make_base(base: Path) -> float:
    """Let a guard live below `base`, with two backups; return the time at its end.

    The stores' births are kept beside it, to tell new stores from old ones.
    """
    recorder = Recorder()
    for seed in range(100):
        world = build(base, seed, recorder)
        last = world.last
        moments = [*world.sets[-1:], *world.olds[:1]]
        behind = all(each.index[n] < last[n] for each in moments for n in ("trades", "audit"))
        if len(world.sets) == 2 and behind and last["outbox"] and last["ledger"]:
            _keep_old(world)
            return world.wall
        shutil.rmtree(base)
    raise AssertionError("no seed made such a world")


def _keep_old(world: World) -> None:
    old = world.folder / "old"
    old.mkdir()
    for name in STORES:
        (old / name).write_bytes(world.olds[0].data[name])
    stores = open_stores(DataFolder(world.folder / "data"), world.wall)
    births = [each.environment.birth for each in _all(stores)]
    stores.close()
    (old / "births").write_text(" ".join(births))


# -- what happened before, by operation


def _spoil(data: Path, *names: str) -> None:
    for name in names:
        path = data / name / "data.mdb"
        content = bytearray(path.read_bytes())
        content[8192:] = random.Random(name).randbytes(len(content) - 8192)
        path.write_bytes(content)


def _no_backups(data: Path) -> None:
    shutil.rmtree(data / BACKUPS)


def _roll_back(data: Path) -> None:
    for name in ("trades", "audit"):
        (data / name / "data.mdb").write_bytes((data.parent / "old" / name).read_bytes())


def _spoil_newest_backup(data: Path) -> None:
    newest = sets(data / BACKUPS)[0].path
    path = newest / "trades" / "data.mdb"
    path.write_bytes(path.read_bytes()[:5000])


def _spoil_marker(data: Path) -> None:
    (data / "dtms.json").write_bytes(b'{"format": 1, "login"')


def _older_format(data: Path, name: str, gone: tuple[str, ...]) -> None:
    """Write the format before the newest one into a store, as the version before made it."""
    env = lmdb.open(str(data / name), max_dbs=64)
    with env.begin(write=True) as txn:
        for db in gone:
            txn.drop(env.open_db(db.encode(), txn=txn), delete=True)
        meta = env.open_db(b"meta", txn=txn)
        fields = decode("meta", b"format", txn.get(b"format", db=meta) or b"")
        fields["format"] -= 1
        txn.put(b"format", encode("meta", b"format", fields), db=meta)
    env.close()


def _audit_1_to_2(old: Any) -> Any:
    """Yield the audit as it is: a step for tests."""
    own = (layout.FORMAT_KEY, layout.BIRTH_KEY, layout.SEQUENCE_KEY)
    rows: list[Row] = [("meta", key, fields) for key, fields in old.items("meta")]
    yield from (row for row in rows if row[1] not in own)
    for db in (layout.ENTRIES, layout.CONTROL):
        for key, fields in old.items(db):
            yield db, key, fields


def _another_migration() -> None:
    layout.FORMATS["audit"] = 2  # type: ignore[index]  # a version that is yet to come
    steps.STEPS["audit", 1] = _audit_1_to_2  # type: ignore[index]


def _old_trades(data: Path) -> None:
    _older_format(data, "trades", ("history_tickets", "days"))


def _old_both(data: Path) -> None:
    """Let the trades migrate by the real step, and the audit by one for tests."""
    _old_trades(data)


def _lose(data: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(data / name)


def _nothing(data: Path) -> None:
    """Leave all as it is."""


def _each(*doings: Callable[[Path], None]) -> Callable[[Path], None]:
    def do(data: Path) -> None:
        for doing in doings:
            doing(data)

    return do


def _spoilt(*names: str) -> Callable[[Path], None]:
    return lambda data: _spoil(data, *names)


BEFORE: Final[dict[str, Callable[[Path], None]]] = {
    "damaged": _spoilt("trades"),
    "damaged_no_backup": _each(_spoilt("trades"), _no_backups),
    "rolled_back": _roll_back,
    "several": _spoilt("trades", "audit", "outbox"),
    "missing": lambda data: _lose(data, "trades", "ledger"),
    "marker": _spoil_marker,
    "marker_and_all": _each(_spoil_marker, _spoilt(*STORES)),
    "newest_backup": _each(_spoilt("trades"), _spoil_newest_backup),
    "migration": _old_trades,
    "migrations": _old_both,
    "damaged_migrations": _each(_old_both, _spoilt("audit")),
    "guard": _spoilt("trades", "audit"),
    "first": shutil.rmtree,
    "backup": _nothing,
    "backup_open": _nothing,
    "restore": _nothing,
}
OPERATIONS: Final = tuple(BEFORE)


# -- the operations


def _premises(data: Path, now: float) -> Premises:
    clock = VirtualClock(now)
    settings = Settings(data_dir=data, state_dir=data.parent / "state", mode="armed")
    return Premises(settings, clock, EventStream(clock))


def _start(data: Path, now: float) -> None:
    """Start as a guard does, up to the account: recovery, migration, what people are told."""
    premises = _premises(data, now)
    try:
        premises.take()
        premises.control_at_start()
        premises.admit(ACCOUNT)
    finally:
        premises.give_back()


def _guard(data: Path, now: float) -> None:
    """Start a whole guard, let it live for a while, and stop it."""
    world = World(0, data.parent, Recorder(), adoption="observe")
    process = Process(world, f"g{now:.0f}", now)
    try:
        process.guard.start()
        process.runtime.run_for(120.0)  # what was refused for once is tried again
    finally:
        process.stop()


def _backup(data: Path, now: float) -> None:
    lock = FolderLock(data)
    lock.acquire()
    try:
        take(data / BACKUPS, [data / name for name in ENVIRONMENTS], now)
        prune(data / BACKUPS, KEPT)
    finally:
        lock.release()


def _backup_open(data: Path, now: float) -> None:
    premises = _premises(data, now)
    try:
        premises.take()
        take(data / BACKUPS, premises.environments(), now)
        prune(data / BACKUPS, KEPT)
    finally:
        premises.give_back()


def _restore(data: Path, now: float) -> None:
    lock = FolderLock(data)
    lock.acquire()
    try:
        chosen = sets(data / BACKUPS)[-1]
        for name in ("trades", "audit"):
            account = DataFolder(data).account()
            recovery.restore([data / name], chosen, account=account, now=now)
    finally:
        lock.release()


def operate(name: str, data: Path, now: float) -> None:
    """Do an operation; raises DtmsError as it does."""
    if "migrations" in name:
        _another_migration()
    doing = {
        "backup": _backup,
        "backup_open": _backup_open,
        "restore": _restore,
        "guard": _guard,
    }.get(name, _start)
    doing(data, now)


# -- what it came to


def outcome(name: str, data: Path, now: float) -> dict[str, Any]:
    """Start once more, and return all there is, but for the times: two runs must come to the same.

    `asides` is what was set aside, by a hash of its content, with the reason beside it.
    """
    if "migrations" in name:
        _another_migration()
    _start(data, now)
    folder = DataFolder(data)
    stores = open_stores(folder, now)
    content: dict[str, Any] = {**served(stores)}
    known = (data.parent / "old" / "births").read_text().split()
    facts = {
        each.environment.name: _environment(each.environment, known, name) for each in _all(stores)
    }
    account = stores.trades.account()
    stores.close()
    content["audit"] = {"entries": content["audit"]["entries"], "control": _control(content)}
    content["outbox"] = {"alerts": sorted(map(_alert, content["outbox"]["alerts"].values()))}
    if name == "guard":
        # it goes on living: what it adds has times and ids of its own, and a
        # disk that had no room is a fact of its own
        content["trades"] = _plain_trades(content["trades"])
        told = [each for each in content["outbox"]["alerts"] if each[0].startswith("set_aside:")]
        content["outbox"] = {"alerts": told}
    names = [str(path.relative_to(data)) for path in data.rglob("*")]
    return {
        "content": {store: _digest(content[store], data) for store in STORES},
        "control": content["audit"]["control"],
        "alerts": content["outbox"]["alerts"],
        "facts": facts,
        "account": [account, folder.account()],
        "asides": sorted(_asides(data)),
        "backups": _backups(data),
        "left": sorted(each for each in names if _is_left(each)),
    }


def _all(stores: Any) -> tuple[Any, ...]:
    return stores.trades, stores.ledger, stores.outbox, stores.audit


def _environment(environment: Any, known: list[str], operation: str) -> list[object]:
    birth = environment.birth if environment.birth in known else "a new one"
    # a note that is told again is written again, over itself
    grows = environment.name in ("outbox", "audit") or operation == "guard"
    return [birth, "any" if grows else environment.sequence]


def _plain_trades(trades: Any) -> object:
    """Return what is known of the trades without what depends on when it was found out."""
    known = [
        (t.identifier, t.ticket, t.volume, t.stop_loss, t.standing, t.managed_by, t.initial_stop)
        for part in ("trades", "history")
        for t in trades[part].values()
    ]
    actions = [(a.identifier, a.kind) for a in trades["actions"].values()]
    return sorted(map(repr, known)), sorted(actions), sorted(trades["pending"])


def _control(content: Any) -> list[object]:
    control = content["audit"]["control"]
    return [control.mode, control.paused, control.by, control.why]


def _alert(alert: Any) -> list[object]:
    return [alert.key, alert.severity.value, _timeless(alert.title), _timeless(alert.text),
            alert.count, alert.acknowledged_at is not None]  # fmt: skip


def _timeless(text: str) -> str:
    text = _FOLDER.sub("FOLDER/data", text)
    return _MARK.sub("-MARK", _MOMENT.sub("MOMENT", _STAMP.sub("STAMP", text)))


def _asides(data: Path) -> list[list[str]]:
    found = []
    for entry in data.iterdir():
        if entry.name.split(".")[0] in STORES and "." in entry.name and entry.suffix != ".txt":
            file = entry / "data.mdb"
            note = data / f"{entry.name}.txt"
            reason = _timeless(note.read_text()) if note.exists() else "no reason"
            found.append([_timeless(entry.name), _hash(file), reason])
        elif entry.name.startswith("dtms.json."):
            content = _timeless(entry.read_text()) if entry.suffix == ".txt" else _hash(entry)
            found.append([entry.name, content, ""])
        elif entry.suffix == ".txt" and not entry.with_suffix("").exists():
            found.append([_timeless(entry.name), "a reason without a store", ""])
    return found


def _backups(data: Path) -> list[object]:
    """Return how many sets there are, and what the newest holds; each must be sound and whole."""
    found = sets(data / BACKUPS)
    folders = [each.path / name for each in found for name in each.copies]
    verdicts = look(folders)
    bad = [str(path.name) for path in folders if verdicts[path].finding.value != "sound"]
    newest = {} if not found else {n: f.plain() for n, f in found[0].copies.items()}
    entries = [e.name for e in (data / BACKUPS).iterdir() if e.is_dir()]
    return [len(found), newest, bad, len(entries) - len(found)]


def _is_left(name: str) -> bool:
    if name.endswith("dtms.room.tmp"):  # always the same one: the next try for room takes it away
        return False
    return name.endswith((".new", ".swap", ".part", ".tmp")) or ".told-" in name


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else "nothing"


def _digest(content: object, data: Path) -> str:
    text = repr(content).replace(str(data), "DATA")
    return hashlib.sha256(text.encode()).hexdigest()[:16]
