"""Failures of the last day, counted correctly by a constant number of queries on an index."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs import recent_failures
from runs.models import Run
from runs.recent_failures import Failure, Failures
from runs.states import FailureKind, Status

pytestmark = pytest.mark.django_db

LIMIT = 15


def fail(times: int = 1, *, experiment: str = "scripted", ago_s: float = 60, **values: Any) -> list[Run]:
    """Oldest first, a millisecond apart."""
    ended = timezone.now() - timedelta(seconds=ago_s)
    columns = {"seed": 1, "status": Status.FAILED, "failure_kind": FailureKind.ERROR, "error": "no"} | values
    return Run.objects.bulk_create(
        Run(experiment=experiment, finished_at=ended + timedelta(milliseconds=number), **columns)
        for number in range(times)
    )


def day_ago() -> datetime:
    return timezone.now() - timedelta(days=1)


def test_few_failures_are_told_one_by_one_newest_first() -> None:
    first, second = fail(2, ago_s=3600)
    (other,) = fail(experiment="other", ago_s=60)
    fail(ago_s=2 * 86_400)
    found = recent_failures.since(day_ago(), LIMIT)
    assert found == Failures([Failure(other), Failure(second), Failure(first)])


def test_nothing_has_failed() -> None:
    fail(ago_s=2 * 86_400)
    assert recent_failures.since(day_ago(), LIMIT) == Failures()


def test_a_flood_of_one_experiment_hides_nothing() -> None:
    """Neither another experiment, nor another kind of its own, nor one that was launched long before it."""
    (early,) = fail(experiment="other", ago_s=7200)
    (killed,) = fail(failure_kind=FailureKind.MEMORY, ago_s=3600)
    *_, newest = fail(600)
    found = recent_failures.since(day_ago(), LIMIT)
    assert found == Failures([Failure(newest, more=599), Failure(killed), Failure(early)])


def test_a_run_that_was_launched_before_thousands_of_others_and_failed_now_is_told() -> None:
    (long,) = fail(experiment="long", ago_s=1)
    fail(600, ago_s=3 * 86_400)
    assert recent_failures.since(day_ago(), LIMIT) == Failures([Failure(long)])


def test_counting_ends_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_failures, "COUNTED", 50)
    fail(60)
    (failure,) = recent_failures.since(day_ago(), LIMIT).shown
    assert (failure.more, failure.is_at_least) == (49, True)


def test_more_experiments_than_there_is_room_for_are_said_to_be_left_out() -> None:
    for number in range(8):
        fail(2, experiment=f"one_{number}", ago_s=60 + number)
    found = recent_failures.since(day_ago(), 5)
    assert [failure.run.experiment for failure in found.shown] == [f"one_{number}" for number in range(5)]
    assert found.left_out == 3


@pytest.mark.parametrize("times", [1, 200])
def test_it_takes_two_queries_however_many_failed(times: int, django_assert_num_queries: Any) -> None:
    fail(times)
    fail(times, experiment="other")
    with django_assert_num_queries(2):
        recent_failures.since(day_ago(), LIMIT)


@pytest.mark.parametrize("times", [3, 200])
def test_only_entries_of_the_failures_are_read(times: int) -> None:
    """By the index that is theirs: that of the statuses leads through all that ever failed."""
    fail(times)
    fail(times, experiment="other")
    with CaptureQueriesContext(connection) as asked:
        recent_failures.since(day_ago(), LIMIT)
    for query in asked:
        plan = plan_of(query["sql"])
        assert all(wrong not in plan for wrong in ("SCAN runs_run", "Seq Scan on runs_run", "run_status")), plan


def plan_of(sql: str) -> str:
    """On PostgreSQL as it is for a table that is too large to be read as a whole."""
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{explain} {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())
