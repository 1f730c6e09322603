"""The buffer between supervisors and the database, on Redis. It may be wiped at any moment and nothing is lost by it.

`buffer()` is this process's; any thread may use it.
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
    """All that the buffer can do, on one client."""

    def __init__(self, url: str) -> None:
        client = connect(url)
        Lists.__init__(self, client)
        Notices.__init__(self, client)

    def allow_connections(self, count: int) -> None:
        """Let at least so many threads speak to Redis at once."""
        pool = self._client.connection_pool
        pool.max_connections = max(pool.max_connections, count)

    def close(self) -> None:
        """Close its idle connections; it opens new ones when used again."""
        self._client.connection_pool.disconnect()


def buffer() -> Buffer:
    """The buffer of this process, at settings.REDIS_URL. Connects when first used."""
    return _buffer(settings.REDIS_URL)


@cache
def _buffer(url: str) -> Buffer:
    return Buffer(url)
