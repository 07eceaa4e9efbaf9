"""The entry point: commands, their flags, and the one place where every error becomes a line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import typer

from console import flags, steering
from console.control import listing
from console.ends import FAILED, INTERRUPTED, USAGE, Ended, mute_output, one_line
from console.flags import given, spread

app: Final = typer.Typer(
    name="dtms",
    help="Guards the open trades of one MetaTrader 5 account. Without a command: run.",
    epilog="Exit status: 0 done; 1 refused, or the guard died; 2 wrong usage; "
    "3 no guard to talk to; 130 interrupted before ready.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,  # they would print the values of variables
    context_settings={"help_option_names": ["--help", "-h"]},
)

# Every error of the parser. Its own name moved between modules with the parser's versions.
_ParserError: Final[type[Exception]] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
_GROUP_FLAGS: Final = ("--help", "-h")


@app.command()
def run(  # one parameter a setting, so that the parser knows every type
    context: typer.Context,
    terminal: flags.Terminal = None,
    mode: flags.Mode = None,
    data_dir: flags.DataDir = None,
    state_dir: flags.StateDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    duration: flags.Duration = None,
    rate_limit: flags.RateLimit = None,
    max_body: flags.MaxBody = None,
    interval: flags.Interval = None,
    adoption: flags.AdoptionFlag = None,
    stale_after: flags.StaleAfter = None,
    quote_stale_after: flags.QuoteStaleAfter = None,
    reconcile_every: flags.ReconcileEvery = None,
    backup_every: flags.BackupEvery = None,
    backups_kept: flags.BackupsKept = None,
    history_days: flags.HistoryDays = None,
    alert_repeat: flags.AlertRepeat = None,
    startup_timeout: flags.StartupTimeout = None,
    max_restarts: flags.MaxRestarts = None,
    restart_period: flags.RestartPeriod = None,
    escalation: flags.EscalationFlag = None,
    hang_after: flags.HangAfter = None,
    check_every: flags.CheckEvery = None,
    stop_timeout: flags.StopTimeout = None,
    backoff_first: flags.BackoffFirst = None,
    chaos: flags.Chaos = None,
    prices: flags.Prices = None,
    speed: flags.Speed = None,
    sim_state: flags.SimState = None,
    sim_faults: flags.SimFaults = None,
    sim_conditions: flags.SimConditions = None,
    broker: flags.Broker = None,
    seed: flags.Seed = None,
    login: flags.Login = None,
    server: flags.Server = None,
    terminal_path: flags.TerminalPath = None,
    portable: flags.Portable = None,
    isolate: flags.Isolate = None,
    call_timeout: flags.CallTimeout = None,
    terminal_timeout: flags.TerminalTimeout = None,
    bridge_host: flags.BridgeHost = None,
    bridge_port: flags.BridgePort = None,
    bridge_remote: flags.BridgeRemote = None,
    verbose: flags.Verbose = False,
) -> int:
    """Start a guard and its gateway; stop with Ctrl-C."""
    from console.run_command import run as run_guard

    return run_guard(given(context.params, "verbose"), verbose=verbose)


@app.command()
def broker(
    context: typer.Context,
    broker: flags.BrokerFile = None,
    port: flags.BrokerPort = 0,
    state_dir: flags.StateDir = None,
    duration: flags.BrokerDuration = None,
    prices: flags.Prices = None,
    speed: flags.Speed = None,
    seed: flags.Seed = None,
    sim_state: flags.SimState = None,
    sim_faults: flags.SimFaults = None,
    sim_conditions: flags.SimConditions = None,
    chaos: flags.Office = None,
    verbose: flags.Verbose = False,
) -> int:
    """Serve a simulated broker to bots and a guard; stop with Ctrl-C."""
    from console.broker_command import broker as serve

    return serve(given(context.params, "port", "verbose"), port=port, verbose=verbose)


@app.command()
def status(
    data_dir: flags.DataDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    timeout: flags.Patience = 5.0,
    as_json: flags.Json = False,
) -> int:
    """Show the guard at a glance: account, mode, cycle, children, budgets."""
    from console import looking

    return looking.status(_place(data_dir, host, port), as_json=as_json, patience=timeout)


@app.command()
def trades(
    data_dir: flags.DataDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    timeout: flags.Patience = 5.0,
    as_json: flags.Json = False,
) -> int:
    """Show the trades that are watched."""
    from console import looking

    return looking.trades(_place(data_dir, host, port), as_json=as_json, patience=timeout)


@app.command()
def actions(
    context: typer.Context,
    limit: flags.Limit = None,
    ticket: flags.Ticket = None,
    since: flags.Since = None,
    until: flags.Until = None,
    cursor: flags.Cursor = None,
    oldest_first: flags.OldestFirst = False,
    data_dir: flags.DataDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    timeout: flags.Patience = 5.0,
    as_json: flags.Json = False,
) -> int:
    """Show what was done and what happened, newest first."""
    from console import looking

    place = _place(data_dir, host, port)
    return looking.actions(place, context.params, as_json=as_json, patience=timeout)


@app.command()
def history(
    context: typer.Context,
    limit: flags.Limit = None,
    ticket: flags.Ticket = None,
    identifier: flags.Identifier = None,
    since: flags.Since = None,
    until: flags.Until = None,
    cursor: flags.Cursor = None,
    oldest_first: flags.OldestFirst = False,
    days: flags.Days = False,
    data_dir: flags.DataDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    timeout: flags.Patience = 5.0,
    as_json: flags.Json = False,
) -> int:
    """Show the trades that are over, newest first; --days for the sums of older ones."""
    from console import looking

    place = _place(data_dir, host, port)
    return looking.history(place, context.params, days=days, as_json=as_json, patience=timeout)


@app.command()
def alerts(
    data_dir: flags.DataDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    timeout: flags.Patience = 5.0,
    as_json: flags.Json = False,
) -> int:
    """Show what people were told, and what nobody has acknowledged."""
    from console import looking

    return looking.alerts(_place(data_dir, host, port), as_json=as_json, patience=timeout)


@app.command()
def poison(
    limit: flags.Limit = None,
    data_dir: flags.DataDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    timeout: flags.Patience = 5.0,
    as_json: flags.Json = False,
) -> int:
    """Show the messages that crashed a child twice and were set aside, newest first."""
    from console import looking

    place = _place(data_dir, host, port)
    return looking.poison(place, limit, as_json=as_json, patience=timeout)


@app.command()
def health(
    monitoring: flags.Monitoring = False,
    data_dir: flags.DataDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    timeout: flags.Patience = 5.0,
    as_json: flags.Json = False,
) -> int:
    """Say whether the guard is ready, and why not; the exit status is 1 if not."""
    from console import looking

    return looking.health(
        _place(data_dir, host, port), monitoring=monitoring, as_json=as_json, patience=timeout
    )


app.command(epilog=f"Commands: {listing()}.")(steering.ctl)
for _command in (steering.verify, steering.backup, steering.restore):
    app.command()(_command)


@app.command()
def doctor(
    context: typer.Context,
    terminal: flags.Terminal = None,
    data_dir: flags.DataDir = None,
    state_dir: flags.StateDir = None,
    host: flags.Host = None,
    port: flags.Port = None,
    login: flags.Login = None,
    server: flags.Server = None,
    terminal_path: flags.TerminalPath = None,
    portable: flags.Portable = None,
    isolate: flags.Isolate = None,
    bridge_host: flags.BridgeHost = None,
    bridge_port: flags.BridgePort = None,
    bridge_remote: flags.BridgeRemote = None,
    timeout: flags.Patience = 30.0,
    deep: flags.Deep = False,
    yes_trade_on_demo: flags.YesTrade = False,
    symbol: flags.DeepSymbol = "EURUSD",
    as_json: flags.Json = False,
) -> int:
    """Examine Python, packages, folder, stores, port, token; with --terminal that as well."""
    from console.doctor import command

    return command(context.params)


def _place(data_dir: Path | None, host: str | None, port: int | None) -> dict[str, object]:
    return given({"data_dir": data_dir, "host": host, "port": port})


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line (without the program's name); return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in _GROUP_FLAGS):
        words.insert(0, "run")
    for stream in (sys.stdout, sys.stderr):
        # a file or an old console may lack a letter of a broker's name
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    try:
        status = _status(app(spread(words), prog_name="dtms", standalone_mode=False))
        if sys.stdout is not None:  # it is None in a program without a window
            sys.stdout.flush()
        return status
    except Ended as end:
        return _say(end.status, end.text)
    except KeyboardInterrupt:
        return _say(INTERRUPTED, "interrupted")
    except typer.Abort:
        return _say(USAGE, "nothing was done")
    except ImportError as error:
        return _say(FAILED, f"{error}")
    except BrokenPipeError:
        mute_output()
        return FAILED
    except _ParserError as error:
        text = f"{_message(error)}{_got(error, words)}"
        return _say(USAGE, f"{text}; see dtms {_named(words)}--help")


def _status(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _message(error: BaseException) -> str:
    formatted = getattr(error, "format_message", None)
    return one_line(str(formatted() if callable(formatted) else error)).rstrip(".")


def _got(error: BaseException, words: Sequence[str]) -> str:
    """Return the value that a wrong flag was given; the parser keeps it to itself."""
    names = getattr(getattr(error, "param", None), "opts", ())
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            found = value if equals else next(iter(words[place + 1 :]), "")
            return f" (got {one_line(found)!r})"
    return ""


def _named(words: Sequence[str]) -> str:
    known = {getattr(command.callback, "__name__", "") for command in app.registered_commands}
    return f"{words[0]} " if words and words[0] in known else ""


def _say(status: int, text: str) -> int:
    if text:
        print(f"dtms: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command line's voice
    return status
