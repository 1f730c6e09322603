"""Home page: active runs, failures, and unhealthy parts with a remedy."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from experiments.registry import forget
from runs import health
from runs.lines.buffer import Buffer
from runs.lines.buffer.keys import Stream
from runs.lines.records import LINE, encode, entry
from runs.models import Pulse, Run
from runs.states import Status
from tests.factories import make_attempt, make_run, make_worker
from tests.output import end_run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def beat(buffer: Buffer) -> None:
    Pulse.objects.create(name="schedules", at=Now())


def problems() -> str:
    return " ".join(f"{problem.what} {problem.remedy}" for problem in health.read().problems)


def test_a_whole_that_is_well_has_no_problems() -> None:
    make_worker(queues=["runs"])
    make_run()
    assert problems() == ""


def test_a_silent_beat_is_told_with_the_remedy() -> None:
    Pulse.objects.update(at=timezone.now() - timedelta(minutes=5))
    assert "The beat has not run for" in problems()
    Pulse.objects.all().delete()
    assert "The beat has never run" in problems()


def test_a_silent_worker_and_a_queue_without_one_are_told() -> None:
    make_worker(queues=["runs"], heartbeat_at=timezone.now() - timedelta(minutes=1), name="runs1@here")
    make_run(queue="gpu")
    assert "Worker runs1@here" in problems()
    assert "1 run is waiting in queue “gpu”" in problems()


def test_a_redis_that_is_away_is_told_and_breaks_nothing(redis_server: Any) -> None:
    redis_server.kill()
    try:
        assert "Redis is not responding" in problems()
    finally:
        redis_server.start()


def test_what_waits_too_long_to_be_stored_is_told(buffer: Buffer) -> None:
    attempt = make_attempt()
    record = encode(LINE, [timezone.now().timestamp() - 60, 20, "log", "x", None])
    buffer.push(attempt.key, Stream.LINES, after=0, entries=[entry(attempt.key, 1, record)])
    backlog = buffer.backlog()
    assert (backlog.runs, backlog.entries) == (1, 1)
    assert 59 < backlog.lag_s < 70
    assert "waiting for 1 min" in problems()


def test_what_runs_and_what_failed_of_late_is_told() -> None:
    running = make_attempt().run
    failed, old = (end_run(make_attempt(), Status.FAILED) for _ in range(2))
    Run.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(days=2))
    state = health.read()
    assert state.running == [running]
    assert [failure.run for failure in state.failed.shown] == [failed]


def test_a_broken_module_of_experiments_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATHANOR_EXPERIMENT_PATHS", str(tmp_path))
    (tmp_path / "broken.py").write_text("import nothing_of_that_name")
    make_worker(queues=["runs"])
    forget()
    try:
        assert "broken.py: ModuleNotFoundError: No module named 'nothing_of_that_name'" in problems()
    finally:
        forget()
