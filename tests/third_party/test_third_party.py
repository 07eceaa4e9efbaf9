"""Code that nobody here wrote reads and trades on the simulated module, unchanged."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULE = ROOT / "terminals" / "as_module"
FIRST, BARS = 1_700_000_040, 300  # a Tuesday's minutes of an index future
# Of aiomql: charts and indicators, of which the one cannot be installed on Python 3.11.
EMPTY = ("mplfinance", "pandas_ta")


def environment(clients: Path, broker: str, *more: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (MODULE, clients, *more))),
        "PYTHONUTF8": "1",
        "DTMS_BROKER": broker,
    }


def reads_and_trades(program: str, env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / program)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip().endswith("reads and trades"), done.stdout + done.stderr


@pytest.mark.parametrize(
    "program",
    ["uses_pdmt5.py", "uses_metatrader_client.py", "uses_simplemt5.py", "uses_mt5_wrapper.py"],
)
def test_a_published_client(clients: Path, program: str) -> None:
    reads_and_trades(program, environment(clients, "in-process"))


def test_aiomql_keeps_the_functions_on_a_class(clients: Path, tmp_path: Path) -> None:
    for name in EMPTY:
        (tmp_path / f"{name}.py").write_text("")
    reads_and_trades("uses_aiomql.py", environment(clients, "in-process", tmp_path))


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Path]:
    """A broker process with an exchange account and a future; the file that tells where it is."""
    state, told = tmp_path / "state.json", tmp_path / "broker.json"
    prices = tmp_path / "fdxs-m1.csv"
    times = [dt.datetime.fromtimestamp(FIRST + 60 * nth, dt.UTC) for nth in range(BARS)]
    rows = [f"{at:%Y-%m-%d %H:%M:%S},19000,19010,18990,19004" for at in times]
    prices.write_text("\n".join(["timestamp,open,high,low,close", *rows]))
    mark = {"name": "recorded", "time_msc": (FIRST + 6_000) * 1000, "wall": time.time()}
    account = {"margin_mode": "exchange", "balance": 100_000.0}
    state.write_text(json.dumps({"account": account, "positions": [], "market": mark}))
    broker = subprocess.Popen(
        [
            *(sys.executable, str(ROOT / "run.py"), "broker", "--duration", "100"),
            *("--sim-state", str(state), "--broker", str(told), "--prices", str(prices)),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 30.0
        while not told.exists():
            assert broker.poll() is None, broker.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.05)
        yield told
    finally:
        broker.terminate()
        broker.communicate(timeout=20)


def test_mqpy_trades_at_an_exchange(clients: Path, exchange: Path) -> None:
    reads_and_trades("uses_mqpy.py", environment(clients, str(exchange)))


def test_the_clients_are_as_they_were_published(clients: Path) -> None:
    """Every file of theirs has the digest that their own record names."""
    checked = 0
    for record in clients.glob("*.dist-info/RECORD"):
        for line in record.read_text(encoding="utf-8").splitlines():
            name, digest, _ = line.rsplit(",", 2)
            if digest.startswith("sha256=") and name.endswith(".py") and not name.startswith(".."):
                found = hashlib.sha256((clients / name).read_bytes()).digest()
                shown = urlsafe_b64encode(found).rstrip(b"=").decode()
                assert digest == f"sha256={shown}", name
                checked += 1
    assert checked > 100
