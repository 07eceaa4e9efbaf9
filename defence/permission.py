"""Whether orders may be sent at all: the switches of the terminal and of the account. Pure."""

from __future__ import annotations

from defence.broker import Account, TerminalState


def why_cannot_act(account: Account, terminal: TerminalState) -> str | None:
    """Return why no program's order would be taken, None if orders may be sent.

    The switches and the retcodes that they lead to are in MT5.md: 10027 or
    `last_error` -8 for the terminal's, 10026 for the broker's. A person must
    change them; the guard cannot.
    """
    if not terminal.trade_allowed:
        return (
            "trading by programs is switched off in the terminal "
            "(Algo Trading button, or its option against the Python API)"
        )
    if not account.trade_allowed:
        return "the broker lets this login look, not trade (investor password?)"
    if not account.trade_expert:
        return "the broker does not let programs trade on this account"
    return None
