"""Tables for people; the same as plain data for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable


@dataclass(slots=True)
class Table:
    """One table: what was measured, and notes on how to read it."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row; it must have a cell for each column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)


def show(console: Console, table: Table) -> None:
    """Print one table."""
    shown = RichTable(title=table.title, title_justify="left", title_style="bold")
    for nth, name in enumerate(table.columns):
        shown.add_column(name, justify="left" if nth == 0 else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    for note in table.notes:
        console.print(f"  {note}", markup=False, highlight=False)
    console.print()


def show_machine(console: Console, facts: Mapping[str, str]) -> None:
    """Print what it was measured on."""
    for name, value in facts.items():
        console.print(f"{name:>14}  {value}", markup=False, highlight=False)
    console.print()


def milliseconds(seconds: float) -> str:
    """Return a time for a cell."""
    return f"{seconds * 1e3:.2f} ms"


def microseconds(seconds: float) -> str:
    """Return a short time for a cell."""
    return f"{seconds * 1e6:,.{0 if seconds >= 20e-6 else 1}f} us"


def rate(per_second: float) -> str:
    """Return a rate for a cell."""
    return f"{per_second:,.0f}"
