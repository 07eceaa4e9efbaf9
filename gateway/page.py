"""GET /: the ops page. It shows what the API says, and nothing else.

The page has no inline script and no inline style, so its policy can forbid
both; all text goes in as text (`textContent`), because symbols, comments and
error messages come from brokers and other programs.
"""

from __future__ import annotations

from typing import Final

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>DTMS</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<header>
<h1>DTMS</h1>
<p id="state" role="status">asking ...</p>
<p id="asked"></p>
</header>
<ul id="reasons" aria-label="Reasons"></ul>
<main>
<section><h2>Guard</h2><div class="wide"><table id="facts"></table></div></section>
<section><h2>Children</h2><div class="wide"><table id="children"></table></div></section>
<section><h2>Trades</h2><div class="wide"><table id="trades"></table></div></section>
<section><h2>Alerts</h2><div class="wide"><table id="alerts"></table></div></section>
<section><h2>Poison</h2><div class="wide"><table id="poison"></table></div></section>
<section><h2>Actions</h2><div class="wide"><table id="actions"></table></div></section>
<section><h2>History</h2><div class="wide"><table id="history"></table></div></section>
</main>
<noscript>This page needs JavaScript; the same is at /dtms/status, /dtms/trades, /dtms/alerts,
/dtms/poison, /dtms/actions and /dtms/history, and on the command line.</noscript>
</body>
</html>
"""

STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --good: #1a7f37; --bad: #cf222e; --odd: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #f85149; --odd: #d29922; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1.5rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 1.5rem 0 .3rem; }
#state { font-weight: 600; margin: 0; }
#asked { margin: 0; opacity: .7; }
#reasons:empty { display: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left;
  vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
td.number { text-align: right; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.odd { color: var(--odd); }
"""

SCRIPT: Final = """
"use strict";

const EVERY = 2000;
const TABLES = {
  children: ["child", "state", "incarnation", "restarts_in_window", "budget_left", "mailbox",
    "parked", "poisoned", "last_exit"],
  trades: ["ticket", "symbol", "direction", "volume", "entry_price", "stop_loss", "take_profit",
    "standing", "state", "result_r", "managed_by", "registered_at", "updated_at"],
  alerts: ["severity", "title", "text", "count", "last_at", "told", "acknowledged_at"],
  poison: ["at", "child", "incarnation", "message", "error", "shown", "lane", "id"],
  actions: ["at", "ticket", "symbol", "kind", "detail", "step", "outcome", "retcode", "price"],
  history: ["closed_at", "ticket", "symbol", "direction", "initial_volume", "entry_price",
    "close_price", "close_profit", "result_r", "standing", "close_reason"],
};
const MOODS = {
  ready: "good", critical: "bad", escalated: "bad", stopped: "bad", WARNING_L1: "odd",
  WARNING_L2: "bad", backoff: "odd", starting: "odd", pending: "odd", stopping: "odd",
  warning: "odd", not_done: "odd", unknown: "bad",
};
const MOOD_OF = ["state", "severity", "outcome"];

function words(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object") {
    const pairs = Object.entries(value).map(([name, one]) => `${name}: ${words(one)}`);
    return pairs.length ? pairs.join(", ") : "–";
  }
  return String(value);
}

function cell(kind, value, column) {
  const made = document.createElement(kind);
  made.textContent = words(value);
  if (typeof value === "number") made.className = "number";
  if (MOOD_OF.includes(column) && Object.hasOwn(MOODS, value)) made.className = MOODS[value];
  return made;
}

function row(cells) {
  const made = document.createElement("tr");
  made.replaceChildren(...cells);
  return made;
}

function table(name, rows) {
  const columns = TABLES[name];
  const head = row(columns.map((column) => cell("th", column.replaceAll("_", " "))));
  const lines = rows.map((one) => row(columns.map((column) => cell("td", one[column], column))));
  if (!lines.length) lines.push(row([cell("td", "none")]));
  document.getElementById(name).replaceChildren(head, ...lines);
}

function say(text, mood) {
  const state = document.getElementById("state");
  state.textContent = text;
  state.className = mood;
  document.title = `DTMS: ${text}`;
}

function showStatus(status) {
  const { children, reasons, ready, ...facts } = status;
  say(ready ? "ready" : "not ready", ready ? "good" : "bad");
  document.getElementById("reasons").replaceChildren(...reasons.map((one) => cell("li", one)));
  document.getElementById("facts").replaceChildren(...Object.entries(facts).map(
    ([name, value]) => row([cell("th", name.replaceAll("_", " ")), cell("td", value)])));
  table("children", Object.entries(children).map(([child, one]) => ({ child, ...one })));
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(10000) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${path}: ${body.message}`);
  return body;
}

async function show(path, name) {
  try {
    table(name, (await ask(path))[name]);
  } catch (error) {
    document.getElementById(name).replaceChildren(row([cell("td", error.message)]));
  }
}

async function refresh() {
  try {
    showStatus(await ask("/dtms/status"));
    await Promise.all([
      show("/dtms/trades", "trades"),
      show("/dtms/alerts", "alerts"),
      show("/dtms/poison?limit=20", "poison"),
      show("/dtms/actions?limit=50", "actions"),
      show("/dtms/history?limit=20", "history"),
    ]);
    document.getElementById("asked").textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    say(`no answer: ${error.message}`, "bad");
  }
  setTimeout(refresh, EVERY);
}

refresh();
"""
