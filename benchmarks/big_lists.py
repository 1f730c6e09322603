"""Measure the list at a million runs and the page of a run of ten million lines: time at the server, and queries.

    python -m benchmarks.big_lists [--runs 1000000] [--lines 10000000] [--database sqlite]

Each page is asked for five times. The bound is 300 ms, but for a search through all lines, which ends after 1.5 s
(`search_s`) and says how far it got.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from benchmarks.figures import Report, at_most
from benchmarks.ground import arguments, ground

BATCH = 20_000
TIMES = 5
PAGE_MAX_MS, SEARCH_MAX_MS = 300, 1_600
RUN_COLUMNS = (
    "experiment", "name", "tags", "configuration", "limits", "seed", "queue", "priority", "on_lost", "max_attempts",
    "retries", "origin_kind", "launched_via", "status", "attempt", "failure_kind", "error", "summary",
    "cancel_requested_by", "progress_message", "created_at", "started_at", "finished_at", "cancel_requested_at",
)  # fmt: skip


def main() -> None:
    options = arguments(__doc__, database="sqlite", runs=1_000_000, lines=10_000_000)
    report = Report(f"big_lists-{options.database}", **vars(options))
    with ground(options.database):
        fill(options.runs, options.lines)
        measure(report, options.runs, options.lines)
    report.finish()


def fill(runs: int, lines: int) -> None:
    """Rows as they would be, by plain SQL."""
    from tests.factories import make_attempt
    from tests.output import end_run

    started = time.monotonic()
    insert("runs_run", RUN_COLUMNS, (run_row(number) for number in range(runs)))
    attempt = make_attempt()
    columns = ("run_id", "attempt", "seq", "time", "level", "source", "message")
    insert("runs_logline", columns, (line_row(attempt.run_id, seq) for seq in range(1, lines + 1)))
    attempt.lines_stored = [[1, lines]]
    attempt.save()
    end_run(attempt)
    print(f"filled in {time.monotonic() - started:.0f} s")


def run_row(number: int) -> tuple[Any, ...]:
    status = ("completed", "failed", "cancelled")[number % 10 // 8 + number % 100 // 99]
    moment = f"2026-{1 + number % 12:02d}-01 00:00:00" if number % 2 else "2026-06-01 00:00:00"
    kind = "error" if status == "failed" else ""
    return (
        "digits", f"run {number}", '["blue"]' if number % 7 == 0 else "[]", f'{{"rate": {number % 97}}}', "{}", number,
        "runs", 0, "retry", 3, "{}", "", "python", status, 1, kind, kind, f'{{"loss": {number % 89}}}', "", "",
        moment, moment, moment, moment,
    )  # fmt: skip


def line_row(run_id: int, seq: int) -> tuple[Any, ...]:
    level = 40 if seq % 100_000 == 0 else 20
    return (run_id, 1, seq, f"2026-03-{1 + seq * 27 // 10_000_001:02d} 12:00:00", level, "log", f"line {seq} of many")


def insert(table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    from django.db import connection, transaction

    named = f"{table} ({', '.join(columns)})"
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY {named} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            cursor.execute(f"ANALYZE {table}")
        return
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {named} VALUES ({', '.join(['%s'] * len(columns))})", batch)


def measure(report: Report, runs: int, lines: int) -> None:
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    from runs.models import Run

    client = Client()
    client.force_login(get_user_model().objects.create_superuser("bench"))
    newest = Run.objects.order_by("-pk")[0].pk
    listed, page = reverse("admin:runs_run_changelist"), reverse("admin:runs_run_change", args=[newest])
    places = reverse("admin:runs_run_lines", args=[newest])
    addresses = {
        "first page": listed,
        "page 100": f"{listed}?p=100",
        "failed": f"{listed}?status__exact=failed",
        "cancelled, of an experiment": f"{listed}?status__exact=cancelled&experiment=digits",
        "a number": f"{listed}?q={newest // 2}",
        "a rare name": f"{listed}?q=run+{runs - 100_000}",
        "a name that does not exist": f"{listed}?q=nowhere",
        "a tag": f"{listed}?tag=blue",
        "a tag that does not exist": f"{listed}?tag=nowhere",
        "since a day": f"{listed}?since=2026-11-15",
        "columns, sorted by a result": f"{listed}?columns=config.rate,result.loss&sort=-result.loss",
        "home": reverse("admin:index"),
        f"page of a run of {lines:,} lines": page,
        "its middle": f"{places}?around={lines // 2}",
        "its beginning": f"{places}?after=1.0",
        "a time": f"{places}?go=2026-03-14+12:00:00",
        "errors only": f"{places}?level=error",
        "a text that does not occur (1.5 s at most)": f"{places}?text=nowhere",
    }
    for name, path in addresses.items():
        times_ms, queries = ask(client, path)
        limit = SEARCH_MAX_MS if name.startswith("a text") else PAGE_MAX_MS
        report.add(name, "ms", times_ms, target=at_most(limit), note=f"{queries} queries")


def ask(client: Any, path: str) -> tuple[list[float], int]:
    """Return the ms of each request, and the number of queries."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    times = []
    for _ in range(TIMES):
        started = time.perf_counter()
        assert client.get(path).status_code == 200, path
        times.append(1000 * (time.perf_counter() - started))
    with CaptureQueriesContext(connection) as queries:
        client.get(path)
    return times, len(queries)


if __name__ == "__main__":
    main()
