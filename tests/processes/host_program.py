"""A host program with a guard in it, run as a script: real signals, real exit.

Arguments: the mode, the folder. Says `ready` when the guard is, does what the
mode says, and writes one line for each thing of its own that still worked.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "guard")]


def say(text: str) -> None:
    """Write a line at once, whoever else writes."""
    os.write(1, f"{text}\n".encode())


def settings(folder: Path, **more: Any) -> Any:
    from supervisors import Settings

    return Settings(
        data_dir=folder / "data",
        state_dir=folder / "state",
        interval=0.05,
        check_every=0.05,
        backoff_first=0.01,
        chaos=True,
        max_restarts=1000,
        port=0,
        **more,
    )


def storm(guard: Any) -> None:
    """Keep every thread of the guard busy, and its log too."""
    from defence.errors import DtmsError

    def strike() -> None:
        while True:
            for child in ("monitor", "recovery", "registry"):
                with contextlib.suppress(DtmsError):
                    guard.admin("kill", child=child)
                time.sleep(0.002)

    threading.Thread(target=strike, name="host-strikes", daemon=True).start()


def main() -> None:
    """See above."""
    mode, folder = sys.argv[1], Path(sys.argv[2])
    atexit.register(lambda: say("host: at exit"))
    from gateway import serve
    from supervisors import Guard

    if mode == "ctrl-c in start":
        say("starting")
        try:
            Guard(settings(folder, sim_faults=folder / "faults.json", startup_timeout=60)).start()
        except KeyboardInterrupt:
            left = [one.name for one in threading.enumerate() if one.name.startswith("dtms-")]
            say(f"host: interrupted, left {left}")
            raise SystemExit(130) from None
        return
    if mode == "fingerprint":
        # What else is loaded late, at a start, counts. numpy adds filters of its own to
        # `warnings` when it is imported, by whomever.
        import numpy  # noqa: F401
        from host_kit import Host

        with Host(folder) as host:
            for _ in range(2):
                with Guard(settings(folder)) as guard, serve(guard):
                    host.untouched("started")
                    guard.admin("kill", child="monitor")
                    guard.admin("backup", timeout=60)
                host.untouched("stopped")
                host.gone("stopped")
        say("host: untouched")
        return
    received: list[int] = []
    if mode in ("signals", "children are ignored"):
        for name in ("SIGHUP", "SIGUSR1", "SIGTERM"):
            signal.signal(getattr(signal, name), lambda number, _: received.append(number))
    if mode == "children are ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    guard = Guard(settings(folder)).start()
    if mode == "stop in a handler":

        def stop(number: int, _: object) -> None:
            guard.stop()
            say("host: stopped in the handler")
            raise SystemExit(5)

        guard.points.arm("recovery.on_stop", lambda: time.sleep(0.6))
        signal.signal(signal.SIGTERM, stop)
    if mode == "stop at exit":
        atexit.register(lambda: (guard.stop(), say(f"host: stopped at exit {guard.over}")))
    if mode == "a request hangs":
        _hang_a_request(guard, folder)
    if not mode.startswith("ctrl-c"):
        say("ready")
    if mode == "forgets it":
        storm(guard)
        time.sleep(0.5)
        sys.exit(7)
    if mode in ("stop at exit", "a request hangs"):
        sys.exit(7)
    if mode == "an error":
        sys.excepthook = lambda kind, error, trace: say(f"host: hook {error}")
        raise RuntimeError("the host's own")
    if mode == "children are ignored":
        guard.admin("backup", timeout=60)
        guard.stop()
        again = Guard(settings(folder)).start()
        say(f"host: {again.health().ready}")
        again.stop()
        return
    if mode == "signals":
        while len(received) < 3:
            time.sleep(0.01)
        wanted = {signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM}
        say(f"host: heard {set(received) == wanted}")
        say(f"host: {guard.health().ready}")
        guard.stop()
        return
    if mode == "ctrl-c in wait":
        try:
            say("ready")
            guard.wait()
        except KeyboardInterrupt:
            say(f"host: interrupted, the guard is ready: {guard.health().ready}")
            guard.stop()
            sys.exit(130)
    if mode == "ctrl-c in stop":
        points = guard.points
        points.arm("recovery.on_stop", lambda: time.sleep(1.0))
        try:
            say("stopping")
            guard.stop()
        except KeyboardInterrupt:
            guard.stop()
            left = [one.name for one in threading.enumerate() if one.name.startswith("dtms-")]
            say(f"host: interrupted, over: {guard.over}, left {left}")
            sys.exit(130)
    while True:
        time.sleep(0.05)


def _hang_a_request(guard: Any, folder: Path) -> None:
    """Have an HTTP request wait for an answer that does not come."""
    import httpx2

    from gateway import serve

    served = serve(guard)
    inside = threading.Event()
    real = guard.register_fields

    def slow(*args: Any, **kwargs: Any) -> Any:
        inside.set()
        time.sleep(20.0)
        return real(*args, **kwargs)

    guard.register_fields = slow

    def ask() -> None:
        headers = {"Authorization": f"Bearer {guard.token()}"}
        with httpx2.Client(base_url=served.url, headers=headers, trust_env=False) as client:
            client.post("/dtms/trade/enable", json={"ticket": 1}, timeout=60)

    threading.Thread(target=ask, name="host-client", daemon=True).start()
    inside.wait(10)


if __name__ == "__main__":
    main()
