"""Stand between a loaded library and the C library: rewrite its table of imported functions.

For the power-cut proof alone (Linux, 64 bit). A library calls `pwrite` through a
slot of its own, its global offset table; a slot that holds another address
calls that instead. So nothing is compiled, nothing is preloaded, and it works
wherever the wheel of py-lmdb does.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# relocations that fill one slot with one function's address: (data, call)
_KINDS = {"x86_64": (6, 7), "aarch64": (1025, 1026)}
_DYNAMIC = 2  # program header: where the dynamic section is
_PLTRELSZ, _STRTAB, _SYMTAB, _RELA, _RELASZ, _PLTREL, _JMPREL = 2, 5, 6, 7, 8, 20, 23
_RELA_TYPE = 7  # value of _PLTREL: entries with an addend
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


class _PhdrInfo(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.c_void_p),
        ("count", ctypes.c_uint16),
    )


@dataclass(frozen=True)
class Loaded:
    """A library in this process: its path (empty for the program) and its dynamic section."""

    path: str
    base: int
    dynamic: int


def why_not() -> str | None:
    """Return why slots cannot be rewritten here, None if they can."""
    if sys.platform != "linux":
        return f"the recorder is for Linux, not {sys.platform}"
    if platform.machine() not in _KINDS or sys.maxsize < 2**32:
        return f"the recorder does not know the relocations of {platform.machine()}"
    if platform.python_implementation() != "CPython":
        return "the recorder is for the C extension of py-lmdb, which CPython uses"
    return None


def loaded() -> list[Loaded]:
    """Return the libraries of this process; the program itself is the first."""
    found: list[Loaded] = []

    def note(info: Any, _size: int, _data: object) -> int:
        one = info.contents
        for number in range(one.count):
            header = ctypes.string_at(one.headers + 56 * number, 56)
            kind, _flags, _offset, address = struct.unpack_from("<IIQQ", header)
            if kind == _DYNAMIC:
                path = (one.name or b"").decode("utf-8", "surrogateescape")
                found.append(Loaded(path, one.base, one.base + address))
        return 0

    shape = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(_PhdrInfo), ctypes.c_size_t, ctypes.c_void_p
    )
    ctypes.CDLL(None).dl_iterate_phdr(shape(note), None)
    return found


def slots(library: Loaded) -> Iterator[tuple[str, int]]:
    """Walk the imported functions of a library: name, and address of the slot."""
    facts = _dynamic(library)
    data, call = _KINDS[platform.machine()]
    tables = [(facts.get(_RELA), facts.get(_RELASZ, 0))]
    if facts.get(_PLTREL) == _RELA_TYPE:
        tables.append((facts.get(_JMPREL), facts.get(_PLTRELSZ, 0)))
    for start, size in tables:
        if start is None:
            continue
        for offset, info, _addend in struct.iter_unpack("<QQq", ctypes.string_at(start, size)):
            if info & 0xFFFFFFFF in (data, call):
                symbol = ctypes.string_at(facts[_SYMTAB] + 24 * (info >> 32), 4)
                place = facts[_STRTAB] + int.from_bytes(symbol, "little")
                yield ctypes.string_at(place).decode(), library.base + offset


def _dynamic(library: Loaded) -> dict[int, int]:
    facts: dict[int, int] = {}
    at = library.dynamic
    while True:
        tag, value = struct.unpack("<qQ", ctypes.string_at(at, 16))
        if tag == 0:
            return facts
        pointer = tag in (_STRTAB, _SYMTAB, _RELA, _JMPREL)
        # glibc has made them addresses already, musl has not
        facts[tag] = value + library.base if pointer and value < library.base else value
        at += 16


def rewrite(library: Loaded, functions: Mapping[str, Any]) -> set[str]:
    """Point the slots of `functions` (ctypes callbacks by name) at them; return the names found.

    The caller keeps the callbacks alive for as long as the process lives.
    """
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    found = set()
    for name, slot in slots(library):
        if name not in functions:
            continue
        page = slot & ~(mmap.PAGESIZE - 1)
        # read-only after loading where the library asks for it
        if protect(page, slot + 8 - page, _READ_WRITE):
            raise OSError(ctypes.get_errno(), f"the slot of {name} in {library.path}")
        target = ctypes.cast(functions[name], ctypes.c_void_p).value
        ctypes.c_uint64.from_address(slot).value = target or 0
        found.add(name)
    return found
