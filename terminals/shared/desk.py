"""The broker's side of one client: what he may ask, and how he is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from defence.errors import Forbidden, Invalid
from terminals.functions import FUNCTIONS
from terminals.shared.terminal import SharedTerminal
from terminals.worker.child import FACT, OFFICE, SUCCESS, Serving

MODULE: Final = tuple(name for name in FUNCTIONS if name != "last_error")


class Desk(Serving):
    """Answers one client as a worker answers its guard, over a terminal that others use too."""

    def __init__(
        self,
        terminal: SharedTerminal,
        write: Callable[[bytes], None],
        *,
        office: bool,
    ) -> None:
        """`office` lets him play the back office."""
        super().__init__(write)
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
                return super().serve((number, call, args, named, account))
        raise Invalid(f"holds no call: {message!r:.80}", field="frame")

    def _do(self, call: str, args: Sequence[Any], named: Mapping[str, Any], account: Any) -> Any:
        if call not in self._calls and call in (*OFFICE, FACT):
            raise Forbidden(
                f"{call} is for tests, and the broker was started without --chaos",
                field="call",
                value=call,
                remedy="python run.py broker --chaos, for an account that tests may spoil",
            )
        return super()._do(call, args, named, account)

    def _last_error(self, call: str) -> tuple[int, str]:
        if self._terminal is None or call not in MODULE:
            return SUCCESS
        code, text = self._terminal.last_error()
        return int(code), str(text)

    def _tell_time(self, call: str) -> None:
        """Tell nothing that was not asked for: the broker outlives its clients."""
