"""State of the whole system for the home page: runs, failures, workers, queues, and problems with their remedies.

Reads only; every query is bounded. A service that cannot be reached is reported as a problem, never as an error of the
page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from celery.exceptions import CeleryError
from django.db.models import Count, Max, Min, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from kombu.exceptions import KombuError
from redis import RedisError

from experiments import catalog
from runs import formatting, recent_failures
from runs.conf import runs_settings
from runs.exceptions import BufferUnavailable
from runs.lines.buffer import buffer
from runs.lines.buffer.lists import Backlog
from runs.models import Attempt, Pulse, Run, Worker
from runs.recent_failures import Failures
from runs.schedules.health import Beat
from runs.states import Status
from runs.wake import waiting

SHOWN = 20
FAILED_SHOWN = 15
LAG_BAD_S = 15.0
"""Buffered entries older than this show that no worker flushes."""
FULL_SHARE = 0.9
"""Share of its memory from which Redis is reported as nearly full."""


@dataclass(frozen=True, slots=True)
class Problem:
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Queue:
    name: str
    due: int
    """Number of runs that wait for a worker."""
    oldest: datetime | None
    messages: int | None
    """Number of wake-ups in it; None if the broker does not answer."""
    slots: int
    """Number of slots of the live workers that listen to it."""


@dataclass(slots=True)
class SystemHealth:
    now: datetime
    beat_at: datetime | None = None
    backlog: Backlog | None = None
    workers: list[Worker] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)
    running: list[Run] = field(default_factory=list)
    failed: Failures = field(default_factory=Failures)
    """Failures of the last day."""
    problems: list[Problem] = field(default_factory=list)
    progress_starts: dict[int, formatting.ProgressStart | None] = field(default_factory=dict)
    """Id of a running run → progress from which the pace of its open attempt is measured."""

    @property
    def live_workers(self) -> list[Worker]:
        """Workers that sent a heartbeat within their lease."""
        return [worker for worker in self.workers if not worker.silent]  # type: ignore[attr-defined]  # annotated

    @property
    def is_beating(self) -> bool:
        return not Beat(self.beat_at, self.now).is_silent


def read(user: Any = None) -> SystemHealth:
    """Query the database and Redis. Covers the runs that the user may see; all runs without a user.

    Takes a few seconds at most if Redis does not answer.
    """
    health = SystemHealth(now=timezone.now())
    health.beat_at = Pulse.objects.aggregate(at=Max("at"))["at"]
    health.workers = recent_workers()
    running = Run.objects.visible_to(user).select_related("launched_by").filter(status=Status.RUNNING)
    health.running = list(running.order_by("-pk")[:SHOWN])
    open_attempts = Attempt.objects.open().filter(run__in=health.running)
    health.progress_starts = {attempt.run_id: attempt.progress_start for attempt in open_attempts.defer("traceback")}
    health.failed = recent_failures.since(health.now - timedelta(days=1), FAILED_SHOWN, user)
    try:
        health.backlog = buffer().backlog()
    except BufferUnavailable as error:
        health.problems.append(
            Problem(
                f"Redis is not responding: {error}",
                "Start it, or correct ATHANOR_REDIS_URL. Nothing is lost: workers keep the logs, and runs launched now"
                " start when it is back.",
            )
        )
    health.queues = list(_queues(health, user))
    for problems_of in (_beat_problems, _worker_problems, _queue_problems, _buffer_problems):
        health.problems += problems_of(health)
    health.problems += _catalog_problems()
    return health


def recent_workers() -> list[Worker]:
    """Workers that have not stopped and sent a heartbeat in the last day, with `busy`, the number of their runs, and
    `silent`, which is true if their lease has passed since their last heartbeat.
    """
    lease = timedelta(seconds=runs_settings().lease_s)
    return list(
        with_busy(Worker.objects.filter(stopped_at=None, heartbeat_at__gt=Now() - timedelta(days=1)))
        .annotate(silent=Q(heartbeat_at__lt=Now() - lease))
        .order_by("name")[:100]
    )


def with_busy(workers: QuerySet[Worker]) -> QuerySet[Worker]:
    """Annotate workers with `busy`, the number of their open attempts."""
    busy = Attempt.objects.open().filter(worker=OuterRef("pk")).order_by().values("worker").annotate(count=Count("pk"))
    return workers.annotate(busy=Coalesce(busy.values("count"), 0))  # not by a join: workers have many ended attempts


def _queues(health: SystemHealth, user: Any) -> Iterator[Queue]:
    rows = Run.objects.due().visible_to(user).order_by().values_list("queue").annotate(Count("pk"), Min("created_at"))
    due = {name: (count, oldest) for name, count, oldest in rows}
    served = {name for worker in health.workers for name in worker.queues}
    for name in sorted(served | set(due)):
        count, oldest = due.get(name, (0, None))
        slots = sum(worker.slots for worker in health.live_workers if name in worker.queues)
        yield Queue(name, count, oldest, _messages(name) if health.backlog else None, slots)


def _messages(queue: str) -> int | None:
    try:
        return waiting(queue)
    except (KombuError, CeleryError, RedisError, OSError):
        return None


def _beat_problems(health: SystemHealth) -> Iterator[Problem]:
    if health.beat_at is None:
        yield Problem(
            "The beat has never run.", "Start everything with `make run`, or the beat with `celery -A athanor beat`."
        )
    elif not health.is_beating:
        yield Problem(
            f"The beat has not run for {formatting.age(health.beat_at, health.now)[:-4]}.",
            "Check that `celery -A athanor beat` and a worker of queue `system` are running. Until then logs are"
            " not stored (they wait), lost runs are not recovered and schedules do not launch.",
        )


def _worker_problems(health: SystemHealth) -> Iterator[Problem]:
    for worker in health.workers:
        if worker.silent:  # type: ignore[attr-defined]  # annotated
            yield Problem(
                f"Worker {worker.name} (pid {worker.pid} on {worker.host}) sent its last"
                f" heartbeat {formatting.age(worker.heartbeat_at, health.now)}.",
                "Check its log. If its machine is gone, other workers take over its runs; start another worker if it"
                " was the only one.",
            )


def _queue_problems(health: SystemHealth) -> Iterator[Problem]:
    for queue in health.queues:
        if queue.due and not queue.slots:
            runs = "1 run is waiting" if queue.due == 1 else f"{queue.due:,} runs are waiting"
            yield Problem(
                f"{runs} in queue “{queue.name}”, but no worker listens to it.",
                f"Start one: `celery -A athanor worker -P threads -Q {queue.name}`.",
            )


def _buffer_problems(health: SystemHealth) -> Iterator[Problem]:
    backlog = health.backlog
    if backlog and backlog.lag_s > LAG_BAD_S:
        yield Problem(
            f"The oldest buffered line has been waiting for {formatting.duration(backlog.lag_s)} to be stored.",
            "Check that a worker of queue `system` is running and that the database responds.",
        )
    if backlog and backlog.memory_share > FULL_SHARE:
        yield Problem(
            f"Redis is {formatting.percent(backlog.memory_share)} full.",
            "Raise its maxmemory. When it is full, runs wait until there is room.",
        )


def _catalog_problems() -> Iterator[Problem]:
    for problem in [each for each in catalog.current().problems if not each.is_notice][:SHOWN]:
        yield Problem(
            f"Cannot load {problem.where}: {problem.reason}",
            "Fix it. The page of instances and `manage.py check` show the traceback. All other experiments work.",
        )
