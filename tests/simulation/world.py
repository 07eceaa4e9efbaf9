"""The world of a run: a broker, a disk, people, and one guard process after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from actors.names import CONNECTOR
from defence.errors import DtmsError, StartRefused
from supervisors import Settings
from supervisors.children import VITAL
from supervisors.slot import ChildState
from terminals.sim.faults import Effect
from tests.simulation.blows import Blows, Story
from tests.simulation.lives import Violated
from tests.simulation.process import Process, ProcessDied
from tests.simulation.script import HOUR, TROUBLE, Blow

INTERVAL = 60.0  # seconds between cycles
BACK_WITHIN = 300.0  # seconds in which a guard that nothing harms any more is ready again
HANGS = (Effect.HANG, Effect.DELAY)


@cache
def _settings(escalation: str) -> Settings:
    return Settings(
        data_dir="/memory",
        interval=INTERVAL,
        check_every=20.0,
        stale_after=180.0,
        backup_every=0,
        alert_repeat=1200.0,
        reconcile_every=600.0,
        quote_stale_after=1e9,
        escalation=escalation,
        mode="armed",
        adoption="adopt",
        chaos=True,
    )


class World(Blows):
    """Runs one script. `told` False keeps no trace, which is faster."""

    def __init__(self, seed: int, script: list[Blow], *, told: bool = False) -> None:
        super().__init__()
        self._seed = seed
        self._script = script
        self._told = told
        self._settings = _settings("stay_down" if seed % 5 == 4 else "retry")
        self.terminal.initialize()
        for n in range(3):
            self._open(n)
        self.terminal.shutdown()

    # -- the run

    def run(self) -> Story:
        """Live through the hour; the story holds the first violation, if any."""
        try:
            for blow in self._script:
                self._until(blow.at)
                self._note(f"-- {blow.line().strip()}")
                getattr(self, f"do_{blow.what}")(*blow.args)
            self._until(TROUBLE)
            self._heal()
            self._come_back()
            self._until(HOUR)
            self._finish()
        except Violated as violation:
            self.story.violation = violation
            self._note(f"!! {violation}")
        finally:
            if self.process is not None:
                self._bury("the run is over")
        return self.story

    def _until(self, at: float) -> None:
        """Let time pass until `at`, with processes dying and starting in it."""
        while (now := self.clock.monotonic()) < at:
            process = self.process
            if process is None:
                if self._next_start > now:
                    self.clock.advance(min(at, self._next_start) - now)
                else:
                    self._start()
                continue
            wait = partial(process.runtime.wait_until, self._is_over, at - now)
            self._drive(wait)
            if self.process is process and process.guard.over:
                self._exited("the guard has died")

    def _is_over(self) -> bool:
        process = self.process
        if process is None or not process.alive:
            raise ProcessDied
        return process.guard.over

    def _choose_threads(self, process: Process) -> None:
        hanging = process.strikes.hanging()
        if self._calls_hang:
            armed = self.terminal._script._armed
            self._calls_hang = any(one.fault.effect in HANGS for one in armed)
            hanging.append(CONNECTOR)
        process.runtime.may_hang = hanging

    def _drive(self, work: Callable[[], Any]) -> Any:
        """Do what drives the scheduler; a process that dies in it is buried."""
        process = self.process
        try:
            if process is not None:
                self._choose_threads(process)
            return work()
        except ProcessDied:
            self._bury("killed")
            self._next_start = self.clock.monotonic() + 5.0
        return None

    def _start(self) -> None:
        self.story.processes += 1
        self._note(f"== process {self.story.processes}")
        process = Process(
            self.story.processes,
            self._seed,
            self.clock,
            self.disk,
            self.terminal,
            self._settings,
            self.witness,
            self._note,
        )
        struck = self.disk.struck

        def committed(store: str, when: str) -> None:
            self.witness.committed(store, when)
            struck(store, when)

        self.disk.struck = committed
        self.process = process
        self.witness.begins(process)
        watch = process.runtime.watch
        assert watch is not None

        def after_turn() -> None:
            if not process.alive:
                raise ProcessDied
            watch()
            self._choose_threads(process)

        process.runtime.watch = after_turn
        if self._told:
            process.guard.events.listen(
                lambda event: self._note(f"{event.line()}") if process.alive else None
            )
        self._drive(lambda: self._started(process))

    def _started(self, process: Process) -> None:
        try:
            process.guard.start()
        except StartRefused as refusal:
            self._note(f"refused: {refusal}")
            self._exited("the start was refused")
        except DtmsError as error:
            self._note(f"the start failed: {error}")
            self._exited("the start failed")

    def _exited(self, why: str) -> None:
        """The process ends by itself; whoever runs it starts it again."""
        process = self.process
        if process is not None:
            self._drive(process.guard.stop)
        if self.process is not None:
            self._bury(why)
        self._next_start = self.clock.monotonic() + 5.0

    def _bury(self, why: str) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        self._note(f"== process {process.number} is over: {why}")
        if self._told:
            self.story.lines.extend(f"   {line}" for line in process.runtime.trace)
        process.end()
        self.disk.locked = False
        self.disk.struck = lambda _store, _when: None
        self.terminal.shutdown()

    # -- when nothing goes wrong any more

    def _heal(self) -> None:
        self._note("-- nothing goes wrong any more")
        self.do_disk_full(0.0)
        self.terminal.clear_faults()
        self.terminal.reconnect()
        if self.process is not None:
            self.process.strikes.armed.clear()
            for point in list(self.process.points._armed):
                self.process.points.disarm(point)

    def _come_back(self) -> None:
        end = self.clock.monotonic() + BACK_WITHIN
        while self.clock.monotonic() < end:
            self._resume()
            if self.process is not None and self.process.guard.health().ready:
                self.story.ready = True
                return
            self._until(min(end, self.clock.monotonic() + 20.0))
        process = self.process
        if process is None:
            self.witness.not_ready("no process came up")
        elif process.guard.health().ready:
            self.story.ready = True
        elif not self._down():
            reasons = process.guard.health().reasons
            self.witness.not_ready(f"not ready after {BACK_WITHIN:.0f} s: {list(reasons)}")

    def _resume(self) -> None:
        """Take back what people had said; a guard that was told nothing is told nothing now."""
        process = self.process
        if process is None or process.guard.over or self._down():
            return
        status = process.guard.status()
        if status["paused"]:
            self.do_ops("resume", "")
        if status["mode"] != "armed" and self.process is process:
            self.do_ops("arm", "")

    def _down(self) -> list[str]:
        """Return the vital children that are escalated: nobody is to be told ready then."""
        process = self.process
        if process is None:
            return []
        slots = process.slots
        return [n for n in VITAL if n in slots and slots[n].state is ChildState.ESCALATED]

    def _finish(self) -> None:
        settled = self.story.ready and not self._down()
        self.witness.at_the_end(settled=settled)
        process = self.process
        if process is not None:
            self._drive(process.guard.stop)
            if self.process is process and process.guard._house.died is None:
                self.witness.ends_in_order()
