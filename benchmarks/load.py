"""Many keep-alive connections at once, in a process of their own: `python -m benchmarks.load`.

It reads what to send from its standard input as one JSON object, and writes
what came of it to its standard output. A plain client on plain sockets: what
it costs is not what the gateway costs.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Found:
    """What came of it: seconds of each request, and how often each status."""

    latencies: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)


async def _connection(host: str, port: int, work: list[bytes], found: Found) -> None:
    """Send one request after the other, until nobody has any left."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while work:
            body = work.pop()
            began = time.perf_counter()
            writer.write(body)
            status = await _answer(reader)
            found.latencies.append(time.perf_counter() - began)
            found.statuses[status] = found.statuses.get(status, 0) + 1
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> str:
    """Read one answer; return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for line in lines:
        if line[:15].lower() == b"content-length:":
            await reader.readexactly(int(line[15:]))
    return lines[0].split(b" ")[1].decode("ascii")


def request(host: str, port: int, token: str, body: object) -> bytes:
    """Return the bytes of one registration."""
    content = json.dumps(body, separators=(",", ":")).encode("ascii")
    head = (
        f"POST /dtms/trade/enable HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode("ascii") + content


async def run(asked: dict[str, Any]) -> dict[str, object]:
    """Send all bodies over so many connections; return the figures."""
    host, port = asked["host"], asked["port"]
    work = [request(host, port, asked["token"], body) for body in reversed(asked["bodies"])]
    found = Found()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(asked["connections"], len(work))):
            group.create_task(_connection(host, port, work, found))
    took = time.perf_counter() - began
    return {"took": took, "latencies": found.latencies, "statuses": found.statuses}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run(json.load(sys.stdin)))))
