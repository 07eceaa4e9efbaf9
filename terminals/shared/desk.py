"""The broker's side of one client: what he may ask, and how he is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from defence.errors import Invalid
from terminals.functions import FUNCTIONS
from terminals.shared.terminal import SharedTerminal
from terminals.worker.child import SUCCESS, Serving

MODULE: Final = tuple(name for name in FUNCTIONS if name != "last_error")
_INITIALIZE: Final = "initialize"


class Desk(Serving):
    """Answers one client as a worker answers its guard, over a terminal that others use too."""

    def __init__(
        self,
        terminal: SharedTerminal,
        write: Callable[[bytes], None],
        given: Mapping[str, Any],
        *,
        office: bool,
    ) -> None:
        """`given` are credentials for `initialize`; `office` lets him play the back office."""
        super().__init__(write)
        self._given = {name: value for name, value in given.items() if value is not None}
        self._offer(terminal, office=office)
        self._calls.update(
            (name, getattr(terminal, name)) for name in MODULE if hasattr(terminal, name)
        )

    def serve(self, message: Any) -> bool:
        """Answer one call; False after the last one. Raises Invalid for what is none."""
        match message:
            case (_, "close", *_):
                return False
            case (int(number), str(call), tuple(args), dict(named), account):
                if call == _INITIALIZE:
                    named = {**self._given, **named}
                return super().serve((number, call, args, named, account))
        raise Invalid(f"holds no call: {message!r:.80}", field="frame")

    def _last_error(self, call: str) -> tuple[int, str]:
        if self._terminal is None or call not in MODULE:
            return SUCCESS
        code, text = self._terminal.last_error()
        return int(code), str(text)

    def _tell_time(self, call: str) -> None:
        """Tell nothing that was not asked for: the broker outlives its clients."""
