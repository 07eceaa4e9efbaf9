"""The one exception tree of DTMS, named by what the reader should do.

    DtmsError
    ├── Refused                 the request cannot be done as it is: change it
    │   ├── Invalid             a field is wrong                       (HTTP 422)
    │   ├── NotFound            no such trade or position              (HTTP 404)
    │   ├── Conflict            contradicts what is registered         (HTTP 409)
    │   ├── Forbidden           needs a permission, such as chaos      (HTTP 403)
    │   └── UnknownMessage      an actor does not know this message    (a fault in the caller)
    ├── TryAgain                the request is good: send it again later (HTTP 503)
    │   ├── NotReady            starting, escalated or stopping
    │   ├── BrokerUnknown       the broker cannot be read just now
    │   ├── CannotAct           programs may not trade: a person must switch it on
    │   ├── MailboxFull         too many requests are waiting
    │   ├── DeadlinePassed      nobody got to it in time; it was not done
    │   └── StoreFull           no room on the disk                    (HTTP 507)
    ├── Stopped                 the guard is over: start a new one     (HTTP 503)
    │   └── StoreLost           a store's file was taken away under the running guard
    ├── StartRefused            mend the cause, then start again       (exit status 1)
    │   ├── AlreadyGuarded      another guard runs on this folder or account
    │   ├── FolderRefused       the data folder cannot be used
    │   ├── AccountRefused      the data folder belongs to another account
    │   └── TerminalRefused     the terminal does not answer, or says no
    ├── Damaged                 a store failed its checks: set it aside, restore
    └── Fault                   a mistake in the program that calls: mend the program
        ├── AskedInside         an actor asked instead of telling
        └── Fenced              a replaced incarnation tried to act

Every error names the field, the value and the remedy where there is one, and
never carries a secret.
"""

from __future__ import annotations

from typing import ClassVar


class DtmsError(Exception):
    """Root of the tree. `code` is stable and is what programs compare."""

    code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        value: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        text = self.message
        if self.field is not None:
            text = f"{self.field}: {text}"
        if self.remedy:
            text = f"{text} ({self.remedy})"
        return text

    def body(self) -> dict[str, object]:
        """Return the one shape in which errors leave the system (DESIGN, HTTP)."""
        return {
            "error": self.code,
            "message": self.message,
            "field": self.field,
            "remedy": self.remedy,
        }


class Refused(DtmsError):
    """The request cannot be done as it is: change it."""

    code = "refused"


class Invalid(Refused):
    """A field is wrong."""

    code = "invalid"


class NotFound(Refused):
    """No such trade or position."""

    code = "not_found"


class Conflict(Refused):
    """Contradicts what is registered."""

    code = "conflict"


class Forbidden(Refused):
    """Needs a permission that was not given."""

    code = "forbidden"


class UnknownMessage(Refused):
    """An actor does not know this message."""

    code = "unknown_message"


class TryAgain(DtmsError):
    """The request is good: send it again later."""

    code = "try_again"


class NotReady(TryAgain):
    """Starting, escalated or stopping."""

    code = "not_ready"


class BrokerUnknown(TryAgain):
    """The broker cannot be read just now; nothing was changed."""

    code = "broker_unknown"


class CannotAct(TryAgain):
    """The terminal or the broker takes no orders from programs; nothing was sent."""

    code = "cannot_act"


class MailboxFull(TryAgain):
    """Too many requests are waiting; this one was not accepted."""

    code = "mailbox_full"


class DeadlinePassed(TryAgain):
    """No answer came in time. Its text says whether it is sure that nothing was done."""

    code = "deadline_passed"


class StoreFull(TryAgain):
    """No room on the disk; what was acknowledged before is safe."""

    code = "store_full"


class Stopped(DtmsError):
    """The guard is over: start a new one."""

    code = "stopped"


class StoreLost(Stopped):
    """A store's file was deleted, moved or replaced under the running guard: start it again."""

    code = "store_lost"


class StartRefused(DtmsError):
    """Mend the cause, then start again."""

    code = "start_refused"


class AlreadyGuarded(StartRefused):
    """Another guard runs on this folder or account."""

    code = "already_guarded"


class FolderRefused(StartRefused):
    """The data folder cannot be used."""

    code = "folder_refused"


class AccountRefused(StartRefused):
    """The data folder belongs to another account."""

    code = "account_refused"


class TerminalRefused(StartRefused):
    """The terminal does not answer, or says no."""

    code = "terminal_refused"


class Damaged(DtmsError):
    """A store failed its checks: set it aside, then restore."""

    code = "damaged"


class Fault(DtmsError):
    """A mistake in the program that calls: mend the program."""

    code = "fault"


class AskedInside(Fault):
    """An actor asked instead of telling; it would wait for itself."""

    code = "asked_inside"


class Fenced(Fault):
    """A replaced incarnation tried to act."""

    code = "fenced"
