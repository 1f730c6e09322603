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
                f"Redis does not answer: {error}",
                "Start it, or correct ATHANOR_REDIS_URL. Nothing is lost: lines wait at the workers, and runs that are"
                " launched now start when it is back.",
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
        yield Problem("No beat has ever been heard.", "Start all: `make run`; or one: `celery -A athanor beat`.")
    elif not found.is_beating:
        yield Problem(
            f"The beat is silent: nothing periodic was done for {formatting.age(found.beat_at, found.now)[:-4]}.",
            "Are `celery -A athanor beat` and a worker of the queue `system` running? Until then lines are not stored"
            " (they wait), lost runs are not found, schedules do not fire.",
        )
    for worker in found.workers:
        if worker.silent:  # type: ignore[attr-defined]  # annotated
            yield Problem(
                f"Worker {worker.name} (pid {worker.pid} on {worker.host}) was last heard of"
                f" {formatting.age(worker.heartbeat_at, found.now)}.",
                "If its machine is gone, its runs go on elsewhere by themselves; start another worker if it was the"
                " only one. If it is there, look at its log.",
            )
    for queue in found.queues:
        if queue.due and not queue.slots:
            runs = "1 run waits" if queue.due == 1 else f"{queue.due:,} runs wait"
            yield Problem(
                f"{runs} in the queue “{queue.name}”, to which no worker listens.",
                f"Start one: `celery -A athanor worker -P threads -Q {queue.name}`.",
            )
    if found.backlog and found.backlog.lag_s > LAG_BAD_S:
        yield Problem(
            f"The oldest buffered line waits for {formatting.duration(found.backlog.lag_s)} to be stored.",
            "Is a worker of the queue `system` running, and does the database answer?",
        )
    if found.backlog and found.backlog.memory_share > 0.9:
        yield Problem(
            f"Redis is {formatting.percent(found.backlog.memory_share)} full.",
            "Raise its maxmemory; when it is full, runs wait until there is room.",
        )
    for trouble in [each for each in catalog.current().problems if not each.is_notice][:SHOWN]:
        yield Problem(
            f"Cannot load {trouble.where}: {trouble.reason}",
            "Fix it; the page of instances and `manage.py check` show the traceback. All others can be launched.",
        )
