"""A system worker that is up but takes no work ends itself to be started again, as a worker of runs does.

It has no supervisors and nothing to hand back: each of its tasks may be interrupted anywhere.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import bootsteps
from celery.worker import state
from kombu.exceptions import KombuError
from redis import RedisError

from runs.conf import SYSTEM_QUEUE, runs_settings
from runs.wake import waiting
from runs.worker.runtime import run_queues
from runs.worker.watchdog import DEAF_STATUS, Hearing, Look

logger = logging.getLogger(__name__)


class HearingStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """Compares what a system worker takes with what waits in its queue. A worker of runs does that by its runtime."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.enabled = SYSTEM_QUEUE in parent.app.amqp.queues.consume_from and not run_queues(parent)
        self._hearing: Hearing | None = None

    def start(self, parent: Any) -> None:
        slots = parent.concurrency
        self._hearing = Hearing(lambda: _look(slots), _end_deaf, patience_s=runs_settings().deaf_after_s)
        self._hearing.start()

    def close(self, parent: Any) -> None:  # noqa: ARG002  # the step's interface
        if self._hearing is not None:
            self._hearing.end()

    stop = terminate = close


def _look(slots: int) -> Look:
    try:
        found = waiting(SYSTEM_QUEUE)
    except (KombuError, RedisError, OSError):
        found = 0
    except Exception:
        logger.exception("The queue's length cannot be told")
        found = 0
    return Look(heard=state.all_total_count[0], free=slots - len(state.reserved_requests), waiting=found)


def _end_deaf() -> None:
    logger.critical("Ticks wait for %g s and this worker takes none: it ends itself", runs_settings().deaf_after_s)
    os._exit(DEAF_STATUS)
