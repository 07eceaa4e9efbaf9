"""Records: what is written is read back, and anything else is told."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_samples import action, alert, intent, strategy, trade, unhurried

from defence.alerts import Alert
from defence.errors import Damaged, FolderRefused, Invalid
from defence.orders import Action, Intent, Outcome, PendingIntent
from defence.trade import TradeRecord
from storage import fields as mapping
from storage import records
from storage.audited import (
    AuditEntry,
    ControlState,
    control_fields,
    control_from,
    entry_fields,
    entry_from,
)
from storage.records import MAX_KEY, decode, encode

KEYS = st.binary(min_size=1, max_size=40)
NAMES = st.text("abcdef_", min_size=1, max_size=12)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=8),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3)
    ),
    max_leaves=8,
)
MAPS = st.dictionaries(st.text(st.characters(), max_size=8), PLAIN, max_size=5)

MAPPINGS: list[tuple[type[Any], Any, Any]] = [
    (TradeRecord, mapping.trade_fields, mapping.trade_from),
    (Intent, mapping.intent_fields, mapping.intent_from),
    (PendingIntent, mapping.pending_fields, mapping.pending_from),
    (Outcome, mapping.outcome_fields, mapping.outcome_from),
    (Action, mapping.action_fields, mapping.action_from),
    (Alert, mapping.alert_fields, mapping.alert_from),
    (ControlState, control_fields, control_from),
]
each_mapping = pytest.mark.parametrize(
    ("kind", "write", "read"), MAPPINGS, ids=[row[0].__name__ for row in MAPPINGS]
)


@unhurried
@given(NAMES, KEYS, MAPS)
def test_what_is_written_is_read(db: str, key: bytes, written: dict[str, Any]) -> None:
    assert decode(db, key, encode(db, key, written)) == written


@unhurried
@given(NAMES, KEYS, MAPS, st.data())
def test_every_flipped_bit_is_told(
    db: str, key: bytes, written: dict[str, Any], data: st.DataObject
) -> None:
    raw = bytearray(encode(db, key, written))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Damaged):
        decode(db, key, bytes(raw))


@unhurried
@given(MAPS, st.data())
def test_a_cut_record_is_told(written: dict[str, Any], data: st.DataObject) -> None:
    raw = encode("trades", b"k", written)
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(Damaged):
        decode("trades", b"k", raw[:cut])


@unhurried
@given(st.tuples(NAMES, KEYS), st.tuples(NAMES, KEYS), MAPS)
def test_a_record_counts_only_in_its_place(
    place: tuple[str, bytes], other: tuple[str, bytes], written: dict[str, Any]
) -> None:
    raw = encode(*place, written)
    if place == other:
        assert decode(*other, raw) == written
    else:
        with pytest.raises(Damaged):
            decode(*other, raw)


def test_name_and_key_do_not_run_together() -> None:
    with pytest.raises(Damaged):
        decode("a", b"bc", encode("ab", b"c", {}))


def test_a_newer_schema_is_refused_and_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_SCHEMA", bytes((records.SCHEMA_MAJOR + 1, 0)))
    raw = encode("trades", b"k", {})
    with pytest.raises(FolderRefused, match="schema 2") as told:
        decode("trades", b"k", raw)
    assert told.value.remedy


def test_a_newer_minor_schema_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_SCHEMA", bytes((records.SCHEMA_MAJOR, 200)))
    assert decode("trades", b"k", encode("trades", b"k", {"a": 1})) == {"a": 1}


@pytest.mark.parametrize("key", [b"", b"k" * (MAX_KEY + 1)])
def test_a_key_that_lmdb_cannot_hold_is_invalid(key: bytes) -> None:
    with pytest.raises(Invalid, match="key"):
        encode("trades", key, {})


@pytest.mark.parametrize("value", [2**64, object(), {1, 2}])
def test_a_value_that_cannot_be_written_is_invalid(value: object) -> None:
    with pytest.raises(Invalid, match="trades"):
        encode("trades", b"k", {"a": value})


@each_mapping
@unhurried
@given(data=st.data())
def test_round_trip(kind: type[Any], write: Any, read: Any, data: st.DataObject) -> None:
    there = data.draw(strategy(kind))
    back = read(decode("db", b"k", encode("db", b"k", write(there))))
    assert back == there
    assert repr(back) == repr(there)  # 1 is not 1.0, and a tuple is not a list


@each_mapping
@unhurried
@given(data=st.data())
def test_every_field_is_stored(kind: type[Any], write: Any, read: Any, data: st.DataObject) -> None:
    assert set(write(data.draw(strategy(kind)))) == {each.name for each in fields(kind)}


@each_mapping
@unhurried
@given(data=st.data())
def test_unknown_fields_are_ignored(
    kind: type[Any], write: Any, read: Any, data: st.DataObject
) -> None:
    there = data.draw(strategy(kind))
    assert read({**write(there), "from_the_future": [1, 2]}) == there


SAMPLES: list[tuple[Any, Any, Any]] = [
    (trade(), mapping.trade_fields, mapping.trade_from),
    (intent(), mapping.intent_fields, mapping.intent_from),
    (PendingIntent(intent=intent()), mapping.pending_fields, mapping.pending_from),
    (action(), mapping.action_fields, mapping.action_from),
    (alert(), mapping.alert_fields, mapping.alert_from),
]


@pytest.mark.parametrize(
    ("sample", "write", "read"), SAMPLES, ids=[type(row[0]).__name__ for row in SAMPLES]
)
def test_a_missing_field_is_defaulted_or_refused(sample: Any, write: Any, read: Any) -> None:
    for each in fields(sample):
        less = {name: value for name, value in write(sample).items() if name != each.name}
        # what may be None is None when it is missing; what has a default gets it
        needed = each.default is MISSING and "None" not in str(each.type)
        if needed:
            with pytest.raises(FolderRefused, match=each.name):
                read(less)
        else:
            default = None if each.default is MISSING else each.default
            assert read(less) == replace(sample, **{each.name: default}), each.name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("identifier", "1"),
        ("identifier", 1.5),
        ("volume", True),
        ("symbol", 5),
        ("direction", "UP"),
        ("state", "WARNING_L9"),
        ("standing", None),
        ("steps", ["l9"]),
        ("steps", "l1_stop"),
        ("contradictions", ["now"]),
        ("risk_alerted", 1),
        ("stop_loss", "low"),
        ("close_reason", 4),
    ],
)
def test_a_sound_record_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(FolderRefused, match=name) as told:
        mapping.trade_from({**mapping.trade_fields(trade()), name: value})
    assert not isinstance(told.value, Damaged)


@unhurried
@given(
    st.builds(
        AuditEntry,
        at=st.floats(0, 1e10),
        command=st.text(max_size=9),
        by=st.text(max_size=9),
        arguments=st.dictionaries(
            st.text("xyz", max_size=3), st.integers() | st.text(), max_size=3
        ),
        result=st.text(max_size=9),
    )
)
def test_an_audit_entry_comes_back(entry: AuditEntry) -> None:
    back = entry_from(decode("db", b"k", encode("db", b"k", entry_fields(entry))))
    assert (back.at, back.command, back.by, back.result) == (
        entry.at,
        entry.command,
        entry.by,
        entry.result,
    )
    for name, value in entry.arguments.items():
        assert back.arguments[name] in (value, str(value))  # beyond 64 bits: as text
