"""Terminals behind the stand-in package: what happens to them, and what reached the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from terminals.worker.hosted import WorkerTerminal

STAND_IN = Path(__file__).parent / "stand_in"


class Installed:
    """A folder with a terminal; `now` says what happens to it from the next call on."""

    def __init__(self, folder: Path, **facts: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.executable = folder / "terminal64.exe"
        self.executable.touch()
        self.facts: dict[str, Any] = {}
        self.now(**facts)

    def now(self, **facts: Any) -> None:
        """Change what the terminal is like; nothing else changes."""
        self.facts |= facts
        new = self.folder / "terminal.new"
        new.write_text(json.dumps(self.facts))
        new.replace(self.folder / "terminal.json")

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """What reached the package, in order: names, and what some of them were given."""
        path = self.folder / "calls.txt"
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        return [(name, what) for name, what in map(json.loads, lines)]

    def given(self, name: str) -> list[Any]:
        """What one kind of call was given, each time."""
        return [what for called, what in self.calls if called == name and what is not None]

    def count(self, name: str) -> int:
        """How often a call was made."""
        return sum(called == name for called, _ in self.calls)


Install = Callable[..., Installed]
Hosted = Callable[..., WorkerTerminal]
