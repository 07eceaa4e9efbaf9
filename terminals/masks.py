"""The masks of the package's `group` filters. Pure.

Ported from the wheel's binary, quirks included: masks stand between commas,
spaces around them do not count, `*` is the only wildcard and letters count as
they are. A mask that begins with `!` and fits takes a name out, wherever it
stands; else one mask that fits is enough.
"""

from __future__ import annotations

from typing import Final

_MASK_MAX: Final = 255


def in_group(name: str, group: str) -> bool:
    """Whether a name is in a group such as `*USD*,!USDJPY`."""
    fits = False
    for mask in _masks(group):
        inside = _fits(mask, name)
        if inside and mask.startswith("!"):
            return False
        fits = fits or inside
    return fits


def _masks(group: str) -> list[str]:
    found = []
    for part in group.split(","):
        rest = part.lstrip(" ")
        while rest:  # a mask that is too long goes on as the next one
            found.append(rest[:_MASK_MAX].rstrip(" "))
            rest = rest[_MASK_MAX:].lstrip(" ")
    return found


def _fits(mask: str, name: str) -> bool:
    """Whether one mask fits; a leading `!` does not count.

    After a mismatch the package goes on from there with what follows the last
    `*`; it does not try again one letter further on, so `*AAB` does not fit `AAAB`.
    """
    mask = mask.lstrip("!")
    if not mask:
        return True
    star = -1  # the place of the last `*`
    at = place = 0
    while at < len(mask):
        if mask[at] == "*":
            star = at
            at += 1
        elif place == len(name):
            return False
        elif mask[at] == name[place]:
            at += 1
            place += 1
            if at == len(mask) and place < len(name):
                if star < 0:
                    return False
                at = star + 1
        elif star < 0:
            return False
        elif at == star + 1:
            place += 1
        else:
            at = star + 1
    return True
