"""One store in another's place: whatever a cut leaves, the next start goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_samples import T0, strategy, unhurried

from defence.errors import FolderRefused, StoreFull
from storage import files, swap
from storage.layout import DATA_FILE
from storage.marks import Mark, read_mark, write_mark
from storage.swap import Swap, Why, begin, finish, new_folder, tell, told, untold

STAMP = "20231114T221320Z"
ASIDE = f"trades.damaged-{STAMP}"
BIRTH, OTHER = "ab" * 16, "cd" * 16
NOTE = "dtms.trades.swap"


def wanted(**changes: object) -> Swap:
    """A damaged store gives way to a backup."""
    given: dict[str, object] = {
        "name": "trades",
        "why": Why.DAMAGED,
        "reason": "it rots",
        "at": T0,
        "aside": None,
        "source": "20231114T000000Z",
        "source_at": T0 - 80_000,
        "birth": BIRTH,
        "sequence": 30,
        "reached": 34,
    }
    return Swap(**{**given, **changes})  # type: ignore[arg-type]


EMPTY = wanted(source=None, source_at=None, birth=None, sequence=0)


def make(folder: Path, content: str) -> Path:
    """An environment's folder, as far as a swap looks at it."""
    folder.mkdir()
    (folder / DATA_FILE).write_text(content)
    return folder


def held(folder: Path) -> str | None:
    """What the environment in that folder holds, None if there is none."""
    data = folder / DATA_FILE
    return data.read_text() if data.exists() else None


def told_notes(folder: Path) -> list[Path]:
    return sorted(folder.glob("dtms.trades.told-*"))


# -- every state that a cut can leave, built by hand

# what lies in the folder: the store, what is built, what is aside, its reason, the mark
STATES: dict[str, tuple[Swap, dict[str, str]]] = {
    "noted": (wanted(aside=ASIDE), {"store": "old", "new": "new"}),
    "reason written": (wanted(aside=ASIDE), {"store": "old", "new": "new", "reason": ""}),
    "set aside": (wanted(aside=ASIDE), {"new": "new", "aside": "old", "reason": ""}),
    "set aside, a folder made anew": (
        wanted(aside=ASIDE),
        {"store": "", "new": "new", "aside": "old", "reason": ""},
    ),
    "in its place": (wanted(aside=ASIDE), {"store": "new", "aside": "old", "reason": ""}),
    "marked": (
        wanted(aside=ASIDE),
        {"store": "new", "aside": "old", "reason": "", "mark": BIRTH},
    ),
    "nothing to keep, noted": (wanted(), {"new": "new"}),
    "nothing to keep, an empty folder": (wanted(), {"store": "", "new": "new"}),
    "nothing to keep, in its place": (wanted(), {"store": "new"}),
    "nothing comes, noted": (replace(EMPTY, aside=ASIDE), {"store": "old"}),
    "nothing comes, reason written": (
        replace(EMPTY, aside=ASIDE),
        {"store": "old", "reason": ""},
    ),
    "nothing comes, set aside": (replace(EMPTY, aside=ASIDE), {"aside": "old", "reason": ""}),
    "nothing comes, nothing to keep": (EMPTY, {}),
}


def build(folder: Path, noted: Swap, lying: dict[str, str]) -> None:
    """Lay it out as a cut would leave it."""
    (folder / NOTE).write_bytes(swap._sealed(noted))
    places = {"store": "trades", "new": "dtms.trades.new", "aside": ASIDE}
    for each, content in lying.items():
        if each == "reason":
            (folder / f"{ASIDE}.txt").write_text("half a rea")
        elif each == "mark":
            write_mark(folder / "trades", Mark(content, 30))
        elif content:
            make(folder / places[each], content)
        else:
            (folder / places[each]).mkdir()
    if "mark" not in lying:
        write_mark(folder / "trades", Mark(OTHER, 34))  # that of the old one


@pytest.mark.parametrize("state", STATES)
def test_a_swap_that_was_cut_goes_on(tmp_path: Path, state: str) -> None:
    noted, lying = STATES[state]
    build(tmp_path, noted, lying)
    assert finish(tmp_path, "trades") == noted
    assert held(tmp_path / "trades") == (None if noted.source is None else "new")
    expected = {"dtms.trades.mark", *(path.name for path in told_notes(tmp_path))}
    if noted.source is not None:
        expected.add("trades")
        assert read_mark(tmp_path / "trades") == Mark(BIRTH, 30)
    else:
        assert read_mark(tmp_path / "trades") == Mark(OTHER, 34)
    if noted.aside is not None:
        expected |= {ASIDE, f"{ASIDE}.txt"}
        assert held(tmp_path / ASIDE) == "old"
        reason = (tmp_path / f"{ASIDE}.txt").read_text()
        if lying.get("store") == "old":  # a reason that was cut is written anew
            assert "it rots" in reason
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert [each for _, each in untold(tmp_path)] == [noted]
    # a second time changes nothing
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert finish(tmp_path, "trades") is None
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("state", STATES)
def test_it_goes_on_where_a_name_must_be_free_before_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """As on Windows, where a folder is not renamed onto another, not even an empty one."""
    real = Path.rename

    def strictly(self: Path, target: Path) -> Path:
        if target.exists():
            raise FileExistsError(17, "told by the test")
        return real(self, target)

    noted, lying = STATES[state]
    build(tmp_path, noted, lying)
    monkeypatch.setattr(Path, "rename", strictly)
    assert finish(tmp_path, "trades") == noted
    assert held(tmp_path / "trades") == (None if noted.source is None else "new")


def test_cut_before_the_note_nothing_has_happened(tmp_path: Path) -> None:
    store = make(tmp_path / "trades", "old")
    make(tmp_path / "dtms.trades.new", "new")
    assert finish(tmp_path, "trades") is None
    assert held(store) == "old"
    assert untold(tmp_path) == []
    # and what was left is taken away before it is built again
    assert new_folder(store) == tmp_path / "dtms.trades.new"
    assert [path.name for path in tmp_path.iterdir()] == ["trades"]


def test_one_stores_swap_is_not_anothers(tmp_path: Path) -> None:
    build(tmp_path, *STATES["noted"])
    assert finish(tmp_path, "ledger") is None
    assert held(tmp_path / "trades") == "old"


def test_a_whole_swap(tmp_path: Path) -> None:
    store = make(tmp_path / "trades", "old")
    make(new_folder(store), "new")
    done = begin(store, wanted())
    assert done == wanted(aside=ASIDE)
    assert done.missing == 4
    assert (held(store), held(tmp_path / ASIDE)) == ("new", "old")
    assert (tmp_path / f"{ASIDE}.txt").read_text() == (
        "trades was set aside at 2023-11-14T22:13:20+00:00 (damaged)\n"
        "reason: it rots\nin its place: 20231114T000000Z\n"
    )
    assert read_mark(store) == Mark(BIRTH, 30)
    ((note, said),) = untold(tmp_path)
    assert said == done
    told(note)
    told(note)
    assert untold(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        "trades",
        ASIDE,
        f"{ASIDE}.txt",
        "dtms.trades.mark",
    }


def test_an_empty_one_comes_if_there_is_no_other(tmp_path: Path) -> None:
    store = make(tmp_path / "trades", "old")
    done = begin(store, EMPTY)
    assert done == replace(EMPTY, aside=ASIDE)
    assert not store.exists()
    assert held(tmp_path / ASIDE) == "old"
    assert "an empty one" in (tmp_path / f"{ASIDE}.txt").read_text()


@pytest.mark.parametrize(
    ("lay", "kept"),
    [
        (lambda store: None, False),
        (lambda store: store.mkdir(), False),
        (lambda store: (store.mkdir(), (store / "lock.mdb").touch()), True),
        (lambda store: store.write_text("a file in its place"), True),
        (lambda store: (store / DATA_FILE).mkdir(parents=True), True),
    ],
    ids=["nothing", "an empty folder", "a lock alone", "a file", "a folder as data file"],
)
def test_whatever_was_in_its_place_is_kept(
    tmp_path: Path, lay: Callable[[Path], object], kept: bool
) -> None:
    store = tmp_path / "trades"
    lay(store)
    make(new_folder(store), "new")
    done = begin(store, wanted())
    assert held(store) == "new"
    assert (done.aside is not None) is kept
    assert (tmp_path / ASIDE).exists() is kept


# -- names


def test_names_aside_never_collide(tmp_path: Path) -> None:
    names = []
    for number in range(3):
        store = make(tmp_path / "trades", f"old {number}")
        names.append(begin(store, EMPTY).aside)
    make(tmp_path / "trades", "old 3")
    (tmp_path / "trades.damaged-20231114T221321Z").mkdir()  # an empty folder in the way
    names.append(begin(tmp_path / "trades", replace(EMPTY, at=T0 + 1)).aside)
    make(tmp_path / "trades", "old 4")
    (tmp_path / "trades.damaged-20231114T221322Z.txt").touch()  # or a reason
    names.append(begin(tmp_path / "trades", replace(EMPTY, at=T0 + 2)).aside)
    make(tmp_path / "trades", "old 5")
    names.append(begin(tmp_path / "trades", replace(EMPTY, why=Why.ROLLED_BACK)).aside)
    assert names == [
        ASIDE,
        f"{ASIDE}-1",
        f"{ASIDE}-2",
        "trades.damaged-20231114T221321Z-1",
        "trades.damaged-20231114T221322Z-1",
        f"trades.rolled-back-{STAMP}",
    ]
    for number, name in enumerate(names):
        assert name is not None
        assert held(tmp_path / name) == f"old {number}"
        assert "it rots" in (tmp_path / f"{name}.txt").read_text()
    assert len(untold(tmp_path)) == 6  # none over another


def test_no_free_name_is_told_and_nothing_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "trades", "old")
    monkeypatch.setattr(swap, "_TRIES", 0)
    with pytest.raises(FolderRefused, match="no free name"):
        begin(store, EMPTY)
    assert [path.name for path in tmp_path.iterdir()] == ["trades"]


# -- what fails


def full(*_: object) -> None:
    raise OSError(28, "full")


def test_nothing_is_moved_if_it_cannot_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "trades", "old")
    make(new_folder(store), "new")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(StoreFull):
            begin(store, wanted())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dtms.trades.new", "trades"]
    assert finish(tmp_path, "trades") is None


def test_nothing_is_moved_if_its_reason_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "trades", "old")
    make(new_folder(store), "new")
    real = swap.write_whole

    def no_reason(path: Path, content: bytes) -> None:
        if path.suffix == ".txt":
            raise StoreFull("told by the test")
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(swap, "write_whole", no_reason)
        with pytest.raises(StoreFull, match="told by the test"):
            begin(store, wanted())
    assert held(store) == "old"
    assert finish(tmp_path, "trades") == wanted(aside=ASIDE)  # with room again, it goes on
    assert (held(store), held(tmp_path / ASIDE)) == ("new", "old")


def test_a_name_that_cannot_be_given_is_told_and_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "trades", "old")
    make(new_folder(store), "new")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(StoreFull):
            begin(store, wanted())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
        with pytest.raises(FolderRefused):
            finish(tmp_path, "trades")
    assert held(store) == "old"
    finish(tmp_path, "trades")
    assert (held(store), held(tmp_path / ASIDE)) == ("new", "old")


def test_what_is_in_the_way_is_never_overwritten(tmp_path: Path) -> None:
    build(tmp_path, wanted(aside=ASIDE), {"new": "new", "aside": "old"})
    make(tmp_path / "trades", "somebody's")  # put there after the cut
    with pytest.raises(FolderRefused):
        finish(tmp_path, "trades")
    assert held(tmp_path / "trades") == "somebody's"
    assert held(tmp_path / "dtms.trades.new") == "new"


def test_each_name_is_durable_before_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "trades", "old")
    make(new_folder(store), "new")
    seen: list[tuple[str | None, str | None, bool]] = []

    def note(path: Path) -> None:
        assert path == tmp_path
        seen.append((held(store), held(tmp_path / ASIDE), bool(told_notes(tmp_path))))

    monkeypatch.setattr(swap, "sync_folder", note)
    begin(store, wanted())
    assert seen == [(None, "old", False), ("new", "old", False), ("new", "old", True)]


# -- what people must hear


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b"not json", b"\xff", b'{"swap": "{}", "crc": 1}', None]
)
def test_a_damaged_note_of_a_swap_is_refused_and_changes_nothing(
    tmp_path: Path, content: bytes | None
) -> None:
    build(tmp_path, *STATES["noted"])
    if content is None:
        content = (tmp_path / NOTE).read_bytes().replace(b"it rots", b"it RATS")
    (tmp_path / NOTE).write_bytes(content)
    with pytest.raises(FolderRefused, match="note") as refused:
        finish(tmp_path, "trades")
    assert refused.value.remedy
    assert held(tmp_path / "trades") == "old"
    assert held(tmp_path / "dtms.trades.new") == "new"


@pytest.mark.parametrize("content", [b"", b"not json", b'{"swap": "{}", "crc": 1}'])
def test_a_damaged_note_for_people_still_tells(tmp_path: Path, content: bytes) -> None:
    store = make(tmp_path / "trades", "old")
    begin(store, EMPTY)
    (note,) = told_notes(tmp_path)
    note.write_bytes(content)
    os.utime(note, (T0, T0))
    ((same, said),) = untold(tmp_path)
    assert same == note
    assert (said.name, said.why, said.at, said.aside) == ("trades", Why.DAMAGED, T0, None)
    assert "is damaged" in said.reason
    told(note)
    assert untold(tmp_path) == []


def test_a_note_that_was_cut_while_it_was_written_tells_nothing(tmp_path: Path) -> None:
    tell(tmp_path, EMPTY)
    (note,) = told_notes(tmp_path)
    (tmp_path / f"dtms.{note.name}.1a2b3c4d.tmp").write_bytes(b"{half of")
    assert [each for each, _ in untold(tmp_path)] == [note]


def test_people_hear_in_order_and_of_each(tmp_path: Path) -> None:
    swaps = [replace(EMPTY, name=name, at=at) for at, name in ((T0 + 5, "a"), (T0, "b"))]
    for each in [*swaps, *swaps]:  # telling the same again is one note
        tell(tmp_path, each)
    tell(tmp_path, replace(swaps[0], reason="another reason, in the same second"))
    assert [each.name for _, each in untold(tmp_path)] == ["b", "a", "a"]


def test_an_empty_folder_has_nothing_to_tell(tmp_path: Path) -> None:
    assert untold(tmp_path) == []
    (tmp_path / "dtms.trades.mark").touch()
    (tmp_path / "dtms.json").touch()
    assert untold(tmp_path) == []


@unhurried
@given(strategy(Swap))
def test_a_swap_comes_back(swap_: Swap) -> None:
    assert Swap.of_plain(json.loads(json.dumps(swap_.plain()))) == swap_


@pytest.mark.parametrize(
    ("reached", "sequence", "missing"),
    [(None, 3, None), (3, None, None), (5, 3, 2), (3, 3, 0), (3, 5, 0), (4, 0, 4)],
)
def test_how_much_is_missing(reached: int | None, sequence: int | None, missing: int) -> None:
    assert wanted(reached=reached, sequence=sequence).missing == missing


@unhurried
@given(st.sampled_from(Why), st.text(max_size=30))
def test_any_reason_can_be_told(why: Why, reason: str) -> None:
    assert swap._reason(wanted(why=why, reason=reason)).decode()
