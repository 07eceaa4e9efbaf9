"""docs/faults.md, the code and the tests speak of the same faults."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from pathlib import Path

from fault_kit import MISHAPS, table

from terminals.sim.effects import SHAPES, Effect
from terminals.sim.faults import Fault

HERE = Path(__file__).parent


def words(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", cell)


def test_every_effect_has_its_row_and_every_row_its_effect() -> None:
    rows = [words(name)[0] for name, _, _ in table("Effects")]
    assert sorted(rows) == sorted(Effect)
    assert SHAPES.keys() == set(Effect)


def test_the_fields_of_the_rows_are_those_of_the_code() -> None:
    for name, cell, _ in table("Effects"):
        shape, said = SHAPES[Effect(words(name)[0])], set(words(cell)) - {"call"}
        assert said >= set(shape.needs), name
        assert said <= {*shape.needs, *shape.takes}, name
    triggers = {word for row in table("When") for word in words(row[0])}
    said = triggers | {word for row in table("Effects") for word in words(row[1])} | {"effect"}
    assert said == {one.name for one in fields(Fault)}


def test_every_effect_is_met_by_the_guard() -> None:
    assert {fault.effect for fault in MISHAPS.values()} == set(Effect)


def test_every_row_of_the_mishaps_has_a_test() -> None:
    met: set[str] = set()
    for path in sorted(HERE.glob("test_guard_fault_*.py")):
        module = importlib.import_module(path.stem)
        for name, test in vars(module).items():
            if name.startswith("test_"):
                met.update(getattr(test, "meets", ()))
    assert met == MISHAPS.keys()
