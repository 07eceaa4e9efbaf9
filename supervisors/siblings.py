"""Are the sibling packages ours? A host may have an `actors` of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SIBLINGS: Final = ("actors", "defence", "storage", "terminals")


def check_siblings(names: Sequence[str] = SIBLINGS, home: Path | None = None) -> None:
    """Raise `ImportError` if a sibling would be imported from somewhere else.

    The message names the path that is in the way.
    """
    ours = home or Path(__file__).resolve().parent.parent
    for name in names:
        spec = importlib.util.find_spec(name)
        found = (
            None
            if spec is None
            else spec.origin or next(iter(spec.submodule_search_locations or []), None)
        )
        place = None if found is None else Path(found).resolve()
        if place is not None and ours in place.parents:
            continue
        where = "is missing" if place is None else f"would come from {place}"
        raise ImportError(
            f"DTMS needs its own package {name!r} from {ours}, but it {where}. "
            f"Put {ours} before that path on sys.path, or rename what is in the way."
        )
