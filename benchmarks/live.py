"""Time from `ctx.log` in a run to the event at an open page: 100 open pages, 1,000 lines a second.

    python -m benchmarks.live [--seconds 15] [--pages 100] [--rate 1000] [--database postgresql]

The lines are those of 10 runs with as many pages each, and then of one run with all pages, which is 10 times as many
lines to send. Each line says when it was logged; each page is a real HTTP stream, and notes when the line arrives.
`benchmarks.streams` measures the web process with 1,000 pages, from Redis on.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

from benchmarks.contestants import athanor
from benchmarks.figures import Report, at_most, quantile
from benchmarks.ground import arguments, ground

RUNS = 10
P50_MAX_MS, P99_MAX_MS = 50, 250
PATIENCE_S = 60.0
WARM_S = 2.0
"""Lines of the first seconds do not count: the pages open meanwhile."""
LOGGED = re.compile(rb"logged at (\d+\.\d{6})")


def main() -> None:
    options = arguments(__doc__, database="postgresql", seconds=15, pages=100, rate=1000)
    report = Report(f"live-{options.database}", **vars(options))
    with ground(options.database) as place, athanor(place, slots=RUNS, whole=True):
        for runs in (RUNS, 1):
            add(report, runs, options.pages, asyncio.run(watch(place.folder, runs, options)))
    report.finish()


def add(report: Report, runs: int, pages: int, delays_ms: list[float]) -> None:
    where = f"{pages} pages of {runs} run{'s' if runs > 1 else ''}"
    is_promised = runs > 1
    for share, limit in ((0.5, P50_MAX_MS), (0.99, P99_MAX_MS)):
        report.add(
            f"`ctx.log` to the page, p{100 * share:.0f}, {where}", "ms", [quantile(delays_ms, share)],
            target=at_most(limit) if is_promised else None, note=f"{len(delays_ms):,} lines received",
        )  # fmt: skip


async def watch(folder: Path, runs: int, options: Any) -> list[float]:
    """Launch the runs, open the pages, and return the ms that each line took to each page."""
    from tests.web import Web

    with Web(folder, ATHANOR_RUNS_STREAMS_BY_USER_MAX=str(options.pages)) as web:
        launched, session = await asyncio.to_thread(prepare, runs, options.rate // runs, options.seconds)
        pages = [Page(session, launched[number % runs]) for number in range(options.pages)]
        loop = asyncio.get_running_loop()
        for page in pages:
            await loop.create_connection(lambda page=page: page, "127.0.0.1", web.port)  # type: ignore[misc]  # a default argument
        async with asyncio.timeout(options.seconds + PATIENCE_S):
            for page in pages:
                await page.ended.wait()
    if refused := [page for page in pages if not page.lines]:
        raise RuntimeError(f"{len(refused)} of {len(pages)} pages have received no line.")
    first = max(page.opened_at for page in pages) + WARM_S
    return [1000 * (at - logged) for page in pages for logged, at in page.lines if logged > first]


def prepare(runs: int, rate: int, seconds: int) -> tuple[list[int], str]:
    """Launch the runs and log a user in. Return the ids and the key of the session."""
    from django.contrib.auth import get_user_model

    from runs import services
    from tests.waiting import wait_until
    from tests.web import session_of

    user, _ = get_user_model().objects.get_or_create(username="bench", is_superuser=True, is_staff=True)
    configuration = {"rate": rate, "seconds": seconds + WARM_S}
    launched = [services.launch("paced", configuration=configuration) for _ in range(runs)]
    for run in launched:
        wait_until(lambda run=run: run.attempts.exists(), timeout_s=PATIENCE_S, what="its start")  # type: ignore[misc]  # a default argument
    return [run.pk for run in launched], session_of(user)


class Page(asyncio.Protocol):
    """One open page, as cheap as possible: the server is measured."""

    def __init__(self, session: str, run_id: int) -> None:
        self.ended = asyncio.Event()
        self.opened_at = 0.0
        self.lines: list[tuple[float, float]] = []
        """(logged, arrived) of each line."""
        lines = (f"GET /admin/runs/run/{run_id}/stream/ HTTP/1.1", "Host: 127.0.0.1", f"Cookie: sessionid={session}")
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self.opened_at = self.opened_at or now
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        self.lines += [(float(logged), now) for logged in LOGGED.findall(whole + newline)]
        if b"event: end" in whole:
            self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.ended.set()


if __name__ == "__main__":
    main()
