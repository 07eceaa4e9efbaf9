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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import lmdb
import msgpack  # type: ignore[import-untyped]  # it has no stubs

from defence.errors import Damaged, FolderRefused, StartRefused, StoreFull
from storage.examine import Finding, Verdict, examine
from storage.failures import engine_path, is_full, write_copy
from storage.files import NO_ROOM, make_folder
from storage.layout import DATA_FILE

TIMEOUT: Final = 120.0  # seconds for the child, and 1 more for each MEGABYTES_A_SECOND
MEGABYTES_A_SECOND: Final = 2.0  # far below what a slow disk and machine do

Job = list[str]  # ["check", folder] or ["copy", folder, target]

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


def check(paths: Iterable[Path], *, timeout: float | None = None) -> dict[Path, str | None]:
    """Check environments that nobody has open; None is sound, a text is the damage.

    An environment that was never made is sound. `timeout` in seconds, by
    default it grows with the files. Raises FolderRefused for one that cannot
    be read or was written by a newer version, StartRefused if the check itself
    could not be done.
    """
    folders = list(paths)
    jobs = [["check", str(folder.absolute())] for folder in folders]
    size = sum(_size(folder) for folder in folders)
    reasons: dict[Path, str | None] = {}
    for folder, verdict in zip(folders, _run(jobs, timeout or _patience(size)), strict=True):
        if verdict.finding is Finding.REFUSED:
            raise _refused(folder, verdict.reason)
        reasons[folder] = verdict.reason if verdict.finding is Finding.DAMAGED else None
    return reasons


def copy(source: Path, target: Path, *, timeout: float | None = None) -> None:
    """Write a compact copy of an environment, open or not, into the folder `target`; verify it.

    Raises Damaged if the copy did not pass, StoreFull without room,
    FolderRefused if a folder cannot be used, StartRefused if no child can run.
    What stands in `target` after an error is not a copy.
    """
    job = ["copy", str(source.absolute()), str(target.absolute())]
    verdict = _run([job], timeout or _patience(_size(source)))[0]
    if verdict.finding is Finding.SOUND:
        return
    if verdict.reason.startswith(_FULL):
        raise StoreFull(
            verdict.reason, field="target", value=str(target), remedy="free some space there"
        )
    if verdict.finding is Finding.REFUSED:
        raise _refused(target, verdict.reason)
    raise Damaged(
        f"the copy of {source} failed its check: {verdict.reason}",
        field="source",
        value=str(source),
        remedy="restart the guard: it checks every store before it opens it",
    )


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
        _note({"end": place, "finding": verdict.finding.value, "reason": verdict.reason})
    return sound


_FULL: Final = "no room: "


def _do(job: Job) -> Verdict:
    if job[0] == "check":
        return examine(Path(job[1]))
    source, target = Path(job[1]), Path(job[2])
    try:
        make_folder(target)
        env = lmdb.open(engine_path(source), readonly=True, create=False, max_dbs=0)
        try:
            write_copy(env, target)
        finally:
            env.close()
    except (StoreFull, FolderRefused) as error:
        return Verdict(Finding.REFUSED, str(error))
    except lmdb.Error as error:
        full = _FULL if is_full(error, target) else ""
        return Verdict(Finding.REFUSED, f"{full}{error}")
    except OSError as error:
        full = _FULL if error.errno in NO_ROOM else ""
        return Verdict(Finding.REFUSED, f"{full}{error}")
    return examine(target)


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
                verdicts[rest[note["end"]]] = Verdict(Finding(note["finding"]), note["reason"])
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
    return [verdicts[place] for place in range(len(jobs))]


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
    python = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT]
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
