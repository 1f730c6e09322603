"""What one `runs` worker process has besides Celery: the fork server, the threads that serve all its supervisors, its
row.

Started and stopped by a step of Celery's worker. `close` of that step is the notice of a shutdown (on SIGTERM, SIGQUIT
and on a crash of the consumer); `stop` waits until every run has ended or has been handed back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery, bootsteps
from celery.signals import worker_shutting_down
from django.db import DatabaseError, InterfaceError, connections
from django.db.models.functions import Now
from kombu.exceptions import KombuError
from redis import RedisError

from runs.conf import SYSTEM_QUEUE, RunsSettings, runs_settings
from runs.forkserver import machine
from runs.forkserver.client import ForkServer
from runs.lines.buffer import CancelAsked, InspectionAsked, Notice, buffer
from runs.models import Run, Worker
from runs.states import AttemptKey
from runs.supervisor import events
from runs.supervisor.events import CancelRequested, Draining, LeaseLost, StoredUpTo
from runs.supervisor.recorder import Recorder
from runs.supervisor.supervise import Supervisor
from runs.transitions import Renewed
from runs.wake import waiting
from runs.worker.heartbeat import Heartbeat
from runs.worker.listener import Listener
from runs.worker.resources import ResourceWatch, Usage
from runs.worker.watchdog import DEAF_STATUS, Hearing, Look

logger = logging.getLogger(__name__)

DEAF_GRACE_S = 30.0
"""How long a deaf worker's runs may take to end after they were asked to, before they are left to the reconciler."""
STOPS_MAX = 5
"""How often the wait for the runs' ends may be interrupted."""
SIGNALS_S = 0.5
"""How soon a second signal is noticed while the runs come to their ends."""


class Runtime:
    """The one runtime of a worker process."""

    def __init__(self, name: str, queues: Iterable[str], slots: int, conf: RunsSettings) -> None:
        self.conf = conf
        self.buffer = buffer()
        self.worker = register_worker(name, sorted(queues), slots)
        self.signals = 0
        """How often the process was asked to stop. Set by a signal's handler, which may do nothing else."""
        self.heard = self.claims = self.idle_wakes = 0
        """Wake-ups; those that found a run, and those that found none."""
        self._slots = slots
        self.hurrying = threading.Event()
        self._stopping = threading.Event()
        self._hurried = False
        self._supervisors: dict[AttemptKey, Supervisor] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self.forkserver = ForkServer()
        self.recorder = Recorder(every_s=conf.progress_every_s)
        self.heartbeat = Heartbeat(
            self.worker,
            lease_s=conf.lease_s,
            margin_s=conf.lease_margin_s,
            every_s=conf.heartbeat_s,
            mine=self._keys,
            kept=self.forkserver.keep_alive,
            learned=self._learned,
            counts=lambda: {"claims": self.claims, "idle_wakes": self.idle_wakes},
        )
        self._listener = Listener(
            self.buffer, poll_s=conf.cancel_poll_s, run_ids=self._run_ids, heard=self._heard, flagged=self._flagged
        )
        self._resources = ResourceWatch(self._roots, every_s=conf.resource_poll_s)
        self._hearing = Hearing(self._look, self._end_deaf, patience_s=conf.deaf_after_s)

    def start(self) -> None:
        """Start the fork server and the threads. Raises SpawnFailed if the fork server does not come up."""
        self.forkserver.start()
        self.heartbeat.run_once()
        for thread in self._threads:
            thread.start()

    @property
    def _threads(self) -> tuple[Heartbeat | Listener | Recorder | ResourceWatch | Hearing, ...]:
        return (self.heartbeat, self._listener, self.recorder, self._resources, self._hearing)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def drain(self) -> None:
        """Claim nothing more, tell the children; called again: hurry."""
        self._hurried = self._stopping.is_set()
        event = Draining(hurry=self._hurried)
        if not self._stopping.is_set():
            self._stopping.set()
            threading.Thread(target=self._hurry_when_asked, name="hurry", daemon=True).start()
            _quietly("note its stop", lambda: Worker.objects.filter(pk=self.worker.pk).update(stopping_at=Now()))
        for supervisor in self._all():
            supervisor.post(event)

    def stop(self, timeout_s: float) -> None:
        """Wait until every supervisor is through, at most `timeout_s`; then end the threads and the fork server."""
        if not self.stopping:
            self.drain()
        deadline = time.monotonic() + timeout_s
        while self._wait_for_idle(min(deadline - time.monotonic(), SIGNALS_S)):
            pass  # a signal's handler runs between two waits
        self.hurrying.set()
        for thread in self._threads:
            thread.end()
        self.forkserver.stop()
        _quietly("note its end", lambda: Worker.objects.filter(pk=self.worker.pk).update(stopped_at=Now()))

    def _wait_for_idle(self, timeout_s: float) -> bool:
        """Whether there still is a supervisor, and time to wait for it."""
        with self._idle:
            self._idle.wait_for(lambda: not self._supervisors, max(timeout_s, 0.0))
            return bool(self._supervisors) and timeout_s > 0

    def end_soon(self) -> None:
        """Stop, and give the runs no more time. For a signal's handler, which may meet any lock held by the thread
        that it interrupts: so the work is another thread's.
        """
        self.signals += 2
        threading.Thread(target=self.drain, name="drain", daemon=True).start()

    def _hurry_when_asked(self) -> None:
        """In a thread of its own, since Celery's handler of SIGQUIT has the main thread wait for its pool."""
        while not self.hurrying.wait(SIGNALS_S):
            if self.signals > 1:
                self.hurrying.set()
                self.drain()

    # Whether it still hears

    def _look(self) -> Look:
        try:
            found = sum(waiting(queue) for queue in self.worker.queues)
        except (KombuError, RedisError, OSError):
            found = 0
        except Exception:
            logger.exception("The queues' lengths cannot be told")
            found = 0
        free = 0 if self.stopping else self._slots - len(self._all())
        return Look(heard=self.heard, free=free, waiting=found)

    def _end_deaf(self) -> None:
        logger.critical("Wake-ups wait for %g s and this worker takes none: it ends itself", self.conf.deaf_after_s)
        self.stop(timeout_s=self.conf.drain_s + DEAF_GRACE_S)
        os._exit(DEAF_STATUS)

    # Supervisors come and go

    def add(self, supervisor: Supervisor) -> None:
        with self._lock:
            self._supervisors[supervisor.key] = supervisor

    def remove(self, supervisor: Supervisor) -> None:
        with self._idle:
            self._supervisors.pop(supervisor.key, None)
            self._idle.notify_all()

    def count(self, *, claimed: bool) -> None:
        """Count a wake-up."""
        with self._lock:
            self.claims += claimed
            self.idle_wakes += not claimed

    def tell_at_start(self, supervisor: Supervisor) -> None:
        """What a supervisor may have missed between its claim and its watch: a drain, a cancel."""
        if self.stopping:
            supervisor.post(Draining(hurry=self._hurried))

    def _all(self) -> list[Supervisor]:
        with self._lock:
            return list(self._supervisors.values())

    def _keys(self) -> set[AttemptKey]:
        with self._lock:
            return set(self._supervisors)

    def _run_ids(self) -> set[int]:
        return {key.run_id for key in self._keys()}

    def _roots(self) -> dict[int, Callable[[Usage], None]]:
        return {supervisor.pid: supervisor.measured for supervisor in self._all() if supervisor.pid is not None}

    # What the threads learn

    def _learned(self, asked: set[AttemptKey], renewed: dict[AttemptKey, Renewed]) -> None:
        for supervisor in self._all():
            if supervisor.key not in asked:
                continue
            news = renewed.get(supervisor.key)
            if news is None:
                supervisor.post(LeaseLost())
                continue
            supervisor.post(StoredUpTo(news.lines_stored, news.results_stored))
            if news.cancel_requested_by is not None:
                supervisor.post(CancelRequested(news.cancel_requested_by))
            if news.inspection_asked:
                supervisor.post(events.InspectionAsked())

    def _heard(self, notice: Notice) -> None:
        if isinstance(notice, CancelAsked):
            self._flagged({notice.run_id})
            return
        if isinstance(notice, InspectionAsked):
            for supervisor in self._all():
                if supervisor.key.run_id == notice.run_id:
                    supervisor.post(events.InspectionAsked())
            return
        with self._lock:
            addressed = self._supervisors.get(notice.key)
        if addressed is not None:
            addressed.post(StoredUpTo(notice.lines, notice.results))

    def _flagged(self, run_ids: set[int]) -> None:
        for supervisor in self._all():
            if supervisor.key.run_id in run_ids:
                supervisor.post(CancelRequested(asked_by(supervisor.key.run_id)))


def asked_by(run_id: int) -> str:
    """Who asked for the cancel of a run, if the database can tell now."""
    try:
        return Run.objects.filter(pk=run_id).values_list("cancel_requested_by", flat=True).first() or ""
    except (DatabaseError, InterfaceError):
        return ""


def register_worker(name: str, queues: list[str], slots: int) -> Worker:
    """The row of this very process."""
    return Worker.objects.create(
        name=name,
        host=machine.host(),
        boot_id=machine.boot_id(),
        pid=os.getpid(),
        pid_started=machine.started(os.getpid()) or 0.0,
        queues=queues,
        slots=slots,
    )


def _quietly(what: str, write: Callable[[], Any]) -> None:
    """A write that is welcome but not needed: others judge a worker by its process and its leases."""
    try:
        write()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("The worker could not %s: %s", what, str(error).strip())
    finally:
        connections.close_all()


_runtime: Runtime | None = None


def runtime() -> Runtime:
    """The runtime of this worker process. Raises RuntimeError in any other process."""
    if _runtime is None:
        raise RuntimeError("Runs are executed by a Celery worker of a run queue; this process is none.")
    return _runtime


class SupervisorStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
    """Starts the runtime with the worker, and has it drained before the worker's pool is stopped."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.enabled = bool(run_queues(parent))

    def start(self, parent: Any) -> None:
        global _runtime  # noqa: PLW0603  # one per process, by nature
        conf = runs_settings()
        _runtime = Runtime(parent.hostname, run_queues(parent), parent.concurrency, conf)
        _runtime.start()
        # At SIGQUIT Celery cancels what it is executing, within the signal's handler, which the threads pool cannot do:
        # it raises in the middle of whatever the main thread does. Runs are ended by their supervisors.
        parent.consumer.cancel_active_requests = _runtime.end_soon
        logger.info("Supervising up to %d runs (pid %d)", parent.concurrency, os.getpid())

    def close(self, parent: Any) -> None:  # noqa: ARG002  # the step's interface
        if _runtime is not None:
            _runtime.drain()

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        for _ in range(STOPS_MAX):
            try:
                if _runtime is not None:
                    _runtime.stop(timeout_s=float("inf"))
            except BaseException as error:  # a signal's handler raised in the middle of the wait
                logger.warning("Stopping was interrupted by %r: hurrying", error)
                if _runtime is not None:
                    _runtime.end_soon()
            else:
                return

    def terminate(self, parent: Any) -> None:
        """A cold shutdown (SIGQUIT, a second Ctrl-C)."""
        if _runtime is not None:
            _runtime.end_soon()
        self.stop(parent)


def run_queues(worker: Any) -> list[str]:
    """The queues of runs that a Celery worker consumes."""
    return [name for name in worker.app.amqp.queues.consume_from if name != SYSTEM_QUEUE]


def install(app: Celery) -> None:
    """Give every worker of `app` that consumes a run queue its runtime."""
    app.steps["worker"].add(SupervisorStep)
    worker_shutting_down.connect(_count_signal, weak=False)


def _count_signal(**_: Any) -> None:
    if _runtime is not None:
        _runtime.signals += 1
