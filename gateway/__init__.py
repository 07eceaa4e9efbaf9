"""HTTP: the gateway that serves a guard, and the client that other processes use.

`gateway.serve` is loaded at first use, so that a bot that imports only
`gateway.client` does not load a web server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.server import serve

__all__ = ["serve"]


def __getattr__(name: str) -> Any:
    if name == "serve":
        from gateway.server import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
