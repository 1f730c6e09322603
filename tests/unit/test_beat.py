"""Ticks of beat: by the monotonic clock, and never more than the system workers consume."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import celery.beat
import pytest
from celery import Celery
from celery.schedules import schedule
from kombu.exceptions import OperationalError

from athanor import beat
from runs.exceptions import BufferUnavailable

FAST, SLOW = ("fast", 1.0), ("slow", 10.0)


def refuse() -> bool:
    raise BufferUnavailable("away")


class Clock:
    """Monotonic clock that tests move, and a wall clock that jumps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(beat, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the ticks that were sent."""
    names: list[str] = []
    monkeypatch.setattr(celery.beat.Scheduler, "apply_entry", lambda _, entry, producer=None: names.append(entry.name))
    return names


def scheduler(*entries: tuple[str, float]) -> Any:
    app = Celery("test", broker="memory://", set_as_current=False)
    made = beat.Scheduler(app=app, lazy=True)
    made.schedule = {
        name: made.Entry(
            name, f"task.{name}", schedule=schedule(timedelta(seconds=period)), options={"queue": "system"}, app=app
        )
        for name, period in entries
    }
    return made


def run(found: Any, clock: Clock, seconds: float) -> None:
    until = clock.now + seconds
    while clock.now < until:
        clock.now += max(found.tick(), 0.001)


def test_each_task_is_sent_by_its_period(clock: Clock, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "waiting", lambda queue: 0)
    run(scheduler(FAST, SLOW), clock, 20.5)
    assert sent.count("slow") == 2
    assert sent.count("fast") == pytest.approx(20, abs=1)


def test_after_the_machine_slept_the_missed_ticks_are_not_made_up_for(
    clock: Clock, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat, "waiting", lambda queue: 0)
    found = scheduler(FAST)
    run(found, clock, 2)
    sent.clear()
    clock.now += 3600
    run(found, clock, 2)
    assert len(sent) <= 4


def test_no_tick_is_added_to_those_that_nobody_works_off(
    clock: Clock, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat, "waiting", lambda queue: beat.TICKS_MAX)
    run(scheduler(FAST), clock, 5)
    assert sent == []


def test_a_broker_that_does_not_answer_is_left_to_the_sending(
    clock: Clock, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(queue: str) -> int:
        raise OperationalError("away")

    monkeypatch.setattr(beat, "waiting", away)
    run(scheduler(FAST), clock, 1.5)
    assert sent


@pytest.mark.parametrize(
    ("task", "look", "idle"),
    [("runs.tasks.flush", "has_dirty", False), ("runs.tasks.schedules", "has_no_schedules", True)],
)
def test_a_tick_is_sent_unless_redis_shows_that_it_has_nothing_to_do(
    clock: Clock, sent: list[str], monkeypatch: pytest.MonkeyPatch, task: str, look: str, idle: bool
) -> None:
    monkeypatch.setattr(beat, "waiting", lambda queue: 0)
    found = scheduler(FAST)
    found.schedule["fast"].task = task
    counts = []
    for answer in (lambda: idle, lambda: not idle, refuse):
        monkeypatch.setattr(beat, "buffer", lambda answer=answer: SimpleNamespace(**{look: answer}))
        sent.clear()
        run(found, clock, 5)
        counts.append(len(sent))
    assert counts[0] == 0
    assert counts[1:] == pytest.approx([5, 5], abs=1)


def test_redis_cannot_stop_the_schedules(clock: Clock, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "waiting", lambda queue: 0)
    monkeypatch.setattr(beat, "buffer", lambda: SimpleNamespace(has_no_schedules=lambda: True))
    found = scheduler(FAST)
    found.schedule["fast"].task = "runs.tasks.schedules"
    run(found, clock, 60)
    assert len(sent) == pytest.approx(9, abs=1)


def test_the_queue_is_counted_less_often_than_ticks_are_sent(
    clock: Clock, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[str] = []

    def count(queue: str) -> int:
        counts.append(queue)
        return 0

    monkeypatch.setattr(beat, "waiting", count)
    run(scheduler(FAST), clock, 20)
    assert len(sent) == pytest.approx(20, abs=1)
    assert len(counts) <= 20 / beat.COUNT_EVERY_S + 1
