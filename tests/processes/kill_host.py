"""The process that is killed: a host with a guard, its gateway, and 16 threads that register.

Run as a script. Arguments: data folder, broker's file, work file, file of
acknowledgements. The work is JSON: [ticket, request id] each. Every answer is
appended as one line, in one write, after `register` returned. Says `ready` and
the URL; begins at the line `go`, answers `again` for its work with one JSON
line, and stops at the end of its input.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from pathlib import Path

from gateway import serve
from supervisors import Guard, Settings, Trade

THREADS = 16


def register(guard: Guard, work: queue.SimpleQueue[tuple[int, str]], answers: int) -> None:
    """Register until there is no work, or the guard is over."""
    from defence.errors import DtmsError, Stopped

    while True:
        try:
            ticket, request = work.get_nowait()
        except queue.Empty:
            return
        try:
            done = guard.register(Trade(ticket=ticket), request_id=request)
        except Stopped:
            return
        except DtmsError as error:
            line = {"ticket": ticket, "request": request, "error": f"{type(error).__name__}"}
        else:
            line = {"ticket": ticket, "request": request, "created": done.created}
        os.write(answers, f"{json.dumps(line)}\n".encode())


def again(guard: Guard, pairs: list[tuple[int, str]]) -> str:
    """Send registrations once more, all on one read of the broker; return the answers."""
    trades = [Trade(ticket=ticket) for ticket, _ in pairs]
    done = guard.register_many(trades, request_ids=[request for _, request in pairs], timeout=30)
    return json.dumps([getattr(one, "created", str(one)) for one in done])


def main() -> None:
    """See above."""
    data, broker, work_file, answer_file = (Path(argument) for argument in sys.argv[1:5])
    pairs = [tuple(pair) for pair in json.loads(work_file.read_text(encoding="utf-8"))]
    work: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    for pair in pairs:
        work.put(pair)
    answers = os.open(answer_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    settings = Settings(
        data_dir=data,
        state_dir=data.parent / "state",
        sim_state=broker,
        adoption="ignore",
        mode="observe",
        rate_limit=0,
        port=0,
    )
    with Guard(settings) as guard, serve(guard) as served:
        print("ready", served.url, flush=True)
        for line in sys.stdin:
            if line == "go\n":
                for _ in range(THREADS):
                    threading.Thread(
                        target=register, args=(guard, work, answers), daemon=True
                    ).start()
            else:
                print(again(guard, pairs), flush=True)


if __name__ == "__main__":
    main()
