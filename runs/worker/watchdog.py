"""A worker that is up but takes no work: noticed by comparing what it takes with what waits in its queues.

It happens to Celery workers after an outage of the broker: the process lives, its heartbeat beats, and its consumer
never asks for a message again. Nothing within the process mends that, so the process hands its runs back and ends, and
whatever had started it starts it again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

DEAF_STATUS = 75
"""Exit status of a worker that ended itself for being deaf (EX_TEMPFAIL)."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen at one moment."""

    heard: int
    """Wake-ups that this worker has taken so far."""
    free: int
    """Runs that it could take on."""
    waiting: int
    """Wake-ups that lie in its queues; 0 if the broker is away, which is nobody's deafness."""


class Deafness:
    """Decides by looks. Pure but for what it remembers."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._heard: int | None = None
        self._since: float | None = None

    def found(self, look: Look, now: float) -> bool:
        """Whether wake-ups have been waiting for `patience_s` while this worker, with free slots, took none."""
        idle = look.heard == self._heard and look.free > 0 and look.waiting > 0
        self._heard = look.heard
        if not idle:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self._patience_s


class Hearing(threading.Thread):
    """Looks every `every_s`; calls `deaf` once, in this thread, and ends."""

    def __init__(
        self, look: Callable[[], Look], deaf: Callable[[], None], *, patience_s: float, every_s: float = 1.0
    ) -> None:
        super().__init__(name="hearing", daemon=True)
        self._look, self._deaf, self._every_s = look, deaf, every_s
        self._deafness = Deafness(patience_s)
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            if self.run_once():
                self._deaf()
                return

    def run_once(self) -> bool:
        """One look; whether the worker is deaf."""
        return self._deafness.found(self._look(), time.monotonic())

    def end(self) -> None:
        self._ending.set()
