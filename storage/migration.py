"""Migration: a new environment is built from the old one, verified, then put in its place.

A crash at any point leaves the old one whole: it is renamed only when the new
one is durable and has passed its check (see `storage.swap`), and it is kept.
"""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import lmdb

from defence.errors import Damaged, Fault, FolderRefused
from storage import audit, ledger, outbox, preflight, swap, trades
from storage.environment import Environment
from storage.examine import Facts
from storage.failures import engine_path, translate
from storage.layout import BIRTH_KEY, FORMAT_KEY, FORMATS, META, SEQUENCE_KEY
from storage.marks import BIRTH_BYTES
from storage.records import encode
from storage.steps import STEPS, Row, Step
from storage.swap import Swap, Why
from storage.view import Change, View

DATABASES: Final[Mapping[str, Sequence[str]]] = {
    "trades": trades.DATABASES,
    "ledger": ledger.DATABASES,
    "outbox": outbox.DATABASES,
    "audit": audit.DATABASES,
}
_CHUNK: Final = 5_000  # records a transaction: it must not outgrow the memory
_OURS: Final = frozenset({FORMAT_KEY, BIRTH_KEY, SEQUENCE_KEY})


def outdated(facts: Facts) -> bool:
    """Whether this version works with a newer format than the environment has."""
    return facts.format < FORMATS.get(facts.name, facts.format)


def migrate(
    store: Path,
    facts: Facts,
    now: float,
    steps: Mapping[tuple[str, int], Step] = STEPS,
) -> Facts:
    """Bring a sound environment that nobody has open to the newest format.

    Birth and sequence go on. Raises FolderRefused if there is no step from its
    format, Damaged if the new environment fails its check, StoreFull without
    room; then the old one is as it was.
    """
    step = steps.get((facts.name, facts.format))
    if step is None:
        raise FolderRefused(
            f"the store {facts.name!r} has format {facts.format}, and this program cannot "
            f"bring it to {FORMATS[facts.name]}",
            field="data_dir",
            value=str(store),
            remedy="run the version between that knows both",
        )
    new = swap.new_folder(store)
    try:
        written = _build(store, new, facts, step)
        verdict = preflight.check([new])[new]
        built = verdict.facts
        if built is None or not _same(built.counts, written):
            raise Damaged(
                f"the migrated store {facts.name!r} failed its check: "
                f"{verdict.reason or 'records are missing'}",
                field=facts.name,
                value=str(new),
                remedy="start again; the old store is as it was",
            )
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    swap.begin(
        store,
        Swap(
            name=store.name,
            why=Why.MIGRATED,
            reason=f"format {facts.format} became {built.format}",
            at=now,
            aside=None,
            source=store.name,
            birth=built.birth,
            sequence=built.sequence,
            reached=built.sequence,
        ),
    )
    return built


def renew_birth(store: Path) -> str:
    """Let a copy that nobody has open begin a life of its own; return its new birth. Durable.

    Whatever its format: META and its encoding are the same in all.
    """
    birth = secrets.token_hex(BIRTH_BYTES)
    try:
        env = lmdb.open(engine_path(store), create=False, max_dbs=64, lock=False)
        try:
            meta = env.open_db(META.encode(), create=False)
            with env.begin(write=True) as txn:
                txn.put(BIRTH_KEY, encode(META, BIRTH_KEY, {"id": birth}), db=meta)
        finally:
            env.close()
    except lmdb.Error as error:
        raise translate(error, store.name, store) from error
    return birth


def _build(store: Path, new: Path, facts: Facts, step: Step) -> Counter[str]:
    written: Counter[str] = Counter()
    with _at_rest(store) as old:
        rows = step(old)
        databases = DATABASES[facts.name]
        env = Environment.open(new, name=facts.name, databases=databases, marked=False)
        try:
            while chunk := list(islice(rows, _CHUNK)):
                env.run(partial(_write, chunk))
                written.update(db for db, _, _ in chunk)
            env.run(partial(_stamp, facts))
        finally:
            env.close()
    return written


def _write(chunk: Sequence[Row], change: Change) -> None:
    for db, key, fields in chunk:
        if db == META and key in _OURS:
            raise Fault("a migration step leaves these to the machinery", field=db, value=key)
        change.put(db, key, fields)


def _stamp(facts: Facts, change: Change) -> None:
    """Go on with the old one's life: its birth, and its count of commits plus this one."""
    if facts.birth is not None:
        change.put(META, BIRTH_KEY, {"id": facts.birth})
    change.sequence = facts.sequence + 1


def _same(found: Mapping[str, int], written: Mapping[str, int]) -> bool:
    """Whether every record that was written was found; META has three of the machinery's."""
    expected = {db: count for db, count in written.items() if db != META}
    return all(found.get(db, 0) == count for db, count in expected.items()) and found.get(
        META, 0
    ) == written.get(META, 0) + len(_OURS)


@contextmanager
def _at_rest(store: Path) -> Iterator[View]:
    """Read an environment that was checked and that nobody has open; not one byte changes."""
    try:
        env = lmdb.open(engine_path(store), readonly=True, lock=False, create=False, max_dbs=64)
        try:
            with env.begin() as txn:
                names = [bytes(key) for key in txn.cursor().iternext(keys=True, values=False)]
            handles = {name.decode(): env.open_db(name, create=False) for name in names}
            with env.begin() as txn:
                yield View(txn, handles)
        finally:
            env.close()
    except lmdb.Error as error:
        raise translate(error, store.name, store) from error
