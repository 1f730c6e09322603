"""Differences between transactions on PostgreSQL and SQLite."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from runs.conf import runs_settings
from runs.write_gate import WriteGate

BEGINS_TO_WRITE = ("BEGIN", "INSERT", "UPDATE", "DELETE")
SQLITE_PATIENCE_S = 5.0
TURN_MS = 50
"""Longest single wait of a writer for SQLite's lock. After it, the writer lets renewals pass again."""
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's SQLSTATE for a lock timeout."""


def limit_lock_waits() -> None:
    """Make the current transaction raise OperationalError when it waits for a lock longer than `lock_wait_s`.

    For threads that serve many runs: one locked row or table must not block all of them. SQLite has one lock, with its
    own time limit.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{runs_settings().lock_wait_s * 1000:.0f}ms'")


def has_many_writers() -> bool:
    """Return whether several transactions can write at once."""
    return connection.vendor != "sqlite"


def close_connection() -> None:
    """Close this thread's connection. Django opens another when it is needed."""
    if not connection.in_atomic_block:
        connection.close()


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a database error is a lock timeout rather than an unavailable database."""
    return getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE


def let_renewals_pass() -> None:
    """Make writers of this process wait for renewals of leases if the database allows one writer only."""
    connection_created.connect(_install_gate, dispatch_uid="runs.write_gate")


def _install_gate(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor != "sqlite" or any(isinstance(each, partial) for each in connection.execute_wrappers):
        return
    settings = connection.settings_dict
    patience_s = float(settings["OPTIONS"].get("timeout", SQLITE_PATIENCE_S))
    connection.execute_wrappers.append(partial(_in_turn, WriteGate(str(settings["NAME"])), patience_s))


def _in_turn(
    gate: WriteGate,
    patience_s: float,
    execute: Callable[..., Any],
    sql: str,
    params: Any,
    many: bool,
    context: dict[str, Any],
) -> Any:
    """Run a statement. One that begins a write tries repeatedly, and lets renewals pass before each try."""
    connection = context["connection"]
    if connection.in_atomic_block or not sql.startswith(BEGINS_TO_WRITE):
        return execute(sql, params, many, context)
    deadline = time.monotonic() + patience_s
    connection.connection.execute(f"PRAGMA busy_timeout = {TURN_MS}")
    try:
        while True:
            gate.wait()
            try:
                return execute(sql, params, many, context)
            except OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
    finally:
        connection.connection.execute(f"PRAGMA busy_timeout = {patience_s * 1000:.0f}")
