"""Bringing the environments of a data folder into a state that can be opened.

What is damaged, missing or behind its mark gives way to the newest copy that
passes its check, and what an older version made is migrated. Nothing is
deleted; each step may be cut (see `storage.swap`), and a second run after a
cut comes to the same as one that was not cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from defence.errors import AccountRefused, Damaged
from storage import preflight, swap
from storage.backups import BackupSet, sets
from storage.examine import Facts, Finding, Verdict
from storage.layout import DATA_FILE
from storage.marks import Mark, read_mark, rolled_back
from storage.migration import migrate, outdated, renew_birth
from storage.swap import Swap, Why


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a store cannot be opened as it is."""

    why: Why
    reason: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    path: Path
    label: str
    at: float | None


def make_sound(
    folder: Path,
    names: Iterable[str],
    *,
    backups: Path,
    made: bool,
    account: tuple[int, str] | None,
    now: float,
) -> None:
    """Make every named environment of `folder` fit to be opened, or new.

    `made` says that all of them have existed; `account` whose they are, None if
    not known; `now` is in UTC epoch seconds. The caller holds the folder's lock.
    Raises FolderRefused, StartRefused or StoreFull; a later run goes on.
    """
    paths = {name: folder / name for name in names}
    for name in paths:
        swap.finish(folder, name)
    # an empty store that shall come in another's place, and was not made before a cut
    awaited = {each.name for _, each in swap.untold(folder) if each.source is None}
    verdicts = preflight.check(paths.values())
    for name, path in paths.items():
        mark = read_mark(path)
        fault = judge(path, verdicts[path], mark, made=made and name not in awaited)
        facts = verdicts[path].facts
        if fault is not None:
            facts = _replace(path, fault, verdicts[path], mark, sets(backups), account, now)
        if facts is not None and outdated(facts):
            migrate(path, facts, now)
    if not made:
        # a first start that was cut had acknowledged nothing: what it left lies
        # aside, and there is nothing that people must know. A mark says otherwise
        for note, each in swap.untold(folder):
            if each.name in paths and read_mark(paths[each.name]) is None:
                swap.told(note)


def survey(
    folder: Path, names: Iterable[str], *, made: bool
) -> dict[str, tuple[Verdict, Fault | None]]:
    """Look at environments that nobody has open, and change nothing.

    Raises StartRefused if the check could not be done; an environment that
    cannot be read, or that a newer version made, has the verdict REFUSED.
    """
    paths = {name: folder / name for name in names}
    verdicts = preflight.look(paths.values())
    return {
        name: (verdicts[path], judge(path, verdicts[path], read_mark(path), made=made))
        for name, path in paths.items()
    }


def judge(path: Path, verdict: Verdict, mark: Mark | None, *, made: bool) -> Fault | None:
    """Return why the environment at `path` cannot be trusted; None if it can."""
    if verdict.finding is Finding.REFUSED:
        return None  # it is not damaged: it is not for us
    if verdict.finding is Finding.DAMAGED:
        return Fault(Why.DAMAGED, verdict.reason)
    facts = verdict.facts
    if facts is None:
        # once the stores have been made, a missing one is a lost one: an
        # empty new store in its place must not pass for what it held
        there = (path / DATA_FILE).exists()
        lost = f"{DATA_FILE} holds nothing" if there else f"{DATA_FILE} is missing"
        return Fault(Why.DAMAGED, lost) if made else None
    if facts.name != path.name:
        return Fault(Why.DAMAGED, f"it holds the store {facts.name!r}")
    if mark is None or facts.birth is None or not rolled_back(mark, facts.birth, facts.sequence):
        return None
    reason = f"it is at commit {facts.sequence}, and had come to {mark.sequence}"
    return Fault(Why.ROLLED_BACK, reason)


def restore(
    stores: Sequence[Path],
    chosen: BackupSet,
    *,
    account: tuple[int, str] | None,
    now: float,
) -> list[Swap]:
    """Put the copies of one set in the stores' place, because a person asked for it.

    The present stores are set aside, when all copies have passed their check.
    What was restored begins a life of its own: backups of the one it replaces
    are never taken for newer states of it. Raises Damaged if the set has no
    sound copy of a store, AccountRefused if it is another account's, StoreFull
    or FolderRefused. The caller holds the folder's lock.
    """
    swaps, ready = [], []
    for store in stores:
        under_way = swap.finish(store.parent, store.name)
        if under_way and (under_way.why, under_way.source) == (Why.RESTORED, chosen.name):
            swaps.append(under_way)  # it was cut: not once more
        else:
            ready.append((store, _copy_of(store, chosen, account)))
    fault = Fault(Why.RESTORED, f"a person restored the backup {chosen.name}")
    for store, facts in ready:
        candidate = _Candidate(chosen.path / store.name, chosen.name, chosen.at)
        birth = renew_birth(swap.built(store))
        swaps.append(_put(store, fault, candidate, facts, read_mark(store), now, birth))
    return swaps


def _copy_of(store: Path, chosen: BackupSet, account: tuple[int, str] | None) -> Facts:
    """Build what shall come in a store's place from a set; return what it holds."""
    if store.name not in chosen.copies:
        raise Damaged(
            f"the backup {chosen.name} has no copy of {store.name!r}",
            field="backup",
            value=chosen.name,
            remedy="choose another one",
        )
    if account is not None and chosen.account not in (None, account):
        raise AccountRefused(
            f"the backup belongs to {chosen.account}, the data folder to {account}",
            field="backup",
            value=chosen.name,
            remedy="choose a backup of this account",
        )
    new, source = swap.new_folder(store), chosen.path / store.name
    verdict = preflight.copy({source: new}, live=False)[source]
    if verdict.facts is None or not _belongs(verdict.facts, store, account):
        shutil.rmtree(new, ignore_errors=True)
        why = verdict.reason or "it is not what the set says"
        raise Damaged(
            f"the copy of {store.name!r} in {chosen.name} failed its check: {why}",
            field="backup",
            value=chosen.name,
            remedy="choose another one",
        )
    return verdict.facts


def _replace(
    store: Path,
    fault: Fault,
    verdict: Verdict,
    mark: Mark | None,
    backups: list[BackupSet],
    account: tuple[int, str] | None,
    now: float,
) -> Facts | None:
    """Put the best copy in a store's place; return what it holds, None for an empty one."""
    usable = [
        each
        for each in backups
        if store.name in each.copies and (account is None or each.account in (None, account))
    ]
    for candidate in _candidates(store, verdict.facts, usable, mark):
        new = swap.new_folder(store)
        facts = preflight.attempt(candidate.path, new).facts
        itself = candidate.path == store  # whose it is, its opening will judge
        if facts is not None and (itself or _belongs(facts, store, account)):
            _put(store, fault, candidate, facts, mark, now)
            return facts
    shutil.rmtree(swap.new_folder(store), ignore_errors=True)
    reached = None if mark is None else mark.sequence
    empty = Swap(
        name=store.name,
        why=fault.why,
        reason=fault.reason,
        at=now,
        aside=None,
        sequence=None if reached is None else 0,
        reached=reached,
    )
    swap.begin(store, empty)
    return None


def _candidates(
    store: Path, own: Facts | None, backups: list[BackupSet], mark: Mark | None = None
) -> list[_Candidate]:
    """Return what may come in a store's place, the best first.

    Those of the life that the mark knows come first, by how far they had come;
    a set made of a store that had fallen back is the newer one, and has less.
    Then the others, the newest first: a person may have turned away from them.
    A store that is sound and only behind is better than what is behind it.
    """
    life = None if mark is None else mark.birth

    def rank(each: BackupSet) -> tuple[bool, int]:
        copy = each.copies[store.name]
        known = life is not None and copy.birth == life
        return (known, copy.sequence if known else 0)

    ranked = sorted(backups, key=rank, reverse=True)  # stable: the newest first among equals
    found = [_Candidate(each.path / store.name, each.name, each.at) for each in ranked]
    if own is not None and own.name == store.name:
        copies = (each.copies[store.name] for each in ranked)
        ahead = takewhile(lambda it: it.birth == own.birth and it.sequence > own.sequence, copies)
        found.insert(sum(1 for _ in ahead), _Candidate(store, store.name, None))
    return found


def _belongs(facts: Facts, store: Path, account: tuple[int, str] | None) -> bool:
    """Whether a copy is what its set says: of this store, and not of another account."""
    return facts.name == store.name and (account is None or facts.account in (None, account))


def _put(
    store: Path,
    fault: Fault,
    candidate: _Candidate,
    facts: Facts,
    mark: Mark | None,
    now: float,
    birth: str | None = None,  # where it is not the copy's any more
) -> Swap:
    same = mark is not None and mark.birth == facts.birth
    return swap.begin(
        store,
        Swap(
            name=store.name,
            why=fault.why,
            reason=fault.reason,
            at=now,
            aside=None,
            source=candidate.label,
            source_at=candidate.at,
            birth=birth or facts.birth,
            sequence=facts.sequence,
            reached=mark.sequence if mark is not None and same else None,
        ),
    )
