"""Priority for renewals of leases at SQLite's write lock.

SQLite has one writer and no queue: the process that tries most often gets the lock. A renewal that waits holds a lock
on a file beside the database, and other writers wait for that file before each try, for a bounded time. The kernel
releases the locks of a process that dies. Without the file there is no priority, and nothing else changes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

YIELD_MAX_S = 5.0
"""Longest time that a writer waits for renewals."""
POLL_S = 0.003


class WriteGate:
    """Lock file of one database. Cheap to create; thread-safe."""

    def __init__(self, database: str) -> None:
        self._path = f"{database}-renewal"
        self._fd: int | None = None

    @contextmanager
    def first(self) -> Iterator[None]:
        """Make other writers wait during the block."""
        fd = self._open()
        with suppress(OSError, ValueError):  # no file: no priority
            fcntl.flock(fd, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with suppress(OSError, ValueError):  # no file: no priority
                fcntl.flock(fd, fcntl.LOCK_UN)

    def wait(self) -> None:
        """Wait while a renewal is under way. Call it before a transaction that writes."""
        fd = self._open()
        deadline = time.monotonic() + YIELD_MAX_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(fd, fcntl.LOCK_UN)
            except BlockingIOError:
                time.sleep(POLL_S)
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
