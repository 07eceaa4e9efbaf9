"""The ops page: nothing inline, and hostile text stays text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest
from gateway_fakes import HOSTILE, TICKET, FakeGuard

from defence.errors import NotReady
from gateway.page import SCRIPT, STYLE
from supervisors.overview import Health


class Seen(HTMLParser):
    """Collects what a policy could object to."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._in = tag
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").startswith("javascript:"):
                self.inline.append(f"{tag} {name}")
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.inline.append(tag)
        self.ids.append(given.get("id") or "")
        target = given.get("src") or (given.get("href") if tag == "link" else None)
        if target:
            self.loads.append(target)

    def handle_data(self, data: str) -> None:
        if self._in == "script" and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


def test_the_page_keeps_its_own_policy(guard: FakeGuard, client: httpx2.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    seen = Seen()
    seen.feed(answer.text)
    assert seen.inline == []
    kinds = {"/page.js": "text/javascript", "/page.css": "text/css"}
    assert sorted(one for one in seen.loads if not one.startswith("data:")) == sorted(kinds)
    for path, kind in kinds.items():
        part = client.get(path)
        assert (part.status_code, part.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert guard.calls == []


def test_the_script_puts_text_in_as_text_only() -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|"
        r"createContextualFragment|setAttribute|\.style\b|\.href\b|\.src\b|srcdoc"
    )
    assert re.search(forbidden, SCRIPT) is None
    assert "textContent" in SCRIPT
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_the_script_finds_its_places(guard: FakeGuard, client: httpx2.Client) -> None:
    seen = Seen()
    seen.feed(client.get("/").text)
    wanted = set(re.findall(r'getElementById\("(\w+)"\)', SCRIPT))
    wanted |= set(re.findall(r"^  (\w+): \[", SCRIPT, re.MULTILINE))
    assert wanted <= set(seen.ids)
    assert {"children", "trades", "alerts", "actions", "facts"} <= set(seen.ids)


BROWSER = """
const fs = require("fs"), vm = require("vm");
const [script, answers] = process.argv.slice(2).map((name) => fs.readFileSync(name, "utf8"));
const bodies = JSON.parse(answers), made = [];
class Element {
  constructor(tag) { this.tag = tag; this.children = []; this.textContent = ""; }
  replaceChildren(...nodes) { this.children = nodes; }
}
for (const name of ["innerHTML", "outerHTML"])
  Object.defineProperty(Element.prototype, name, { set() { throw new Error(name); } });
const places = {};
const document = {
  title: "",
  createElement(tag) { made.push(tag); return new Element(tag); },
  getElementById(id) { return places[id] ??= new Element("#" + id); },
};
const asked = [];
async function fetch(path) {
  asked.push(path);
  const [status, body] = bodies[path];
  return { ok: status === 200, status, json: async () => body };
}
let again = 0;
const context = { document, fetch, AbortSignal: { timeout() {} }, console,
  setTimeout(call) {
    again += 1;
    const flat = (one) => [one.textContent, one.className ?? "", one.children.map(flat)];
    const out = {};
    for (const [id, place] of Object.entries(places)) out[id] = flat(place);
    process.stdout.write(JSON.stringify({
      again, asked, title: document.title, tags: [...new Set(made)].sort(), places: out }));
  } };
vm.runInNewContext(script, context);
"""


def browse(tmp_path: Path, client: httpx2.Client) -> dict[str, object]:
    """Run the page's script as it is served, against what the gateway answers."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node to run the page's script")
    answers = {}
    lists = ("/dtms/trades", "/dtms/alerts", "/dtms/poison?limit=20", "/dtms/actions?limit=50")
    for path in ("/dtms/status", *lists):
        answer = client.get(path)
        answers[path] = [answer.status_code, answer.json()]
    files = {
        "browser.cjs": BROWSER,
        "page.js": client.get("/page.js").text,
        "answers.json": json.dumps(answers),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [node, *(str(tmp_path / name) for name in files)],
        capture_output=True,
        timeout=20,
        check=False,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_hostile_text_is_shown_as_text(
    guard: FakeGuard, client: httpx2.Client, tmp_path: Path
) -> None:
    found = browse(tmp_path, client)
    assert found["tags"] == ["td", "th", "tr"]  # no other element was ever made
    assert found["title"] == "DTMS: ready"
    places = found["places"]
    assert isinstance(places, dict)
    assert places["state"][:2] == ["ready", "good"]
    trades = json.dumps(places["trades"])
    assert json.dumps(HOSTILE) in trades
    assert str(TICKET) in trades
    assert json.dumps(["leaked threads", "", []]) in json.dumps(places["facts"])
    for name in ("alerts", "poison", "actions", "facts"):
        assert HOSTILE in json.dumps(places[name])
    assert json.dumps(["escalated", "bad", []]) in json.dumps(places["children"])
    assert found["again"] == 1


def test_the_page_says_why_when_a_part_fails(
    guard: FakeGuard, client: httpx2.Client, tmp_path: Path
) -> None:
    guard.judged = Health(503, False, False, False, 0, (HOSTILE,))
    guard.errors["trades"] = NotReady("registry is down")
    places = browse(tmp_path, client)["places"]
    assert isinstance(places, dict)
    assert places["state"][:2] == ["not ready", "bad"]
    assert places["reasons"][2] == [[HOSTILE, "", []]]
    assert "/dtms/trades: registry is down" in json.dumps(places["trades"])
    assert HOSTILE in json.dumps(places["alerts"])
