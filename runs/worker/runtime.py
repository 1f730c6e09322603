"""Everything that one worker of runs has once: the fork server, the threads that serve all supervisors, its row.

Started and stopped by `runs.worker.steps`, and free of Celery.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, InterfaceError, connections
from django.db.models.functions import Now

from runs import __version__, transitions
from runs.conf import RunsSettings
from runs.database import close_connection, has_many_writers
from runs.forkserver import machine
from runs.forkserver.client import ForkServer
from runs.forkserver.clock import lease_clock
from runs.lines.buffer import CancelAsked, InspectionAsked, Notice, buffer
from runs.models import Attempt, Run, Worker
from runs.states import AttemptKey
from runs.supervisor import events
from runs.supervisor.events import CancelRequested, Draining, LeaseLost, StoredUpTo
from runs.supervisor.recorder import Recorder
from runs.supervisor.resources import Usage
from runs.supervisor.worker_services import Member, WorkerServices
from runs.transitions import AttemptNews
from runs.worker import capacity
from runs.worker.heartbeat import Heartbeat
from runs.worker.listener import Listener
from runs.worker.news import News
from runs.worker.resources import ResourceSampler
from runs.worker.watchdog import STALLED_STATUS, Watchdog, sample

logger = logging.getLogger(__name__)

STALLED_GRACE_S = 30.0
"""Longest time that the runs of a stalled worker may take to end; then they are left to reconcile."""
CLAIMS_MAX = 1
"""Most threads of one worker that claim a run at once: a claim takes a moment, and the others would wait for it."""
ADMIT_S = 0.1
"""Between two looks whether a run may be admitted."""
SIGNALS_S = 0.5
"""How soon a second signal is noticed while the runs come to their ends."""


class Runtime:
    """The one runtime of a worker process."""

    def __init__(self, name: str, queues: Iterable[str], slots: int, conf: RunsSettings) -> None:
        self.conf = conf
        self.buffer = buffer()
        self.buffer.allow_connections(capacity.redis_connections(slots))
        self.worker = register_worker(name, sorted(queues), slots)
        self.signals = 0
        """How often the process was asked to stop. Set by a signal's handler, which may do nothing else."""
        self.claims = self.idle_wakes = 0
        """Wake-ups that claimed a run, and those that claimed none."""
        self.hurrying = threading.Event()
        self._stopping = threading.Event()
        self._hurried = False
        self._supervisors: dict[AttemptKey, Member] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self.forkserver = ForkServer()
        self.recorder = Recorder(every_s=conf.progress_every_s)
        self.heartbeat = Heartbeat(
            self.worker.pk,
            self.forkserver.deadlines,
            conf,
            lambda: {"claims": self.claims, "idle_wakes": self.idle_wakes},
        )
        self._news = News(self.worker, every_s=conf.heartbeat_s, keys=self._keys, learned=self._take_news)
        self._claiming = threading.BoundedSemaphore(CLAIMS_MAX)
        self._writing = threading.BoundedSemaphore(conf.database_writers_max if has_many_writers() else 1)
        self._listener = Listener(
            self.buffer,
            poll_s=conf.cancel_poll_s,
            run_ids=self._run_ids,
            on_notice=self._take_notice,
            on_flags=self._cancel,
        )
        self._resources = ResourceSampler(self._roots, every_s=conf.resource_poll_s)
        self._watchdog = Watchdog(
            lambda: sample(self.worker.queues, slots), self._end_stalled, patience_s=conf.consumer_stalled_after_s
        )

    def start(self) -> None:
        """Start the fork server and the threads. Raises SpawnFailed if the fork server does not come up."""
        self.forkserver.start()
        self.heartbeat.begin()
        for thread in self._threads:
            thread.start()

    def services(self) -> WorkerServices:
        """What the supervisors of this worker share."""
        return WorkerServices(
            conf=self.conf,
            buffer=self.buffer,
            forkserver=self.forkserver,
            recorder=self.recorder,
            leases=self.heartbeat,
            hurrying=self.hurrying,
            claim=self.claim,
            join=self.join,
            leave=self.leave,
            turn_to_write=self.turn_to_write,
            linger_s=self.linger_s,
        )

    @property
    def _threads(self) -> tuple[News | Listener | Recorder | ResourceSampler | Watchdog, ...]:
        return (self._news, self._listener, self.recorder, self._resources, self._watchdog)

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
        """Wait until every supervisor has ended, at most `timeout_s`; then end the threads and the fork server."""
        if not self.stopping:
            self.drain()
        deadline = time.monotonic() + timeout_s
        while self._wait_for_idle(min(deadline - time.monotonic(), SIGNALS_S)):
            pass  # a signal's handler runs between two waits
        self.hurrying.set()
        for thread in self._threads:
            thread.end()
        self.forkserver.stop()
        self.heartbeat.end()
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

    def _end_stalled(self) -> None:
        logger.critical(
            "Wake-ups wait for %g s and this worker takes none: it ends itself", self.conf.consumer_stalled_after_s
        )
        self.stop(timeout_s=self.conf.drain_s + STALLED_GRACE_S)
        os._exit(STALLED_STATUS)

    # Admission

    def claim(self, queues: Sequence[str], task_id: str) -> Attempt | None:
        """Claim the next due run of `queues`, and keep its lease from then on. None if there is none, or not now."""
        attempt: Attempt | None = None
        try:
            if self._admits():
                with self._claiming:
                    claimed_at = lease_clock()
                    attempt = transitions.claim(queues, self.worker, lease_s=self.conf.lease_s, task_id=task_id)
        finally:
            self._count(claimed=attempt is not None)
        if attempt is not None:
            self.heartbeat.add(attempt.key, claimed_at)
        return attempt

    def _admits(self) -> bool:
        """Whether this worker may take on another run; waits for a moment where it may not.

        A run that is left in the database starts later, here or elsewhere. Its wake-up is sent again by reconcile.
        """
        deadline = time.monotonic() + self.conf.lease_s
        while not self.stopping:
            why = self._why_not()
            if not why:
                return True
            if time.monotonic() >= deadline:
                logger.warning("No further run is admitted for now: %s", why)
                return False
            self._stopping.wait(ADMIT_S)
        return False

    def _why_not(self) -> str:
        if self.heartbeat.is_late:
            return f"the leases were renewed {self.heartbeat.age_s:.1f} s ago"
        return "" if capacity.has_room() else "the open files of this process are used up"

    def linger_s(self) -> float:
        """How long each supervisor waits for more output before it goes on: the longer, the more of them there are."""
        return max(len(self._supervisors) - self.conf.linger_above_runs, 0) * self.conf.linger_per_run_s

    @contextmanager
    def turn_to_write(self) -> Iterator[None]:
        """Wait for one of the few turns at the database, so that many ends at once do not overwhelm it."""
        with self._writing:
            try:
                yield
            finally:
                close_connection()

    # Supervisors come and go

    def join(self, supervisor: Member) -> None:
        """Have a supervisor told of what concerns its attempt, and at once of a drain that has begun."""
        with self._lock:
            self._supervisors[supervisor.key] = supervisor
        if self.stopping:
            supervisor.post(Draining(hurry=self._hurried))

    def leave(self, key: AttemptKey) -> None:
        """Forget an attempt: its lease is not renewed any more."""
        self.heartbeat.remove(key)
        with self._idle:
            self._supervisors.pop(key, None)
            self._idle.notify_all()

    def _count(self, *, claimed: bool) -> None:
        """Count a wake-up."""
        with self._lock:
            self.claims += claimed
            self.idle_wakes += not claimed

    def _all(self) -> list[Member]:
        with self._lock:
            return list(self._supervisors.values())

    def _keys(self) -> set[AttemptKey]:
        with self._lock:
            return set(self._supervisors)

    def _run_ids(self) -> set[int]:
        return {key.run_id for key in self._keys()}

    def _roots(self) -> dict[int, Callable[[Usage], None]]:
        return {supervisor.pid: supervisor.measured for supervisor in self._all() if supervisor.pid is not None}

    # News from the threads

    def _take_news(self, keys: set[AttemptKey], rows: dict[AttemptKey, AttemptNews]) -> None:
        for supervisor in self._all():
            if supervisor.key not in keys:
                continue
            news = rows.get(supervisor.key)
            if news is None:
                supervisor.post(LeaseLost())
                continue
            supervisor.post(StoredUpTo(news.lines_stored, news.results_stored))
            if news.cancel_requested_by is not None:
                supervisor.post(CancelRequested(news.cancel_requested_by))
            if news.inspection_asked:
                supervisor.post(events.InspectionAsked())

    def _take_notice(self, notice: Notice) -> None:
        if isinstance(notice, CancelAsked):
            self._cancel({notice.run_id})
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

    def _cancel(self, run_ids: set[int]) -> None:
        for supervisor in self._all():
            if supervisor.key.run_id in run_ids:
                supervisor.post(CancelRequested(asked_by(supervisor.key.run_id)))


def asked_by(run_id: int) -> str:
    """Name of whoever requested the cancel of a run; empty if the database does not answer."""
    try:
        return Run.objects.filter(pk=run_id).values_list("cancel_requested_by", flat=True).first() or ""
    except (DatabaseError, InterfaceError):
        return ""


def register_worker(name: str, queues: list[str], slots: int) -> Worker:
    """Create the row of this process."""
    return Worker.objects.create(
        name=name,
        host=machine.host(),
        boot_id=machine.boot_id(),
        pid=os.getpid(),
        pid_started=machine.started(os.getpid()) or 0.0,
        queues=queues,
        slots=slots,
        version=__version__,
    )


def _quietly(what: str, write: Callable[[], Any]) -> None:
    """Do a write that may fail: others judge a worker by its process and its leases."""
    try:
        write()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Cannot %s: %s", what, str(error).strip())
    finally:
        connections.close_all()


_current: Runtime | None = None


def runtime() -> Runtime:
    """The runtime of this worker process. Raises RuntimeError in any other process."""
    if _current is None:
        raise RuntimeError("Runs are executed by a Celery worker of a run queue; this process is none.")
    return _current


def set_runtime(new: Runtime) -> None:
    """Make `new` the runtime of this process."""
    global _current  # noqa: PLW0603  # one per process, by nature
    _current = new
