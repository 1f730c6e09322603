"""Beat scheduler: sends ticks by the monotonic clock, and no more than the system workers consume.

Celery's own scheduler uses the wall clock: if that is set back by an hour, it sends nothing for an hour. Its means
against a growing queue, message expiry, compares clocks of two machines: a worker with a fast clock drops all ticks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery.beat import Scheduler as CelerysScheduler
from celery.schedules import schedstate
from kombu.exceptions import KombuError
from redis import RedisError

from runs.exceptions import BufferUnavailable
from runs.lines.buffer import buffer
from runs.wake import waiting

LOOKS: dict[str, Callable[[], bool]] = {
    "runs.tasks.flush": lambda: not buffer().has_dirty(),
    "runs.tasks.schedules": lambda: buffer().has_no_schedules(),
}
"""Task → returns whether Redis shows that it has nothing to do. A tenth of the work of a tick for nothing."""
REST_MAX_S = {"runs.tasks.schedules": 6.0}
"""Task → longest time for which Redis may show that. After it, a tick reads the database. A rest takes 5 s, see
`runs.schedules.rest`; another program that writes to Redis could prolong it.
"""
TICKS_MAX = 30
"""Maximum number of ticks in the queue. A skipped tick does no harm: the next one does its work."""
COUNT_EVERY_S = 2.0
"""Interval between two counts of the ticks in the queue, so that some more than `TICKS_MAX` may be sent."""


class Scheduler(CelerysScheduler):  # type: ignore[misc]  # celery is untyped
    """Send ticks at intervals. The first tick of each task is sent after its period."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._due_at: dict[str, float] = {}
        self._sent_at: dict[str, float] = {}
        self._counted_at = float("-inf")
        self._is_queue_full = False
        super().__init__(*args, **kwargs)

    def is_due(self, entry: Any) -> Any:
        """Return whether an entry is due, and the seconds until it is due again."""
        now, period = time.monotonic(), entry.schedule.run_every.total_seconds()
        due_at = self._due_at.setdefault(entry.name, now)
        if now < due_at:
            return schedstate(False, due_at - now)
        self._due_at[entry.name] = max(due_at + period, now)
        return schedstate(True, self._due_at[entry.name] - now)

    def adjust(self, n: Any, drift: float = 0.0) -> Any:  # noqa: ARG002  # Celery's signature
        """Return the seconds unchanged. Celery subtracts 10 ms, and would loop until they have passed."""
        return n

    def _when(self, entry: Any, next_time_to_run: Any, **_: Any) -> float:  # noqa: ARG002  # Celery's signature
        """Return the sort key of an entry in the heap."""
        return time.monotonic() + float(self.adjust(next_time_to_run) or 0.0)

    def schedules_equal(self, *_: Any, **__: Any) -> bool:
        """Return True: entries do not change, and Celery would compare all of them at each tick."""
        return True

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a tick, unless it would find nothing to do or too many are in the queue."""
        now = time.monotonic()
        rested_s = now - self._sent_at.setdefault(entry.name, now)
        if rested_s < REST_MAX_S.get(entry.task, float("inf")) and _has_nothing_to_do(entry.task):
            return
        if not self._is_backed_up(entry.options["queue"]):
            self._sent_at[entry.name] = now
            super().apply_entry(entry, producer=producer)

    def _is_backed_up(self, queue: str) -> bool:
        now = time.monotonic()
        if now - self._counted_at >= COUNT_EVERY_S:
            self._counted_at = now
            self._is_queue_full = _has_many(queue)
        return self._is_queue_full


def _has_many(queue: str) -> bool:
    try:
        return waiting(queue) >= TICKS_MAX
    except (KombuError, RedisError, OSError):
        return False  # sending the tick reports the error


def _has_nothing_to_do(task: str) -> bool:
    try:
        return task in LOOKS and LOOKS[task]()
    except BufferUnavailable:
        return False  # sending the tick reports the error
