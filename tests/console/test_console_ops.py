"""Looking at a guard and steering it over HTTP: what is shown, sent, and returned."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console_fakes import FakeApi, Process

from console import show
from console.control import COMMANDS, arguments_of
from console.ctl import ctl
from console.ends import Usage
from console.main import main
from console.ops import address
from supervisors.settings import Settings

Apis = list[FakeApi]
TOKEN = "a-token-of-some-length"


@pytest.fixture
def apis() -> Iterator[Apis]:
    started: Apis = []
    yield started
    for api in started:
        api.close()


def serving(apis: Apis, status: int, body: Any, **more: str) -> list[str]:
    """Start a server that answers so; return the flags that lead to it."""
    api = FakeApi(status, body if isinstance(body, str) else json.dumps(body), **more)
    apis.append(api)
    Path("dtms-data").mkdir(exist_ok=True)
    Path("dtms-data", "token").write_text(TOKEN)
    return ["--port", str(api.port)]


# -- a real guard


def test_looking_at_a_real_guard(
    guard_process: Process, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(guard_process.folder)
    place = ["--port", str(guard_process.port), "--data-dir", "data"]

    def said(*words: str, status: int = 0) -> str:
        assert main([*words, *place]) == status
        out, err = capsys.readouterr()
        if status == 0:
            assert err == ""
        return out

    shown = said("status")
    assert "5001000 on Simulated-Demo" in shown
    for child in ("connector", "registry", "recovery", "monitor", "alert", "admin"):
        assert child in shown
    status = json.loads(said("status", "--json"))
    assert status["ready"] is True
    trades = json.loads(said("trades", "--json"))["trades"]
    shown = said("trades")
    assert len(trades) == status["active_trades"] > 0
    for trade in trades:
        assert str(trade["ticket"]) in shown
        assert trade["symbol"] in shown
    one = str(trades[0]["ticket"])
    actions = json.loads(said("actions", "--ticket", one, "--limit", "1", "--json"))["actions"]
    assert [action["ticket"] for action in actions] == [int(one)]
    assert "adopted" in said("actions")
    assert "0 alerts" in said("alerts")
    assert "ready" in said("health")
    assert json.loads(said("health", "--monitoring", "--json"))["ok"] is True
    assert said("actions", "--limit", "0", "--json", status=1)


def test_steering_a_real_guard(
    guard_process: Process, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(guard_process.folder)
    place = ["--port", str(guard_process.port), "--data-dir", "data"]
    assert main(["ctl", "pause", "--why", "lunch", *place]) == 0
    guard_process.until("mode armed, paused")
    assert main(["ctl", "resume", *place]) == 0
    assert main(["ctl", "backup", "--json", *place]) == 0
    out = capsys.readouterr().out
    backup = json.loads(out[out.index("{") :])
    assert backup["stores"] == ["trades", "ledger", "outbox", "audit"]
    assert (backup["failed"], backup["number"]) == ({}, 1)
    made = Path(backup["backup"])
    assert sorted(path.name for path in made.iterdir()) == sorted(
        [*backup["stores"], "manifest.json"]
    )
    guard_process.until("backup by cli (http 127.0.0.1)")
    assert "cli (http 127.0.0.1) says: pause why=lunch" in guard_process.log

    # refused by the guard: status 1, its words, its remedy
    assert main(["ctl", "kill", "monitor", *place]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "dtms: command: kill is for chaos tests; start the guard with --chaos (HTTP 403)\n"
    )
    assert main(["ctl", "restart", "nobody", *place]) == 1
    assert "child: there is no child 'nobody'" in capsys.readouterr().err
    assert main(["ctl", "flatten", "--confirm", "1", *place]) == 1
    assert "confirm: must be the login" in capsys.readouterr().err

    # without the token nothing is steered
    monkeypatch.setenv("DTMS_TOKEN", "not-the-token-of-the-guard")
    assert main(["ctl", "pause", *place]) == 1
    err = capsys.readouterr().err
    assert "(HTTP 401)" in err
    assert "not-the-token" not in err


def test_a_person_confirms_a_flatten(
    guard_process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(guard_process.folder)
    place = {"port": guard_process.port, "data_dir": "data"}
    asked: list[str] = []

    def no(text: str) -> str:
        asked.append(text)
        return "5001"

    with pytest.raises(Usage, match="'5001' is not the login 5001000; nothing was done"):
        ctl(place, "flatten", {}, as_json=True, patience=5, question=no)
    assert "every position of account 5001000 on Simulated-Demo" in asked[0]
    assert " flatten" not in guard_process.log


# -- no guard, or something else


@pytest.mark.parametrize("words", [["status"], ["ctl", "pause"], ["health", "--json"]])
def test_no_guard_is_status_3(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        assert main([*words, "--port", port]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dtms: no guard to talk to: ")
    assert err.count("\n") == 1
    assert f":{port}" in err


def test_something_else_listens_there(apis: Apis, capsys: pytest.CaptureFixture[str]) -> None:
    place = serving(apis, 200, "<html>hello</html>", kind="text/html")
    assert main(["status", *place]) == 3
    assert "not as a guard does" in capsys.readouterr().err


def test_a_guard_that_does_not_answer_in_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = str(silent.getsockname()[1])
        assert main(["status", "--port", port, "--timeout", "0.1"]) == 3
    assert "did not answer within 0.1 s" in capsys.readouterr().err


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500, 503, 507])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_refusal_is_status_1(
    status: int, as_json: bool, apis: Apis, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"error": "x", "message": "no\nroom", "field": "ticket", "remedy": "mend it"}
    place = serving(apis, status, body)
    assert main(["trades", *place, *(["--json"] if as_json else [])]) == 1
    out, err = capsys.readouterr()
    if status == 401:  # whose token it was, and how another guard's is named
        assert err.startswith("dtms: ticket: no room; mend it; the token was looked for in ")
        assert str(Path("dtms-data", "token").absolute()) in err
        assert "--terminal, --login and --server (and --state-dir)" in err
        assert err.count("\n") == 1
    else:
        assert err == f"dtms: ticket: no room; mend it (HTTP {status})\n"
    assert (json.loads(out) == body) if as_json else (out == "")


@pytest.mark.parametrize(("code", "end"), [(200, 0), (503, 1), (500, 1)])
def test_health_is_shown_whatever_it_is(
    code: int, end: int, apis: Apis, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"status": "not_ready", "ready": False, "reasons": ["monitor is down", "and more"]}
    place = serving(apis, code, body)
    assert main(["health", *place]) == end
    assert "monitor is down; and more" in capsys.readouterr().out
    assert main(["health", "--monitoring", "--json", *place]) == end
    assert json.loads(capsys.readouterr().out) == body
    assert [path for _, path, _ in apis[0].asked] == ["/dtms/health", "/dtms/monitoring/health"]


def test_place_and_token_come_from_the_settings(
    apis: Apis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = serving(apis, 200, {"trades": []})
    (tmp_path / "dtms.toml").write_text(f"port = {place[1]}\n")
    assert main(["trades"]) == 0
    monkeypatch.setenv("DTMS_PORT", "1")
    assert main(["trades"]) == 3
    assert main(["trades", *place]) == 0


REAL = ["--terminal", "native", "--login", "5", "--server", "Broker-Live"]


@pytest.mark.parametrize("command", [["freeze"], ["flatten", "--confirm", "5"]])
def test_the_guard_of_a_real_terminal_is_steered_with_its_token(
    command: list[str], apis: Apis, tmp_path: Path
) -> None:
    place = serving(apis, 200, {"done": True})  # and a folder of a simulation, with its token
    folder = Settings(
        terminal="native", login=5, server="Broker-Live", state_dir=tmp_path / "other"
    ).folder
    folder.mkdir(parents=True)
    (folder / "token").write_text("the-token-of-the-real-one")
    assert main(["ctl", *command, *place]) == 0
    assert main(["ctl", *command, *place, *REAL, "--state-dir", "other"]) == 0
    assert apis[0].keys == [f"Bearer {TOKEN}", "Bearer the-token-of-the-real-one"]


def test_a_wrong_token_says_where_it_was_looked_for(
    apis: Apis, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = serving(apis, 401, {"message": "no"})
    assert main(["ctl", "freeze", *place, *REAL]) == 1
    err = capsys.readouterr().err
    assert f"{tmp_path / 'state' / 'accounts'}" in err
    assert "and there is none" in err
    monkeypatch.setenv("DTMS_TOKEN", "hidden-and-long-enough")
    assert main(["ctl", "freeze", *place]) == 1
    err = capsys.readouterr().err
    assert "that of DTMS_TOKEN" in err
    assert "hidden" not in err


# -- ctl

SENT = [
    (["restart", "monitor"], {"child": "monitor"}),
    (["reset-budget", "monitor"], {"child": "monitor"}),
    (["pause", "--why", "news"], {"why": "news"}),
    (["resume"], {}),
    (["set-mode", "--mode", "observe"], {"mode": "observe"}),
    (["reconcile"], {}),
    (["backup"], {}),
    (["resolve", "--intent", "i1", "--done"], {"intent": "i1", "done": True}),
    (["resolve", "--intent", "i1", "--not-done"], {"intent": "i1", "done": False}),
    (["acknowledge"], {}),
    (["acknowledge", "--alert", "a1"], {"alert": "a1"}),
    (["freeze", "--why", "x"], {"why": "x"}),
    (["flatten", "--confirm", "5001"], {"confirm": 5001}),
    (["shutdown"], {}),
    (["kill", "monitor"], {"child": "monitor"}),
    (["hang", "monitor", "--seconds", "2"], {"child": "monitor", "seconds": 2.0}),
    (["fault", '{"effect": "freeze", "seconds": 60}'], {"effect": "freeze", "seconds": 60}),
    (["clear-faults"], {}),
]


@pytest.mark.parametrize(("words", "body"), SENT)
def test_what_ctl_sends(words: list[str], body: dict[str, Any], apis: Apis) -> None:
    place = serving(apis, 200, {"done": True})
    assert main(["ctl", *words, *place]) == 0
    assert apis[0].asked == [("POST", f"/dtms/admin/{words[0]}", {**body, "by": "cli"})]


def test_every_command_is_tried_and_known_to_the_guard() -> None:
    assert {words[0] for words, _ in SENT} == set(COMMANDS)
    source = (Path(__file__).parents[2] / "actors" / "admin.py").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f'"{name}": self.' in source


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_fault_from_a_file(encoding: str, apis: Apis) -> None:
    place = serving(apis, 200, {"done": True})
    Path("fault.json").write_text('{"effect": "freeze", "seconds": 60}', encoding=encoding)
    assert main(["ctl", "fault", "@fault.json", *place]) == 0
    assert apis[0].asked[0][2] == {"effect": "freeze", "seconds": 60, "by": "cli"}


def test_options_of_another_command_are_refused() -> None:
    assert arguments_of("pause", {"why": None, "mode": None}) == {}
    with pytest.raises(Usage, match="--mode: pause takes none"):
        arguments_of("pause", {"mode": "armed"})


# -- showing


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),  # noqa: S104 - not bound
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
        ("localhost", "http://localhost:1"),
    ],
)
def test_where_a_guard_is_reached(host: str, url: str) -> None:
    assert address(host, 1) == url


def test_what_the_guard_says_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "[red]x[/red]\x1b[31m\nnext"
    show.alerts({"alerts": [{"title": hostile, "text": hostile, "id": "1"}]})
    show.answer({"a": hostile, "b": [hostile], "c": {"d": hostile}})
    text = capsys.readouterr().out
    assert "[red]x[/red]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("body", [{}, {"trades": None}, {"trades": [1]}, {"children": 3}])
def test_a_body_of_another_version_does_not_break_it(
    body: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for draw in (show.status, show.trades, show.actions, show.alerts, show.answer):
        draw(body)
    assert capsys.readouterr().out
