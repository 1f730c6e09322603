"""The watchdog for a stalled consumer: a worker that is up, has free slots, and takes none of the messages that wait.

It happens to Celery workers after an outage of the broker: the process lives, its heartbeat beats, and its consumer
never asks for a message again. Nothing within the process repairs that, so the process hands its runs back and ends,
and whatever had started it starts it again.
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
"""Exit status of a worker that ended itself for a stalled consumer (EX_TEMPFAIL)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of a consumer at one moment."""

    taken: int
    """Messages that this worker has taken so far."""
    free: int
    """Slots in which nothing is executed. One that waits for a slow database is not free."""
    waiting: int
    """Messages in its queues; 0 if the broker is away, which is not the consumer's fault."""


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
    """Decide by samples whether a consumer is stalled. Pure but for what it remembers."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._taken: int | None = None
        self._since: float | None = None

    def is_stalled(self, current: Sample, now: float) -> bool:
        """Whether messages have been waiting for `patience_s` while this worker, with free slots, took none."""
        idle = current.taken == self._taken and current.free > 0 and current.waiting > 0
        self._taken = current.taken
        if not idle:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self._patience_s


class Watchdog(threading.Thread):
    """Takes a sample every `every_s`; calls `stalled` once, in this thread, and ends."""

    def __init__(
        self, take: Callable[[], Sample], stalled: Callable[[], None], *, patience_s: float, every_s: float = 1.0
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._take, self._stalled, self._every_s = take, stalled, every_s
        self._detector = StallDetector(patience_s)
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            if self.run_once():
                self._stalled()
                return

    def run_once(self) -> bool:
        """Take one sample; whether the consumer is stalled."""
        return self._detector.is_stalled(self._take(), time.monotonic())

    def end(self) -> None:
        self._ending.set()
