"""Ops put faults into the running guard's terminal: by command, over HTTP, into a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from fault_kit import Meeting
from guard_kit import GuardKit, kinds
from loguru import logger

import gateway
from actors.events import Kind
from actors.simulated import SimulatedRuntime
from defence.errors import Conflict, Forbidden, Invalid
from supervisors import Guard, Settings
from terminals.sim.fault_seed import as_json, seeded_faults
from terminals.sim.faults import entries_from


def test_a_fault_shows_at_once_and_is_audited(sim: GuardKit) -> None:
    met = Meeting(sim)
    answer = met.guard.admin("fault", effect="no_trading", who="server", why="a drill")
    assert answer == {"injected": {"effect": "no_trading", "who": "server"}}
    met.rest(40.0)
    assert any(reason.startswith("cannot_act") for reason in met.guard.health().reasons)
    assert met.guard.admin("clear-faults") == {"cleared": True}
    met.rest(40.0)
    assert met.guard.health().ready
    audit = met.guard._house.premises.stores.audit.tail(2)
    assert {(one.command, one.result) for one in audit} == {
        ("fault", "accepted"),
        ("clear-faults", "accepted"),
    }
    assert kinds(met.guard, Kind.COMMAND)[0].facts["effect"] == "no_trading"


def test_a_bad_one_names_its_field_and_changes_nothing(sim: GuardKit) -> None:
    met = Meeting(sim)
    for entry, field in (
        ({"effect": "boom"}, "effect"),
        ({"effect": "hang"}, "call"),
        ({"effect": "freeze", "seconds": -1}, "seconds"),
        ({"effect": "freeze", "colour": "blue"}, "colour"),
    ):
        with pytest.raises(Invalid) as caught:
            met.guard.admin("fault", **entry)
        assert caught.value.field == field
    assert met.terminal._script.left() == []
    audit = met.guard._house.premises.stores.audit.tail(4)
    assert all(one.result.startswith("refused") for one in audit)


def test_without_chaos_or_on_a_real_terminal_it_is_refused(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = Meeting(sim)
    monkeypatch.setattr(met.terminal, "real", True, raising=False)
    for command, entry in (("fault", {"effect": "freeze"}), ("clear-faults", {})):
        with pytest.raises(Conflict, match="only be put into a simulated one"):
            met.guard.admin(command, **entry)
    met.guard.stop()
    tame = sim.start(chaos=False, data_dir=sim.folder / "tame", state_dir=sim.folder / "other")
    for command, entry in (("fault", {"effect": "freeze"}), ("clear-faults", {})):
        with pytest.raises(Forbidden):
            tame.admin(command, **entry)


@pytest.mark.parametrize("isolate", [False, True])
def test_over_http_and_into_a_worker(tmp_path: Path, isolate: bool) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        state_dir=tmp_path / "state",
        port=0,
        interval=0.1,
        chaos=True,
        isolate=isolate,
    )
    with Guard(settings) as guard, gateway.serve(guard) as served:
        headers = {"Authorization": f"Bearer {guard.token()}"}
        with httpx2.Client(
            base_url=served.url, headers=headers, trust_env=False, timeout=20
        ) as http:
            bad = http.post("/dtms/admin/fault", json={"effect": "restart"})
            assert (bad.status_code, bad.json()["field"]) == (422, "seconds")
            done = http.post(
                "/dtms/admin/fault", json={"effect": "restart", "seconds": 600, "by": "me"}
            )
            assert done.json() == {"injected": {"effect": "restart", "seconds": 600}}
            lost = guard._runtime.wait_until(lambda: bool(kinds(guard, Kind.TERMINAL_LOST)), 10)
            assert lost
            assert http.post("/dtms/admin/clear-faults").json() == {"cleared": True}
            assert guard._runtime.wait_until(
                lambda: bool(kinds(guard, Kind.TERMINAL_BACK)) and guard.health().ready, 10
            )


def test_a_script_from_a_seed_is_said_at_the_start(
    tmp_path: Path,
) -> None:
    said_lines: list[str] = []
    sink = logger.add(said_lines.append, format="{message}")
    settings = Settings(
        data_dir=tmp_path / "data",
        state_dir=tmp_path / "state",
        interval=0.1,
        sim_faults=Path("seed:7"),
    )
    try:
        with Guard(settings):
            pass
    finally:
        logger.remove(sink)
    (said,) = [line for line in said_lines if "faults of seed:7: " in line]
    entries = json.loads(said.split("seed:7: ", 1)[1])
    assert entries_from(entries, "log") == seeded_faults(7)
    assert as_json(seeded_faults(7)) == json.dumps(entries)


def test_a_guard_lives_through_schedules_from_seeds(
    tmp_path: Path, rounds: Callable[..., int]
) -> None:
    for seed in range(rounds(ci=2, long=50)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        sim = GuardKit(folder, SimulatedRuntime)
        met = Meeting(sim, quote_stale_after=120.0)
        for one in seeded_faults(seed, rate=600.0):
            met.terminal.add_fault(one)
        met.rest(1800.0)
        assert len(met.terminal.mishaps) > 50, seed
        met.terminal.clear_faults()
        met.rest(600.0)
        assert met.guard.health().ready, (seed, met.guard.health().reasons)
        assert met.guard.status()["orders_in_doubt"] == 0, seed
        assert not kinds(met.guard, Kind.CHARGED), seed
        sim.stop_all()
