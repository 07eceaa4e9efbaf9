"""People are told: through the outbox, and by URL where that is configured."""

from __future__ import annotations

import http.server
import importlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from guard_kit import GuardKit, kinds

from actors.delivery import deliverer
from actors.events import Kind
from defence.errors import Invalid, StartRefused
from supervisors import Settings


class Inbox:
    """A small web server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answers = 200
        inbox = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                inbox.posted.append(json.loads(self.rfile.read(length)))
                self.send_response(inbox.answers)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """The URL as apprise wants it, with a secret in it."""
        return f"json://user:hunter2@127.0.0.1:{self.server.server_port}/alerts"

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Where alerts are delivered to."""
    made = Inbox()
    yield made
    made.close()


def test_an_escalation_is_delivered(kit: GuardKit, inbox: Inbox) -> None:
    guard = kit.start(alert_urls=[inbox.url], max_restarts=0)
    guard.admin("kill", child="monitor")
    kit.until(lambda: len(inbox.posted) == 1)
    post = inbox.posted[0]
    assert "monitor is down" in post["title"]
    assert post["type"] == "failure"
    assert "reset-budget" in post["message"]
    assert guard.alerts()[0].told == 1


def test_a_delivery_that_fails_harms_nobody(kit: GuardKit, inbox: Inbox) -> None:
    inbox.answers = 500
    guard = kit.start(alert_urls=[inbox.url], max_restarts=0)
    guard.admin("kill", child="monitor")
    kit.until(lambda: len(inbox.posted) == 1)
    assert guard.alerts()[0].key == "escalated:monitor"
    assert not kinds(guard, Kind.EXITED, child="alert")


def test_a_bad_url_refuses_the_start_without_showing_it(kit: GuardKit) -> None:
    guard = kit.make(alert_urls=["nosuch://hunter2@x"])
    with pytest.raises(StartRefused) as caught:
        guard.start()
    assert caught.value.field == "alert_urls"
    assert "hunter2" not in str(caught.value)


def test_urls_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTMS_ALERT_URLS", "json://a:hunter2@x json://b:hunter3@y")
    settings = Settings()
    assert len(settings.alert_urls) == 2
    assert "hunter" not in repr(settings)
    with pytest.raises(Invalid) as caught:
        Settings(alert_urls=[{"hunter2": 1}])
    assert "hunter2" not in str(caught.value)


def test_without_apprise_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(StartRefused, match="apprise") as caught:
        deliverer(["json://x"])
    assert "alerts" in (caught.value.remedy or "")
    assert deliverer([]) is None
