"""Reading lines: pages by keyset, and following."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.lines import reading
from runs.lines.reading import Follower, Place, Wanted
from runs.lines.records import Line
from runs.models import Attempt, LogLine
from runs.states import AttemptEnd, Level
from tests.factories import make_attempt
from tests.output import EPOCH, end_run, store_lines

pytestmark = pytest.mark.django_db


def two_attempts() -> Attempt:
    """An attempt with lines 1 to 5 that was lost, and a second with lines 1 to 3 under way; returns the second."""
    first = make_attempt()
    store_lines(first, range(1, 6))
    Attempt.objects.filter(pk=first.pk).update(end=AttemptEnd.LOST, finished_at=EPOCH)
    second = make_attempt(first.run)
    store_lines(second, range(1, 4))
    return second


def places(found: list[Line]) -> list[str]:
    return [f"{line.attempt}.{line.seq}" for line in found]


def test_pages_go_on_from_one_attempt_to_the_next_and_back() -> None:
    run_id = two_attempts().run_id
    assert places(reading.after(run_id, Place(1, 3), limit=4)) == ["1.4", "1.5", "2.1", "2.2"]
    assert places(reading.before(run_id, Place(2, 2), limit=4)) == ["1.3", "1.4", "1.5", "2.1"]
    assert places(reading.before(run_id, limit=2)) == ["2.2", "2.3"]
    assert reading.after(run_id, Place(2, 3)) == []
    assert reading.before(run_id, Place(1, 1)) == []


def test_every_line_is_read_once_page_by_page(configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 7)
    configure(page_size=7)
    attempt = make_attempt()
    store_lines(attempt, range(1, 101))
    assert [line.seq for line in reading.every(attempt.run_id)] == list(range(1, 101))


def test_a_page_far_down_costs_what_the_first_costs() -> None:
    attempt = make_attempt()
    LogLine.objects.bulk_create(
        LogLine(run_id=attempt.run_id, attempt=1, seq=seq, time=EPOCH, level=20, source="log", message="x")
        for seq in range(1, 3_001)
    )
    with CaptureQueriesContext(connection) as queries:
        found = reading.after(attempt.run_id, Place(1, 2_990), limit=5)
    assert places(found)[0] == "1.2991"
    assert len(queries) == 2
    assert "OFFSET" not in queries[1]["sql"]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {queries[1]['sql']}")
            plan = str(cursor.fetchall())
        assert "SEARCH" in plan
        assert "B-TREE" not in plan


def test_level_and_source_filter() -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 4))
    store_lines(attempt, range(4, 6), level=Level.ERROR, source="stderr")
    assert places(reading.after(attempt.run_id, wanted=Wanted(level=Level.WARNING))) == ["1.4", "1.5"]
    assert places(reading.before(attempt.run_id, wanted=Wanted(source="log"))) == ["1.1", "1.2", "1.3"]


def test_a_follower_gives_each_line_once_and_knows_when_it_was_the_last() -> None:
    attempt = make_attempt()
    follower = Follower(attempt.run_id)
    store_lines(attempt, range(1, 4))
    assert places(follower.read(limit=2).lines) == ["1.1", "1.2"]
    assert places(follower.read().lines) == ["1.3"]
    store_lines(attempt, range(4, 6))
    assert places(follower.read().lines) == ["1.4", "1.5"]
    assert follower.read() == ([], False)
    end_run(attempt)
    assert follower.read() == ([], True)


def test_a_gap_is_not_passed_while_it_may_still_be_filled() -> None:
    attempt = make_attempt()
    follower = Follower(attempt.run_id)
    store_lines(attempt, [1, 2, 5])
    assert places(follower.read().lines) == ["1.1", "1.2"]
    store_lines(attempt, [3, 4])
    assert places(follower.read().lines) == ["1.3", "1.4", "1.5"]


def test_what_is_missing_at_the_end_hides_nothing_else() -> None:
    attempt = make_attempt()
    store_lines(attempt, [1, 2, 5])
    end_run(attempt)
    assert places(Follower(attempt.run_id).read().lines) == ["1.1", "1.2", "1.5"]


def test_late_lines_of_a_lost_attempt_are_not_missed() -> None:
    second = two_attempts()
    first = Attempt.objects.get(run=second.run, number=1)
    follower = Follower(second.run_id)
    follower.read()
    store_lines(first, [6, 7])
    assert places(follower.read().lines) == ["1.6", "1.7"]


def test_a_follower_that_comes_back_goes_on_where_it_was() -> None:
    second = two_attempts()
    seen = {1: 5, 2: 1}
    assert places(Follower(second.run_id, seen=seen).read().lines) == ["2.2", "2.3"]


def test_a_filtered_follower_goes_past_what_it_does_not_show() -> None:
    attempt = make_attempt()
    follower = Follower(attempt.run_id, wanted=Wanted(level=Level.ERROR))
    store_lines(attempt, range(1, 100))
    assert follower.read().lines == []
    assert follower.seen == {1: 99}
    store_lines(attempt, [100], level=Level.ERROR)
    assert places(follower.read().lines) == ["1.100"]


def test_rewinding_shows_the_last_lines_and_reading_goes_on_after_them() -> None:
    second = two_attempts()
    follower = Follower(second.run_id)
    assert places(follower.rewind(limit=5)) == ["1.4", "1.5", "2.1", "2.2", "2.3"]
    store_lines(second, [4])
    assert places(follower.read().lines) == ["2.4"]


def test_a_deleted_run_is_complete() -> None:
    assert Follower(12345).read() == ([], True)
