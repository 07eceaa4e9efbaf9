"""Rounds of killing on one data folder, and the books of what was acknowledged."""

from __future__ import annotations

import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from process_kit import ROOT, broker_file

from storage.trades import TradeStore

CLIENTS = 16
NEW = 64  # tickets that are new in a round
PATIENCE = 60.0  # seconds, for a machine that is busy
START = 1.2  # seconds in which a start is struck; it takes about that long
EARLY, STORM, STOP = "before it is ready", "in the storm", "at the stop"

Pair = tuple[int, str]  # ticket, request id


@dataclass
class Books:
    """What was sent and what was answered, by ticket; kept outside the guard."""

    sent: dict[int, set[str]] = field(default_factory=dict)
    created: dict[int, str] = field(default_factory=dict)  # the request that heard `created`
    known: set[int] = field(default_factory=set)  # acknowledged, to whomever
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, pair: Pair) -> None:
        """Note that a request is about to be sent."""
        with self.lock:
            self.sent.setdefault(pair[0], set()).add(pair[1])

    def heard(self, ticket: int, request: str, *, created: bool) -> None:
        """Note an acknowledgement."""
        with self.lock:
            self.known.add(ticket)
            first = self.created.setdefault(ticket, request) if created else None
            if first not in (None, request):
                self.faults.append(f"{ticket} was created for {first} and for {request}")
            if not created and self.created.get(ticket) == request:
                self.faults.append(f"{ticket}: {request} heard `created`, and now that it is not")


class Host:
    """One life of the process that is killed."""

    def __init__(self, folder: Path, work: list[Pair], environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.answers = folder / "answers.jsonl"
        self.answers.unlink(missing_ok=True)
        (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DTMS_")}
        self.errors = (folder / "errors.txt").open("w+", encoding="utf-8")
        names = ("data", "broker.json", "work.json", "answers.jsonl")
        self.popen = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "tests" / "processes" / "kill_host.py"),
                *(str(folder / name) for name in names),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**clean, "PYTHONPATH": str(ROOT), **environ},
            cwd=folder,
            text=True,
        )

    def line(self) -> str:
        """Return its next line; fails with what it wrote on standard error."""
        assert self.popen.stdout is not None
        said = self.popen.stdout.readline().strip()
        assert said, self._why()
        return said

    def say(self, word: str) -> None:
        """Tell it something."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{word}\n")
        self.popen.stdin.flush()

    def stop(self) -> None:
        """Ask it to stop: its input ends."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    def kill(self) -> bool:
        """Kill it as the machine would; return whether it still ran."""
        ran = self.popen.poll() is None
        self.popen.kill()
        self.popen.wait(PATIENCE)
        return ran

    def end(self) -> None:
        """Leave nothing behind."""
        self.kill()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # what was to be told to the dead
        self.errors.close()

    def _why(self) -> str:
        self.popen.wait(PATIENCE)
        self.errors.seek(0)
        return f"the host ended with {self.popen.returncode}: {self.errors.read()[-2000:]}"


class Storm:
    """One data folder, one broker that outlives its guards, and the rounds."""

    def __init__(self, folder: Path, seed: int, **environ: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.environ = environ
        self.books = Books()
        self.moments: Counter[str] = Counter()
        self.cut = 0  # requests without an answer: the kill came between
        self._chance = random.Random(seed)
        self._next = 1001
        self._waiting: list[Pair] = []  # to be sent again with the same id
        broker_file(folder / "broker.json", [])

    def round(self, moment: str) -> None:
        """Start, register from both sides, kill at that moment, look at what is left."""
        mine, theirs = self._work()
        for pair in mine:
            self.books.send(pair)
        host = Host(self.folder, mine, self.environ)
        try:
            if moment == EARLY:
                time.sleep(self._chance.uniform(0, START))
                self.killing(host)
                ran = host.kill()
            else:
                ran = self._storm(host, theirs, stop=moment == STOP)
        finally:
            host.end()
        self.ended(host)
        self.moments[moment if ran else f"{moment}, too late"] += 1
        self._read(host.answers)
        with self.books.lock:
            self._waiting = [pair for pair in (*mine, *theirs) if pair[0] not in self.books.known]
        self.look()

    def killing(self, host: Host) -> None:
        """Look at a host a moment before it is killed."""

    def ended(self, host: Host) -> None:
        """Look at what a host has left behind that has just been killed."""

    def _work(self) -> tuple[list[Pair], list[Pair]]:
        """Return the pairs for the host's threads, and those for the clients.

        Every fourth ticket is wanted by both, under different ids.
        """
        tickets = list(range(self._next, self._next + max(0, NEW - len(self._waiting))))
        self._next += len(tickets)
        self._open_positions(tickets)
        fresh = [(ticket, f"{ticket}-a") for ticket in tickets]
        fresh += [(ticket, f"{ticket}-b") for ticket in tickets if ticket % 4 == 0]
        old = self._chance.sample(
            sorted(self.books.created.items()), k=min(4, len(self.books.created))
        )
        pairs = [*self._waiting, *fresh, *old]
        self._chance.shuffle(pairs)
        half = len(pairs) // 2
        return pairs[:half], pairs[half:]

    def _open_positions(self, tickets: list[int]) -> None:
        """Add positions to the broker's file, while no guard has it."""
        path = self.folder / "broker.json"
        more = broker_file(self.folder / "more.json", tickets)
        books, new = (json.loads(one.read_text(encoding="utf-8")) for one in (path, more))
        books["positions"] += new["positions"]
        more.write_text(json.dumps(books), encoding="utf-8")
        more.replace(path)

    def _storm(self, host: Host, theirs: list[Pair], *, stop: bool) -> bool:
        said = host.line().split()
        assert said[0] == "ready"
        enough, strike = self._chance.randint(0, len(theirs) // 2), threading.Event()
        wait = self._chance.uniform(0, 0.03)
        clients = Clients(said[1], self.folder / "data" / "token", theirs, self.books)
        clients.start(strike, enough)
        host.say("go")
        assert strike.wait(PATIENCE)
        if stop:
            host.stop()
            wait *= 5  # a stop takes a few tenths of a second
        time.sleep(wait)
        self.killing(host)
        ran = host.kill()
        clients.join()
        self.cut += clients.cut
        return ran

    def _read(self, answers: Path) -> None:
        """Take the host's acknowledgements over into the books."""
        if not answers.exists():
            return
        for line in answers.read_text(encoding="utf-8").splitlines(keepends=True):
            assert line.endswith("\n"), "a line in one write is whole or not there"
            said = json.loads(line)
            if "error" in said:
                refused(said["error"], self.books, said["ticket"])
            else:
                self.books.heard(said["ticket"], said["request"], created=said["created"])

    # -- what is left

    def look(self) -> None:
        """Compare the store with the books, while no guard has it."""
        data = self.folder / "data" / "trades"
        if not (data / "data.mdb").exists():
            assert not self.books.known, "the store is gone"
            return
        store = TradeStore.open(data)
        try:
            trades, _ = store.load()
            actions = store.actions(1_000_000)
        finally:
            store.close()
        books = self.books
        there = Counter(trade.ticket for trade in trades.values())
        told = Counter(action.ticket for action in actions if action.kind == "registered")
        by = {trade.ticket: trade.created_by for trade in trades.values()}
        ids = {action.ticket: action.id for action in actions if action.kind == "registered"}
        lost = sorted(books.known - set(there))
        assert not lost, f"{len(lost)} acknowledged tickets are lost: {lost[:5]}"
        assert books.faults == []
        assert set(there.values()) <= {1}, "a ticket has two records"
        assert told == there, "an action `registered` for each trade, once"
        assert len(trades) == len(there)
        for ticket, request in by.items():
            assert request == books.created.get(ticket, request), f"{ticket} has another's id"
            assert request in books.sent.get(ticket, ()), f"{ticket} was never sent as {request}"
            assert ids[ticket] == request

    def finish(self) -> int:
        """Send all of it again, with the same ids, to a fresh guard; return how many."""
        pairs = sorted(self.books.created.items())
        host = Host(self.folder, pairs, self.environ)
        try:
            assert host.line().startswith("ready")
            host.say("again")
            answers = json.loads(host.line())
            host.stop()
            assert host.popen.wait(PATIENCE) == 0
        finally:
            host.end()
        wrong = [pair for pair, answer in zip(pairs, answers, strict=True) if answer is not True]
        assert not wrong, f"a repeated request heard something else: {wrong[:5]}"
        self.look()
        return len(pairs)


# what may be heard of a guard that is stopping: it is sent again in the next round
_LATER = {"Stopped", "NotReady", "DeadlinePassed", "BrokerUnknown", "TryAgain", "MailboxFull"}


def refused(name: str, books: Books, ticket: int) -> None:
    """Note a refusal that no stopping guard would give."""
    if name not in _LATER:
        with books.lock:
            books.faults.append(f"{ticket} was refused: {name}")


class Clients:
    """Sixteen clients of the gateway in this process."""

    def __init__(self, url: str, token: Path, pairs: list[Pair], books: Books) -> None:
        self.cut = 0
        self._place = url.removeprefix("http://")
        self._token = token.read_text(encoding="utf-8").strip()
        self._work: queue.SimpleQueue[Pair] = queue.SimpleQueue()
        for pair in pairs:
            self._work.put(pair)
        self._books = books
        self._answers = 0
        self._threads: list[threading.Thread] = []

    def start(self, strike: threading.Event, enough: int) -> None:
        """Begin; `strike` is set after so many answers, or when nothing is left to do."""
        if enough == 0:
            strike.set()
        for _ in range(CLIENTS):
            thread = threading.Thread(target=self._run, args=(strike, enough), daemon=True)
            thread.start()
            self._threads.append(thread)

    def join(self) -> None:
        """Wait for all of them."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _run(self, strike: threading.Event, enough: int) -> None:
        connection = HTTPConnection(self._place, timeout=PATIENCE)
        try:
            while not self._work.empty():
                try:
                    ticket, request = self._work.get_nowait()
                except queue.Empty:
                    break
                self._books.send((ticket, request))
                try:
                    status, body = self._post(connection, ticket, request)
                except (OSError, HTTPException, ValueError):
                    with self._books.lock:
                        self.cut += 1
                    break  # the guard is gone
                if status == 200:
                    self._books.heard(ticket, request, created=body["created"])
                elif status != 503:
                    refused(f"{status} {body}", self._books, ticket)
                with self._books.lock:
                    self._answers += 1
                    if self._answers >= enough:
                        strike.set()
        finally:
            connection.close()
            strike.set()

    def _post(self, connection: HTTPConnection, ticket: int, request: str) -> tuple[int, Any]:
        connection.request(
            "POST",
            "/dtms/trade/enable",
            json.dumps({"ticket": ticket}),
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self._token}",
                "Idempotency-Key": request,
            },
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
