"""The actors that Thespian is measured with; importable only where Thespian is installed."""

from __future__ import annotations

from typing import Any

from thespian.actors import Actor, ActorExitRequest, ChildActorExited


class Echo(Actor):  # type: ignore[misc]  # Thespian has no types
    """Answers with what it got."""

    def receiveMessage(self, msg: Any, sender: Any) -> None:  # noqa: N802 - Thespian's name
        """Answer a number; nothing to what Thespian itself sends."""
        if isinstance(msg, int):
            self.send(sender, msg)


class Parent(Actor):  # type: ignore[misc]  # Thespian has no types
    """Keeps one child alive: makes a new one when it is told that the old one has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._child: Any = None
        self._asker: Any = None

    def receiveMessage(self, msg: Any, sender: Any) -> None:  # noqa: N802 - Thespian's name
        """`kill` is answered when the replacement has answered."""
        if msg == "start":
            self._child = self.createActor(Echo)
            self._asker = sender
            self.send(self._child, 1)
        elif msg == "kill":
            self._asker = sender
            self.send(self._child, ActorExitRequest())
        elif isinstance(msg, ChildActorExited):
            if msg.childAddress == self._child:  # an end may be told twice
                self._child = self.createActor(Echo)
                self.send(self._child, 1)
        elif isinstance(msg, int) and self._asker is not None:
            asker, self._asker = self._asker, None
            self.send(asker, "alive")
