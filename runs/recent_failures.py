"""Recent failures, grouped so that many failures of one experiment do not hide those of another. Reads only, bounded.

A few failures are listed one by one. Of many, the newest of each experiment and kind of failure is listed, with the
number of others like it. A recursive query skips from experiment to experiment on the index `run_experiment`, which
SQLite would not use for a query of failed runs only. Then the index `run_failed` is probed for each experiment and
kind, and at most COUNTED entries are read where there are any. So the time does not grow with the number of runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import QuerySet

from runs.models import Run, rights
from runs.states import FailureKind, Status

COUNTED = 1_001
"""Failures of one experiment and kind are counted up to this number."""

_GROUPS = """
WITH RECURSIVE
    of_experiment(name) AS (
        SELECT MIN(experiment) FROM runs_run
        UNION ALL
        SELECT (SELECT MIN(experiment) FROM runs_run WHERE experiment > of_experiment.name)
        FROM of_experiment WHERE of_experiment.name IS NOT NULL
    ),
    of_kind(name) AS (VALUES {kinds})
SELECT experiment, kind, newest, (SELECT COUNT(*) FROM (
    SELECT 1 FROM runs_run WHERE status = 'failed' AND experiment = pair.experiment AND failure_kind = pair.kind
    AND finished_at > %s LIMIT {counted}) AS counted)
FROM (
    SELECT of_experiment.name AS experiment, of_kind.name AS kind, (
        SELECT id FROM runs_run WHERE status = 'failed' AND experiment = of_experiment.name
        AND failure_kind = of_kind.name AND finished_at > %s ORDER BY finished_at DESC LIMIT 1) AS newest
    FROM of_experiment CROSS JOIN of_kind WHERE of_experiment.name IS NOT NULL
) AS pair WHERE newest IS NOT NULL
"""


class Group(NamedTuple):
    """Failures of one experiment and kind."""

    experiment: str
    kind: str
    newest: int
    """Id of the newest run."""
    times: int
    """Number of runs; COUNTED if there are that many or more."""


@dataclass(frozen=True, slots=True)
class Failure:
    run: Run
    more: int = 0
    """Others of the same experiment and kind, which are not listed; COUNTED - 1 if there are that many or more."""

    @property
    def is_at_least(self) -> bool:
        """True if there may be others that were not counted."""
        return self.more >= COUNTED - 1


@dataclass(frozen=True, slots=True)
class Failures:
    shown: list[Failure] = field(default_factory=list)
    """Newest first."""
    left_out: int = 0
    """Number of groups (experiment and kind) without any listed failure."""


def since(moment: datetime, limit: int, user: Any = None) -> Failures:
    """List failures after `moment`, at most `limit`, in two queries.

    A user from whom access rules may hide runs gets the newest ones that are visible, without groups.
    """
    if rights.of(user).restrict_view:
        visible = Run.objects.visible_to(user).filter(status=Status.FAILED, finished_at__gt=moment)
        newest = visible.select_related("launched_by").order_by("-pk")
        return Failures([Failure(run) for run in newest[:limit]])
    groups = _groups(moment)
    runs = Run.objects.select_related("launched_by").order_by("-finished_at", "-pk")
    if not groups:
        return Failures()
    if sum(group.times for group in groups) <= limit:
        return Failures([Failure(run) for run in runs.filter(pk__in=_of_any(groups, moment))])
    more = {group.newest: group.times - 1 for group in groups}
    shown = [Failure(run, more[run.pk]) for run in runs.filter(pk__in=more)[:limit]]
    return Failures(shown, left_out=max(0, len(groups) - limit))


def _of_any(groups: list[Group], moment: datetime) -> QuerySet[Run, Any]:
    """Select the ids of all failures of the groups: a UNION probes the index for each group, an OR would not."""
    failed = Run.objects.filter(status=Status.FAILED, finished_at__gt=moment)
    first, *rest = (
        failed.filter(experiment=group.experiment, failure_kind=group.kind).order_by().values("pk") for group in groups
    )
    return first.union(*rest, all=True) if rest else first


def _groups(moment: datetime) -> list[Group]:
    after = connection.ops.adapt_datetimefield_value(moment)
    kinds = ", ".join(f"('{kind}')" for kind in FailureKind.values)
    with connection.cursor() as cursor:
        cursor.execute(_GROUPS.format(kinds=kinds, counted=COUNTED), [after, after])
        return [Group(*row) for row in cursor.fetchall()]
