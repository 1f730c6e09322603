"""Rows that were stored at once equal rows that were stored one by one, for any text, metadata and result."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runs.child.pipe import RecordPipe
from runs.lines import blocks, records
from runs.lines.reading import every
from runs.lines.records import decode_line
from runs.lines.store import rows, store_entries, writing
from runs.models import Attempt, LogLine, Result
from runs.supervisor.channel import Channel
from tests.factories import make_attempt

pytestmark = pytest.mark.django_db

TEXTS = st.one_of(
    st.text(),
    st.text("\\Nn.t\t\n\r\b\0\"'{}[]\x1b\ud800é␀", max_size=12),
    st.sampled_from(["\\N", "\\.", "", "\\", "None", "NULL", "\t", "\\n", "a\\tb\\"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.binary(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
LINES = st.lists(st.tuples(TEXTS, st.dictionaries(TEXTS, VALUES, max_size=3)), min_size=1, max_size=6)
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def from_the_child(lines: list[tuple[str, dict[str, Any]]]) -> list[bytes]:
    """Write lines as a child does, and return their records."""
    read, write = os.pipe()
    pipe = RecordPipe(write, line_max_bytes=10_000)
    for message, metadata in lines:
        pipe.line(20, "log", message, metadata)
    os.close(write)
    channel = Channel(record_max_bytes=10**6, line_max_bytes=10_000, senders_max=4)
    arrived: list[bytes] = []
    while data := os.read(read, 2**20):
        arrived += channel.feed(data)
    os.close(read)
    return arrived


def columns(model: type[LogLine | Result], attempt: Attempt) -> list[tuple[Any, ...]]:
    names = [str(field.column) for field in model._meta.concrete_fields if field.column != "run_id"]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(names)} FROM {model._meta.db_table} WHERE run_id = %s ORDER BY attempt, seq",
            [attempt.run_id],
        )
        return list(cursor.fetchall())


def store_one_by_one(attempt: Attempt, table: rows.Table, made: list[rows.Row]) -> None:
    for row in made:
        writing._insert(table, [row])


@relaxed
@given(LINES)
@example([("a\tb\\N\n\\.\r", {"\\": "\\N\t"}), ("", {}), ("\\N", {"x": None}), ("None", {"a": "\ud800\0"})])
def test_any_line_is_stored_at_once_as_it_is_one_by_one(lines: list[tuple[str, dict[str, Any]]]) -> None:
    at_once, one_by_one = make_attempt(), make_attempt()
    arrived = from_the_child(lines)
    values = blocks.pack(at_once.key, 1, arrived)
    store_entries(at_once.run_id, values, [])
    decoded = [decode_line(entry) for value in values for entry in blocks.entries(value)]
    store_one_by_one(one_by_one, rows.LINES, rows._each_line(one_by_one.run_id, decoded, 100))

    assert columns(LogLine, at_once) == columns(LogLine, one_by_one)
    shown = [(line.message, line.metadata) for line in every(at_once.run_id)]
    assert shown == [(line.message, line.metadata) for line in decoded], "what is buffered is shown as it is stored"
    assert len(shown) == len(lines)


@relaxed
@given(st.lists(st.tuples(TEXTS, VALUES, st.one_of(st.none(), st.integers(-(2**70), 2**70))), min_size=1, max_size=5))
def test_any_result_is_stored_at_once_as_it_is_one_by_one(results: list[tuple[str, Any, int | None]]) -> None:
    at_once, one_by_one = make_attempt(), make_attempt()
    bodies = []
    for key, value, step in results:
        kind = "metric" if isinstance(value, float) else "result"
        with_value = str(value) if isinstance(value, float) else value
        try:
            bodies.append(records.encode(records.RESULT, (1.5, kind, key, step, with_value)))
        except (UnicodeEncodeError, TypeError, OverflowError, msgspec.MsgspecError):
            bodies.append(b'R[1.5,"result","refused",null,0]')
    values = blocks.pack(at_once.key, 1, bodies)
    store_entries(at_once.run_id, [], values)
    store_one_by_one(
        one_by_one, rows.RESULTS, [row for value in values for row in rows.result_rows(one_by_one.run_id, value)]
    )

    assert columns(Result, at_once) == columns(Result, one_by_one)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 4e9), st.integers(0, 10**10))
def test_a_time_is_the_text_of_its_date(any_time: float, recent: float, seconds: int) -> None:
    for time in (any_time, recent, float(seconds), seconds + 0.9999999, -recent):
        try:
            expected = str(datetime.fromtimestamp(time, UTC).replace(tzinfo=None))
        except (OverflowError, ValueError, OSError):
            continue
        assert rows.moment(time) == expected


def test_rows_that_exist_do_not_stop_new_ones() -> None:
    attempt = make_attempt()
    lines = [b'L[1.5,20,"log","%d",null]' % n for n in range(1, 11)]
    store_entries(attempt.run_id, blocks.pack(attempt.key, 3, lines[2:4]), [])
    Attempt.objects.filter(pk=attempt.pk).update(lines_stored=[])  # as if another process had stored them just now
    store_entries(attempt.run_id, blocks.pack(attempt.key, 1, lines), [])
    assert [line.message for line in every(attempt.run_id)] == [str(n) for n in range(1, 11)]
    attempt.refresh_from_db()
    assert attempt.lines_stored == [[1, 10]]


def test_blocks_that_overlap_are_stored_once() -> None:
    attempt = make_attempt()
    lines = [b'L[1.5,20,"log","%d",null]' % n for n in range(1, 11)]
    values = [
        block
        for first, last in ((1, 4), (3, 7), (2, 9))
        for block in blocks.pack(attempt.key, first, lines[first - 1 : last])
    ]
    store_entries(attempt.run_id, values[:1], [])
    store_entries(attempt.run_id, values, [])
    assert [line.message for line in every(attempt.run_id)] == [str(n) for n in range(1, 10)]
