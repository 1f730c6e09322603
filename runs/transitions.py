"""The only writer of a run's status. Each change is one guarded UPDATE; zero rows updated means that somebody else was
first.

After a crash between any two statements the database is as before the function or as after it: each is one transaction.
The clock is the database's. A function that returns False or None changed nothing, and its caller gives way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from runs.models import Attempt, Run, Worker
from runs.ranges import high_water
from runs.states import AttemptEnd, AttemptKey, FailureKind, Status


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt, and with it the run, ended."""

    status: Status
    failure_kind: FailureKind | None = None
    error: str = ""
    traceback: str = ""
    summary: Any = None
    ended_by: str = ""
    exit_status: int | None = None
    signal: int | None = None

    @property
    def attempt_end(self) -> AttemptEnd:
        return AttemptEnd.LOST if self.failure_kind == FailureKind.LOST else AttemptEnd(self.status.value)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an attempt at its end, besides how it ended: column → value of `Attempt`."""

    values: dict[str, Any] = field(default_factory=dict)


def lease_end(lease_s: float) -> Any:
    """The database's now plus the lease, as an expression."""
    return Now() + timedelta(seconds=lease_s)


def claim(queues: Sequence[str], worker: Worker, *, lease_s: float, task_id: str = "") -> Attempt | None:
    """Claim the first due run of `queues` (priority, then age) for a new attempt; None if there is none.

    Safe to call from any number of workers at once: PostgreSQL skips rows that others are claiming, SQLite has one
    writer.
    """
    with transaction.atomic():
        run = _first_due(queues)
        if run is None:
            return None
        claimed = Run.objects.filter(pk=run.pk, status=Status.PENDING, attempt=run.attempt).update(
            status=Status.RUNNING, attempt=F("attempt") + 1, started_at=Coalesce("started_at", Now()), not_before=None
        )
        if not claimed:
            return None
        Attempt.objects.create(
            run_id=run.pk, number=run.attempt + 1, worker=worker, task_id=task_id, lease_expires_at=lease_end(lease_s)
        )
    return Attempt.objects.select_related("run").get(run_id=run.pk, number=run.attempt + 1)


def _first_due(queues: Sequence[str]) -> Run | None:
    due = Run.objects.filter(status=Status.PENDING, queue__in=queues).filter(
        Q(not_before=None) | Q(not_before__lte=Now())
    )
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True)
    return due.order_by("-priority", "id").only("pk", "attempt").first()


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a heartbeat learns of an attempt that is still its worker's own."""

    cancel_requested_by: str | None
    """None: nobody asked to cancel the run."""
    lines_stored: int
    """All lines up to this seq are in the database."""
    results_stored: int


def renew(worker: Worker, *, lease_s: float) -> dict[AttemptKey, Renewed]:
    """Renew the leases of all open attempts of a worker in one UPDATE; returns those that are its own.

    An attempt that is missing from the answer has been taken over or ended: its child must be killed. An expired lease
    that nobody has taken over yet is renewed too: taking over closes the attempt, so there is no doubt whose it is.
    """
    mine = Attempt.objects.filter(worker=worker, finished_at=None)
    mine.update(lease_expires_at=lease_end(lease_s))
    rows = mine.values_list(
        "run_id", "number", "run__cancel_requested_at", "run__cancel_requested_by", "lines_stored", "results_stored"
    )
    return {
        AttemptKey(run_id, number): Renewed(None if asked_at is None else by, high_water(lines), high_water(results))
        for run_id, number, asked_at, by, lines, results in rows
    }


def mark(key: AttemptKey, **values: Any) -> bool:
    """Set columns of an attempt while it is open and the newest of its run. Times are given as `Now()` or by the
    caller.
    """
    return bool(
        Attempt.objects.filter(run_id=key.run_id, number=key.number, finished_at=None, run__attempt=key.number).update(
            **values
        )
    )


def finish(key: AttemptKey, ending: Ending, facts: Facts | None = None) -> bool:
    """End the run and its attempt. False, and nothing is changed, unless the run is still running this very attempt.

    A failed or completed run keeps its cancel request, if there was one, as a fact beside its true end.
    """
    with transaction.atomic():
        run_values: dict[str, Any] = {
            "status": ending.status,
            "failure_kind": ending.failure_kind or "",
            "error": ending.error,
            "summary": ending.summary,
            "finished_at": Now(),
        }
        if ending.status == Status.CANCELLED:
            run_values["cancel_requested_at"] = Coalesce("cancel_requested_at", Now())
        if not _running(key).update(**run_values):
            return False
        _close(key, ending.attempt_end, ending, facts)
    return True


def release(
    key: AttemptKey, end: AttemptEnd, ending: Ending, facts: Facts | None = None, *, not_before: datetime | None = None
) -> bool:
    """Hand a running run back as pending for its next attempt. False unless it is still running this very attempt.

    A run whose cancel was requested is not handed back: the caller finishes it as cancelled.
    """
    with transaction.atomic():
        released = _running(key).filter(cancel_requested_at=None).update(status=Status.PENDING, not_before=not_before)
        if not released:
            return False
        _close(key, end, ending, facts)
    return True


def hand_back(
    key: AttemptKey, end: AttemptEnd, ending: Ending, facts: Facts | None = None, *, not_before: datetime | None = None
) -> bool:
    """Hand a run back for its next attempt, or end it where it must not have one.

    It ends as cancelled if that was asked for, and as `lost` if its attempts were lost `max_attempts` times or its
    experiment wants no other attempt (`on_lost="fail"`). False unless the run is still running this very attempt.
    """
    kind = FailureKind.LOST if end == AttemptEnd.LOST else None
    for _ in range(2):  # a cancel may be asked for between the look and the guarded update
        run = Run.objects.filter(pk=key.run_id).first()
        if run is None:
            return False
        if run.cancel_requested_at is not None:
            by = f"Cancelled by {run.cancel_requested_by}"
            return finish(key, replace(ending, status=Status.CANCELLED, failure_kind=None, ended_by=by), facts)
        if end == AttemptEnd.LOST and not _may_try_again(run):
            return finish(key, replace(ending, status=Status.FAILED, failure_kind=kind), facts)
        if release(key, end, replace(ending, failure_kind=kind), facts, not_before=not_before):
            return True
    return False


def _may_try_again(run: Run) -> bool:
    """Whether a lost run may have another attempt: those that were handed back do not count."""
    lost = Attempt.objects.filter(run=run, end=AttemptEnd.LOST).count()
    return run.on_lost == "retry" and lost + 1 < run.max_attempts


def request_cancel(run_id: int, *, by: str) -> Status | None:
    """Cancel a pending run at once, or ask for the cancel of a running one. Returns the status that the run then has.

    None if there is no such run. Asking again changes nothing.
    """
    asked = {"cancel_requested_at": Coalesce("cancel_requested_at", Now()), "cancel_requested_by": by}
    with transaction.atomic():
        if Run.objects.filter(pk=run_id, status=Status.PENDING).update(
            status=Status.CANCELLED, finished_at=Now(), **asked
        ):
            return Status.CANCELLED
        Run.objects.filter(pk=run_id, status=Status.RUNNING, cancel_requested_at=None).update(**asked)
    status = Run.objects.filter(pk=run_id).values_list("status", flat=True).first()
    return None if status is None else Status(status)


def _running(key: AttemptKey) -> Any:
    return Run.objects.filter(pk=key.run_id, status=Status.RUNNING, attempt=key.number)


def _close(key: AttemptKey, end: AttemptEnd, ending: Ending, facts: Facts | None) -> None:
    closed = Attempt.objects.filter(run_id=key.run_id, number=key.number, finished_at=None).update(
        end=end,
        finished_at=Now(),
        failure_kind=ending.failure_kind or "",
        error=ending.error,
        traceback=ending.traceback,
        ended_by=ending.ended_by,
        exit_status=ending.exit_status,
        signal=ending.signal,
        **(facts.values if facts else {}),
    )
    if not closed:
        raise RuntimeError(f"Attempt {key} is closed although its run is still running it.")
