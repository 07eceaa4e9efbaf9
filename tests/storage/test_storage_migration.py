"""Migration: the new one holds all of it and goes on with its life, or the old one stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from storage_samples import T0, action, intent, trade

from defence.errors import Damaged, Fault, FolderRefused, StoreFull
from defence.history import Query
from defence.orders import PendingIntent
from storage import environment, examine, layout, migration, preflight, recovery, steps
from storage.backups import take
from storage.environment import Environment
from storage.examine import Facts, Finding
from storage.folder import ENVIRONMENTS, DataFolder, Stores, open_stores
from storage.keys import number_key
from storage.layout import (
    BIRTH_KEY,
    DATA_FILE,
    FORMAT_KEY,
    FORMATS,
    HISTORY_IDS,
    HISTORY_TICKETS,
    META,
    SEQUENCE_KEY,
    TRADES,
)
from storage.marks import Mark, read_mark
from storage.migration import migrate, outdated
from storage.steps import STEPS, Row, Step
from storage.swap import Swap, Why, untold
from storage.trades import Batch, TradeStore
from storage.view import Change, View

OWN = (FORMAT_KEY, BIRTH_KEY, SEQUENCE_KEY)


def everything(old: View) -> Iterator[Row]:
    """A made-up step that changes one thing: every charge gets a field."""
    for key, fields in old.items(META):
        if key not in OWN:
            yield META, key, fields
    for key, fields in old.items(layout.CHARGES):
        yield layout.CHARGES, key, {**fields, "why": "not known"}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of the present format with three charges, at rest."""
    path = tmp_path / "ledger"
    env = Environment.open(path, name="ledger", databases=(layout.CHARGES,))
    for number in range(3):
        fields = {"child": "monitor", "at": T0 + number}
        env.run(lambda change, n=number, f=fields: change.put(layout.CHARGES, b"%d" % n, f))
    env.run(lambda change: change.put(META, b"own", {"a": 1}))
    env.close()
    return path


@pytest.fixture
def next_format(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the program has a newer format for the ledger that was made before."""
    newer = {**FORMATS, "ledger": FORMATS["ledger"] + 1}
    for module in (environment, examine, layout, migration):
        monkeypatch.setattr(module, "FORMATS", newer)
    monkeypatch.setattr(preflight, "available", lambda: False)  # a child has the real formats


def facts_of(path: Path) -> Facts:
    facts = examine.examine(path).facts
    assert facts is not None
    return facts


def content(path: Path) -> dict[tuple[str, bytes], Mapping[str, object]]:
    """Every record of an environment at rest, but what says which one it is."""
    with migration._at_rest(path) as view:
        found = {(db, key): fields for db in view._handles for key, fields in view.items(db)}
    return {place: fields for place, fields in found.items() if place[1] not in OWN}


def run(path: Path, step: Step) -> Facts:
    facts = facts_of(path)
    return migrate(path, facts, T0, {("ledger", facts.format): step})


def swaps(folder: Path) -> list[Swap]:
    return [swap for _, swap in untold(folder)]


@pytest.mark.usefixtures("next_format")
def test_content_birth_and_sequence_go_on_and_the_old_one_is_kept(
    ledger: Path, tmp_path: Path
) -> None:
    before, old, raw = facts_of(ledger), content(ledger), (ledger / DATA_FILE).read_bytes()
    assert outdated(before)
    built = run(ledger, everything)
    assert built == facts_of(ledger)
    assert not outdated(built)
    assert (built.birth, built.sequence) == (before.birth, before.sequence + 1)
    assert built.format == before.format + 1
    assert content(ledger) == {
        place: {**fields, "why": "not known"} if place[0] == layout.CHARGES else fields
        for place, fields in old.items()
    }
    (swap,) = swaps(tmp_path)
    assert swap.why is Why.MIGRATED
    assert (swap.source, swap.missing) == ("ledger", 0)
    assert swap.aside == "ledger.migrated-20231114T221320Z"
    assert (tmp_path / swap.aside / DATA_FILE).read_bytes() == raw
    assert read_mark(ledger) == Mark(before.birth or "", before.sequence + 1)
    assert not (tmp_path / "dtms.ledger.new").exists()


@pytest.mark.usefixtures("next_format")
def test_what_was_migrated_opens_and_goes_on_counting(ledger: Path) -> None:
    before = facts_of(ledger)
    run(ledger, everything)
    env = Environment.open(ledger, name="ledger", databases=(layout.CHARGES,))
    assert (env.birth, env.sequence) == (before.birth, before.sequence + 1)
    env.run(lambda change: change.put(META, b"own", {"a": 2}))
    env.close()
    verdict = examine.examine(ledger)
    assert recovery.judge(ledger, verdict, read_mark(ledger), made=True) is None
    assert facts_of(ledger).sequence == before.sequence + 2


@pytest.mark.usefixtures("next_format")
def test_it_goes_in_chunks(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "_CHUNK", 2)
    before = facts_of(ledger)
    commits = []
    real = Environment.run
    monkeypatch.setattr(
        Environment, "run", lambda self, work: (commits.append(1), real(self, work))[1]
    )
    built = run(ledger, everything)
    assert len(commits) == 3  # two of two records, one of the stamp
    # however many commits it took to build: they are not commits of its life
    assert built.sequence == before.sequence + 1
    assert built.counts[layout.CHARGES] == 3


@pytest.mark.usefixtures("next_format")
def test_one_from_before_there_were_births_gets_one(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(environment, "FORMATS", FORMATS)
        env = Environment.open(ledger, name="ledger", databases=(layout.CHARGES,))
    with env._open().begin(write=True) as txn:
        for key in (BIRTH_KEY, SEQUENCE_KEY):
            txn.delete(key, db=env._handles[META])
    env.close()
    before = facts_of(ledger)
    assert (before.birth, before.sequence) == (None, 0)
    built = run(ledger, everything)
    assert len(bytes.fromhex(built.birth or "")) == 16
    assert built.sequence == 1
    assert read_mark(ledger) == Mark(built.birth or "", 1)


def dies(old: View) -> Iterator[Row]:
    yield from list(everything(old))[:2]
    raise Damaged("told by the test")


def dies_at_once(_: View) -> Iterator[Row]:
    raise StoreFull("told by the test")


def takes_a_reserved_key(key: bytes) -> Step:
    def step(old: View) -> Iterator[Row]:
        yield from everything(old)
        yield META, key, {"name": "ledger", "format": 2, "id": "ab" * 16, "n": 1}

    return step


def writes_what_cannot_be_read(old: View) -> Iterator[Row]:
    for db, key, fields in everything(old):
        yield db, key, {"at": "no time"} if db == layout.CHARGES else fields


def writes_one_twice(old: View) -> Iterator[Row]:
    """One record over another: fewer than it said that it wrote."""
    rows = list(everything(old))
    yield from rows
    yield rows[-1]


FAILING: dict[str, tuple[Step, type[Exception], str]] = {
    "in the middle": (dies, Damaged, "told by the test"),
    "at once": (dies_at_once, StoreFull, "told by the test"),
    "over the format": (takes_a_reserved_key(FORMAT_KEY), Fault, "machinery"),
    "over the birth": (takes_a_reserved_key(BIRTH_KEY), Fault, "machinery"),
    "over the sequence": (takes_a_reserved_key(SEQUENCE_KEY), Fault, "machinery"),
    "no charges": (writes_what_cannot_be_read, Exception, "at"),
    "one over another": (writes_one_twice, Damaged, "records are missing"),
}


@pytest.mark.usefixtures("next_format")
@pytest.mark.parametrize("how", FAILING)
def test_a_step_that_fails_leaves_the_old_one_whole(ledger: Path, tmp_path: Path, how: str) -> None:
    step, error, words = FAILING[how]
    before, names = (ledger / DATA_FILE).read_bytes(), sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(error, match=words):
        run(ledger, step)
    assert (ledger / DATA_FILE).read_bytes() == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == names
    assert facts_of(ledger).format == FORMATS["ledger"]
    run(ledger, everything)  # and a right one goes on from there


class Losing(Change):
    """A change that loses every second record."""

    lost = 0

    def put(self, db: str, key: bytes, fields: Mapping[str, object]) -> None:
        if db == layout.CHARGES:
            Losing.lost += 1
            if Losing.lost % 2:
                return
        super().put(db, key, fields)


@pytest.mark.usefixtures("next_format")
def test_records_that_are_lost_on_the_way_are_noticed(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (ledger / DATA_FILE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(environment, "Change", Losing)
        with pytest.raises(Damaged, match="records are missing") as told:
            run(ledger, everything)
    assert told.value.remedy
    assert (ledger / DATA_FILE).read_bytes() == before


@pytest.mark.usefixtures("next_format")
def test_a_new_one_that_does_not_pass_its_check_is_not_taken(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (ledger / DATA_FILE).read_bytes()
    bad = preflight.Verdict(Finding.DAMAGED, "told by the test")
    with monkeypatch.context() as patch:
        patch.setattr(migration.preflight, "check", lambda paths: dict.fromkeys(paths, bad))
        with pytest.raises(Damaged, match="told by the test"):
            run(ledger, everything)
    assert (ledger / DATA_FILE).read_bytes() == before
    assert not ledger.with_name("dtms.ledger.new").exists()


@pytest.mark.usefixtures("next_format")
def test_without_a_step_it_is_refused_with_what_to_do(ledger: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(FolderRefused, match=r"format 1.*cannot bring it to 2") as told:
        migrate(ledger, facts_of(ledger), T0, {})
    assert "version between" in (told.value.remedy or "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_only_an_older_format_is_outdated() -> None:
    for name, known in FORMATS.items():
        found = {
            version: outdated(
                Facts(name=name, format=version, birth=None, sequence=0, account=None, counts={})
            )
            for version in (known - 1, known, known + 1)
        }
        assert found == {known - 1: True, known: False, known + 1: False}
    other = Facts(name="other", format=1, birth=None, sequence=0, account=None, counts={})
    assert not outdated(other)


def test_there_is_a_step_from_every_older_format() -> None:
    for name, known in FORMATS.items():
        for version in range(1, known):
            assert (name, version) in STEPS
    assert set(migration.DATABASES) == set(ENVIRONMENTS) == set(FORMATS)


# -- the real step of the trade store, 1 to 2


def closed(number: int, **changes: object) -> object:
    return trade(number, ticket=number + 500, closed_at=T0 + number, **changes)


def as_format_1(path: Path) -> None:
    """Turn a trade store of format 2 into what version 1 had written."""
    env = Environment.open(path, name="trades", databases=(*migration.DATABASES["trades"], "seen"))

    def work(change: Change) -> None:
        for db in (HISTORY_IDS, HISTORY_TICKETS):
            for key, _ in list(change.items(db)):
                change.delete(db, key)
        change.put("seen", b"m1", {"at": T0})  # ids of messages, which nobody reads
        change.put(HISTORY_IDS, number_key(1, field="n"), {"wrong": True})
        change.put(META, FORMAT_KEY, {"name": "trades", "format": 1})

    env.run(work)
    env.close()


def filled(path: Path) -> tuple[DataFolder, dict[str, object]]:
    """A used folder whose trade store has format 1, and what its trade store shows."""
    folder = DataFolder(path)
    stores = open_stores(folder, T0)
    stores.trades.bind(77, "Demo")
    for number in range(12):
        stores.trades.commit(
            Batch(
                trades=[trade(number), trade(number + 50)],
                archived=[closed(number)] if number % 2 else [],  # type: ignore[list-item]
                actions=[action(f"a{number}", at=T0 + number, ticket=number % 3)],
                intents=[PendingIntent(intent=intent(f"i{number}"))],
            )
        )
    shown = look(stores.trades)
    stores.close()
    as_format_1(folder.path / "trades")
    return folder, shown


def look(store: TradeStore) -> dict[str, object]:
    """All that a trade store shows of itself."""
    return {
        "active": store.load(),
        "history": store.find_history(Query(limit=1000)).items,
        "by ticket": [
            store.find_history(Query(ticket=n, limit=1000)).items for n in range(500, 513)
        ],
        "by identifier": [store.find_archived(number) for number in range(13)],
        "actions": store.actions(1000),
        "actions by ticket": [store.actions(1000, ticket=ticket) for ticket in range(3)],
        "account": store.account(),
    }


def in_order(folder: DataFolder) -> list[tuple[str, Why]]:
    return [(swap.name, swap.why) for _, swap in folder.untold()]


def test_trades_of_format_1_are_migrated_at_the_start(tmp_path: Path) -> None:
    folder, shown = filled(tmp_path / "data")
    before = facts_of(folder.path / "trades")
    assert before.format == 1
    stores = open_stores(folder, T0)
    assert look(stores.trades) == shown
    assert stores.trades.environment.birth == before.birth
    assert stores.trades.sequence() == before.sequence + 1
    assert "seen" not in facts_of_copy(stores, tmp_path).counts
    stores.close()
    assert in_order(folder) == [("trades", Why.MIGRATED)]
    kept = folder.path / "trades.migrated-20231114T221320Z"
    assert facts_of(kept) == before
    again = open_stores(folder, T0 + 5)
    assert look(again.trades) == shown
    again.close()
    assert in_order(folder) == [("trades", Why.MIGRATED)]


def facts_of_copy(stores: Stores, tmp_path: Path) -> Facts:
    return take(tmp_path / "extra", [stores.trades.environment], T0).copies["trades"]


def test_a_backup_of_the_old_format_is_restored_and_migrated_in_one_start(tmp_path: Path) -> None:
    folder, shown = filled(tmp_path / "data")
    made = take(folder.backups, [folder.path / name for name in ENVIRONMENTS], T0 - 60)
    assert made.copies["trades"].format == 1
    (folder.path / "trades" / DATA_FILE).write_bytes(b"")
    stores = open_stores(folder, T0)
    assert look(stores.trades) == shown
    assert stores.trades.sequence() == made.copies["trades"].sequence + 1
    stores.close()
    assert sorted(in_order(folder)) == [("trades", Why.DAMAGED), ("trades", Why.MIGRATED)]
    assert facts_of(folder.path / "trades.migrated-20231114T221320Z").format == 1
    again = open_stores(folder, T0 + 5)
    again.close()
    assert len(in_order(folder)) == 2


def test_a_kill_between_restoring_and_migrating_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, shown = filled(tmp_path / "data")
    take(folder.backups, [folder.path / name for name in ENVIRONMENTS], T0 - 60)
    (folder.path / "trades" / DATA_FILE).write_bytes(b"")

    def killed(*_: object) -> Facts:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recovery, "migrate", killed)
        with pytest.raises(KeyboardInterrupt):
            open_stores(folder, T0)
    stores = open_stores(folder, T0 + 1)
    assert look(stores.trades) == shown
    stores.close()
    assert in_order(folder) == [("trades", Why.DAMAGED), ("trades", Why.MIGRATED)]


def test_the_step_leaves_nothing_out_that_is_read(tmp_path: Path) -> None:
    folder, _ = filled(tmp_path / "data")
    old = content(folder.path / "trades")
    with migration._at_rest(folder.path / "trades") as view:
        rows = list(steps.trades_1_to_2(view))
    new = {(db, key): fields for db, key, fields in rows}
    assert len(new) == len(rows)
    rebuilt = (HISTORY_IDS, HISTORY_TICKETS, "seen")
    kept = {place: fields for place, fields in old.items() if place[0] not in rebuilt}
    assert {place: f for place, f in new.items() if place[0] not in rebuilt} == kept
    assert len([1 for db, _ in kept if db == TRADES]) == 18
    assert not [1 for db, _ in new if db == "seen"]


@pytest.mark.parametrize("spoil", [lambda data: shutil.move(data, f"{data}.x")])
def test_a_store_that_vanishes_is_told(
    ledger: Path, next_format: None, spoil: Callable[[Path], object]
) -> None:
    facts = facts_of(ledger)
    spoil(ledger / DATA_FILE)
    with pytest.raises(Damaged):
        migrate(ledger, facts, T0, {("ledger", 1): everything})
