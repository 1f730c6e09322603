"""Boot steps of Celery workers, which start and stop Athanor's parts.

A run worker gets a runtime. `close` of its step announces a shutdown (on SIGTERM, SIGQUIT and a crash of the consumer);
`stop` waits until every run has ended or was released. A system worker gets only a watchdog: its tasks may be
interrupted at any point.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, bootsteps
from celery.concurrency.thread import TaskPool as ThreadsPool
from celery.signals import worker_shutting_down

from runs.conf import SYSTEM_QUEUE, runs_settings
from runs.forkserver import prctl
from runs.forkserver.account import AccountUnusable
from runs.supervisor.accounts import accounts_of
from runs.worker import capacity
from runs.worker.runtime import Runtime, set_runtime
from runs.worker.slots import wake_consumer
from runs.worker.watchdog import STALLED_STATUS, Watchdog, sample

logger = logging.getLogger(__name__)

ARENAS_MAX = 2
"""Number of arenas of the allocator. Python's threads run one at a time, so that few allocate at once."""
STOPS_MAX = 5
"""Number of interruptions of the wait for the runs to end."""


def run_queues(worker: Any) -> list[str]:
    """Return the queues of runs that a Celery worker consumes."""
    return [name for name in worker.app.amqp.queues.consume_from if name != SYSTEM_QUEUE]


def refuse_other_pools(worker: Any) -> None:
    """Raise SystemExit unless the worker has the threads pool. In others, tasks would wait forever or block it."""
    if issubclass(worker.pool_cls, ThreadsPool):
        return
    queues = ",".join(worker.app.amqp.queues.consume_from)
    pool = worker.pool_cls.__module__.rpartition(".")[2]
    raise SystemExit(
        f"Athanor's workers need the threads pool, but this one has the pool {pool!r}. Start it with"
        f" `celery -A athanor worker -P threads -c {worker.concurrency} -Q {queues}`."
    )


def refuse_unusable_accounts() -> None:
    """Exit if this worker cannot execute runs as the Unix users of `run_as`."""
    try:
        accounts_of(runs_settings())
    except (AccountUnusable, OSError) as error:
        raise SystemExit(f"This worker cannot execute runs as the users of ATHANOR_RUNS_RUN_AS: {error}.") from error


class RunsStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """Start the runtime of a run worker, and drain it before the worker's pool stops."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.enabled = bool(run_queues(parent))
        self._runtime: Runtime | None = None
        if self.enabled:
            refuse_other_pools(parent)
            capacity.raise_file_limit()
            capacity.refuse_too_many_slots(parent.concurrency)
            refuse_unusable_accounts()

    def start(self, parent: Any) -> None:
        prctl.limit_arenas(ARENAS_MAX)
        self._runtime = Runtime(parent.hostname, run_queues(parent), parent.concurrency, runs_settings())
        set_runtime(self._runtime)
        if parent.hub is not None:
            wake_consumer(parent.pool, parent.hub)
        worker_shutting_down.connect(self._count_signal)
        self._runtime.start()
        # On SIGQUIT, Celery cancels its active tasks within the signal handler. The threads pool cannot do that, and
        # raises in the main thread, wherever that is. Supervisors end the runs instead.
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
            except BaseException as error:  # a signal handler raised during the wait
                logger.warning("The stop was interrupted by %r: ending the drain time", error)
                if self._runtime is not None:
                    self._runtime.end_soon()
            else:
                return

    def terminate(self, parent: Any) -> None:
        """Shut down cold (SIGQUIT, a second Ctrl-C)."""
        if self._runtime is not None:
            self._runtime.end_soon()
        self.stop(parent)

    def _count_signal(self, **_: Any) -> None:
        if self._runtime is not None:
            self._runtime.signals += 1


class SystemStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """Start the watchdog of a system worker, which exits if its consumer stalls."""

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
    logger.critical("The consumer has stalled: it took no tick for %g s. This worker exits.", patience_s)
    os._exit(STALLED_STATUS)


def install(app: Celery) -> None:
    """Add the steps to every worker of `app`. Each enables itself where it applies."""
    app.steps["worker"].update((RunsStep, SystemStep))
