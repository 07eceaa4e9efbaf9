"""Names, constants, fields and texts, compared with the official wheel."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from contract_rows import ROWS
from contract_sources import CODE
from wheel_kit import Wheel, download_wheel, read_wheel

from terminals import constants
from terminals.functions import FORMATS, FUNCTIONS, KEYWORDS, NOARGS
from terminals.module import CONSTANTS, TYPES


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """The wheel, fetched from the index by its name."""
    folder: Path = tmp_path_factory.mktemp("wheel")
    return read_wheel(download_wheel(folder))


def test_constants_are_the_wheels_and_no_others(wheel: Wheel) -> None:
    assert dict(CONSTANTS) == wheel.constants
    assert not constants.OURS & wheel.constants.keys()


def test_functions_are_the_wheels_in_its_order(wheel: Wheel) -> None:
    assert list(FUNCTIONS) == list(wheel.methods)


def test_functions_are_called_as_the_wheels(wheel: Wheel) -> None:
    kinds = {
        name: "noargs" if name in NOARGS else "keywords" if name in KEYWORDS else "positional"
        for name in FUNCTIONS
    }
    assert kinds == {name: one.kind for name, one in wheel.methods.items()}


def test_signatures_are_those_of_the_wheels_docstrings(wheel: Wheel) -> None:
    theirs = {name: one.doc.split("\n")[0] for name, one in wheel.methods.items()}
    assert {name: doc.split("\n")[0] for name, doc in FUNCTIONS.items()} == theirs


def test_python_functions_have_the_wheels_signatures(wheel: Wheel) -> None:
    from terminals.helpers import helpers_over

    ours = {name: _arguments(function) for name, function in helpers_over({}).items()}
    assert ours == wheel.functions


def _arguments(function: object) -> str:
    """Return a signature without annotations, as `ast` writes it."""
    assert callable(function)
    signature = inspect.signature(function)
    bare = [
        one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()
    ]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))[1:-1]


def test_structs_have_the_wheels_fields_in_its_order(wheel: Wheel) -> None:
    assert {name: tuple(one()._asdict()) for name, one in TYPES.items()} == wheel.structs


def test_formats_of_arguments_are_the_wheels(wheel: Wheel) -> None:
    assert wheel.formats == set(FORMATS.values())


def test_texts_of_errors_are_the_wheels(wheel: Wheel) -> None:
    ours = {row.error[1] for row in ROWS if row.error is not None} - {"Success"}
    assert ours - wheel.texts == set()


def test_the_code_that_rows_cite_is_where_they_say(wheel: Wheel) -> None:
    assert {name: one.code for name, one in wheel.methods.items()} == CODE
