"""Firing on a real database: each slot once, with its row, by every policy. The clock is the database's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from runs import services
from runs.models import Run, Schedule, Slot
from runs.schedules import ticking
from runs.states import CatchUp, Overlap, SlotKind, SlotState, Status, TimetableKind

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queues that were sent a wake-up."""
    return []


def make_schedule(name: str = "hourly", **values: Any) -> Schedule:
    columns = {"experiment": "scripted", "kind": TimetableKind.INTERVAL, "every_s": 60}
    return services.create_schedule(name, **columns | values)


def aged(schedule: Schedule, **ago: float) -> Schedule:
    """The schedule as if it had been made and looked at so long ago."""
    then = database_now() - timedelta(**ago)
    Schedule.objects.filter(pk=schedule.pk).update(planned_at=then, cursor=then, due_at=then)
    schedule.refresh_from_db()
    return schedule


def database_now() -> datetime:
    Schedule.objects.exists()
    now: datetime = Schedule.objects.annotate(now=Now()).values_list("now", flat=True)[0]
    return now


def tick() -> ticking.TickReport:
    return ticking.tick(lambda queue, count: None, budget_s=10)


def states(schedule: Schedule) -> list[str]:
    return list(schedule.slots.order_by("slot").values_list("state", flat=True))


def end_runs(status: Status = Status.COMPLETED) -> None:
    failed = {"failure_kind": "error"} if status == Status.FAILED else {}
    Run.objects.filter(finished_at=None).update(status=status, started_at=Now(), finished_at=Now(), **failed)


def test_a_due_slot_is_launched_once_with_its_row_and_its_time() -> None:
    schedule = aged(make_schedule(), seconds=70)
    tick()
    tick()
    row = schedule.slots.get()
    assert (row.state, row.kind) == (SlotState.LAUNCHED, SlotKind.TIMETABLE)
    assert row.run is not None
    assert (row.run.slot, row.run.schedule, row.run.launched_via) == (row.slot, schedule, "schedule")
    assert Run.objects.count() == 1


def test_after_a_downtime_the_latest_slot_is_caught_up_and_the_rest_are_missed_with_a_reason() -> None:
    schedule = aged(make_schedule(every_s=600), minutes=35)
    tick()
    assert states(schedule) == [SlotState.MISSED, SlotState.MISSED, SlotState.CAUGHT_UP]
    assert all(row.reason for row in schedule.slots.all())


def test_how_a_run_ended_is_kept_in_the_ledger() -> None:
    schedule = aged(make_schedule(), seconds=70)
    tick()
    end_runs()
    tick()
    assert schedule.slots.get().outcome == Status.COMPLETED
