"""`doctor`: is everything as a guard needs it?"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from console import show
from console.checks import (
    Check,
    Verdict,
    check_folder,
    check_packages,
    check_port,
    check_python,
    check_settings,
    check_token,
)
from console.ends import DONE, FAILED, Ended
from console.flags import given
from console.settings import load

if TYPE_CHECKING:
    from supervisors.settings import Settings

FOLDER_UNTOLD: Final = Check(
    "data folder",
    Verdict.NOTE,
    "not looked at: a real terminal's is by account, and none is given",
    "give --login and --server, or --data-dir; a guard needs them too",
)
OURS: Final = ("timeout", "deep", "yes_trade_on_demo", "symbol", "as_json")  # no settings


def command(params: Mapping[str, Any]) -> int:
    """Carry out the command with what the parser has read; return the exit status."""
    settings = given(params, *OURS)
    if not params["deep"]:
        return doctor(settings, patience=params["timeout"], as_json=params["as_json"])
    from console.deep.command import deep  # late: it knows the terminals

    return deep(
        settings,
        symbol=params["symbol"],
        may_trade=params["yes_trade_on_demo"],
        json=params["as_json"],
    )


def doctor(flags: Mapping[str, Any], *, patience: float, as_json: bool = False) -> int:
    """Examine, show, and return 0, or 1 if a guard could not run like this.

    The terminal is asked only if `--terminal` is given: connecting may start
    its program.
    """
    checks = examine(flags, patience)
    if as_json:
        rows = [
            {"check": c.name, "verdict": c.verdict.value, "text": c.text, "remedy": c.remedy}
            for c in checks
        ]
        sys.stdout.write(json.dumps({"checks": rows}, indent=2) + "\n")
    else:
        draw(checks)
    return FAILED if any(check.verdict is Verdict.BAD for check in checks) else DONE


def examine(flags: Mapping[str, Any], patience: float) -> list[Check]:
    """Return every check that could be made."""
    checks = [check_python(), check_packages()]
    try:
        settings, told = _settings(flags)
    except Ended as problem:
        return [*checks, check_settings(problem)]
    checks.append(check_settings(None))
    if told:
        checks += [*check_folder(settings.folder), check_token(settings.folder)]
    else:
        checks.append(FOLDER_UNTOLD)
    checks.append(check_port(settings, min(patience, 5.0)))
    if "terminal" in flags:
        from console.look_at_terminal import check_terminal

        checks.append(check_terminal(settings, patience))
    return checks


def _settings(flags: Mapping[str, Any]) -> tuple[Settings, bool]:
    """Return the settings, and whether they tell a data folder.

    That of a real terminal is by account, and which account that is may be
    what the terminal is asked for.
    """
    try:
        return load(flags), True
    except Ended:
        if "data_dir" in flags:
            raise
        settings = load({**flags, "data_dir": Path("unused")})  # whatever else is wrong
        return settings.model_copy(update={"data_dir": None}), False


def draw(checks: Sequence[Check]) -> None:
    """Show the checks as a table."""
    rows = ((check.name, check.verdict.value, check.text, check.remedy) for check in checks)
    show.console().print(show.table("", ("check", "verdict", "what was found", "remedy"), rows))
