"""`verify`, `backup`, `restore`: the stores of a data folder, with its guard running or not."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from console import show
from console.ends import DONE, FAILED, Ended, Usage, told
from console.ops import ask, find, refusal
from console.settings import load
from defence.errors import AlreadyGuarded, Damaged, DtmsError, FolderRefused, TryAgain
from defence.trade import iso
from storage import preflight
from storage.backups import BackupSet, prune, read_set, sets, take
from storage.examine import Facts, Finding, Verdict
from storage.folder import BACKUPS, ENVIRONMENTS
from storage.locks import FolderLock
from storage.marker import MARKER, read_marker
from storage.marks import read_mark
from storage.recovery import judge, restore, survey

Given = Mapping[str, Any]
Row = dict[str, Any]

_WHERE: Final = (
    "--data-dir says where it is, or, as to run, --terminal, --login, --server and --state-dir"
)
STOP_WITHIN: Final = 60.0  # seconds that a guard may take to stop


def verify(given: Given, *, as_json: bool) -> int:
    """Check every store and every backup; the status is 1 if one is damaged. Changes nothing."""
    folder, _ = _folder(given)
    with _told(given):
        with _lock(folder) as running:
            rows = _live(folder) if running else _at_rest(folder)
        rows += _backups(folder)
    aside = [path.name for path in sorted(folder.glob("*-*Z*")) if path.is_dir()]
    body = {"folder": str(folder), "running": running, "set_aside": aside, "stores": rows}
    _print(body, as_json=as_json)
    bad = [row for row in rows if row["state"] != "sound"]
    if not bad:
        return DONE
    # said in the table; a line more for those who read the end only
    raise Ended(FAILED, f"{len(bad)} of {len(rows)} are not sound, see above")


def backup(given: Given, *, to: Path | None, as_json: bool) -> int:
    """Write a verified backup set; the status is 1 if a store has no copy in it."""
    folder, keep = _folder(given)
    target = folder / BACKUPS if to is None else to
    with _told(given), _lock(folder):
        if to is None and target.exists():
            prune(target, keep)  # first: too many may be why there is no room
        made = take(target, [folder / name for name in ENVIRONMENTS], time.time())
        gone = prune(target, keep) if to is None else []
    body = {
        "backup": str(made.path),
        "number": made.number,
        "removed": gone,
        "stores": _copies(made),
    }
    _print(body, as_json=as_json)
    if made.failed:
        raise Ended(FAILED, "; ".join(f"{name}: {why}" for name, why in made.failed.items()))
    return DONE


def restore_backup(
    given: Given, chosen: str | None, *, names: Sequence[str], stop: bool, as_json: bool
) -> int:
    """Put copies of a backup in the stores' place; the present ones are set aside."""
    folder, _ = _folder(given)
    wrong = next((name for name in names if name not in ENVIRONMENTS), None)
    if wrong is not None:
        raise Usage(f"--store: there is no store {wrong!r}; one of {', '.join(ENVIRONMENTS)}")
    with _told(given), _mine(folder, given, stop=stop):
        backup_set = _chosen(folder, chosen, names)
        marker = _marker_account(folder)
        swaps = restore(
            [folder / name for name in dict.fromkeys(names)],
            backup_set,
            account=marker,
            now=time.time(),
        )
        rows = [{"store": one.name, "came": one.source, "aside": one.aside} for one in swaps]
        # the backups there are belong to what was turned away from: damage must
        # not bring that back
        fresh, why = _fresh_backup(folder)
    body = {
        "restored": backup_set.name,
        "of": iso(backup_set.at),
        "stores": rows,
        "backup": fresh,
        **({} if why is None else {"no_backup": why}),
        "next": "start the guard: it compares the trades with the broker, and sends nothing "
        "until a person arms it (ctl set-mode --mode armed)",
    }
    _print(body, as_json=as_json)
    return DONE


def _fresh_backup(folder: Path) -> tuple[str | None, str | None]:
    """Take a backup of what was restored; return its path, or why there is none."""
    try:
        paths = [folder / name for name in ENVIRONMENTS]
        return str(take(folder / BACKUPS, paths, time.time()).path), None
    except DtmsError as error:
        return None, str(error)


# -- looking


def _at_rest(folder: Path) -> list[Row]:
    marker = read_marker(folder)
    found = survey(folder, ENVIRONMENTS, made=marker is not None and marker.made)
    return [
        _row(name, verdict, None if fault is None else fault.reason)
        for name, (verdict, fault) in found.items()
    ]


def _live(folder: Path) -> list[Row]:
    """Check verified copies: a live file cannot be checked where it lies (LMDB.md)."""
    marks = {name: read_mark(folder / name) for name in ENVIRONMENTS}  # before the copies
    # of ours by its name, and swept at a start if this is killed
    copies = folder / f"dtms.verify-{secrets.token_hex(4)}.tmp"
    try:
        copies.mkdir()
        pairs = {folder / name: copies / name for name in ENVIRONMENTS}
        verdicts = preflight.copy(pairs, live=True)
    finally:
        shutil.rmtree(copies, ignore_errors=True)
    rows = []
    for path, verdict in verdicts.items():
        fault = judge(path, verdict, marks[path.name], made=False)
        rows.append(_row(path.name, verdict, None if fault is None else fault.reason))
    return rows


def _backups(folder: Path) -> list[Row]:
    rows, pairs = [], {}
    for path in sorted(each for each in (folder / BACKUPS).glob("*") if each.is_dir()):
        if path.suffix == ".part":
            continue
        try:
            made = read_set(path)
        except (Damaged, FolderRefused) as error:
            state = "damaged" if isinstance(error, Damaged) else "refused"
            rows.append({"store": f"{BACKUPS}/{path.name}", "state": state, **_why(error)})
            continue
        pairs.update({path / name: (made, name) for name in made.copies})
    for place, verdict in preflight.look(pairs).items():
        made, name = pairs[place]
        reason = verdict.reason
        if verdict.facts is None and not reason:
            reason = "the copy is missing"
        elif verdict.facts is not None and verdict.facts != made.copies[name]:
            reason = "it is not what its manifest says"
        rows.append(_row(f"{BACKUPS}/{made.name}/{name}", verdict, reason or None))
    return rows


def _row(store: str, verdict: Verdict, reason: str | None) -> Row:
    facts = verdict.facts
    state = "sound" if reason is None and verdict.finding is Finding.SOUND else "damaged"
    if verdict.finding is Finding.REFUSED:
        state = "refused"
    return {
        "store": store,
        "state": state,
        "commit": None if facts is None else facts.sequence,
        "records": None if facts is None else sum(facts.counts.values()),
        "why": reason or verdict.reason or None,
    }


def _why(error: DtmsError) -> Row:
    return {"commit": None, "records": None, "why": error.message}


def _copies(made: BackupSet) -> list[Row]:
    def row(name: str, facts: Facts) -> Row:
        records = sum(facts.counts.values())
        return {"store": name, "state": "sound", "commit": facts.sequence, "records": records}

    rows = [{**row(name, facts), "why": None} for name, facts in made.copies.items()]
    failed = {"state": "damaged", "commit": None, "records": None}
    return rows + [{"store": name, **failed, "why": why} for name, why in made.failed.items()]


# -- which folder, and who has it


def _folder(given: Given) -> tuple[Path, int]:
    settings = load(given)
    folder = settings.folder.absolute()
    if not (folder / MARKER).is_file():
        raise Ended(FAILED, f"{folder} is no data folder of DTMS; {_WHERE}")
    return folder, settings.backups_kept


@contextmanager
def _told(given: Given) -> Iterator[None]:
    """Turn the tree of errors into one line and status 1."""
    try:
        yield
    except DtmsError as error:
        raise Ended(FAILED, told(error, given)) from None


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the folder if nobody has it; say whether a guard (or somebody else) does."""
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except AlreadyGuarded:
        yield True
        return
    try:
        yield False
    finally:
        lock.release()


@contextmanager
def _mine(folder: Path, given: Given, *, stop: bool) -> Iterator[None]:
    """Hold the folder; with `stop`, end the guard that has it first."""
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except AlreadyGuarded as error:
        if not stop:
            raise AlreadyGuarded(
                error.message,
                field=error.field,
                value=error.value,
                remedy="stop that guard first, or add --stop",
            ) from None
        _stop_guard(given)
        _wait_for(lock)
    try:
        yield
    finally:
        lock.release()


def _stop_guard(given: Given) -> None:
    place = find(given)
    body = {"by": "restore"}
    code, answer = ask(place, lambda client: client.post("/dtms/admin/shutdown", body))
    if code >= 400:
        raise Ended(FAILED, refusal(code, answer, place))


def _wait_for(lock: FolderLock) -> None:
    deadline = time.monotonic() + STOP_WITHIN
    while True:
        try:
            lock.acquire()
        except AlreadyGuarded as error:
            if time.monotonic() > deadline:
                raise TryAgain(
                    f"the guard did not stop within {STOP_WITHIN:.0f} s: {error.message}",
                    remedy="look at its log, then try again; nothing was restored",
                ) from None
            time.sleep(0.1)
        else:
            return


def _marker_account(folder: Path) -> tuple[int, str] | None:
    marker = read_marker(folder)
    return None if marker is None else marker.account


def _chosen(folder: Path, name: str | None, names: Sequence[str]) -> BackupSet:
    """Return the set that was named, by its name or its path; by default the newest with all."""
    if name is not None:
        path = folder / BACKUPS / name
        return read_set(path if path.is_dir() else Path(name))
    for each in sets(folder / BACKUPS):
        if all(one in each.copies for one in names):
            return each
    raise Damaged(
        f"there is no backup of {', '.join(names)} in {folder / BACKUPS}",
        field="backup",
        remedy="name a set that lies elsewhere by its path",
    )


def _print(body: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
    else:
        show.stores(body)
