"""Recovery: what is wrong with a store, which backups there are, and what comes of it."""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_damage import cut, rot
from storage_samples import T0, action, trade, unhurried

from defence.errors import AccountRefused, Damaged, FolderRefused, StartRefused
from storage import environment, preflight, recovery
from storage.backups import MANIFEST, BackupSet, prune, read_set, sets, take
from storage.examine import Facts, Finding, Verdict, examine
from storage.folder import ENVIRONMENTS, DataFolder, open_stores
from storage.layout import DATA_FILE
from storage.marker import Marker, write_marker
from storage.marks import Mark, read_mark, write_mark
from storage.recovery import judge, make_sound, restore
from storage.swap import Swap, Why, told
from storage.trades import Batch

MINE, OTHERS = (77, "Demo"), (99, "Live")
NOW = T0 + 500


def commit(folder: DataFolder, first: int, commits: int) -> None:
    stores = open_stores(folder, T0)
    for number in range(first, first + commits):
        stores.trades.commit(Batch(trades=[trade(number)], actions=[action(f"a{number}")]))
        stores.ledger.add("monitor", T0 + number)
    stores.close()


def trades_in(folder: DataFolder) -> int:
    """How many trades the store holds, opened as it is."""
    stores = open_stores(folder, NOW)
    found = len(stores.trades.load()[0])
    stores.close()
    return found


def swaps(folder: DataFolder) -> list[Swap]:
    return [swap for _, swap in folder.untold()]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose stores had 3, 6 and 9 trades when they were backed up, and have 12."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "available", lambda: False)
        return filled(tmp_path_factory.mktemp("recovery"))


def filled(base: Path) -> Path:
    folder = DataFolder(base / "data")
    stores = open_stores(folder, T0)
    stores.trades.bind(*MINE)
    stores.close()
    for upto in (3, 6, 9):
        commit(folder, upto - 3, 3)
        take(folder.backups, [folder.path / name for name in ENVIRONMENTS], T0 + upto)
        if upto == 6:
            shutil.copy(folder.path / "trades" / DATA_FILE, base / "at 6")
    commit(folder, 9, 3)
    return base


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataFolder:
    """A copy of the template. All checks in this process, which is faster."""
    shutil.copytree(template / "data", tmp_path / "data")
    monkeypatch.setattr(preflight, "available", lambda: False)
    return DataFolder(tmp_path / "data")


# -- the table

NAMED = {9: "20231114T221329Z", 6: "20231114T221326Z", 3: "20231114T221323Z"}


def older(world: DataFolder, template: Path) -> None:
    """The store as it was with 6 trades lies there."""
    shutil.copy(template / "at 6", world.path / "trades" / DATA_FILE)


def swapped(world: DataFolder, _: Path) -> None:
    shutil.copy(world.path / "ledger" / DATA_FILE, world.path / "trades" / DATA_FILE)


WRONG: dict[str, Callable[[DataFolder, Path], object]] = {
    "nothing": lambda world, _: None,
    "empty": lambda world, _: (world.path / "trades" / DATA_FILE).write_bytes(b""),
    "cut": lambda world, _: cut(world.path / "trades"),
    "rots": lambda world, _: rot(world.path / "trades", b"EURUSD", b"EURUSE"),
    "gone": lambda world, _: (world.path / "trades" / DATA_FILE).unlink(),
    "folder gone": lambda world, _: shutil.rmtree(world.path / "trades"),
    "another store's": swapped,
    "behind": older,
}


def each_set(world: DataFolder) -> list[BackupSet]:
    return sets(world.backups)


def spoil_copies(world: DataFolder, first: int, last: int) -> None:
    for made in each_set(world)[first:last]:
        rot(made.path / "trades", b"EURUSD", b"EURUSE")


def say(made: BackupSet, change: Callable[[dict[str, object]], object]) -> None:
    """Let a manifest say something else, with a checksum that fits."""
    said = json.loads(json.loads((made.path / MANIFEST).read_bytes())["backup"])
    change(said)
    body = json.dumps(said)
    sealed = {"backup": body, "crc": zlib.crc32(body.encode())}
    (made.path / MANIFEST).write_text(json.dumps(sealed))


def of_others(world: DataFolder, first: int, last: int) -> None:
    """The sets are those of another account's folder."""

    def change(said: dict[str, object]) -> None:
        said["copies"]["trades"]["account"] = list(OTHERS)  # type: ignore[index]

    for made in each_set(world)[first:last]:
        say(made, change)


def without_a_copy(world: DataFolder) -> None:
    say(each_set(world)[0], lambda said: said["copies"].pop("trades"))  # type: ignore[attr-defined]


BACKUPS: dict[str, Callable[[DataFolder], object]] = {
    "none": lambda world: shutil.rmtree(world.backups),
    "three": lambda world: None,
    "newest rots": lambda world: spoil_copies(world, 0, 1),
    "two rot": lambda world: spoil_copies(world, 0, 2),
    "all rot": lambda world: spoil_copies(world, 0, 3),
    "newest is another's": lambda world: of_others(world, 0, 1),
    "all are another's": lambda world: of_others(world, 0, 3),
    "newest has no copy of it": without_a_copy,
    "newest is cut": lambda world: cut(each_set(world)[0].path / "trades"),
    "newest copy gone": lambda world: shutil.rmtree(each_set(world)[0].path / "trades"),
    "newest copy is another store's": lambda world: shutil.copy(
        each_set(world)[0].path / "ledger" / DATA_FILE,
        each_set(world)[0].path / "trades" / DATA_FILE,
    ),
    "newest manifest spoilt": lambda world: (each_set(world)[0].path / MANIFEST).write_text("{"),
    "only the oldest": lambda world: [shutil.rmtree(each_set(world)[0].path) for _ in range(2)],
}


@dataclass(frozen=True)
class Row:
    """What comes: from the set with so many trades, "itself", "" (an empty one), None (stays)."""

    wrong: str
    backups: str
    comes: int | str | None
    trades: int
    why: str


TABLE = [
    Row("nothing", "none", None, 12, "a sound store needs no backup"),
    Row("nothing", "three", None, 12, "and gives way to none"),
    Row("empty", "none", "", 0, "nothing else is there; the broker fills it"),
    Row("empty", "three", 9, 9, "the newest"),
    Row("cut", "none", "", 0, "as above"),
    Row("cut", "three", 9, 9, "the newest"),
    Row("rots", "none", "", 0, "what a checksum has caught is not trusted in part"),
    Row("rots", "three", 9, 9, "the newest"),
    Row("rots", "newest rots", 6, 6, "the newest that passes its check"),
    Row("rots", "two rot", 3, 3, "however old"),
    Row("rots", "all rot", "", 0, "no bad copy is better than none"),
    Row("rots", "newest is another's", 6, 6, "another account's is never taken"),
    Row("rots", "all are another's", "", 0, "not even for want of any other"),
    Row("rots", "newest has no copy of it", 6, 6, "the newest of this store"),
    Row("rots", "newest is cut", 6, 6, "the newest that passes its check"),
    Row("rots", "newest copy gone", 6, 6, "a copy that is missing is none"),
    Row("rots", "newest copy is another store's", 6, 6, "its name is in it"),
    Row("rots", "newest manifest spoilt", 6, 6, "what it holds is not known"),
    Row("rots", "only the oldest", 3, 3, "better than none"),
    Row("gone", "none", "", 0, "a lost store is told, not made anew in silence"),
    Row("gone", "three", 9, 9, "the newest"),
    Row("folder gone", "none", "", 0, "as above"),
    Row("folder gone", "three", 9, 9, "the newest"),
    Row("another store's", "none", "", 0, "what is in it is not this store"),
    Row("another store's", "three", 9, 9, "the newest"),
    Row("behind", "none", "itself", 6, "what it holds is sound"),
    Row("behind", "three", 9, 9, "the newest has seen what it has lost"),
    Row("behind", "newest rots", "itself", 6, "the next one has not seen more"),
    Row("behind", "newest is another's", "itself", 6, "as if it were not there"),
    Row("behind", "all rot", "itself", 6, "as without backups"),
    Row("behind", "only the oldest", "itself", 6, "older than itself"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.wrong}, {row.backups}")
def test_what_comes(row: Row, world: DataFolder, template: Path) -> None:
    content = (world.path / "trades" / DATA_FILE).read_bytes()
    mark = read_mark(world.path / "trades")
    assert mark is not None
    BACKUPS[row.backups](world)
    WRONG[row.wrong](world, template)
    there = world.path / "trades" / DATA_FILE
    spoilt = there.read_bytes() if there.exists() else None
    assert trades_in(world) == row.trades, row.why
    found = swaps(world)
    if row.comes is None:
        assert found == []
        assert there.read_bytes()[8192:] == content[8192:]
        return
    (swap,) = found
    assert (swap.name, swap.at) == ("trades", NOW)
    assert swap.why is (Why.ROLLED_BACK if row.wrong == "behind" else Why.DAMAGED)
    assert swap.reason
    if row.comes == "":
        assert (swap.source, swap.source_at) == (None, None)
        assert swap.missing == mark.sequence
    elif row.comes == "itself":
        assert (swap.source, swap.source_at) == ("trades", None)
        assert swap.missing == 6
    else:
        assert isinstance(row.comes, int)
        assert (swap.source, swap.source_at) == (NAMED[row.comes], T0 + row.comes)
        assert swap.missing == 12 - row.comes
    if spoilt is not None:  # kept, byte for byte
        assert swap.aside is not None
        assert (world.path / swap.aside / DATA_FILE).read_bytes() == spoilt
    assert not (world.path / "dtms.trades.new").exists()
    # once is enough
    for note, _ in world.untold():
        told(note)
    assert trades_in(world) == row.trades
    assert swaps(world) == []


def test_several_stores_at_once_each_get_their_best(world: DataFolder) -> None:
    first, second, _ = each_set(world)
    rot(first.path / "trades", b"EURUSD", b"EURUSE")
    cut(second.path / "ledger")
    shutil.rmtree(second.path / "outbox")
    for name in ENVIRONMENTS:
        (world.path / name / DATA_FILE).write_bytes(b"")
    stores = open_stores(world, NOW)
    assert len(stores.trades.load()[0]) == 6
    assert len(stores.ledger.charges("monitor")) == 9
    stores.close()
    assert {swap.name: swap.source for swap in swaps(world)} == {
        "trades": second.name,
        "ledger": first.name,
        "outbox": first.name,
        "audit": first.name,
    }


def test_stores_in_each_others_place_come_back(world: DataFolder) -> None:
    trades, ledger = world.path / "trades", world.path / "ledger"
    trades.rename(world.path / "dtms.x")
    ledger.rename(trades)
    (world.path / "dtms.x").rename(ledger)
    stores = open_stores(world, NOW)
    assert len(stores.trades.load()[0]) == len(stores.ledger.charges("monitor")) == 9
    stores.close()
    assert {swap.name: "holds the store" in swap.reason for swap in swaps(world)} == {
        "trades": True,
        "ledger": True,
    }


@pytest.mark.parametrize("names", [0, 1], ids=["before any name", "between the names"])
def test_a_start_that_was_cut_goes_on_at_the_next(world: DataFolder, names: int) -> None:
    """The next start finishes the swap first: it does not judge what lies there by itself."""
    newest, given = each_set(world)[0], []
    rot(world.path / "trades", b"EURUSD", b"EURUSE")
    real = Path.rename

    def cut_off(self: Path, target: Path) -> Path:
        if len(given) >= names:
            raise KeyboardInterrupt
        given.append(target)
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        with pytest.raises(KeyboardInterrupt):
            open_stores(world, NOW)
    shutil.rmtree(world.backups)  # nothing is looked for a second time
    world.backups.mkdir()
    assert trades_in(world) == 9
    assert [(swap.why, swap.source) for swap in swaps(world)] == [(Why.DAMAGED, newest.name)]


def test_a_folder_without_an_account_yet_takes_what_there_is(world: DataFolder) -> None:
    (world.path / "trades" / DATA_FILE).write_bytes(b"")
    arguments = {"backups": world.backups, "made": True, "account": None, "now": NOW}
    make_sound(world.path, ENVIRONMENTS, **arguments)  # type: ignore[arg-type]
    assert swaps(world)[0].source == NAMED[9]


def test_a_copy_of_another_account_is_not_taken_whatever_its_set_says(
    world: DataFolder, tmp_path: Path
) -> None:
    other = DataFolder(tmp_path / "other")
    stores = open_stores(other, T0)
    stores.trades.bind(*OTHERS)
    stores.close()
    newest = each_set(world)[0]
    shutil.copy(other.path / "trades" / DATA_FILE, newest.path / "trades" / DATA_FILE)
    (world.path / "trades" / DATA_FILE).write_bytes(b"")
    assert trades_in(world) == 6
    with pytest.raises(Damaged, match="not what the set says"):
        restore([world.path / "trades"], newest, account=MINE, now=NOW)
    assert trades_in(world) == 6


def test_a_store_of_another_account_that_fell_back_is_refused_and_not_emptied(
    world: DataFolder, template: Path
) -> None:
    older(world, template)
    shutil.rmtree(world.backups)
    write_marker(world.path, Marker(login=OTHERS[0], server=OTHERS[1], made=True))
    for _ in range(2):
        with pytest.raises(AccountRefused):
            open_stores(world, NOW)
        facts = examine(world.path / "trades").facts
        assert facts is not None
        assert (facts.account, facts.counts["trades"]) == (MINE, 6)


def names_in(folder: DataFolder) -> list[str]:
    return sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*"))


def test_a_newer_versions_store_is_refused_and_not_set_aside(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template / "data", tmp_path / "data")
    folder = DataFolder(tmp_path / "data")
    shutil.rmtree(folder.path / "ledger")
    with monkeypatch.context() as patch:
        patch.setattr(environment, "FORMATS", {"ledger": 9})
        environment.Environment.open(
            folder.path / "ledger", name="ledger", databases=(), marked=False
        ).close()
    (folder.path / "outbox" / DATA_FILE).write_bytes(b"")  # damaged as well
    before = names_in(folder)
    with pytest.raises(FolderRefused, match="format 9") as refused:
        open_stores(folder, NOW)
    assert refused.value.remedy
    assert names_in(folder) == before
    assert swaps(folder) == []


def test_a_backup_of_a_newer_version_is_passed_over(
    world: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = each_set(world)[0]
    shutil.rmtree(newest.path / "ledger")
    with monkeypatch.context() as patch:
        patch.setattr(environment, "FORMATS", {"ledger": 9})
        environment.Environment.open(
            newest.path / "ledger", name="ledger", databases=(), marked=False
        ).close()
    (world.path / "ledger" / DATA_FILE).write_bytes(b"")
    manifest = newest.path.with_name("z")
    shutil.copytree(newest.path, manifest)  # and a whole set of a newer version
    sealed = json.loads((manifest / "manifest.json").read_text())
    body = json.dumps({**json.loads(sealed["backup"]), "format": 9})
    (manifest / "manifest.json").write_text(
        json.dumps({"backup": body, "crc": zlib.crc32(body.encode())})
    )
    with pytest.raises(FolderRefused, match="format 9"):
        read_set(manifest)
    open_stores(world, NOW).close()
    assert [swap.source for swap in swaps(world)] == [each_set(world)[1].name]


def test_a_set_of_a_store_that_fell_back_does_not_hide_what_came_before(
    template: Path, tmp_path: Path
) -> None:
    shutil.copytree(template / "data", tmp_path / "data")
    folder = DataFolder(tmp_path / "data")
    newest, oldest = each_set(folder)[0], each_set(folder)[-1]
    # an old file is put back, and a backup is made of it before anybody looks
    shutil.copy(oldest.path / "trades" / DATA_FILE, folder.path / "trades" / DATA_FILE)
    made = take(folder.backups, [folder.path / name for name in ENVIRONMENTS], NOW)
    assert made.number > newest.number
    assert made.copies["trades"].sequence < newest.copies["trades"].sequence
    open_stores(folder, NOW).close()
    assert [swap.source for swap in swaps(folder)] == [newest.name]


def test_what_a_person_turned_away_from_does_not_come_back(template: Path, tmp_path: Path) -> None:
    shutil.copytree(template / "data", tmp_path / "data")
    folder = DataFolder(tmp_path / "data")
    oldest = each_set(folder)[-1]
    (swap,) = restore([folder.path / "trades"], oldest, account=MINE, now=NOW)
    assert swap.birth != oldest.copies["trades"].birth
    made = take(folder.backups, [folder.path / name for name in ENVIRONMENTS], NOW)
    assert made.copies["trades"].birth == swap.birth
    (folder.path / "trades" / DATA_FILE).write_bytes(b"")
    open_stores(folder, NOW + 1).close()
    assert [each.source for each in swaps(folder)] == [oldest.name, made.name]


def test_a_bad_copy_of_one_store_restores_none(template: Path, tmp_path: Path) -> None:
    shutil.copytree(template / "data", tmp_path / "data")
    folder = DataFolder(tmp_path / "data")
    newest = each_set(folder)[0]
    (newest.path / "audit" / DATA_FILE).write_bytes(b"")
    before = (folder.path / "trades" / DATA_FILE).read_bytes()
    with pytest.raises(Damaged, match="failed its check"):
        restore([folder.path / "trades", folder.path / "audit"], newest, account=MINE, now=NOW)
    assert (folder.path / "trades" / DATA_FILE).read_bytes() == before
    assert swaps(folder) == []


def test_a_program_without_a_child_recovers_as_well(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template / "data", tmp_path / "data")
    folder = DataFolder(tmp_path / "data")
    rot(folder.path / "trades", b"EURUSD", b"EURUSE")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(preflight, "_child", None)
    assert trades_in(folder) == 9
    assert [swap.source for swap in swaps(folder)] == [NAMED[9]]


def test_a_check_that_could_not_be_done_changes_nothing(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template / "data", tmp_path / "data")
    folder = DataFolder(tmp_path / "data")
    (folder.path / "trades" / DATA_FILE).write_bytes(b"")
    before = names_in(folder)
    real, jobs = preflight._run, []

    def no_copies(given: list[preflight.Job], timeout: float) -> list[Verdict]:
        jobs.append(given[0][0])
        if given[0][0] != "check":
            raise StartRefused("told by the test")
        return real(given, timeout)

    monkeypatch.setattr(preflight, "_run", no_copies)
    with pytest.raises(StartRefused, match="told by the test"):
        open_stores(folder, NOW)
    assert jobs == ["check", "restore"]
    assert names_in(folder) == before
    monkeypatch.undo()
    assert trades_in(folder) == 9


def test_the_first_start_finds_nothing_wrong(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    (folder.path / "trades").mkdir()  # a first start that was killed
    open_stores(folder, NOW).close()
    assert swaps(folder) == []


# -- what is wrong, as a pure decision


def sound(**changes: object) -> Verdict:
    given: dict[str, object] = {
        "name": "trades",
        "format": 2,
        "birth": "ab" * 16,
        "sequence": 5,
        "account": None,
        "counts": {},
    }
    return Verdict(Finding.SOUND, facts=Facts(**{**given, **changes}))  # type: ignore[arg-type]


MARK = Mark("ab" * 16, 5)
JUDGED = [
    (sound(), None, True, None, "there is no mark"),
    (sound(), MARK, True, None, "it is where its mark says"),
    (sound(sequence=6), MARK, True, None, "killed between commit and mark"),
    (sound(sequence=4), MARK, True, Why.ROLLED_BACK, "it has been further"),
    (sound(sequence=4), MARK, False, Why.ROLLED_BACK, "also while the folder is new"),
    (sound(sequence=4, birth="cd" * 16), MARK, True, None, "the mark is another store's"),
    (sound(sequence=4, birth=None), MARK, True, None, "an older version's store has no birth"),
    (sound(name="ledger"), None, True, Why.DAMAGED, "another store in its place"),
    (sound(name="ledger", sequence=0), MARK, True, Why.DAMAGED, "which says more than the mark"),
    (Verdict(Finding.SOUND), None, False, None, "nothing has been made yet"),
    (Verdict(Finding.SOUND), None, True, Why.DAMAGED, "what was made is lost"),
    (Verdict(Finding.DAMAGED, "rots"), None, False, Why.DAMAGED, "damaged is damaged"),
    (Verdict(Finding.DAMAGED, "rots"), MARK, True, Why.DAMAGED, "whatever the mark says"),
]


@pytest.mark.parametrize(("verdict", "mark", "made", "why", "reason"), JUDGED)
def test_what_is_wrong(
    tmp_path: Path, verdict: Verdict, mark: Mark | None, made: bool, why: Why | None, reason: str
) -> None:
    fault = judge(tmp_path / "trades", verdict, mark, made=made)
    assert (None if fault is None else fault.why) == why, reason
    if fault is not None and verdict.reason:
        assert fault.reason == verdict.reason


# -- the order of the candidates, as a pure decision

BIRTHS = st.sampled_from(["ab" * 16, "cd" * 16, None])


def facts(name: str, birth: str | None, sequence: int) -> Facts:
    return Facts(name=name, format=2, birth=birth, sequence=sequence, account=None, counts={})


@settings(unhurried)
@given(
    copies=st.lists(st.tuples(BIRTHS, st.integers(0, 9)), max_size=6),
    own=st.none() | st.tuples(st.sampled_from(["trades", "ledger"]), BIRTHS, st.integers(0, 9)),
)
def test_the_order_of_candidates(
    copies: list[tuple[str | None, int]], own: tuple[str, str | None, int] | None
) -> None:
    store = Path("data", "trades")
    backups = [
        BackupSet(
            path=Path("backups", f"b{number}"),
            number=100 - number,
            at=T0 - number,
            copies={"trades": facts("trades", *copy)},
        )
        for number, copy in enumerate(copies)
    ]
    mine = None if own is None else facts(*own)
    found = recovery._candidates(store, mine, backups)
    # every backup, the newest first
    others = [each for each in found if each.path != store]
    assert [(each.path, each.label, each.at) for each in others] == [
        (each.path / "trades", each.name, each.at) for each in backups
    ]
    if mine is None or mine.name != "trades":
        assert others == found
        return
    # itself once: behind the newest ones that have seen more of its life, before all others
    (place,) = [at for at, each in enumerate(found) if each.path == store]
    assert (found[place].label, found[place].at) == ("trades", None)
    ahead = [birth == mine.birth and sequence > mine.sequence for birth, sequence in copies]
    assert all(ahead[:place])
    assert not any(ahead[place : place + 1])


# -- because a person asked for it


def test_a_person_restores_a_set(world: DataFolder) -> None:
    chosen = each_set(world)[1]
    store, before = world.path / "trades", examine(world.path / "trades").facts
    (swap,) = restore([store], chosen, account=MINE, now=NOW)
    assert (swap.why, swap.source, swap.missing) == (Why.RESTORED, chosen.name, 6)
    assert swap.aside == "trades.restored-20231114T222140Z"
    assert examine(world.path / swap.aside).facts == before
    assert read_mark(store) == Mark(swap.birth or "", swap.sequence or 0)
    assert swaps(world) == [swap]
    assert trades_in(world) == 6
    assert swaps(world) == [swap]  # and that is no damage
    assert each_set(world)[1] == chosen


@pytest.mark.parametrize(
    ("spoil", "account", "error", "words"),
    [
        (lambda made: None, OTHERS, AccountRefused, "belongs to"),
        (lambda made: rot(made.path / "trades", b"EURUSD", b"EURUSE"), MINE, Damaged, "checksum"),
        (lambda made: shutil.rmtree(made.path / "trades"), MINE, Damaged, "failed its check"),
        (lambda made: made.copies.pop("trades"), MINE, Damaged, "has no copy"),
    ],
)
def test_what_cannot_be_restored_changes_nothing(
    world: DataFolder,
    spoil: Callable[[BackupSet], object],
    account: tuple[int, str],
    error: type[Exception],
    words: str,
) -> None:
    chosen = each_set(world)[0]
    spoil(chosen)
    before = [name for name in names_in(world) if not name.startswith("backups")]
    with pytest.raises(error, match=words) as refused:
        restore([world.path / "trades"], chosen, account=account, now=NOW)
    assert getattr(refused.value, "remedy", None)
    assert [name for name in names_in(world) if not name.startswith("backups")] == before
    assert trades_in(world) == 12


def test_a_restore_goes_on_from_a_swap_that_was_cut(world: DataFolder) -> None:
    """What was cut is finished first, and is what the person's choice replaces."""
    newest, _, oldest = each_set(world)
    store = world.path / "trades"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
        with pytest.raises(FolderRefused):
            restore([store], newest, account=MINE, now=NOW)
    (swap,) = restore([store], oldest, account=MINE, now=NOW + 1)
    assert [each.source for each in swaps(world)] == [newest.name, oldest.name]
    assert swap.missing is None  # what gives way had begun a life of its own
    assert trades_in(world) == 3


def test_the_same_restore_again_goes_on_from_its_cut(world: DataFolder) -> None:
    """To begin anew would set aside what has just come."""
    oldest, store = each_set(world)[2], world.path / "trades"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            restore([store], oldest, account=MINE, now=NOW)
    (swap,) = restore([store], oldest, account=MINE, now=NOW + 1)
    assert (swap.at, swap.source, swap.missing) == (NOW, oldest.name, 9)
    assert swaps(world) == [swap]
    assert len(list(world.path.glob("trades.restored-*"))) == 2  # one, and its reason
    assert trades_in(world) == 3


def test_a_set_that_is_still_needed_is_kept(world: DataFolder) -> None:
    """The newest copy of a store that fails its backups is not pruned, and comes back."""
    rot(world.path / "trades", b"EURUSD", b"EURUSE")
    for number in range(4):
        made = take(world.backups, [world.path / n for n in ENVIRONMENTS], T0 + 100 + number)
        assert set(made.failed) == {"trades"}
    prune(world.backups, 2)
    assert len(each_set(world)) == 3
    assert trades_in(world) == 9


def test_marks_of_other_stores_stay_theirs(world: DataFolder) -> None:
    write_mark(world.path / "trades", Mark("cd" * 16, 10**9))
    assert trades_in(world) == 12
    assert swaps(world) == []
