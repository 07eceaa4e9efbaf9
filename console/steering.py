"""The commands that need the guard's token or its data folder: where both are is said by flags.

They are those of `run`, with the same meaning: the folder of a real terminal
is found by its account, and a person who must stop everything has no time to
look for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import typer

from console import flags
from console.flags import given

_PLACE: Final = ("terminal", "login", "server", "data_dir", "state_dir", "host", "port")
_OPTIONS: Final = ("child", "mode", "why", "intent", "done", "confirm", "seconds", "alert")


def ctl(
    context: typer.Context,
    command: flags.ControlCommand,
    child: flags.Child = None,
    mode: flags.NewMode = None,
    why: flags.Why = None,
    intent: flags.IntentId = None,
    done: flags.Done = None,
    confirm: flags.Confirm = None,
    seconds: flags.Seconds = None,
    alert: flags.AlertId = None,
    terminal: flags.Terminal = None,
    login: flags.Login = None,
    server: flags.Server = None,
    data_dir: flags.DataDir = None,
    state_dir: flags.StateDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    timeout: flags.Patience = 30.0,
    as_json: flags.Json = False,
) -> int:
    """Steer the running guard; every command is written to its audit."""
    from console import ctl as control

    return control.ctl(
        _place(context.params),
        command,
        {name: context.params[name] for name in _OPTIONS},
        as_json=as_json,
        patience=timeout,
        question=control.person(),
    )


def verify(
    context: typer.Context,
    terminal: flags.Terminal = None,
    login: flags.Login = None,
    server: flags.Server = None,
    data_dir: flags.DataDir = None,
    state_dir: flags.StateDir = None,
    as_json: flags.Json = False,
) -> int:
    """Check every store and backup, with the guard running or not; 1 if one is damaged."""
    from console import stores

    return stores.verify(_place(context.params), as_json=as_json)


def backup(
    context: typer.Context,
    to: flags.BackupTo = None,
    terminal: flags.Terminal = None,
    login: flags.Login = None,
    server: flags.Server = None,
    data_dir: flags.DataDir = None,
    state_dir: flags.StateDir = None,
    as_json: flags.Json = False,
) -> int:
    """Write a verified backup of all stores, with the guard running or not."""
    from console import stores

    return stores.backup(_place(context.params), to=to, as_json=as_json)


def restore(
    context: typer.Context,
    backup_set: flags.BackupSet = None,
    store: flags.Store = None,
    stop: flags.StopGuard = False,
    terminal: flags.Terminal = None,
    login: flags.Login = None,
    server: flags.Server = None,
    data_dir: flags.DataDir = None,
    state_dir: flags.StateDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    as_json: flags.Json = False,
) -> int:
    """Put a backup in the place of the trades; what was there is set aside, never deleted."""
    from console import stores

    return stores.restore_backup(
        _place(context.params),
        backup_set,
        names=tuple(store or ("trades",)),
        stop=stop,
        as_json=as_json,
    )


def _place(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that say where the guard, its folder and its token are."""
    return given({name: params.get(name) for name in _PLACE})
