"""What all functions of the simulated terminal share: their arguments, names, and wall time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from terminals import constants as mt5
from terminals.arguments import Asked, broken_call, read
from terminals.c_values import BadArgumentError
from terminals.sim.calls import NOT_FOUND, Calls, FailError
from terminals.sim.zone import BrokerZone

NONE_OPEN: Final[tuple[Any, ...]] = ()
CALL_FAILED: Final = (mt5.RES_E_FAIL, "Terminal: Call failed")
OLD_TERMINAL: Final = (
    mt5.RES_E_INVALID_VERSION,
    (
        "Terminal: Incompatible versions, "
        "please install the latest version of Terminal and Python module"
    ),
)


class Asking(Calls):
    """Calls with arguments. `_zone` is the broker's wall clock: all times that programs see."""

    _zone: BrokerZone
    _subscribed: set[str]  # symbols whose depth of market is followed
    _met: bool  # a connection was there once

    def _asked(self, name: str, unnamed: tuple[Any, ...], named: Mapping[str, Any]) -> Asked | None:
        """Read a call's arguments; None if the package refuses them, which it does first of all.

        Raises TypeError and SystemError where the package would.
        """
        try:
            return read(name, unnamed, named)
        except BadArgumentError as refusal:
            with self._lock:
                self.calls[name] += 1
                self._error = refusal.error
                if name == "initialize":
                    self._initialized = False  # it leaves its old connection before it looks
            if refusal.cause is not None:
                raise broken_call(name, refusal.cause) from refusal.cause
            return None

    def _known(self, symbol: str) -> str:
        if symbol not in self.market.specs:
            raise FailError(NOT_FOUND)
        return symbol
