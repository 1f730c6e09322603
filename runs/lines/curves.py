"""Reading results: their keys, the points of a metric, the latest values. Bounded, by the index `result_key`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from experiments.jsonvalues import unpack
from runs.lines import following
from runs.lines.records import ResultRecord
from runs.models import Result
from runs.states import ResultKind

KEYS_MAX = 60
"""Keys shown of one run; `export_results` has them all."""
POINTS_MAX = 5000
"""Last points read of one curve."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The last points of one metric. `x` is the step where every point has one, or else the order of arrival."""

    key: str
    xs: list[int]
    times: list[float]
    """Seconds since the epoch."""
    ys: list[float | None]
    """None where the value is not finite."""
    last: float | str
    truncated: bool
    """There are more points before these."""


@dataclass(frozen=True, slots=True)
class Value:
    """The latest value of one result key."""

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


def keys(run_id: int, *, limit: int = KEYS_MAX) -> Iterator[str]:
    """The keys of a run's results in order. Skips from key to key through the index, however many points each has."""
    last = ""
    for _ in range(limit):
        found = Result.objects.filter(run_id=run_id, key__gt=last).order_by("key").values_list("key", flat=True).first()
        if found is None:
            return
        yield (last := found)


def read(run_id: int) -> tuple[list[Curve], list[Value]]:
    """The curves of the run's metrics and the latest values of its other results."""
    curves: list[Curve] = []
    values: list[Value] = []
    for key in keys(run_id):
        found = Result.objects.filter(run_id=run_id, key=key).order_by("-attempt", "-seq")
        rows = [_Row(*row) for row in found.values_list(*_Row._fields)[: POINTS_MAX + 1]]
        points = [row for row in rows if row.kind == ResultKind.METRIC]
        if points:
            curves.append(_curve(key, points[:POINTS_MAX][::-1], truncated=len(rows) > POINTS_MAX))
        if other := next((row for row in rows if row.kind == ResultKind.RESULT), None):
            values.append(Value(key, unpack(other.value), other.attempt, other.seq, other.step))
    return curves, values


def _curve(key: str, points: list[_Row], *, truncated: bool) -> Curve:
    stepped = all(point.step is not None for point in points)
    last = points[-1]
    return Curve(
        key=key,
        xs=[point.step if stepped and point.step is not None else index for index, point in enumerate(points)],
        times=[point.time.timestamp() for point in points],
        ys=[point.number for point in points],
        last=last.number if last.number is not None else str(last.value),
        truncated=truncated,
    )


class Follower(following.Reading[ResultRecord]):
    """Gives each result of a run once, in the order of each attempt, as they are stored; see `runs.lines.following`."""

    column = "results_stored"

    def rows(self, number: int, after: int, upto: int, limit: int) -> list[ResultRecord]:
        rows = Result.objects.filter(run_id=self.run_id, attempt=number, seq__gt=after, seq__lte=upto).order_by("seq")
        return [
            ResultRecord(row.attempt, row.seq, row.time.timestamp(), row.kind, row.key, row.step, row.number, row.value)
            for row in rows[:limit]
        ]
