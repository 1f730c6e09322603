"""What is stuck is set going again: attempts whose worker vanished, and pending runs whose wake-up message was lost.

Safe to run in any number of processes at once and to die anywhere: each change is one of `runs.transitions`, which
somebody else may have made first. One bad row never stops a sweep. After the database was away nobody is judged by a
lease before there was the time of one to renew it.
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

WHO = "reconcile"
FORSAKEN = "It was said to be running, but no attempt of it was open: was the database restored, or changed by hand?"
SWEPT, JUDGING = "reconcile", "reconcile: leases are judged from"
"""Pulses: the last sweep of anybody, and the moment from which leases tell something again."""


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """What is known of an open attempt, all that is judged by."""

    key: AttemptKey
    worker: str
    """Its name and pid, for people."""
    process_gone: bool
    """Its worker was a process of this host and is no more."""
    lease_expired: bool
    heartbeat_age_s: float | None = None
    """Since its worker last renewed."""
    progress_age_s: float | None = None


def is_lost(facts: OpenAttempt, *, by_lease: bool) -> bool:
    """Whether nobody takes care of an attempt any more. `by_lease`: whether an expired lease tells anything now."""
    return facts.process_gone or (facts.lease_expired and by_lease)


@dataclass(slots=True)
class ReconcileReport:
    """What one sweep did."""

    by_lease: bool = True
    """False: the database was away a moment ago, and no lease was judged."""
    settled: dict[AttemptKey, EndResult] = field(default_factory=dict)
    """What became of the runs whose attempts were ended."""
    sent: dict[str, int] = field(default_factory=dict)
    """Queue → wake-ups sent."""
    failed: dict[str, str] = field(default_factory=dict)
    """What could not be done → why; the next sweep tries again."""


def reconcile() -> ReconcileReport:
    """Sweep once. Raises django's database errors if the database is away."""
    report = ReconcileReport()
    recover(report)
    for queue, due in _due_runs():
        _resend(queue, due, report)
    return report


def recover(report: ReconcileReport | None = None) -> ReconcileReport:
    """End the attempts that nobody takes care of any more; their runs are pending again, or final.

    What a dead worker left behind on this machine is killed before: a run has one live execution at most.
    """
    report = report or ReconcileReport()
    found = _open_attempts()
    report.by_lease = _leases_can_be_judged()  # after the look, which may have waited for the database until now
    lost = [facts for facts in found if is_lost(facts, by_lease=report.by_lease)]
    for facts in _without_orphans(lost, report):
        try:
            _settle(facts, report)
        except Exception as error:  # one bad row must not stop the others
            logger.exception("Attempt %s cannot be settled", facts.key)
            report.failed[f"attempt {facts.key}"] = str(error)
    for run_id in fail_orphaned(FORSAKEN):
        logger.warning("Run %d: %s", run_id, FORSAKEN)
    return report


def _without_orphans(lost: list[OpenAttempt], report: ReconcileReport) -> list[OpenAttempt]:
    """Those of `lost` of which no process is left: what dead workers left is killed first. If that cannot be done, runs
    of dead processes wait for the next sweep, and the others do not wait for them.
    """
    if not any(facts.process_gone for facts in lost):
        return lost
    try:
        kill_orphans()
    except Exception as error:
        logger.exception("What dead workers left cannot be looked for")
        report.failed["orphans"] = str(error)
        return [facts for facts in lost if not facts.process_gone]
    return lost


def _leases_can_be_judged() -> bool:
    """False for the length of one lease after sweeps had been failing: then workers could not renew either."""
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


def _open_attempts() -> list[OpenAttempt]:
    """The open attempts that may need to be judged: of workers of this host, and those with an expired lease."""
    found = Attempt.objects.filter(Q(worker__host=machine.host()) | _expired(), finished_at=None)
    found = found.select_related("run", "worker").annotate(
        expired=ExpressionWrapper(_expired(), BooleanField()), now=Now()
    )
    gone: dict[int, bool] = {}
    return [_facts(attempt, gone) for attempt in found.order_by("id")]


def _facts(attempt: Attempt, gone: dict[int, bool]) -> OpenAttempt:
    worker, run = attempt.worker, attempt.run
    now: datetime = attempt.now  # type: ignore[attr-defined]  # annotated above
    if worker is not None and worker.pk not in gone:
        gone[worker.pk] = _is_gone(worker)
    return OpenAttempt(
        key=attempt.key,
        worker=str(worker) if worker else "which is not known any more",
        process_gone=worker is not None and gone[worker.pk],
        lease_expired=attempt.expired,  # type: ignore[attr-defined]  # annotated above
        heartbeat_age_s=between(worker.heartbeat_at, now) if worker else None,
        progress_age_s=between(run.progress_at, now),
    )


def _is_gone(worker: Worker) -> bool:
    """Whether a worker's process lives no more, as far as this host can tell; its row then says so."""
    try:
        gone = machine.is_gone(worker.host, worker.boot_id, worker.pid, worker.pid_started)
    except (psutil.Error, OSError, ValueError, OverflowError) as error:  # then its lease tells
        logger.warning("Whether worker %s lives cannot be told: %s", worker, error)
        return False
    if not gone:
        return False
    Worker.objects.filter(pk=worker.pk, stopped_at=None).update(stopped_at=Now())
    return True


def _settle(facts: OpenAttempt, report: ReconcileReport) -> None:
    """End a lost attempt, unless it was renewed, ended or taken over since it was looked at."""
    others = _lost_with(facts.key)
    why = f"Its worker {facts.worker} vanished" + (f", and {others} other runs with it." if others else ".")
    failure = _failure_report(facts)
    lost = Outcome(Status.FAILED, FailureKind.LOST, error=why, ended_by=WHO, excused=others > 0, report=failure)
    with transaction.atomic():
        settled = end_attempt(facts.key, lost) if _still_stuck(facts) else EndResult.SUPERSEDED
    if settled is not EndResult.SUPERSEDED:
        logger.warning("Attempt %s: %s %s", facts.key, why, settled)
        report.settled[facts.key] = settled
    if settled is EndResult.FINAL:
        remove_if_empty(run_folder(facts.key.run_id))


def _lost_with(key: AttemptKey) -> int:
    """Number of other attempts that are lost with the worker of this one: still open, or ended within two leases."""
    recently = Now() - timedelta(seconds=2 * runs_settings().lease_s)
    same_time = Q(finished_at=None) | Q(end=AttemptEnd.LOST, finished_at__gt=recently)
    worker = Attempt.objects.filter(run_id=key.run_id, number=key.number).values("worker")
    return Attempt.objects.filter(same_time, worker__in=worker).exclude(run_id=key.run_id).count()


def _failure_report(facts: OpenAttempt) -> FailureReport:
    """What the database and the run's folder, if it is shared, tell of an attempt whose worker vanished."""
    conf = runs_settings()
    attempt = Attempt.objects.get(run_id=facts.key.run_id, number=facts.key.number)
    rows = LogLine.objects.filter(run_id=facts.key.run_id, attempt=facts.key.number).order_by("-seq")[: conf.end_lines]
    lines = [Line(row.attempt, row.seq, row.time.timestamp(), row.level, row.source, row.message, None) for row in rows]
    return {
        "written_by": WHO,
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


def _still_stuck(facts: OpenAttempt) -> bool:
    """Hold the run and its attempt until the transaction's end, in the order in which `transitions` takes them.

    A worker that renews at this moment comes either before, and then its lease is good, or after, and finds nothing.
    Rows that somebody else holds are left to the next sweep: one locked row never stops the others.
    """
    free = Run.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=facts.key.run_id)
    if free.order_by("pk").first() is None:
        return False
    held = Attempt.objects.open(facts.key)
    if not facts.process_gone:
        held = held.filter(_expired())
    return held.order_by("pk").select_for_update(no_key=True, skip_locked=True).first() is not None


def _due_runs() -> Iterable[tuple[str, int]]:
    """Queue → pending runs that may start now."""
    return Run.objects.due().order_by().values_list("queue").annotate(Count("pk"))


def _resend(queue: str, due: int, report: ReconcileReport) -> None:
    """Send what is missing for each due run to have a message, so many at once that the queue is never flooded."""
    try:
        missing = min(due - wake.waiting(queue), runs_settings().resend_max)
        if missing > 0:
            wake.workers(queue, missing)
            report.sent[queue] = missing
    except Exception as error:  # a broker that is away, or one bad queue
        logger.warning("Queue %s cannot be looked after: %s", queue, error)
        report.failed[f"queue {queue}"] = str(error)
