"""Servers and bridges for tests; none outlives its test, or its module where it is shared."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

if importlib.util.find_spec("mt5linux") is None:
    collect_ignore_glob = ["test_*.py"]

    def pytest_report_header() -> str:
        """Say what is left out."""
        return "tests/bridge is left out: the extra `bridge` (mt5linux==1.0.11) is not installed"

else:
    from bridge_kit import Bridges, Server

    @pytest.fixture
    def bridges(tmp_path: Path) -> Iterator[Bridges]:
        """Servers and terminals; all are ended."""
        made = Bridges(tmp_path)
        yield made
        made.close()

    @pytest.fixture(scope="module")
    def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridges]:
        """The same for a whole module, for tests that leave the server as it was."""
        made = Bridges(tmp_path_factory.mktemp("bridges"))
        yield made
        made.close()

    @pytest.fixture(autouse=True)
    def visit(request: pytest.FixtureRequest) -> Iterator[None]:
        """Leave nothing of a test open in what the module shares."""
        if "shared" not in request.fixturenames:
            yield
            return
        made: Bridges = request.getfixturevalue("shared")
        with made.visit():
            yield

    @pytest.fixture(scope="module")
    def server(shared: Bridges) -> Server:
        """One server for a whole module."""
        return shared.server()
