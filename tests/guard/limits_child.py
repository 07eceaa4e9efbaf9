# ruff: noqa: PT017, S607 - no pytest in here; `mount` is where the system has it
"""Scenarios on disks of a test's own, each run in a process of its own: SCENARIO FOLDER.

Most need to mount; `test_guard_limits.py` starts them in a mount namespace.
A scenario asserts, and the process ends with 0 when all of it held.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.threads import ThreadRuntime
from defence.alerts import Notice, Severity
from defence.errors import (
    DtmsError,
    FolderRefused,
    Invalid,
    NotFound,
    StartRefused,
    StoreFull,
)
from defence.trade import Registration
from gateway import serve
from storage.audit import AuditStore
from storage.ledger import LedgerStore
from storage.outbox import OutboxStore
from storage.trades import TradeStore
from supervisors import Guard, Trade

OWN = {"adoption": "ignore", "rate_limit": 0.0, "port": 0}


def mount(target: Path, size: str) -> None:
    """Put a disk of that size over a folder; what was in the folder is on the disk then."""
    kept = target.with_name(f"{target.name}.kept")
    shutil.copytree(target, kept)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", target], check=True
    )
    shutil.copytree(kept, target, dirs_exist_ok=True)
    shutil.rmtree(kept)


class Ballast:
    """A file that leaves no room on a disk, until it is thrown off."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "dtms.ballast"

    def load(self) -> None:
        """Fill the disk to the last byte."""
        with self.path.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error

    def throw_off(self) -> None:
        """Make room."""
        self.path.unlink()


class Scene:
    """A guard whose data folder was made before, so that disks can be put under its stores."""

    def __init__(self, folder: Path) -> None:
        self.kit = GuardKit(folder, ThreadRuntime)
        self.data = folder / "data"
        first = self.kit.start(**OWN)
        first.stop()
        self.kit.guards.clear()
        self.guard: Guard

    def start(self, **settings: object) -> Guard:
        """Start the guard."""
        self.guard = self.kit.start(**{**OWN, **settings})  # type: ignore[arg-type]
        return self.guard

    def position(self) -> int:
        """Open a position at the broker and return its ticket."""
        return int(self.kit.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0))

    def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, (what, self.guard.status(), self.guard.alerts())
            time.sleep(0.01)

    def alert(self, key: str) -> bool:
        """Whether there is an open alert of that key."""
        return any(a.key == key and a.acknowledged_at is None for a in self.guard.alerts())

    def reasons(self, word: str) -> list[str]:
        """Return health's reasons that say that word."""
        return [reason for reason in self.guard.health().reasons if word in reason]


def fill_by_registering(scene: Scene, known: set[int]) -> StoreFull:
    """Register until the store is full; `known` gets what was acknowledged."""
    for _ in range(2000):
        ticket = scene.position()
        try:
            scene.guard.register(Trade(ticket=ticket))
        except StoreFull as full:
            return full
        known.add(ticket)
    raise AssertionError("the disk did not fill")


def all_there(data: Path, known: set[int]) -> None:
    """Compare the store at rest with the independent list of what was acknowledged."""
    store = TradeStore.open(data / "trades")
    trades, _ = store.load()
    store.close()
    missing = known - {trade.ticket for trade in trades.values()}
    assert not missing, f"acknowledged and lost: {sorted(missing)}"


# -- one store at a time


def trades(folder: Path) -> None:
    """The trade store's disk is full: nothing new is accepted, everything else goes on."""
    scene = Scene(folder)
    mount(scene.data / "trades", "2m")
    guard, ballast = scene.start(alert_repeat=0.2), Ballast(scene.data / "trades")
    terminal = scene.kit.terminal
    terminal.set_price("EURUSD", 1.0999, 1.1)
    watched = int(terminal.open_position("EURUSD", "BUY", 0.2, sl=1.09))
    guard.register(Trade(ticket=watched))
    scene.until(lambda: guard.trade(watched).result_r is not None)
    known = {watched}
    ballast.load()
    full = fill_by_registering(scene, known)
    assert "No space left" in str(full), full
    assert full.remedy
    # told: health, alert, event
    health = guard.health()
    assert (health.status, health.ready) == (503, False)
    assert scene.reasons("store_full: the store 'trades'"), health
    scene.until(lambda: scene.alert("store_full:trades"))
    assert len(kinds(guard, Kind.STORE_FAILS)) == 1
    # a batch answers per record: what needs no room is answered as ever
    fresh = scene.position()
    answers = guard.register_many(
        [Trade(ticket=watched), Trade(ticket=fresh), Trade(ticket=999), Trade(ticket=-1)]
    )
    assert [type(answer) for answer in answers] == [Registration, StoreFull, NotFound, Invalid]
    with serve(guard) as served:
        http(served.url, guard.token(), watched, fresh)
    # reading goes on
    assert {trade.ticket for trade in guard.trades()} == known
    assert guard.trade(watched).ticket == watched
    assert guard.actions(limit=5)
    # restarts go on, and what is restarted knows that there is no room
    for child in ("monitor", "registry", "alert"):
        before = guard.status()["children"][child]["incarnation"]  # type: ignore[index]
        guard.admin("kill", child=child)
        scene.until(
            lambda child=child, before=before: (
                guard.status()["children"][child]["incarnation"] > before  # type: ignore[index]
                and guard.status()["children"][child]["state"] == "ready"  # type: ignore[index]
            ),
            child,
        )
    assert not guard.health().ready
    try:
        guard.register(Trade(ticket=fresh))
        raise AssertionError("registered on a full disk")
    except StoreFull:
        pass
    # a decision that cannot be journalled sends nothing
    terminal.set_price("EURUSD", 1.0945, 1.0946)
    parked = guard.status()["children"]["monitor"]  # type: ignore[index]
    scene.until(lambda: "store" in str(guard.status()["children"]["monitor"]["parked"]))  # type: ignore[index]
    assert parked is not None
    assert terminal.orders_sent == []
    # there is room again: it goes on by itself, and the decision is carried out
    ballast.throw_off()
    scene.until(lambda: guard.health().ready, "ready again")
    scene.until(lambda: len(terminal.orders_sent) == 1, "the order")
    scene.until(lambda: not scene.alert("store_full:trades"))
    assert scene.alert("store_works:trades")
    assert len(kinds(guard, Kind.STORE_WORKS)) == 1
    assert guard.register(Trade(ticket=fresh)).created
    known.add(fresh)
    guard.stop()
    all_there(scene.data, known)


def http(url: str, token: str, watched: int, fresh: int) -> None:
    """Registering over HTTP on a full disk."""
    with httpx2.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
    ) as client:
        answer = client.post("/dtms/trade/enable", json={"ticket": fresh})
        assert answer.status_code == 507, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["error"] == "store_full"
        assert answer.json()["remedy"]
        answer = client.post("/dtms/trade/enable", json={"ticket": watched})
        assert (answer.status_code, answer.json()["created"]) == (200, False), answer.text
        body = {"trades": [{"ticket": watched}, {"ticket": fresh}]}
        results = client.post("/dtms/trade/enable", json=body).json()["results"]
        assert results[0]["created"] is False
        assert (results[1]["status"], results[1]["error"]) == (507, "store_full")
        health = client.get("/health")
        assert health.status_code == 503
        assert any("store_full" in reason for reason in health.json()["reasons"])
        assert client.get("/dtms/trades").status_code == 200
        assert client.get("/livez").status_code == 200
        released = client.delete(f"/dtms/trade/{watched}")
        assert released.status_code == 507, released.text
        done = client.post("/dtms/admin/pause", json={})
        assert done.status_code == 200, done.text
        done = client.post("/dtms/admin/resume", json={})
        assert done.status_code == 200, done.text


def freeze(folder: Path) -> None:
    """Freeze and flatten work while the trade store is full."""
    scene = Scene(folder)
    mount(scene.data / "trades", "2m")
    guard, ballast = scene.start(), Ballast(scene.data / "trades")
    known: set[int] = set()
    ballast.load()
    fill_by_registering(scene, known)
    guard.admin("freeze")
    assert guard.status()["mode"] == "observe"
    account = guard.status()["account"]
    guard.admin("flatten", confirm=account["login"], timeout=60)  # type: ignore[index]
    assert scene.kit.terminal.positions_get() == ()
    ballast.throw_off()
    scene.until(lambda: scene.alert("store_works:trades"))
    # what was seen at the broker meanwhile is not lost: the book follows
    scene.until(lambda: not guard.trades(), "the book is empty")
    scene.until(lambda: guard.health().ready)
    found = {a.ticket for a in guard.actions(limit=1000) if a.outcome is not None}
    assert known <= found, "what flatten did is told for each trade"
    guard.stop()


def ledger(folder: Path) -> None:
    """A charge that cannot be written counts in memory, alerts, and the restart goes on."""
    scene = Scene(folder)
    store = LedgerStore.open(scene.data / "ledger")
    for number in range(400):  # pages of its own, so that none is left to take a charge
        store.add("somebody", 1.0 + number)
    store.close()
    mount(scene.data / "ledger", "1m")
    guard, ballast = scene.start(), Ballast(scene.data / "ledger")
    ballast.load()
    for nth in (1, 2, 3):
        guard.admin("kill", child="monitor")
        scene.until(
            lambda nth=nth: (
                guard.status()["children"]["monitor"]["restarts_in_window"] == nth  # type: ignore[index]
                and guard.status()["children"]["monitor"]["state"] == "ready"  # type: ignore[index]
            )
        )
    assert guard.health().ready
    scene.until(lambda: scene.alert("ledger"))
    guard.admin("kill", child="monitor")
    scene.until(lambda: guard.status()["children"]["monitor"]["state"] == "escalated")  # type: ignore[index]
    guard.stop()


def outbox(folder: Path) -> None:
    """An alert that cannot be written is kept in memory and told, and written when it can be."""
    scene = Scene(folder)
    mount(scene.data / "outbox", "1m")
    guard, ballast = scene.start(alert_repeat=1e6), Ballast(scene.data / "outbox")
    ballast.load()
    raised: set[str] = set()
    while not scene.reasons("store_full: the store 'outbox'"):
        assert len(raised) < 5000, "the disk did not fill"
        key = f"test:{len(raised)}"
        raised.add(key)
        notice = Notice(key=key, severity=Severity.WARNING, title="t", text="x" * 200)
        guard._house.notify(notice)
        if len(raised) % 50 == 0:
            guard.alerts()  # waits until they are handled
    health = guard.health()
    assert (health.status, health.ready) == (200, True), health
    assert all(reason.endswith("(degraded)") for reason in health.reasons)
    last = Notice(key="test:last", severity=Severity.CRITICAL, title="t", text="x" * 200)
    guard._house.notify(last)
    raised.add("test:last")
    scene.until(lambda: any(e.facts["key"] == "test:last" for e in kinds(guard, Kind.ALERT)))
    scene.until(lambda: scene.alert("store_full:outbox"))
    assert raised <= {alert.key for alert in guard.alerts()}
    stored = guard._house.premises.stores.outbox.load().values()
    assert "test:last" not in {alert.key for alert in stored}
    guard.admin("kill", child="alert")  # the memory of it outlives the incarnation
    scene.until(lambda: guard.status()["children"]["alert"]["incarnation"] == 2)  # type: ignore[index]
    assert raised <= {alert.key for alert in guard.alerts()}
    ballast.throw_off()
    scene.until(lambda: not guard.health().reasons, "no longer degraded")
    scene.until(lambda: scene.alert("store_works:outbox"))
    scene.until(lambda: not scene.alert("store_full:outbox"))
    guard.stop()
    store = OutboxStore.open(scene.data / "outbox")
    kept = [alert.key for alert in store.load().values()]
    store.close()
    assert raised <= set(kept)
    assert len(kept) == len(set(kept)), "each once"


def audit(folder: Path) -> None:
    """A command is done though its audit cannot be written; it is written when it can be."""
    scene = Scene(folder)
    mount(scene.data / "audit", "1m")
    guard, ballast = scene.start(), Ballast(scene.data / "audit")
    ballast.load()
    asked = 0
    while not scene.reasons("store_full: the store 'audit'"):
        assert asked < 5000, "the disk did not fill"
        asked += 1
        with contextlib.suppress(NotFound):  # a command that changes nothing, and is audited
            guard.admin("acknowledge", by="x" * 200 + f"#{asked}", alert="nothing")
    assert guard.health().ready
    scene.until(lambda: scene.alert("store_full:audit"))
    # ops must be able to freeze; that it cannot be stored is told
    guard.admin("freeze", by="ops")
    scene.until(lambda: guard.status()["mode"] == "observe")
    scene.until(lambda: scene.alert("freeze_not_stored"))
    assert guard._house.premises.stores.audit.control().mode is None
    ballast.throw_off()
    scene.until(lambda: not guard.health().reasons, "no longer degraded")
    scene.until(lambda: scene.alert("freeze_stored"))
    scene.until(lambda: not scene.alert("freeze_not_stored"))
    guard.stop()
    store = AuditStore.open(scene.data / "audit")
    entries, control = store.tail(10_000), store.control()
    store.close()
    assert (control.mode, control.by) == ("observe", "ops")
    written = [e.by for e in reversed(entries) if e.command == "acknowledge"]
    assert written == ["x" * 200 + f"#{nth}" for nth in range(1, asked + 1)]
    assert [e.command for e in entries if e.by == "ops"] == ["freeze"]


# -- the whole disk


def everything(folder: Path) -> None:
    """No file may grow (a limit for the process): all stores are full at once."""
    scene = Scene(folder)
    guard = scene.start()
    known: set[int] = set()
    for _ in range(3):
        ticket = scene.position()
        guard.register(Trade(ticket=ticket))
        known.add(ticket)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    fresh = scene.position()
    try:
        guard.register(Trade(ticket=fresh))
        raise AssertionError("registered on a full disk")
    except StoreFull as full:
        assert os.strerror(errno.EFBIG) in str(full), full
    assert guard.health().status == 503
    scene.until(lambda: scene.alert("store_full:trades"))
    guard.admin("kill", child="monitor")
    scene.until(lambda: guard.status()["children"]["monitor"]["incarnation"] == 2)  # type: ignore[index]
    scene.until(lambda: bool(scene.reasons("'outbox'") and scene.reasons("'audit'")))
    assert {trade.ticket for trade in guard.trades()} == known
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    scene.until(lambda: guard.health().ready and not guard.health().reasons)
    scene.until(lambda: scene.alert("store_works:trades"))
    assert guard.register(Trade(ticket=fresh)).created
    known.add(fresh)
    guard.stop()
    all_there(scene.data, known)


def idle(folder: Path) -> None:
    """A full disk is noticed by a guard that has nothing to write."""
    scene = Scene(folder)
    mount(scene.data / "trades", "2m")
    Ballast(scene.data / "trades").load()
    guard = scene.start()
    scene.until(lambda: bool(scene.reasons("store_full: the store 'trades'")))
    assert guard.health().status == 503
    Ballast(scene.data / "trades").throw_off()
    scene.until(lambda: guard.health().ready)
    guard.stop()


def start_on_full(folder: Path) -> None:
    """A start on a full disk is refused, harms nothing, and succeeds when there is room."""
    data = folder / "data"
    data.mkdir()
    mount(data, "8m")
    scene = Scene(folder)
    guard = scene.start()
    known: set[int] = set()
    for _ in range(5):
        ticket = scene.position()
        guard.register(Trade(ticket=ticket))
        known.add(ticket)
    guard.stop()
    scene.kit.guards.clear()
    before = {p: p.read_bytes() for p in data.rglob("data.mdb")}
    ballast = Ballast(data)
    ballast.load()
    try:
        scene.start()
        raise AssertionError("started on a full disk")
    except StartRefused as refused:
        text = str(refused)
    assert "no room" in text or "No space left" in text, text
    assert "free some space" in text, text
    assert {p: p.read_bytes() for p in data.rglob("data.mdb")} == before
    assert not list(data.glob("*.damaged-*"))
    ballast.throw_off()
    scene.kit.guards.clear()
    scene.start().stop()
    all_there(data, known)


# -- no right


def read_only_mount(folder: Path) -> None:
    """A data folder on a disk that is mounted read-only."""
    scene = Scene(folder)
    subprocess.run(["mount", "--bind", scene.data, scene.data], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", scene.data], check=True)
    refused_for_want_of_right(scene)
    subprocess.run(["umount", scene.data], check=True)
    scene.start().stop()


def refused_for_want_of_right(scene: Scene) -> None:
    """Start; it must be refused with a clear message, and nothing changed."""
    before = {p: p.stat().st_mtime_ns for p in scene.data.rglob("*")}
    try:
        scene.start()
        raise AssertionError("started without the right to write")
    except StartRefused as refused:
        text = str(refused)
    assert str(scene.data) in text, text
    assert "right" in text, text
    assert {p: p.stat().st_mtime_ns for p in scene.data.rglob("*")} == before


def read_only_folder(folder: Path) -> None:
    """The user may look, not write. A guard that runs when the right is taken goes on."""
    scene = Scene(folder)
    guard = scene.start()
    ticket = scene.position()
    guard.register(Trade(ticket=ticket))
    rights = {p: p.stat().st_mode for p in (scene.data, *scene.data.rglob("*"))}
    for path in reversed(rights):
        path.chmod(0o500 if path.is_dir() else 0o400)
    # rights are asked for when a file is opened: what is open stays open
    second = scene.position()
    assert guard.register(Trade(ticket=second)).created
    guard.admin("kill", child="registry")  # the next one looks at the store at once
    scene.until(lambda: guard.status()["children"]["registry"]["incarnation"] == 2)  # type: ignore[index]
    looks = len(kinds(guard, Kind.CYCLE))
    scene.until(lambda: len(kinds(guard, Kind.CYCLE)) > looks + 2)
    assert guard.health().ready
    assert not guard.health().reasons
    try:
        guard.admin("backup", timeout=60)
        raise AssertionError("backed up without the right to write")
    except DtmsError as refused:
        assert "right" in str(refused), refused
    guard.stop()
    scene.kit.guards.clear()
    refused_for_want_of_right(scene)
    scene.data.chmod(0o000)
    try:
        scene.start()
        raise AssertionError("started without any right")
    except StartRefused as refused_start:
        assert str(scene.data) in str(refused_start)
    for path, mode in rights.items():
        path.chmod(mode)
    scene.kit.guards.clear()
    again = scene.start()
    assert {trade.ticket for trade in again.trades()} <= {ticket, second}
    again.stop()
    all_there(scene.data, {ticket, second})


def no_state_folder(folder: Path) -> None:
    """The user's state folder cannot be written: refused, and it is named."""
    scene = Scene(folder)
    state = folder / "state" / "accounts"
    state.chmod(0o500)
    for file in state.iterdir():
        file.unlink() if os.access(state, os.W_OK) else file.chmod(0o400)
    try:
        scene.start()
        raise AssertionError("started without its state folder")
    except StartRefused as refused:
        text = str(refused)
        assert isinstance(refused, FolderRefused) or "state_dir" in text, text
    assert "state_dir" in text, text
    assert str(folder / "state") in text, text
    state.chmod(0o700)
    for file in state.iterdir():
        file.chmod(0o600)
    scene.kit.guards.clear()
    shutil.rmtree(folder / "state")  # missing: it is made anew
    scene.start().stop()
    assert (folder / "state" / "accounts").is_dir()


def main() -> int:
    """Run one scenario."""
    name, folder, *rest = sys.argv[1:]
    if rest == ["plain"] and os.geteuid() == 0:
        for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert ctypes.CDLL(None).prctl(24, right, 0, 0, 0) == 0  # PR_CAPBSET_DROP
        os.execv(sys.executable, [sys.executable, "-B", *sys.argv[:-1]])  # noqa: S606 - itself
    scenario: Callable[[Path], None] = globals()[name]
    scenario(Path(folder))
    print("all of it held", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
