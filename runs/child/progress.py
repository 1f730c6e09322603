"""Throttling of progress records. The last one is always sent."""

from __future__ import annotations

import threading

import msgspec

from experiments.arguments import progress_message
from runs.child import jsonable
from runs.child.clocks import CLOCKS
from runs.child.pipe import RecordPipe
from runs.lines.records import PROGRESS

_encode = msgspec.json.Encoder().encode
EVERY_S = 0.05
"""Shortest interval between two records. The newest progress in between is sent after it."""


class ProgressSender:
    """Send progress at most every `every_s`. `flush` sends the newest one. Thread-safe."""

    def __init__(self, pipe: RecordPipe, *, every_s: float = EVERY_S) -> None:
        self._pipe, self._every_s = pipe, every_s
        self._lock = threading.RLock()
        self._sent_at = float("-inf")
        self._held: tuple[float, float | None, str] | None = None
        self._current = 0.0

    def set(self, current: float | None, total: float | None, message: str) -> None:
        """Set the progress. With `current` None, it keeps its value."""
        with self._lock:
            self._current = self._current if current is None else current
            self._held = (self._current, total, message)
            if CLOCKS.monotonic() - self._sent_at >= self._every_s:
                self._send()

    def flush(self) -> None:
        if self._held is not None:
            with self._lock:
                self._send()

    def _send(self) -> None:
        if self._held is not None:
            current, total, message = self._held
            self._held, self._sent_at = None, CLOCKS.monotonic()
            self._pipe.send(PROGRESS, _encode((current, total, progress_message(jsonable.shown(message)))))
