"""The runner: `python -m benchmarks [--quick] [--folder FOLDER] NAME...`."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol, cast

from loguru import logger
from rich.console import Console

from benchmarks.machine import machine
from benchmarks.measure import Options
from benchmarks.report import Table, show, show_machine

NAMES: Final = {
    "registration": "durable registrations a second, against raw LMDB, SQLite and fsync",
    "http": "registrations over HTTP: 64 connections, single and in batches",
    "start": "from start to ready with many stored trades, stage by stage",
    "memory": "bytes a trade",
    "supervision": "deaths, hangs, asks, tells and starts, against raw pykka and Thespian",
    "soak": "ten virtual hours, then ten real minutes of kills: does anything grow?",
    "worker": "a hosted terminal: cost per call against the same one in the process; its death",
    "simulator": "the simulated broker: ticks a second, calls in the process, generated prices",
    "bridge": "a call over mt5linux, against the same in the process and mt5linux's own client",
    "shared": "the broker as a process of its own: cost per call for a bot and for a guard",
    "history": "questions, commits and compaction at a million records, against a thousand",
}


class Benchmark(Protocol):
    """What a module of a benchmark offers."""

    def run(self, options: Options) -> list[Table]:
        """Measure, and return the tables."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named; without a name list them. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_listing())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*NAMES, "all", []])
    parser.add_argument("--quick", action="store_true", help="small sizes: does it still run?")
    parser.add_argument(
        "--folder", type=Path, help="on the disk to be measured; default: the temporary folder"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    logger.remove()  # a line for each request would be measured too
    logger.add(sys.stderr, level="WARNING")
    if not given.names:
        parser.print_help()
        return 0
    names = list(NAMES) if "all" in given.names else list(dict.fromkeys(given.names))
    # Wide enough for its tables where nobody looks: a pipe has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 130)
    folder = Path(tempfile.mkdtemp(prefix="dtms-bench-", dir=given.folder))
    facts = machine(folder)
    if not given.json:
        show_machine(console, facts)
    found: dict[str, list[dict[str, object]]] = {}
    try:
        for name in names:
            tables = _run(name, folder, quick=given.quick)
            found[name] = [asdict(table) for table in tables]
            if not given.json:
                for table in tables:
                    show(console, table)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        sys.stdout.write(json.dumps({"machine": facts, "tables": found}, indent=1) + "\n")
    return 0


def _run(name: str, folder: Path, *, quick: bool) -> list[Table]:
    own = folder / name
    own.mkdir()
    benchmark = cast("Benchmark", importlib.import_module(f"benchmarks.{name}"))
    began = time.perf_counter()
    tables = benchmark.run(Options(folder=own, quick=quick))
    tables[-1].notes.append(f"measured in {time.perf_counter() - began:.0f} s")
    return tables


def _listing() -> str:
    return "What DTMS costs, measured.\n\n" + "\n".join(
        f"  {name:<14}{text}" for name, text in NAMES.items()
    )


if __name__ == "__main__":
    sys.exit(main())
