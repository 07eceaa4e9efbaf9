"""`ctl`: which commands there are, what each needs, and the message that is sent.

The rows are those of DESIGN, Control. The guard checks everything again; what
is judged here is only what can be wrong in the command line itself.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from console.ends import Usage, flag_of

BY: Final = "cli"  # how the audit names whoever uses the command line


@dataclass(frozen=True, slots=True)
class Spec:
    """What a command needs, and what else it takes; `why` goes with every command."""

    text: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


COMMANDS: Final[Mapping[str, Spec]] = {
    "restart": Spec("restart a child, not charged", ("child",)),
    "reset-budget": Spec(
        "forget a child's restarts, which starts it if it is escalated", ("child",)
    ),
    "pause": Spec("begin no cycle and send nothing"),
    "resume": Spec("end a pause"),
    "set-mode": Spec("observe or armed", ("mode",)),
    "reconcile": Spec("compare with the broker now, history included"),
    "backup": Spec("write verified copies of all stores"),
    "resolve": Spec("say what became of an order in doubt", ("intent", "done")),
    "acknowledge": Spec("have seen one alert, or all", (), ("alert",)),
    "freeze": Spec("send no order at all, until set-mode armed"),
    "flatten": Spec("close all positions, delete all pending orders", ("confirm",)),
    "shutdown": Spec("stop the guard"),
    "kill": Spec("kill a child (with --chaos)", ("child",)),
    "hang": Spec("hang a child (with --chaos)", ("child",), ("seconds",)),
    "fault": Spec(
        "put a fault, as JSON or @FILE, into the simulated terminal (with --chaos)", ("entry",)
    ),
    "clear-faults": Spec("end all faults of the simulated terminal (with --chaos)"),
}
_WRITTEN: Final = {
    "child": "CHILD",
    "entry": "FAULT",
    "done": "--done or --not-done",
}


def arguments_of(command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message's arguments: the options that were given. Raises `Usage`.

    `options` holds None for what was not given. A missing `confirm` is not
    judged here, because a person may be asked for it.
    """
    spec = COMMANDS.get(command)
    if spec is None:
        near = difflib.get_close_matches(command, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(COMMANDS)}"
        raise Usage(f"COMMAND: there is no command {command!r}; {hint}")
    given = {name: value for name, value in options.items() if value is not None}
    if command == "fault" and "child" in given:
        given["entry"] = given.pop("child")  # the word after the command
    for name in spec.needs:
        if name not in given and name != "confirm":
            raise Usage(f"{_shown(name)}: {command} needs it; see dtms ctl --help")
    for name, value in given.items():
        if name not in (*spec.needs, *spec.takes, "why"):
            raise Usage(f"{_shown(name)}: {command} takes none (got {value!r}); leave it out")
    if "entry" in given:
        return {**_object(given.pop("entry")), **given}
    return given


def _object(text: object) -> dict[str, Any]:
    """Return a JSON object that was typed, or that stands in `@FILE`. Raises `Usage`.

    Some shells take the quotes out of what is typed; a file keeps them.
    """
    typed = str(text)
    source: str | bytes = typed
    try:
        if typed.startswith("@"):
            source = Path(typed[1:]).read_bytes()  # json knows UTF-8 and UTF-16, marked or not
        found = json.loads(source)
    except OSError as error:
        raise Usage(f"FAULT: {typed!r} cannot be read: {error.strerror}; name a file") from None
    except ValueError as error:
        raise Usage(
            f"FAULT: {typed!r} is not JSON: {error}; if the shell takes quotes away, put it into "
            "a file: ctl fault @FILE"
        ) from None
    if not isinstance(found, dict):
        raise Usage(f'FAULT: {text!r} is no object; write {{"effect": ...}}')
    return found


def _shown(name: str) -> str:
    return _WRITTEN.get(name, flag_of(name))


def listing() -> str:
    """Return the commands with what they do, for the help text."""
    return "; ".join(f"{name} - {spec.text}" for name, spec in COMMANDS.items())
