"""How fast: many schedules that are due in the same second, and several beats that want the same ones."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection

from runs import tasks
from runs.models import Run, Schedule, Slot
from runs.schedules import ticking
from runs.schedules.audit import audit
from runs.schedules.ticking import TickReport
from runs.states import CatchUp, Overlap, SlotState
from tests.schedules import database_now, make_schedule, tick

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_a_thousand_schedules_due_in_the_same_second_are_launched_within_five_seconds(redis_url: str) -> None:
    make_many(1_000)
    began = time.monotonic()
    report = ticking.tick(tasks.wake, budget_s=20)  # with a wake-up for each
    took = time.monotonic() - began
    print(f"1000 schedules launched in {took:.2f} s")
    assert report.settled.states == {SlotState.LAUNCHED: 1_000}
    assert Run.objects.count() == Slot.objects.count() == 1_000
    assert took < 5


def test_many_beats_at_once_launch_each_slot_once() -> None:
    make_many(120, overlap=Overlap.ALLOW)
    barrier, reports = threading.Barrier(4), list[TickReport]()

    def beat() -> None:
        barrier.wait()
        reports.append(tick())
        connection.close()

    threads = [threading.Thread(target=beat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [report.failed for report in reports] == [{}, {}, {}, {}]
    assert Run.objects.count() == Slot.objects.count() == 120
    assert sum(report.settled.states.total() for report in reports) == 120


def test_a_month_of_missed_minutes_is_entered_in_a_few_ticks() -> None:
    schedule = make_schedule(catch_up=CatchUp.NONE)
    then = database_now() - timedelta(days=30)
    Schedule.objects.update(planned_at=then, cursor=then)
    began = time.monotonic()
    while tick().is_cut:
        assert time.monotonic() - began < 60
    print(f"{schedule.slots.count()} missed slots entered in {time.monotonic() - began:.2f} s")
    assert schedule.slots.count() >= 30 * 24 * 60 - 1
    assert audit(then, database_now()).is_clean
