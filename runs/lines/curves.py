"""Reading of results: keys, points of metrics, latest values. Bounded; uses the index `result_key`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, F, Max, Min

from runs.lines import following
from runs.lines.records import ResultRecord
from runs.models import Result
from runs.states import ResultKind

KEYS_MAX = 60
"""Number of keys shown of one run. `export_results` exports all."""
KEYS_COUNTED = 1000
"""Number of keys of one run that are counted."""
BUCKETS = 500
"""A curve of more than twice as many points is read as about this many buckets, computed by the database."""
MIXED_ROWS = 100
"""Number of newest rows of a key that are read to determine its kinds."""


class Point(NamedTuple):
    """Point of a curve, or bucket of neighbouring points."""

    x: int
    """Step of the last point, or its position if any point of the curve has no step."""
    time: float
    """Time of the last point, in seconds since the epoch."""
    last: float | None
    """None if it is not finite."""
    low: float | None
    high: float | None
    points: int
    finite: int


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric over its whole range."""

    key: str
    points: list[Point]
    last: float | str

    @property
    def count(self) -> int:
        return sum(point.points for point in self.points)

    @property
    def nonfinite(self) -> int:
        return sum(point.points - point.finite for point in self.points)


@dataclass(frozen=True, slots=True)
class Value:
    """Latest value of one key."""

    key: str
    value: Any
    attempt: int
    seq: int
    step: int | None


class _Row(NamedTuple):
    attempt: int
    seq: int
    kind: str
    step: int | None
    number: float | None
    value: Any
    time: datetime


class _Bucket(NamedTuple):
    last_seq: int
    low: float | None
    high: float | None
    points: int
    finite: int
    steps: int


def keys(run_id: int, *, limit: int = KEYS_MAX) -> Iterator[str]:
    """Yield the keys of a run's results in order. Skips through the index, so the number of points is irrelevant."""
    last: str | None = None
    for _ in range(limit):
        rows = Result.objects.filter(run_id=run_id)
        rows = rows if last is None else rows.filter(key__gt=last)
        key = rows.order_by("key").values_list("key", flat=True).first()
        if key is None:
            return
        yield (last := key)


def keys_notice(run_id: int) -> str:
    """Describe the keys that are not shown, in a sentence; empty if all are shown."""
    count = sum(1 for _ in keys(run_id, limit=KEYS_COUNTED + 1))
    if count <= KEYS_MAX:
        return ""
    total = f"{count}" if count <= KEYS_COUNTED else f"more than {KEYS_COUNTED:,}"
    return f"Showing the first {KEYS_MAX} of {total} keys. Export all: python manage.py export_results {run_id}"


def read(run_id: int) -> tuple[list[Curve], list[Value]]:
    """Read the curves of a run's metrics and the latest values of its other results, of the first KEYS_MAX keys."""
    curves: list[Curve] = []
    values: list[Value] = []
    for key in keys(run_id):
        newest = _rows(run_id, key, "-attempt", "-seq", limit=MIXED_ROWS)
        if point := next((row for row in newest if row.kind == ResultKind.METRIC), None):
            last = point.number if point.number is not None else str(point.value)
            curves.append(Curve(key, _points(run_id, key), last))
        if result := next((row for row in newest if row.kind == ResultKind.RESULT), None):
            values.append(Value(key, result.value, result.attempt, result.seq, result.step))
    return curves, values


def _rows(run_id: int, key: str, *order: str, limit: int) -> list[_Row]:
    rows = Result.objects.filter(run_id=run_id, key=key).order_by(*order)
    return [_Row(*row) for row in rows.values_list(*_Row._fields)[:limit]]


def _points(run_id: int, key: str) -> list[Point]:
    """Read every point of a short curve, or buckets of a long one."""
    rows = _rows(run_id, key, "attempt", "seq", limit=2 * BUCKETS + 1)
    if len(rows) > 2 * BUCKETS:
        return _buckets(run_id, key)
    rows = [row for row in rows if row.kind == ResultKind.METRIC]
    stepped = all(row.step is not None for row in rows)
    return [
        Point(
            x=row.step if stepped and row.step is not None else index,
            time=row.time.timestamp(),
            last=row.number,
            low=row.number,
            high=row.number,
            points=1,
            finite=int(row.number is not None),
        )
        for index, row in enumerate(rows)
    ]


def _buckets(run_id: int, key: str) -> list[Point]:
    """Group neighbouring points by their seq, in the database."""
    rows = Result.objects.filter(run_id=run_id, key=key, kind=ResultKind.METRIC)
    spans = rows.order_by().values("attempt").annotate(first=Min("seq"), last=Max("seq"))
    width = max(1, sum(span["last"] - span["first"] + 1 for span in spans) // BUCKETS)
    grouped = (
        rows.annotate(bucket=(F("seq") - F("seq") % width))
        .order_by("attempt", "bucket")
        .values("attempt", "bucket")
        .annotate(
            last_seq=Max("seq"),
            low=Min("number"),
            high=Max("number"),
            points=Count("seq"),
            finite=Count("number"),
            steps=Count("step"),
        )
    )
    buckets = [(attempt, _Bucket(*columns)) for attempt, *columns in grouped.values_list("attempt", *_Bucket._fields)]
    ends = {(attempt, bucket.last_seq) for attempt, bucket in buckets}
    lasts = rows.filter(seq__in={seq for _, seq in ends}).values_list("attempt", "seq", "step", "number", "time")
    last = {(attempt, seq): (step, number, time) for attempt, seq, step, number, time in lasts}
    stepped = all(bucket.steps == bucket.points for _, bucket in buckets)
    points: list[Point] = []
    arrived = 0
    for attempt, bucket in buckets:
        step, number, time = last[attempt, bucket.last_seq]
        arrived += bucket.points
        x = step if stepped and step is not None else arrived - 1
        points.append(Point(x, time.timestamp(), number, bucket.low, bucket.high, bucket.points, bucket.finite))
    return points


class Follower(following.Reading[ResultRecord]):
    """Return each result of a run once, in the order of each attempt; see `runs.lines.following`."""

    column = "results_stored"

    def rows(self, number: int, after: int, upto: int, limit: int) -> list[ResultRecord]:
        rows = Result.objects.filter(run_id=self.run_id, attempt=number, seq__gt=after, seq__lte=upto).order_by("seq")
        return [
            ResultRecord(row.attempt, row.seq, row.time.timestamp(), row.kind, row.key, row.step, row.number, row.value)
            for row in rows[:limit]
        ]
