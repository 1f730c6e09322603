"""Ticks rest while there are no schedules, until one is created."""

from __future__ import annotations

import pytest

from runs.lines.buffer import Buffer
from runs.models import Schedule
from runs.schedules import rest
from tests.schedules import make_schedule, tick
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def shared(buffer: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.lines.buffer.buffer", lambda: buffer)


def test_without_schedules_ticks_rest_until_one_is_created(buffer: Buffer) -> None:
    tick()
    assert buffer.has_no_schedules()

    schedule = make_schedule()
    assert not buffer.has_no_schedules()
    tick()
    assert not buffer.has_no_schedules()

    schedule.delete()
    tick()
    assert buffer.has_no_schedules()


def test_a_schedule_that_is_created_during_the_look_ends_the_rest(
    buffer: Buffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([False, True])
    monkeypatch.setattr(
        rest, "Schedule", type("Schedules", (), {"objects": type("", (), {"exists": lambda: next(looks)})})
    )

    assert not rest.rest_without_schedules()
    assert not buffer.has_no_schedules()


def test_a_rest_ends_by_itself(buffer: Buffer) -> None:
    buffer.rest_schedules(0.05)
    wait_until(lambda: not buffer.has_no_schedules(), what="the end of the rest")


def test_without_redis_ticks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Buffer("redis://127.0.0.1:1/0")
    monkeypatch.setattr("runs.lines.buffer.buffer", lambda: gone)

    assert not rest.rest_without_schedules()
    make_schedule()
    assert Schedule.objects.exists()
