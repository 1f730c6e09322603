"""JSON documents about runs for other programs, each with its type. Reads only, bounded.

Numbers of emitted and stored lines and results come from columns of the attempts; no rows are counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from django.utils import timezone

from experiments.catalog import masked
from experiments.jsonvalues import document
from runs import formatting
from runs.conf import runs_settings
from runs.lines import ranges
from runs.lines.records import Line
from runs.models import Artifact, Attempt, Result, Run, Worker
from runs.states import AttemptEnd, ResultKind, Status

RESULTS_MAX = 1000
"""Results in one run's document; `export_results` has them all."""


class CountDocument(TypedDict):
    emitted: int | None
    """None until every attempt has ended, and where a worker was lost before it reported the number."""
    stored: int


class ProgressDocument(TypedDict):
    current: float | None
    total: float | None
    fraction: float | None
    message: str
    at: str | None


class LineDocument(TypedDict):
    attempt: int
    seq: int
    time: str
    level: str
    source: str
    message: str
    metadata: dict[str, Any] | None


class ResultDocument(TypedDict):
    attempt: int
    seq: int
    time: str
    kind: str
    key: str
    step: int | None
    value: Any


class ArtifactDocument(TypedDict):
    id: int
    attempt: int
    name: str
    content_type: str
    size_bytes: int
    sha256: str


class AttemptDocument(TypedDict):
    number: int
    worker: str | None
    host: str | None
    worker_pid: int | None
    pid: int | None
    task_id: str
    claimed_at: str | None
    started_at: str | None
    finished_at: str | None
    end: str
    failure_kind: str
    error: str
    traceback: str
    ended_by: str
    exit_status: int | None
    signal: int | None
    peak_memory_bytes: int | None
    cpu_seconds: float | None
    restored: dict[str, int] | None
    """Checkpoint from which it continued; null if it started from scratch."""
    certificate: dict[str, Any] | None
    """Failure report, see runs.recovery.failure_report."""
    inspection: dict[str, Any] | None
    """Newest stack traces that were captured, see runs.inspections."""
    cancel: dict[str, str | None]
    lines: CountDocument
    results: CountDocument
    missing_lines: list[list[int]]
    """Closed ranges of line numbers that were emitted and are not stored."""
    provenance: dict[str, Any]


class RunSummary(TypedDict):
    """A run in a list."""

    id: int
    name: str
    experiment: str
    instance: str | None
    status: str
    failure_kind: str
    error: str
    progress: ProgressDocument | None
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    duration_s: float | None
    launched_by: str | None
    launched_via: str
    tags: list[str]


class RunDocument(RunSummary):
    """A run with everything but its lines and the contents of its artifacts."""

    configuration: dict[str, Any]
    limits: dict[str, Any]
    seed: int
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    origin: dict[str, Any] | None
    schedule: str | None
    """Name of the schedule that launched it."""
    slot: str | None
    """Scheduled time."""
    cancel_requested_at: str | None
    cancel_requested_by: str
    summary: Any
    lines: CountDocument
    results: list[ResultDocument]
    results_count: CountDocument
    results_truncated: bool
    artifacts: list[ArtifactDocument]
    attempts: list[AttemptDocument]


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def line_document(line: Line) -> LineDocument:
    return {
        "attempt": line.attempt,
        "seq": line.seq,
        "time": datetime.fromtimestamp(line.time, UTC).isoformat(timespec="microseconds"),
        "level": formatting.level_name(line.level),
        "source": line.source,
        "message": line.message,
        "metadata": document(line.metadata),
    }


def result_document(result: Result) -> ResultDocument:
    return {
        "attempt": result.attempt,
        "seq": result.seq,
        "time": result.time.isoformat(),
        "kind": result.kind,
        "key": result.key,
        "step": result.step,
        "value": result_value(result),
    }


def result_value(result: Result) -> Any:
    """Return the value as JSON, with NaN and infinities as {"$float": "nan"}, see `experiments.jsonvalues`."""
    if result.number is not None:
        return result.number
    return {"$float": result.value} if result.kind == ResultKind.METRIC else document(result.value)


def artifact_document(artifact: Artifact) -> ArtifactDocument:
    return {
        "id": artifact.pk,
        "attempt": artifact.attempt,
        "name": artifact.name,
        "content_type": artifact.content_type,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
    }


def progress_document(run: Run) -> ProgressDocument | None:
    if run.progress_at is None and run.progress_current is None and not run.progress_message:
        return None
    return {
        "current": run.progress_current,
        "total": run.progress_total,
        "fraction": formatting.fraction(run.progress_current, run.progress_total),
        "message": run.progress_message,
        "at": iso(run.progress_at),
    }


def attempt_document(attempt: Attempt) -> AttemptDocument:
    worker = attempt.worker
    return {
        "number": attempt.number,
        "worker": worker.name if worker else None,
        "host": worker.host if worker else None,
        "worker_pid": worker.pid if worker else None,
        "pid": attempt.child_pid,
        "task_id": attempt.task_id,
        "claimed_at": iso(attempt.claimed_at),
        "started_at": iso(attempt.started_at),
        "finished_at": iso(attempt.finished_at),
        "end": attempt.end,
        "failure_kind": attempt.failure_kind,
        "error": attempt.error,
        "traceback": attempt.traceback,
        "ended_by": attempt.ended_by,
        "exit_status": attempt.exit_status,
        "signal": attempt.signal,
        "peak_memory_bytes": attempt.peak_memory_bytes,
        "cpu_seconds": attempt.cpu_seconds,
        "restored": attempt.restored,
        "certificate": attempt.certificate,
        "inspection": attempt.inspection,
        "cancel": {
            "seen_at": iso(attempt.cancel_seen_at),
            "interrupted_at": iso(attempt.interrupted_at),
            "terminated_at": iso(attempt.terminated_at),
            "killed_at": iso(attempt.killed_at),
            "gone_at": iso(attempt.gone_at),
        },
        "lines": lines_count(attempt),
        "results": {"emitted": attempt.results_emitted, "stored": ranges.count(attempt.results_stored)},
        "missing_lines": missing_lines(attempt),
        "provenance": attempt.provenance,
    }


def lines_count(attempt: Attempt) -> CountDocument:
    return {"emitted": attempt.lines_emitted, "stored": ranges.count(attempt.lines_stored)}


def missing_lines(attempt: Attempt) -> ranges.Ranges:
    """List the gaps in the stored lines of an attempt that has ended. Empty while it is open: its lines are under
    way.
    """
    if attempt.finished_at is None:
        return []
    emitted = attempt.lines_emitted
    return ranges.gaps(attempt.lines_stored, ranges.last(attempt.lines_stored) if emitted is None else emitted)


def run_summary(run: Run) -> RunSummary:
    """Describe a run for a list. Fetch it with `select_related("instance", "launched_by")`."""
    return {
        "id": run.pk,
        "name": run.name,
        "experiment": run.experiment,
        "instance": run.instance.name if run.instance else None,
        "status": run.status,
        "failure_kind": run.failure_kind,
        "error": run.error,
        "progress": progress_document(run),
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "finished_at": iso(run.finished_at),
        "duration_s": formatting.between(run.started_at, run.finished_at),
        "launched_by": run.launched_by.get_username() if run.launched_by else None,
        "launched_via": run.launched_via,
        "tags": run.tags,
    }


def run_document(run: Run) -> RunDocument:
    """Describe a run with everything but its lines, and RESULTS_MAX results at most. Five queries."""
    attempts = [attempt_document(attempt) for attempt in run.attempts.select_related("worker").order_by("number")]
    results = list(run.results.order_by("attempt", "seq")[: RESULTS_MAX + 1])
    return {
        **run_summary(run),
        "configuration": masked(run.experiment, run.configuration),
        "limits": run.limits,
        "seed": run.seed,
        "queue": run.queue,
        "priority": run.priority,
        "attempt": run.attempt,
        "max_attempts": run.max_attempts,
        "origin": {"id": run.origin_id, "kind": run.origin_kind} if run.origin_id else None,
        "schedule": run.schedule.name if run.schedule else None,
        "slot": iso(run.slot),
        "cancel_requested_at": iso(run.cancel_requested_at),
        "cancel_requested_by": run.cancel_requested_by,
        "summary": document(run.summary),
        "lines": total(attempt["lines"] for attempt in attempts),
        "results": [result_document(result) for result in results[:RESULTS_MAX]],
        "results_count": total(attempt["results"] for attempt in attempts),
        "results_truncated": len(results) > RESULTS_MAX,
        "artifacts": [artifact_document(artifact) for artifact in run.artifacts.order_by("attempt", "name")],
        "attempts": attempts,
    }


def total(counts: Iterable[CountDocument]) -> CountDocument:
    """Sum the counts; `emitted` is None if one of them is."""
    emitted: int | None = 0
    stored = 0
    for count in counts:
        stored += count["stored"]
        emitted = None if emitted is None or count["emitted"] is None else emitted + count["emitted"]
    return {"emitted": emitted, "stored": stored}


def is_served(run: Run) -> bool:
    """Return False for a pending run of a queue that no live worker listens to."""
    return run.status != Status.PENDING or run.queue in Worker.objects.served_queues()


def facts_of(run: Run, *, is_served: bool = True) -> formatting.RunFacts:
    """Collect what `formatting.status_sentence` needs. One query if the run waits for a worker without other runs."""
    return formatting.RunFacts(
        status=Status(run.status),
        failure_kind=run.failure_kind,
        error=run.error,
        attempt=run.attempt,
        queue=run.queue,
        not_before=run.not_before,
        started_at=run.started_at,
        finished_at=run.finished_at,
        cancel_requested_at=run.cancel_requested_at,
        cancel_requested_by=run.cancel_requested_by,
        is_served=is_served,
        losses=run.attempts.filter(end=AttemptEnd.LOST).count() if waits_to_run_alone(run) else 0,
    )


def waits_to_run_alone(run: Run) -> bool:
    """Return whether a pending run waits for a worker without other runs, see `runs.losses`. It waits so for
    `lost_wait_s` at most.
    """
    if run.status != Status.PENDING or run.alone_s is None:
        return False
    return run.not_before is None or run.not_before > timezone.now() - timedelta(seconds=runs_settings().lost_wait_s)
