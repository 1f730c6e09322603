"""Limits on connections of the web server: their number, and time-outs for headers and for clients that do not read.

uvicorn has neither: a client that sends half a request, or reads nothing, keeps its connection open. Started with
`--http athanor.connections:Connection`.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from athanor.conf import WebSettings, web_settings
from runs.worker.capacity import file_limit

TICK_S = 5.0
BODY_GRACE_S = 5.0
"""Time in which athanor.requests can refuse a late body before the connection is closed."""
FILES_RESERVED = 200
"""Open files that are left for the database, Redis, static files and artifacts."""
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 10\r\n"
    b"Connection: close\r\n\r\nToo many connections. Try again in a few seconds."
)


class Connection(H11Protocol):
    """uvicorn's HTTP protocol with limits."""

    _limits: WebSettings
    _reading_since: float | None = None
    """Start of an incomplete request; None between two requests and while one is answered."""
    _progress_at = 0.0
    """Last time at which the client had read everything, or more than before."""
    _unsent = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._limits = web_settings()
        if len(self.connections) > min(self._limits.connections_max, file_limit() - FILES_RESERVED):
            transport.write(BUSY)
            transport.close()
            return
        self._reading_since = self._progress_at = self.loop.time()
        self._plan()

    def _plan(self) -> None:
        shortest_s = min(TICK_S, self._limits.header_s / 2, self._limits.unread_s / 2)
        self._timer = self.loop.call_later(shortest_s, self._tick)

    def data_received(self, data: bytes) -> None:
        if self._reading_since is None and self.conn.their_state is h11.IDLE:
            self._reading_since = self.loop.time()
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._reading_since = None

    def resume_writing(self) -> None:
        self._progress_at = self.loop.time()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _tick(self) -> None:
        if self._is_late() or self._is_unread():
            self.transport.abort()
        else:
            self._plan()

    def _is_late(self) -> bool:
        if self._reading_since is None:
            return False
        has_headers = self.conn.their_state is h11.SEND_BODY
        allowed_s = self._limits.body_s + BODY_GRACE_S if has_headers else self._limits.header_s
        return self.loop.time() - self._reading_since > allowed_s

    def _is_unread(self) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent:
            self._progress_at = self.loop.time()
        self._unsent = unsent
        return unsent > 0 and self.loop.time() - self._progress_at > self._limits.unread_s
