"""Locks of the database that another connection holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from tests.waiting import wait_until

HOLD_S = 60


@contextmanager
def lock_held(sql: str = "", *values: int) -> Iterator[None]:
    """Hold a transaction on another connection during the block, at most HOLD_S, with the locks that `sql` takes."""
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            if sql:
                cursor.execute(sql, values or None)
            begun.set()
            done.wait(HOLD_S)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    wait_until(begun.is_set, timeout_s=30, what="the lock")
    try:
        yield
    finally:
        done.set()
        holder.join()
