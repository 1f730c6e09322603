"""Entries become rows: once, in order, whatever they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from runs.lines.ranges import high_water
from runs.lines.store import Mark, rows, store_entries, writing
from runs.models import Attempt, LogLine, Result
from tests.factories import make_attempt

pytestmark = pytest.mark.django_db


def line(seq: int, message: str = "hello", *, attempt: int = 1, time: float = 1.5, metadata: Any = None) -> bytes:
    return b"%d:%d:%s" % (attempt, seq, json.dumps([time, 20, "log", message, metadata]).encode())


def metric(seq: int, value: Any, *, kind: str = "metric", key: str = "loss", step: int | None = 3) -> bytes:
    return b"1:%d:%s" % (seq, json.dumps([1.5, kind, key, step, value]).encode())


def messages(attempt: Attempt) -> list[str]:
    found = LogLine.objects.filter(run_id=attempt.run_id).order_by("attempt", "seq")
    return list(found.values_list("message", flat=True))


def only_result(attempt: Attempt) -> Result:
    return Result.objects.get(run_id=attempt.run_id)


def test_lines_and_results_are_stored_as_they_were_written() -> None:
    attempt = make_attempt()
    stored = store_entries(attempt.run_id, [line(1, "grüß dich\n\t\\N", metadata={"a": [1, None]})], [metric(1, 0.25)])
    found = LogLine.objects.get(run_id=attempt.run_id)
    assert (found.seq, found.message, found.metadata) == (1, "grüß dich\n\t\\N", {"a": [1, None]})
    assert (found.level, found.source, found.time) == (20, "log", datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC))
    result = only_result(attempt)
    assert (result.kind, result.key, result.step, result.number, result.value) == ("metric", "loss", 3, 0.25, None)
    assert stored.marks == {attempt.key: Mark(1, 1)}
    assert stored.dropped == 0


def test_storing_again_changes_nothing() -> None:
    attempt = make_attempt()
    store_entries(attempt.run_id, [line(1), line(2)], [metric(1, 1)])
    store_entries(attempt.run_id, [line(2, "another"), line(3), line(3)], [metric(1, 2)])
    assert messages(attempt) == ["hello", "hello", "hello"]
    assert only_result(attempt).number == 1
    attempt.refresh_from_db()
    assert attempt.lines_stored == [[1, 3]]


def test_the_mark_stands_before_a_gap_until_it_is_filled() -> None:
    attempt = make_attempt()
    assert store_entries(attempt.run_id, [line(1), line(4)], []).marks[attempt.key] == Mark(1, 0)
    attempt.refresh_from_db()
    assert attempt.lines_stored == [[1, 1], [4, 4]]
    assert store_entries(attempt.run_id, [line(2), line(3)], []).marks[attempt.key] == Mark(4, 0)


def test_entries_of_several_attempts_each_go_to_their_own() -> None:
    first = make_attempt()
    Attempt.objects.filter(pk=first.pk).update(end="lost", finished_at=datetime.now(UTC))
    second = make_attempt(first.run)
    stored = store_entries(first.run_id, [line(1), line(1, "again", attempt=2)], [])
    assert set(stored.marks) == {first.key, second.key}
    assert messages(first) == ["hello", "again"]


def test_entries_of_a_deleted_run_or_an_unknown_attempt_are_dropped_and_counted() -> None:
    attempt = make_attempt()
    assert store_entries(attempt.run_id, [line(1), line(1, attempt=9)], []).dropped == 1
    run_id = attempt.run_id
    attempt.run.delete()
    assert store_entries(run_id, [line(2)], [metric(1, 1)]).dropped == 2
    assert not LogLine.objects.exists()


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (b"1:2:no json", "no json"),
        (b'1:2:[1.0,20,"nowhere","x",null]', "nowhere"),
        (b'1:2:[1.0,99,"log","x",null]', "99"),
        (b'1:2:[1.0,20,"log","\xff\xfe",null]', "unreadable"),
        (b'1:2:[1.0,20,"log","\\ud800",null]', "unreadable"),
        (b'1:2:[1.0,20,"log","x",{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", "unreadable"),
        (b'1:2:[1.0,20,"log","x",{"a":1e999}]', "unreadable"),
        (b'1:2:[1.0,20,"log","x",{"a":NaN}]', "unreadable"),
        (b'1:2:[1.0,20,"log","a\\u0000b",{"\\u0000":["\\u0000"]}]', "a␀b"),
        (b'1:2:[1e300,20,"log","far future",null]', "far future"),
        (b'1:2:[1.0,20,"log","x",{"a":' + b"9" * 5000 + b"}]", "unreadable"),
        (b'1:2:[1.0,20,"log","huge number",{"a":' + b"9" * 400 + b"}]", ""),
        (b'1:2:[1.0,20,"log","deep",{"a":' + b"[" * 700 + b"]" * 700 + b"}]", ""),
    ],
)
def test_a_poison_line_is_shown_and_never_blocks_the_others(entry: bytes, shown: str) -> None:
    attempt = make_attempt()
    stored = store_entries(attempt.run_id, [line(1), entry, line(3)], [])
    assert stored.marks[attempt.key] == Mark(3, 0)
    before, poison, after = messages(attempt)
    assert (before, after) == ("hello", "hello")
    assert shown in poison


@pytest.mark.parametrize(
    "entry", [b"", b"x", b"1", b"1:2", b"a:b:c", b"0:1:[]", b"1:0:[]", b"1:-4:[]", b"1:%d:[]" % 2**64]
)
def test_what_has_no_place_is_counted_and_never_blocks_the_others(entry: bytes) -> None:
    attempt = make_attempt()
    stored = store_entries(attempt.run_id, [line(1), entry, line(2)], [entry])
    assert (stored.marks[attempt.key], stored.dropped) == (Mark(2, 0), 2)


@pytest.mark.parametrize(
    ("value", "number", "shown"),
    [("nan", None, "nan"), ("inf", None, "inf"), ("-inf", None, "-inf"), (5e-324, 5e-324, None), (1e308, 1e308, None)],
)
def test_metrics_that_are_no_finite_numbers_keep_their_name(value: Any, number: float | None, shown: Any) -> None:
    attempt = make_attempt()
    store_entries(attempt.run_id, [], [metric(1, value)])
    assert (only_result(attempt).number, only_result(attempt).value) == (number, shown)


@pytest.mark.parametrize(
    ("entry", "key", "value"),
    [
        (b"1:1:no json", "unreadable", "no json"),
        (metric(1, 0.5, step=2**70), "loss", {"unreadable step": str(2**70), "value": 0.5}),
        (metric(1, {"a": 2**70}, kind="result"), "loss", {"a": 2**70}),
        (metric(1, None, kind="result"), "loss", None),
        (metric(1, "a\0b", kind="result", key="k\0"), "k␀", "a␀b"),
        (metric(1, 1, kind="result", key="k" * 500), "k" * 199 + "…", 1),
    ],
)
def test_odd_results_are_kept_and_shown(entry: bytes, key: str, value: Any) -> None:
    attempt = make_attempt()
    assert store_entries(attempt.run_id, [], [entry]).marks[attempt.key] == Mark(0, 1)
    assert (only_result(attempt).key, only_result(attempt).value) == (key, value)


def test_a_line_of_ten_megabytes_is_stored() -> None:
    attempt = make_attempt()
    store_entries(attempt.run_id, [line(1, "x" * 10_000_000)], [])
    assert len(messages(attempt)[0]) == 10_000_000


def test_a_row_that_the_database_refuses_is_replaced_by_one_that_shows_it() -> None:
    """No entry is known to lead here; the next database, or the next version of one, may know one."""
    attempt = make_attempt()
    placed, _ = rows.placed([line(1), line(3)])
    good = [row for each in placed for row in rows.line_rows(attempt.run_id, each.span, each.value, 100)]
    bad = (*good[0][:2], 2, *good[0][3:6], "x\ud800\0", "no json")
    writing.write(rows.LINES, [good[0], bad, good[1]])
    before, refused, after = messages(attempt)
    assert (before, after) == ("hello", "hello")
    assert "refuses this line" in refused
    result = (*good[0][:2], 2, good[0][3], "metric", "k\ud800", 2**80, math.inf, "no json")
    writing.write(rows.RESULTS, [result])
    assert only_result(attempt).key == "unreadable"


def test_lines_beyond_the_limit_are_counted_and_one_line_says_so(configure: Callable[..., None]) -> None:
    configure(lines_max=2)
    attempt = make_attempt()
    for batch in ([line(1), line(2), line(3)], [line(4), line(5)], [line(3)]):
        store_entries(attempt.run_id, batch, [])
    assert messages(attempt) == ["hello", "hello", "more than 2 lines: the following are not stored"]
    attempt.refresh_from_db()
    assert high_water(attempt.lines_stored) == 5


def test_two_calls_within_one_transaction_do_not_meet_each_other() -> None:
    first, second = make_attempt(), make_attempt()
    store_entries(first.run_id, [line(1)], [])
    first_id = first.run_id
    first.run.delete()
    store_entries(second.run_id, [line(1)], [])
    assert not LogLine.objects.filter(run_id=first_id).exists()
    connection.check_constraints()
