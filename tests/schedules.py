"""Schedules for tests, and a clock of the database that tests can set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from django.contrib.contenttypes.models import ContentType
from django.db.models import DateTimeField, Value
from django.db.models.functions import Now

from runs import services, wake
from runs.models import Run, Schedule
from runs.schedules import tick as ticking
from runs.states import Status, TimetableKind

READS_THE_CLOCK = ("locking", "audit", "serializers", "health", "apply", "tick", "ready")


def make_schedule(name: str = "minutely", **values: Any) -> Schedule:
    """Every minute the scripted experiment."""
    columns: dict[str, Any] = {"experiment": "scripted", "kind": TimetableKind.INTERVAL, "every_s": 60}
    return services.create_schedule(name, **columns | values)


def make_many(count: int, **values: object) -> None:
    """Schedules with one slot in the second that has just begun."""
    first = make_schedule("s0", **values)
    same = {
        field.attname: getattr(first, field.attname)
        for field in Schedule._meta.fields
        if field.name not in ("id", "name")
    }
    Schedule.objects.bulk_create([Schedule(**same | {"name": f"s{number}"}) for number in range(1, count)])
    due = database_now().replace(microsecond=0)
    Schedule.objects.update(
        starts_at=due, ends_at=due, planned_at=due - timedelta(seconds=1), cursor=due - timedelta(seconds=1), due_at=due
    )


def database_now() -> datetime:
    """By a table that is never empty."""
    now: datetime = ContentType.objects.annotate(now=Now()).values_list("now", flat=True)[0]
    return now


def aged(schedule: Schedule, **ago: float) -> Schedule:
    """Return the schedule as if it had been created and checked that many seconds ago."""
    return since(schedule, database_now() - timedelta(**ago))


def since(schedule: Schedule, then: datetime) -> Schedule:
    """Return the schedule as if it had been created and checked at that time."""
    Schedule.objects.filter(pk=schedule.pk).update(planned_at=then, cursor=then, due_at=then)
    schedule.refresh_from_db()
    return schedule


def tick() -> ticking.TickReport:
    with patch.object(wake, "workers"):
        return ticking.tick(budget_s=10)


def states(schedule: Schedule) -> list[str]:
    """Return the states in its history, in the order of the slots."""
    return list(schedule.slots.order_by("slot").values_list("state", flat=True))


def end_runs(status: Status = Status.COMPLETED) -> None:
    """End all active runs."""
    failed = {"failure_kind": "error"} if status == Status.FAILED else {}
    asked = {"cancel_requested_at": Now()} if status == Status.CANCELLED else {}
    Run.objects.filter(finished_at=None).update(
        status=status, started_at=Now(), finished_at=Now(), attempt=1, **failed, **asked
    )


def at_once(schedule: Schedule) -> list[tuple[datetime, datetime]]:
    """(end of a run, start of the next) where the next began before the one before it had ended."""
    runs = schedule.runs.exclude(started_at=None).order_by("started_at")
    times = [(run.started_at, run.finished_at) for run in runs if run.started_at and run.finished_at]
    return [(end, start) for (_, end), (start, _) in pairwise(times) if start < end]


class Clock:
    """Time of the database's clock."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def expression(self) -> Value:
        return Value(self.now, DateTimeField())


@contextmanager
def clock_at(now: datetime) -> Iterator[Clock]:
    """Replace the database's clock for all code that settles slots; it stands still until it is set."""
    clock, patches = Clock(now), [patch(f"runs.schedules.{module}.Now") for module in READS_THE_CLOCK]
    for each in patches:
        each.start().side_effect = clock.expression
    try:
        yield clock
    finally:
        for each in patches:
            each.stop()
