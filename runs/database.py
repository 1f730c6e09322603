"""What transactions do differently on PostgreSQL and SQLite."""

from __future__ import annotations

from django.db import connection

from runs.conf import runs_settings

LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's code of it."""


def limit_lock_waits() -> None:
    """Have the current transaction raise OperationalError when a lock takes longer than `lock_wait_s`.

    For threads that serve many runs: a row or table that somebody else has locked must not hold up all of them. SQLite
    has one lock, with a time limit of its own.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{runs_settings().lock_wait_s * 1000:.0f}ms'")


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a database error says that a lock was not granted in time, rather than that the database is away."""
    return getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE
