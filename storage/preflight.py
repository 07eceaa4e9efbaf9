"""The checks before a store is opened, in a child process that may die of them.

    python -m storage.preflight FOLDER...     checks environments that nobody has open

`check` and `copy` start one child for all environments and read its notes: a
line when a job begins, a line when it ends. A child that crashes marks the
environment it was at as damaged, and another child goes on with the rest. A
child that was ended from outside, or did not end in time, says nothing about
the data: then the start is refused and nothing is set aside.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import lmdb
import msgpack  # type: ignore[import-untyped]  # it has no stubs

from defence.errors import Damaged, FolderRefused, StartRefused, StoreFull
from storage.examine import Facts, Finding, Verdict, examine
from storage.failures import engine_path, translate, write_copy
from storage.files import NO_ROOM, make_folder, refused
from storage.layout import DATA_FILE

TIMEOUT: Final = 120.0  # seconds for the child, and 1 more for each MEGABYTES_A_SECOND
MEGABYTES_A_SECOND: Final = 2.0  # far below what a slow disk and machine do

Job = list[str]  # ["check", folder], ["copy", folder, target] or ["restore", folder, target]

# -c and not -m: with -I nothing of the host is imported (its folder, its
# PYTHON* variables, its site customisation), so the packages are named here
_BOOT: Final = (
    "import sys, json; sys.path += json.loads(sys.argv[1]); "
    "from storage.preflight import serve; serve(json.loads(sys.argv[2]))"
)
_CRASHES: Final = frozenset(
    getattr(signal, name).value
    for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
    if hasattr(signal, name)
)


def check(paths: Iterable[Path], *, timeout: float | None = None) -> dict[Path, Verdict]:
    """Check environments that nobody has open: each is sound or damaged.

    An environment that was never made is sound. `timeout` in seconds, by
    default it grows with the files. Raises FolderRefused for one that cannot
    be read or was written by a newer version, StartRefused if the check itself
    could not be done.
    """
    verdicts = look(paths, timeout=timeout)
    for folder, verdict in verdicts.items():
        if verdict.finding is Finding.REFUSED:
            raise _refused(folder, verdict.reason)
    return verdicts


def look(paths: Iterable[Path], *, timeout: float | None = None) -> dict[Path, Verdict]:
    """Check as `check` does, but raise only if the check could not be done (StartRefused)."""
    folders = list(paths)
    jobs = [["check", str(folder.absolute())] for folder in folders]
    size = sum(_size(folder) for folder in folders)
    return dict(zip(folders, _run(jobs, timeout or _patience(size)), strict=True))


def copy(
    pairs: Mapping[Path, Path], *, live: bool, timeout: float | None = None
) -> dict[Path, Verdict]:
    """Write compact copies of environments into new folders, and verify each.

    From source to target; the verdicts are by source and speak of the copy.
    `live` sources may be open, in a process that writes; the others are at
    rest, and are checked before they are copied. Raises StoreFull without room,
    FolderRefused if a folder cannot be used, StartRefused if no child can run.
    What stands in a target whose verdict is not sound is not a copy.
    """
    kind = "copy" if live else "restore"
    jobs = [[kind, str(s.absolute()), str(t.absolute())] for s, t in pairs.items()]
    size = sum(_size(source) for source in pairs)
    verdicts = dict(zip(pairs, _run(jobs, timeout or _patience(size)), strict=True))
    for source, verdict in verdicts.items():
        if verdict.reason.startswith(_FULL):
            raise StoreFull(
                verdict.reason,
                field="target",
                value=str(pairs[source]),
                remedy="free some space there",
            )
        if verdict.finding is Finding.REFUSED:
            raise _refused(pairs[source], verdict.reason)
    return verdicts


def attempt(source: Path, target: Path) -> Verdict:
    """Copy one environment at rest; one that is not for us (a newer version's) is a verdict.

    Raises StoreFull or StartRefused. What stands in `target` is a copy only if it is sound.
    """
    try:
        return copy({source: target}, live=False)[source]
    except FolderRefused as refusal:
        return Verdict(Finding.REFUSED, refusal.message)


def available() -> bool:
    """Whether a child can be started: not in a frozen program, whose executable is itself."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def serve(jobs: Sequence[Job]) -> bool:
    """Do the jobs and note each beginning and end on standard output (the child's side)."""
    if sys.platform == "win32":
        import ctypes

        # a crash must end the child, not open a window that waits for a person
        ctypes.windll.kernel32.SetErrorMode(0x0001 | 0x0002)
    sound = True
    for place, job in enumerate(jobs):
        _note({"begin": place})
        verdict = _do(job)
        sound = sound and verdict.finding is Finding.SOUND
        facts = None if verdict.facts is None else verdict.facts.plain()
        finding = verdict.finding.value
        _note({"end": place, "finding": finding, "reason": verdict.reason, "facts": facts})
    return sound


_FULL: Final = "no room: "
_OPENINGS: Final = 5  # of a store that grows meanwhile


def _do(job: Job) -> Verdict:
    source = Path(job[1])
    if job[0] == "check":
        return examine(source)
    target = Path(job[2])
    if job[0] == "restore":
        found = examine(source)  # a copy of a damaged tree may be sound, and lack records
        if found.finding is not Finding.SOUND:
            return found
    try:
        make_folder(target)
        # one that may be open is read as a reader that its writer knows of
        _write(source, target, live=job[0] == "copy")
    except StoreFull as error:
        return Verdict(Finding.REFUSED, f"{_FULL}{error.message}")
    except FolderRefused as error:
        return Verdict(Finding.REFUSED, str(error))
    except lmdb.Error as error:
        meant = translate(error, source.name, target)
        if isinstance(meant, Damaged):
            return Verdict(Finding.DAMAGED, f"the engine refuses it: {error}")
        full = _FULL if isinstance(meant, StoreFull) else ""
        return Verdict(Finding.REFUSED, f"{full}{error}")
    except OSError as error:
        full = _FULL if error.errno in NO_ROOM else ""
        return Verdict(Finding.REFUSED, f"{full}{error}")
    return examine(target)


def _write(source: Path, target: Path, *, live: bool) -> None:
    for left in reversed(range(_OPENINGS)):
        env = lmdb.open(engine_path(source), readonly=True, create=False, max_dbs=0, lock=live)
        try:
            write_copy(env, target)
        except lmdb.MapResizedError:
            # its writer outgrew the map between our opening and reading: open it anew
            if not left:
                raise
            _clear(target)
        else:
            return
        finally:
            env.close()


def _note(note: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(note) + "\n")
    sys.stdout.flush()  # a note that is still buffered at a crash would blame the wrong one


def _run(jobs: Sequence[Job], timeout: float) -> list[Verdict]:
    if not available():
        # no interpreter to start: the offline verifier still comes first, so
        # the engine sees nothing here that is known to crash it
        return [_do(job) for job in jobs]
    verdicts: dict[int, Verdict] = {}
    again = True
    while len(verdicts) < len(jobs):
        rest = [place for place in range(len(jobs)) if place not in verdicts]
        notes, code, errors = _child([jobs[place] for place in rest], timeout)
        begun: int | None = None
        for note in notes:
            if "begin" in note:
                begun = rest[note["begin"]]
            else:
                facts = None if note["facts"] is None else Facts.of_plain(note["facts"])
                finding = Finding(note["finding"])
                verdicts[rest[note["end"]]] = Verdict(finding, note["reason"], facts)
                begun = None
        if begun is not None and _crashed(code):
            verdicts[begun] = Verdict(Finding.DAMAGED, f"the check crashed on it ({_how(code)})")
        elif len(verdicts) < len(jobs):
            if not again or code > 0:
                raise StartRefused(
                    f"the check of the stores could not be done: {_how(code)}; {errors[-500:]}",
                    field="data_dir",
                    value=jobs[rest[0]][1],
                    remedy="start again; nothing was changed",
                )
            again = False  # ended from outside, once: by a person, or for want of memory
            if begun is not None and jobs[begun][0] != "check":
                _clear(Path(jobs[begun][2]))
    return [verdicts[place] for place in range(len(jobs))]


def _clear(target: Path) -> None:
    """Remove what a copy that was killed had written: the next one writes into a new file."""
    try:
        (target / DATA_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise refused(error, target, "removing an unfinished copy") from error


def _child(jobs: Sequence[Job], timeout: float) -> tuple[list[dict[str, Any]], int, str]:
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and our own text
            _command(jobs),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd=_roots()[0] if Path(_roots()[0]).is_dir() else None,
            # a process group of its own: Ctrl-C while starting must not kill
            # the child in the middle of a store and so accuse that store
            start_new_session=sys.platform != "win32",
            creationflags=_windows_flags(),
        )
    except subprocess.TimeoutExpired as error:
        raise StartRefused(
            f"the check of the stores did not end within {timeout:.0f} s",
            field="data_dir",
            value=jobs[0][1],
            remedy="look at the disk, then start again; nothing was changed",
        ) from error
    except OSError as error:
        raise StartRefused(
            f"the check of the stores could not be started: {error}",
            field="data_dir",
            value=jobs[0][1],
            remedy=f"make {sys.executable} executable for this user",
        ) from error
    notes = [json.loads(line) for line in done.stdout.splitlines() if line.endswith(b"}")]
    return notes, done.returncode, done.stderr.decode("utf-8", "replace")


def _command(jobs: Sequence[Job]) -> list[str]:
    # -B: on a full disk an interpreter of this version can leave half a .pyc
    # file, which then keeps every program from importing that module
    python = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT]
    # JSON is plain ASCII: a path in any encoding reaches the child unchanged
    return [*python, json.dumps(_roots()), json.dumps(list(jobs))]


def _roots() -> list[str]:
    """Return the folders from which our packages and the two libraries come."""
    ours = Path(__file__).resolve().parent.parent
    theirs = [Path(module.__file__ or "").resolve().parent.parent for module in (lmdb, msgpack)]
    return list(dict.fromkeys(str(root) for root in (ours, *theirs)))


def _windows_flags() -> int:
    if sys.platform == "win32":
        return subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return 0


def _crashed(code: int) -> bool:
    """Whether the data may have killed the child, rather than somebody from outside."""
    if code < 0:
        return -code in _CRASHES
    # Windows: an NTSTATUS error that is not Ctrl-C; 3 is abort()
    return code == 3 or (code >= 0xC0000000 and code != 0xC000013A)


def _how(code: int) -> str:
    if code < 0:
        try:
            return f"the child was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"the child was ended by signal {-code}"
    return f"the child ended with {code:#x}" if code > 255 else f"the child ended with {code}"


def _size(folder: Path) -> int:
    try:
        return (folder / DATA_FILE).stat().st_size
    except OSError:  # not there, or not for us: the check itself will say so
        return 0


def _patience(size: int) -> float:
    return TIMEOUT + size / (MEGABYTES_A_SECOND * 1024 * 1024)


def _refused(folder: Path, reason: str) -> FolderRefused:
    return FolderRefused(
        f"the store at {folder} cannot be used: {reason}",
        field="data_dir",
        value=str(folder),
        remedy="give this user the right to it, or run the version that wrote it",
    )


def main(arguments: Sequence[str]) -> int:
    """Check the environments named on the command line; 0 if all are sound, 1 if not."""
    return 0 if serve([["check", argument] for argument in arguments]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
