"""The names of the children, in the order in which they start."""

from __future__ import annotations

from typing import Final

ALERT: Final = "alert"
ADMIN: Final = "admin"
CONNECTOR: Final = "connector"
REGISTRY: Final = "registry"
RECOVERY: Final = "recovery"
MONITOR: Final = "monitor"
ROOT: Final = "root"

# Alert and Admin come first, so that whatever goes wrong later can be told and steered.
START_ORDER: Final = (ALERT, ADMIN, CONNECTOR, REGISTRY, RECOVERY, MONITOR)
