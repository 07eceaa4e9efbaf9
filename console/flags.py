"""The flags: one a setting, with the names of `supervisors.Settings`.

A flag that is not given is None, and then the environment (`DTMS_` and the name
in capitals) or `dtms.toml` decides. `token`, `password`, `broker_token` and `alert_urls`
have no flag on purpose: what stands on a command line can be read by every user of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

SECRETS: Final = ("token", "password", "broker_token", "alert_urls")

_OPS = "Where the guard is"
_REAL = "Real terminals (the password: DTMS_PASSWORD or dtms.toml, never a flag)"
_SIMULATED = "The simulated terminal"
_HOSTED = "The terminal's own process"
_BRIDGE = "The bridge to mt5linux"
_LIVES = "Supervision"
_RULES = "Watching"


def _flag(panel: str, text: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, metavar=metavar)


Terminal: TypeAlias = Annotated[
    str | None, _flag(_OPS, "simulated (the default), native or bridge.", metavar="KIND")
]
Mode: TypeAlias = Annotated[
    str | None,
    _flag(_OPS, "observe or armed; armed when simulated, else observe.", metavar="MODE"),
]
DataDir: TypeAlias = Annotated[
    Path | None,
    _flag(_OPS, "Stores, backups, token; ./dtms-data when simulated.", metavar="FOLDER"),
]
StateDir: TypeAlias = Annotated[
    Path | None, _flag(_OPS, "Account locks; the user's state folder.", metavar="FOLDER")
]
Host: TypeAlias = Annotated[str | None, _flag(_OPS, "Address of the gateway; 127.0.0.1.")]
Port: TypeAlias = Annotated[
    int | None, _flag(_OPS, "Port of the gateway; 8001. run: 0 takes a free one.")
]
Duration: TypeAlias = Annotated[
    float | None, _flag(_OPS, "Stop by itself so many seconds after it became ready.")
]
RateLimit: TypeAlias = Annotated[
    float | None, _flag(_OPS, "HTTP changes a second and client; 200, 0 is unlimited.")
]
MaxBody: TypeAlias = Annotated[int | None, _flag(_OPS, "Largest HTTP body in bytes; 262144.")]

StartupTimeout: TypeAlias = Annotated[
    float | None, _flag(_LIVES, "Seconds to become ready; 60 simulated, 300 real.")
]
MaxRestarts: TypeAlias = Annotated[int | None, _flag(_LIVES, "The Monitor's budget; 3.")]
RestartPeriod: TypeAlias = Annotated[
    float | None, _flag(_LIVES, "Seconds in which the budget counts; 3600.")
]
EscalationFlag: TypeAlias = Annotated[
    str | None,
    _flag(_LIVES, "When it is used up: retry or stay_down; retry.", "--escalation", metavar="WHAT"),
]
HangAfter: TypeAlias = Annotated[
    float | None, _flag(_LIVES, "Seconds on one message until a child is hung; 30.")
]
CheckEvery: TypeAlias = Annotated[
    float | None, _flag(_LIVES, "Seconds between looks at the children; 1.")
]
StopTimeout: TypeAlias = Annotated[float | None, _flag(_LIVES, "Seconds a child may stop; 5.")]
BackoffFirst: TypeAlias = Annotated[
    float | None, _flag(_LIVES, "Seconds before the second restart; 1, then growing.")
]
Chaos: TypeAlias = Annotated[
    bool | None,
    _flag(_LIVES, "Let ops kill and hang children, and change the broker.", "--chaos/--no-chaos"),
]

Interval: TypeAlias = Annotated[float | None, _flag(_RULES, "Seconds between cycles; 30.")]
AdoptionFlag: TypeAlias = Annotated[
    str | None,
    _flag(
        _RULES,
        "Unregistered positions: adopt, observe or ignore; adopt when simulated, else observe.",
        "--adoption",
        metavar="WHAT",
    ),
]
StaleAfter: TypeAlias = Annotated[
    float | None, _flag(_RULES, "Seconds without a known read until not ready; 60.")
]
QuoteStaleAfter: TypeAlias = Annotated[
    float | None, _flag(_RULES, "Seconds until an unchanged price is stale; 120.")
]
ReconcileEvery: TypeAlias = Annotated[
    float | None, _flag(_RULES, "Seconds between reconciliations; 300.")
]
BackupEvery: TypeAlias = Annotated[
    float | None, _flag(_RULES, "Seconds between backups, 0 for none by itself; 3600.")
]
BackupsKept: TypeAlias = Annotated[int | None, _flag(_RULES, "Newest backups that are kept; 24.")]
HistoryDays: TypeAlias = Annotated[
    float | None,
    _flag(_RULES, "Days until old trades and actions become sums by day, 0 for never; 90."),
]
AlertRepeat: TypeAlias = Annotated[
    float | None, _flag(_RULES, "Seconds until an open alert is told again; 300.")
]

Prices: TypeAlias = Annotated[
    list[Path] | None,
    _flag(
        _SIMULATED,
        "Recorded prices, CSV or gzip; several files after one flag, bid and ask as a pair.",
        metavar="FILE...",
    ),
]
Speed: TypeAlias = Annotated[
    float | None, _flag(_SIMULATED, "How fast the market's time runs; 1, 0 is all at once.")
]
SimState: TypeAlias = Annotated[
    Path | None, _flag(_SIMULATED, "The broker's account and positions, JSON.", metavar="FILE")
]
SimFaults: TypeAlias = Annotated[
    Path | None, _flag(_SIMULATED, "Scripted faults: JSON, or seed:NUMBER.", metavar="FILE")
]
Broker: TypeAlias = Annotated[
    str | None,
    _flag(
        _SIMULATED,
        "Use the broker of `dtms broker`, as bots do: its file, or HOST:PORT.",
        metavar="FILE",
    ),
]
SimConditions: TypeAlias = Annotated[
    str | None,
    _flag(
        _SIMULATED,
        "ideal, or typical: sessions and weekends, swaps, slippage, requotes, depth; ideal.",
        metavar="TERMS",
    ),
]
BrokerFile: TypeAlias = Annotated[
    str | None,
    _flag(
        _SIMULATED,
        "The file that tells clients where it is; broker.json in the state folder.",
        "--broker",
        metavar="FILE",
    ),
]
BrokerPort: TypeAlias = Annotated[
    int, typer.Option("--port", help="On this machine; 0, a free one.", min=0, max=65535)
]
BrokerDuration: TypeAlias = Annotated[
    float | None, typer.Option("--duration", help="Stop by itself after so many seconds.")
]
Office: TypeAlias = Annotated[
    bool | None,
    typer.Option("--chaos/--no-chaos", help="Let clients change prices, account and faults."),
]
Seed: TypeAlias = Annotated[int | None, _flag(_SIMULATED, "Of the generated prices; 1.")]

Login: TypeAlias = Annotated[int | None, _flag(_REAL, "The account that must be logged in.")]
Server: TypeAlias = Annotated[str | None, _flag(_REAL, "The broker's server.")]
TerminalPath: TypeAlias = Annotated[
    Path | None, _flag(_REAL, "terminal64.exe, where there are several.", metavar="FILE")
]
Portable: TypeAlias = Annotated[
    bool | None, _flag(_REAL, "The terminal's portable mode.", "--portable/--no-portable")
]

Isolate: TypeAlias = Annotated[
    bool | None,
    _flag(
        _HOSTED,
        "Host the terminal in a process of its own; the default for native, not when simulated.",
        "--isolate/--no-isolate",
    ),
]
CallTimeout: TypeAlias = Annotated[
    float | None,
    _flag(_HOSTED, "Seconds until a call that hangs is given up; 9. Of the bridge as well."),
]
TerminalTimeout: TypeAlias = Annotated[
    float | None, _flag(_HOSTED, "Seconds that the terminal may take to connect; 60.")
]

BridgeHost: TypeAlias = Annotated[
    str | None, _flag(_BRIDGE, "Where mt5linux listens; 127.0.0.1.", metavar="HOST")
]
BridgePort: TypeAlias = Annotated[int | None, _flag(_BRIDGE, "And on which port; 18812.")]
BridgeRemote: TypeAlias = Annotated[
    bool | None,
    _flag(
        _BRIDGE,
        "Let it be another machine: whoever reaches that port runs any program there.",
        "--bridge-remote/--no-bridge-remote",
    ),
]

Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log every fact: each cycle, each read.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the JSON and nothing else.")]
Patience: TypeAlias = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait for the answer.", min=0.1, max=3600)
]

Deep: TypeAlias = Annotated[
    bool,
    typer.Option("--deep", help="Try every assumption about the terminal; a report to send back."),
]
YesTrade: TypeAlias = Annotated[
    bool,
    typer.Option("--yes-trade-on-demo", help="--deep: open and close a small position. Demo only."),
]
DeepSymbol: TypeAlias = Annotated[
    str, typer.Option("--symbol", help="--deep: the symbol that is looked at, and traded.")
]

Monitoring: TypeAlias = Annotated[
    bool, typer.Option("--monitoring", help="Ask for the Monitor's health; looks at it too.")
]
Limit: TypeAlias = Annotated[int | None, typer.Option(help="How many, 1 to 1000.")]
Ticket: TypeAlias = Annotated[int | None, typer.Option(help="Of this trade only.")]
Identifier: TypeAlias = Annotated[
    int | None, typer.Option(help="Of the position with this identifier only.")
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(help="From this date or time on; UTC, ISO 8601.", metavar="WHEN"),
]
Until: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Before this time, or to the end of this date.", metavar="WHEN"),
]
Cursor: TypeAlias = Annotated[
    str | None, typer.Option(help="Go on where the page before ended.", metavar="CURSOR")
]
OldestFirst: TypeAlias = Annotated[bool, typer.Option("--oldest-first", help="In time's order.")]
Days: TypeAlias = Annotated[
    bool, typer.Option("--days", help="The sums by day of what is older than --history-days.")
]

BackupTo: TypeAlias = Annotated[
    Path | None, typer.Option(help="Another folder for the backup.", metavar="FOLDER")
]
BackupSet: TypeAlias = Annotated[
    str | None,
    typer.Argument(help="A set's name or path; the newest.", metavar="SET", show_default=False),
]
Store: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(help="trades (the default), ledger, outbox or audit; may be given again."),
]
StopGuard: TypeAlias = Annotated[
    bool, typer.Option("--stop", help="Stop the guard that has the folder first.")
]

ControlCommand: TypeAlias = Annotated[
    str, typer.Argument(help="See below.", metavar="COMMAND", show_default=False)
]
Child: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        help="connector, registry, recovery, monitor, alert or admin; fault: JSON, or @FILE.",
        metavar="CHILD",
        show_default=False,
    ),
]
NewMode: TypeAlias = Annotated[str | None, typer.Option("--mode", help="set-mode: the new mode.")]
Why: TypeAlias = Annotated[str | None, typer.Option(help="A reason, for the audit.")]
IntentId: TypeAlias = Annotated[str | None, typer.Option("--intent", help="resolve: its id.")]
Done: TypeAlias = Annotated[
    bool | None, typer.Option("--done/--not-done", help="resolve: what became of it.")
]
Confirm: TypeAlias = Annotated[
    int | None, typer.Option(help="flatten: the account's login.", metavar="LOGIN")
]
Seconds: TypeAlias = Annotated[float | None, typer.Option(help="hang: for so long, else for ever.")]
AlertId: TypeAlias = Annotated[
    str | None, typer.Option("--alert", help="acknowledge: its id or key; all without it.")
]


def given(params: Mapping[str, Any], *leave_out: str) -> dict[str, Any]:
    """Return the flags that were given."""
    return {
        name: value
        for name, value in params.items()
        if value is not None and name not in leave_out and not (name == "prices" and not value)
    }


def spread(arguments: Sequence[str], flag: str = "--prices") -> list[str]:
    """Return the arguments with `--prices a b` written as `--prices a --prices b`.

    The parser takes one value a flag; DESIGN promises several files.
    """
    spreaded: list[str] = []
    taking = False
    for place, argument in enumerate(arguments):
        if argument == "--":
            return [*spreaded, *arguments[place:]]
        if argument == flag or argument.startswith(f"{flag}="):
            taking = True
        elif argument.startswith("-") and argument != "-":
            taking = False
        elif taking and arguments[place - 1] != flag:
            spreaded.append(flag)
        spreaded.append(argument)
    return spreaded
