"""Thread that receives notices through Redis: cancels, stored lines, requests for stack traces."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from runs.exceptions import BufferUnavailable
from runs.lines.buffer import Buffer, Notice

logger = logging.getLogger(__name__)

RETRY_S = 1.0


class Listener(threading.Thread):
    """Forward notices, and read the cancel flags every `poll_s` in case a notice was missed."""

    def __init__(
        self,
        buffer: Buffer,
        *,
        poll_s: float,
        run_ids: Callable[[], set[int]],
        on_notice: Callable[[Notice], None],
        on_flags: Callable[[set[int]], None],
    ) -> None:
        super().__init__(name="listener", daemon=True)
        self._buffer, self._poll_s = buffer, poll_s
        self._run_ids, self._on_notice, self._on_flags = run_ids, on_notice, on_flags
        self._ending = threading.Event()
        self._polled_at = float("-inf")

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                self._listen()
            except BufferUnavailable:
                logger.warning("Redis is unavailable: cancels are read from the database until it responds")
                self._ending.wait(RETRY_S)
            except Exception:  # any: the poller reads the same state, only later
                logger.exception("The listener failed; starting again")
                self._ending.wait(RETRY_S)

    def _listen(self) -> None:
        for notice in self._buffer.notices(self._poll_s):
            if self._ending.is_set():
                return
            if notice is not None:
                self._on_notice(notice)
            if time.monotonic() - self._polled_at >= self._poll_s:
                self._polled_at = time.monotonic()
                if run_ids := self._run_ids():
                    self._on_flags(self._buffer.flagged(list(run_ids)))

    def end(self) -> None:
        self._ending.set()
