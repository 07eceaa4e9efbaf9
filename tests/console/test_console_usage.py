"""Flags, variables, dtms.toml: what is passed on, and how wrong usage is told (status 2)."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import console.run_command
from console import ends, flags
from console.main import app, main
from console.main import run as run_entry
from console.settings import load
from defence.errors import Invalid
from supervisors.settings import Settings

Seen = dict[str, Any]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What `run` would have been given."""
    caught: Seen = {}

    def fake(given: Seen, *, verbose: bool = False) -> int:
        caught.update(given=given, verbose=verbose, settings=load(given))
        return 0

    monkeypatch.setattr(console.run_command, "run", fake)
    return caught


def test_every_setting_has_a_flag_and_secrets_have_none() -> None:
    names = set(inspect.signature(run_entry).parameters) - {"context", "verbose"}
    assert names == set(Settings.model_fields) - set(flags.SECRETS)


EXAMPLES: dict[str, tuple[str, object]] = {
    "terminal": ("simulated", "simulated"),
    "mode": ("observe", "observe"),
    "data_dir": ("d", Path("d")),
    "state_dir": ("s", Path("s")),
    "host": ("127.0.0.2", "127.0.0.2"),
    "port": ("0", 0),
    "duration": ("1.5", 1.5),
    "rate_limit": ("0", 0.0),
    "max_body": ("5", 5),
    "interval": ("2", 2.0),
    "adoption": ("ignore", "ignore"),
    "stale_after": ("1", 1.0),
    "quote_stale_after": ("1", 1.0),
    "history_days": ("30.5", 30.5),
    "reconcile_every": ("1", 1.0),
    "backup_every": ("60", 60.0),
    "backups_kept": ("3", 3),
    "alert_repeat": ("1", 1.0),
    "startup_timeout": ("3", 3.0),
    "max_restarts": ("0", 0),
    "restart_period": ("9", 9.0),
    "escalation": ("stay_down", "stay_down"),
    "hang_after": ("1", 1.0),
    "check_every": ("1", 1.0),
    "stop_timeout": ("1", 1.0),
    "backoff_first": ("0", 0.0),
    "prices": ("a.csv", (Path("a.csv"),)),
    "speed": ("0", 0.0),
    "sim_state": ("f", Path("f")),
    "sim_faults": ("f", Path("f")),
    "sim_conditions": ("typical", "typical"),
    "broker": ("b.json", "b.json"),
    "seed": ("-4", -4),
    "login": ("5", 5),
    "server": ("S", "S"),
    "terminal_path": ("t.exe", Path("t.exe")),
    "call_timeout": ("2", 2.0),
    "terminal_timeout": ("9", 9.0),
    "bridge_host": ("::1", "::1"),
    "bridge_port": ("1", 1),
}
SWITCHES = ("chaos", "portable", "isolate", "bridge_remote")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_flag_reaches_its_setting_alone(name: str, seen: Seen) -> None:
    text, value = EXAMPLES[name]
    assert main([f"--{name.replace('_', '-')}", text]) == 0
    assert set(seen["given"]) == {name}
    assert getattr(seen["settings"], name) == value


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch(name: str, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = name.replace("_", "-")
    assert main([f"--{flag}"]) == 0
    assert getattr(seen["settings"], name) is True
    monkeypatch.setenv(f"DTMS_{name.upper()}", "true")
    assert main([f"--no-{flag}"]) == 0
    assert getattr(seen["settings"], name) is False


def test_all_flags_are_tried() -> None:
    assert {*EXAMPLES, *SWITCHES} == set(Settings.model_fields) - set(flags.SECRETS)


def test_flag_over_variable_over_file(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "dtms.toml").write_text("interval = 11\nspeed = 2\nseed = 9\n")
    monkeypatch.setenv("DTMS_INTERVAL", "12")
    monkeypatch.setenv("DTMS_SPEED", "3")
    assert main(["run", "--interval", "13", "--verbose"]) == 0
    found: Settings = seen["settings"]
    assert (found.interval, found.speed, found.seed) == (13.0, 3.0, 9)
    assert seen["verbose"] is True
    assert main([]) == 0
    assert seen["given"] == {}


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["--prices", "a", "b", "--speed", "0"], ["a", "b"]),
        (["--prices", "a", "--prices", "b", "c"], ["a", "b", "c"]),
        (["--prices=a", "b", "--chaos"], ["a", "b"]),
        (["run", "--chaos", "--prices", "a"], ["a"]),
    ],
)
def test_several_price_files(words: list[str], files: list[str], seen: Seen) -> None:
    assert main(words) == 0
    assert [str(path) for path in seen["settings"].prices] == files


word = st.sampled_from(["--prices", "--prices=x", "--speed", "--", "a", "b.csv", "-v", "run"])


@given(st.lists(word, max_size=8))
def test_spreading_only_adds_flags(words: list[str]) -> None:
    spread = flags.spread(words)
    it = iter(spread)
    assert all(one in it for one in words), "no word is lost or moved"
    assert len(spread) - len(words) == spread.count("--prices") - words.count("--prices")
    assert flags.spread(spread) == spread


SIM_ONLY = (
    ["--prices", "x"],
    ["--sim-faults", "x"],
    ["--sim-state", "x"],
    ["--sim-conditions", "typical"],
    ["--speed", "50"],
    ["--seed", "3"],
)
WRONG = [
    (["--bogus"], "--bogus"),
    (["run", "--interval"], "--interval"),
    (["nonsense"], "'nonsense'"),
    (["run", "extra"], "(extra)"),
    (["--interval", "abc"], "--interval", "'abc'"),
    (["--interval=abc"], "--interval", "'abc'"),
    (["--port", "8.5"], "--port", "'8.5'"),
    (["--interval", "0"], "--interval:", "0.0"),
    (["--interval", "-1"], "--interval:", "-1.0"),
    (["--interval", "nan"], "--interval:", "nan"),
    (["--speed", "inf"], "--speed:", "inf"),
    (["--port", "70000"], "--port:", "70000"),
    (["--terminal", "mt4"], "--terminal:", "'mt4'", "simulated"),
    (["--mode", "sleep"], "--mode:", "'sleep'", "armed"),
    (["--adoption", "x"], "--adoption:", "'x'"),
    (["--escalation", "x"], "--escalation:", "'x'"),
    (["--terminal", "native"], "data_dir:", "--login", "--data-dir"),
    (["--password", "hunter2"], "--password"),
    (["--token", "hunter2"], "--token"),
    (["actions", "--limit", "x"], "--limit", "'x'"),
    (["ctl"], "COMMAND"),
    (["ctl", "kil", "monitor"], "'kil'", "kill"),
    (["ctl", "restart"], "CHILD", "restart"),
    (["ctl", "fault", "{effect: freeze}"], "FAULT", "@FILE"),
    (["ctl", "fault", "@nowhere.json"], "FAULT", "'@nowhere.json'", "cannot be read"),
    (["ctl", "freeze", "--terminal", "native"], "data_dir:", "--login and --server"),
    *((["--terminal", "bridge", "--data-dir", "d", *one], one[0], "bridge") for one in SIM_ONLY),
    (["--sim-faults", "seed:x"], "--sim-faults:", "seed:NUMBER"),
    (["--broker", "x", "--seed", "3"], "--seed:", "'3'", "--broker"),
    (["--terminal", "bridge", "--data-dir", "d", "--broker", "x"], "--broker:", "bridge"),
    (["--broker", "127.0.0.1:99"], "DTMS_BROKER_TOKEN"),
    (["--broker", "broker.example:99"], "--broker:", "not this machine"),
    (["ctl", "set-mode"], "--mode"),
    (["ctl", "resolve", "--intent", "x"], "--done or --not-done"),
    (["ctl", "resolve", "--done"], "--intent"),
    (["ctl", "pause", "monitor"], "CHILD", "'monitor'"),
    (["ctl", "pause", "--seconds", "3"], "--seconds", "3.0"),
    (["ctl", "flatten", "--confirm", "me"], "--confirm", "'me'"),
    (["ctl", "flatten"], "--confirm"),
    (["status", "--port", "0"], "--port"),
    (["status", "--timeout", "0"], "--timeout"),
    (["ctl", "pause", "--host", "guard.example"], "--host", "tunnel"),
]


@pytest.mark.parametrize(("words", "parts"), [(row[0], row[1:]) for row in WRONG])
def test_wrong_usage_is_one_line_and_status_2(
    words: list[str],
    parts: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    (tmp_path / "dtms-data").mkdir()
    (tmp_path / "dtms-data" / "token").write_text("a-token-of-some-length")
    assert main(words) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dtms-data"], "nothing was made"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dtms: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in err
    assert "see " in err or ";" in err, "a remedy"


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("DTMS_PORT", "abc", "DTMS_PORT"),
        ("DTMS_SPEED", "fast", "DTMS_SPEED"),
        ("DTMS_INTERVAL", "-3", "DTMS_INTERVAL"),
        ("DTMS_CHAOS", "perhaps", "DTMS_CHAOS"),
    ],
)
def test_a_wrong_variable(
    variable: str,
    value: str,
    part: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["run"]) == 2
    err = capsys.readouterr().err
    assert part in err
    assert err.count("\n") == 1
    assert "dtms: --" not in err, "no flag was given"


@pytest.mark.parametrize(
    ("text", "part"),
    [('interval = "x', "dtms.toml"), ("intervall = 3", "intervall"), ("\xff", "dtms.toml")],
)
def test_a_wrong_file(
    text: str, part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "dtms.toml").write_bytes(text.encode("latin-1"))
    assert main([]) == 2
    err = capsys.readouterr().err
    assert part in err
    assert err.count("\n") == 1


def test_no_secret_is_repeated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dtms.toml").write_text('password = ["hunter2"]\n')
    assert main([]) == 2
    assert "hunter2" not in capsys.readouterr().err
    (tmp_path / "dtms.toml").unlink()
    monkeypatch.setenv("DTMS_PASSWORD", "hunter2")
    monkeypatch.setenv("DTMS_INTERVAL", "x")
    assert main([]) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_a_package_in_the_way_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocked(*_: object, **__: object) -> int:
        raise ImportError("DTMS needs its own package 'actors', but it would come from /host")

    monkeypatch.setattr(console.run_command, "run", blocked)
    assert main([]) == 1
    assert "would come from /host" in capsys.readouterr().err


def test_ctrl_c_while_it_loads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(console.run_command, "run", interrupted)
    assert main([]) == 130


def test_help_lists_what_exists_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    names = [getattr(command.callback, "__name__", "") for command in app.registered_commands]
    assert names == [
        *("run", "broker", "status", "trades", "actions", "history", "alerts", "poison"),
        *("health", "ctl", "verify", "backup", "restore", "doctor"),
    ]
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for absent in ("plan", "replay"):
        assert f" {absent} " not in text
    assert main(["run", "-h"]) == 0
    assert "--startup-timeout" in capsys.readouterr().out


def test_an_error_as_one_line() -> None:
    error = Invalid("is\nwrong", field="data_dir", value="x\ny", remedy="mend it")
    assert ends.told(error, ["data_dir"]) == "--data-dir: is wrong (got 'x\\ny'); mend it"
    assert ends.told(error) == "data_dir: is wrong (got 'x\\ny'); mend it"
    assert ends.told(Invalid("has 5", field="n", value=5)) == "n: has 5"
    assert len(ends.one_line("x" * 10_000)) < 2100
    assert ends.one_line(json.loads('"a\\u001b[1mb"')) == "a?[1mb"
