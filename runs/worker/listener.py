"""The thread that hears, through Redis, of cancels and of what has been stored. All it hears is also in the
database.
"""

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
    """Passes notices on at once, and reads the cancel flags every `poll_s` in case one was missed."""

    def __init__(
        self,
        buffer: Buffer,
        *,
        poll_s: float,
        run_ids: Callable[[], set[int]],
        heard: Callable[[Notice], None],
        flagged: Callable[[set[int]], None],
    ) -> None:
        super().__init__(name="listener", daemon=True)
        self._buffer, self._poll_s = buffer, poll_s
        self._run_ids, self._heard, self._flagged = run_ids, heard, flagged
        self._ending = threading.Event()
        self._polled_at = float("-inf")

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                self._listen()
            except BufferUnavailable:
                logger.warning("Redis is away: cancels are heard by the heartbeat until it is back")
                self._ending.wait(RETRY_S)
            except Exception:  # whatever it is: the database tells it all, but later
                logger.exception("Listening failed; it begins anew")
                self._ending.wait(RETRY_S)

    def _listen(self) -> None:
        for notice in self._buffer.notices(self._poll_s):
            if self._ending.is_set():
                return
            if notice is not None:
                self._heard(notice)
            if time.monotonic() - self._polled_at >= self._poll_s:
                self._polled_at = time.monotonic()
                if run_ids := self._run_ids():
                    self._flagged(self._buffer.flagged(list(run_ids)))

    def end(self) -> None:
        self._ending.set()
