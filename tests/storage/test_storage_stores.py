"""The four stores: what they keep, in which order, and what a repeat changes (nothing)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_samples import T0, action, alert, intent, trade, unhurried

from defence.errors import AccountRefused, Invalid
from defence.orders import Outcome, OutcomeKind, PendingIntent
from defence.trade import Standing
from storage.audit import AuditEntry, AuditStore, ControlState
from storage.audited import HIDDEN
from storage.backups import take
from storage.ledger import LedgerStore
from storage.outbox import OutboxStore
from storage.trades import Batch, TradeStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TradeStore]:
    opened = TradeStore.open(tmp_path / "trades")
    yield opened
    opened.close()


def done(intent_id: str, kind: OutcomeKind = OutcomeKind.DONE, at: float = T0 + 20) -> Outcome:
    return Outcome(intent_id=intent_id, kind=kind, at=at, retcode=10009)


def test_trades_come_back_by_identifier(store: TradeStore, tmp_path: Path) -> None:
    released = trade(2, standing=Standing.RELEASED)
    store.commit(Batch(trades=[trade(1), released]))
    store.commit(Batch(trades=[trade(1, ticket=9, revision=2)]))
    store.close()
    again = TradeStore.open(tmp_path / "trades")
    assert again.load() == ({1: trade(1, ticket=9, revision=2), 2: released}, {})
    again.close()


def test_a_new_store_is_empty(store: TradeStore) -> None:
    assert store.load() == ({}, {})
    assert store.actions() == []
    assert store.archived() == []
    assert store.find_archived(1) is None
    assert store.account() is None
    assert store.sequence() == 0


def test_the_largest_numbers_fit(store: TradeStore) -> None:
    big = trade(2**64 - 1)
    store.commit(Batch(trades=[big]))
    assert store.load()[0] == {2**64 - 1: big}
    with pytest.raises(Invalid, match="identifier"):
        store.commit(Batch(trades=[trade(2**64)]))
    with pytest.raises(Invalid, match="identifier"):
        store.commit(Batch(trades=[trade(-1)]))


def test_an_archived_trade_leaves_the_active_ones(store: TradeStore) -> None:
    store.commit(Batch(trades=[trade(1), trade(2)]))
    closed = trade(1, standing=Standing.CLOSED, closed_at=T0 + 5, close_profit=12.5)
    store.commit(Batch(archived=[closed]))
    assert store.load()[0] == {2: trade(2)}
    assert store.archived() == [closed]
    assert store.find_archived(1) == closed
    assert store.find_archived(2) is None


def test_a_trade_may_be_registered_again(store: TradeStore) -> None:
    first = trade(1, standing=Standing.CLOSED, closed_at=T0 + 5)
    anew = trade(1, registered_at=T0 + 50, created_by="m9")
    store.commit(Batch(archived=[first]), Batch(trades=[anew]))
    assert store.load()[0] == {1: anew}
    second = replace(anew, standing=Standing.UNEXPLAINED, updated_at=T0 + 60)
    store.commit(Batch(archived=[second]))
    assert store.load()[0] == {}
    assert store.archived(identifier=1) == [second, first]
    assert store.find_archived(1) == second


def test_archiving_twice_is_one_line_of_history(store: TradeStore) -> None:
    closed = trade(1, standing=Standing.CLOSED, closed_at=T0 + 5)
    store.commit(Batch(archived=[closed]))
    later = replace(closed, closed_at=T0 + 7, updated_at=T0 + 7)
    store.commit(Batch(archived=[later]))
    assert store.archived() == [later]
    assert store.archived(identifier=1) == [later]


def test_history_is_newest_first_and_limited(store: TradeStore) -> None:
    closed = [trade(n, standing=Standing.CLOSED, closed_at=T0 + (n * 7) % 5) for n in range(1, 6)]
    store.commit(Batch(archived=closed))
    newest_first = sorted(closed, key=lambda each: -(each.closed_at or 0))
    assert store.archived(10) == newest_first
    assert store.archived(2) == newest_first[:2]
    assert store.archived(0) == []


def test_batches_apply_in_their_order(store: TradeStore) -> None:
    closed = trade(1, standing=Standing.CLOSED, closed_at=T0)
    store.commit(Batch(trades=[trade(1)]), Batch(archived=[closed]))
    assert store.load()[0] == {}
    again = trade(1, created_by="m2")
    store.commit(Batch(archived=[closed]), Batch(trades=[again]))
    assert store.load()[0] == {1: again}


def test_a_batch_that_fails_changes_nothing(store: TradeStore) -> None:
    store.commit(Batch(trades=[trade(1)]))
    with pytest.raises(Invalid):
        store.commit(Batch(trades=[trade(2)]), Batch(actions=[action("")]))
    assert store.load()[0] == {1: trade(1)}
    assert store.sequence() == 1


def test_every_commit_has_its_number(store: TradeStore, tmp_path: Path) -> None:
    assert [store.commit(Batch(trades=[trade(n)])).sequence for n in range(3)] == [1, 2, 3]
    store.close()
    again = TradeStore.open(tmp_path / "trades")
    assert again.sequence() == 3
    again.close()


def test_an_outcome_ends_its_intent_and_becomes_an_action(store: TradeStore) -> None:
    store.commit(Batch(intents=[PendingIntent(intent=intent("i1"))]))
    assert store.load()[1] == {"i1": PendingIntent(intent=intent("i1"))}
    committed = store.commit(Batch(outcomes=[done("i1")]))
    assert committed.unmatched == ()
    assert store.load()[1] == {}
    (told,) = store.actions()
    assert (told.id, told.kind, told.ticket) == ("i1", "move_stop", 1)
    assert told.intent == intent("i1")
    assert told.outcome == done("i1")
    assert store.action("i1") == told
    assert store.action("i2") is None


def test_intent_and_outcome_in_one_commit(store: TradeStore) -> None:
    pending = PendingIntent(intent=intent("i1"))
    store.commit(Batch(intents=[pending], outcomes=[done("i1")]))
    assert store.load()[1] == {}
    assert [each.id for each in store.actions()] == ["i1"]


def test_an_unknown_outcome_leaves_the_intent_pending(store: TradeStore) -> None:
    store.commit(Batch(intents=[PendingIntent(intent=intent("i1"))]))
    store.commit(Batch(outcomes=[done("i1", OutcomeKind.UNKNOWN)]))
    assert set(store.load()[1]) == {"i1"}
    read = PendingIntent(intent=intent("i1"), first_read_at=T0 + 30, told=True)
    store.commit(Batch(intents=[read]))
    assert store.load()[1] == {"i1": read}
    store.commit(Batch(outcomes=[done("i1", OutcomeKind.NOT_DONE)]))
    assert store.load()[1] == {}
    (told,) = store.actions()  # one line, and it says the newest
    assert told.outcome is not None
    assert told.outcome.kind is OutcomeKind.NOT_DONE
    assert [each.id for each in store.actions(ticket=1)] == ["i1"]


def test_an_outcome_told_again_changes_nothing(store: TradeStore) -> None:
    store.commit(Batch(intents=[PendingIntent(intent=intent("i1"))]))
    store.commit(Batch(outcomes=[done("i1")]))
    before = store.actions()
    late = done("i1", OutcomeKind.UNKNOWN, at=T0 + 99)
    assert store.commit(Batch(outcomes=[late])).unmatched == ("i1",)
    assert store.actions() == before
    assert store.load()[1] == {}


def test_an_action_told_again_is_one_line(store: TradeStore) -> None:
    store.commit(Batch(actions=[action("a1", detail="first")]))
    store.commit(Batch(actions=[action("a1", detail="second", ticket=5, at=T0 + 3)]))
    (told,) = store.actions()
    assert told.detail == "second"
    assert store.actions(ticket=1) == []
    assert store.actions(ticket=5) == [told]


@settings(unhurried, max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 3), st.booleans()), min_size=1, max_size=25
    ),
    st.integers(0, 30),
)
def test_actions_are_like_a_sorted_list(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, int, bool]], limit: int
) -> None:
    store = TradeStore.open(tmp_path_factory.mktemp("a") / "trades")
    actions, group = [], []
    for number, (seconds, ticket, now) in enumerate(drawn):
        one = action(f"a{number}", at=T0 + seconds, ticket=ticket)
        actions.append(one)
        group.append(one)
        if now:
            store.commit(Batch(actions=group))
            group = []
    store.commit(Batch(actions=group))
    # newest first; of the same moment, what was told last
    expected = [
        one for _, one in sorted(enumerate(actions), key=lambda p: (p[1].at, p[0]), reverse=True)
    ]
    assert store.actions(limit) == expected[:limit]
    for ticket in range(4):
        of_ticket = [one for one in expected if one.ticket == ticket]
        assert store.actions(limit, ticket=ticket) == of_ticket[:limit]
    store.close()


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0, 1e12])
def test_a_moment_that_is_none_is_invalid(store: TradeStore, at: float) -> None:
    with pytest.raises(Invalid, match="at"):
        store.commit(Batch(actions=[action(at=at)]))


def test_a_store_belongs_to_one_account(store: TradeStore, tmp_path: Path) -> None:
    store.bind(77, "Demo")
    store.bind(77, "Demo")
    assert store.account() == (77, "Demo")
    for login, server in ((78, "Demo"), (77, "demo")):
        with pytest.raises(AccountRefused) as told:
            store.bind(login, server)
        assert told.value.remedy
    store.close()
    again = TradeStore.open(tmp_path / "trades")
    assert again.account() == (77, "Demo")
    again.close()


def test_the_folder_hears_of_the_account_first(tmp_path: Path) -> None:
    heard: list[tuple[int, str]] = []

    def hear(login: int, server: str) -> None:
        assert store.account() is None
        heard.append((login, server))

    store = TradeStore.open(tmp_path / "trades", on_bind=hear)
    store.bind(77, "Demo")
    store.bind(77, "Demo")
    assert heard == [(77, "Demo")]
    store.close()


def test_a_backup_of_the_trades(store: TradeStore, tmp_path: Path) -> None:
    store.bind(77, "Demo")
    store.commit(Batch(trades=[trade(1)], actions=[action()]))
    made = take(tmp_path / "backups", [store.environment], T0)
    copy = TradeStore.open(made.path / "trades")
    assert copy.load() == store.load()
    assert copy.account() == made.account == (77, "Demo")
    assert copy.actions() == store.actions()
    assert copy.sequence() == store.sequence() == made.copies["trades"].sequence
    assert copy.environment.birth == store.environment.birth
    copy.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerStore]:
    opened = LedgerStore.open(tmp_path / "ledger")
    yield opened
    opened.close()


def test_charges_are_kept_by_child_and_in_order(ledger: LedgerStore, tmp_path: Path) -> None:
    for child, at in (("monitor", 30.5), ("alert", 5.0), ("monitor", 10.25), ("monitor2", 7.0)):
        ledger.add(child, at)
    assert ledger.charges("monitor") == [10.25, 30.5]
    assert ledger.charges("monitor2") == [7.0]
    assert ledger.charges("admin") == []
    ledger.close()
    again = LedgerStore.open(tmp_path / "ledger")
    assert again.charges("monitor") == [10.25, 30.5]
    again.close()


def test_two_charges_at_one_moment_are_two(ledger: LedgerStore) -> None:
    ledger.add("monitor", T0)
    ledger.add("monitor", T0)
    ledger.add("monitor", T0 + 1e-7)
    assert len(ledger.charges("monitor")) == 3


def test_clearing_and_pruning_leave_the_others(ledger: LedgerStore) -> None:
    for child in ("monitor", "alert"):
        for at in (1.0, 2.0, 3.0):
            ledger.add(child, at)
    ledger.prune("monitor", 2.0)
    assert ledger.charges("monitor") == [2.0, 3.0]
    ledger.clear("monitor")
    assert ledger.charges("monitor") == []
    assert ledger.charges("alert") == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("child", ["", "a\0b", "x" * 401])
def test_a_child_without_a_proper_name_is_invalid(ledger: LedgerStore, child: str) -> None:
    with pytest.raises(Invalid, match="child"):
        ledger.add(child, T0)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[OutboxStore]:
    opened = OutboxStore.open(tmp_path / "outbox")
    yield opened
    opened.close()


def test_alerts_are_kept_until_they_are_acknowledged_and_old(outbox: OutboxStore) -> None:
    old = alert("old", acknowledged_at=T0 - 10, acknowledged_by="ops")
    fresh = alert("fresh", acknowledged_at=T0, acknowledged_by="ops")
    ancient = alert("ancient", raised_at=1.0, last_at=1.0)
    outbox.put(old, fresh)
    outbox.put(ancient)
    outbox.put(replace(fresh, count=2))
    assert outbox.load() == {"old": old, "fresh": replace(fresh, count=2), "ancient": ancient}
    assert outbox.prune(T0) == 1
    assert set(outbox.load()) == {"fresh", "ancient"}


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditStore]:
    opened = AuditStore.open(tmp_path / "audit", secrets=["s3cret-token-value"])
    yield opened
    opened.close()


def test_the_audit_is_newest_first(audit: AuditStore) -> None:
    for number in range(5):
        # the clock may go back; the order is that of the commands
        entry = AuditEntry(at=T0 - number, command=f"c{number}", by="ops", result="done")
        audit.append(entry)
    assert [entry.command for entry in audit.tail(3)] == ["c4", "c3", "c2"]
    assert len(audit.tail(99)) == 5
    assert audit.tail(0) == []


def test_the_audit_never_holds_a_secret(audit: AuditStore, tmp_path: Path) -> None:
    audit.append(
        AuditEntry(
            at=T0,
            command="pause s3cret-token-value",
            by="s3cret-token-value",
            arguments={
                "child": "monitor",
                "Token": "abc-hidden-1",
                "inner": [{"api_password": "abc-hidden-2", "n": 3}],
                "Authorization": {"deep": "abc-hidden-3"},
                "why": "Bearer s3cret-token-value!",
                "s3cret-token-value": 1,
            },
            result="said s3cret-token-value",
        )
    )
    (entry,) = audit.tail(1)
    assert entry.command == f"pause {HIDDEN}"
    assert entry.arguments["child"] == "monitor"
    assert entry.arguments["inner"] == [{"api_password": HIDDEN, "n": 3}]
    audit.close()
    content = (tmp_path / "audit" / "data.mdb").read_bytes()
    assert b"monitor" in content
    assert b"s3cret" not in content
    assert b"abc-hidden" not in content


def test_any_shape_of_argument_is_audited(audit: AuditStore) -> None:
    deep: object = "bottom"
    for _ in range(30):
        deep = [deep]
    arguments = {"big": 2**70, "set": {1}, "path": Path("x"), "deep": deep, "none": None}
    audit.append(AuditEntry(at=T0, command="c", by="ops", arguments=arguments))
    (entry,) = audit.tail(1)
    assert entry.arguments["big"] == str(2**70)
    assert entry.arguments["set"] == [1]
    assert entry.arguments["none"] is None


def test_control_is_kept_with_who_when_and_why(audit: AuditStore, tmp_path: Path) -> None:
    assert audit.control() == ControlState()
    state = ControlState(mode="observe", paused=True, by="ops", why="news", at=T0)
    audit.set_control(replace(state, paused=False))
    audit.set_control(state)
    audit.append(AuditEntry(at=T0, command="pause", by="ops"))
    audit.close()
    again = AuditStore.open(tmp_path / "audit")
    assert again.control() == state
    again.close()
