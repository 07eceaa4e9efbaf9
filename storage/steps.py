"""The steps from one format of an environment to the next, each a walk through the old one.

A step yields every record of the new environment, but not the keys of META
that say which environment it is: whoever builds the new one writes those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from storage.fields import trade_from
from storage.keys import number_key
from storage.layout import (
    ACTION_IDS,
    ACTION_TICKETS,
    ACTIONS,
    BIRTH_KEY,
    FORMAT_KEY,
    HISTORY,
    HISTORY_IDS,
    HISTORY_TICKETS,
    INTENTS,
    META,
    SEQUENCE_KEY,
    TRADES,
)
from storage.records import Fields
from storage.view import View

Row: TypeAlias = tuple[str, bytes, Fields]  # database, key, record
Step: TypeAlias = Callable[[View], Iterator[Row]]

_OWN: Final = (FORMAT_KEY, BIRTH_KEY, SEQUENCE_KEY)
_AS_THEY_ARE: Final = (TRADES, HISTORY, INTENTS, ACTIONS, ACTION_IDS, ACTION_TICKETS)


def trades_1_to_2(old: View) -> Iterator[Row]:
    """Yield the trade store in format 2. Raises Damaged or FolderRefused.

    Archived trades can be found by ticket, both their indexes hold the whole
    key, and the ids of applied messages, which nobody read, are gone. Days
    are empty: format 1 compacted nothing.
    """
    for key, fields in old.items(META):
        if key not in _OWN:
            yield META, key, fields
    for db in _AS_THEY_ARE:
        for key, fields in old.items(db):
            yield db, key, fields
    for place, fields in old.items(HISTORY):
        trade = trade_from(fields)
        yield HISTORY_IDS, number_key(trade.identifier, field="identifier") + place, {}
        yield HISTORY_TICKETS, number_key(trade.ticket, field="ticket") + place, {}


# environment and format -> the step to the next format
STEPS: Final[Mapping[tuple[str, int], Step]] = {("trades", 1): trades_1_to_2}
