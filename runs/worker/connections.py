"""Database connections that the threads of a worker share, so that a thread without one needs no new one.

A slot's thread needs the database for some milliseconds, at the start and at the end of a run that may last for days.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

CHECK_AFTER_S = 1.0
"""Time without use after which a connection is checked before its next use, if CONN_HEALTH_CHECKS is set."""


class SharedConnections:
    """Idle connections, at most `idle_max`. Thread-safe. Each is lent to one thread at a time."""

    def __init__(self, idle_max: int) -> None:
        self._idle_max = idle_max
        self._idle: list[tuple[Any, float]] = []
        """Connections (of Django), and when each was used last."""
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[None]:
        """Give this thread a connection for the block. A thread that has an open or lent one uses that."""
        own: Any = connections.all(initialized_only=True)
        if any(connection.connection is not None or connection.allow_thread_sharing for connection in own):
            yield
            return
        lent = connections[DEFAULT_DB_ALIAS] = self._take()
        try:
            yield
        finally:
            del connections[DEFAULT_DB_ALIAS]
            self._give_back(lent)

    def close(self) -> None:
        """Close the idle connections, and from now on each one after its use."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection, _ in idle:
            connection.close()

    def _take(self) -> Any:
        """Return the connection that was used last, or a new one. It connects when it is first used."""
        with self._lock:
            taken = self._idle.pop() if self._idle else None
        if taken is None:
            connection = connections.create_connection(DEFAULT_DB_ALIAS)
            connection.inc_thread_sharing()
            return connection
        connection, used_at = taken
        if time.monotonic() - used_at > CHECK_AFTER_S:
            connection.health_check_done = False
        return connection

    def _give_back(self, connection: Any) -> None:
        """Keep a connection for later. One that failed is closed."""
        if connection.errors_occurred or connection.in_atomic_block:
            connection.close()
        if connection.connection is None:
            return
        with self._lock:
            if not self._closed and len(self._idle) < self._idle_max:
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()
