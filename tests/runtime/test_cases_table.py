"""The tables in docs/supervision.md, Cases, are about tests that exist, and leave none out."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "supervision.md"
TEST = re.compile(r"`(test_\w+)(?:\[(\w+)\])?`")
ANSWERS = ("yes", "differs", "no")


def modules() -> list[ModuleType]:
    names = sorted(path.stem for path in HERE.glob("test_cases_*.py"))
    return [importlib.import_module(name) for name in names if name != Path(__file__).stem]


def rows() -> list[list[str]]:
    """Return the cells of every row: case, applies, shown by, note."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Cases\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "case"]


def all_tests() -> dict[str, object]:
    """Return the tests of the cases by name; no two may have the same."""
    found: dict[str, object] = {}
    for module in modules():
        for name, value in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_") and value.__module__ == module.__name__:
                assert name not in found, f"{name} is in two files"
                found[name] = value
    return found


def ids(test: object) -> set[str]:
    """Return the names that a test gives to its parameters."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    return {str(one.id) for mark in marks for one in mark.args[1] if hasattr(one, "id")}


def test_the_page_has_the_cases_of_every_suite() -> None:
    assert len(rows()) > 100
    for row in rows():
        assert len(row) == 4, row
        case, applies, shown, why = row
        assert case.startswith("`"), row
        assert applies in ANSWERS, row
        assert bool(TEST.search(shown)) == (applies != "no"), row
        assert why or applies == "yes", row  # where it does not apply, or differs, it says why


def test_every_test_that_is_named_exists() -> None:
    known = all_tests()
    for _, _, shown, _ in rows():
        for name, parameter in TEST.findall(shown):
            assert name in known, f"{name} is in the table, and nowhere else"
            assert not parameter or parameter in ids(known[name]), f"{name} has no {parameter}"


def test_every_test_of_a_case_is_named_in_the_table() -> None:
    named = {name for _, _, shown, _ in rows() for name, _ in TEST.findall(shown)}
    assert sorted(set(all_tests()) - named) == []


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_every_test_says_whose_case_it_is(module: ModuleType) -> None:
    suites = ("OTP", "Elixir", "Pekko", "supervisord", "systemd", "Thespian", "Ray", "Ours")
    for name, value in all_tests().items():
        if getattr(value, "__module__", "") == module.__name__:
            said = inspect.getdoc(value) or ""
            assert said.startswith(suites), f"{name}: {said!r}"
