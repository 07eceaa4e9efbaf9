"""Where a user keeps the state of programs: the locks by account, and the way to a broker."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from defence.errors import FolderRefused


def state_dir(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """Return the user's state folder for DTMS; it may not exist yet.

    Raises FolderRefused if the platform does not say where the user's home is.
    """
    env = os.environ if environ is None else environ
    if platform == "win32" and env.get("LOCALAPPDATA"):
        return Path(env["LOCALAPPDATA"]) / "dtms"
    named = env.get("XDG_STATE_HOME", "")
    # a relative path there is to be ignored, says the XDG specification
    if platform not in ("win32", "darwin") and named.startswith("/"):
        return Path(named) / "dtms"
    try:
        home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    except RuntimeError as error:
        raise FolderRefused(
            "the user's home folder is not known",
            field="data_dir",
            remedy="set HOME (on Windows LOCALAPPDATA), or name a data folder",
        ) from error
    if platform == "win32":
        return home / "AppData" / "Local" / "dtms"
    if platform == "darwin":
        return home / "Library" / "Application Support" / "dtms"
    return home / ".local" / "state" / "dtms"
