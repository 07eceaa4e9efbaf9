"""Which MetaTrader 5 terminals are installed here, and which of them is meant.

The package can look for a terminal itself, but by no rule that is written
down, and a guard at the wrong one of several is a guard of the wrong account.
So a path is always given to it. Without one in the settings the usual places
are searched, and only a single find counts:

- `%APPDATA%/MetaQuotes/Terminal/<id>/origin.txt` names the folder of each
  installation that was ever started (UTF-16; as public tools read it). The
  folders are described in the vendor's help, "Files and Folders"
  (metatrader5.com/en/terminal/help/start_advanced/structure).
- `%ProgramFiles%/<folder>/terminal64.exe`, where installers put it.

A portable terminal is in neither. Not verified on a live installation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from defence.errors import TerminalRefused

EXECUTABLE: Final = "terminal64.exe"  # the package speaks to 64 bits only: "MetaTrader 5 x64"
_FIELD: Final = "terminal_path"
_GIVE: Final = f"give the {EXECUTABLE} that is meant with --terminal-path"


def terminal_at(path: str | None, environment: Mapping[str, str]) -> str:
    """Return the terminal's executable: the given one, else the only one that is installed.

    The text is not resolved: a terminal that is started through a link has
    another data folder than one that is not. Raises `TerminalRefused` for a
    path that is no terminal, and where none or several are found.
    """
    if path is not None:
        check(path)
        return path
    found = installed(environment)
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise TerminalRefused(
            "no MetaTrader 5 terminal is installed in the usual places",
            field=_FIELD,
            remedy=f"install it and start it once, or {_GIVE}",
        )
    listed = "; ".join(map(str, found))
    raise TerminalRefused(
        f"{len(found)} MetaTrader 5 terminals are installed: {listed}", field=_FIELD, remedy=_GIVE
    )


def check(path: str) -> None:
    """Raise `TerminalRefused` unless `path` is an existing file with a terminal's name."""
    found = Path(path)
    if found.is_dir():
        problem = "is a folder"
    elif not found.is_file():
        problem = "does not exist"
    elif found.name.lower() != EXECUTABLE:
        problem = "is no MetaTrader 5 terminal"
    else:
        return
    raise TerminalRefused(
        f"{path} {problem}", field=_FIELD, value=path, remedy=f"give the path of its {EXECUTABLE}"
    )


def same_folder(shown: str, executable: str) -> bool:
    """Whether a terminal that shows this folder as its own can be the one of `executable`."""
    asked = Path(executable).parent
    try:
        return Path(shown).samefile(asked)
    except OSError:  # one of them cannot be looked at: what they are called must do
        return _folded(Path(shown)) == _folded(asked)


def installed(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the executables in the usual places, each once, in the order of their paths.

    Raises `TerminalRefused` if one of the places cannot be read: it may hide
    another terminal.
    """
    found: dict[str, Path] = {}
    try:
        for folder in (*_started(environment), *_installed(environment)):
            executable = folder / EXECUTABLE
            if executable.is_file():
                found.setdefault(_folded(executable), executable)
    except (OSError, UnicodeError) as error:
        raise TerminalRefused(
            f"it cannot be told which terminals are installed: {error}", field=_FIELD, remedy=_GIVE
        ) from error
    return tuple(found[key] for key in sorted(found))


def _started(environment: Mapping[str, str]) -> Iterator[Path]:
    place = environment.get("APPDATA")
    if not place:
        return
    for origin in sorted(Path(place, "MetaQuotes", "Terminal").glob("*/origin.txt")):
        data = origin.read_bytes()
        wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        name = data.decode("utf-16" if wide else "utf-8-sig").strip().strip("\0")
        if name:
            yield Path(name)


def _installed(environment: Mapping[str, str]) -> Iterator[Path]:
    for name in ("ProgramW6432", "ProgramFiles"):
        place = environment.get(name)
        if place and Path(place).is_dir():
            yield from sorted(one for one in Path(place).iterdir() if one.is_dir())


def _folded(path: Path) -> str:
    return os.path.normcase(os.path.abspath(path))  # noqa: PTH100 - no link may be resolved
