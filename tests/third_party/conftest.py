"""Published MetaTrader5 clients, installed as they are into a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Their own requirement of the official package, which exists on Windows only, is left out.
CLIENTS = (
    "aiomql==4.0.14",
    "metatrader-mcp-server==0.5.1",
    "mqpy==0.6.11",
    "mt5-wrapper==1.0.7",
    "pdmt5==1.2.3",
    "simplemt5==0.1.0",
)
THEIR_LIBRARIES = (
    "pandas",
    "python-dateutil",
    "six",
    "tzdata",
    "python-dotenv",
    "tabulate",
    "pytz",
)


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to put on PYTHONPATH. Skips where no package index answers."""
    folder = tmp_path_factory.mktemp("clients")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--disable-pip-version-check", "--target", str(folder)),
            *CLIENTS,
            *THEIR_LIBRARIES,
        ],
        capture_output=True,
        text=True,
        timeout=110,
    )
    if done.returncode != 0:
        said = done.stderr.strip()[-2000:]
        if os.environ.get("DTMS_REQUIRE_INDEX"):
            pytest.fail(f"the published clients cannot be installed:\n{said}")
        pytest.skip(f"no package index: {said[-200:]}")
    return folder
