"""Schedules on real processes: in time, and once, whatever happens to the beats."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from runs import services
from runs.models import Run, Schedule
from runs.schedules.audit import Audit, audit
from runs.states import CatchUp, Overlap, SlotState, Status
from tests.schedules import at_once, database_now, make_schedule
from tests.stack import Stack, ended, frozen
from tests.waiting import wait_until

pytestmark = pytest.mark.acceptance


@pytest.fixture
def no_schedules(open_database: None) -> Iterator[None]:
    yield
    Schedule.objects.all().delete()


def passes(seconds: float) -> datetime:
    """Wait until the database's clock has gone on so far; returns what it then shows."""
    until = database_now() + timedelta(seconds=seconds)
    wait_until(lambda: database_now() >= until, timeout_s=seconds + 5, what=f"{seconds} s to pass", every_s=0.1)
    return until


def of_every_policy(**values: object) -> list[Schedule]:
    return [
        make_schedule(f"{overlap}-{catch_up}".replace("_", "-"), overlap=overlap, catch_up=catch_up, **values)
        for overlap in Overlap
        for catch_up in CatchUp
    ]


def settled(begin: datetime, end: datetime) -> Audit:
    """Return the audit of that time, once all due slots are settled."""
    passes(6)
    return audit(begin, end)


def test_a_run_knows_its_slot_and_starts_in_time(stack: Stack, no_schedules: None) -> None:
    schedule = make_schedule(every_s=2, jitter_s=1, configuration={"behaviour": "tell_slot"}, overlap=Overlap.ALLOW)
    wait_until(lambda: schedule.slots.filter(outcome=Status.COMPLETED).count() >= 3, timeout_s=30, what="three runs")
    services.pause_schedule(schedule.pk, by="ada")
    for row in schedule.slots.filter(outcome=Status.COMPLETED).select_related("run"):
        assert row.run is not None
        assert row.run.summary == {"slot": row.slot.isoformat()}
    result = audit(schedule.planned_at, database_now())
    assert result.is_clean, list(map(str, result.findings))
    assert result.latest_s <= 10
    print(f"the latest of {result.slots} slots was {result.latest_s:.2f} s late")


def test_killed_doubled_and_frozen_beats_fire_each_slot_once(own_stack: Stack, no_schedules: None) -> None:
    own_stack.system("system1")
    own_stack.system("system2")
    first = own_stack.beat("beat1")
    begin = database_now()
    of_every_policy(every_s=3, jitter_s=1, queue="nobody")
    second = own_stack.beat("beat2")
    passes(5)
    first.kill()
    with frozen(second):
        passes(5)
    own_stack.beat("beat3")
    end = passes(6)
    result = settled(begin, end)
    assert result.is_clean, list(map(str, result.findings))
    assert result.slots >= 15 * 4
    scheduled = Run.objects.exclude(schedule=None)
    assert scheduled.values("schedule", "slot").distinct().count() == scheduled.count()


def test_killed_and_frozen_workers_of_the_system_queue_lose_no_slot(own_stack: Stack, no_schedules: None) -> None:
    first = own_stack.system("system1")
    own_stack.beat("beat1")
    begin = database_now()
    of_every_policy(every_s=2, queue="nobody")
    passes(4)
    first.kill()
    passes(3)
    second = own_stack.system("system2")
    passes(3)
    with frozen(second):
        own_stack.system("system3")
        end = passes(6)
    result = settled(begin, end)
    assert result.is_clean, list(map(str, result.findings))
    assert result.states[SlotState.LAUNCHED] > 0


def test_a_real_running_one_is_cancelled_for_the_next(stack: Stack, no_schedules: None) -> None:
    schedule = make_schedule(
        every_s=3, overlap=Overlap.CANCEL, configuration={"behaviour": "cooperative"}, limits={"interrupt_after_s": 0.5}
    )
    wait_until(lambda: schedule.slots.filter(outcome=Status.CANCELLED).count() >= 2, timeout_s=40, what="two cancelled")
    services.pause_schedule(schedule.pk, by="ada")
    for run in schedule.runs.filter(finished_at=None):
        services.cancel(run.pk, by="ada")
        ended(run)
    assert schedule.runs.count() >= 3
    assert not at_once(schedule)
