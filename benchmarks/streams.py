"""1,000 open pages: memory of the web process, and how long a line takes from Redis to each of them.

    python -m benchmarks.streams

`benchmarks.live` measures the whole way, from `ctx.log` on, with 100 pages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Report, at_most, quantile
from benchmarks.ground import arguments, ground

STREAMS = 1000
RUNS = 10
ROUNDS = 60
EVERY_S = 0.25
PATIENCE_S = 10.0
MEMORY_MAX_MIB, P99_MAX_S = 250, 0.5


def main() -> None:
    options = arguments(__doc__, database="sqlite")
    with ground(options.database) as place:
        measure(place.folder, Report(f"streams-{options.database}", streams=STREAMS, **vars(options)))


def measure(folder: Path, report: Report) -> None:
    from django.contrib.auth import get_user_model

    from tests.factories import make_attempt
    from tests.web import Web, session_of

    session = session_of(get_user_model().objects.create_superuser("bench"))
    attempts = [make_attempt(lease_s=3600) for _ in range(RUNS)]
    with Web(folder, ATHANOR_RUNS_STREAMS_BY_USER_MAX=str(STREAMS)) as web:
        process = psutil.Process(web.pid)
        before = process.memory_info().rss
        spent: list[float] = []

        def opened() -> None:
            spent.append(sum(process.cpu_times()[:2]))

        delays = asyncio.run(watch(web.port, session, attempts, opened))
        after = process.memory_info().rss
        opened()
        threads = process.num_threads()
    if len(delays) != STREAMS * ROUNDS:
        raise RuntimeError(f"{len(delays):,} of {STREAMS * ROUNDS:,} lines have arrived.")
    note = f"{before / 2**20:.0f} MiB without them; {threads} threads"
    name = f"web process with {STREAMS:,} open pages"
    report.add(f"{name}: RSS", "MiB", [after / 2**20], target=at_most(MEMORY_MAX_MIB), note=note)
    report.add(f"{name}: CPU time of each line at each page", "µs", [1e6 * (spent[1] - spent[0]) / len(delays)])
    report.add("Redis to the page, p50", "s", [quantile(delays, 0.5)])
    report.add("Redis to the page, p99", "s", [quantile(delays, 0.99)], target=at_most(P99_MAX_S))
    report.finish()


async def watch(port: int, session: str, attempts: list[Any], opened: Callable[[], None]) -> list[float]:
    """Open all streams, push lines to each run, and return the delay of each line at each page."""
    delays: list[float] = []
    pages = [Page(session, attempts[number % RUNS].run_id, delays) for number in range(STREAMS)]
    for page in pages:
        await asyncio.get_running_loop().create_connection(lambda page=page: page, "127.0.0.1", port)  # type: ignore[misc]
    for page in pages:
        await page.ready.wait()
    opened()
    for round_number in range(1, ROUNDS + 1):
        await asyncio.to_thread(push, attempts, round_number)
        await asyncio.sleep(EVERY_S)
    deadline = time.monotonic() + PATIENCE_S
    while len(delays) < STREAMS * ROUNDS and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    for page in pages:
        page.close()
    return delays


class Page(asyncio.Protocol):
    """One open page, as cheap as possible: the benchmark measures the server."""

    def __init__(self, session: str, run_id: int, delays: list[float]) -> None:
        self.ready = asyncio.Event()
        self._delays = delays
        lines = (f"GET /admin/runs/run/{run_id}/stream/ HTTP/1.1", "Host: 127.0.0.1", f"Cookie: sessionid={session}")
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if b"retry" in data:
            self.ready.set()
        self._delays.extend(now - float(part[:17]) for part in data.split(b"pushed at ")[1:])

    def close(self) -> None:
        self._transport.close()


def push(attempts: list[Any], number: int) -> None:
    from runs.lines.buffer import buffer
    from runs.lines.buffer.keys import Stream
    from runs.lines.records import LINE, encode, entry

    for attempt in attempts:
        record = encode(LINE, [time.time(), 20, "log", f"pushed at {time.time():.6f}", None])
        entries = [entry(attempt.key, number, record)]
        assert buffer().push(attempt.key, Stream.LINES, after=number - 1, entries=entries).accepted


if __name__ == "__main__":
    main()
