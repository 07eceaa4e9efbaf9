"""Record every write, barrier and new name of the files below a folder, in order.

The recorder knows nothing of what the writes mean. It notes what the operating
system was asked to do and did; `power_disk` says what of it a power cut leaves.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import power_got

_INT, _LONG, _SIZE, _PTR, _TEXT = (
    ctypes.c_int,
    ctypes.c_long,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_char_p,
)
# result and arguments; `open` has a third argument only when it creates, and both
# machines pass it in the same register as a fixed one
_SHAPES: dict[str, tuple[Any, ...]] = {
    "open": (_INT, _TEXT, _INT, _INT),
    "openat": (_INT, _INT, _TEXT, _INT, _INT),
    "close": (_INT, _INT),
    "write": (_LONG, _INT, _PTR, _SIZE),
    "writev": (_LONG, _INT, _PTR, _INT),
    "pwrite": (_LONG, _INT, _PTR, _SIZE, _LONG),
    "pwritev": (_LONG, _INT, _PTR, _INT, _LONG),
    "fsync": (_INT, _INT),
    "fdatasync": (_INT, _INT),
    "ftruncate": (_INT, _INT, _LONG),
    "mkdir": (_INT, _TEXT, _INT),
    "rename": (_INT, _TEXT, _TEXT),
    "unlink": (_INT, _TEXT),
}
_LARGE = ("open", "openat", "pwrite", "pwritev", "ftruncate")  # also known with a 64 behind


class Recorder:
    """The log of one process. `attach` once; then `position` grows with every event."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root = os.fsencode(root)
        self.position = 0
        self.calls: Counter[str] = Counter()  # events by the call that made them
        self.failures: list[str] = []
        self._log = log.open("w", encoding="utf-8")
        self._bytes = log.with_suffix(".bytes").open("wb")
        self._files: dict[int, tuple[int, bool]] = {}  # descriptor: inode, writes are barriers
        self._folders: dict[int, str] = {}
        self._kept: list[object] = []  # callbacks must outlive the slots that point at them
        self._real: dict[str, Any] = {}

    def attach(self) -> dict[str, set[str]]:
        """Rewrite the slots of py-lmdb and of the interpreter; return what was found, by library.

        The interpreter too, because folders are synced and small files written from Python.
        """
        sys.unraisablehook = lambda bad: self.failures.append(f"{bad.exc_type}: {bad.exc_value}")
        found = {}
        functions = self._callbacks()
        self._kept.extend(functions.values())
        for library in power_got.loaded():
            name = os.path.basename(library.path)  # noqa: PTH119 - a name of the loader's
            if library.path == "" or "lmdb" in library.path or name.startswith("libpython"):
                found[name or "program"] = power_got.rewrite(library, functions)
        return found

    def finish(self) -> None:
        """Close the log; the slots stay, what comes later is not recorded."""
        self._files.clear()
        self._folders.clear()
        self.root = b"\0"
        self._log.close()
        self._bytes.close()

    def _callbacks(self) -> dict[str, Any]:
        library = ctypes.CDLL(None, use_errno=True)
        made = {}
        for base, (result, *arguments) in _SHAPES.items():
            shape = ctypes.CFUNCTYPE(result, *arguments, use_errno=True)
            for name in (base, f"{base}64") if base in _LARGE else (base,):
                real = getattr(library, name, None)
                if real is None:
                    continue
                real.restype, real.argtypes = result, arguments
                self._real[name] = real
                made[name] = shape(getattr(self, f"_{base}")(real))
        return made

    def _note(self, call: str, kind: str, **facts: object) -> None:
        self._log.write(json.dumps({"call": call, "kind": kind, **facts}) + "\n")
        self.position += 1
        self.calls[call] += 1

    # -- names

    def _below(self, path: bytes) -> str | None:
        whole = os.path.abspath(path)  # noqa: PTH100 - bytes, as the engine gave them
        if not whole.startswith(self.root + b"/"):
            return None
        return os.fsdecode(whole[len(self.root) + 1 :])

    def _opened(self, path: bytes, flags: int, call: Callable[[], int]) -> int:
        name = "" if path == self.root else self._below(path)
        if name is None:
            return call()
        new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        handle = call()
        if handle < 0:
            return handle
        facts = os.fstat(handle)
        if stat.S_ISDIR(facts.st_mode):
            self._folders[handle] = name
            return handle
        synced = flags & os.O_DSYNC == os.O_DSYNC
        self._files[handle] = (facts.st_ino, synced)
        if new:
            self._note("open", "create", name=name, inode=facts.st_ino)
        if flags & os.O_TRUNC and not new:
            self._note("open", "size", inode=facts.st_ino, size=0)
        if synced:
            self.calls["open O_DSYNC"] += 1
        return handle

    def _open(self, real: Any) -> Callable[..., int]:
        def stand_in(path: bytes, flags: int, mode: int) -> int:
            return self._opened(path, flags, lambda: int(real(path, flags, mode)))

        return stand_in

    def _openat(self, real: Any) -> Callable[..., int]:
        def stand_in(folder: int, path: bytes, flags: int, mode: int) -> int:
            if not path.startswith(b"/") and folder in self._folders:
                raise RuntimeError(f"{path!r} was opened relative to a folder that is watched")
            return self._opened(path, flags, lambda: int(real(folder, path, flags, mode)))

        return stand_in

    def _close(self, real: Any) -> Callable[..., int]:
        def stand_in(handle: int) -> int:
            self._files.pop(handle, None)
            self._folders.pop(handle, None)
            return int(real(handle))

        return stand_in

    def _mkdir(self, real: Any) -> Callable[..., int]:
        def stand_in(path: bytes, mode: int) -> int:
            done, name = int(real(path, mode)), self._below(path)
            if done == 0 and name is not None:
                self._note("mkdir", "folder", name=name)
            return done

        return stand_in

    def _rename(self, real: Any) -> Callable[..., int]:
        def stand_in(path: bytes, target: bytes) -> int:
            done, name, new = int(real(path, target)), self._below(path), self._below(target)
            if done == 0 and (name is None) != (new is None):
                raise RuntimeError(f"{path!r} was moved to {target!r}, over the edge of the folder")
            if done == 0 and name is not None:
                self._note("rename", "rename", name=name, target=new)
            return done

        return stand_in

    def _unlink(self, real: Any) -> Callable[..., int]:
        def stand_in(path: bytes) -> int:
            done, name = int(real(path)), self._below(path)
            if done == 0 and name is not None:
                self._note("unlink", "unlink", name=name)
            return done

        return stand_in

    # -- contents

    def _wrote(self, call: str, handle: int, at: int | None, data: bytes) -> None:
        """Note a write that was done; without `at` it ended where the descriptor stands."""
        inode, synced = self._files[handle]
        start = os.lseek(handle, 0, os.SEEK_CUR) - len(data) if at is None else at
        self._note(
            call, "write", inode=inode, at=start, size=len(data), synced=synced,
            place=self._bytes.tell(),
        )  # fmt: skip
        self._bytes.write(data)
        self.calls["synced write"] += synced

    def _write(self, real: Any) -> Callable[..., int]:
        def stand_in(handle: int, data: int, size: int) -> int:
            done = int(real(handle, data, size))
            if done > 0 and handle in self._files:
                self._wrote("write", handle, None, ctypes.string_at(data, done))
            return done

        return stand_in

    def _pwrite(self, real: Any) -> Callable[..., int]:
        def stand_in(handle: int, data: int, size: int, at: int) -> int:
            done = int(real(handle, data, size, at))
            if done > 0 and handle in self._files:
                self._wrote("pwrite", handle, at, ctypes.string_at(data, done))
            return done

        return stand_in

    def _writev(self, real: Any) -> Callable[..., int]:
        def stand_in(handle: int, parts: int, count: int) -> int:
            done = int(real(handle, parts, count))
            if done > 0 and handle in self._files:
                self._wrote("writev", handle, None, _gathered(parts, count)[:done])
            return done

        return stand_in

    def _pwritev(self, real: Any) -> Callable[..., int]:
        def stand_in(handle: int, parts: int, count: int, at: int) -> int:
            done = int(real(handle, parts, count, at))
            if done > 0 and handle in self._files:
                self._wrote("pwritev", handle, at, _gathered(parts, count)[:done])
            return done

        return stand_in

    def _ftruncate(self, real: Any) -> Callable[..., int]:
        def stand_in(handle: int, size: int) -> int:
            done = int(real(handle, size))
            if done == 0 and handle in self._files:
                self._note("ftruncate", "size", inode=self._files[handle][0], size=size)
            return done

        return stand_in

    def _fsync(self, real: Any) -> Callable[..., int]:
        return self._barrier("fsync", real)

    def _fdatasync(self, real: Any) -> Callable[..., int]:
        return self._barrier("fdatasync", real)

    def _barrier(self, call: str, real: Any) -> Callable[..., int]:
        def stand_in(handle: int) -> int:
            done = int(real(handle))
            if done == 0 and handle in self._files:
                self._note(call, "sync", inode=self._files[handle][0])
            elif done == 0 and handle in self._folders:
                self._note(f"{call} folder", "sync_folder", name=self._folders[handle])
            return done

        return stand_in


def _gathered(parts: int, count: int) -> bytes:
    """Return the bytes of an array of (address, size)."""
    table = (ctypes.c_uint64 * (2 * count)).from_address(parts)
    return b"".join(ctypes.string_at(table[2 * n], table[2 * n + 1]) for n in range(count))
