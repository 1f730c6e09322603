"""Status changes of runs. No other module writes a run's status.

Each change is one guarded UPDATE; zero updated rows mean that another process was first. Each function is one
transaction: after a crash the database is as before the call or as after it. Times are the database's. A function that
returns False or None changed nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from runs import retry_policy, statements
from runs.conf import runs_settings
from runs.lines.ranges import high_water
from runs.models import Attempt, Run, Worker
from runs.outcomes import Outcome
from runs.statements import Sql, execute, now, update
from runs.states import AttemptKey, FailureKind, Status

logger = logging.getLogger(__name__)

ENDED_BY_MAX_CHARS = 200
"""Size of `Attempt.ended_by`, which holds the name of the person who requested a cancel, and a few words."""
_claiming = threading.Lock()
"""Serializes the claims of a worker process: a run may share the worker or not, depending on what it executes."""
_CLAIMED = (
    "id", "experiment", "configuration", "limits", "seed", "queue", "on_lost", "max_attempts", "retries", "slot",
    "origin_kind", "status", "attempt", "started_at",
)  # fmt: skip
"""Columns that a claim reads, in the order of the model. Others are read when they are used."""
_CLAIM = f"""
WITH due AS (%s FOR NO KEY UPDATE SKIP LOCKED),
claimed AS (
  UPDATE runs_run
  SET status = 'running', attempt = runs_run.attempt + 1, not_before = NULL, alone_s = NULL,
      started_at = COALESCE(runs_run.started_at, STATEMENT_TIMESTAMP())
  FROM due WHERE runs_run.id = due.id AND runs_run.status = due.status AND runs_run.attempt = due.attempt
  RETURNING {", ".join(f"runs_run.{column}" for column in _CLAIMED)}, due.alone_s AS its_alone_s
),
opened AS (
  INSERT INTO runs_attempt
    (run_id, number, worker_id, task_id, lease_expires_at, alone_until,
     "end", failure_kind, error, traceback, ended_by, lines_stored, results_stored, provenance)
  SELECT id, attempt, %%s, %%s, STATEMENT_TIMESTAMP() + %%s * INTERVAL '1 second',
    STATEMENT_TIMESTAMP() + its_alone_s * INTERVAL '1 second', '', '', '', '', '', '[]', '[]', '{{}}'
  FROM claimed RETURNING id
)
SELECT opened.id, {", ".join(f"claimed.{column}" for column in _CLAIMED)} FROM claimed, opened
"""  # noqa: S608  # our names
"""Claim of a run, with its query of a due run to be inserted. The guard is the state that was read: with the text
'pending' in it, PostgreSQL might look for the run's id in the index of all pending runs.
"""


def from_now(seconds: float) -> Any:
    """Return an expression for `seconds` after the database's current time (before it, if negative)."""
    return Now() + timedelta(seconds=seconds)


def claim(queues: Sequence[str], worker: Worker, *, lease_s: float, task_id: str = "") -> Attempt | None:
    """Claim the first due run of `queues` (priority, then age) for a new attempt; None if no run is due.

    Any number of workers may call it at once: PostgreSQL skips rows that others are claiming, SQLite has one writer. A
    run that was lost repeatedly has the worker to itself, see `runs.losses`.
    """
    with _claiming:
        if connection.vendor == "postgresql":
            return _claim_at_once(queues, worker, lease_s, task_id)
        return _claim_in_steps(queues, worker, lease_s, task_id)


def _claim_at_once(queues: Sequence[str], worker: Worker, lease_s: float, task_id: str) -> Attempt | None:
    """Claim in one statement (PostgreSQL)."""
    with connection.cursor() as cursor:
        due = _due_statement(tuple(queues), worker.pk, runs_settings().lost_wait_s)
        cursor.execute(_CLAIM % due.text, (*due.params, worker.pk, task_id, lease_s))
        row = cursor.fetchone()
    if row is None:
        return None
    values = [_loaded(column, value) for column, value in zip(_CLAIMED, row[1:], strict=True)]
    run = Run.from_db(connection.alias, _CLAIMED, values)
    columns = {"id": row[0], "run_id": run.pk, "number": run.attempt, "worker_id": worker.pk, "task_id": task_id}
    attempt = Attempt.from_db(connection.alias, [*columns], [*columns.values()])
    attempt.run = run
    return attempt


def _loaded(column: str, value: Any) -> Any:
    """Convert a value as the ORM does."""
    field = Run._meta.get_field(column)
    return field.from_db_value(value, None, connection) if hasattr(field, "from_db_value") else value


@lru_cache(maxsize=16)
def _due_statement(queues: tuple[str, ...], worker_id: int, _lost_wait_s: float) -> Sql:
    """Return the query of `_due` as text: it is the same for all claims of a worker."""
    text, params = _due(queues, worker_id).values("id", "alone_s", "status", "attempt")[:1].query.sql_with_params()
    return Sql(text, params)


def _claim_in_steps(queues: Sequence[str], worker: Worker, lease_s: float, task_id: str) -> Attempt | None:
    """Claim in a transaction that has the database's write lock."""
    with transaction.atomic():
        run = _due(queues, worker.pk).first()
        if run is None:
            return None
        alone_s, pending = run.alone_s, Run.objects.filter(pk=run.pk, status=Status.PENDING, attempt=run.attempt)
        claimed = {"status": Status.RUNNING, "attempt": run.attempt + 1, "not_before": None, "alone_s": None}
        if not pending.update(started_at=Coalesce("started_at", Now()), **claimed):
            return None
        attempt = Attempt.objects.create(
            run=run,
            number=run.attempt + 1,
            worker=worker,
            task_id=task_id,
            lease_expires_at=from_now(lease_s),
            alone_until=None if alone_s is None else from_now(alone_s),
        )
    vars(run).update(claimed)
    for row, column in ((run, "started_at"), (attempt, "lease_expires_at"), (attempt, "alone_until")):
        del vars(row)[column]  # the database has computed it: read when it is used
    return attempt


def _due(queues: Sequence[str], worker_id: int) -> QuerySet[Run]:
    """Return the runs that a worker may claim, in the order in which they are claimed."""
    open_attempts = Attempt.objects.open().filter(worker_id=worker_id)
    is_shareable = Q(alone_s=None) | Q(not_before__lte=from_now(-runs_settings().lost_wait_s))
    return Run.objects.due().filter(
        ~Exists(open_attempts.filter(alone_until__gt=Now())),
        is_shareable | ~Exists(open_attempts),
        queue__in=queues,
    )


@dataclass(frozen=True, slots=True)
class AttemptState:
    """State of an open attempt, as its supervisor needs it."""

    cancel_requested_by: str | None
    """None if no cancel of the run was requested."""
    inspection_requested: bool
    lines_stored: int
    """All lines up to this seq are in the database."""
    results_stored: int


def attempt_states(worker: Worker, keys: Iterable[AttemptKey]) -> dict[AttemptKey, AttemptState]:
    """Read the state of the attempts that a worker supervises.

    An attempt that is missing from the result was taken over or has ended: its child must be killed.
    """
    run_ids = {key.run_id for key in keys}
    if not run_ids:
        return {}
    rows = (
        Attempt.objects.open()
        .filter(worker=worker, run_id__in=run_ids)
        .values_list(
            "run_id",
            "number",
            "run__cancel_requested_at",
            "run__cancel_requested_by",
            "inspection_asked_at",
            "lines_stored",
            "results_stored",
        )
    )
    return {
        AttemptKey(run_id, number): AttemptState(
            None if cancel_at is None else by, inspection_at is not None, high_water(lines), high_water(results)
        )
        for run_id, number, cancel_at, by, inspection_at, lines, results in rows
    }


def mark(key: AttemptKey, **values: Any) -> bool:
    """Set columns of an attempt if it is open and the newest of its run. False if it is not."""
    newest = Sql("AND EXISTS (SELECT 1 FROM runs_run WHERE id = %s AND attempt = %s)", (key.run_id, key.number))
    return bool(execute(update(Attempt, values) + Sql("WHERE") + _open(key) + newest))


def is_open(key: AttemptKey) -> bool:
    """Return whether an attempt is open, and lock its row: the answer holds until the transaction ends."""
    return Attempt.objects.open(key).select_for_update(no_key=True).exists()


def finish(key: AttemptKey, outcome: Outcome, marks: Mapping[str, Any] | None = None) -> bool:
    """End the run and its attempt. False, and nothing changes, unless the run is still running this attempt.

    A run that failed or completed keeps its cancel request, if it has one. `marks` are further columns of the attempt.
    """
    run_values: dict[str, Any] = {
        "status": outcome.status,
        "failure_kind": outcome.failure_kind or "",
        "error": outcome.error,
        "summary": outcome.summary,
        "finished_at": now(),
    }
    if outcome.status == Status.CANCELLED:
        run_values["cancel_requested_at"] = Sql(f"COALESCE(cancel_requested_at, {now().text})")
    return _end(key, update(Run, run_values) + _running(key), outcome, marks)


def release(
    key: AttemptKey,
    outcome: Outcome,
    marks: Mapping[str, Any] | None = None,
    *,
    pause_s: float = 0.0,
    alone_s: float | None = None,
) -> bool:
    """Make a running run pending for its next attempt. False unless it is still running this attempt.

    The next attempt starts after `pause_s` at the earliest, and has its worker to itself for `alone_s`. A run with a
    cancel request is not released: the caller finishes it as cancelled.
    """
    not_before = statements.from_now(pause_s) if pause_s > 0 else None
    released = update(Run, {"status": Status.PENDING, "not_before": not_before, "alone_s": alone_s})
    return _end(key, released + _running(key) + Sql("AND cancel_requested_at IS NULL"), outcome, marks)


class EndResult(StrEnum):
    """State of a run after one of its attempts ended."""

    FINAL = "final"
    AGAIN = "again"
    """Pending, for its next attempt."""
    SUPERSEDED = "superseded"
    """Unchanged: another process ended the attempt first."""


def end_attempt(key: AttemptKey, outcome: Outcome, marks: Mapping[str, Any] | None = None) -> EndResult:
    """End an attempt. Its run ends too, unless `runs.retry_policy` gives it another attempt.

    `marks` are columns of the attempt to set with its end.
    """
    if outcome.status == Status.COMPLETED:  # final under any policy
        return EndResult.FINAL if finish(key, outcome, marks) else EndResult.SUPERSEDED
    for _ in range(2):  # a cancel may be requested between the read and the guarded update
        run = Run.objects.filter(pk=key.run_id).first()
        if run is None:
            return EndResult.SUPERSEDED
        step = retry_policy.next_step(run, key, outcome)
        if not step.again:
            return EndResult.FINAL if finish(key, step.outcome, marks) else EndResult.SUPERSEDED
        if release(key, step.outcome, marks, pause_s=step.pause_s, alone_s=step.alone_s):
            return EndResult.AGAIN
    return EndResult.SUPERSEDED


def fail_orphaned(error: str) -> list[int]:
    """Fail as lost every running run without an open attempt, and return their ids.

    No transition leaves such a run behind: it comes from a restored backup, or from a manual change.
    """
    open_attempts = Attempt.objects.open().filter(run_id=OuterRef("pk"))
    orphaned = Run.objects.filter(~Exists(open_attempts), status=Status.RUNNING)
    values = {"status": Status.FAILED, "failure_kind": FailureKind.LOST, "error": error, "finished_at": Now()}
    return [run_id for run_id in orphaned.values_list("pk", flat=True) if orphaned.filter(pk=run_id).update(**values)]


def request_cancel(run_id: int, *, by: str) -> Status | None:
    """Cancel a pending run, or request the cancel of a running one. Return the run's status, or None if there is no
    such run. A repeated request changes nothing.
    """
    request = {"cancel_requested_at": Coalesce("cancel_requested_at", Now()), "cancel_requested_by": by}
    with transaction.atomic():
        if Run.objects.filter(pk=run_id, status=Status.PENDING).update(
            status=Status.CANCELLED, finished_at=Now(), **request
        ):
            return Status.CANCELLED
        Run.objects.filter(pk=run_id, status=Status.RUNNING, cancel_requested_at=None).update(**request)
    status = Run.objects.filter(pk=run_id).values_list("status", flat=True).first()
    return None if status is None else Status(status)


def request_inspection(run_id: int) -> AttemptKey | None:
    """Request a stack trace of a running run. Return its open attempt, or None if it has none."""
    attempts = Attempt.objects.open().filter(run_id=run_id)
    attempts.update(inspection_asked_at=Now())
    attempt = attempts.only("run_id", "number").first()
    return attempt.key if attempt else None


def _running(key: AttemptKey) -> Sql:
    """Guard of an UPDATE of a run: it is running this attempt, which is open."""
    running = Sql("WHERE id = %s AND status = 'running' AND attempt = %s", (key.run_id, key.number))
    return running + Sql("AND EXISTS (SELECT 1 FROM runs_attempt WHERE") + _open(key) + Sql(")")


def _open(key: AttemptKey) -> Sql:
    return Sql("run_id = %s AND number = %s AND finished_at IS NULL", (key.run_id, key.number))


def _end(key: AttemptKey, run_update: Sql, outcome: Outcome, marks: Mapping[str, Any] | None) -> bool:
    """Change the run by `run_update`, which has a guard, and close its attempt. False if the run was not changed."""
    closed = update(Attempt, {**(marks or {}), **_closing(outcome)})
    if connection.vendor == "postgresql":  # in one statement, which locks the run before its attempt
        changed = Sql("WITH changed AS (") + run_update + Sql("RETURNING id)")
        return bool(execute(changed + closed + Sql("FROM changed WHERE run_id = changed.id AND") + _open(key)))
    with transaction.atomic():
        return bool(execute(run_update) and execute(closed + Sql("WHERE") + _open(key)))


def _closing(outcome: Outcome) -> dict[str, Any]:
    """Return the columns of an attempt that ends with `outcome`."""
    values = asdict(outcome.totals) if outcome.totals else {}
    if outcome.report is not None:
        values["certificate"] = outcome.report
    return {
        "end": outcome.attempt_end,
        "finished_at": now(),
        "failure_kind": outcome.failure_kind or "",
        "error": outcome.error,
        "traceback": outcome.traceback,
        "ended_by": outcome.ended_by[:ENDED_BY_MAX_CHARS],
        "exit_status": outcome.exit_status,
        "signal": outcome.signal,
        "excused": outcome.excused,
        **values,
    }
