"""How the whole is: what runs, what failed, who works, what waits; and what is unwell, with the remedy. Reads only.

Every question is bounded. What cannot be reached is a problem that is told, never an error of the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from celery.exceptions import CeleryError
from django.db.models import Count, Max, Min, Q
from django.db.models.functions import Now
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
"""Buffered entries older than this are a sign that nobody flushes."""


@dataclass(frozen=True, slots=True)
class Problem:
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Queue:
    name: str
    due: int
    """Runs that wait for a worker."""
    oldest: datetime | None
    messages: int | None
    """Wake-ups that lie in it; None if the broker is away."""
    slots: int
    """Of the live workers that listen to it."""


@dataclass(slots=True)
class Wellbeing:
    now: datetime
    beat_at: datetime | None = None
    backlog: Backlog | None = None
    workers: list[Worker] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)
    running: list[Run] = field(default_factory=list)
    failed: Failures = field(default_factory=Failures)
    """In the last day."""
    problems: list[Problem] = field(default_factory=list)
    progress_starts: dict[int, formatting.ProgressStart | None] = field(default_factory=dict)
    """Number of a running run → where the pace of its open attempt is measured from."""

    @property
    def heard(self) -> list[Worker]:
        """Workers that live, by their heartbeats."""
        return [worker for worker in self.workers if not worker.silent]  # type: ignore[attr-defined]  # annotated

    @property
    def is_beating(self) -> bool:
        return not Beat(self.beat_at, self.now).is_silent


def look() -> Wellbeing:
    """Ask the database and Redis once each; a few seconds at most if Redis is away."""
    found = Wellbeing(now=timezone.now())
    found.beat_at = Pulse.objects.aggregate(at=Max("at"))["at"]
    found.workers = alive()
    active = Run.objects.select_related("launched_by")
    found.running = list(active.filter(status=Status.RUNNING).order_by("-pk")[:SHOWN])
    open_attempts = Attempt.objects.filter(run__in=found.running, finished_at=None)
    found.progress_starts = {attempt.run_id: attempt.progress_start for attempt in open_attempts.defer("traceback")}
    found.failed = recent_failures.since(found.now - timedelta(days=1), FAILED_SHOWN)
    try:
        found.backlog = buffer().backlog()
    except BufferUnavailable as error:
        found.problems.append(
            Problem(
                f"Redis is not responding: {error}",
                "Start it, or correct ATHANOR_REDIS_URL. Nothing is lost: workers keep the logs, and runs launched now"
                " start when it is back.",
            )
        )
    found.queues = list(_queues(found))
    found.problems += _problems(found)
    return found


def alive() -> list[Worker]:
    """Workers that have not stopped, with `busy`, their runs, and `silent`, whether nothing was heard of them."""
    lease = timedelta(seconds=runs_settings().lease_s)
    return list(
        Worker.objects.filter(stopped_at=None, heartbeat_at__gt=Now() - timedelta(days=1))
        .annotate(busy=Count("attempts", filter=Q(attempts__finished_at=None)))
        .annotate(silent=Q(heartbeat_at__lt=Now() - lease))
        .order_by("name")[:100]
    )


def _queues(found: Wellbeing) -> Iterator[Queue]:
    due = Run.objects.filter(Q(not_before=None) | Q(not_before__lte=Now()), status=Status.PENDING).order_by()
    rows = due.values_list("queue").annotate(Count("pk"), Min("created_at"))
    counted = {name: (count, oldest) for name, count, oldest in rows}
    heard = {name for worker in found.workers for name in worker.queues}
    for name in sorted(heard | set(counted)):
        count, oldest = counted.get(name, (0, None))
        slots = sum(worker.slots for worker in found.heard if name in worker.queues)
        yield Queue(name, count, oldest, _messages(name) if found.backlog else None, slots)


def _messages(queue: str) -> int | None:
    try:
        return waiting(queue)
    except (KombuError, CeleryError, RedisError, OSError):
        return None


def _problems(found: Wellbeing) -> Iterator[Problem]:
    if found.beat_at is None:
        yield Problem(
            "The beat has never run.", "Start everything with `make run`, or the beat with `celery -A athanor beat`."
        )
    elif not found.is_beating:
        yield Problem(
            f"The beat has not run for {formatting.age(found.beat_at, found.now)[:-4]}.",
            "Check that `celery -A athanor beat` and a worker of queue `system` are running. Until then logs are"
            " not stored (they wait), lost runs are not recovered and schedules do not launch.",
        )
    for worker in found.workers:
        if worker.silent:  # type: ignore[attr-defined]  # annotated
            yield Problem(
                f"Worker {worker.name} (pid {worker.pid} on {worker.host}) sent its last"
                f" heartbeat {formatting.age(worker.heartbeat_at, found.now)}.",
                "Check its log. If its machine is gone, other workers take over its runs; start another worker if it"
                " was the only one.",
            )
    for queue in found.queues:
        if queue.due and not queue.slots:
            runs = "1 run is waiting" if queue.due == 1 else f"{queue.due:,} runs are waiting"
            yield Problem(
                f"{runs} in queue “{queue.name}”, but no worker listens to it.",
                f"Start one: `celery -A athanor worker -P threads -Q {queue.name}`.",
            )
    if found.backlog and found.backlog.lag_s > LAG_BAD_S:
        yield Problem(
            f"The oldest buffered line has been waiting for {formatting.duration(found.backlog.lag_s)} to be stored.",
            "Check that a worker of queue `system` is running and that the database responds.",
        )
    if found.backlog and found.backlog.memory_share > 0.9:
        yield Problem(
            f"Redis is {formatting.percent(found.backlog.memory_share)} full.",
            "Raise its maxmemory. When it is full, runs wait until there is room.",
        )
    for trouble in [each for each in catalog.current().problems if not each.is_notice][:SHOWN]:
        yield Problem(
            f"Cannot load {trouble.where}: {trouble.reason}",
            "Fix it. The page of instances and `manage.py check` show the traceback. All other experiments work.",
        )
