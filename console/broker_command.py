"""`broker`: the simulated broker as a process of its own, for bots and a guard on one account.

It takes the place of its file first (a second broker there is refused), serves
until Ctrl-C, SIGTERM or `--duration`, and stops in reverse; the file goes with
it. A broker that was killed leaves its file, and the next one replaces it.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from console.ends import DONE, FAILED, Ended, Usage, told
from console.run_command import POLL, say
from console.settings import load
from console.signals import Signals
from defence.errors import DtmsError

if TYPE_CHECKING:
    from supervisors.settings import Settings
    from terminals.shared.server import BrokerServer
    from terminals.shared.terminal import SharedTerminal

_AS_MODULE: Final = Path(__file__).resolve().parents[1] / "terminals" / "as_module"


def broker(given: Mapping[str, Any], *, port: int, verbose: bool = False) -> int:
    """Serve a broker with these flags; return the exit status. Raises `Ended`."""
    with Signals() as signals:
        from console.log import configure

        settings = load(given)
        path = _file(settings)
        log = configure(sys.stderr, verbose=verbose, patient=False)
        try:
            with ExitStack() as stack:
                terminal, server = _open(settings, path, port, stack)
                say(_told(server, terminal.account, path))
                _stay(settings, signals)
            return DONE
        except DtmsError as error:
            raise Ended(FAILED, told(error, given)) from None
        finally:
            log.close()


def _open(
    settings: Settings, path: Path, port: int, stack: ExitStack
) -> tuple[SharedTerminal, BrokerServer]:
    """Take the file's place and the port, make the terminal, serve; `stack` gives all back."""
    from loguru import logger

    from storage.files import make_folder, write_whole
    from supervisors.terminal_choice import broker_plan
    from terminals.shared.proof import new_token
    from terminals.shared.server import BrokerServer
    from terminals.shared.terminal import SharedTerminal
    from terminals.worker.build import simulated

    make_folder(path.parent, parents=True)
    stack.enter_context(_alone(path))
    plan = broker_plan(settings, time.time(), demo=False)
    # Clients bring their own credentials; what a guard of this account is given is not for them.
    options = {**plan.options, "login": None, "password": None, "server": None}
    terminal = simulated(SharedTerminal, options)
    stack.callback(terminal.close)
    who = logger.bind(child="broker")
    server = BrokerServer(
        terminal,
        new_token(),
        port=port,
        office=settings.chaos,
        log=lambda level, text: who.log(level, "{}", text),
    )
    stack.callback(server.close)
    server.start()  # who sees the file is answered
    write_whole(path, server.address.text().encode())
    stack.callback(_forget, path)
    return terminal, server


def _alone(path: Path) -> Any:
    """Return the lock of the file's place. Raises StartRefused if a broker has it."""
    import filelock

    from defence.errors import StartRefused

    lock = filelock.FileLock(path.with_name(path.name + ".lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StartRefused(
            f"a broker runs there already: {path}",
            field="broker",
            value=str(path),
            remedy="use that one, or name another file with --broker",
        ) from None
    return lock


def _forget(path: Path) -> None:
    with suppress(OSError):  # whoever has taken it away has done what was to be done
        path.unlink()


def _file(settings: Settings) -> Path:
    """Return the file that clients will find. Raises Usage for what is no file."""
    from terminals.shared.address import NAME, is_address
    from terminals.shared.module import IN_PROCESS

    named = settings.broker
    if named is None:
        return settings.locks_dir / NAME
    if named == IN_PROCESS or is_address(named):
        raise Usage(
            f"--broker: {named} is no file that can be written; name one, or leave it out "
            "(and unset DTMS_BROKER)"
        )
    return Path(named).absolute()


def _stay(settings: Settings, signals: Signals) -> None:
    end = None if settings.duration is None else time.monotonic() + settings.duration
    while not signals.asked and (end is None or time.monotonic() < end):
        time.sleep(POLL)


def _told(server: BrokerServer, account: tuple[int, str], path: Path) -> str:
    """Return what the user needs: where it is, and the lines for a bot's shell."""
    values = {"PYTHONPATH": str(_AS_MODULE), "DTMS_BROKER": str(path)}
    login, name = account
    return "\n".join(
        (
            f"broker ready at {server.address}: account {login} on {name}, any password",
            "in a bot's shell, and in that of a guard:",
            *shell_lines(values, windows=os.name == "nt"),
        )
    )


def shell_lines(values: Mapping[str, str], *, windows: bool) -> list[str]:
    """Return the lines that set variables; on Windows for each of the two shells.

    `set` is no error in PowerShell, and sets nothing that a program would see.
    """
    if not windows:
        return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    quoted = {name: value.replace("'", "''") for name, value in values.items()}
    return [
        "PowerShell:",
        *(f"  $env:{name} = '{value}'" for name, value in quoted.items()),
        "cmd:",
        *(f"  set {name}={value}" for name, value in values.items()),
    ]
