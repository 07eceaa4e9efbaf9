"""On what was measured: a figure without its machine says nothing."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

LIBRARIES: Final = ("lmdb", "msgpack", "pykka", "fastapi", "starlette", "uvicorn", "pydantic")


def machine(folder: Path) -> dict[str, str]:
    """Return what a reader needs to know of the machine, and of the disk that holds `folder`."""
    return {
        "CPU": f"{_cpu()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "libraries": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
        "file system": f"{_file_system(folder)} at {folder}",
        "load at start": _load(),
    }


def _cpu() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass  # not Linux: the platform's own word below
    return platform.processor() or platform.machine() or "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _file_system(folder: Path) -> str:
    """Return the type of the file system, from the longest mount point that holds the folder."""
    best, kind = "", "unknown" if sys.platform != "win32" else "windows"
    path = str(folder.resolve())
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return kind
    for line in lines:
        _, point, found, *_ = line.split(" ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind


def _load() -> str:
    try:
        return ", ".join(f"{one:.2f}" for one in os.getloadavg())
    except (AttributeError, OSError):
        return "unknown"
