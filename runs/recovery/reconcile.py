"""Reconcile: end the attempts of lost workers, and send missing wake-ups of pending runs.

Any number of processes may run it at once, and it may be killed at any point: each change is a guarded UPDATE of
`runs.transitions`. One bad row does not stop a sweep. After an outage of the database, expired leases count again only
after the length of one lease, so that workers can renew theirs first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psutil
from django.db import transaction
from django.db.models import Count, ExpressionWrapper, Q
from django.db.models.fields import BooleanField
from django.db.models.functions import Now

from runs import wake
from runs.conf import runs_settings
from runs.folders import remove_if_empty, run_folder, stacks_file
from runs.forkserver import machine
from runs.formatting import between
from runs.lines.records import Line
from runs.models import Attempt, LogLine, Pulse, Run, Worker
from runs.outcomes import FailureReport, Outcome
from runs.recovery import failure_report
from runs.recovery.orphans import kill_orphans
from runs.states import AttemptEnd, AttemptKey, FailureKind, Status
from runs.transitions import EndResult, end_attempt, fail_orphaned

logger = logging.getLogger(__name__)

RECONCILE = "reconcile"
"""Name under which reconcile ends attempts and writes failure reports."""
ORPHANED = "It was running without an open attempt: the database was restored or changed by hand."
LAST_SWEEP, LEASES_VALID_FROM = "reconcile", "reconcile: leases are judged from"
"""Pulses: the last sweep of any process, and the time from which expired leases count."""


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """State of an open attempt, from which `is_lost` decides."""

    key: AttemptKey
    worker: str
    """Name and pid, for messages."""
    process_ended: bool
    """True if its worker was a process of this host and has ended."""
    lease_expired: bool
    heartbeat_age_s: float | None = None
    """Seconds since the last heartbeat of its worker."""
    progress_age_s: float | None = None


def is_lost(attempt: OpenAttempt, *, by_lease: bool) -> bool:
    """Return whether the worker of an attempt is lost. An expired lease counts only with `by_lease`."""
    return attempt.process_ended or (attempt.lease_expired and by_lease)


@dataclass(slots=True)
class ReconcileReport:
    """Result of one sweep."""

    by_lease: bool = True
    """False if expired leases did not count, since the database was unavailable until a moment ago."""
    ended: dict[AttemptKey, EndResult] = field(default_factory=dict)
    """Attempts that were ended, and the state of their runs after it."""
    sent: dict[str, int] = field(default_factory=dict)
    """Queue → number of wake-ups sent."""
    failed: dict[str, str] = field(default_factory=dict)
    """Failed step → error. The next sweep tries again."""


def reconcile() -> ReconcileReport:
    """Sweep once. Raises Django's database errors if the database is unavailable."""
    report = ReconcileReport()
    recover(report)
    for queue, due in _due_runs():
        _resend(queue, due, report)
    return report


def recover(report: ReconcileReport | None = None) -> ReconcileReport:
    """End lost attempts. Their runs are then pending or final.

    Orphan processes of this machine are killed first: a run has at most one live execution.
    """
    report = report or ReconcileReport()
    attempts = _open_attempts()
    report.by_lease = _leases_count()  # after the query, which may have waited for the database until now
    lost = [attempt for attempt in attempts if is_lost(attempt, by_lease=report.by_lease)]
    for attempt in _without_orphans(lost, report):
        try:
            _end(attempt, report)
        except Exception as error:  # one bad row must not stop the others
            logger.exception("Cannot end attempt %s", attempt.key)
            report.failed[f"attempt {attempt.key}"] = str(error)
    for run_id in fail_orphaned(ORPHANED):
        logger.warning("Run %d: %s", run_id, ORPHANED)
    return report


def _without_orphans(lost: list[OpenAttempt], report: ReconcileReport) -> list[OpenAttempt]:
    """Kill orphan processes, and return the attempts without one. If that fails, attempts of workers that ended on this
    host wait for the next sweep; the others do not.
    """
    if not any(attempt.process_ended for attempt in lost):
        return lost
    try:
        kill_orphans()
    except Exception as error:
        logger.exception("Cannot kill the orphan processes of dead workers")
        report.failed["orphans"] = str(error)
        return [attempt for attempt in lost if not attempt.process_ended]
    return lost


def _leases_count() -> bool:
    """Return whether expired leases count. False for one lease after a gap between sweeps: workers could not renew."""
    conf = runs_settings()
    gap = timedelta(seconds=max(conf.lease_s / 2, 3 * conf.reconcile_every_s))
    with transaction.atomic():
        for name in (LAST_SWEEP, LEASES_VALID_FROM):
            Pulse.objects.get_or_create(name=name, defaults={"at": Now()})
        if Pulse.objects.filter(name=LAST_SWEEP, at__lt=Now() - gap).update(at=Now()):
            Pulse.objects.filter(name=LEASES_VALID_FROM).update(at=Now() + timedelta(seconds=conf.lease_s))
        else:
            Pulse.objects.filter(name=LAST_SWEEP).update(at=Now())
    return Pulse.objects.filter(name=LEASES_VALID_FROM, at__lte=Now()).exists()


def _expired() -> Q:
    return Q(lease_expires_at__lt=Now())


def _open_attempts() -> list[OpenAttempt]:
    """Read the open attempts that may be lost: those of workers of this host, and those with an expired lease."""
    rows = Attempt.objects.open().filter(Q(worker__host=machine.host()) | _expired())
    rows = rows.select_related("run", "worker").annotate(
        expired=ExpressionWrapper(_expired(), BooleanField()), now=Now()
    )
    ended: dict[int, bool] = {}
    return [_open_attempt(row, ended) for row in rows.order_by("id")]


def _open_attempt(attempt: Attempt, ended: dict[int, bool]) -> OpenAttempt:
    """Convert a row. `ended` caches whether the process of each worker has ended."""
    worker, run = attempt.worker, attempt.run
    now: datetime = attempt.now  # type: ignore[attr-defined]  # annotated above
    if worker is not None and worker.pk not in ended:
        ended[worker.pk] = _has_ended(worker)
    return OpenAttempt(
        key=attempt.key,
        worker=str(worker) if worker else "(unknown)",
        process_ended=worker is not None and ended[worker.pk],
        lease_expired=attempt.expired,  # type: ignore[attr-defined]  # annotated above
        heartbeat_age_s=between(worker.heartbeat_at, now) if worker else None,
        progress_age_s=between(run.progress_at, now),
    )


def _has_ended(worker: Worker) -> bool:
    """Return whether a worker's process is known to have ended; if so, record it. Another host's is never known."""
    try:
        ended = machine.is_gone(worker.host, worker.boot_id, worker.pid, worker.pid_started)
    except (psutil.Error, OSError, ValueError, OverflowError) as error:  # its lease decides then
        logger.warning("Cannot check the process of worker %s: %s", worker, error)
        return False
    if not ended:
        return False
    Worker.objects.filter(pk=worker.pk, stopped_at=None).update(stopped_at=Now())
    return True


def _end(attempt: OpenAttempt, report: ReconcileReport) -> None:
    """End a lost attempt, unless it was renewed, ended or taken over since it was read."""
    others = _lost_with(attempt.key)
    error = f"Its worker {attempt.worker} was lost" + (f", and {others} other runs with it." if others else ".")
    failure = _failure_report(attempt)
    lost = Outcome(Status.FAILED, FailureKind.LOST, error=error, ended_by=RECONCILE, excused=others > 0, report=failure)
    with transaction.atomic():
        result = end_attempt(attempt.key, lost) if _lock_if_lost(attempt) else EndResult.SUPERSEDED
    if result is not EndResult.SUPERSEDED:
        logger.warning("Attempt %s: %s %s", attempt.key, error, result)
        report.ended[attempt.key] = result
    if result is EndResult.FINAL:
        remove_if_empty(run_folder(attempt.key.run_id))


def _lost_with(key: AttemptKey) -> int:
    """Count the other attempts that are lost with the worker of this one: open, or ended within two leases."""
    recently = Now() - timedelta(seconds=2 * runs_settings().lease_s)
    same_time = Q(finished_at=None) | Q(end=AttemptEnd.LOST, finished_at__gt=recently)
    worker = Attempt.objects.filter(run_id=key.run_id, number=key.number).values("worker")
    return Attempt.objects.filter(same_time, worker__in=worker).exclude(run_id=key.run_id).count()


def _failure_report(attempt: OpenAttempt) -> FailureReport:
    """Report on an attempt of a lost worker, from the database and, if it is shared, the run's folder."""
    key, conf = attempt.key, runs_settings()
    started_at = Attempt.objects.values_list("started_at", flat=True).get(run_id=key.run_id, number=key.number)
    rows = LogLine.objects.filter(run_id=key.run_id, attempt=key.number).order_by("-seq")[: conf.end_lines]
    lines = [Line(row.attempt, row.seq, row.time.timestamp(), row.level, row.source, row.message, None) for row in rows]
    return {
        "written_by": RECONCILE,
        "failure_kind": str(FailureKind.LOST),
        "exit_status": None,
        "signal": None,
        "peak_memory_bytes": None,
        "cpu_seconds": None,
        "limit": None,
        "asked_by": "",
        "started": started_at is not None,
        "steps": [],
        "heartbeat_age_s": attempt.heartbeat_age_s,
        "last_sign_age_s": None,
        "last_line_age_s": None,
        "last_progress_age_s": attempt.progress_age_s,
        "last_lines": failure_report.last_lines(reversed(lines)),
        "stacks": failure_report.stacks(stacks_file(run_folder(key.run_id), key.number)),
        "processes": [],
    }


def _lock_if_lost(attempt: OpenAttempt) -> bool:
    """Lock the run and its attempt, in this order. False if the attempt is not lost, or a row is locked.

    A concurrent renewal comes either before, and the lease has not expired, or after, and finds a closed attempt. Rows
    that another transaction has locked are left to the next sweep: one locked row does not stop the others.
    """
    runs = Run.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=attempt.key.run_id)
    if runs.order_by("pk").first() is None:
        return False
    rows = Attempt.objects.open(attempt.key)
    if not attempt.process_ended:
        rows = rows.filter(_expired())
    return rows.order_by("pk").select_for_update(no_key=True, skip_locked=True).first() is not None


def _due_runs() -> Iterable[tuple[str, int]]:
    """Count the due runs of each queue."""
    return Run.objects.due().order_by().values_list("queue").annotate(Count("pk"))


def _resend(queue: str, due: int, report: ReconcileReport) -> None:
    """Send the wake-ups that are missing for `due` runs, at most `resend_max`."""
    try:
        missing = min(due - wake.waiting(queue), runs_settings().resend_max)
        if missing > 0:
            wake.workers(queue, missing)
            report.sent[queue] = missing
    except Exception as error:  # the broker is unavailable, or one queue is bad
        logger.warning("Cannot send missing wake-ups to queue %s: %s", queue, error)
        report.failed[f"queue {queue}"] = str(error)
