"""Runtime of a run worker: its fork server, its row, and the threads that serve all its supervisors.

`runs.worker.steps` starts and stops it. It does not depend on Celery.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from django.db.models.functions import Now

from runs import transitions
from runs.conf import RunsSettings
from runs.database import has_many_writers
from runs.forkserver.clock import lease_clock
from runs.forkserver.servers import ForkServers
from runs.lines.buffer import CancelRequested, InspectionRequested, Notice, StoredUpTo, buffer
from runs.models import Attempt, Worker
from runs.states import AttemptKey
from runs.supervisor.accounts import accounts_of
from runs.supervisor.events import Draining, LeaseLost
from runs.supervisor.recorder import Recorder
from runs.supervisor.resources import Usage
from runs.supervisor.worker_services import Member, WorkerServices
from runs.transitions import AttemptState
from runs.worker import capacity
from runs.worker.connections import SharedConnections
from runs.worker.heartbeat import Heartbeat
from runs.worker.listener import Listener
from runs.worker.poller import Poller
from runs.worker.resources import ResourceSampler
from runs.worker.rows import cancel_requester, register_worker, try_write
from runs.worker.watchdog import STALLED_STATUS, Watchdog, sample

logger = logging.getLogger(__name__)

STALLED_GRACE_S = 30.0
"""Longest time for the runs of a stalled worker to end; after it, reconcile recovers them."""
CLAIMS_MAX = 1
"""Number of threads that may claim a run at the same time. A claim is short, and concurrent ones would only wait."""
ADMISSION_POLL_S = 0.1
"""Pause between two checks whether a run may be admitted."""
SIGNAL_POLL_S = 0.5
"""Longest time until a second signal is noticed while the runs end."""


class Runtime:
    """Runtime of a worker process, which has exactly one."""

    def __init__(self, name: str, queues: Iterable[str], slots: int, conf: RunsSettings) -> None:
        self.conf = conf
        self.buffer = buffer()
        self.buffer.allow_connections(capacity.redis_connections(slots))
        self.worker = register_worker(name, sorted(queues), slots)
        self.signals = 0
        """Number of signals that requested a stop. Signal handlers set it, and do nothing else."""
        self.claims = self.idle_wakes = 0
        """Number of wake-ups that claimed a run, and of those that claimed none."""
        self.hurrying = threading.Event()
        self._stopping = threading.Event()
        self._hurried = False
        self._supervisors: dict[AttemptKey, Member] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self.forkservers = ForkServers()
        self.recorder = Recorder(every_s=conf.progress_every_s)
        self.heartbeat = Heartbeat(
            self.worker.pk,
            self.forkservers.deadlines,
            conf,
            lambda: {"claims": self.claims, "idle_wakes": self.idle_wakes},
        )
        self._poller = Poller(self.worker, every_s=conf.heartbeat_s, keys=self._keys, on_states=self._forward_states)
        self._claiming = threading.BoundedSemaphore(CLAIMS_MAX)
        writers = conf.database_writers_max if has_many_writers() else 1
        self._writing = threading.BoundedSemaphore(writers)
        self._connections = SharedConnections(writers + CLAIMS_MAX)
        self._listener = Listener(
            self.buffer,
            poll_s=conf.cancel_poll_s,
            run_ids=self._run_ids,
            on_notice=self._forward_notice,
            on_flags=self._cancel,
        )
        self._resources = ResourceSampler(self._roots, every_s=conf.resource_poll_s)
        self._watchdog = Watchdog(
            lambda: sample(self.worker.queues, slots), self._end_stalled, patience_s=conf.consumer_stalled_after_s
        )

    def start(self) -> None:
        """Start the fork servers and the threads. Raises SpawnFailed, AccountUnusable."""
        self.forkservers.start(accounts_of(self.conf))
        self.heartbeat.begin()
        for thread in self._threads:
            thread.start()

    def services(self) -> WorkerServices:
        """Services that the supervisors of this worker share."""
        return WorkerServices(
            conf=self.conf,
            buffer=self.buffer,
            forkservers=self.forkservers,
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
    def _threads(self) -> tuple[Poller | Listener | Recorder | ResourceSampler | Watchdog, ...]:
        return (self._poller, self._listener, self.recorder, self._resources, self._watchdog)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def drain(self) -> None:
        """Stop claiming runs, and notify the supervisors. A second call ends the drain time."""
        self._hurried = self._stopping.is_set()
        event = Draining(hurry=self._hurried)
        if not self._stopping.is_set():
            self._stopping.set()
            threading.Thread(target=self._hurry_on_second_signal, name="hurry", daemon=True).start()
            try_write(
                "record the stop of this worker",
                lambda: Worker.objects.filter(pk=self.worker.pk).update(stopping_at=Now()),
            )
        for supervisor in self._all():
            supervisor.post(event)

    def stop(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` for the supervisors to end; then end the threads and the fork server."""
        if not self.stopping:
            self.drain()
        deadline = time.monotonic() + timeout_s
        while self._wait_for_idle(min(deadline - time.monotonic(), SIGNAL_POLL_S)):
            pass  # signal handlers run between two waits
        self.hurrying.set()
        for thread in self._threads:
            thread.end()
        self.forkservers.stop()
        self.heartbeat.end()
        self._connections.close()
        try_write(
            "record the end of this worker", lambda: Worker.objects.filter(pk=self.worker.pk).update(stopped_at=Now())
        )

    def _wait_for_idle(self, timeout_s: float) -> bool:
        """Return whether a supervisor is left, and time to wait for it."""
        with self._idle:
            self._idle.wait_for(lambda: not self._supervisors, max(timeout_s, 0.0))
            return bool(self._supervisors) and timeout_s > 0

    def end_soon(self) -> None:
        """Stop without drain time. Safe in a signal handler: another thread does the work, since the interrupted thread
        may hold any lock.
        """
        self.signals += 2
        threading.Thread(target=self.drain, name="drain", daemon=True).start()

    def _hurry_on_second_signal(self) -> None:
        """End the drain time at a second signal. In its own thread: on SIGQUIT, Celery blocks the main thread."""
        while not self.hurrying.wait(SIGNAL_POLL_S):
            if self.signals > 1:
                self.hurrying.set()
                self.drain()

    def _end_stalled(self) -> None:
        logger.critical(
            "The consumer has stalled: it took no wake-up for %g s. This worker exits.",
            self.conf.consumer_stalled_after_s,
        )
        self.stop(timeout_s=self.conf.drain_s + STALLED_GRACE_S)
        os._exit(STALLED_STATUS)

    # Admission

    def claim(self, queues: Sequence[str], task_id: str) -> Attempt | None:
        """Claim the next due run of `queues`, and renew its lease from then on. None if no run is due or admitted."""
        attempt: Attempt | None = None
        try:
            if self._admits():
                with self._claiming, self._connections.lend():
                    claimed_at = lease_clock()
                    attempt = transitions.claim(queues, self.worker, lease_s=self.conf.lease_s, task_id=task_id)
        finally:
            self._count(claimed=attempt is not None)
        if attempt is not None:
            self.heartbeat.add(attempt.key, claimed_at)
        return attempt

    def _admits(self) -> bool:
        """Return whether this worker may execute another run. Waits for at most a lease if it may not.

        A run that is not admitted stays pending, and reconcile sends its wake-up again.
        """
        deadline = time.monotonic() + self.conf.lease_s
        while not self.stopping:
            obstacle = self._obstacle()
            if not obstacle:
                return True
            if time.monotonic() >= deadline:
                logger.warning("Cannot admit another run: %s", obstacle)
                return False
            self._stopping.wait(ADMISSION_POLL_S)
        return False

    def _obstacle(self) -> str:
        """Return why no run is admitted now; empty if one is."""
        if self.heartbeat.is_late:
            return f"the last renewal of the leases was {self.heartbeat.age_s:.1f} s ago"
        return "" if capacity.has_room() else "this process has no free open files"

    def linger_s(self) -> float:
        """Return how long each supervisor waits for more output. It grows with the number of runs."""
        return max(len(self._supervisors) - self.conf.linger_above_runs, 0) * self.conf.linger_per_run_s

    @contextmanager
    def turn_to_write(self) -> Iterator[None]:
        """Wait until fewer than `database_writers_max` threads write; keep a turn and a connection in the context."""
        with self._writing, self._connections.lend():
            yield

    # Supervisors

    def join(self, supervisor: Member) -> None:
        """Register a supervisor for the events of its attempt. Sends it a drain that has already begun."""
        with self._lock:
            self._supervisors[supervisor.key] = supervisor
        if self.stopping:
            supervisor.post(Draining(hurry=self._hurried))

    def leave(self, key: AttemptKey) -> None:
        """Unregister an attempt, and stop renewing its lease."""
        self.heartbeat.remove(key)
        with self._idle:
            self._supervisors.pop(key, None)
            self._idle.notify_all()

    def _count(self, *, claimed: bool) -> None:
        """Count a wake-up by whether it claimed a run."""
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

    # Events from the threads

    def _forward_states(self, keys: set[AttemptKey], states: dict[AttemptKey, AttemptState]) -> None:
        for supervisor in self._all():
            key = supervisor.key
            if key not in keys:
                continue
            state = states.get(key)
            if state is None:
                supervisor.post(LeaseLost())
                continue
            supervisor.post(StoredUpTo(key, state.lines_stored, state.results_stored))
            if state.cancel_requested_by is not None:
                supervisor.post(CancelRequested(key.run_id, state.cancel_requested_by))
            if state.inspection_requested:
                supervisor.post(InspectionRequested(key.run_id))

    def _forward_notice(self, notice: Notice) -> None:
        match notice:
            case CancelRequested(run_id):
                self._cancel({run_id})
            case InspectionRequested(run_id):
                for supervisor in self._all():
                    if supervisor.key.run_id == run_id:
                        supervisor.post(notice)
            case StoredUpTo(key):
                with self._lock:
                    addressed = self._supervisors.get(key)
                if addressed is not None:
                    addressed.post(notice)

    def _cancel(self, run_ids: set[int]) -> None:
        for supervisor in self._all():
            if (run_id := supervisor.key.run_id) in run_ids:
                supervisor.post(CancelRequested(run_id, cancel_requester(run_id)))


_current: Runtime | None = None


def runtime() -> Runtime:
    """Return the runtime of this worker process. Raises RuntimeError in any other process."""
    if _current is None:
        raise RuntimeError("This process is not a Celery worker of a run queue.")
    return _current


def serves(queue: str) -> bool:
    """Return whether this process is a worker that executes runs of a queue."""
    return _current is not None and queue in _current.worker.queues


@contextmanager
def turn_to_write() -> Iterator[None]:
    """Take a turn to write, with a connection of this worker. In other processes, use the thread's own connection."""
    with nullcontext() if _current is None else _current.turn_to_write():
        yield


def set_runtime(new: Runtime) -> None:
    """Make `new` the runtime of this process."""
    global _current  # noqa: PLW0603  # one per process, by nature
    _current = new
