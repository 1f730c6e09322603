"""Who may ask for SQLite's write lock first: renewals of leases, and then everybody else.

SQLite has one writer and no queue: who asks most often gets the lock. While a renewal waits it holds a lock on a file
beside the database, and other writers let it pass before each of their own tries, for a bounded time. A process that
dies lets go of its locks, and without the file there is no order but nothing else changes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

YIELD_MAX_S = 5.0
"""Longest time that a writer lets renewals pass."""
LOOK_EVERY_S = 0.003


class WriteGate:
    """Light and thread-safe."""

    def __init__(self, database: str) -> None:
        self._path = f"{database}-renewal"
        self._fd: int | None = None

    @contextmanager
    def first(self) -> Iterator[None]:
        """Have other writers wait within the block."""
        fd = self._open()
        with suppress(OSError, ValueError):  # there is no file
            fcntl.flock(fd, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with suppress(OSError, ValueError):  # there is no file
                fcntl.flock(fd, fcntl.LOCK_UN)

    def wait(self) -> None:
        """Let renewals pass. Call it before a transaction that writes."""
        fd = self._open()
        deadline = time.monotonic() + YIELD_MAX_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(fd, fcntl.LOCK_UN)
            except BlockingIOError:
                time.sleep(LOOK_EVERY_S)
            except (OSError, ValueError):
                return
            else:
                return

    def _open(self) -> int:
        if self._fd is None:
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                return -1
        return self._fd
