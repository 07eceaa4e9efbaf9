"""Weak spots that a stranger found: each was wrong once."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time

import pytest
from guard_kit import GuardKit, kinds
from test_guard_acting import let_pass, one_trade, orders, price

from actors.events import Kind
from actors.mailbox import Lane
from actors.messages import SetControl
from actors.names import CONNECTOR, MONITOR
from actors.points import Points
from defence.errors import DtmsError, FolderRefused, StoreFull
from supervisors import Trade
from terminals.sim.faults import fault_from


def test_admin_restart_arms(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore")  # armed
    g.admin("set-mode", mode="armed")
    g.stop()
    g = sim.next_process({}, adoption="ignore", mode="observe").start()
    assert g.status()["mode"] == "observe"
    g.admin("kill", child="admin")
    let_pass(sim, 5)
    g.admin("pause")
    g.admin("resume")
    assert g.status()["mode"] == "observe"


def test_clock_back(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    cycles = len(kinds(g, Kind.CYCLE))
    sim.runtime.clock.jump_wall(-3600.0)
    price(sim, 1.0945)
    let_pass(sim, 600)
    assert len(kinds(g, Kind.CYCLE)) >= cycles + 15
    assert len(orders(sim)) == 1


def test_ready_without_cycles_store_full(sim: GuardKit) -> None:
    g, _t = one_trade(sim)

    def full(*a, **k):
        raise StoreFull("no room")

    g._house.premises.stores.trades.commit = full
    price(sim, 1.0945)
    let_pass(sim, 3600)
    assert not g.health().ready


def test_cannot_act_for_ever(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore")
    sim.terminal.set_autotrading(False)
    let_pass(sim, 40)
    assert any("cannot_act" in r for r in g.health().reasons)
    g.admin("kill", child="connector")
    sim.terminal.set_autotrading(True)
    let_pass(sim, 600)
    assert g.health().ready


def test_pause_ack_then_order(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    seen = []

    def on(e):
        if e.kind is Kind.SNAPSHOT and not seen:
            seen.append(1)
            g._house._post.send(
                MONITOR, SetControl("armed", True, "ops"), lane=Lane.CONTROL, sticky=True
            )

    price(sim, 1.0945)
    g.events.listen(on)
    let_pass(sim, 120)
    ev = [e.kind for e in g.events.since() if e.kind in (Kind.CONTROL, Kind.INTENT)]
    assert ev[-1] is Kind.CONTROL
    assert not orders(sim)


def test_flatten_unknown_crashes_connector(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    sim.terminal.add_fault(fault_from({"call": "positions_get", "effect": "unknown", "count": 1}))
    with pytest.raises(DtmsError):
        g.admin("flatten", confirm=g.status()["account"]["login"], timeout=60)
    assert not kinds(g, Kind.CHARGED), kinds(g, Kind.EXITED)


def test_flatten_unknown_not_in_doubt(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    sim.terminal.add_fault(fault_from({"call": "order_send", "effect": "unknown", "count": 1}))
    g.admin("flatten", confirm=g.status()["account"]["login"])
    let_pass(sim, 1)
    assert g.status()["orders_in_doubt"] == 1


def test_backup_refused_kills_registry(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    folder = g._house.premises.folder.backups
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("x")
    with pytest.raises(DtmsError, match="is a file"):
        g.admin("backup", timeout=60)
    let_pass(sim, 1)
    assert not kinds(g, Kind.CHARGED, Kind.EXITED)
    assert [alert.key for alert in g.alerts()] == ["backup_failed"]
    folder.unlink()
    assert g.admin("backup", timeout=60)["failed"] == {}


def test_paused_health(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    g.admin("pause")
    let_pass(sim, 200)
    assert g.health().status == 200


def test_interval_120(sim: GuardKit) -> None:
    g, _t = one_trade(sim, interval=120.0)
    bad = 0
    for _ in range(240):
        let_pass(sim, 1)
        bad += not g.health().ready
    assert bad == 0, bad


def test_budget_fold_stale(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore")
    for _ in range(3):
        g.admin("kill", child="monitor")
        let_pass(sim, 60)
    let_pass(sim, 7300)
    m = g.monitoring_health()
    assert m["restarts_in_window"] == 0
    assert m["budget_left"] == 3


def test_notice_lost(sim: GuardKit) -> None:
    p = Points()
    g, t = one_trade(sim, points=p)
    sim.terminal.add_fault(
        fault_from({"call": "history_deals_get", "effect": "empty", "count": None})
    )
    sim.terminal.close_position(t)
    let_pass(sim, 50)
    assert str(g.trade(t).standing) == "guarded"
    # kill after the commit that archives
    orig = g._house.premises.stores.trades.commit

    def commit(*b):
        r = orig(*b)
        if any(x.archived for x in b):
            p.kill_at("registry.after_commit")
        return r

    g._house.premises.stores.trades.commit = commit
    let_pass(sim, 400)
    assert any("unexplained" in a.key for a in g.alerts())


def test_book_stale(sim: GuardKit) -> None:
    g = sim.start(adoption="observe")
    t = sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    let_pass(sim, 70)
    assert g.status()["observed_trades"] == 1
    g.register(Trade(ticket=t))
    let_pass(sim, 70)
    assert g.status()["observed_trades"] == 0


def test_freeze_full_then_pause(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore")
    a = g._house.premises.stores.audit
    orig = a.set_control

    def full(c):
        raise StoreFull("no room")

    a.set_control = full
    g.admin("freeze")
    a.set_control = orig
    g.admin("pause")
    g.admin("resume")
    assert g.status()["mode"] == "observe"


def test_audit_damaged_forgets_freeze(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore")
    g.admin("freeze")
    g.stop()
    f = sim.folder / "data" / "audit" / "data.mdb"
    f.write_bytes(b"\0" * 10)
    g = sim.next_process({}, adoption="ignore").start()
    assert g.status()["mode"] == "observe"


def test_terminal_close_raises_lock_left(kit: GuardKit) -> None:
    g = kit.start(adoption="ignore")

    def boom():
        raise RuntimeError("x")

    kit.terminal.close = boom
    with contextlib.suppress(RuntimeError):
        g.stop()
    assert not g._house.premises.held


def test_stop_during_start(kit: GuardKit) -> None:
    g = kit.make(startup_timeout=8.0)
    kit.terminal.add_fault(fault_from({"call": "initialize", "effect": "unknown", "count": None}))
    res = {}

    def run():
        t0 = time.monotonic()
        try:
            g.start()
        except DtmsError as e:
            res["e"] = repr(e)
        res["t"] = time.monotonic() - t0

    th = threading.Thread(target=run)
    th.start()
    time.sleep(1)
    g.stop()
    t0 = time.monotonic()
    th.join(30)
    assert time.monotonic() - t0 < 2


def test_interrupt_in_start(kit: GuardKit) -> None:
    g = kit.make()
    w = kit.runtime.wait_until

    def wait_until(c, t):
        kit.runtime.wait_until = w
        raise KeyboardInterrupt

    kit.runtime.wait_until = wait_until
    try:
        with g:
            pass
    except KeyboardInterrupt:
        pass
    assert not g._house.premises.held


def test_init_raises(sim: GuardKit) -> None:
    g = sim.make(adoption="ignore")
    sim.terminal.add_fault(fault_from({"call": "initialize", "effect": "raise", "count": 2}))
    g.start()


def test_init_raises_runtime(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore")
    sim.terminal.disconnect()
    sim.terminal.add_fault(fault_from({"call": "initialize", "effect": "raise", "count": None}))
    let_pass(sim, 600)
    assert not kinds(g, Kind.CHARGED), len(kinds(g, Kind.CHARGED))


def test_reset_budget_ledger_refused_kills_root(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore")

    def no(c):
        raise FolderRefused("read-only")

    g._house.premises.stores.ledger.clear = no
    with contextlib.suppress(DtmsError):
        g.admin("reset-budget", child="monitor")
    assert not g.over, g.wait(0)


def test_frozen_uses_attempts(sim: GuardKit) -> None:
    g, t = one_trade(sim)
    from actors.messages import Freeze

    # freeze whose SetControl is behind: monitor decides while connector is frozen
    g._house._post.send(CONNECTOR, Freeze(True, "ops"), lane=Lane.CONTROL, sticky=True)
    price(sim, 1.0945)
    let_pass(sim, 900)
    assert g.trade(t).attempts == 0


def test_cannot_act_alert_again(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    sim.terminal.set_autotrading(False)
    let_pass(sim, 60)
    g.admin("acknowledge")
    g.admin("set-mode", mode="observe")
    sim.terminal.set_autotrading(True)
    let_pass(sim, 60)
    sim.terminal.set_autotrading(False)
    let_pass(sim, 60)
    g.admin("set-mode", mode="armed")
    let_pass(sim, 120)
    assert any(a.key == "cannot_act" and a.acknowledged_at is None for a in g.alerts())


def test_ready_slow(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    sim.terminal.add_fault(
        fault_from({"call": "positions_get", "effect": "delay", "seconds": 16.0, "count": None})
    )
    end = sim.runtime.clock.monotonic() + 1800
    sim.runtime.wait_until(lambda: sim.runtime.clock.monotonic() > end, 1e6)
    assert not g.health().ready


def test_damaged_observe_then_armed(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore")
    g.admin("set-mode", mode="armed")
    g.stop()
    (sim.folder / "data" / "trades" / "data.mdb").write_bytes(b"\0" * 10)
    g = sim.next_process({}, adoption="ignore", mode="observe").start()
    g.stop()
    g = sim.next_process({}, adoption="ignore", mode="armed").start()
    assert g.status()["mode"] == "observe"  # nobody has confirmed


def test_connector_killed_on_other_account(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    acc = g.status()["account"]
    sim.terminal.switch_account(999, "Elsewhere")
    g.admin("kill", child="connector")
    let_pass(sim, 900)
    assert not kinds(g, Kind.CHARGED, child="connector")[1:]  # the kill alone
    sim.terminal.switch_account(acc["login"], acc["server"])
    let_pass(sim, 600)
    assert g.health().ready


def test_flatten_unknown_then_order(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    sim.terminal.add_fault(fault_from({"call": "order_send", "effect": "unknown", "count": 1}))
    g.admin("flatten", confirm=g.status()["account"]["login"])
    price(sim, 1.0945)
    let_pass(sim, 29.5)
    let_pass(sim, 1.0)
    assert not orders(sim)


def test_registry_readonly_outcome_lost_kills(sim: GuardKit) -> None:
    g, _t = one_trade(sim)
    st = g._house.premises.stores.trades
    orig = st.commit
    n = [0]

    def commit(*b):
        n[0] += 1
        if n[0] <= 4:
            raise FolderRefused("EROFS")
        return orig(*b)

    st.commit = commit
    t2 = sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    with contextlib.suppress(DtmsError):
        g.register(Trade(ticket=t2), timeout=60)
    assert not kinds(g, Kind.CHARGED)


def test_alert_repeat_clock_back(sim: GuardKit) -> None:
    g = sim.start(adoption="ignore", max_restarts=0)
    g.admin("kill", child="monitor")
    let_pass(sim, 30)
    sim.runtime.clock.jump_wall(-86400.0)
    n = len([e for e in kinds(g, Kind.ALERT) if e.facts["told"]])
    let_pass(sim, 3600)
    m = len([e for e in kinds(g, Kind.ALERT) if e.facts["told"]])
    assert m > n


def test_pause_between_the_look_and_the_book(sim: GuardKit) -> None:
    points = Points()
    guard, _ = one_trade(sim, points=points)
    price(sim, 1.0945)

    def pause() -> None:
        order = SetControl("armed", True, "ops")
        guard._house._post.send(MONITOR, order, lane=Lane.CONTROL)

    points.arm("registry.before_reply", pause)
    let_pass(sim, 90)
    assert points.reached == {"registry.before_reply": 1}
    assert orders(sim) == []
