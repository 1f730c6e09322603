"""Reconcile: recover attempts whose worker is gone, and send wake-ups again for due runs that have none.

Safe to run in any number of processes at once and to die anywhere: each change is one of `runs.transitions`, which
somebody else may have made first. One bad row never stops a sweep. After an outage of the database no lease counts as
expired before its worker had the time of one lease to renew it.
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
from runs.recovery import failure_report
from runs.recovery.failure_report import Certificate
from runs.recovery.orphans import kill_orphans
from runs.states import AttemptEnd, AttemptKey, FailureKind, Status
from runs.transitions import Ending, Settled, forsake, settle
from runs.transitions import Facts as Known

logger = logging.getLogger(__name__)

WHO = "reconcile"
ORPHANED = "It was marked as running, but no attempt of it was open. Was the database restored, or changed by hand?"
SWEPT, JUDGING = "reconcile", "reconcile: leases are judged from"
"""Pulses: the last sweep of any process, and the moment from which expired leases count again."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about an open attempt that decide whether it is lost."""

    key: AttemptKey
    worker: str
    """Name and pid, for messages."""
    process_gone: bool
    """The worker ran on this kernel and is certainly gone."""
    lease_expired: bool
    heartbeat_age_s: float | None = None
    """Time since the last renewal by its worker."""
    progress_age_s: float | None = None


def is_lost(facts: Facts, *, by_lease: bool) -> bool:
    """Whether no worker supervises an attempt any more. `by_lease`: whether an expired lease counts now."""
    return facts.process_gone or (facts.lease_expired and by_lease)


@dataclass(slots=True)
class ReconcileReport:
    """The result of one sweep."""

    by_lease: bool = True
    """False: the database was away a moment ago, so expired leases did not count."""
    settled: dict[AttemptKey, Settled] = field(default_factory=dict)
    """The outcome of the runs whose attempts were ended."""
    sent: dict[str, int] = field(default_factory=dict)
    """Queue → wake-ups sent."""
    failed: dict[str, str] = field(default_factory=dict)
    """Failed step → reason; the next sweep tries again."""


def reconcile() -> ReconcileReport:
    """Sweep once. Raises django's database errors if the database is away."""
    report = ReconcileReport()
    recover(report)
    for queue, due in _due_runs():
        _resend(queue, due, report)
    return report


def recover(report: ReconcileReport | None = None) -> ReconcileReport:
    """End the attempts that no worker supervises any more; their runs are pending again, or final.

    Orphan processes of a dead worker on this machine are killed first: a run has at most one live execution.
    """
    report = report or ReconcileReport()
    candidates = _open_attempts()
    report.by_lease = _leases_count()  # after the query, which may have waited for the database until now
    lost = [facts for facts in candidates if is_lost(facts, by_lease=report.by_lease)]
    for facts in _without_orphans(lost, report):
        try:
            _settle(facts, report)
        except Exception as error:  # one bad row must not stop the others
            logger.exception("Attempt %s cannot be settled", facts.key)
            report.failed[f"attempt {facts.key}"] = str(error)
    for run_id in forsake(ORPHANED):
        logger.warning("Run %d: %s", run_id, ORPHANED)
    return report


def _without_orphans(lost: list[Facts], report: ReconcileReport) -> list[Facts]:
    """Kill orphan processes; return the attempts of `lost` that have none left. If that fails, the runs of dead workers
    wait for the next sweep, and the others do not wait for them.
    """
    if not any(facts.process_gone for facts in lost):
        return lost
    try:
        kill_orphans()
    except Exception as error:
        logger.exception("Cannot end the orphan processes of dead workers")
        report.failed["orphans"] = str(error)
        return [facts for facts in lost if not facts.process_gone]
    return lost


def _leases_count() -> bool:
    """Whether expired leases count: not within one lease after failing sweeps, when workers could not renew either."""
    conf = runs_settings()
    gap = timedelta(seconds=max(conf.lease_s / 2, 3 * conf.reconcile_every_s))
    with transaction.atomic():
        for name in (SWEPT, JUDGING):
            Pulse.objects.get_or_create(name=name, defaults={"at": Now()})
        if Pulse.objects.filter(name=SWEPT, at__lt=Now() - gap).update(at=Now()):
            Pulse.objects.filter(name=JUDGING).update(at=Now() + timedelta(seconds=conf.lease_s))
        else:
            Pulse.objects.filter(name=SWEPT).update(at=Now())
    return Pulse.objects.filter(name=JUDGING, at__lte=Now()).exists()


def _expired() -> Q:
    return Q(lease_expires_at__lt=Now())


def _open_attempts() -> list[Facts]:
    """Open attempts that may be lost: those of workers of this host, and those with an expired lease."""
    rows = Attempt.objects.filter(Q(worker__host=machine.host()) | _expired(), finished_at=None)
    rows = rows.select_related("run", "worker").annotate(
        expired=ExpressionWrapper(_expired(), BooleanField()), now=Now()
    )
    gone: dict[int, bool] = {}
    return [_facts(attempt, gone) for attempt in rows.order_by("id")]


def _facts(attempt: Attempt, gone: dict[int, bool]) -> Facts:
    worker, run = attempt.worker, attempt.run
    now: datetime = attempt.now  # type: ignore[attr-defined]  # annotated above
    if worker is not None and worker.pk not in gone:
        gone[worker.pk] = _is_gone(worker)
    return Facts(
        key=attempt.key,
        worker=str(worker) if worker else "(unknown)",
        process_gone=worker is not None and gone[worker.pk],
        lease_expired=attempt.expired,  # type: ignore[attr-defined]  # annotated above
        heartbeat_age_s=between(worker.heartbeat_at, now) if worker else None,
        progress_age_s=between(run.progress_at, now),
    )


def _is_gone(worker: Worker) -> bool:
    """Whether the process of a worker is certainly gone; if so, its row is marked as stopped."""
    try:
        gone = machine.is_gone(worker.host, worker.boot_id, worker.pid, worker.pid_started)
    except (psutil.Error, OSError, ValueError, OverflowError) as error:  # then its lease decides
        logger.warning("Cannot tell whether worker %s is alive: %s", worker, error)
        return False
    if not gone:
        return False
    Worker.objects.filter(pk=worker.pk, stopped_at=None).update(stopped_at=Now())
    return True


def _settle(facts: Facts, report: ReconcileReport) -> None:
    """End a lost attempt, unless it was renewed, ended or taken over in the meantime."""
    others = _lost_with(facts.key)
    why = f"Its worker {facts.worker} vanished" + (f", and {others} other runs with it." if others else ".")
    lost = Ending(Status.FAILED, FailureKind.LOST, error=why, ended_by=WHO, excused=others > 0)
    certificate = {"certificate": _certificate(facts)}
    with transaction.atomic():
        settled = settle(facts.key, lost, Known(certificate)) if _lock_if_lost(facts) else Settled.SUPERSEDED
    if settled is not Settled.SUPERSEDED:
        logger.warning("Attempt %s: %s %s", facts.key, why, settled)
        report.settled[facts.key] = settled
    if settled is Settled.FINAL:
        remove_if_empty(run_folder(facts.key.run_id))


def _lost_with(key: AttemptKey) -> int:
    """Number of other attempts that are lost with the worker of this one: still open, or ended within two leases."""
    recently = Now() - timedelta(seconds=2 * runs_settings().lease_s)
    same_time = Q(finished_at=None) | Q(end=AttemptEnd.LOST, finished_at__gt=recently)
    worker = Attempt.objects.filter(run_id=key.run_id, number=key.number).values("worker")
    return Attempt.objects.filter(same_time, worker__in=worker).exclude(run_id=key.run_id).count()


def _certificate(facts: Facts) -> Certificate:
    """Failure report of an attempt whose worker vanished, from the database and the run's folder."""
    conf = runs_settings()
    attempt = Attempt.objects.get(run_id=facts.key.run_id, number=facts.key.number)
    rows = LogLine.objects.filter(run_id=facts.key.run_id, attempt=facts.key.number).order_by("-seq")[: conf.end_lines]
    lines = [Line(row.attempt, row.seq, row.time.timestamp(), row.level, row.source, row.message, None) for row in rows]
    return {
        "witness": WHO,
        "failure_kind": str(FailureKind.LOST),
        "exit_status": None,
        "signal": None,
        "peak_memory_bytes": None,
        "cpu_seconds": None,
        "limit": None,
        "asked_by": "",
        "started": attempt.started_at is not None,
        "steps": [],
        "heartbeat_age_s": facts.heartbeat_age_s,
        "last_sign_age_s": None,
        "last_line_age_s": None,
        "last_progress_age_s": facts.progress_age_s,
        "last_lines": failure_report.last_lines(reversed(lines)),
        "stacks": failure_report.stacks(stacks_file(run_folder(facts.key.run_id), facts.key.number)),
        "processes": [],
    }


def _lock_if_lost(facts: Facts) -> bool:
    """Lock the run, then its attempt, until the end of the transaction; False if the attempt is not lost any more.

    A renewal at this moment comes either before, and then the lease is valid, or after, and finds the attempt closed.
    Rows that somebody else has locked are left to the next sweep: one locked row never stops the others.
    """
    run = Run.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=facts.key.run_id)
    if run.order_by("pk").first() is None:
        return False
    attempt = Attempt.objects.filter(run_id=facts.key.run_id, number=facts.key.number, finished_at=None)
    if not facts.process_gone:
        attempt = attempt.filter(_expired())
    return attempt.order_by("pk").select_for_update(no_key=True, skip_locked=True).first() is not None


def _due_runs() -> Iterable[tuple[str, int]]:
    """Count the due runs of each queue."""
    due = Run.objects.filter(Q(not_before=None) | Q(not_before__lte=Now()), status=Status.PENDING)
    return due.order_by().values_list("queue").annotate(Count("pk"))


def _resend(queue: str, due: int, report: ReconcileReport) -> None:
    """Send wake-ups until each due run of a queue has one, at most `resend_max` at once."""
    try:
        missing = min(due - wake.waiting(queue), runs_settings().resend_max)
        if missing > 0:
            wake.workers(queue, missing)
            report.sent[queue] = missing
    except Exception as error:  # a broker that is away, or one bad queue
        logger.warning("Cannot send the missing wake-ups of queue %s: %s", queue, error)
        report.failed[f"queue {queue}"] = str(error)
