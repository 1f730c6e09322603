"""The steps of Celery's worker that start and stop what Athanor needs in it.

A worker of runs gets its runtime. `close` of its step is the notice of a shutdown (on SIGTERM, SIGQUIT and on a crash
of the consumer); `stop` waits until every run has ended or has been handed back. A system worker gets a watchdog only:
each of its tasks may be interrupted anywhere.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, bootsteps
from celery.concurrency.thread import TaskPool as ThreadsPool
from celery.signals import worker_shutting_down

from runs.conf import SYSTEM_QUEUE, runs_settings
from runs.worker import capacity
from runs.worker.runtime import Runtime, set_runtime
from runs.worker.slots import wake_consumer
from runs.worker.watchdog import STALLED_STATUS, Watchdog, sample

logger = logging.getLogger(__name__)

STOPS_MAX = 5
"""How often the wait for the runs' ends may be interrupted."""


def run_queues(worker: Any) -> list[str]:
    """The queues of runs that a Celery worker consumes."""
    return [name for name in worker.app.amqp.queues.consume_from if name != SYSTEM_QUEUE]


def refuse_other_pools(worker: Any) -> None:
    """Raise SystemExit unless the worker has the threads pool: in all others tasks would wait for ever, or block it."""
    if issubclass(worker.pool_cls, ThreadsPool):
        return
    queues = ",".join(worker.app.amqp.queues.consume_from)
    pool = worker.pool_cls.__module__.rpartition(".")[2]
    raise SystemExit(
        f"Athanor's workers need the threads pool, and this one has the pool {pool!r}. Start it with"
        f" `celery -A athanor worker -P threads -c {worker.concurrency} -Q {queues}`."
    )


class RunsStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """Start the runtime with a worker of runs, and have it drained before the worker's pool is stopped."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.enabled = bool(run_queues(parent))
        self._runtime: Runtime | None = None
        if self.enabled:
            refuse_other_pools(parent)
            capacity.raise_file_limit()
            capacity.refuse_too_many_slots(parent.concurrency)

    def start(self, parent: Any) -> None:
        self._runtime = Runtime(parent.hostname, run_queues(parent), parent.concurrency, runs_settings())
        set_runtime(self._runtime)
        if parent.hub is not None:
            wake_consumer(parent.pool, parent.hub)
        worker_shutting_down.connect(self._count_signal)
        self._runtime.start()
        # At SIGQUIT Celery cancels what it is executing, within the signal's handler, which the threads pool cannot do:
        # it raises in the middle of whatever the main thread does. Runs are ended by their supervisors.
        parent.consumer.cancel_active_requests = self._runtime.end_soon
        logger.info("Supervising up to %d runs (pid %d)", parent.concurrency, os.getpid())

    def close(self, parent: Any) -> None:  # noqa: ARG002  # the step's interface
        if self._runtime is not None:
            self._runtime.drain()

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        for _ in range(STOPS_MAX):
            try:
                if self._runtime is not None:
                    self._runtime.stop(timeout_s=float("inf"))
            except BaseException as error:  # a signal's handler raised in the middle of the wait
                logger.warning("Stopping was interrupted by %r: hurrying", error)
                if self._runtime is not None:
                    self._runtime.end_soon()
            else:
                return

    def terminate(self, parent: Any) -> None:
        """A cold shutdown (SIGQUIT, a second Ctrl-C)."""
        if self._runtime is not None:
            self._runtime.end_soon()
        self.stop(parent)

    def _count_signal(self, **_: Any) -> None:
        if self._runtime is not None:
            self._runtime.signals += 1


class SystemStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """Watch the consumer of a system worker, which ends itself when it takes no ticks any more."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.enabled = SYSTEM_QUEUE in parent.app.amqp.queues.consume_from and not run_queues(parent)
        self._watchdog: Watchdog | None = None
        if self.enabled:
            refuse_other_pools(parent)

    def start(self, parent: Any) -> None:
        slots = parent.concurrency
        patience_s = runs_settings().consumer_stalled_after_s
        self._watchdog = Watchdog(lambda: sample([SYSTEM_QUEUE], slots), _end_stalled, patience_s=patience_s)
        self._watchdog.start()

    def close(self, parent: Any) -> None:  # noqa: ARG002  # the step's interface
        if self._watchdog is not None:
            self._watchdog.end()

    stop = terminate = close


def _end_stalled() -> None:
    patience_s = runs_settings().consumer_stalled_after_s
    logger.critical("Ticks wait for %g s and this worker takes none: it ends itself", patience_s)
    os._exit(STALLED_STATUS)


def install(app: Celery) -> None:
    """Give every worker of `app` the step that it needs."""
    app.steps["worker"].update((RunsStep, SystemStep))
