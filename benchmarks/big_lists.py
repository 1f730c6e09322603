"""Benchmark of the list at a million runs and the page of a run of ten million lines: server time and queries.

Run it from the root: `python -m benchmarks.big_lists [runs] [lines] [--database=postgresql]`. On SQLite or a
PostgreSQL of its own in a folder that is thrown away, or on the database that BENCH_DATABASE_URL names (an empty one).
Each page is asked for 5 times; the median is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

BATCH = 20_000
TIMES = 5
RUN_COLUMNS = (
    "experiment", "name", "tags", "configuration", "limits", "seed", "queue", "priority", "on_lost", "max_attempts",
    "retries", "origin_kind", "launched_via", "status", "attempt", "failure_kind", "error", "summary",
    "cancel_requested_by", "progress_message", "created_at", "started_at", "finished_at", "cancel_requested_at",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=1_000_000)
    parser.add_argument("lines", nargs="?", type=int, default=10_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="ath-", dir="/tmp", ignore_cleanup_errors=True) as name,
        database(options.database, Path(name)) as url,
    ):
        os.environ.update(
            DJANGO_SETTINGS_MODULE="athanor.settings", ATHANOR_VAR=name, ATHANOR_DATABASE_URL=url,
            ATHANOR_ALLOWED_HOSTS="testserver", ATHANOR_LOG_LEVEL="ERROR",
        )  # fmt: skip
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        fill(options.runs, options.lines)
        measure(options.runs, options.lines)
        connection.close()


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database."""
    if url := os.environ.get("BENCH_DATABASE_URL"):
        yield url
    elif kind == "sqlite":
        yield f"sqlite://{folder / 'db.sqlite3'}"
    else:
        from tests.servers import PostgresServer

        with PostgresServer(folder / "postgres") as server:
            server.create_database("bench")
            yield server.url("bench")


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


def measure(runs: int, lines: int) -> None:
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
    print(f"{runs:,} runs; median of {TIMES}, at the server")
    for name, path in addresses.items():
        seconds, queries = ask(client, path)
        print(f"  {name:45} {seconds * 1000:7.0f} ms  {queries:3} queries")


def ask(client: Any, path: str) -> tuple[float, int]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    times = []
    for _ in range(TIMES):
        started = time.perf_counter()
        assert client.get(path).status_code == 200, path
        times.append(time.perf_counter() - started)
    with CaptureQueriesContext(connection) as queries:
        client.get(path)
    return statistics.median(times), len(queries)


if __name__ == "__main__":
    main()
