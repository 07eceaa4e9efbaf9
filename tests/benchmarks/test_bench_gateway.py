"""The short way of a registration through the gateway, and the token that is not read each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from bench_kit import Rig

from actors.names import REGISTRY
from defence.errors import BrokerUnknown, MailboxFull, StoreFull
from defence.trade import Registration, Trade
from gateway.security import HEADERS
from gateway.server import serve
from supervisors import Guard


@pytest.fixture
def threads(make: Any) -> Rig:
    rig: Rig = make(threads=True).start()
    return rig


def post(rig: Rig, body: object, **headers: str) -> httpx2.Response:
    with serve(rig.guard) as served:
        return httpx2.post(
            f"{served.url}/dtms/trade/enable",
            json=body,
            headers={"Authorization": f"Bearer {rig.guard.token()}", **headers},
        )


def test_the_short_way_has_all_that_the_long_one_has(threads: Rig) -> None:
    (ticket,) = threads.terminal.open(1)
    with serve(threads.guard) as served:
        url = f"{served.url}/dtms/trade/enable"
        good = {"Authorization": f"Bearer {threads.guard.token()}"}
        done = httpx2.post(url, json={"ticket": ticket}, headers=good)
        assert (done.status_code, done.json()["created"]) == (200, True)
        assert {name: done.headers[name] for name in HEADERS} == HEADERS
        assert httpx2.post(url, json={"ticket": ticket}).status_code == 401
        assert httpx2.post(url, json={"ticket": 5}, headers=good).status_code == 404
        assert httpx2.post(url, json={"ticket": "x"}, headers=good).status_code == 422
        assert httpx2.post(url, content=b"{", headers=good).status_code == 415
        evil = {**good, "Host": "evil.example"}
        assert httpx2.post(url, json={"ticket": ticket}, headers=evil).status_code == 421
        refused = httpx2.get(url, headers=good)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
        metrics = httpx2.get(f"{served.url}/metrics").text
        count = 'dtms_http_requests_total{method="POST",route="/dtms/trade/enable",status="200"}'
        assert f"{count} 1.0" in metrics


def test_a_fault_of_ours_shows_nothing_of_itself(
    threads: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> object:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(Guard, "register_fields", fails)
    found = post(threads, {"ticket": 1})
    assert (found.status_code, found.json()["error"]) == (500, "internal")
    assert "secret" not in found.text


def test_a_token_that_was_changed_counts_at_once(threads: Rig, tmp_path: Path) -> None:
    guard = threads.guard
    file = guard.data_dir / "token"
    old = guard.token()
    assert guard.token() == old
    file.write_text(f"{'n' * 43}\n", encoding="utf-8")
    assert guard.token() == "n" * 43
    file.unlink()
    made = guard.token()
    assert made not in (old, "n" * 43)
    assert file.read_text(encoding="utf-8").strip() == made


def test_the_tokens_file_is_read_once(threads: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    guard, reads = threads.guard, []
    known = guard.token()
    text = Path.read_text

    def counted(path: Path, *args: Any, **options: Any) -> str:
        reads.append(path.name)
        return text(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    assert [guard.token() for _ in range(5)] == [known] * 5
    assert "token" not in reads


def test_what_befalls_all_of_a_batch(sim: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    trades = [Trade(ticket=one) for one in sim.terminal.open(3)]
    sim.terminal.disconnect()
    with pytest.raises(BrokerUnknown):
        sim.guard.register_many(trades)
    sim.terminal.reconnect()

    def full(*_: object, **__: object) -> object:
        raise StoreFull("no room")

    store = sim.guard._house.premises.stores.trades
    monkeypatch.setattr(store, "commit", full)
    answers = sim.guard.register_many([*trades, Trade(ticket=-1)])
    assert [getattr(one, "code", None) for one in answers] == ["store_full"] * 3 + ["invalid"]
    monkeypatch.undo()
    again = sim.guard.register_many(trades)
    assert all(isinstance(one, Registration) and one.created for one in again)


def test_a_registry_without_room_for_a_letter(sim: Rig) -> None:
    trades = [Trade(ticket=one) for one in sim.terminal.open(2)]
    box = sim.guard._house._post._boxes[REGISTRY]
    limit, box.data_limit = box.data_limit, 0  # type: ignore[misc]  # full from now on
    with pytest.raises(MailboxFull):
        sim.guard.register(trades[0])
    answers = sim.guard.register_many([Trade(ticket=-1), *trades])
    assert [getattr(one, "code", None) for one in answers] == ["invalid", *["mailbox_full"] * 2]
    box.data_limit = limit  # type: ignore[misc]
    assert sim.guard.register(trades[0]).created
    sim.balanced()
