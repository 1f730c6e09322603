"""Results of a run as a few lines of text. A metric is shown by its last, lowest and highest value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Max, Min, QuerySet

from runs import formatting
from runs.lines import curves
from runs.models import Result
from runs.states import ResultKind

SHOWN_KEYS = 20
VALUE_MAX_CHARS = 200


def result_lines(run_id: int, total: int) -> Iterator[str]:
    """Yield a line for each of the first SHOWN_KEYS keys, and say where the rest is. `total` counts all results."""
    results = Result.objects.filter(run_id=run_id)
    keys = list(curves.keys(run_id, limit=SHOWN_KEYS + 1))
    for key in keys[:SHOWN_KEYS]:
        for kind, line in ((ResultKind.METRIC, _metric), (ResultKind.RESULT, _value)):
            of_kind = results.filter(key=key, kind=kind)
            if of_kind.exists():
                yield line(key, of_kind)
    if total:
        more = f"more than {SHOWN_KEYS} keys; " if len(keys) > SHOWN_KEYS else ""
        yield f"                 {more}all {total:,} values: `export_results {run_id}`"


def _metric(key: str, points: QuerySet[Result]) -> str:
    last = points.order_by("-attempt", "-seq")[0]
    of_all = points.aggregate(count=Count("seq"), lowest=Min("number"), highest=Max("number"))
    if of_all["count"] == 1:
        return f"  metric         {key} = {_number(last)}{_step(last)}"
    bounds = "".join(
        f", {name} {formatting.number(of_all[column])}"
        for name, column in (("lowest", "lowest"), ("highest", "highest"))
        if of_all[column] is not None
    )
    return f"  metric         {key} = {_number(last)}{_step(last)} (last of {of_all['count']:,}{bounds})"


def _value(key: str, values: QuerySet[Result]) -> str:
    last, count = values.order_by("-attempt", "-seq")[0], values.count()
    others = f" (last of {count:,})" if count > 1 else ""
    return (
        f"  result         {key}{_step(last)} = {shortened(last.value if last.number is None else last.number)}{others}"
    )


def _number(point: Result) -> str:
    return str(point.value) if point.number is None else formatting.number(point.number)


def _step(result: Result) -> str:
    return "" if result.step is None else f" at step {result.step:,}"


def shortened(value: Any) -> str:
    """Format a value as JSON on one line, cut if it is long."""
    text = formatting.pretty(value, indent=None)
    return text if len(text) <= VALUE_MAX_CHARS else f"{text[: VALUE_MAX_CHARS - 1]}…"
