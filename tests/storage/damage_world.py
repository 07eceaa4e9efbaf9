"""A guard's life before the damage: a seeded day, its journal, its backups and old copies.

The broker is a simulated terminal with a state file, so that it outlives the
guard; the runtime is simulated, so that a day takes a moment.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from damage_journal import EMPTY, STORES, Recorder, State, Tape, served
from guard_kit import still_terminal

import supervisors.keeper
import supervisors.premises
from actors.simulated import SimulatedRuntime
from defence.errors import DtmsError
from storage.folder import Stores
from supervisors import Guard, Settings, Trade
from terminals.sim.faults import fault_from
from terminals.sim.terminal import SimulatedTerminal

_TAKE = supervisors.keeper.take
_OPEN = supervisors.premises.open_stores
SYMBOLS = {"EURUSD": 1.1, "GBPUSD": 1.25, "USDJPY": 150.0}


class NamedRuntime(SimulatedRuntime):
    """A simulated runtime whose ids differ from those of every other process."""

    def __init__(self, name: str, seed: int, wall: float | None = None) -> None:
        super().__init__(seed)
        self._name = name
        if wall is not None:
            self.clock.jump_wall(wall - self.clock.wall())

    def new_id(self) -> str:
        return f"{self._name}-{super().new_id()}"


@dataclass
class Copy:
    """What lay in the folder at one quiet moment; `index` is the journal's place, by store."""

    index: dict[str, int]
    data: dict[str, bytes] = field(default_factory=dict)  # data.mdb by store
    marks: dict[str, bytes] = field(default_factory=dict)
    name: str = ""  # of a backup set


class Process:
    """One process of a guard: a runtime, the broker's terminal, the guard; and what it served."""

    def __init__(self, world: World, name: str, wall: float | None) -> None:
        self.world = world
        self.runtime = NamedRuntime(name, seed=world.seed, wall=wall)
        self.terminal: SimulatedTerminal = still_terminal(
            self.runtime, state=world.folder / "broker.json"
        )
        self.guard = Guard(
            Settings(
                data_dir=world.folder / "data",
                state_dir=world.folder / "state",
                interval=30.0,
                quote_stale_after=1e9,
                mode="armed",
                adoption=world.adoption,
                backup_every=0.0,
                history_days=0.0,
                chaos=True,
                seed=1,
            ),
            runtime=self.runtime,
            terminal=self.terminal,
        )
        self.opened: dict[str, State] = {}  # what the stores served when they had been opened
        self.account: tuple[int, str] | None = None

    def start(self) -> None:
        """Start the guard, and read all that its stores serve before anything is changed."""

        def opened(*args: Any) -> Stores:
            stores = _OPEN(*args)
            self.opened = served(stores)
            self.account = stores.trades.account()
            self.world.recorder.tape = Tape()
            return stores

        supervisors.premises.open_stores = opened
        try:
            self.guard.start()
        finally:
            supervisors.premises.open_stores = _OPEN

    @property
    def stores(self) -> Stores:
        """The open stores of the guard."""
        return self.guard._house.premises.stores

    def stop(self) -> None:
        """Stop the guard; the broker stays."""
        self.guard.stop()
        self.terminal.close()


@dataclass
class World:
    """A folder with its whole past."""

    seed: int
    folder: Path
    recorder: Recorder
    states: dict[str, list[State]] = field(
        default_factory=lambda: {name: [EMPTY[name]] for name in STORES}
    )
    sets: list[Copy] = field(default_factory=list)
    olds: list[Copy] = field(default_factory=list)
    wall: float = 0.0
    adoption: str = "adopt"
    account: tuple[int, str] = (5_001_000, "Simulated-Demo")

    @property
    def last(self) -> dict[str, int]:
        """The journal's place now, by store."""
        return {name: len(states) - 1 for name, states in self.states.items()}

    def take_in(self) -> None:
        """Fold what was recorded into the states."""
        for name in STORES:
            for step in self.recorder.tape.steps[name]:
                self.states[name].append(step(self.states[name][-1]))
        self.recorder.tape = Tape()


def build(folder: Path, seed: int, recorder: Recorder) -> World:
    """Let a guard live through a seeded day, stop it, and return the world."""
    rng = random.Random(f"world {seed}")
    folder.mkdir()
    world = World(seed, folder, recorder, adoption=rng.choice(["adopt", "ignore", "observe"]))
    backups = rng.choice([0, 1, 1, 2, 2, 3])
    lives = rng.choice([1, 1, 2])
    wall: float | None = None
    for life in range(lives):
        day = _Day(world, Process(world, f"w{seed}.{life}", wall), rng)
        day.live(rng.randrange(12, 22), backups if life == lives - 1 else 0)
        wall = world.wall = day.process.runtime.clock.wall() + rng.uniform(1.0, 300.0)
    return world


class _Day:
    def __init__(self, world: World, process: Process, rng: random.Random) -> None:
        self.world, self.process, self.rng = world, process, rng
        self.tickets: list[int] = []

    def live(self, length: int, backups: int) -> None:
        self._listen_to_backups()
        self.process.start()
        for symbol, price in SYMBOLS.items():
            self._price(symbol, price)
        doings = [self._do] * length
        for _ in range(backups):
            doings.insert(self.rng.randrange(len(doings)), self._back_up)
        for _ in range(2):
            doings.insert(self.rng.randrange(len(doings)), self._keep_a_copy)
        for doing in doings:
            doing()
            self._agree()
        self.process.stop()
        self.world.take_in()

    def _agree(self) -> None:
        """Compare the journal with what the guard itself answers at a quiet moment."""
        guard, quiet = self.process.guard, False
        while not quiet:  # to ask lets time pass, in which the guard may do something
            self.world.take_in()
            trades = self.world.states["trades"][-1]
            answered = {record.identifier for record in guard.trades()}
            found = {guard.trade(each.ticket).identifier for each in trades["trades"].values()}
            actions = {each.id: each for each in guard.actions(limit=1000)}
            archived = {each.ticket for each in guard.history(limit=1000).items}
            alerts = {each.id: each for each in guard.alerts()}
            quiet = not any(self.world.recorder.tape.steps.values())
        assert answered == {i for i, each in trades["trades"].items() if each.active}
        assert found == set(trades["trades"])
        assert actions == trades["actions"]
        assert archived == {each.ticket for each in trades["history"].values()}
        assert alerts == self.world.states["outbox"][-1]["alerts"]

    def _listen_to_backups(self) -> None:
        world = self.world

        def take(*args: Any) -> Any:
            world.take_in()
            made = _TAKE(*args)
            assert not made.failed
            world.sets.append(Copy(world.last, name=made.name))
            return made

        supervisors.keeper.take = take

    def _price(self, symbol: str, bid: float) -> None:
        digits = 3 if symbol.endswith("JPY") else 5
        bid = round(bid, digits)
        self.process.terminal.set_price(symbol, bid, round(bid + 10**-digits * 10, digits))

    def _back_up(self) -> None:
        answer = self.process.guard.admin("backup", by="test", timeout=60.0)
        assert answer["failed"] == {}

    def _keep_a_copy(self) -> None:
        data = self.world.folder / "data"
        self.world.olds.append(
            Copy(
                self.world.last,
                {name: (data / name / "data.mdb").read_bytes() for name in STORES},
                {
                    name: mark.read_bytes()
                    for name in STORES
                    if (mark := data / f"dtms.{name}.mark").exists()
                },
            )
        )

    def _do(self) -> None:
        doings: list[tuple[int, Callable[[], None]]] = [
            (6, self._register),
            (3, self._frighten),
            (2, self._lose_an_answer),
            (2, self._move_stop),
            (2, self._close),
            (1, self._close_part),
            (1, self._release),
            (1, self._vanish),
            (2, self._kill),
            (2, self._control),
            (1, self._acknowledge),
            (2, self._wait),
        ]
        weights = [weight for weight, _ in doings]
        doing = self.rng.choices([each for _, each in doings], weights)[0]
        with suppress(DtmsError):  # a refusal is an answer too: nothing was acknowledged
            doing()

    def _open(self) -> int | None:
        guarded = self.process.guard.trades()
        return self.rng.choice([each.ticket for each in guarded]) if guarded else None

    def _register(self) -> None:
        terminal, rng = self.process.terminal, self.rng
        for _ in range(rng.choice([1, 1, 3])):
            symbol = rng.choice(list(SYMBOLS))
            tick: Any = terminal.symbol_info_tick(symbol)
            ask = tick.ask
            direction = rng.choice(["BUY", "SELL"])
            away = ask * rng.uniform(0.005, 0.02) * (-1 if direction == "BUY" else 1)
            stop = round(ask + away, 3 if symbol.endswith("JPY") else 5)
            ticket = terminal.open_position(symbol, direction, rng.choice([0.1, 0.2, 0.4]), sl=stop)
            if rng.random() < 0.85:  # the others are adopted, observed or ignored
                who = f"bot {rng.randrange(10**9)} " + "x" * rng.choice([0, 20, 200])
                self.process.guard.register(Trade(ticket=ticket, managed_by=who))

    def _frighten(self) -> None:
        """Move a price nine tenths of the way to a stop, and let the guard act."""
        ticket = self._open()
        if ticket is None:
            return
        record = self.process.guard.trade(ticket)
        stop = record.initial_stop or record.stop_loss
        if stop is not None:
            part = self.rng.choice([0.6, 0.9])
            self._price(record.symbol, record.entry_price + (stop - record.entry_price) * part)
        self.process.runtime.run_for(self.rng.choice([35.0, 100.0]))

    def _lose_an_answer(self) -> None:
        """Let the next order's answer get lost: its intent stays in doubt for a while."""
        when = self.rng.choice(["before", "after"])
        lost = {"call": "order_send", "effect": "unknown", "when": when, "error": [-10002, "lost"]}
        self.process.terminal.add_fault(fault_from(lost))
        self._frighten()
        self.process.terminal.clear_faults()

    def _move_stop(self) -> None:
        ticket = self._open()
        if ticket is not None:
            record = self.process.guard.trade(ticket)
            if record.stop_loss is not None:
                stop = (record.stop_loss + record.entry_price) / 2
                self.process.terminal.modify(ticket, sl=round(stop, 3))
        self.process.runtime.run_for(35.0)

    def _close(self) -> None:
        ticket = self._open()
        if ticket is not None:
            self.process.terminal.close_position(ticket)
        self.process.runtime.run_for(self.rng.choice([1.0, 35.0]))

    def _close_part(self) -> None:
        ticket = self._open()
        if ticket is not None:
            self.process.terminal.close_position(ticket, 0.05)
        self.process.runtime.run_for(35.0)

    def _release(self) -> None:
        ticket = self._open()
        if ticket is not None:
            self.process.guard.release(ticket)

    def _vanish(self) -> None:
        ticket = self._open()
        if ticket is not None:
            self.process.terminal.vanish(ticket)
        self.process.runtime.run_for(200.0)

    def _kill(self) -> None:
        self.process.guard.admin("kill", child=self.rng.choice(["monitor", "recovery"]))
        self.process.runtime.run_for(40.0)

    def _control(self) -> None:
        commands: list[tuple[str, dict[str, Any]]] = [
            ("pause", {"why": "lunch" + "?" * self.rng.choice([0, 3000, 9000])}),
            ("resume", {}),
            ("set-mode", {"mode": "armed"}),
            ("set-mode", {"mode": "observe"}),
            ("reset-budget", {"child": "monitor"}),
            ("flatten", {"confirm": 1}),  # refused, and audited
        ]
        command, more = self.rng.choice(commands)
        self.process.guard.admin(command, by=f"ops {self.rng.randrange(99)}", **more)

    def _acknowledge(self) -> None:
        self.process.guard.admin("acknowledge", by="ops")

    def _wait(self) -> None:
        self.process.runtime.run_for(self.rng.choice([5.0, 65.0, 700.0]))


def copied(world: World, target: Path) -> World:
    """Return the world with a copy of its folder; the past is shared."""
    shutil.copytree(world.folder, target)
    shutil.rmtree(target / "state", ignore_errors=True)  # it names the original's path
    return World(
        seed=world.seed,
        folder=target,
        recorder=world.recorder,
        states=world.states,
        sets=world.sets,
        olds=world.olds,
        wall=world.wall,
        adoption=world.adoption,
    )
