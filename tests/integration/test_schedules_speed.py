"""Many schedules that are due in the same second, and several beats that want the same ones. How fast that is,
benchmarks/schedules.py tells.
"""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection

from runs.models import Run, Schedule, Slot
from runs.schedules import tick as ticking
from runs.schedules.audit import audit
from runs.schedules.tick import TickReport
from runs.states import CatchUp, Overlap, SlotState
from tests.schedules import database_now, make_many, make_schedule, tick

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_thousand_schedules_due_in_the_same_second_are_launched_by_one_tick(redis_url: str) -> None:
    make_many(1_000)
    report = ticking.tick(budget_s=60)  # with a wake-up for each
    assert report.settled.states == {SlotState.LAUNCHED: 1_000}
    assert Run.objects.count() == Slot.objects.count() == 1_000


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
    ticks = 1
    while tick().is_cut:
        ticks += 1
    assert ticks < 100
    assert schedule.slots.count() >= 30 * 24 * 60 - 1
    assert audit(then, database_now()).is_clean
