"""Buffer between supervisors and the database, in Redis. If it is wiped, nothing is lost.

`buffer()` returns that of this process, for any thread.
"""

from __future__ import annotations

from functools import cache

from django.conf import settings

from runs.lines.buffer.client import connect
from runs.lines.buffer.keys import Stream
from runs.lines.buffer.lists import Lists, Pushed
from runs.lines.buffer.notices import CancelRequested, InspectionRequested, Notice, Notices, StoredUpTo

__all__ = ["Buffer", "CancelRequested", "InspectionRequested", "Notice", "Pushed", "StoredUpTo", "Stream", "buffer"]


class Buffer(Lists, Notices):
    """Buffer with one client for its lists and notices."""

    def __init__(self, url: str) -> None:
        client = connect(url)
        Lists.__init__(self, client)
        Notices.__init__(self, client)

    def allow_connections(self, count: int) -> None:
        """Allow at least `count` connections to Redis."""
        pool = self._client.connection_pool
        pool.max_connections = max(pool.max_connections, count)

    def close(self) -> None:
        """Close its idle connections; it opens new ones when used again."""
        self._client.connection_pool.disconnect()


def buffer() -> Buffer:
    """Return the buffer of this process, at settings.REDIS_URL. It connects when first used."""
    return _buffer(settings.REDIS_URL)


@cache
def _buffer(url: str) -> Buffer:
    return Buffer(url)
