"""Poison: what crashes a child twice is kept in the audit, and every door shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from guard_kit import GuardKit, kinds

from actors.admin import Admin
from actors.events import Kind
from actors.life import Poison, ResetBudget, RestartChild
from actors.mailbox import Lane
from actors.messages import NotePoison, Release
from actors.names import ADMIN
from actors.points import Points
from actors.poison_book import COMMAND, KEPT, SET_ASIDE, PoisonBook
from actors.registry import Registry
from actors.simulated import SimulatedRuntime
from console.main import main
from defence.errors import Damaged, DtmsError, Fault, Invalid, StoreFull
from gateway import serve
from gateway.client import close_http_client
from storage.audit import AuditEntry, AuditStore
from supervisors import Guard


def patience(kit: GuardKit) -> float:
    """Seconds that a test waits for what must come; virtual ones are cheap."""
    return 300.0 if kit.make_runtime is SimulatedRuntime else 15.0


def bad_release(monkeypatch: pytest.MonkeyPatch, ticket: int = 4) -> None:
    """Plant a bug: to release this ticket crashes the registry, however often it is tried."""
    handle = Registry._handle

    def crash(self: Registry, message: object, draft: Any) -> object:
        if isinstance(message, Release) and message.ticket == ticket:
            raise ZeroDivisionError(f"a bug in releasing {ticket}")
        return handle(self, message, draft)

    monkeypatch.setattr(Registry, "_handle", crash)


def poisoned(guard: Guard, ticket: int = 4) -> None:
    """Send what is poison; its asker is told."""
    with pytest.raises(Fault, match="twice"):
        guard.release(ticket, timeout=60.0)


def note(number: int, **changes: Any) -> NotePoison:
    fields: dict[str, Any] = {
        "message": "Release",
        "id": f"p{number}",
        "error": "ZeroDivisionError: a bug",
        "shown": f"Release(ticket={number})",
        "lane": "data",
        "at": 1_700_000_000.0 + number,
    }
    return NotePoison("registry", 2, Poison(**{**fields, **changes}))


def send(guard: Guard, *notes: NotePoison) -> None:
    """Hand notes to the Admin, as the root's owner does."""
    for one in notes:
        guard._house._post.send(ADMIN, one, lane=Lane.REPLY)


def book_of(guard: Guard) -> PoisonBook:
    tree = guard._house._tree
    assert tree is not None
    (slot,) = (one for one in tree.slots if one.name == ADMIN)
    assert slot.incarnation is not None
    admin = slot.incarnation.actor
    assert isinstance(admin, Admin)
    return admin._poison


def written(folder: Path) -> list[AuditEntry]:
    """Return the entries of poison in the store of a guard that has stopped."""
    store = AuditStore.open(folder / "data" / "audit")
    try:
        return [e for e in store.tail(10_000) if (e.command, e.result) == (COMMAND, SET_ASIDE)]
    finally:
        store.close()


def test_what_crashes_twice_is_recorded_told_and_kept_over_a_restart(
    both: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_release(monkeypatch)
    guard = both.start()
    poisoned(guard)
    both.until(lambda: len(guard.poison()) == 1, patience(both))
    (found,) = guard.poison()
    (event,) = kinds(guard, Kind.POISONED)
    assert (found.child, found.message, found.id) == ("registry", "Release", event.facts["id"])
    assert found.incarnation == event.incarnation == 2
    assert "a bug in releasing 4" in found.error
    assert "ticket=4" in found.shown
    assert found.lane == "data"
    assert abs(found.at - event.at) < 5.0
    both.until(lambda: any("poison" in alert.key for alert in guard.alerts()), patience(both))
    children = guard.status()["children"]
    assert isinstance(children, dict)
    assert {name: one["poisoned"] for name, one in children.items() if one["poisoned"]} == {
        "registry": 1
    }
    guard.stop()
    again = both.next_process({})
    again.start()
    assert again.poison() == (found,)
    again.stop()
    assert [entry.by for entry in written(both.folder)] == ["registry"]


def test_every_door_shows_it_after_a_restart_of_the_process(
    kit: GuardKit,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    first = kit.start()
    send(first, note(1), note(2))
    kit.until(lambda: len(first.poison()) == 2)
    first.stop()
    guard = kit.start(port=0, adoption="ignore")
    monkeypatch.chdir(tmp_path)
    ids = ["p2", "p1"]
    with serve(guard) as served:
        token = {"Authorization": f"Bearer {guard.token()}"}
        with httpx2.Client(base_url=served.url, headers=token, trust_env=False) as client:
            looked = client.get("/dtms/poison").json()["poison"]
            assert [one["id"] for one in looked] == ids
            assert looked[0]["at"] == "2023-11-14T22:13:22.000+00:00"
            one = client.get("/dtms/poison?limit=1").json()["poison"]
            assert [poison["id"] for poison in one] == ["p2"]
            asked = client.post("/dtms/admin/poison", json={"limit": 2}).json()
            assert asked["poison"] == looked
            for query, field in (("limit=0", "limit"), ("limit=x", "limit"), ("lmit=1", "lmit")):
                answer = client.get(f"/dtms/poison?{query}")
                assert (answer.status_code, answer.json()["field"]) == (422, field)
        place = ["--port", served.url.rpartition(":")[2], "--data-dir", str(guard.data_dir)]
        assert main(["poison", *place]) == 0
        shown = capsys.readouterr().out
        assert "2 messages that were set aside" in shown
        assert "Release(ticket=2)" in shown
        assert main(["poison", "--limit", "1", "--json", *place]) == 0
        assert [p["id"] for p in json.loads(capsys.readouterr().out)["poison"]] == ["p2"]
        close_http_client()
    assert guard.admin("poison", limit=1) == {"poison": [looked[0]]}


def test_looking_is_not_audited_and_the_command_is(sim: GuardKit) -> None:
    guard = sim.start()
    send(guard, note(1))
    for _ in range(3):
        guard.poison()
    guard.admin("poison", by="ops")
    entries = guard._house.premises.stores.audit.tail()
    assert [(e.command, e.by, e.result) for e in entries] == [
        ("poison", "ops", "accepted"),
        ("poison", "registry", SET_ASIDE),
    ]
    guard.admin("restart", child="admin")  # it reads the audit anew
    sim.until(lambda: len(kinds(guard, Kind.READY, child="admin")) == 2, patience(sim))
    assert [found.id for found in guard.poison()] == ["p1"]  # the command is no poison


@pytest.mark.parametrize("strike", ["admin.before_reply", "admin.on_stop"])
def test_a_note_that_is_handled_again_is_one_entry(sim: GuardKit, strike: str) -> None:
    """Admin dies between the entry and the answer: the letter comes back."""
    points = Points()
    guard = sim.start(points=points)
    points.kill_at(strike)
    send(guard, note(1))
    if strike == "admin.on_stop":
        guard.admin("restart", child="admin")
    sim.until(lambda: len(kinds(guard, Kind.STARTED, child="admin")) == 2, patience(sim))
    send(guard, note(1), note(2))
    sim.until(lambda: len(guard.poison()) == 2, patience(sim))
    guard.stop()
    ids = [entry.arguments["id"] for entry in written(sim.folder)]
    assert ids == ["p2", "p1"]


def test_a_full_store_keeps_it_in_memory_shows_it_and_writes_it_later(
    both: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    append = AuditStore.append

    def maybe(self: AuditStore, entry: AuditEntry) -> None:
        if full:
            raise StoreFull("no room on the disk", remedy="free some space")
        append(self, entry)

    monkeypatch.setattr(AuditStore, "append", maybe)
    guard = both.start()
    send(guard, note(1), note(2))
    both.until(lambda: [one.id for one in guard.poison()] == ["p2", "p1"], patience(both))
    assert any("'audit' takes no writes" in reason for reason in guard.health().reasons)
    guard.admin("kill", child="admin")  # what is not written yet outlives the incarnation
    both.until(lambda: len(kinds(guard, Kind.READY, child="admin")) == 2, patience(both))
    assert [one.id for one in guard.poison()] == ["p2", "p1"]
    full = False
    both.until(lambda: not guard.health().reasons, patience(both))
    assert [one.id for one in guard.poison()] == ["p2", "p1"]
    guard.stop()
    assert [entry.arguments["id"] for entry in written(both.folder)] == ["p2", "p1"]


def test_a_dead_admin_finds_it_in_its_mailbox(
    both: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_release(monkeypatch)
    monkeypatch.setattr("supervisors.children.OTHERS_RESTARTS", 2)
    guard = both.start(points=(points := Points()))

    def fail() -> None:
        raise RuntimeError("no start")

    points.arm("admin.on_start", fail, times=100)
    guard._house._post.send("root", RestartChild(ADMIN, "test"), lane=Lane.CONTROL)
    both.until(lambda: bool(kinds(guard, Kind.ESCALATED, child="admin")), patience(both))
    poisoned(guard)
    both.until(
        lambda: guard.health().ready, patience(both)
    )  # degraded, not blind: the poison is in the stream and an alert
    assert len(kinds(guard, Kind.POISONED, child="registry")) == 1
    both.until(lambda: any("poison" in alert.key for alert in guard.alerts()), patience(both))
    points.disarm("admin.on_start")
    guard._house._post.send("root", ResetBudget(ADMIN, "test"), lane=Lane.CONTROL)
    both.until(lambda: len(kinds(guard, Kind.READY, child="admin")) == 2, patience(both))
    assert [one.message for one in guard.poison(timeout=60.0)] == ["Release"]


def test_a_store_that_cannot_be_read_is_written_all_the_same(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> list[AuditEntry]:
        raise Damaged("an entry is not what was written")

    guard = sim.start()
    with monkeypatch.context() as patched:
        patched.setattr(AuditStore, "newest", damaged)
        send(guard, note(1))
        with pytest.raises(Damaged):
            guard.poison()
    assert [one.id for one in guard.poison()] == ["p1"]


@pytest.mark.parametrize("limit", [0, KEPT + 1, -1, True, "10", 2.0, None])
def test_another_limit_is_refused_by_name(sim: GuardKit, limit: Any) -> None:
    guard = sim.start()
    for look in (lambda: guard.poison(limit), lambda: guard.admin("poison", limit=limit)):
        assert _refused(look).field == "limit"


def _refused(call: Callable[[], object]) -> DtmsError:
    with pytest.raises(Invalid) as caught:
        call()
    return caught.value


def test_a_flood_of_it_is_bounded(sim: GuardKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.poison_book.KEPT", 20)
    guard = sim.start()
    send(guard, *(note(n, error="e" * 10_000, shown="s" * 10_000) for n in range(50)))
    sim.until(lambda: guard.poison(20)[0].id == "p49", patience(sim))
    found = guard.poison(20)
    assert [one.id for one in found] == [f"p{n}" for n in range(49, 29, -1)]
    assert all(len(one.error) == len(one.shown) == 2000 for one in found)
    assert len(book_of(guard)._records()) == 20  # no more is kept in memory
    guard.stop()
    assert len(written(sim.folder)) == 50  # all of them, within the audit's own bound
    again = sim.next_process({}).start()
    assert again.poison(20) == found


def test_no_secret_is_shown_or_written(sim: GuardKit) -> None:
    guard = sim.start()
    token = guard.token()
    send(guard, note(1, error=f"refused {token}", shown=f"Command(arguments={{'x': {token!r}}})"))
    (found,) = guard.poison()
    assert token not in found.error + found.shown
    assert "[hidden]" in found.error
    assert "[hidden]" in found.shown
    guard.stop()
    assert token not in repr(written(sim.folder))
