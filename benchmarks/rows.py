"""Rows of lines written without Athanor: what its way to the database is compared with.

Each function stores lines 1 to `count` of attempt 1 of a run, in the same table with its indexes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from benchmarks import work

COLUMNS = "run_id, attempt, seq, time, level, source, message, metadata"
BATCH = 5_000
"""Lines of one statement and transaction, as in a flush."""
BULK = 1_000
"""Objects of one `bulk_create`."""


def new_run() -> int:
    """Create a run with an attempt that nobody executes, and return its id."""
    from tests.factories import make_attempt

    return make_attempt().run_id


def copy(run_id: int, count: int, level: int = 20) -> None:
    """One COPY in its text form (PostgreSQL)."""
    from django.db import connection

    now = datetime.now(UTC).isoformat()
    with connection.cursor() as cursor, cursor.copy(f"COPY runs_logline ({COLUMNS}) FROM STDIN") as out:
        for first, upto in batches(count, BULK):
            out.write(
                "".join(
                    f"{run_id}\t1\t{seq}\t{now}\t{level}\tlog\t{work.line(seq)}\t\\N\n" for seq in range(first, upto)
                )
            )


def executemany(run_id: int, count: int) -> None:
    """`executemany` of plain tuples, one transaction for each batch."""
    from django.db import connection, transaction

    now = str(datetime.now(UTC).replace(tzinfo=None))
    statement = f"INSERT OR IGNORE INTO runs_logline ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
    for first, upto in batches(count, BATCH):
        lines = [(run_id, 1, seq, now, 20, "log", work.line(seq), None) for seq in range(first, upto)]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(statement, lines)


def bulk_create(run_id: int, count: int) -> None:
    """Objects of the model, stored by `bulk_create`."""
    from django.utils import timezone

    from runs.models import LogLine

    for first, upto in batches(count, BULK):
        now = timezone.now()
        LogLine.objects.bulk_create(
            LogLine(run_id=run_id, attempt=1, seq=seq, time=now, level=20, source="log", message=work.line(seq))
            for seq in range(first, upto)
        )


def batches(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (first, after the last) of seqs from 1 to `count`."""
    for first in range(1, count + 1, size):
        yield first, min(first + size, count + 1)
