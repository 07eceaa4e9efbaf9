"""Whether a store that could not be written can be written again: tried, not believed."""

from __future__ import annotations

from typing import Final

from defence.errors import DtmsError, Fault, Stopped, StoreFull
from storage.environment import Environment
from storage.layout import META
from storage.view import Change

# More than any usual commit takes. A full disk still lets LMDB commit what
# fits into pages it has freed, so one small write that passes proves little:
# without this the store would be full and not full in turns.
AMPLE: Final = 256 * 1024  # bytes

_KEY: Final = b"room"


def no_room(environment: Environment) -> StoreFull | None:
    """Return that an ample file does not fit beside the store, None if it does.

    A folder in which no file may be made is no lack of room: what is open can
    still be written.
    """
    return environment.lacks_room(AMPLE)


def try_store(environment: Environment, at: float) -> DtmsError | None:
    """Return why the store takes no writes, None if it does.

    A small record (with `at`, UTC epoch seconds) and an ample file are
    written, both durably. Raises Stopped for a store that is closed or lost.
    """

    def work(change: Change) -> None:
        change.put(META, _KEY, {"at": at})

    full = no_room(environment)
    if full is not None:
        return full
    try:
        environment.run(work)
    except (Stopped, Fault):
        raise
    except DtmsError as error:
        return error
    return None
