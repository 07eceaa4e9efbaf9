"""Bringing an alert to people: through apprise, to whatever its URLs name (mail, chat, push)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from defence.alerts import Alert, Severity
from defence.errors import StartRefused, TryAgain

_KINDS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


def deliverer(urls: Sequence[str]) -> Callable[[Alert], None] | None:
    """Return what delivers to `urls`, None without any.

    The URLs hold secrets: errors name their place in the list, never their text.
    Raises `StartRefused` if apprise is not installed or a URL is none of its own.
    What is returned raises `TryAgain` if a delivery failed.
    """
    if not urls:
        return None
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        raise StartRefused(
            "alerts by URL need the package apprise",
            field="alert_urls",
            remedy="pip install 'dtms[alerts]', or leave alert_urls out",
        ) from None
    channel = apprise.Apprise()
    for number, url in enumerate(urls, start=1):
        if not channel.add(url):
            raise StartRefused(
                f"URL number {number} is none that apprise knows",
                field="alert_urls",
                remedy="see apprise's list of services",
            )

    def deliver(alert: Alert) -> None:
        done = channel.notify(
            title=f"DTMS {alert.severity.value}: {alert.title}",
            body=alert.text,
            notify_type=_KINDS[alert.severity],
        )
        if not done:
            raise TryAgain("a delivery failed", remedy="it is tried again with the next repeat")

    return deliver
