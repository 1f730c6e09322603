"""Status changes of runs. No other module writes a run's status.

Each change is one guarded UPDATE; zero updated rows mean that another process was first. Each function is one
transaction: after a crash the database is as before the call or as after it. Times are the database's. A function that
returns False or None changed nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Coalesce, Now

from runs import retry_policy
from runs.conf import runs_settings
from runs.lines.ranges import high_water
from runs.models import Attempt, Run, Worker
from runs.outcomes import Outcome
from runs.states import AttemptKey, FailureKind, Status

logger = logging.getLogger(__name__)

ENDED_BY_MAX_CHARS = 200
"""Size of `Attempt.ended_by`, which holds the name of the person who requested a cancel, and a few words."""
_claiming = threading.Lock()
"""Serializes the claims of a worker process: a run may share the worker or not, depending on what it executes."""


def from_now(seconds: float) -> Any:
    """Return an expression for `seconds` after the database's current time (before it, if negative)."""
    return Now() + timedelta(seconds=seconds)


def claim(queues: Sequence[str], worker: Worker, *, lease_s: float, task_id: str = "") -> Attempt | None:
    """Claim the first due run of `queues` (priority, then age) for a new attempt; None if no run is due.

    Any number of workers may call it at once: PostgreSQL skips rows that others are claiming, SQLite has one writer. A
    run that was lost repeatedly has the worker to itself, see `runs.losses`.
    """
    with _claiming, transaction.atomic():
        run = _first_due(queues, worker)
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


def _first_due(queues: Sequence[str], worker: Worker) -> Run | None:
    """Return the run to claim, locked, in one query."""
    open_attempts = Attempt.objects.open().filter(worker=worker)
    is_shareable = Q(alone_s=None) | Q(not_before__lte=from_now(-runs_settings().lost_wait_s))
    due = Run.objects.due().filter(
        ~Exists(open_attempts.filter(alone_until__gt=Now())),
        is_shareable | ~Exists(open_attempts),
        queue__in=queues,
    )
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True)
    return due.first()


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
    return bool(Attempt.objects.open(key).filter(run__attempt=key.number).update(**values))


def is_open(key: AttemptKey) -> bool:
    """Return whether an attempt is open, and lock its row: the answer holds until the transaction ends."""
    return Attempt.objects.open(key).select_for_update(no_key=True).exists()


def finish(key: AttemptKey, outcome: Outcome) -> bool:
    """End the run and its attempt. False, and nothing changes, unless the run is still running this attempt.

    A run that failed or completed keeps its cancel request, if it has one.
    """
    with transaction.atomic():
        run_values: dict[str, Any] = {
            "status": outcome.status,
            "failure_kind": outcome.failure_kind or "",
            "error": outcome.error,
            "summary": outcome.summary,
            "finished_at": Now(),
        }
        if outcome.status == Status.CANCELLED:
            run_values["cancel_requested_at"] = Coalesce("cancel_requested_at", Now())
        if not _running(key).update(**run_values):
            return False
        _close(key, outcome)
    return True


def release(key: AttemptKey, outcome: Outcome, *, pause_s: float = 0.0, alone_s: float | None = None) -> bool:
    """Make a running run pending for its next attempt. False unless it is still running this attempt.

    The next attempt starts after `pause_s` at the earliest, and has its worker to itself for `alone_s`. A run with a
    cancel request is not released: the caller finishes it as cancelled.
    """
    not_before = from_now(pause_s) if pause_s > 0 else None
    released = {"status": Status.PENDING, "not_before": not_before, "alone_s": alone_s}
    with transaction.atomic():
        if not _running(key).filter(cancel_requested_at=None).update(**released):
            return False
        _close(key, outcome)
    return True


class EndResult(StrEnum):
    """State of a run after one of its attempts ended."""

    FINAL = "final"
    AGAIN = "again"
    """Pending, for its next attempt."""
    SUPERSEDED = "superseded"
    """Unchanged: another process ended the attempt first."""


def end_attempt(key: AttemptKey, outcome: Outcome) -> EndResult:
    """End an attempt. Its run ends too, unless `runs.retry_policy` gives it another attempt."""
    for _ in range(2):  # a cancel may be requested between the read and the guarded update
        run = Run.objects.filter(pk=key.run_id).first()
        if run is None:
            return EndResult.SUPERSEDED
        step = retry_policy.next_step(run, key, outcome)
        if not step.again:
            return EndResult.FINAL if finish(key, step.outcome) else EndResult.SUPERSEDED
        if release(key, step.outcome, pause_s=step.pause_s, alone_s=step.alone_s):
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


def _running(key: AttemptKey) -> Any:
    return Run.objects.filter(pk=key.run_id, status=Status.RUNNING, attempt=key.number)


def _close(key: AttemptKey, outcome: Outcome) -> None:
    values = asdict(outcome.totals) if outcome.totals else {}
    if outcome.report is not None:
        values["certificate"] = outcome.report
    closed = Attempt.objects.open(key).update(
        end=outcome.attempt_end,
        finished_at=Now(),
        failure_kind=outcome.failure_kind or "",
        error=outcome.error,
        traceback=outcome.traceback,
        ended_by=outcome.ended_by[:ENDED_BY_MAX_CHARS],
        exit_status=outcome.exit_status,
        signal=outcome.signal,
        excused=outcome.excused,
        **values,
    )
    if not closed:
        raise RuntimeError(f"Attempt {key} is closed, but its run is still running it.")
