"""The check in a child: damage is told, nobody is killed, nobody is accused wrongly."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
from storage_samples import ROOT, finished, python, trade

from defence.errors import FolderRefused, StartRefused, StoreFull
from storage import examine as examine_module
from storage import preflight, records
from storage.environment import Environment
from storage.examine import Facts, Finding, Verdict, examine
from storage.fields import trade_fields
from storage.layout import ACCOUNT_KEY, DATA_FILE, META, TRADES


def store(path: Path, records_: int = 40) -> Path:
    env = Environment.open(path, name="test", databases=(TRADES, "things"))
    for number in range(records_):
        fields = {"text": "y" * 300}
        env.run(lambda change, key=b"%03d" % number, f=fields: change.put("things", key, f))
    env.run(lambda change: change.put(TRADES, b"t", trade_fields(trade())))
    env.close()
    return path


def reasons(found: dict[Path, Verdict]) -> dict[str, str]:
    """The names and reasons of those that are not sound; a sound one gives none."""
    for verdict in found.values():
        assert (verdict.finding is Finding.SOUND) == (verdict.reason == ""), verdict
    return {path.name: verdict.reason for path, verdict in found.items() if verdict.reason}


def rot(content: bytes) -> bytes:
    return content.replace(b"y" * 300, b"y" * 299 + b"z")


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def pages_of_noise(content: bytes) -> bytes:
    return content[:8192] + random.Random(1).randbytes(len(content) - 8192)


def one_meta(content: bytes) -> bytes:
    return bytes(4096) + content[4096:]


DAMAGE: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda _: b"", "0 bytes"),
    (lambda _: b"no database at all" * 900, "not an LMDB file"),
    (lambda content: content[:100], "LMDB|beyond|truncated"),
    (lambda content: content[:8192], ""),
    (half, ""),
    (pages_of_noise, ""),
    (one_meta, "not an LMDB file"),
    (rot, "checksum"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGE)
def test_damage_is_told_and_nothing_is_changed(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    sound, bad = store(tmp_path / "sound"), store(tmp_path / "bad")
    unmade = tmp_path / "unmade"
    content = damage((bad / DATA_FILE).read_bytes())
    (bad / DATA_FILE).write_bytes(content)
    found = preflight.check([sound, bad, unmade])
    assert set(reasons(found)) == {"bad"}
    assert found[bad].finding is Finding.DAMAGED
    assert found[bad].facts is None
    assert found[sound].facts is not None
    assert found[unmade] == Verdict(Finding.SOUND)
    told = found[bad].reason
    assert any(part in told for part in reason.split("|"))
    assert "crashed" not in told  # the verifier saw it before the engine did
    assert (bad / DATA_FILE).read_bytes() == content
    assert not unmade.exists()


def test_a_check_changes_no_byte(tmp_path: Path) -> None:
    path = store(tmp_path / "e")
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}
    assert reasons(preflight.check([path])) == {}
    after = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}
    assert after == before


def test_one_child_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    real = preflight._command
    monkeypatch.setattr(preflight, "_command", lambda jobs: started.append(1) or real(jobs))
    paths = [store(tmp_path / name, 1) for name in "abcd"]
    found = preflight.check(paths)
    assert list(found) == paths
    assert reasons(found) == {}
    assert len(started) == 1


def test_what_a_sound_environment_says_of_itself(tmp_path: Path) -> None:
    path = store(tmp_path / "e", 7)
    env = Environment.open(path, name="test", databases=(TRADES,))
    birth = env.birth
    env.run(lambda change: change.put(META, ACCOUNT_KEY, {"login": 77, "server": "Demo"}))
    env.close()
    facts = preflight.check([path])[path].facts
    assert facts == Facts(
        name="test",
        format=1,
        birth=birth,
        sequence=9,  # seven things, a trade, the account
        account=(77, "Demo"),
        counts={META: 4, TRADES: 1, "things": 7},
    )
    assert facts is not None
    assert Facts.of_plain(json.loads(json.dumps(facts.plain()))) == facts


def test_an_environment_that_was_made_and_never_filled_is_sound(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path / "e")).close()
    found = preflight.check([tmp_path / "e"])
    assert found == {tmp_path / "e": Verdict(Finding.SOUND)}


def crashing(monkeypatch: pytest.MonkeyPatch, how: str) -> list[list[preflight.Job]]:
    """Let the child end in the manner `how` when it comes to the environment named `bad`."""
    started: list[list[preflight.Job]] = []
    real = preflight._command
    boot = f"""
import sys, json, os, signal, time
sys.path += json.loads(sys.argv[1])
from storage import preflight, examine
def dying(folder, real=preflight.examine):
    if folder.name == "bad":
        {how}
    return real(folder)
preflight.examine = dying
preflight.serve(json.loads(sys.argv[2]))
"""

    def command(jobs: list[preflight.Job]) -> list[str]:
        started.append(jobs)
        return [boot if part is preflight._BOOT else part for part in real(jobs)]

    monkeypatch.setattr(preflight, "_command", command)
    return started


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGABRT"])
def test_a_crash_marks_the_one_and_the_rest_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    paths = [store(tmp_path / each, 1) for each in ("a", "bad", "c", "d")]
    started = crashing(monkeypatch, f"os.kill(os.getpid(), signal.{name})")
    found = preflight.check(paths)
    assert reasons(found) == {"bad": f"the check crashed on it (the child was ended by {name})"}
    assert [[Path(job[1]).name for job in jobs] for jobs in started] == [
        ["a", "bad", "c", "d"],
        ["c", "d"],
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_child_that_is_killed_accuses_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    paths = [store(tmp_path / each, 1) for each in ("a", "bad")]
    how = f"signal.signal(signal.{name}, signal.SIG_DFL); " if name != "SIGKILL" else ""
    started = crashing(monkeypatch, f"{how}os.kill(os.getpid(), signal.{name})")
    with pytest.raises(StartRefused, match=name):
        preflight.check(paths)
    assert len(started) == 2  # tried again once


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_child_that_is_killed_once_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [store(tmp_path / each, 1) for each in ("a", "bad")]
    once = tmp_path / "once"
    how = f"os.path.exists({str(once)!r}) or (open({str(once)!r}, 'w'), os.kill(os.getpid(), 9))"
    crashing(monkeypatch, how)
    assert reasons(preflight.check(paths)) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_crash_between_two_stores_accuses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [store(tmp_path / each, 1) for each in ("a", "bad", "c")]
    # the note of the end of `bad` is out, the next has not begun
    after = 'preflight._note = lambda note, real=preflight._note: (real(note), "end" in note '
    crashing(monkeypatch, f"{after}and os.kill(os.getpid(), signal.SIGSEGV))")
    assert reasons(preflight.check(paths)) == {}


def test_a_mistake_in_the_check_accuses_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(tmp_path / "bad", 1)
    started = crashing(monkeypatch, "raise RuntimeError('a mistake')")
    with pytest.raises(StartRefused, match="a mistake"):
        preflight.check([path])
    assert len(started) == 1


def test_a_check_that_does_not_end_refuses_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(tmp_path / "bad", 1)
    crashing(monkeypatch, "time.sleep(60)")
    with pytest.raises(StartRefused, match="did not end within"):
        preflight.check([path], timeout=0.5)


def test_no_interpreter_refuses_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path / "e", 1)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(StartRefused, match="could not be started"):
        preflight.check([path])


def test_windows_exit_codes() -> None:
    crashes = [0xC0000005, 0xC0000006, 0xC0000374, 3]
    not_crashes = [0, 1, 2, 0xC000013A]
    assert [code for code in crashes + not_crashes if preflight._crashed(code)] == crashes


def test_a_frozen_program_is_never_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(preflight, "_child", None)
    sound, bad = store(tmp_path / "sound"), store(tmp_path / "bad")
    (bad / DATA_FILE).write_bytes(rot((bad / DATA_FILE).read_bytes()))
    found = preflight.check([sound, bad])
    assert set(reasons(found)) == {"bad"}
    assert "checksum" in found[bad].reason


def test_the_hosts_folder_and_variables_play_no_part(tmp_path: Path) -> None:
    path = store(tmp_path / "e", 2)
    host = tmp_path / "host"
    host.mkdir()
    trap = f"open({str(tmp_path / 'sprung')!r}, 'a').write(__name__)\nraise SystemExit(9)\n"
    for name in ("storage", "msgpack", "lmdb", "json", "sitecustomize", "usercustomize", "main"):
        (host / f"{name}.py").write_text(trap)
    # the host itself has the packages in front, and leaves the trap to its children
    script = f"""
import os, sys; from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from storage import preflight
os.chdir({str(host)!r})
os.environ["PYTHONPATH"] = {str(host)!r}
os.environ["PYTHONSTARTUP"] = {str(host / "main.py")!r}
print(*[each.finding for each in preflight.check([Path({str(path)!r})]).values()])
"""
    code, out, err = finished(python(script))
    assert (code, err) == (0, "")
    assert out.split() == ["sound"]
    assert not (tmp_path / "sprung").exists()


def test_the_hosts_main_is_not_imported_again(tmp_path: Path) -> None:
    path = store(tmp_path / "e", 2)
    host = tmp_path / "host.py"
    host.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
        "from pathlib import Path; from storage import preflight\n"
        f"print(preflight.check([Path({str(path)!r})]))\n"  # no __main__ guard
    )
    subprocess.run([sys.executable, str(host)], check=True, timeout=60, capture_output=True)
    assert (tmp_path / "runs").read_text() == "x"


def test_a_folder_with_any_name_is_found(tmp_path: Path) -> None:
    names = ["with space", "quote'\"", "ümläut-Ω"]
    if os.name != "nt":
        names = ["with space", "quote'\"", "ümläut-Ω", os.fsdecode(b"not-utf8-\xff")]
    else:
        names = ["with space", "ümläut-Ω"]
    paths = []
    for name in names:
        source = store(tmp_path / "plain", 1)
        source.rename(tmp_path / name)
        paths.append(tmp_path / name)
    assert reasons(preflight.check(paths)) == {}
    (paths[-1] / DATA_FILE).write_bytes(b"")
    assert reasons(preflight.check(paths)) == {paths[-1].name: "data.mdb has 0 bytes"}


def test_a_relative_path_is_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path / "e", 1)
    (tmp_path / "e" / DATA_FILE).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert reasons(preflight.check([Path("e")])) == {"e": "data.mdb has 0 bytes"}


def test_a_newer_versions_record_is_refused_and_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_SCHEMA", bytes((9, 0)))
    path = store(tmp_path / "e", 1)
    monkeypatch.undo()
    with pytest.raises(FolderRefused, match="schema 9"):
        preflight.check([path])


def test_a_record_that_makes_no_sense_here_is_refused(tmp_path: Path) -> None:
    env = Environment.open(tmp_path / "e", name="test", databases=(TRADES,))
    fields = {**trade_fields(trade()), "state": "WARNING_L9"}
    env.run(lambda change: change.put(TRADES, b"t", fields))
    env.close()
    with pytest.raises(FolderRefused, match="WARNING_L9"):
        preflight.check([tmp_path / "e"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path / "e", 1)
    (path / DATA_FILE).chmod(0)
    with pytest.raises(FolderRefused):
        preflight.check([path])


def test_an_error_of_reading_is_damage_only_if_the_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(tmp_path / "e", 1)

    def failing(code: int) -> Callable[[Path], str]:
        def look(folder: Path) -> str:
            raise OSError(code, "told by the test")

        return look

    monkeypatch.setattr(examine_module, "first_look", failing(5))
    assert examine(path).finding is Finding.DAMAGED
    monkeypatch.setattr(examine_module, "first_look", failing(13))
    assert examine(path).finding is Finding.REFUSED


def test_the_child_leaves_no_compiled_modules(tmp_path: Path) -> None:
    # one that a full disk cut in half would keep the guard from ever starting again
    assert "-B" in preflight._command([["check", str(tmp_path)]])


def test_the_command_line(tmp_path: Path) -> None:
    sound, bad = store(tmp_path / "sound", 1), store(tmp_path / "bad", 1)
    (bad / DATA_FILE).write_bytes(b"")

    def run(*paths: Path) -> tuple[int, list[dict[str, object]]]:
        done = subprocess.run(
            [sys.executable, "-m", "storage.preflight", *map(str, paths)],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
        )
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    code, notes = run(sound)
    assert (code, notes[0]) == (0, {"begin": 0})
    facts = notes[1].pop("facts")
    assert isinstance(facts, dict)
    assert facts["counts"] == {META: 3, TRADES: 1, "things": 1}
    assert notes[1:] == [{"end": 0, "finding": "sound", "reason": ""}]
    code, notes = run(sound, bad)
    assert code == 1
    assert notes[-1] == {
        "end": 1,
        "finding": "damaged",
        "reason": "data.mdb has 0 bytes",
        "facts": None,
    }


FULL_COPY = """
import resource, sys; from pathlib import Path
from defence.errors import StoreFull
from storage import preflight
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
try:
    preflight.copy({Path(sys.argv[1]): Path(sys.argv[2])}, live=sys.argv[3] == "live")
except StoreFull as error:
    print("told", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for a file's size to set there")
@pytest.mark.parametrize("kind", ["live", "at rest"])
def test_a_copy_without_room_is_told(tmp_path: Path, kind: str) -> None:
    path = store(tmp_path / "e", 200)
    code, out, err = finished(python(FULL_COPY, path, tmp_path / "copy", kind))
    assert (code, err) == (0, "")
    assert out.startswith("told")


@pytest.mark.parametrize("live", [True, False])
def test_a_copy_of_nothing_is_no_copy(tmp_path: Path, live: bool) -> None:
    found = preflight.copy({tmp_path / "nothing": tmp_path / "copy"}, live=live)
    (verdict,) = found.values()
    assert verdict.finding is Finding.DAMAGED
    assert verdict.facts is None
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("live", [True, False])
def test_copies_are_whole_and_of_one_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    started = []
    real = preflight._command
    monkeypatch.setattr(preflight, "_command", lambda jobs: started.append(1) or real(jobs))
    pairs = {store(tmp_path / name, 9): tmp_path / f"{name}-copy" for name in "ab"}
    before = {source: preflight.check([source])[source].facts for source in pairs}
    copied = preflight.copy(pairs, live=live)
    assert {source: verdict.facts for source, verdict in copied.items()} == before
    assert len(started) == 3
    for target in pairs.values():
        assert [file.name for file in target.iterdir()] == [DATA_FILE]
        if os.name != "nt":
            assert (target / DATA_FILE).stat().st_mode & 0o777 == 0o600
    assert list(preflight.check(pairs.values()).values()) == list(copied.values())


def test_a_store_that_grows_meanwhile_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tries = store(tmp_path / "e", 3), []
    real = preflight.write_copy

    def outgrown(env: lmdb.Environment, target: Path) -> None:
        tries.append(target)
        if len(tries) <= fails:
            (target / DATA_FILE).write_bytes(b"what was written of it")
            raise lmdb.MapResizedError("told by the test")
        real(env, target)

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(preflight, "write_copy", outgrown)
    fails = 2
    assert reasons(preflight.copy({path: tmp_path / "copy"}, live=True)) == {}
    assert len(tries) == 3
    fails = 99
    found = preflight.copy({path: tmp_path / "again"}, live=True)
    assert "told by the test" in found[path].reason
    assert len(tries) < 20


def test_a_copy_never_replaces_anything(tmp_path: Path) -> None:
    one, other = store(tmp_path / "one", 3), store(tmp_path / "other", 5)
    content = (other / DATA_FILE).read_bytes()
    with pytest.raises(FolderRefused, match="exists"):
        preflight.copy({one: other}, live=True)
    with pytest.raises(FolderRefused, match="parent"):
        preflight.copy({one: tmp_path / "no" / "copy"}, live=True)
    assert (other / DATA_FILE).read_bytes() == content


def test_what_is_damaged_is_not_copied_as_sound(tmp_path: Path) -> None:
    bad, sound = store(tmp_path / "bad"), store(tmp_path / "sound")
    (bad / DATA_FILE).write_bytes(rot((bad / DATA_FILE).read_bytes()))
    for live in (True, False):
        pairs = {each: tmp_path / f"{each.name}-{live}" for each in (bad, sound)}
        found = preflight.copy(pairs, live=live)
        assert set(reasons(found)) == {"bad"}
        assert "checksum" in found[bad].reason
        assert found[bad].facts is None


def test_a_store_at_rest_is_checked_before_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what a compact copy leaves out would pass the check of the copy alone
    looked: list[Path] = []
    verdict = Verdict(Finding.DAMAGED, "its tree lacks a page")

    def look(folder: Path) -> Verdict:
        looked.append(folder)
        return verdict if folder.name == "e" else examine(folder)

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(preflight, "examine", look)
    path, target = store(tmp_path / "e", 1), tmp_path / "copy"
    assert preflight.copy({path: target}, live=False) == {path: verdict}
    assert looked == [path]
    assert not target.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_copying_child_that_is_killed_once_starts_that_copy_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tmp_path / "once"
    how = f"os.path.exists({str(once)!r}) or (open({str(once)!r}, 'w'), os.kill(os.getpid(), 9))"
    started = crashing(monkeypatch, how)
    pairs = {store(tmp_path / name, 1): tmp_path / f"to-{name}" for name in ("a", "b")}
    pairs[store(tmp_path / "x", 1)] = tmp_path / "bad"  # killed when its copy is whole already
    assert reasons(preflight.copy(pairs, live=True)) == {}
    assert [len(jobs) for jobs in started] == [3, 1]


def test_ctrl_c_for_the_host_does_not_reach_the_child(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("sends to a group of POSIX")
    path = store(tmp_path / "e", 1)
    script = """
import os, signal, sys; from pathlib import Path
from storage import preflight
signal.signal(signal.SIGINT, lambda *_: None)  # a host that stays
real = preflight.subprocess.run
def run(command, **options):
    boot = "import time; time.sleep(0.5); " + command[command.index("-c") + 1]
    command = [boot if part is preflight._BOOT else part for part in command]
    preflight.signal.setitimer(signal.ITIMER_REAL, 0.2)
    return real(command, **options)
signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGINT))
preflight.subprocess.run = run
print(*[each.finding for each in preflight.check([Path(sys.argv[1])]).values()])
"""
    code, out, err = finished(python(script, path, start_new_session=True))
    assert (code, err) == (0, "")
    assert out.split() == ["sound"]
    assert signal.SIGINT  # the group of the test itself is another one


def test_store_full_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = preflight.Verdict(Finding.REFUSED, f"{preflight._FULL}told by the test")
    monkeypatch.setattr(preflight, "_run", lambda jobs, timeout: [verdict])
    with pytest.raises(StoreFull, match="told by the test"):
        preflight.copy({tmp_path: tmp_path / "copy"}, live=True)
