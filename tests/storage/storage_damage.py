"""Ways to harm a store's file that the tests of recovery share."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from storage.layout import DATA_FILE

# a meta page of LMDB 0.9: a page header of 16 bytes, then magic, version,
# address, map size, two trees of 48 bytes, the last page and the transaction
_TXNID_AT = 144
_TXNID = struct.Struct("<Q")
_PAGE = 4096


def txnids(data: Path) -> list[int]:
    """Return the transaction numbers of the two meta pages."""
    content = data.read_bytes()
    return [_TXNID.unpack_from(content, page * _PAGE + _TXNID_AT)[0] for page in (0, 1)]


def fall_back(folder: Path) -> None:
    """Let LMDB fall back by one commit: the newer meta page says that it is the older one."""
    data = folder / DATA_FILE
    old, new = sorted(txnids(data))
    assert new == old + 1, "these are not the meta pages of this engine"
    newer = txnids(data).index(new)
    with data.open("r+b") as file:
        file.seek(newer * _PAGE + _TXNID_AT)
        file.write(_TXNID.pack(0))


def cut(folder: Path) -> None:
    """Lose the second half of the file."""
    data = folder / DATA_FILE
    os.truncate(data, data.stat().st_size // 2)


def rot(folder: Path, old: bytes, new: bytes) -> None:
    """Change bytes wherever they stand, of equal length: the tree stays whole."""
    assert len(old) == len(new)
    data = folder / DATA_FILE
    content = data.read_bytes()
    assert old in content
    data.write_bytes(content.replace(old, new))
