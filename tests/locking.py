"""Locks of the database that tests hold in another connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from tests.waiting import wait_until


@contextmanager
def locked(sql: str = "", *values: int) -> Iterator[None]:
    """Hold a transaction with this statement in another connection; without one, only the transaction (for SQLite)."""
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            if sql:
                cursor.execute(sql, values or None)
            begun.set()
            done.wait(60)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    wait_until(begun.is_set, timeout_s=30, what="the lock")
    try:
        yield
    finally:
        done.set()
        holder.join()
