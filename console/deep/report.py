"""The report that is sent back: nothing in it tells whose account it is."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from console import show
from console.deep.probe import Finding, Probe, Verdict
from console.deep.reading import Ground
from console.deep.table import ASSUMPTIONS

FORMAT: Final = 1
_PACKAGES: Final = ("dtms", "MetaTrader5", "numpy", "msgpack")
_SHORTEST: Final = 3  # letters; of less than that every word would be full
_FOLDER: Final = "folder"

# Folders that nobody has named, as in what the package or the system says. Where one ends cannot
# be told for sure, as its name may hold blanks and commas: rather too much goes than too little.
_DRIVE: Final = r"(?<![A-Za-z])[A-Za-z]:[\\/]"
_END: Final = rf"""["<>|\n;]|'(?!\w)|, not | \(-?\d+\)|{_DRIVE}"""
_BEFORE_EXECUTABLE: Final = re.compile(
    rf"""(?:{_DRIVE}|(?<![\w>])[\\/])(?:(?!{_DRIVE})[^"<>|\n])+?(?=[\\/]+terminal64\.exe)""",
    re.IGNORECASE,
)
_OF_WINDOWS: Final = re.compile(rf"(?:{_DRIVE}|(?<![\w>])\\\\)(?:(?!{_END}).)*")
_STRANGERS: Final = re.compile(r"""\b((?:login|server) (?:[\w ]+ )?is )(?:\d+|'[^']*'|"[^"]*")""")


class Scrub:
    """Takes names and numbers of an account, and folders, out of texts."""

    def __init__(self, words: Iterable[tuple[str, object]]) -> None:
        """`words` are pairs of what stands in a text's place, and the text."""
        found = {str(text): name for name, text in words if text is not None}
        found[str(Path.home())] = "home"
        long = {text: name for text, name in found.items() if len(text.rstrip("\\/")) >= _SHORTEST}
        longest = sorted(long.items(), key=lambda pair: -len(pair[0]))
        patterns = [(_pattern(text, name), name) for text, name in longest]
        self._folders = [one for one in patterns if one[1] == _FOLDER]
        self._words = [one for one in patterns if one[1] != _FOLDER]

    def __call__(self, text: str) -> str:
        """Return the text with each of the words, and all other folders, replaced by its name."""
        text = _replaced(text, self._folders)
        for folder in (_BEFORE_EXECUTABLE, _OF_WINDOWS):
            text = folder.sub(f"<{_FOLDER}>", text)
        return _STRANGERS.sub(r"\1<another>", _replaced(text, self._words))


def _pattern(text: str, name: str) -> re.Pattern[str]:
    """Return what finds a word, also where its backslashes are doubled; a folder however spelt."""
    if name not in (_FOLDER, "home"):
        return re.compile(re.escape(text).replace(r"\\", r"\\{1,2}"))
    parts = re.split(r"[\\/]+", text.rstrip("\\/"))
    whole = r"(?!\w)" if name == _FOLDER else ""  # of a longer name all goes, as of any other
    return re.compile(r"[\\/]+".join(map(re.escape, parts)) + whole, re.IGNORECASE)


def _replaced(text: str, patterns: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, name in patterns:
        text = pattern.sub(f"<{name}>", text)
    return text


def scrub_of(
    on: Ground | None,
    *,
    login: int | None = None,
    server: str | None = None,
    folders: Iterable[object] = (),
) -> Scrub:
    """Return what hides the account, its owner, its broker and this machine's folders."""
    words: list[tuple[str, object]] = [("login", login), ("server", server)]
    words += [(_FOLDER, folder) for folder in folders]
    if on is not None:
        account, terminal = on.rows["account"], on.rows["terminal"]
        words += [(name, getattr(account, name, None)) for name in ("login", "server")]
        words += [("owner", getattr(account, "name", None))]
        words += [("broker", getattr(row, "company", None)) for row in (account, terminal)]
        shown = ("path", "data_path", "commondata_path")
        words += [(_FOLDER, getattr(terminal, name, None)) for name in shown]
    return Scrub(words)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was seen. `left` is what stayed behind; None: nobody knows."""

    kind: str
    hosted: bool
    ended: str  # why it went no further; empty if it went to its end
    findings: dict[str, Finding]
    timings: dict[str, dict[str, float]]
    facts: dict[str, Any]
    left: list[str] | None

    @property
    def deviations(self) -> list[str]:
        """The ids of what was not as assumed."""
        return [name for name, one in self.findings.items() if one.verdict is Verdict.DEVIATES]

    @property
    def good(self) -> bool:
        """Whether all that could be tried is as assumed, and nothing was left behind."""
        return not self.ended and not self.deviations and self.left == []


def report_of(
    probe: Probe,
    on: Ground | None,
    *,
    hosted: bool,
    ended: str,
    left: list[str] | None,
    scrub: Scrub,
) -> Report:
    """Put the report together; whatever was not reached is said not to be tried."""
    probe.skip("the examination ended before", *ASSUMPTIONS)
    findings = {
        name: Finding(probe.findings[name].verdict, scrub(probe.findings[name].seen))
        for name in ASSUMPTIONS
    }
    timings = {
        name: {key: round(value, 3) for key, value in asdict(timing).items()}
        for name, timing in probe.timings().items()
    }
    return Report(
        kind=probe.terminal.name,
        hosted=hosted,
        ended=scrub(ended),
        findings=findings,
        timings=timings,
        facts={**_machine(), **({} if on is None else _account(on))},
        left=left,
    )


def _machine() -> dict[str, Any]:
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": packages,
    }


def _account(on: Ground) -> dict[str, Any]:
    account, terminal, symbol = (on.rows[name] for name in ("account", "terminal", "symbol"))
    login = str(account.login)
    of_symbol = (
        *("digits", "trade_calc_mode", "trade_mode", "trade_exemode", "filling_mode"),
        *("trade_stops_level", "trade_freeze_level", "volume_min", "volume_max", "volume_step"),
        *("trade_tick_size", "trade_tick_value", "trade_contract_size"),
    )
    return {
        "login": f"{login[0]}{'*' * (len(login) - 1)}",
        "account": {
            name: getattr(account, name, None)
            for name in ("trade_mode", "margin_mode", "currency", "leverage", "fifo_close")
        },
        "build": getattr(terminal, "build", None),
        "symbol": {name: getattr(symbol, name, None) for name in ("name", *of_symbol)},
    }


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    findings = [
        {
            "id": name,
            "verdict": one.verdict.value,
            "seen": one.seen,
            "assumed": ASSUMPTIONS[name].assumed,
            "tried": ASSUMPTIONS[name].tried,
            "basis": ASSUMPTIONS[name].basis,
        }
        for name, one in report.findings.items()
    ]
    body = {
        "format": FORMAT,
        "terminal": report.kind,
        "hosted": report.hosted,
        "ended": report.ended,
        "left_behind": report.left,
        "facts": report.facts,
        "deviations": report.deviations,
        "findings": findings,
        "milliseconds": report.timings,
    }
    return json.dumps(body, indent=2, default=str)


def draw(report: Report) -> None:
    """Show the report to people."""
    console = show.console()
    rows = [
        (name, one.verdict.value, ASSUMPTIONS[name].assumed, one.seen)
        for name, one in report.findings.items()
    ]
    console.print(show.table("", ("id", "verdict", "what is assumed", "what was seen"), rows))
    heads: Sequence[str] = ("call", "count", "p50 ms", "p99 ms", "longest ms")
    times = [
        (name, int(one["count"]), one["p50"], one["p99"], one["longest"])
        for name, one in report.timings.items()
    ]
    console.print(show.table("", heads, times))
    sys.stdout.write(f"{_summary(report)}\n")


def _summary(report: Report) -> str:
    tried = [one for one in report.findings.values() if one.verdict is not Verdict.NOT_TRIED]
    text = f"{len(tried)} of {len(ASSUMPTIONS)} assumptions tried"
    if report.ended:
        text = f"{text}; it ended early: {report.ended}"
    if report.deviations:
        return f"{text}; {len(report.deviations)} deviate: {', '.join(report.deviations)}"
    return f"{text}; none deviates"
