"""Watchdog for a stalled consumer: a worker with free slots that takes no message although messages wait.

Celery workers may stall after an outage of the broker: the process is alive, its heartbeat continues, but its consumer
never fetches a message again. The process cannot recover, so it releases its runs and exits, and the process
manager (systemd, Docker, `up`) restarts it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from celery.worker import state
from kombu.exceptions import KombuError
from redis import RedisError

from runs import wake

logger = logging.getLogger(__name__)

STALLED_STATUS = 75
"""Exit status of a worker with a stalled consumer (EX_TEMPFAIL)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """State of a consumer at one time."""

    taken: int
    """Number of messages that this worker has taken so far."""
    free: int
    """Number of slots without a task. A slot that waits for a slow database is not free."""
    waiting: int
    """Number of messages in its queues; 0 if the broker is unavailable, which is no stall."""


def sample(queues: Iterable[str], slots: int) -> Sample:
    """Take a sample of this process's consumer."""
    try:
        waiting = sum(wake.waiting(queue) for queue in queues)
    except (KombuError, RedisError, OSError):
        waiting = 0
    except Exception:
        logger.exception("Cannot count the messages of the queues")
        waiting = 0
    return Sample(taken=state.all_total_count[0], free=slots - len(state.reserved_requests), waiting=waiting)


class StallDetector:
    """Decide from samples whether a consumer is stalled. Pure except for its state."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._taken: int | None = None
        self._since: float | None = None

    def is_stalled(self, current: Sample, now: float) -> bool:
        """Return whether messages have waited for `patience_s` while this worker, with free slots, took none."""
        idle = current.taken == self._taken and current.free > 0 and current.waiting > 0
        self._taken = current.taken
        if not idle:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self._patience_s


class Watchdog(threading.Thread):
    """Take ten samples in `patience_s`. Call `stalled` once, in this thread, and end."""

    def __init__(self, take: Callable[[], Sample], stalled: Callable[[], None], *, patience_s: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._take, self._stalled, self._every_s = take, stalled, patience_s / 10
        self._detector = StallDetector(patience_s)
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            if self.run_once():
                self._stalled()
                return

    def run_once(self) -> bool:
        """Take one sample. Return whether the consumer is stalled."""
        return self._detector.is_stalled(self._take(), time.monotonic())

    def end(self) -> None:
        self._ending.set()
